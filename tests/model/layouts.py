"""Small checkpoints in the layouts of the published ones, written tensor by tensor."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from flashling.config import TOY, ModelConfig
from flashling.model.names import published
from flashling.quant import FP8, FP8_BLOCK, INT4, Scheme

from .test_model import build

SHARDS = 26
MTP = "model-mtp-layer.safetensors"
INDEX = "model.safetensors.index.json"
# wide enough for more than one block of 128
WIDE = TOY.with_(hidden_size=160, intermediate_size=192)
KEPT = r"(word_embeddings|lm_head|mlp\.gate|eh_proj)\.weight$"


def _group(**weights: object) -> dict:
    usual = {"dynamic": False, "symmetric": True, "observer": "minmax"}
    return {"group_0": {"targets": ["Linear"], "weights": {**usual, **weights}}}


def _compressed(form: str, ignore: list[str], **weights: object) -> dict:
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "config_groups": _group(**weights),
        "ignore": ignore,
    }


USUAL = ["lm_head", "re:.*mlp.gate$", "re:.*eh_proj.*"]
SAID: dict[str, dict | None] = {
    "bf16": None,
    "fp8": _compressed(
        "float-quantized", USUAL, num_bits=8, type="float", strategy="channel", group_size=None
    ),
    "int4": _compressed(
        "pack-quantized",
        ["lm_head", "re:.*attention.*", "re:.*shared_experts.*", "re:.*mlp.gate$"]
        + ["re:.*mlp.(gate|up|down)_proj$"],
        num_bits=4,
        type="int",
        strategy="group",
        group_size=32,
    ),
    "fp8-block": {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
    },
}
LAYOUTS = tuple(SAID)


def scheme_of(layout: str, name: str) -> Scheme | None:
    """How the published files of a layout store a matrix."""
    if layout == "int4":
        return INT4 if ".mlp.experts." in name else None
    if layout == "bf16" or re.search(KEPT, name):
        return None
    return FP8 if layout == "fp8" else FP8_BLOCK


def config_of(layout: str) -> ModelConfig:
    """The shape of a layout's fixture."""
    return WIDE if layout == "fp8-block" else TOY


def write(folder: Path, layout: str) -> Path:
    """A random checkpoint in a layout: 26 shards, an MTP file (int4 has none), index and config."""
    config = config_of(layout)
    own = build(config, torch.float32).state_dict()
    has_mtp = layout != "int4"
    main: dict[str, torch.Tensor] = {}
    mtp: dict[str, torch.Tensor] = {}
    for t in published(config, mtp=has_mtp):
        weight = t.view(own).detach().bfloat16().contiguous()
        scheme = scheme_of(layout, t.name) if weight.ndim == 2 else None
        base = t.name.removesuffix(".weight")
        stored = {t.name: weight}
        if scheme:
            stored = {f"{base}.{n}": x for n, x in scheme.pack(weight).items()}
        is_last = f"layers.{config.num_hidden_layers}." in t.name
        (mtp if is_last else main).update(stored)
    folder.mkdir(parents=True, exist_ok=True)
    names, places = list(main), {}
    for i in range(SHARDS):
        part = names[i * len(names) // SHARDS : (i + 1) * len(names) // SHARDS]
        file = f"model-{i + 1:05d}-of-{SHARDS:05d}.safetensors"
        save_file({n: main[n] for n in part}, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(part, file)
    if mtp:
        save_file(mtp, folder / MTP, metadata={"format": "pt"})
        places |= dict.fromkeys(mtp, MTP)
    # as published, the total leaves the MTP file out
    total = sum(x.nbytes for x in main.values())
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": places})
    (folder / INDEX).write_text(text)
    _write_config(folder, config, SAID[layout])
    return folder


def _write_config(folder: Path, config: ModelConfig, said: dict | None) -> None:
    told = config.to_dict()
    for ours in ("norm_topk_prob", "decay_offset"):
        del told[ours]
    told |= {"torch_dtype": "bfloat16", "use_qk_norm": True, "score_function": "sigmoid"}
    told |= {"auto_map": {"AutoConfig": "configuration_bailing_moe_v2_5.BailingMoeV2_5Config"}}
    if said:
        told["quantization_config"] = said
    (folder / "config.json").write_text(json.dumps(told))


def places(folder: Path) -> dict[str, str]:
    """Which file holds each tensor, by the index."""
    return json.loads((folder / INDEX).read_text())["weight_map"]


def change(folder: Path, name: str, edit: Callable[[torch.Tensor], torch.Tensor | None]) -> str:
    """Edit one tensor in its file; None takes it out, there and from the index. The file's name."""
    from safetensors.torch import load_file

    at = places(folder)
    file = folder / at[name]
    tensors = load_file(file)
    made = edit(tensors.pop(name))
    if made is None:
        del at[name]
        (folder / INDEX).write_text(json.dumps({"weight_map": at}))
    else:
        tensors[name] = made.contiguous()
    save_file(tensors, file, metadata={"format": "pt"})
    return file.name


def add(folder: Path, name: str, tensor: torch.Tensor) -> None:
    """Put one more tensor into a file of its own, and into the index."""
    file = f"more-{name}.safetensors"
    save_file({name: tensor}, folder / file)
    text = json.dumps({"weight_map": {**places(folder), name: file}})
    (folder / INDEX).write_text(text)
