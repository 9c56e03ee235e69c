"""Running it: a listener, an engine that is kept, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from ..llm.face import Face
from ..llm.frames import Setup
from ..llm.supervisor import Hopeless, Supervisor
from . import limits
from .app import Page, make
from .gate import Gate
from .settings import GB, Settings

# a failure to start, and engines that end as soon as they are started
FAILED, GIVEN_UP = 1, 3


def serve(
    model: str, settings: Settings, page: Page | None = None, template: Path | None = None
) -> int:
    """Serve the model in the folder `model` until a signal comes: the first SIGTERM or SIGINT lets
    what runs finish within the time to drain, the second ends it. The exit status: 0; 1 if the
    model cannot answer, or sessions could not be written at the end; 3 if its engine ended again
    and again. OSError if the port is taken, before the model is loaded.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    folder, disk_bytes = settings.disk
    tiers = int(settings.host_cache * GB), str(folder or ""), disk_bytes
    setup = Setup(model, *tiers, settings.queue, settings.running, settings.drafts)
    # a large model takes minutes to load, and a taken port should be known before
    with contextlib.closing(_socket(settings)) as taken:
        app = make(Face.read(Supervisor(setup), template), settings, page)
        listener = Listener(_config(app, settings), app)
        listener.run([taken])
    return listener.status if listener.started else FAILED


def _socket(settings: Settings) -> Any:
    """The address, taken but not listened at."""
    try:
        return uvicorn.Config(make, settings.host, settings.port, log_config=None).bind_socket()
    except SystemExit:
        # its reason is in the log
        place = f"{settings.host} port {settings.port}"
        raise OSError(f"cannot listen at {place}; choose another --port") from None


def _config(app: Gate, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
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


class Listener(uvicorn.Server):
    """uvicorn's server, which says where it listens, keeps an engine, and drains. status: of the
    process when it ends.
    """

    def __init__(self, config: uvicorn.Config, app: Gate) -> None:
        super().__init__(config)
        self._gate = app
        self.status = 0

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and start the engine: until it has answered once the server is not ready."""
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        name = self._gate.hub.settings.model
        print(f"flashling serves {name} at http://{host}:{port}/v1", flush=True)
        self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        try:
            await self._gate.hub.llm.engine.run()
        except Exception as error:
            has_run = isinstance(error, Hopeless) and error.has_run
            self.status = GIVEN_UP if has_run else FAILED
            self._stop(f"the model cannot answer: {error}")

    def _stop(self, why: str) -> None:
        print(f"flashling: {why}", file=sys.stderr, flush=True)
        self.should_exit = True

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
            if not await hub.llm.engine.close():
                self.status = self.status or FAILED
                self._stop("the engine did not end in order; sessions may not have been written")
            if hub.spans is not None:
                await asyncio.to_thread(hub.spans.close)

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
