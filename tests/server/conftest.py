"""One real server process for all tests here, on the embedded model."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

T = TypeVar("T")
KEYS = {"ann": "sk-ann-0123456789", "bob": "sk-bob-0123456789"}
ROOT = Path(__file__).parents[2]


@dataclass
class Served:
    """A server process: where it listens, and the folder of its ledger."""

    process: subprocess.Popen[str]
    url: str
    ledger: Path

    def client(self, name: str = "ann") -> httpx.Client:
        """An HTTP client with a key."""
        headers = {"authorization": f"Bearer {KEYS[name]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def held(self) -> tuple[int, int]:
        """Bytes of memory and open files of the process and those that it has started."""
        pids, size, files = [self.process.pid], 0, 0
        for pid in pids:
            home = Path("/proc") / str(pid)
            children = home / "task" / str(pid) / "children"
            pids += map(int, children.read_text().split())
            size += int((home / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            files += len(list((home / "fd").iterdir()))
        return size, files

    def gauge(self, name: str) -> float:
        """A number of /metrics."""
        with self.client() as client:
            found = re.search(
                rf"^flashling_{re.escape(name)} (.*)$", client.get("/metrics").text, re.M
            )
        assert found, name
        return float(found[1])


def start(folder: Path, *flags: str) -> Served:
    """A server with two keys and a ledger in `folder`, ready."""
    keys = folder / "keys"
    keys.write_text("# two people\n" + "".join(f"{n} {k}\n" for n, k in KEYS.items()))
    given = ["--port", "0", "--keys", str(keys), "--ledger", str(folder / "ledger"), *flags]
    process = subprocess.Popen(
        [sys.executable, "-W", "error::ResourceWarning", "-m", "flashling", "serve", *given],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+", line)
    assert found, line
    served = Served(process, found[0].removesuffix("/v1"), folder / "ledger")
    for _ in range(600):
        if httpx.get(served.url + "/ready").status_code == 200:
            return served
        time.sleep(0.05)
    raise AssertionError("it is never ready")


def stop(served: Served, sign: int = signal.SIGTERM) -> None:
    """End it; after SIGTERM it must end well."""
    served.process.send_signal(sign)
    assert served.process.wait(30) == (0 if sign == signal.SIGTERM else -sign)
    assert served.process.stdout is not None
    served.process.stdout.close()


def wait_for(what: Callable[[], T], seconds: float = 10.0) -> T:
    """What `what` comes to, once that is true."""
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.02)
    return found


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts servers of a test's own, with these flags; one that a test leaves is killed."""
    started: list[Served] = []

    def begin(*flags: str) -> Served:
        started.append(start(tmp_path, *flags))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            stop(one, signal.SIGKILL)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server that all tests share."""
    names = ("--alias", "gpt-4.1", "--alias", "org/model")
    found = start(tmp_path_factory.mktemp("served"), *names)
    yield found
    stop(found)
