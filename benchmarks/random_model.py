"""A model of random e4m3 weights made where it runs: enough for speed and equality, not quality."""

from __future__ import annotations

import torch
from torch import Tensor

from flashling import ops
from flashling.config import ModelConfig
from flashling.model.ling import KEPT_WIDE, Ling
from flashling.model.packed import parameter, replace

# elements drawn at once
SLAB = 1 << 28
# the numbers' standard deviation: the largest of a row of 4,096 then lies near e4m3's 448
SPREAD = 112.0


def random_fp8(
    config: ModelConfig, device: torch.device, blocks: bool = False, seed: int = 0
) -> Ling:
    """Weights of unit gain (closing projections narrower by the root of twice the depth), norms
    near one, router logits of unit deviation, biases zero: the statistics of a model at the start
    of its training.
    """
    draw = torch.Generator(device).manual_seed(seed)
    depth = (2 * config.num_hidden_layers) ** 0.5

    def normal(*shape: int, std: float) -> Tensor:
        return torch.randn(shape, generator=draw, device=device) * std

    def fp8(name: str, weight: Tensor) -> ops.Fp8:
        *front, rows, columns = weight.shape
        numbers = torch.empty(weight.shape, dtype=torch.float8_e4m3fn, device=device)
        for part in numbers.view(-1, columns).split(max(1, SLAB // columns)):
            part.copy_(normal(*part.shape, std=SPREAD).clamp_(-448, 448))
        gain = columns**-0.5 / (depth if name.rsplit(".", 1)[-1] in ("o", "down") else 1)
        across = [-(-rows // 128), -(-columns // 128)] if blocks else [rows]
        scale = 1 + 0.1 * normal(*front, *across, std=1).clamp_(-3, 3)
        return ops.Fp8(numbers, scale * gain / SPREAD)

    with torch.device("meta"):
        model = replace(Ling(config.with_(num_nextn_predict_layers=0)), fp8)
    for path, module in model.named_modules():
        for name, p in list(module.named_parameters(recurse=False)):
            last = f"{path}.{name}".rsplit(".", 1)[-1]
            if last.endswith("norm"):
                value = 1 + 0.1 * normal(*p.shape, std=1)
            else:
                value = normal(*p.shape, std=1.0 if path == "embed" else p.shape[-1] ** -0.5)
            kind = torch.float32 if last in KEPT_WIDE else torch.bfloat16
            parameter(module, name, value.to(kind))
        for name, b in list(module.named_buffers(recurse=False)):
            if b.is_meta:
                module.register_buffer(name, torch.zeros(b.shape, dtype=b.dtype, device=device))
    return model.eval()
