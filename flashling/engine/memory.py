"""Memory planned before anything is loaded: what fits on a device, from the config alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from ..config import ModelConfig
from ..model.names import published
from ..quant import PLANS
from .cache import PAGE
from .costs import Costs
from .request import pages_for
from .steps import SIZES

# a context that every plan must hold, and the one that a live slot is counted with
LEAST, USUAL = 1024, 4096
# lost to the allocator: a part of what is free
SLACK = 0.02
# nodes and arguments of one recorded step; all compute in one pool
BYTES_PER_GRAPH = 16 << 20


@dataclass(frozen=True)
class Wanted:
    """What an engine is asked for: sequences that run at once, tokens of the longest, rows of a
    step, rows of a sequence that are drawn in a step (drafts and one), the type of activations and
    latents, bytes on host and disk for what is parked; exact: whether states keep every bit.
    """

    slots: int = 64
    context: int = 32_768
    budget: int = 8192
    draws: int = 1
    dtype: torch.dtype = torch.bfloat16
    host_bytes: int = 0
    disk_bytes: int = 0
    exact: bool = False


@dataclass(frozen=True)
class MemoryPlan:
    """How the memory of a device is divided; bytes, and counts of what they hold. `said` has a
    sentence for each wish that was cut.
    """

    costs: Costs
    context: int
    weights: int
    workspaces: int
    slots: int
    pages: int
    checkpoint_bytes: int
    host_bytes: int
    disk_bytes: int
    said: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        config: ModelConfig,
        free_bytes: int,
        weight_format: str | None = "bf16",
        wanted: Wanted | None = None,
    ) -> MemoryPlan:
        """The plan for `free_bytes` of a device before the weights are loaded.

        weight_format: a name in `quant.PLANS`, None if the weights are there already. Each live
        slot comes with pages for 4,096 tokens and one checkpoint, in int8 if there is no room for
        more; of what is left half goes to pages, half to checkpoints. Wishes that do not fit are
        cut, and `said` tells. ValueError if not even one sequence of 1,024 tokens fits.
        """
        wanted = wanted or Wanted()
        _check(wanted)
        said: list[str] = []
        weights = 0 if weight_format is None else weight_bytes(config, weight_format)
        longest = min(wanted.context, config.max_position_embeddings)
        if longest < wanted.context:
            said.append(f"context {wanted.context:,} -> {longest:,}: the model has no more")
        costs = Costs.of(config, wanted.dtype, wanted.exact)
        need = _Need(config, replace(wanted, context=longest), costs, free_bytes, weights)
        context = need.context()
        if context < longest:
            said.append(f"context {longest:,} -> {context:,}: {need.reason(1, context)}")
        slots = need.slots(context)
        if slots < wanted.slots:
            said.append(f"slots {wanted.slots} -> {slots}: {need.reason(slots, context)}")
        pages = need.least_pages(slots, context)
        left = need.left(slots, context) - slots * costs.slot - pages * costs.page
        # one checkpoint for each slot before the halves
        fixed = min(left, slots * costs.checkpoint)
        more = (left - fixed) // 2 // costs.page
        checkpoints = left - more * costs.page
        if checkpoints < costs.checkpoint:
            said.append("checkpoints 0: no room for a state, so prefixes are read again each time")
            more, checkpoints = left // costs.page, 0
        host = _tier("host", wanted.host_bytes, costs, said)
        disk = _tier("disk", wanted.disk_bytes, costs, said)
        work = need.workspaces(slots, context)
        found = context, weights, work, slots, pages + more, checkpoints, host, disk
        return cls(costs, *found, tuple(said))

    @property
    def tokens(self) -> int:
        """Tokens that the pages hold."""
        return self.pages * PAGE

    @property
    def checkpoints(self) -> int:
        """Checkpoints that the bytes for them hold, none of them in int8."""
        return self.checkpoint_bytes // self.costs.checkpoint

    def table(self) -> str:
        """Lines for a terminal: part, bytes, what they hold."""
        c, session = self.costs, self.costs.session(self.context)
        kept = f"{self.checkpoints:,}"
        if c.small:
            kept += f", or {self.checkpoint_bytes // c.small:,} in int8"
        rows = [
            ("weights", self.weights, ""),
            ("workspaces", self.workspaces, "estimated"),
            ("live slots", self.slots * c.slot, f"{self.slots:,} of {size_text(c.slot)}"),
            ("pages", self.pages * c.page, f"{self.pages:,} for {self.tokens:,} tokens"),
            ("checkpoints", self.checkpoint_bytes, kept),
        ]
        for name, room in (("host", self.host_bytes), ("disk", self.disk_bytes)):
            held = f"{room // session:,} sessions of {self.context:,} tokens" if room else "none"
            rows.append((name, room, held))
        lines = [f"{name:<12}{size_text(n):>12}  {held}".rstrip() for name, n, held in rows]
        return "\n".join([*lines, *self.said])


@dataclass(frozen=True)
class _Need:
    """What a number of slots and a length ask of a device."""

    config: ModelConfig
    wanted: Wanted
    costs: Costs
    free: int
    weights: int

    def workspaces(self, slots: int, context: int) -> int:
        return workspace_bytes(self.config, replace(self.wanted, slots=slots, context=context))

    def left(self, slots: int, context: int) -> int:
        """Bytes beside weights, workspaces and slack."""
        slack = int(self.free * SLACK)
        return self.free - slack - self.weights - self.workspaces(slots, context)

    def least_pages(self, slots: int, context: int) -> int:
        """One sequence of the whole context, and a usual one in each other slot."""
        return pages_for(context) + (slots - 1) * pages_for(min(USUAL, context))

    def context(self) -> int:
        """The longest context of one sequence that fits, up to the one wanted."""
        c, low = self.costs, min(LEAST, self.wanted.context)

        def fits(tokens: int) -> bool:
            return self.left(1, tokens) >= c.slot + pages_for(tokens) * c.page

        if not fits(low):
            missing = c.slot + pages_for(low) * c.page - self.left(1, low)
            raise ValueError(
                f"{size_text(self.free)} are free, and {size_text(missing)} more are needed for "
                f"{self._weights(', ')}workspaces ({size_text(self.workspaces(1, low))}) and one "
                f"sequence of {low:,} tokens: "
                "choose a format of fewer bits, a smaller step budget or context, or a larger "
                "device"
            )
        high = self.wanted.context
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle) else (low, middle - 1)
        return low

    def slots(self, context: int) -> int:
        """How many of the wanted slots fit, each but the first with its checkpoint; the newest one
        is never in int8.
        """
        low, high = 1, self.wanted.slots
        while low < high:
            n = (low + high + 1) // 2
            need = n * (self.costs.slot + self.costs.least)
            need += self.costs.slot if self.costs.small else 0
            need += self.least_pages(n, context) * self.costs.page
            low, high = (n, high) if need <= self.left(n, context) else (low, n - 1)
        return low

    def _weights(self, then: str) -> str:
        """Nothing where they are there already."""
        return f"weights ({size_text(self.weights)}){then}" if self.weights else ""

    def reason(self, slots: int, context: int) -> str:
        room = size_text(self.left(slots, context))
        each = size_text(self.costs.slot + self.costs.least)
        return (
            f"{room} are left beside {self._weights(' and ')}workspaces; a slot with "
            f"its checkpoint takes {each}, a token {size_text(self.costs.token)}"
        )


def weight_bytes(config: ModelConfig, weight_format: str) -> int:
    """Bytes of a published checkpoint's tensors, with its MTP layers if the config has them:
    matrices as the format stores them, the others in 16 bits, expert biases in 32.
    """
    if weight_format not in PLANS:
        raise ValueError(f"format {weight_format!r} is unknown; choose one of {', '.join(PLANS)}")
    plan, total = PLANS[weight_format], 0
    for t in published(config):
        # one expert stands for all of its layer
        if t.expert:
            continue
        scheme = plan.of(t.name) if len(t.shape) == 2 else None
        plain = math.prod(t.shape) * (4 if t.name.endswith("bias") else 2)
        times = 1 if t.expert is None else config.num_experts
        total += times * (scheme.nbytes(t.shape) if scheme else plain)
    return total


def workspace_bytes(config: ModelConfig, wanted: Wanted) -> int:
    """An estimate of what a step needs beside weights and past.

    Each row of the budget: four copies of the hidden row; of Lightning q, k, v, gate and result,
    q and k in float32 too; the rows of its experts before, between and after. Once: the keys and
    values of the longest context, expanded for one MLA layer. Each drawn row: logits as the
    head makes them, in float32, after penalties and masks, and as log-probabilities. Recorded
    steps: a constant for each size of a batch, with filters and without. The spare slot and page.
    """
    c, size = config, wanted.dtype.itemsize
    width = c.num_attention_heads * c.head_dim
    row = size * (4 * c.hidden_size + 5 * width) + 4 * 2 * width
    pairs = c.num_experts_per_tok + c.num_shared_experts
    row += size * pairs * (2 * c.hidden_size + 3 * c.moe_intermediate_size)
    head = c.qk_nope_head_dim + c.qk_rope_head_dim + c.v_head_dim
    expanded = wanted.context * c.num_attention_heads * head * size
    logits = wanted.slots * wanted.draws * c.vocab_size * (size + 3 * 4)
    graphs = 2 * BYTES_PER_GRAPH * (1 + sum(n < wanted.slots for n in SIZES))
    costs = Costs.of(c, wanted.dtype)
    return wanted.budget * row + expanded + logits + graphs + costs.slot + costs.page


def _check(wanted: Wanted) -> None:
    for name in ("slots", "context", "budget", "draws"):
        if getattr(wanted, name) < 1:
            raise ValueError(f"{name} {getattr(wanted, name)} must be 1 at least")


def _tier(name: str, room: int, costs: Costs, said: list[str]) -> int:
    """The bytes of a tier, 0 if they hold no session."""
    least = costs.session(LEAST)
    if 0 < room < least:
        said.append(f"{name} {size_text(room)} -> 0: a session takes {size_text(least)} at least")
        return 0
    return room


def size_text(n: float) -> str:
    """Bytes as people read them."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(n) >= size:
            return f"{n / size:,.2f} {unit}"
    return f"{n:,.0f} bytes"
