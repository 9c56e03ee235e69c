"""`flashling serve`: a model over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Names = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True)
class Kept:
    """What is kept of requests, and where.

    Parameters
    ----------
    ledger
        A folder for usage records: a line of JSON for each request.
    otlp
        A collector's address; it is sent a span of each request (OpenTelemetry, HTTP).
    store
        A folder for the responses that clients have stored; in memory when left out.
    host_cache
        GB of memory for sessions, and for what the model's own has no room for.
    disk_cache
        FOLDER:GB where sessions outlive the server.
    """

    ledger: Path | None = None
    otlp: str | None = None
    store: Path | None = None
    host_cache: float = 1.0
    disk_cache: str | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class Load:
    """How many requests there may be, how fast they run, and how they end.

    Parameters
    ----------
    queue
        Requests that may wait; more are told to come back later.
    running
        Requests that run at once; 64 on a GPU, 16 on a CPU, when left out.
    drain
        Seconds that running requests get after Ctrl-C or SIGTERM; a second one ends them.
    drafts
        Tokens guessed ahead at each step, as long as enough of them are right: for speed, and
        answers differ by rounding alone. When left out, 1 on a GPU if the model has an MTP layer.
    """

    queue: int = 512
    running: int | None = None
    drain: float = 30.0
    drafts: int | None = None


def serve(
    model: str = "embedded",
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    alias: Names = (),
    keys: Path | None = None,
    chat_template: Path | None = None,
    load: Load = Load(),  # noqa: B008
    kept: Kept = Kept(),  # noqa: B008
) -> int:
    """Serve a model and a page over HTTP: OpenAI's and Anthropic's APIs. Ctrl-C stops it.

    Parameters
    ----------
    model
        A model's folder; the small one that comes with the package when left out.
    host
        Where to listen; anything but this machine alone needs keys.
    port
        0 takes a free one.
    alias
        A name that the model is listed under as well; it may be given again.
    keys
        A file of API keys, one a line: KEY or NAME KEY. Also read from FLASHLING_KEYS.
    chat_template
        A Jinja file to use in place of the built-in chat format.
    """
    from ..server import page, run
    from ..server.keys import Keys
    from ..server.settings import Settings

    found = Settings(
        Path(model).resolve().name,
        host,
        port,
        Keys.read(keys),
        **vars(load),
        **vars(kept),
        temperature=0.0 if model == "embedded" else 0.7,
        aliases=alias,
    )
    return run.serve(model, found, page, chat_template)
