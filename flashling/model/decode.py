"""Generation in linear time over a plain `Kept` past: one sequence, or the likeliest few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import ops
from ..batch import Batch
from ..sampling import Sampling
from .ling import Ling
from .oracle import Generation, Guide
from .past import Fresh, Kept

# rows of a prompt that run at once: bounds memory, and the wait before a stop is noticed
ROWS = 1024
LIVE, MARK = 0, 1


@dataclass(frozen=True)
class Step:
    """A token drawn, the model's log-probability of it, and the likeliest ones when asked for."""

    token: int
    logprob: float
    top: list[tuple[int, float]] = field(default_factory=list)


class Decoder:
    """Continues one conversation after another; a prompt that begins with what is already held
    (the turns before, or the prompt before without its answer) is read from there.
    """

    def __init__(self, model: Ling) -> None:
        self.model, self.device = model, model.head.device
        self.past = Kept(model.config, 2, model.dtype, self.device)
        # the tokens in each slot: the live sequence, and the last prompt as a place to return to
        self.held: list[list[int]] = [[], []]
        self.reused = 0

    def read(self, prompt: Sequence[int]) -> Iterator[Tensor | None]:
        """Read a prompt; yields None after each stretch and at last the final hidden row [D].

        ValueError when it is empty or longer than the model's positions.
        """
        if not prompt:
            raise ValueError("a prompt is empty; give at least one token")
        if len(prompt) > self.past.limit:
            raise ValueError(
                f"{len(prompt)} tokens exceed the model's {self.past.limit} positions; shorten the "
                "input"
            )
        self.reused = self._rewind(list(prompt))
        hidden = None
        for at in range(self.reused, len(prompt), ROWS):
            if hidden is not None:
                yield None
            hidden = self._run(list(prompt[at : at + ROWS]))
        self.held[MARK] = []
        self.past.copy(LIVE, MARK)
        self.held[MARK] = list(prompt)
        yield hidden

    def steps(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        *,
        sample: int = 0,
        guide: Guide | None = None,
    ) -> Iterator[Step | None]:
        """Continue `prompt` as `oracle.generate` does, token by token, the stopping one included.
        `guide` holds it to a grammar.

        None is yielded between stretches of a long prompt, so that the caller can leave. Ends
        early where the model's positions end.
        """
        hidden = None
        for hidden in self.read(prompt):
            if hidden is None:
                yield None
        assert hidden is not None
        stops = {*self.model.config.eos_token_ids, *sampling.stop_ids}
        given, out = list(prompt), []
        while True:
            allowed = None if guide is None else guide.mask()
            step = self._draw(hidden, sampling, given, out, sample, allowed)
            if guide is not None:
                guide.accept(step.token)
            out.append(step.token)
            yield step
            is_full = self.past.length(LIVE) >= self.past.limit
            is_done = guide is not None and guide.is_done
            if is_done or step.token in stops or len(out) >= sampling.max_tokens or is_full:
                return
            hidden = self._run([step.token])

    @torch.no_grad()
    def _draw(
        self,
        hidden: Tensor,
        sampling: Sampling,
        prompt: list[int],
        out: list[int],
        sample: int,
        allowed: Tensor | None,
    ) -> Step:
        logits = self.model.logits(hidden)
        token = ops.choose(logits, sampling, prompt, out, sample, allowed)
        logprobs = ops.logprobs_of(logits)
        top: list[tuple[int, float]] = []
        if sampling.logprobs:
            best = logprobs.topk(min(sampling.logprobs, len(logprobs)))
            top = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        return Step(token, float(logprobs[token]), top)

    @torch.no_grad()
    def _run(self, tokens: list[int]) -> Tensor:
        """Append tokens to the live slot; the last hidden row [D]."""
        first = self.past.length(LIVE)
        batch = Batch.pack([tokens], first=[first], device=self.device)
        # an interrupt in here leaves half a step behind: nothing is held until it is whole
        before, self.held[LIVE] = self.held[LIVE], []
        hidden = self.model(batch, self.past.begin(batch, [LIVE]))
        self.past.commit()
        self.held[LIVE] = [*before, *tokens] if len(tokens) > 1 else _grown(before, tokens[0])
        return hidden[-1]

    def _rewind(self, prompt: list[int]) -> int:
        """Make the live slot hold the longest usable beginning of `prompt`; its length.

        At least one token is left to run: its hidden row is wanted.
        """
        for slot in (LIVE, MARK):
            held = self.held[slot]
            keep = min(_shared(held, prompt), len(prompt) - 1)
            whole = len(held) == self.past.length(slot)
            if held and keep and whole and self.past.cut(slot, keep):
                if slot == MARK:
                    self.past.copy(MARK, LIVE)
                self.held[slot], self.held[LIVE] = prompt[:keep], prompt[:keep]
                return keep
        self.past.reset(LIVE)
        self.held[LIVE] = []
        return 0


