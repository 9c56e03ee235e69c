"""Which weights are stored how: the `quantization_config` of a config.json, read and written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .scheme import FP8, FP8_BLOCK, INT4, INT4_128, INT8, Scheme

FORMATS = (
    "pack-quantized",
    "int-quantized",
    "float-quantized",
    "naive-quantized",
    "mixed-precision",
)
STORED = {("float", 8), ("int", 4), ("int", 8)}


@dataclass(frozen=True)
class Plan:
    """Groups of targets and the scheme of each, and what is left alone in spite of them.

    A target is a module's name, "re:" and a pattern for the beginning of names, or a kind of
    layer ("Linear", "Embedding"); the first found in this order counts. method: "fp8" or
    "compressed-tensors", the two dialects of `quantization_config`.
    """

    groups: tuple[tuple[tuple[str, ...], Scheme], ...] = ()
    ignore: tuple[str, ...] = ()
    method: str = "compressed-tensors"

    def of(self, name: str) -> Scheme | None:
        """The scheme of the matrix published as `name`; None: it stays as it is."""
        name = name.removesuffix(".weight")
        if any(_rank(target, name) is not None for target in self.ignore):
            return None
        ranked = [
            (rank, i)
            for i, (targets, _) in enumerate(self.groups)
            for target in targets
            if (rank := _rank(target, name)) is not None
        ]
        return self.groups[min(ranked)[1]][1] if ranked else None

    @classmethod
    def read(cls, found: dict[str, Any] | None) -> Plan:
        """The plan in a `quantization_config`. ValueError naming what cannot be read."""
        if not found:
            return cls()
        method = found.get("quant_method", "compressed-tensors")
        if method == "fp8":
            return _read_fp8(found)
        if method != "compressed-tensors":
            raise ValueError(
                f"quantization_config: quant_method {method!r} is not read; compressed-tensors and "
                "fp8 are"
            )
        groups = []
        for group in (found.get("config_groups") or {}).values():
            if group.get("weights"):
                kind = group.get("format") or found.get("format")
                groups.append((tuple(group["targets"]), _read_scheme(group["weights"], kind)))
        return cls(tuple(groups), tuple(found.get("ignore") or ()))

    def to_dict(self, names: Iterable[str] = ()) -> dict[str, Any] | None:
        """The `quantization_config` of a published config.json, None for a plan of nothing.

        names: the model's matrices, of which the fp8 dialect lists those left alone.
        """
        if not self.groups:
            return None
        if self.method == "fp8":
            left = [n.removesuffix(".weight") for n in names if self.of(n) is None]
            return {
                "quant_method": "fp8",
                "activation_scheme": "dynamic",
                "fmt": "e4m3",
                "weight_block_size": list(self.groups[0][1].block),
                "modules_to_not_convert": left,
            }
        formats = [_format(scheme) for _, scheme in self.groups]
        return {
            "quant_method": "compressed-tensors",
            "format": formats[0] if len(set(formats)) == 1 else "mixed-precision",
            "quantization_status": "compressed",
            "global_compression_ratio": None,
            "kv_cache_scheme": None,
            "config_groups": {
                f"group_{i}": _group(targets, scheme)
                for i, (targets, scheme) in enumerate(self.groups)
            },
            "ignore": list(self.ignore),
        }


GATE = r"re:.*\.mlp\.gate$"
EXPERT = r"re:.*\.mlp\.experts\.\d+\."
# what the published fp8 files keep in bfloat16 beside norms and embeddings
KEPT = ("lm_head", GATE, r"re:.*\.eh_proj$")
# what has no kernel for four bits: the latents' own projection is used in parts
ALL_BUT_LINEAR = (GATE, r"re:.*\.eh_proj$", r"re:.*\.kv_b_proj$")
ALL_BUT_EXPERTS = (
    *KEPT,
    r"re:.*\.attention\.",
    r"re:.*\.shared_experts\.",
    r"re:.*\.mlp\.(gate|up|down)_proj$",
)
PLANS = {
    "bf16": Plan(),
    "fp8": Plan(((("Linear",), FP8),), KEPT),
    "fp8-block": Plan(((("Linear",), FP8_BLOCK),), KEPT, method="fp8"),
    "int8": Plan(((("Linear",), INT8),), KEPT),
    "int4": Plan(((("Linear",), INT4),), ALL_BUT_EXPERTS),
    "int4-128": Plan(((("Linear",), INT4_128),), ALL_BUT_EXPERTS),
    "int4-all": Plan(((("re:lm_head$",), INT8), (("Linear",), INT4)), ALL_BUT_LINEAR),
    "nano": Plan((((EXPERT,), INT4), (("Linear", "Embedding"), INT8)), (GATE,)),
}


def _rank(target: str, name: str) -> int | None:
    """How closely a target names a module, 0 best; None: not at all."""
    if target == name:
        return 0
    if target.startswith("re:"):
        return 1 if re.match(target[3:], name) else None
    kind = "Embedding" if name.endswith("word_embeddings") else "Linear"
    return 2 if target == kind else None


def _read_fp8(found: dict[str, Any]) -> Plan:
    if found.get("fmt", "e4m3") not in ("e4m3", "float8_e4m3fn"):
        raise ValueError(f"quantization_config: fmt {found['fmt']!r} is not read; e4m3 is")
    block = found.get("weight_block_size")
    if block is None:
        return Plan(method="fp8")
    if len(block) != 2 or not all(isinstance(n, int) and n > 0 for n in block):
        raise ValueError(f"quantization_config: weight_block_size {block!r} is not two sizes")
    scheme = Scheme(
        "float", 8, (block[0], block[1]), scale=FP8_BLOCK.scale, scale_name=FP8_BLOCK.scale_name
    )
    left = tuple(found.get("modules_to_not_convert") or ())
    return Plan(((("Linear", "Embedding"), scheme),), left, method="fp8")


def _read_scheme(weights: dict[str, Any], kind: str | None) -> Scheme:
    def refuse(what: str) -> ValueError:
        return ValueError(f"quantization_config: {what} of weights is not read")

    if kind is not None and kind not in FORMATS:
        raise refuse(f"format {kind!r}")
    number = weights.get("type", "int"), weights.get("num_bits", 8)
    if number not in STORED:
        raise refuse(f"type {number[0]!r} with num_bits {number[1]!r}")
    if weights.get("symmetric") is False:
        raise refuse("symmetric = false")
    size, blocks = weights.get("group_size"), weights.get("block_structure")
    strategy = weights.get("strategy") or ("group" if size and size > 0 else "channel")
    block = {
        "tensor": (None, None),
        "channel": (1, None),
        "group": (1, size),
        "block": tuple(blocks or ()),
    }.get(strategy)
    if block is None or len(block) != 2 or (strategy == "group" and not (size and size > 0)):
        raise refuse(f"strategy {strategy!r} with group_size {size!r}, block_structure {blocks!r}")
    return Scheme(*number, block, packed=kind == "pack-quantized")


def _format(scheme: Scheme) -> str:
    return "pack-quantized" if scheme.packed else f"{scheme.kind}-quantized"


def _group(targets: tuple[str, ...], scheme: Scheme) -> dict[str, Any]:
    rows, columns = scheme.block
    usual = {"symmetric": True, "group_size": None, "block_structure": None, "actorder": None}
    weights = {
        **usual,
        "num_bits": scheme.bits,
        "type": scheme.kind,
        "strategy": scheme.strategy,
        "dynamic": False,
        "observer": "minmax",
        "observer_kwargs": {},
    }
    if scheme.strategy == "group":
        weights["group_size"] = columns
    if scheme.strategy == "block":
        weights["block_structure"] = [rows, columns]
    activations = {
        **usual,
        "num_bits": 8,
        "type": "float",
        "strategy": "token",
        "dynamic": True,
        "observer": None,
        "observer_kwargs": {},
    }
    return {
        "targets": list(targets),
        "format": _format(scheme),
        "weights": weights,
        "input_activations": activations if scheme.kind == "float" else None,
        "output_activations": None,
    }
