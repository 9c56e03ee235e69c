"""`flashling doctor`: whether a checkpoint is whole and what it says about the architecture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .info import part_of, shape
from .terminal import note, paint, progress, table

if TYPE_CHECKING:
    from ..evals.checkpoint import Papers
    from ..model.doctor import Fault, Report

# cases of a fault that are shown
SHOWN = 3


def doctor(model: str = "embedded", /, *, weights: bool = False, text: Path | None = None) -> int:
    """Check a checkpoint against its config by the headers of its files. Exit status 1: not sound.

    Parameters
    ----------
    model
        A model's folder; the small one that comes with the package when left out.
    weights
        Read the weights too, a layer at a time: how well texts are predicted under both decay
        offsets, how many MTP drafts are accepted, and whether a tool call is written.
    text
        Read this text instead of the short ones that come along; the longer, the clearer.
    """
    from ..evals.checkpoint import papers
    from ..model.doctor import answers, examine
    from ..nano import path

    folder = path() if model == "embedded" else Path(model)
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}: flashling pull fetches a model")
    report = examine(folder)
    found = papers(folder, report.config)
    print(paint("embedded model" if model == "embedded" else model, "bold"))
    print(f"  {shape(report.config)}\n")
    print(table(_rows(report)), end="\n\n")
    for line in [_files(report), *answers(report), *found.said, *report.notes]:
        print(f"- {line}")
    faults = [*report.faults, *found.faults]
    for fault in faults:
        print("\n" + _told(fault))
    if weights or text:
        if faults:
            note("the weights are not read: the checkpoint is not sound")
        else:
            _read(folder, report, found, text)
    kinds = f"{len(faults)} kinds of faults" if len(faults) > 1 else "one kind of fault"
    print("\n" + (paint(f"not sound: {kinds}", "red") if faults else paint("sound", "green")))
    return 1 if faults else 0


def _rows(report: Report) -> list[list[str]]:
    """A row for each kind of layer: how many weights, and how those that fit are stored."""
    parts: dict[str, list[str]] = {}
    for t in report.table:
        parts.setdefault(part_of(report.config, t), []).append(t.name)
    missing, wrong = report.named("missing") | report.lost, report.named("wrong")
    rows = [["part", "expected", "found", "missing", "wrong", "stored as"]]
    for part, names in parts.items():
        gone, odd = len(missing.intersection(names)), len(wrong.intersection(names))
        forms = sorted({report.forms[n] for n in names if n in report.forms})
        counts = [f"{n:,}" for n in (len(names), len(names) - gone, gone, odd)]
        rows.append([part, *counts, ", ".join(forms)])
    extra = sum(len(f.said) for f in report.faults if f.kind == "unexpected")
    if extra:
        rows.append(["not expected", "0", f"{extra:,}", "0", "0", ""])
    return rows


def _files(report: Report) -> str:
    from ..engine.memory import size_text

    count, size = len(report.files), sum(report.files.values())
    said = f"{count} safetensors files, {size_text(size)}"
    forms = sorted({str(scheme) for _, scheme in report.plan.groups})
    how = f"config.json declares {', '.join(forms)}" if forms else "config.json declares no scales"
    return f"{said}; {how}"


def _told(fault: Fault) -> str:
    lines = [paint(f"{fault.kind}: {len(fault.said):,}", "red")]
    lines += [f"  {said}" for said in fault.said[:SHOWN]]
    if len(fault.said) > SHOWN:
        lines.append(f"  and {len(fault.said) - SHOWN:,} more")
    return "\n".join([*lines, f"  remedy: {fault.remedy}"])


def _read(folder: Path, report: Report, found: Papers, text: Path | None) -> None:
    import torch

    from ..evals.checkpoint import OFFSETS, read

    assert found.tokenizer is not None
    texts = {text.name: text.read_text("utf-8")} if text else None
    has_gpu = torch.cuda.is_available()
    seen = read(
        folder,
        found.tokenizer,
        texts,
        dtype=torch.bfloat16 if has_gpu else torch.float32,
        device="cuda" if has_gpu else "cpu",
        progress=progress("weights"),
    )
    rows = [["nats per token", *(f"decay offset {o}" for o in OFFSETS)]]
    rows += [[name, *(f"{by[o]:.3f}" for o in OFFSETS)] for name, by in seen.loss.items()]
    print("\n" + table(rows), end="\n\n")
    for line in seen.sentences(report.config.decay_offset):
        print(f"- {line}")
