"""The commands, and errors in one line."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from cyclopts import App, CycloptsError

from .. import __version__
from .bench import bench
from .chat import chat
from .connect import connect
from .doctor import doctor
from .info import info
from .pull import pull
from .run import explain, run, suggest
from .serve import serve
from .shell import shell
from .work import evaluate, quantize, train

HELP = """Ling-2.6-flash, complete and small: talk to it, train it, look at it.

Without a model every command uses the small one that comes with the package. Add --debug to any
command to see where an error comes from.
"""
app = App(name="flashling", help=HELP, version=__version__)
COMMANDS = (chat, run, serve, connect, suggest, explain, shell, info, pull, doctor, bench)
COMMANDS += (train, quantize)
for command in COMMANDS:
    app.command(command)
app.command(evaluate, name="eval")
# what a user, a file or a machine can cause: said in a line
EXPECTED = (ValueError, OSError, RuntimeError, ImportError)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status: 0, 1 for a failure, 2 for a wrong call, 3 if
    what a server runs ended again and again, 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    # what follows -- belongs to the command
    own = given.index("--") if "--" in given else len(given)
    is_debug = "--debug" in given[:own]
    given = [a for i, a in enumerate(given) if a != "--debug" or i > own]
    try:
        return _run(given)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # the reader has left; nothing more can be said to it
        sys.stderr.close()
        return 0
    except Exception as error:
        if is_debug:
            traceback.print_exc()
        else:
            _tell(error)
        return 2 if isinstance(error, CycloptsError) else 1


def _run(given: list[str]) -> int:
    command, bound, *_ = app.parse_args(given, exit_on_error=False, print_error=False)
    found: Any = command(*bound.args, **bound.kwargs)
    return found if isinstance(found, int) else 0


def _tell(error: Exception) -> None:
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, CycloptsError):
        said = f"{said.rstrip(', .')}; see flashling --help"
    elif isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("flashling"):
        said = f"{said}; install it with pip install {(error.name or '').split('.')[0]}"
    elif not isinstance(error, EXPECTED):
        said = f"{type(error).__name__}: {said}; run again with --debug and report it"
    sys.stdout.flush()
    print(f"flashling: {said}", file=sys.stderr)
