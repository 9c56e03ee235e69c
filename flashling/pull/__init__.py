"""Checkpoints from a hub: the only room that goes out."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from .hubs import Remote, needed, repository
from .part import Watch, fetch, patiently
from .web import PullError, Web

__all__ = ["PullError", "Remote", "Repository", "Watch", "find", "size_text"]

# files at once
FILES = 4


@dataclass(frozen=True)
class Repository:
    """What is to be fetched: its owner/name, the way to it, its files."""

    name: str
    web: Web
    files: list[Remote]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files)

    def pull(self, folder: Path, watch: Watch) -> None:
        """Fetch all files into `folder`, a few at once, and check them; made where it is missing.

        watch(file, bytes of it that are here) is called from several threads. Run again it goes on
        where it was left. PullError says in a sentence what went wrong.
        """
        if folder.exists() and not folder.is_dir():
            raise PullError(f"{folder} is a file: name a folder with --to")
        folder.mkdir(parents=True, exist_ok=True)
        self._need_room(folder)
        stop = Event()
        with ThreadPoolExecutor(FILES) as pool:
            jobs = [pool.submit(fetch, self.web, f, folder, watch, stop) for f in self.files]
            try:
                for job in as_completed(jobs):
                    job.result()
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _need_room(self, folder: Path) -> None:
        missing = sum(f.size - min(_here(folder, f), f.size) for f in self.files)
        free = shutil.disk_usage(folder).free
        if missing > free:
            raise PullError(
                f"{folder} has {size_text(free)} free and {size_text(missing)} are still to come: "
                "make room, or name a folder on another disk with --to"
            )


def find(name: str) -> Repository:
    """The repository that `name` means, looked up at its hub. ValueError for a name of no known
    form, PullError where the hub has no such model or cannot be asked.
    """
    hub, repo = repository(name)
    web = hub.web(repo)
    # somebody waits for the first sign: three attempts are enough to say that there is no network
    files = patiently(lambda: needed(hub, web), Event(), attempts=3)
    return Repository(repo, web, files)


def _here(folder: Path, remote: Remote) -> int:
    whole, part = folder / remote.name, folder / f"{remote.name}.part"
    return next((p.stat().st_size for p in (whole, part) if p.exists()), 0)


def size_text(n: float) -> str:
    """Bytes as a person reads them."""
    unit, size = next((u for u in (("GB", 1e9), ("MB", 1e6)) if n >= u[1]), ("kB", 1e3))
    return f"{n / size:,.1f} {unit}"
