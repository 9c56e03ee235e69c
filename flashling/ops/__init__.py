"""Ops: functions with a meaning (the plain body), kernels by device, and their cases."""

from .experts import experts, swiglu
from .lightning import CHUNK, Carry, Grid, lightning, slopes
from .mla import Documents, mla_absorbed, mla_expanded, mla_over
from .norm import group_norm_gate, norm
from .op import op, using, wide
from .rope import frequencies, rotary_table, rotate_half, rotate_pairs
from .route import Choice, route
from .sample import choose, gumbel, logprobs_of, philox

__all__ = [
    "CHUNK",
    "Carry",
    "Choice",
    "Documents",
    "Grid",
    "choose",
    "experts",
    "frequencies",
    "group_norm_gate",
    "gumbel",
    "lightning",
    "logprobs_of",
    "mla_absorbed",
    "mla_expanded",
    "mla_over",
    "norm",
    "op",
    "philox",
    "rotary_table",
    "rotate_half",
    "rotate_pairs",
    "route",
    "slopes",
    "swiglu",
    "using",
    "wide",
]
