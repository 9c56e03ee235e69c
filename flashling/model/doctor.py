"""A checkpoint examined by its headers alone: names, shapes, types and scales, no weight read."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..config import ModelConfig
from ..quant import Damaged, Plan, detect
from .files import INDEX, CheckpointError, header
from .ling import KEPT_WIDE
from .names import Published, is_mtp, published
from .weights import is_ignored, listed, weight_of

AGAIN = "fetch it again: flashling pull goes on with what is missing"

# keys of config.json that sources disagree about
TOLD = "norm_topk_prob linear_silu rms_norm_eps num_kv_heads_for_linear_attn eos_token_id".split()


@dataclass(frozen=True)
class Fault:
    """What keeps a checkpoint from being read, or from being trusted.

    kind: "file", "index", "config", "missing", "wrong", "unexpected"; said: a line for each
    case; remedy: what to do; names: the published weights concerned.
    """

    kind: str
    said: list[str]
    remedy: str
    names: frozenset[str] = frozenset()


@dataclass
class Report:
    """What was found in a folder.

    table: the weights that config.json asks for, in file order. forms: how each that is here is
    stored, by its published name: "bfloat16", "float8 per channel". parts: the stored tensors of
    each weight, by their last names, on the meta device. lost: weights of files that are missing
    or damaged, as far as the index tells. files: bytes. notes: what is unusual and reads all the
    same.
    """

    folder: Path
    config: ModelConfig
    plan: Plan = field(default_factory=Plan)
    table: list[Published] = field(default_factory=list)
    forms: dict[str, str] = field(default_factory=dict)
    parts: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    files: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def named(self, *kinds: str) -> set[str]:
        """The weights that faults of these kinds concern."""
        return set().union(*(f.names for f in self.faults if f.kind in kinds))

    def blame(self, kind: str, said: list[str], remedy: str, names: set[str] | None = None) -> None:
        """Note a fault, where there is one."""
        if said:
            self.faults.append(Fault(kind, said, remedy, frozenset(names or ())))


def examine(folder: str | Path) -> Report:
    """The report on a checkpoint's folder. Only headers are read, in seconds for any size.

    ValueError where config.json cannot be read: without it nothing can be expected.
    """
    report = Report(Path(folder), ModelConfig.read(folder))
    try:
        report.plan = Plan.read(report.config.quantization)
    except ValueError as error:
        report.blame("config", [f"config.json: {error}"], "quantise the BF16 release instead")
    stored = _headers(report)
    for file in _indexed(report, stored):
        for name, tensor in stored[file].items():
            if not is_ignored(name):
                weight, part = weight_of(name)
                report.parts.setdefault(weight, {})[part] = tensor
    _compare(report)
    _forms(report)
    _types(report)
    return report


def _headers(report: Report) -> dict[str, dict[str, Tensor]]:
    """The tensors of every readable file, by the file's name."""
    found, damaged = {}, []
    for file in sorted(report.folder.glob("*.safetensors")):
        report.files[file.name] = file.stat().st_size
        try:
            found[file.name] = header(file)
        except CheckpointError as error:
            damaged.append(str(error))
    report.blame("file", damaged, "delete it and " + AGAIN)
    if not report.files:
        report.blame("file", [f"{report.folder} holds no safetensors files"], AGAIN)
    return found


def _indexed(report: Report, stored: dict[str, dict[str, Tensor]]) -> list[str]:
    """The files that count: those that the index names, all where it tells nothing."""
    index = report.folder / INDEX
    if not index.is_file():
        return list(stored)
    try:
        places = dict(json.loads(index.read_text("utf-8"))["weight_map"])
        files = {str(f) for f in places.values()}
    except (ValueError, KeyError, TypeError) as error:
        said = [f"{INDEX} is not a weight index: {error!r}"]
        report.blame("index", said, "fetch it again, or delete it: every file is then read")
        return list(stored)
    report.lost = {weight_of(n)[0] for n, f in places.items() if f not in stored}
    gone = sorted(f for f in files if f not in report.files)
    report.blame("file", [f"{f} is missing: {INDEX} names it" for f in gone], AGAIN)
    wrong = [
        f"{INDEX} puts {n} into {f}, which does not hold it"
        for n, f in places.items()
        if f in stored and n not in stored[f]
    ]
    wrong += [
        f"{INDEX} does not name {n}, which is in {f}"
        for f in sorted(files & stored.keys())
        for n in stored[f]
        if n not in places
    ]
    report.blame("index", wrong, "fetch it again, or delete it: every file is then read")
    extra = [f for f in stored if f not in files]
    if extra:
        report.notes.append(f"{INDEX} does not name {listed(extra)}: not read")
    return [f for f in stored if f in files]


