"""One command line, run where it can do no harm: bubblewrap with the system read-only, no network,
an empty home, its own processes, and limits on time, memory, output and file size.

The command sees a user `dev` (1000) whose home is `/home/dev`, a UTF-8 locale, and a time zone
chosen so that it is about noon: "today" then means the same by calendar and by hours.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HOME = "/home/dev"
SECONDS = 5.0
OUTPUT_BYTES = 200_000
# commands are run in threads, and a cached function may run in several before it is cached
_BUILDING = threading.Lock()
# programs that requests are about, beside coreutils: Debian's package of each
PROGRAMS = {
    "bc": "bc",
    "file": "file",
    "find": "findutils",
    "free": "procps",
    "git": "git",
    "jq": "jq",
    "python3": "python3",
    "rev": "bsdextrautils",
    "tree": "tree",
    "unzip": "unzip",
    "xxd": "xxd",
    "xz": "xz-utils",
    "zip": "zip",
}
_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/bash\ndev:x:1000:1000:Dev:/home/dev:/bin/bash\n",
    "group": "root:x:0:\ndev:x:1000:\n",
    "hosts": "127.0.0.1 localhost\n",
    "gitconfig": "[user]\n\tname = Dev\n\temail = dev@example.org\n[init]\n\tdefaultBranch = main\n"
    "[safe]\n\tdirectory = *\n[core]\n\tpager = cat\n\tquotePath = false\n[advice]\n"
    "\tdetachedHead = false\n[gc]\n\tauto = 0\n",
}
# limits, then what the situation needs, the command itself, and a look at what it left; the last
# goes to a descriptor of its own, so that the command's output stays apart
_SCRIPT = """ulimit -f 20000 -v 2000000 -c 0; ulimit -u 400 2>/dev/null
eval "$1"
eval "$2"
{ eval "$3"; } >&"$4" 2>/dev/null
"""


@dataclass(frozen=True)
class Ran:
    """What a command left: its output, its errors, what the look afterwards printed, and whether
    it was stopped by the clock. Output beyond 200,000 bytes is cut off.
    """

    out: str
    err: str
    after: str = ""
    late: bool = False


def trouble() -> str:
    """What hinders the sandbox on this machine, with the remedy; empty when nothing does."""
    if os.name != "posix" or shutil.which("bash") is None:
        return "the sandbox needs Linux with bash"
    lacking = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name)})
    if shutil.which("bwrap") is None:
        lacking.insert(0, "bubblewrap")
    if lacking:
        return f"not installed: {', '.join(lacking)}: run apt install {' '.join(lacking)}"
    return _refusal()


@cache
def _refusal() -> str:
    probe = ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    said = done.stderr.strip() or f"exit status {done.returncode}"
    remedy = "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"
    return f"bwrap cannot start ({said}): {remedy}"


def run(
    command: str,
    folder: Path,
    *,
    mount: str = HOME,
    cwd: str = ".",
    before: str = "",
    after: str = "",
    seconds: float = SECONDS,
) -> Ran:
    """Run `command` with `bash -c`; it may write to `folder`, which it sees at `mount`, and to its
    own empty home and /tmp, nowhere else.

    `before` and `after` are command lines run in the same shell around it. The shell starts in
    `cwd` below `mount`. ValueError when the sandbox cannot be had on this machine.
    """
    if hindrance := trouble():
        raise ValueError(f"no sandbox here: {hindrance}")
    with contextlib.ExitStack() as stack:
        out, err, look = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        inside = _inside(folder, mount, str(Path(mount, cwd)))
        shell = ["bash", "-c", _SCRIPT, "bash", before, command, after, str(look.fileno())]
        process = subprocess.Popen(
            [*inside, *shell],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=(look.fileno(),),
            start_new_session=True,
        )
        late = not _wait(process, seconds)
        texts = []
        for handle in (out, err, look):
            handle.seek(0)
            texts.append(handle.read(OUTPUT_BYTES).decode("utf-8", "replace"))
    return Ran(*texts, late=late)


def _wait(process: subprocess.Popen, seconds: float) -> bool:
    """Whether the process ended in time; else it is ended, with all that it started."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        # --die-with-parent and the process namespace end everything inside with bwrap itself
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    return True


def _inside(folder: Path, mount: str, start: str) -> list[str]:
    """The bwrap command line up to the program."""
    line = ["bwrap", "--unshare-all", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]
    line += ["--die-with-parent", "--new-session", "--hostname", "box"]
    line += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        root = Path("/", name)
        if root.is_symlink():
            line += ["--symlink", os.readlink(root), str(root)]
        elif root.exists():
            line += ["--ro-bind", str(root), str(root)]
    for name in ("alternatives", "ld.so.cache"):
        line += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    with _BUILDING:
        settings_folder = _etc()
    for path in sorted(settings_folder.iterdir()):
        line += ["--ro-bind", str(path), f"/etc/{path.name}"]
    line += ["--size", "50000000", "--tmpfs", "/tmp", "--size", "50000000", "--tmpfs", HOME]
    line += ["--bind", str(folder), mount, "--chdir", start, "--clearenv"]
    settings = {
        "HOME": HOME,
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "SHELL": "/bin/bash",
        "TERM": "dumb",
        "TZ": noon(time.time()),
        "USER": "dev",
    }
    for key, value in settings.items():
        line += ["--setenv", key, value]
    return line


def noon(now: float) -> str:
    """A POSIX time zone in which `now`, in seconds since the epoch, is about noon."""
    east = 12 - round(now % 86400 / 3600)
    # POSIX counts hours west of Greenwich
    return f"<{east:+03d}>{-east}"


@cache
def _etc() -> Path:
    """A folder with the few files of /etc that programs ask for."""
    folder = Path(_kept().name)
    for name, text in _ETC.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o644)
    return folder


@cache
def _kept() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="flashling-etc-")
