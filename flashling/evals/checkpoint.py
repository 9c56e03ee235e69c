"""What a checkpoint's tokenizer, chat template and weights say about how it wants to be run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import torch

from ..batch import Batch
from ..config import ModelConfig
from ..model.doctor import Fault
from ..model.stage import Progress
from ..model.streamed import Streamed, judged
from ..text import jinja
from ..text.template import render, render_text
from ..text.tokenizer import Tokenizer

# what the chat format cannot do without
NEEDED = ("<role>", "</role>", "<|role_end|>")
OFFSETS = (0, 1)
# standard errors by which the losses under two offsets must differ to settle anything
CLEAR = 3.0
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "name of the city"}},
            "required": ["city"],
        },
    },
}
CALL = {"name": "get_weather", "arguments": {"city": "Oslo"}}
ASKED = {"role": "user", "content": "What is the weather in Oslo?"}
CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": CALL}],
}


@dataclass
class Papers:
    """The tokenizer of a folder, sentences about it and the chat template, and what is wrong."""

    tokenizer: Tokenizer | None = None
    said: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def papers(folder: Path, config: ModelConfig) -> Papers:
    """Look at tokenizer.json and the chat template of a checkpoint's folder."""
    found = Papers()
    try:
        found.tokenizer = t = Tokenizer.read(folder)
    except ValueError as error:
        found.faults.append(Fault("tokenizer", [str(error)], "fetch it: flashling pull does"))
        return found
    wrong = [f"tokenizer.json has no token {mark}" for mark in NEEDED if not t.has(mark)]
    if t.vocab_size > config.vocab_size:
        wrong.append(f"tokenizer.json has {t.vocab_size} tokens, config.json {config.vocab_size}")
    if wrong:
        found.faults.append(Fault("tokenizer", wrong, "fetch both from the same release"))
    marks = ", ".join(f"{mark} {t.id(mark)}" for mark in t.specials[:12])
    found.said.append(f"tokenizer: {t.vocab_size:,} tokens of {config.vocab_size:,}; {marks}")
    odd = set(config.eos_token_ids) - set(t.eos_ids)
    if odd:
        ids = ", ".join(map(str, sorted(odd)))
        found.said.append(
            f"config.json ends answers with {ids} too, which the chat format does not"
        )
    found.said += _template(folder)
    return found


def _template(folder: Path) -> Iterator[str]:
    """Whether the folder's own chat template writes what the built-in one does."""
    try:
        source = jinja.read(folder)
    except ValueError:
        yield "chat template: the built-in one (the folder has none)"
        return
    plain = {"role": "system", "content": "You are terse."}
    told = {"role": "tool", "content": "4 degrees"}
    cases = {
        "a question": ([ASKED], None),
        "a system message": ([plain, ASKED], None),
        "tools": ([plain, ASKED], [TOOL]),
        "a call and its result": ([ASKED, CALLED, told], [TOOL]),
        "thinking with tools": ([{**plain, "content": "detailed thinking on"}, ASKED], [TOOL]),
    }
    for what, (messages, tools) in cases.items():
        try:
            theirs = jinja.render_text(source, messages, tools)
        except ValueError as error:
            yield f"chat template: {what}: {error}"
            continue
        ours = render_text(messages, tools)
        yield f"chat template: {what}: {_difference(ours, theirs)}"


def _difference(ours: str, theirs: str) -> str:
    if ours == theirs:
        return "as the built-in one writes it"
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    at = min(len(ours), len(theirs)) if at is None else at
    here = slice(max(at - 8, 0), at + 16)
    return f"{theirs[here]!r} where the built-in one writes {ours[here]!r}"


@dataclass
class Reading:
    """What reading some texts showed.

    loss: nats per token by text and decay offset; gain: how much smaller it is over all under
    offset 0 than under 1, and the standard error of that. drafts: of so many, the share that
    greedy decoding accepts, by what the MTP layer reads. right: of so many tokens of a tool call,
    those that are the model's first choice; instead: at the first that is not, what it would write
    and what stands there.
    """

    loss: dict[str, dict[int, float]]
    gain: tuple[float, float]
    drafts: dict[str, float] = field(default_factory=dict)
    drafted: int = 0
    right: int = 0
    tokens: int = 0
    instead: tuple[str, str] | None = None

    @property
    def offset(self) -> int:
        """The decay offset of the smaller loss."""
        return int(self.gain[0] < 0)

    def sentences(self, declared: int) -> list[str]:
        """What this settles; `declared` is the offset that config.json has."""
        return [*self._decay(declared), self._mtp(), self._call()]

    def _decay(self, declared: int) -> Iterator[str]:
        gain, error = abs(self.gain[0]), self.gain[1]
        if gain <= CLEAR * error:
            yield (
                f"these texts do not settle the decay offset: {self.offset} is better by "
                f"{gain:.4f} nats a token with an error of {error:.4f}; read a longer text with "
                "--text"
            )
            return
        a, b = (", ".join(f"{by[o]:.2f}" for by in self.loss.values()) for o in self._order)
        yield (
            f"decay offset {self.offset} fits better: {a} against {b} nats a token in "
            f"{', '.join(self.loss)}; by {gain:.4f} with an error of {error:.4f}"
        )
        if self.offset != declared:
            yield f'config.json has another: write "decay_offset": {self.offset} into it'

    @property
    def _order(self) -> tuple[int, int]:
        return self.offset, 1 - self.offset

    def _mtp(self) -> str:
        if not self.drafts:
            return "there is no MTP layer to judge"
        (first, a), (second, b) = sorted(self.drafts.items(), key=lambda item: -item[1])
        said = f"{a:.0%} of drafts are what greedy decoding takes, against {b:.0%} {second}"
        error = ((a * (1 - a) + b * (1 - b)) / self.drafted) ** 0.5
        if a - b <= CLEAR * error:
            return f"which hidden state the MTP layer reads is not settled: {first} {said}"
        return f"the MTP layer reads the hidden state {first}: {said}"

    def _call(self) -> str:
        if self.instead is None:
            return f"it writes the tool call by itself: all {self.tokens} tokens are its choice"
        return (
            f"of {self.tokens} tokens of the tool call {self.right} are its first choice; it would "
            f"write {self.instead[0]!r} in place of {self.instead[1]!r}"
        )


@torch.no_grad()
def read(
    folder: Path,
    tokenizer: Tokenizer,
    texts: dict[str, str] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Reading:
    """Read texts by name (the bundled ones when left out) and one tool call with the checkpoint,
    under both decay offsets.

    Every weight is read once and one layer is held at a time. CheckpointError as `weights.load`.
    """
    model = Streamed(folder, dtype, device, progress)
    talk = render([ASKED, CALLED], [TOOL], tokenizer=tokenizer, add_generation_prompt=False)
    limit = model.config.max_position_embeddings
    texts = texts or bundled()
    tokens = [tokenizer.encode(text)[:limit] for text in texts.values()]
    batch = Batch.pack([*tokens, talk.tokens], device=device)
    before, after, embedded = model.hidden(batch, OFFSETS)
    head, following = model.tensor("head"), batch.tokens.roll(-1)
    made = {o: judged(after[o], head, following) for o in OFFSETS}
    # the last row of each sequence has nothing after it
    rows = [slice(a, b - 1) for a, b in zip(batch.starts, batch.starts[1:], strict=False)]
    said = {o: [made[o][0][r] for r in rows[:-1]] for o in OFFSETS}
    losses = {t: {o: -float(said[o][i].mean()) for o in OFFSETS} for i, t in enumerate(texts)}
    gains = torch.cat(said[0]) - torch.cat(said[1])
    reading = Reading(losses, (float(gains.mean()), float(gains.std()) / len(gains) ** 0.5))
    best = made[reading.offset][1]
    if model.has_mtp:
        states = {"after the final norm": after, "before the final norm": before}
        drafted = model.drafts([s[reading.offset] for s in states.values()], embedded, batch)
        for what, hidden in zip(states, drafted, strict=True):
            right = _accepted(judged(hidden, head, following)[1], best, rows)
            reading.drafts[what], reading.drafted = float(right.float().mean()), len(right)
    _judge_call(reading, tokenizer, talk.mask, batch, best)
    return reading


def _accepted(drafts: torch.Tensor, best: torch.Tensor, rows: list[slice]) -> torch.Tensor:
    """Which drafts are the main model's own choice one row later."""
    same = [drafts[r.start : r.stop - 1] == best[r.start + 1 : r.stop] for r in rows]
    return torch.cat(same)


def _judge_call(
    reading: Reading, tokenizer: Tokenizer, mask: list[bool], batch: Batch, best: torch.Tensor
) -> None:
    first = batch.starts[-2]
    for i in range(1, batch.starts[-1] - first):
        if mask[i]:
            want, got = int(batch.tokens[first + i]), int(best[first + i - 1])
            reading.tokens += 1
            reading.right += want == got
            if want != got and reading.instead is None:
                reading.instead = tokenizer.decode([got]), tokenizer.decode([want])


def bundled() -> dict[str, str]:
    """The texts that come along, by language: a short story, as prose."""
    folder, found = files("flashling.evals") / "data", {}
    # lines are folded for the eye: of English ones the fold is a space
    for language, fold in (("en", " "), ("zh", "")):
        text = (folder / f"reading.{language}.txt").read_text("utf-8").strip()
        found[language] = re.sub(r"(?<!\n)\n(?!\n)", fold, text)
    return found
