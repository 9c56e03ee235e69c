"""What the routes share: the model, the running turns, the counts."""

from __future__ import annotations

import re

from starlette.requests import Request

from ..llm.face import Face
from ..llm.link import Lost
from . import limits, sse
from .asked import Asked, Asker
from .errors import Refused
from .keys import Client
from .metrics import Metrics
from .settings import Settings
from .spans import Spans
from .stored import Responses
from .tape import Tape
from .turn import DEADLINE, Turn
from .usage import Ledger, account_of

ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
OPERATIONS = {"chatcmpl": "chat", "cmpl": "text_completion", "msg": "chat", "resp": "chat"}


class Hub:
    """A server's state. is_draining: whether no new request is taken any more."""

    def __init__(self, llm: Face, settings: Settings) -> None:
        self.llm, self.settings = llm, settings
        self.asker = Asker(llm, settings.temperature)
        self.ledger = Ledger(settings.ledger)
        self.spans = Spans(settings.otlp) if settings.otlp else None
        self.responses = Responses(settings.store)
        self.metrics = Metrics()
        self.is_draining = False
        self.turns: dict[str, Turn] = {}
        self.tapes: dict[str, Tape] = {}
        # a client's own id of a request, to ours
        self._called: dict[tuple[Client, str], str] = {}

    async def begin(
        self, request: Request, asked: Asked, prefix: str, model: str | None = None
    ) -> Turn:
        """A turn that the engine has taken. It stands under its id, and under the one in the
        client's X-Request-Id, until it is closed.
        """
        if self.is_draining:
            raise Refused(503, "the server is being stopped; try again soon", retry_after=5.0)
        if trouble := self.llm.engine.trouble:
            raise Lost(trouble)
        client: Client = request.scope["client_of"]
        deadline = _deadline(request)
        given = request.headers.get("x-request-id", "")
        name = (client, given) if ID.fullmatch(given) else None

        def end(turn: Turn) -> None:
            self.turns.pop(turn.id, None)
            if name is not None and self._called.get(name) == turn.id:
                del self._called[name]
            if is_taken:
                account = account_of(turn, OPERATIONS[prefix], self.settings.model, model)
                self.ledger.record(turn, account)
                self.metrics.record(turn)
                if self.spans is not None:
                    self.spans.record(turn, account, request.headers)

        is_taken = False
        turn = Turn(self.llm, asked, client, prefix, end)
        self.turns[turn.id] = turn
        if name is not None:
            self._called[name] = turn.id
        await turn.begin()
        is_taken = True
        if deadline is not None:
            await sse.until_gone(request.receive, turn.start(deadline))
        return turn

    def cancel(self, client: Client, id: str) -> bool:
        """End a running request of this client; False if there is none of that id."""
        turn = self.turns.get(self._called.get((client, id), id))
        if turn is None or turn.client != client:
            return False
        turn.cancel()
        return True

    def stop(self) -> None:
        """End all that runs, with an error that says why."""
        for turn in list(self.turns.values()):
            turn.fail(Refused(503, "the server was stopped before the answer was whole"))


def _deadline(request: Request) -> float | None:
    given = request.headers.get(DEADLINE)
    if given is None:
        return None
    found = float(given) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", given) else 0.0
    if not 0 < found <= limits.DEADLINE:
        told = f"{DEADLINE}: {given[:60]!r} is no number of seconds up to {limits.DEADLINE:.0f}"
        raise Refused(400, told, DEADLINE)
    return found


def hub_of(request: Request) -> Hub:
    """The hub of the server that got a request."""
    return request.app.hub
