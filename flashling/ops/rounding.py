"""Rounding inside Triton kernels, also where the interpreter runs them."""
# a kernel's language has no types
# pyright: reportAttributeAccessIssue=false

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def rounded(x, dtype: tl.constexpr):
    """x float32 rounded to `dtype`, ties to even."""
    if INTERPRETED and dtype == tl.bfloat16:
        # the interpreter cuts off: half a unit of the last place that stays, less one where even
        bits = x.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
        x = bits.to(tl.float32, bitcast=True)
    return x.to(dtype)


@triton.jit
def silu_times(gate, up, dtype: tl.constexpr):
    """silu(gate) * up of float32 numbers, rounded as the op's two products and two steps are."""
    gate, up = rounded(gate, dtype).to(tl.float32), rounded(up, dtype).to(tl.float32)
    silu = rounded(gate / (1.0 + tl.exp(-gate)), dtype).to(tl.float32)
    return rounded(silu * up, dtype)
