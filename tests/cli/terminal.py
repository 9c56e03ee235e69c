"""A program in a terminal of its own, as a person has it."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time

ESCAPES = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[()=>][0-9AB]?)|[\r\x0f]")


class Terminal:
    """Types into a program and waits for what it shows, escape sequences left out."""

    def __init__(self, argv: list[str], cwd: str, **env: str) -> None:
        self.master, slave = os.openpty()
        clean = {"PATH": os.environ["PATH"], "TERM": "xterm", "LANG": "C.UTF-8", **env}
        # a session of its own, so that the terminal is its terminal: Ctrl-C and /dev/tty work
        code = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        code += "os.execvp(sys.argv[1], sys.argv[1:])"
        self.process = subprocess.Popen(
            ["python3", "-c", code, *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=clean,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = b""
        self.at = 0

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def wait(self, pattern: str, seconds: float = 20) -> str:
        """What is shown up to the end of `pattern`, from where the last wait ended."""
        until = time.monotonic() + seconds
        while True:
            plain = ESCAPES.sub(b"", self.seen).decode("utf-8", "replace")
            found = re.search(pattern, plain[self.at :], re.DOTALL)
            if found:
                start, self.at = self.at, self.at + found.end()
                return plain[start : self.at]
            left = until - time.monotonic()
            if left <= 0 or not self._read(left):
                raise AssertionError(f"{pattern!r} did not come; shown since: {plain[self.at :]!r}")

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], seconds)
        try:
            new = os.read(self.master, 65536) if ready else b""
        except OSError:
            return False
        self.seen += new
        return bool(new)

    def close(self) -> int:
        """Hang up; the exit status."""
        os.close(self.master)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
