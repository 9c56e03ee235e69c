"""Weights in fewer bits: how they are stored, and which of a model's are."""

from .detect import Damaged, detect
from .plan import PLANS, Plan
from .scheme import FP8, FP8_BLOCK, INT4, INT4_128, INT8, Scheme

__all__ = [
    "FP8",
    "FP8_BLOCK",
    "INT4",
    "INT4_128",
    "INT8",
    "PLANS",
    "Damaged",
    "Plan",
    "Scheme",
    "detect",
]
