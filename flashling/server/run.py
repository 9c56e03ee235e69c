"""Running it: a listener, a model that is made ready, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import uvicorn

from ..engine.engine import Engine
from ..engine.tiers import Tiers
from ..llm import LLM
from ..llm.parking import tiers_for
from ..llm.service import Service
from ..llm.sizes import engine_for
from ..sampling import Sampling
from . import limits
from .app import Page, make
from .gate import Gate
from .settings import GB, Settings


def serve(load: Callable[[], LLM], settings: Settings, page: Page | None = None) -> int:
    """Serve what `load` makes until a signal comes: the first SIGTERM or SIGINT lets what runs
    finish within the time to drain, the second ends it. The exit status: 0, or 1 if the model
    cannot answer. OSError if the port is taken, before the model is loaded.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # a large model takes minutes to load, and a taken port should be known before
    with contextlib.closing(_socket(settings)) as taken:
        llm = load()
        folder, disk_bytes = settings.disk
        host_bytes = int(settings.host_cache * GB)
        tiers = tiers_for(llm.model, host_bytes, folder, disk_bytes)
        try:
            return _listen(llm, tiers, settings, page, taken)
        finally:
            closed = threading.Event()
            # by the engine's thread, after all that was asked of it
            llm.service.ask(tiers.close)
            llm.service.ask(closed.set)
            closed.wait()


def _socket(settings: Settings) -> Any:
    """The address, taken but not listened at."""
    try:
        return uvicorn.Config(make, settings.host, settings.port, log_config=None).bind_socket()
    except SystemExit:
        # its reason is in the log
        place = f"{settings.host} port {settings.port}"
        raise OSError(f"cannot listen at {place}; choose another --port") from None


def _listen(llm: LLM, tiers: Tiers, settings: Settings, page: Page | None, taken: Any) -> int:
    def engine() -> Engine:
        # another one after a failure has the same tiers: sessions outlive it
        made = engine_for(llm.model, tiers)
        made.queue = settings.queue
        return made

    llm.service = Service(engine)
    app = make(llm, settings, page)
    config = uvicorn.Config(
        app,
        # h11 bounds the headers while it reads them
        http="h11",
        h11_max_incomplete_event_size=limits.HEADERS + 4096,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.CONNECTIONS,
        # what still runs by then has been told why it ends
        timeout_graceful_shutdown=int(settings.drain) + 5,
    )
    listener = Listener(config, app)
    listener.run([taken])
    return int(listener.has_failed or not listener.started)


class Listener(uvicorn.Server):
    """uvicorn's server, which says where it listens, makes the model ready, and drains."""

    def __init__(self, config: uvicorn.Config, app: Gate) -> None:
        super().__init__(config)
        self._gate = app
        self.has_failed = False

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and have the model answer once before the server calls itself ready."""
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        name = self._gate.hub.settings.model
        print(f"flashling serves {name} at http://{host}:{port}/v1", flush=True)
        threading.Thread(target=self._warm, name="warm", daemon=True).start()

    def _warm(self) -> None:
        hub = self._gate.hub
        try:
            hub.llm.generate([hub.llm.tokenizer.eos_ids], Sampling(max_tokens=1))
            hub.is_ready = True
        except Exception as error:
            print(f"flashling: the model cannot answer: {error}", file=sys.stderr, flush=True)
            self.has_failed = self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        """Take nothing new, let what runs finish, and end what does not in time."""
        hub = self._gate.hub
        hub.is_draining = True
        ending = asyncio.create_task(self._end())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()
            hub.stop()

    async def _end(self) -> None:
        await asyncio.sleep(self._gate.hub.settings.drain)
        self._gate.hub.stop()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take the signals, and do not pass them on at the end: who was asked to stop and did so
        has not failed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        taken = (signal.SIGINT, signal.SIGTERM)
        before = {each: signal.signal(each, self.handle_exit) for each in taken}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once."""
        self.force_exit = self.should_exit
        self.should_exit = True
