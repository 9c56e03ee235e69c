"""What a server is told when it is started."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from ..engine.request import check_drafts
from . import limits
from .keys import VARIABLE, Keys

# bytes, and the most that any cache may have
GB, MOST_GB = 10**9, 10**6


@dataclass(frozen=True)
class Settings:
    """Settings of a server. model: the name it is served under; any is accepted. aliases: those
    that it is listed under as well. ledger: the folder of the usage records. store: the folder of
    stored responses. host_cache: GB (10^9 bytes) of memory for sessions. disk_cache: FOLDER:GB for
    those that outlive the server. temperature: where a request names none. queue: requests that may
    wait. running: those that run at once, None for as many as are usual. drain: seconds that these
    get after SIGTERM. otlp: the collector that is sent a span of each request. drafts: of a
    sequence in a step, as `LLM` takes them.
    """

    model: str = "embedded"
    host: str = "127.0.0.1"
    port: int = 8000
    keys: Keys = field(default_factory=Keys)
    ledger: Path | None = None
    store: Path | None = None
    host_cache: float = 1.0
    disk_cache: str | None = None
    temperature: float = 1.0
    queue: int = limits.QUEUE
    running: int | None = None
    drain: float = 30.0
    aliases: tuple[str, ...] = ()
    otlp: str | None = None
    drafts: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise ValueError(f"port {self.port} must lie between 0 and 65535")
        if not 1 <= self.queue <= 1 << 20:
            raise ValueError(f"a queue of {self.queue} must lie between 1 and {1 << 20}")
        check_drafts(self.drafts)
        if self.running is not None and not 1 <= self.running <= 1 << 12:
            raise ValueError(f"{self.running} requests at once must lie between 1 and {1 << 12}")
        if not 0 <= self.drain <= 3600:
            raise ValueError(f"{self.drain} seconds to drain must lie between 0 and 3600")
        if not 0 <= self.host_cache <= MOST_GB:
            raise ValueError(f"a host cache of {self.host_cache} GB must lie in [0, {MOST_GB}]")
        if wrong := [name for name in self.names if not 0 < len(name) <= limits.NAME]:
            raise ValueError(f"the name {wrong[0]!r} needs 1 to {limits.NAME} characters")
        if self.otlp is not None and not self.otlp.startswith(("http://", "https://")):
            raise ValueError(f"--otlp {self.otlp!r} is no address such as http://127.0.0.1:4318")
        # says what is wrong with it
        _ = self.disk
        if not (self.keys or self.is_local):
            raise ValueError(
                f"{self.host} can be reached by others: give keys with --keys FILE or in "
                f"{VARIABLE}, or leave the host at 127.0.0.1"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """All names that it is listed under, its own first."""
        return tuple(dict.fromkeys((self.model, *self.aliases)))

    @property
    def disk(self) -> tuple[Path | None, int]:
        """The folder of what outlives the server, and its bytes."""
        if self.disk_cache is None:
            return None, 0
        folder, _, size = self.disk_cache.rpartition(":")
        try:
            found = float(size)
        except ValueError:
            found = 0.0
        if not folder or not 0 < found <= MOST_GB:
            told = f"a disk cache {self.disk_cache!r} is not FOLDER:GB, such as parked:20"
            raise ValueError(told)
        return Path(folder), int(found * GB)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
