"""What a server is told when it is started."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from . import limits
from .keys import VARIABLE, Keys


@dataclass(frozen=True)
class Settings:
    """Settings of a server. model: the name it is served under; aliases: other names that are
    listed (any name is accepted). ledger: the folder of the usage records. store: the folder of
    stored responses. temperature: where a request names none. queue: requests that may wait. drain:
    seconds that running requests get after SIGTERM.
    """

    model: str = "embedded"
    host: str = "127.0.0.1"
    port: int = 8000
    aliases: tuple[str, ...] = ()
    keys: Keys = field(default_factory=Keys)
    ledger: Path | None = None
    store: Path | None = None
    temperature: float = 1.0
    queue: int = limits.QUEUE
    drain: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise ValueError(f"port {self.port} must lie between 0 and 65535")
        if not 1 <= self.queue <= 1 << 20:
            raise ValueError(f"a queue of {self.queue} must lie between 1 and {1 << 20}")
        if not 0 <= self.drain <= 3600:
            raise ValueError(f"{self.drain} seconds to drain must lie between 0 and 3600")
        for name in self.aliases:
            if not 0 < len(name) <= limits.NAME:
                raise ValueError(f"the alias {name!r} needs 1 to {limits.NAME} characters")
        if not (self.keys or self.is_local):
            raise ValueError(
                f"{self.host} can be reached by others: give keys with --keys FILE or in "
                f"{VARIABLE}, or leave the host at 127.0.0.1"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
