"""Requests of clients, made into requests to the engine."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from ..engine.grammar import Grammar
from ..engine.request import Continuation
from ..llm.face import Face
from ..llm.prompts import Talk
from ..sampling import Sampling
from ..text.template import Rendered
from . import limits
from .errors import Refused
from .keys import Client
from .said import messages_of
from .tools import held
from .wire import Chat, Completion, Drawing

THINKS = {"none": False, "minimal": False}


@dataclass(frozen=True)
class Asked:
    """A request to the engine, how many samples of it, the conversation that it is from, and what
    its answers are held to.
    """

    request: Continuation
    samples: int
    talk: Talk | None = None
    grammar: Grammar | None = None


class Asker:
    """Makes requests for one model. Its methods take milliseconds: call them in a thread. They
    raise ValueError or Refused, saying what is wrong.
    """

    def __init__(self, llm: Face, temperature: float) -> None:
        self.llm, self.temperature = llm, temperature

    def chat(self, body: Chat, client: Client) -> Asked:
        """A chat's request."""
        bound = held(body, self.llm.tokenizer)
        talk = self.llm.prompts.of(messages_of(body.messages), bound.tools, thinking(body))
        most = body.max_completion_tokens or body.max_tokens
        logprobs = (body.top_logprobs or 0) if body.logprobs else 0
        sampling = self._sampling(body, most, logprobs, bound.bias)
        request = self._request(talk.prompt, sampling, client, body)
        return Asked(request, body.n or 1, talk, bound.grammar)

    def completion(self, body: Completion, client: Client) -> list[Asked]:
        """The requests of a completion, one for each prompt."""
        prompts = self._prompts(body.prompt)
        samples = body.n or 1
        if len(prompts) * samples > limits.ANSWERS:
            raise Refused(
                400, f"n: {len(prompts)} prompts of {samples} answers; at most {limits.ANSWERS}"
            )
        if body.session_id and len(prompts) > 1:
            told = f"session_id: {len(prompts)} prompts; a session goes on from one"
            raise Refused(400, told, "session_id")
        sampling = self._sampling(body, body.max_tokens or 16, body.logprobs or 0, {})
        return [Asked(self._request(Rendered(p), sampling, client, body), samples) for p in prompts]

    def prompt(self, body: Chat) -> Rendered:
        """A chat's prompt."""
        bound = held(body, self.llm.tokenizer)
        return self.llm.prompts.of(messages_of(body.messages), bound.tools, thinking(body)).prompt

    def _prompts(self, given: str | list[Any]) -> list[list[int]]:
        encode = self.llm.tokenizer.encode
        if isinstance(given, str):
            return [encode(given)]
        if given and all(type(item) is int for item in given):
            return [self._known("prompt", given)]
        if not 0 < len(given) <= limits.PROMPTS:
            raise Refused(
                400, f"prompt: {len(given)} prompts; give 1 to {limits.PROMPTS}", "prompt"
            )
        found: list[list[int]] = []
        for i, item in enumerate(given):
            is_tokens = isinstance(item, list) and all(type(t) is int for t in item)
            if not (isinstance(item, str) or is_tokens):
                field = f"prompt[{i}]"
                raise Refused(400, f"{field}: it is neither a text nor a list of tokens", field)
            is_text = isinstance(item, str)
            found.append(encode(item) if is_text else self._known(f"prompt[{i}]", item))
        return found

    def _known(self, field: str, tokens: list[int]) -> list[int]:
        """The tokens; Refused if one is none: there are numbers too large to be passed on."""
        vocab = self.llm.config.vocab_size
        if wrong := [t for t in tokens if not 0 <= t < vocab]:
            told = f"{field}: {wrong[0]} is outside of the vocabulary of {vocab}"
            raise Refused(400, told, field)
        return tokens

    def _sampling(
        self, body: Drawing, most: int | None, logprobs: int, bias: dict[int, float]
    ) -> Sampling:
        most = most or limits.USUAL_TOKENS
        seed = secrets.randbits(63) if body.seed is None else body.seed % (1 << 64)
        stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
        for text in stop:
            if len(text) > limits.STOP_LENGTH:
                raise Refused(
                    400,
                    f"stop: {len(text)} characters in one text; at most {limits.STOP_LENGTH}",
                    "stop",
                )
        return Sampling(
            temperature=self.temperature if body.temperature is None else body.temperature,
            top_p=body.top_p or 1.0,
            top_k=max(0, body.top_k or 0),
            min_p=body.min_p or 0.0,
            repetition_penalty=body.repetition_penalty or 1.0,
            presence_penalty=body.presence_penalty or 0.0,
            frequency_penalty=body.frequency_penalty or 0.0,
            logit_bias={**_bias(body.logit_bias or {}), **bias},
            seed=seed,
            max_tokens=most,
            # an end may not come before all tokens have
            min_tokens=most if body.ignore_eos else min(body.min_tokens or 0, most),
            stop_ids=self.llm.tokenizer.eos_ids,
            logprobs=logprobs,
            stop=tuple(text for text in stop if text),
        )

    def _request(
        self, prompt: Rendered, sampling: Sampling, client: Client, body: Drawing
    ) -> Continuation:
        most = self.llm.config.max_position_embeddings
        tokens = tuple(prompt.tokens)
        if len(tokens) >= most:
            raise Refused(
                400, f"the prompt has {len(tokens)} tokens, the context {most}; shorten it"
            )
        if body.session_id and (body.n or 1) > 1:
            told = f"session_id: n is {body.n}; a session goes on from one answer"
            raise Refused(400, told, "session_id")
        return Continuation(
            tokens,
            sampling,
            # other conversations go on from where the system message ends
            boundaries=tuple(prompt.borders[:1]),
            namespace=client.namespace,
            priority=body.priority or 0,
            session=body.session_id or "",
        )


def thinking(body: Chat) -> bool | None:
    """The template's switch, as any of the ways to say it sets it; None leaves it alone."""
    said = (body.chat_template_kwargs or {}).get("enable_thinking")
    said = (body.chat_template_kwargs or {}).get("thinking") if said is None else said
    if isinstance(said, bool):
        return said
    effort = body.reasoning_effort
    return None if effort is None else THINKS.get(effort.lower(), True)


def _bias(given: dict[str, float]) -> dict[int, float]:
    found: dict[int, float] = {}
    for token, value in given.items():
        if not (token.isdecimal() and token.isascii() and len(token) < 10):
            raise Refused(400, f"logit_bias: {token[:60]!r} is no token id", "logit_bias")
        if not -100 <= value <= 100:
            raise Refused(400, f"logit_bias: {value} must lie between -100 and 100", "logit_bias")
        found[int(token)] = value
    return found
