"""What a run tells: JSON lines, TensorBoard where it is installed, and progress on the terminal."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


class Log:
    """Records of one run. quiet: no progress. Only the process that is told to writes files."""

    def __init__(
        self, folder: Path, *, tensorboard: bool = True, quiet: bool = False, writes: bool = True
    ) -> None:
        self.file = None
        self.board: Any = None
        if writes:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = (folder / "log.jsonl").open("a")
            self.board = _board(folder / "tensorboard") if tensorboard else None
        self.progress = _Quiet() if quiet or not writes else _progress()

    def event(self, what: str, **facts: Any) -> None:
        """Something that happened once."""
        self._line({"event": what, "time": round(time.time(), 3), **facts})

    def step(self, facts: dict[str, Any], done: float, eta: float | None) -> None:
        """Figures of the steps since the last call; done in [0, 1], eta in seconds if known."""
        self._line({k: _short(v) for k, v in facts.items()})
        if self.board is not None:
            for name, value in facts.items():
                if isinstance(value, int | float) and name != "step":
                    self.board.add_scalar(f"train/{name}", value, facts["step"])
        self.progress.show(_words(facts, eta), done)

    def close(self) -> None:
        """Flush and let go of files and terminal."""
        self.progress.close()
        if self.board is not None:
            self.board.close()
        if self.file is not None:
            self.file.close()

    def _line(self, facts: dict[str, Any]) -> None:
        if self.file is not None:
            self.file.write(json.dumps(facts) + "\n")
            self.file.flush()


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _words(facts: dict[str, Any], eta: float | None) -> str:
    words = [f"step {facts['step']}", f"loss {facts['loss']:.4f}"]
    words.append(f"{facts['tokens_per_second'] / 1e3:.1f}k tok/s")
    if facts.get("mfu") is not None:
        words.append(f"MFU {100 * facts['mfu']:.1f} %")
    if facts.get("skipped"):
        words.append(f"skipped {facts['skipped']}")
    if eta is not None:
        minutes, seconds = divmod(round(eta), 60)
        words.append(f"ETA {minutes}:{seconds:02d}")
    return "  ".join(words)


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


class _Quiet:
    def show(self, words: str, done: float) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class _Plain(_Quiet):
    """One line every few seconds: for files and terminals without rich."""

    def __init__(self, every: float = 5.0) -> None:
        self.every, self.last, self.words = every, -1e9, ""

    def show(self, words: str, done: float) -> None:
        self.words = f"{100 * done:5.1f} %  {words}"
        if time.monotonic() - self.last >= self.every:
            self.last = time.monotonic()
            self._write()

    def close(self) -> None:
        if self.words:
            self._write()

    def _write(self) -> None:
        print(self.words, file=sys.stderr, flush=True)
        self.words = ""


class _Bar(_Quiet):
    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (BarColumn(24), TaskProgressColumn(), TextColumn("{task.description}"))
        self.progress = Progress(*columns)
        self.task = self.progress.add_task("starting", total=1.0)
        self.progress.start()

    def show(self, words: str, done: float) -> None:
        self.progress.update(self.task, completed=done, description=words)

    def close(self) -> None:
        self.progress.stop()


def _progress() -> _Quiet:
    if not sys.stderr.isatty():
        return _Plain()
    try:
        return _Bar()
    except ImportError:
        return _Plain()
