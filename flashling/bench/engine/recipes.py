"""Recipes: which weights are held in how many bits; and models of random weights made so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...config import ModelConfig
from ...model.ling import KEPT_WIDE, Ling
from ...model.packed import HEAD, LINEAR, Packed, parameter
from ...ops import Fp8, Int4, Int8
from ...ops.linear import BLOCK
from ...ops.linear.int4 import EACH

# elements drawn at once
SLAB = 1 << 27
# the numbers' standard deviations. The largest of a row of 4,096 lies near e4m3's 448; of 32
# near the 7 of four bits
SPREAD, SPREAD8, SPREAD4 = 112.0, 30.0, 3.0

Form = Literal["bf16", "fp8", "fp8-block", "int8", "int4", "int4-128"]
# inputs that share a scale
GROUPS = {"int4": 32, "int4-128": 128}


@dataclass(frozen=True)
class Recipe:
    """The forms of routed experts, of all other linear maps, and of the head, which alone can be
    int8. Embedding, norms, and the latents' own projection (kv_b) stay bf16, routers float32.
    """

    experts: Form
    linears: Form
    head: Form = "bf16"

    def form(self, name: str, shape: tuple[int, ...]) -> Form | None:
        """The form of the model's parameter `name`; None if it is never packed."""
        last = name.rsplit(".", 1)[-1]
        if last == HEAD:
            return self.head
        if last not in LINEAR:
            return None
        return self.experts if len(shape) == 3 else self.linears

    def refusal(self, config: ModelConfig) -> str:
        """Why no kernel takes this model's widths in the recipe; empty if all are taken."""
        for name, shape in shapes(config).items():
            form = self.form(name, shape)
            unit = {"fp8-block": BLOCK, **GROUPS}.get(form or "", 1)
            if shape[-1] % unit:
                return f"{name} has {shape[-1]} inputs, {form} wants a multiple of {unit}"
        return ""


RECIPES = {
    "bf16": Recipe("bf16", "bf16"),
    "fp8": Recipe("fp8-block", "fp8-block"),
    "fp8-channel": Recipe("fp8", "fp8"),
    "int4": Recipe("int4", "bf16"),
    "int4-fp8": Recipe("int4", "fp8", "fp8"),
    "int4-128-fp8": Recipe("int4-128", "fp8", "fp8"),
    "int4-all": Recipe("int4", "int4", "int8"),
}


def recipe_of(name: str) -> Recipe:
    """The recipe of that name; ValueError with those there are."""
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters by name, without those of MTP layers."""
    with torch.device("meta"):
        model = Ling(config.with_(num_nextn_predict_layers=0))
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def weight_bytes(config: ModelConfig, recipe: Recipe) -> int:
    """Bytes of a model's weights on the device, without MTP layers."""
    total = 0
    for name, shape in shapes(config).items():
        is_wide = name.rsplit(".", 1)[-1] in KEPT_WIDE
        total += _bytes(recipe.form(name, shape) or "bf16", shape) * (2 if is_wide else 1)
    return total


