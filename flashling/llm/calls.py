"""What may be asked of an engine from another process: functions of it and of plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_type_hints

from msgspec.msgpack import Decoder

from ..engine.records import Session
from ..engine.request import Usage

if TYPE_CHECKING:
    from ..engine.engine import Engine


def abort(engine: Engine, numbers: list[int]) -> None:
    """End requests, those that have not ended yet."""
    for number in numbers:
        engine.abort(number)


def is_waiting(engine: Engine, numbers: list[int]) -> bool:
    """Whether none of these samples has begun."""
    return {s.id for s in engine.waiting if not s.usage.is_told} >= set(numbers)


def sessions(engine: Engine, namespace: str) -> list[Session]:
    """The parked sessions, the last used first."""
    from ..engine import sessions as parked

    return parked.sessions(engine.room.tiers, namespace)


def fork(engine: Engine, namespace: str, name: str, to: str) -> bool:
    """Hold a session under another name as well; False if it is not there."""
    from ..engine import sessions as parked

    return parked.fork(engine.room.tiers, namespace, name, to)


def park(engine: Engine, namespace: str, name: str) -> bool:
    """Hold a session on the disk alone; False if it is not there."""
    from ..engine import sessions as parked

    return parked.park(engine.room.tiers, namespace, name)


def delete(engine: Engine, namespace: str, name: str) -> bool:
    """Forget a session; False if it is not there."""
    return engine.room.tiers.delete(namespace, name)


def explain(engine: Engine, namespace: str, prompts: list[list[int]]) -> list[Usage]:
    """What of each prompt is held, and why no more."""
    return [engine.room.explain(namespace, tokens) for tokens in prompts]


def gauges(engine: Engine) -> dict[str, int]:
    """What runs, waits, and is held of earlier prompts, as Prometheus names it."""
    keeper, host = engine.room.keeper, engine.room.tiers.host
    found = {
        "requests_running": len(engine.running),
        "requests_waiting": len(engine.waiting),
        'cache_bytes{tier="device"}': keeper.bytes_kept,
        'cache_limit_bytes{tier="device"}': keeper.state_bytes,
    }
    if host is not None:
        found['cache_bytes{tier="host"}'] = host.nbytes
        found['cache_limit_bytes{tier="host"}'] = host.budget_bytes
    return found


def _types(what: Callable[..., Any]) -> tuple[Decoder[Any], Decoder[Any]]:
    hints = get_type_hints(what, localns={"Engine": object})
    result, _, *arguments = hints.pop("return"), *hints.values()
    return Decoder(tuple[*arguments]), Decoder(result)


_ALL = (abort, is_waiting, sessions, fork, park, delete, explain, gauges)
CALLS: dict[str, Callable[..., Any]] = {what.__name__: what for what in _ALL}
ARGUMENTS = {what.__name__: _types(what)[0] for what in _ALL}
RESULTS = {what.__name__: _types(what)[1] for what in _ALL}