def _compare(report: Report) -> None:
    """Names against the weight table. Lost ones are blamed on their files already."""
    config, parts, lost = report.config, report.parts, report.lost
    report.table = published(config)
    wanted = {t.name for t in report.table if is_mtp(config, t.name)}
    has_mtp = bool(wanted & (parts.keys() | lost))
    if wanted and not has_mtp:
        report.notes.append("the checkpoint has no MTP layer: drafts by MTP are off")
        report.table = published(config, mtp=False)
    names = {t.name for t in report.table}
    missing = [t.name for t in report.table if t.name not in parts and t.name not in lost]
    report.blame(
        "missing",
        [f"{n} is missing" for n in missing],
        "is config.json of the same release? if so, fetch the files again",
        set(missing),
    )
    extra = sorted(n for n in parts.keys() - names if has_mtp or not is_mtp(config, n))
    said = [_stored_name(n, part) for n in extra for part in parts[n]]
    report.blame(
        "unexpected",
        [f"{n} has no place in the model" for n in said],
        "another architecture, or the file of another model: name the right folder",
    )


def _stored_name(weight: str, part: str) -> str:
    base, _, last = weight.rpartition(".")
    return f"{base}.{part}" if last == "weight" else weight


def _forms(report: Report) -> None:
    """Shapes, types and scales of each weight against config.json."""
    said, names, plain = [], set(), []
    for t in report.table:
        parts = report.parts.get(t.name)
        if parts is None or t.name in report.lost:
            continue
        declared = report.plan.of(t.name) if len(t.shape) == 2 else None
        try:
            scheme = detect(parts, t.shape, declared)
        except Damaged as error:
            said.append(f"{_stored_name(t.name, error.part)} {error}")
            names.add(t.name)
            continue
        report.forms[t.name] = str(scheme) if scheme else _type(parts["weight"])
        if declared and not scheme:
            plain.append(t.name)
    remedy = "is config.json of the same release? if so, fetch the file again"
    report.blame("wrong", said, remedy, names)
    if plain:
        report.notes.append(
            f"config.json declares scales for {len(plain)} weights that are stored as they are: "
            f"{listed(plain)}"
        )


def _types(report: Report) -> None:
    """Plain weights of a type that is not the others'; a wider one does no harm."""
    plain = {t.name: t for t in report.table if "weight" in report.parts.get(t.name, {})}
    kinds = {n: f for n, f in report.forms.items() if n in plain and hasattr(torch, f)}
    usual = next((kind for kind, _ in Counter(kinds.values()).most_common(1)), "")
    odd = [n for n, kind in kinds.items() if kind not in (usual, "float32", "float64")]
    report.blame(
        "wrong",
        [f"{n} is stored as {kinds[n]}, the rest as {usual}" for n in odd],
        "a file of another release? fetch it again",
        set(odd),
    )
    wide = [
        n
        for n, kind in kinds.items()
        if kind not in (usual, *(kinds[o] for o in odd))
        and plain[n].param.rpartition(".")[2] not in KEPT_WIDE
    ]
    if wide:
        report.notes.append(f"{len(wide)} weights are wider than the {usual} rest: {listed(wide)}")


def answers(report: Report) -> list[str]:
    """What the headers and config.json say about the architecture where sources are silent or
    disagree, a sentence each.
    """
    raw = json.loads((report.folder / "config.json").read_text("utf-8"))
    told = [f"{key} {_said(raw, key)}" for key in TOLD]
    found = [f"config.json has no unknown key; {', '.join(told)}"]
    for last, what in (("router", "router weights"), ("bias", "expert biases")):
        kinds = sorted({report.forms[t.name] for t in _of(report, last)})
        if kinds:
            found.append(f"{what} are stored as {' and '.join(kinds)}")
    scales = Counter(
        (name, _type(tensor))
        for parts in report.parts.values()
        for name, tensor in parts.items()
        if "scale" in name
    )
    found += [f"{n:,} scales are called {name}, as {kind}" for (name, kind), n in scales.items()]
    eh = _of(report, "eh")
    if scales and eh:
        found.append(f"eh_proj is stored as {report.forms[eh[0].name]}")
    return found


def _said(raw: dict, key: str) -> str:
    return f"is {json.dumps(raw[key])}" if key in raw else "is absent"


def _of(report: Report, last: str) -> list[Published]:
    """The weights here of our own last name."""
    return [t for t in report.table if t.name in report.forms and t.param.endswith(f".{last}")]


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