def _grown(held: list[int], token: int) -> list[int]:
    # in place: a copy for every token would make long answers quadratic
    held.append(token)
    return held


def _shared(a: list[int], b: list[int]) -> int:
    """How many tokens two sequences have in common at their beginning."""
    if a == b[: len(a)]:
        return len(a)
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(b))


@torch.no_grad()
def score(model: Ling, tokens: Sequence[int]) -> list[float]:
    """The log-probability of each token after the first, given those before it."""
    if len(tokens) < 2:
        raise ValueError(f"{len(tokens)} tokens have nothing to score; give two at least")
    batch = Batch.pack([list(tokens)], device=model.head.device)
    hidden = model(batch, Fresh(batch))
    found: list[float] = []
    for at in range(0, len(tokens) - 1, ROWS):
        rows = hidden[at : min(at + ROWS, len(tokens) - 1)]
        logprobs = ops.logprobs_of(model.logits(rows))
        after = batch.tokens[at + 1 : at + 1 + len(rows), None]
        found += logprobs.gather(1, after)[:, 0].tolist()
    return found


@dataclass
class _Beam:
    slot: int
    tokens: list[int]
    logprobs: list[float]

    @property
    def total(self) -> float:
        return sum(self.logprobs)


@torch.no_grad()
def likeliest(
    model: Ling,
    prompt: Sequence[int],
    count: int,
    *,
    width: int = 4,
    stop_ids: Sequence[int] = (),
    max_tokens: int = 128,
) -> list[Generation]:
    """Up to `count` distinct continuations of `prompt`, best first by total log-probability.

    A beam search `width` wide (`count` at least), one batch per token; width 1 is greedy. A
    continuation that reaches `max_tokens` has finish "length".
    """
    width = max(width, count) if count > 1 else width
    past = Kept(model.config, width, model.dtype, model.head.device)
    stops = {*model.config.eos_token_ids, *stop_ids}
    room = min(max_tokens, past.limit - len(prompt) + 1)
    hidden = None
    for at in range(0, len(prompt), ROWS):
        hidden = _append(model, past, [(0, list(prompt[at : at + ROWS]))])
    if hidden is None:
        raise ValueError("a prompt is empty; give at least one token")
    live, done = [_Beam(0, [], [])], []
    for length in range(1, room + 1):
        live, ended = _branch(live, ops.logprobs_of(model.logits(hidden)), width, stops)
        done = sorted([*done, *ended], key=lambda b: -b.total)[:count]
        # totals only fall, so a live beam below the last of enough cannot come back
        if not live or (len(done) == count and live[0].total <= done[-1].total):
            live = []
            break
        if length < room:
            _place(past, live)
            hidden = _append(model, past, [(b.slot, b.tokens[-1:]) for b in live])
    best = sorted([*done, *live], key=lambda b: -b.total)[:count]
    kinds = {True: "stop", False: "length"}
    return [Generation(b.tokens, b.logprobs, finish=kinds[b.tokens[-1] in stops]) for b in best]


def _branch(
    live: list[_Beam], logprobs: Tensor, width: int, stops: set[int]
) -> tuple[list[_Beam], list[_Beam]]:
    """The `width` best continuations of live beams by one token, and those that end with it."""
    totals = torch.tensor([b.total for b in live], device=logprobs.device, dtype=logprobs.dtype)
    vocab = logprobs.shape[-1]
    scores = (logprobs + totals[:, None]).flatten()
    best = scores.topk(min(len(scores), width + len(live) * len(stops))).indices.tolist()
    kept: list[_Beam] = []
    ended: list[_Beam] = []
    for place in best:
        n, token = divmod(place, vocab)
        b = live[n]
        logprob = float(logprobs[n, token])
        target = ended if token in stops else kept
        if token in stops or len(kept) < width:
            target.append(_Beam(b.slot, [*b.tokens, token], [*b.logprobs, logprob]))
    return kept, ended


def _place(past: Kept, live: list[_Beam]) -> None:
    """Give each beam a slot of its own: the first of a parent keeps the parent's, others copy."""
    taken: set[int] = set()
    later = []
    for b in live:
        if b.slot in taken:
            later.append(b)
        taken.add(b.slot)
    free = (s for s in range(len(past.base)) if s not in taken)
    for b in later:
        slot = next(free)
        past.copy(b.slot, slot)
        b.slot = slot


def _append(model: Ling, past: Kept, rows: list[tuple[int, list[int]]]) -> Tensor:
    """Append tokens to slots; the last hidden row of each [N, D]."""
    slots = [slot for slot, _ in rows]
    first = [past.length(s) for s in slots]
    batch = Batch.pack([t for _, t in rows], first=first, device=model.head.device)
    hidden = model(batch, past.begin(batch, slots))
    past.commit()
    return hidden[batch.last_rows]
