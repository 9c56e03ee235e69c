"""Which sequences run how many tokens now: arithmetic, no tensors."""

from __future__ import annotations

from collections.abc import Iterable

from ..config import ModelConfig
from .request import Sequence

Plan = list[tuple[Sequence, int]]
# the part of a step that prompts get beside those who draw, whose tokens wait for all of it
BESIDE = 8


def reach(config: ModelConfig) -> float:
    """The tokens of context over which attention costs a prompt's row as much as all else, counted
    in products: some 5,000 for the embedded model, 150,000 for the 104B one.
    """
    c, width = config, config.hidden_size
    latent = c.num_hidden_layers - len(c.lightning_layers)
    hidden = c.num_experts_per_tok * c.moe_intermediate_size + c.moe_shared_expert_intermediate_size
    # about the same for both mixers: queries, keys, values, gate and output
    mixer = 5 * c.num_attention_heads * c.head_dim
    rest = c.num_hidden_layers * width * (mixer + 3 * hidden)
    each = c.qk_nope_head_dim + c.qk_rope_head_dim + c.v_head_dim
    return rest / (latent * c.num_attention_heads * each)


def plan(running: Iterable[Sequence], budget: int, reach: float = float("inf")) -> Plan:
    """Rows of each sequence in the next step, at most `budget` in all.

    Those that await a draw come first, so that long prompts never stop them, and where there are
    any, prompts get an eighth of the budget, and less where their context costs more than they do
    (`reach`); else all of it, in the order of their priority and arrival. A chunk ends where a
    checkpoint is to be kept.
    """
    found: Plan = []
    most = max(1, budget // BESIDE)
    ranked = sorted(running, key=lambda s: (-s.request.priority, s.order))
    for s in ranked:
        if s.left == 1 and budget > 0:
            rows = min(1 + len(s.drafts), budget)
            found.append((s, rows))
            budget -= rows
    is_shared = bool(found)
    if is_shared:
        budget = min(budget, most)
    for s in ranked:
        if s.left > 1 and budget > 0:
            end = next((p for p in s.stops if p > s.done), len(s.tokens))
            cost = 1 + s.done / reach if is_shared else 1
            rows = min(max(1, int(budget / cost)), end - s.done)
            found.append((s, rows))
            budget -= int(rows * cost)
    return found
