"""Programmatic dependent launch: a kernel of a decode step starts while the one before it ends.

A kernel launched with **OVERLAP may ask for its weights first, then calls `wait_for_inputs()`, and
only after that reads what earlier kernels wrote, or stores anything. Weights are safe to read
early: what writes them (a copy, a load) is no such kernel and has ended by then.
"""
# a kernel's language has no types
# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# pyright: reportArgumentType=false

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from .device import current

# the instructions came with Hopper; an interpreter has none
OVERLAPS = tl.constexpr(not triton.knobs.runtime.interpret and current().capability >= (9, 0))
# options of a launch
OVERLAP = {"launch_pdl": True} if OVERLAPS.value else {}


@triton.jit
def wait_for_inputs(EARLY: tl.constexpr = False):
    """Wait until all kernels before have ended, then let the next one start: it knows that all but
    this one have ended. EARLY: let it start at once, while even those before this one may run; it
    must then read weights alone before its own wait. For small kernels before one that has much to
    ask for.
    """
    if OVERLAPS:
        if EARLY:
            gdc_launch_dependents()
            gdc_wait()
        else:
            gdc_wait()
            gdc_launch_dependents()
