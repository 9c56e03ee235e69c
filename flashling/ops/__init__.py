"""Ops: functions with a meaning (the plain body), kernels by device, and their cases."""

from .exact import exactly
from .experts import experts, swiglu
from .experts import load as expert_load
from .lightning import CHUNK, Carry, Grid, lightning, lightning_decode, slopes
from .linear import Fp8, Int4, Int8, Weight, linear, quantise
from .mla import Documents, mla_absorbed, mla_expanded, mla_over, mla_paged
from .norm import add_norm, group_norm_gate, norm
from .normed import add_norm_linear, gated_linear
from .op import op, using, wide
from .rope import (
    frequencies,
    latent_rows,
    queries_keys,
    rotary_table,
    rotate_half,
    rotate_pairs,
    turned_queries,
)
from .route import Choice, route
from .sample import Cut, choose, gumbel, logprobs_of, philox, pick
from .sample.rows import Draw, Drawn, choose_rows, draw, signed
from .state import quantise_state, restore_state
from .step import advance, lay, places

__all__ = [
    "CHUNK",
    "Carry",
    "Choice",
    "Cut",
    "Documents",
    "Draw",
    "Drawn",
    "Fp8",
    "Grid",
    "Int4",
    "Int8",
    "Weight",
    "add_norm",
    "add_norm_linear",
    "advance",
    "choose",
    "choose_rows",
    "draw",
    "exactly",
    "expert_load",
    "experts",
    "frequencies",
    "gated_linear",
    "group_norm_gate",
    "gumbel",
    "latent_rows",
    "lay",
    "lightning",
    "lightning_decode",
    "linear",
    "logprobs_of",
    "mla_absorbed",
    "mla_expanded",
    "mla_over",
    "mla_paged",
    "norm",
    "op",
    "philox",
    "pick",
    "places",
    "quantise",
    "quantise_state",
    "queries_keys",
    "restore_state",
    "rotary_table",
    "rotate_half",
    "rotate_pairs",
    "route",
    "signed",
    "slopes",
    "swiglu",
    "turned_queries",
    "using",
    "wide",
]
