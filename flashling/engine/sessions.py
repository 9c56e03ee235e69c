"""Sessions: the ends of turns that the lower tiers hold by name."""

from __future__ import annotations

from .records import Record, Session, unpack
from .tiers import Tier, Tiers


def sessions(tiers: Tiers, namespace: str) -> list[Session]:
    """All of a namespace, the last used first."""
    held: dict[str, list[tuple[Tier, Record]]] = {}
    for tier in tiers.all():
        for record in tier.named(namespace):
            held.setdefault(str(record.session), []).append((tier, record))
    found = [
        Session(
            name,
            places[0][1].length,
            max(r.used for _, r in places),
            {tier.name: r.nbytes for tier, r in places},
        )
        for name, places in held.items()
    ]
    return sorted(found, key=lambda s: -s.used)


def fork(tiers: Tiers, namespace: str, name: str, to: str) -> bool:
    """Hold what a session holds under another name too, in place of what that held; False if it
    is not there.
    """
    tiers.flush()
    found = tiers.session(namespace, name)
    loaded = found[0].load(found[1]) if found else None
    if found is None or loaded is None:
        return False
    tiers.park((namespace, unpack(found[1].tokens), to), *loaded)
    return True


def park(tiers: Tiers, namespace: str, name: str) -> bool:
    """Hold a session on the disk alone, and make its host memory free; False if it is not on the
    disk.
    """
    tiers.flush()
    disk, host = tiers.disk, tiers.host
    if disk is None or disk.session(namespace, name) is None:
        return False
    record = host.session(namespace, name) if host is not None else None
    if host is not None and record is not None:
        host.delete(record)
    return True
