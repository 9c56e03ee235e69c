"""What Triton kernels share so that the interpreter, which rounds otherwise, runs them too."""
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


@triton.jit
def dot(a, b, acc, WIDE: tl.constexpr):
    """acc + a b; the interpreter cannot multiply bfloat16 and is given float32."""
    if WIDE:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), acc, input_precision="ieee")
    else:
        return tl.dot(a, b, acc)
