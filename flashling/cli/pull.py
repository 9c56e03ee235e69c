"""`flashling pull`: fetch a published checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from .terminal import note

if TYPE_CHECKING:
    from ..pull import Remote, Repository, Watch


def pull(name: str, /, *, to: Path | None = None) -> None:
    """Fetch a published checkpoint: the only command that goes out. Run again, it goes on.

    HF_TOKEN and MODELSCOPE_API_TOKEN are used where they are set; HF_ENDPOINT and
    MODELSCOPE_ENDPOINT name mirrors. Every file is checked by the digest that the hub tells.

    Parameters
    ----------
    name
        ling-2.6-flash, ling-2.6-flash-fp8 or ling-2.6-flash-int4; or owner/name on Hugging Face
        (also hf:owner/name), or ms:owner/name on ModelScope.
    to
        The folder to write; by default one of the model's name, here.
    """
    from ..pull import find, size_text

    found = find(name)
    folder = to or Path(found.name.rpartition("/")[2])
    note(f"{found.name} from {found.web.hub}: {len(found.files)} files, {size_text(found.size)}")
    try:
        with _shown(found) as watch:
            found.pull(folder, watch)
    except KeyboardInterrupt:
        note("(stopped; run again to go on)")
        raise
    print(f"{folder}: {len(found.files)} files, {size_text(found.size)}, all checked")
    note(f"flashling doctor {folder} looks at them")


@contextmanager
def _shown(repository: Repository) -> Iterator[Watch]:
    """A watch that shows bars with speed and time left; without a terminal a line per file."""
    if not sys.stderr.isatty():
        yield _lines
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    here: dict[str, int] = {}
    lock = Lock()
    with Progress(*columns, console=Console(stderr=True)) as bars:
        total = bars.add_task("all", total=repository.size)
        tasks = {
            f.name: bars.add_task(f.name, total=f.size, visible=False) for f in repository.files
        }

        def watch(file: Remote, done: int) -> None:
            with lock:
                here[file.name] = done
                bars.update(total, completed=sum(here.values()))
            bars.update(tasks[file.name], completed=done, visible=done < file.size)

        yield watch


def _lines(file: Remote, done: int) -> None:
    from ..pull import size_text

    if done == file.size:
        note(f"{file.name}  {size_text(file.size)}")
