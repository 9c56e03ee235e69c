"""`flashling serve`: a model over HTTP."""

from __future__ import annotations

from pathlib import Path


def serve(
    model: str = "embedded",
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    keys: Path | None = None,
    ledger: Path | None = None,
    store: Path | None = None,
    host_cache: float = 1.0,
    disk_cache: str | None = None,
    queue: int = 512,
    drain: float = 30.0,
    chat_template: Path | None = None,
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
    keys
        A file of API keys, one a line: KEY or NAME KEY. Also read from FLASHLING_KEYS.
    ledger
        A folder for usage records: a line of JSON for each request.
    store
        A folder for the responses that clients have stored; in memory when left out.
    host_cache
        GB of memory for sessions, and for what the model's own has no room for.
    disk_cache
        FOLDER:GB where sessions outlive the server.
    queue
        Requests that may wait; more are told to come back later.
    drain
        Seconds that running requests get after Ctrl-C or SIGTERM; a second one ends them.
    chat_template
        A Jinja file to use in place of the built-in chat format.
    """
    from ..server import page, run
    from ..server.keys import Keys
    from ..server.settings import Settings

    temperature = 0.0 if model == "embedded" else 0.7
    given = Keys.read(keys), ledger, store, host_cache, disk_cache, temperature, queue, drain
    found = Settings(Path(model).resolve().name, host, port, *given)
    return run.serve(model, found, page, chat_template)
