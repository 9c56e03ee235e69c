"""`flashling serve`: a model over HTTP."""

from __future__ import annotations

from pathlib import Path

from .setup import load


def serve(
    model: str = "embedded",
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    keys: Path | None = None,
    alias: tuple[str, ...] = (),
    ledger: Path | None = None,
    store: Path | None = None,
    queue: int = 512,
    drain: float = 30.0,
    dtype: str | None = None,
    chat_template: Path | None = None,
) -> int:
    """Serve a model over HTTP, in the forms of OpenAI's and Anthropic's APIs, and a page to talk to
    it. Ctrl-C stops it.

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
    alias
        Another name to list; every name is accepted.
    ledger
        A folder for usage records: a line of JSON for each request.
    store
        A folder for the responses that clients have stored; in memory when left out.
    queue
        Requests that may wait; more are told to come back later.
    drain
        Seconds that running requests get after Ctrl-C or SIGTERM; a second one ends them.
    dtype
        float32, bfloat16 or float64; float32 on a CPU when left out.
    chat_template
        A Jinja file to use in place of the built-in chat format.
    """
    from ..server import page
    from ..server.keys import Keys
    from ..server.run import serve as run
    from ..server.settings import Settings

    # before the model is loaded: what is wrong should be known at once
    is_embedded = model == "embedded"
    name, temperature = (model, 0.0) if is_embedded else (Path(model).resolve().name, 0.7)
    known = Keys.read(keys)
    settings = Settings(name, host, port, alias, known, ledger, store, temperature, queue, drain)
    return run(load(model, dtype, chat_template and str(chat_template)), settings, page)