def _bytes(form: Form, shape: tuple[int, ...]) -> int:
    *front, columns = shape
    rows, size = math.prod(front), math.prod(shape)
    if form in GROUPS:
        return size // 2 + size // GROUPS[form] * 2
    if form in ("fp8", "int8"):
        return size + 4 * rows
    if form == "fp8-block":
        across = -(-shape[-2] // BLOCK) * -(-columns // BLOCK)
        return size + 4 * across * math.prod(shape[:-2])
    return 2 * size


@dataclass(frozen=True)
class Maker:
    """Draws weights on a device; on the meta device, which has no numbers, without a generator.
    depth: layers that closing projections are narrowed for.
    """

    device: torch.device
    draw: torch.Generator | None
    depth: int

    @classmethod
    def of(cls, device: torch.device, seed: int, depth: int) -> Maker:
        """One that draws from a seed."""
        is_meta = device.type == "meta"
        return cls(device, None if is_meta else torch.Generator(device).manual_seed(seed), depth)

    def normal(self, *shape: int, std: float = 1.0) -> Tensor:
        """Normal numbers in float32."""
        return torch.randn(shape, generator=self.draw, device=self.device) * std

    def weight(self, name: str, shape: tuple[int, ...], form: Form = "bf16") -> Tensor | Packed:
        """A linear weight of unit gain; closing projections are narrower by the root of twice the
        depth, as at the start of a training.
        """
        narrow = name.rsplit(".", 1)[-1] in ("o", "down")
        gain = shape[-1] ** -0.5 / ((2 * self.depth) ** 0.5 if narrow else 1)
        if form in GROUPS:
            return self._int4(shape, gain, GROUPS[form])
        if form == "bf16":
            return self._filled(torch.empty(shape, dtype=torch.bfloat16, device=self.device), gain)
        if form == "int8":
            numbers = torch.empty(shape, dtype=torch.int8, device=self.device)
            scale = self._scale(shape[0]) * (gain / SPREAD8)
            return Int8(self._filled(numbers, SPREAD8), scale)
        numbers = torch.empty(shape, dtype=torch.float8_e4m3fn, device=self.device)
        self._filled(numbers, SPREAD)
        *front, rows, columns = shape
        across = [-(-rows // BLOCK), -(-columns // BLOCK)] if form == "fp8-block" else [rows]
        return Fp8(numbers, self._scale(*front, *across) * (gain / SPREAD))

    def plain(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Any other parameter: norms near one, embeddings of unit deviation, router logits too."""
        last = name.rsplit(".", 1)[-1]
        if last.endswith("norm"):
            value = 1 + self.normal(*shape, std=0.1)
        else:
            value = self.normal(*shape, std=1.0 if last == "weight" else shape[-1] ** -0.5)
        return value.to(torch.float32 if last in KEPT_WIDE else torch.bfloat16)

    def _scale(self, *shape: int) -> Tensor:
        return 1 + 0.1 * self.normal(*shape).clamp_(-3, 3)

    def _filled(self, numbers: Tensor, std: float) -> Tensor:
        columns = numbers.shape[-1]
        for part in numbers.view(-1, columns).split(max(1, SLAB // columns)):
            # e4m3 ends at 448, four deviations
            drawn = self.normal(*part.shape).clamp_(-4, 4).mul_(std)
            part.copy_(drawn if numbers.is_floating_point() else drawn.round_())
        return numbers

    def _int4(self, shape: tuple[int, ...], gain: float, group: int) -> Int4:
        *front, columns = shape
        words = torch.empty(*front, columns // EACH, dtype=torch.int32, device=self.device)
        shifts = torch.arange(0, 32, 4, dtype=torch.int32, device=self.device)
        flat = words.view(-1)
        for part in flat.split(SLAB // EACH):
            fields = self.normal(len(part), EACH, std=SPREAD4).round_().clamp_(-8, 7).int() + 8
            # the fields do not overlap, so the sum is their union; int32 wraps as the top bit wants
            part.copy_((fields << shifts).sum(-1, dtype=torch.int32))
        scale = self._scale(*front, columns // group) * (gain / SPREAD4)
        return Int4(words, scale.bfloat16())


@torch.no_grad()
def random_model(config: ModelConfig, device: torch.device, recipe: Recipe, seed: int = 0) -> Ling:
    """A model of random weights with the statistics of one at the start of its training, expert
    biases zero, no MTP layers: enough for speed and equality, never for quality.
    """
    if reason := recipe.refusal(config):
        raise ValueError(f"{reason}; choose another recipe")
    with torch.device("meta"):
        model = Ling(config.with_(num_nextn_predict_layers=0))
    maker = Maker.of(device, seed, config.num_hidden_layers)
    fill(model, maker, recipe)
    return model.eval()


def fill(module: torch.nn.Module, maker: Maker, recipe: Recipe, prefix: str = "") -> None:
    """Give a module that was made without storage its weights; `prefix`: its name."""
    for path, part in list(module.named_modules(prefix=prefix)):
        for name, p in list(part.named_parameters(recurse=False)):
            full, shape = f"{path}.{name}", tuple(p.shape)
            form = recipe.form(full, shape)
            value = maker.plain(full, shape) if form is None else maker.weight(full, shape, form)
            place(part, name, value)
        for name, b in list(part.named_buffers(recurse=False)):
            if b.is_meta:
                zeros = torch.zeros(b.shape, dtype=b.dtype, device=maker.device)
                part.register_buffer(name, zeros, persistent=name != "load")


def place(module: torch.nn.Module, name: str, value: Tensor | Packed) -> None:
    """Put a weight of any form in the place of a module's parameter."""
    delattr(module, name)
    if isinstance(value, Tensor):
        parameter(module, name, value)
    else:
        setattr(module, name, value)
