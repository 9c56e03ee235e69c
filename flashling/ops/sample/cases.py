"""Shapes of the sampler's noise."""

import torch

from ..cases import Case
from . import philox

cases = [
    Case(philox, "toy", lambda m: (torch.arange(300, device=m.device), 7, 1, 12)),
    Case(philox, "vocab", lambda m: (torch.arange(157184, device=m.device), 2**40, 0, 9), "full"),
]
