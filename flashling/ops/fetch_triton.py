"""The kernel of `fetch`: one instruction asks for a run of bytes, and nobody waits for them."""
# a kernel's language has no types
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import triton
import triton.language as tl
from torch import Tensor

# bytes of one instruction, one of which each thread of a program gives
RUN = tl.constexpr(4096)
THREADS = tl.constexpr(32)


def into_cache(x: Tensor) -> None:
    """Have a contiguous tensor on its way into the last cache; its whole runs of 4 KiB."""
    runs = x.nbytes // RUN.value
    if runs:
        grid = (triton.cdiv(runs, THREADS.value),)
        _into_cache[grid](x, runs, num_warps=1)


@triton.jit
def _into_cache(x, runs):
    run = tl.program_id(0) * THREADS + tl.arange(0, THREADS)
    at = x.to(tl.int64, bitcast=True) + tl.minimum(run, runs - 1).to(tl.int64) * RUN
    tl.inline_asm_elementwise(
        "cp.async.bulk.prefetch.L2.global [$1], 4096; mov.u32 $0, 0;",
        "=r,l",
        [at],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )
