"""Where sequences live: slots and pages while they run, checkpoints and lower tiers afterwards."""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch

from ..model.ling import Ling
from .cache import PAGE, Cache, Snapshot
from .keep import SUPERSEDED, Keeper, Kept, kind, path, whole_pages
from .pages import Pages
from .request import Sequence, Usage, pages_for
from .tiers import Tiers
from .tree import Checkpoint


class Room:
    """Slots, pages and what is kept of those that left. A sequence gets all the pages it can ever
    need when it enters, so that none fails in mid-run.
    """

    def __init__(
        self,
        model: Ling,
        slots: int,
        pages: int,
        checkpoint_bytes: int,
        tiers: Tiers | None = None,
        exact: bool = False,
    ) -> None:
        self.cache = Cache(model.config, slots, pages, model.dtype, model.head.device)
        self.pages = Pages(pages)
        self.tiers = tiers or Tiers()
        # a model in float32 or float64 is asked for every bit
        self._is_small = model.dtype == torch.bfloat16 and not exact
        shrink = self.cache.quantise if self._is_small else None
        self.keeper = Keeper(self.pages, checkpoint_bytes, spill=self._demote, shrink=shrink)
        self.free_slots = list(range(slots - 1, -1, -1))

    def is_coming(self, s: Sequence) -> bool:
        """Whether the past of a sequence is on its way from the disk to host memory, so that others
        can run meanwhile; it sets out when this is asked first.
        """
        if not s.is_met:
            s.is_met = True
            match = self.keeper.tree.match(s.request.namespace, s.tokens, len(s.tokens) - 1)
            have = match.checkpoint.snapshot.length if match.checkpoint else 0
            s.fetched = self.tiers.fetch(s.request.namespace, s.tokens, have)
        return s.fetched is not None and self.tiers.is_coming(s.fetched)

    def enter(self, s: Sequence, most: int, is_alone: bool) -> bool:
        """Give a sequence of up to `most` tokens a free slot, its pages, and the deepest past that
        is kept; False if pages are short. is_alone: nothing else runs, so all that is kept may go.
        """
        name = s.request.namespace
        while True:
            match = self.keeper.find(name, s.tokens)
            have = match.checkpoint.snapshot.length if match.checkpoint else 0
            found = self.tiers.match(name, s.tokens, len(s.tokens) - 1, known=have)
            whole = whole_pages(match.checkpoint)
            # what comes from below brings its own pages
            need = pages_for(most) - (0 if found else whole)
            if self.keeper.make_room(need, match.checkpoint):
                break
            if not is_alone:
                return False
            # even the pages of its own past must go; all that are left are enough
            self.keeper.make_room(pages_for(most))
        # only now: who cannot enter must not read a file at every step
        loaded = found[0].load(found[1]) if found else None
        s.slot = self.free_slots.pop()
        if found and loaded:
            self._fill(s, need, *loaded)
            tier, length = found[0].name, found[1].length
            # host memory may have had it from the disk for this one
            was_there = s.fetched is not None and s.fetched.length == length
            self._account(s, max(match.known, length), "disk" if was_there else tier)
        else:
            self._restore(s, pages_for(most) - whole, match.checkpoint)
            self._account(s, match.known, "device" if match.checkpoint else "")
        self.cache.lay(s.slot, s.pages)
        return True

    def explain(self, namespace: str, tokens: Items[int]) -> Usage:
        """What a prompt would go on from if it came now, and why from no later; nothing changes."""
        end = len(tokens) - 1
        match = self.keeper.tree.match(namespace, tokens, end)
        have = match.checkpoint.snapshot.length if match.checkpoint else 0
        found = self.tiers.match(namespace, tokens, end, known=have)
        source = found[0].name if found else "device" if have else ""
        done = found[1].length if found else have
        known = max(match.known, done)
        return Usage(len(tokens), done, source, miss_reason=_reason(known, done, end))

    @property
    def tokens(self) -> int:
        """How many tokens its pages hold."""
        return self.pages.count * PAGE

    def leave(self, s: Sequence) -> None:
        """Take slot and pages back."""
        assert s.slot is not None
        self.free_slots.append(s.slot)
        self.pages.drop(s.pages)
        s.slot, s.pages, s.done, s.base, s.stops, s.drafts = None, [], 0, 0, [], []
        s.last, s.owed = None, []
        s.is_met, s.fetched = False, None

    def keep(self, s: Sequence, over: int | None = None, is_parked: bool = False) -> None:
        """Keep a checkpoint where the sequence stands, if there is room for its state; from token
        `over` on it takes the place of earlier ones of its line. is_parked: in the lower tiers
        too, under its session's name.
        """
        assert s.slot is not None
        snapshot = self.cache.snapshot(s.slot, s.base, s.done - s.base, s.last)
        name, tokens = s.request.namespace, tuple(s.tokens[: s.done])
        if self.keeper.fits(snapshot.nbytes):
            self.keeper.keep(name, tokens, snapshot, s.pages, over)
        if is_parked and self.tiers.all():
            pages = self.cache.read(s.pages[: pages_for(s.done)])
            key = name, tokens, s.request.session or None
            self.tiers.park(key, self._leaving(snapshot), pages)

    def _demote(self, kept: Kept) -> None:
        """What the device gives up goes one tier down, unless nobody will ask for it."""
        if not self.tiers.all() or kind(kept) == SUPERSEDED:
            return
        tokens = path(kept)
        if not self.tiers.holds(kept.namespace, tokens):
            pages = self.cache.read(kept.pages)
            key = kept.namespace, tokens, None
            self.tiers.keep(key, self._leaving(kept.snapshot), pages)

    def _leaving(self, snapshot: Snapshot) -> Snapshot:
        """What goes to the lower tiers in place of a snapshot."""
        return self.cache.quantise(snapshot) if self._is_small else snapshot

    def _restore(self, s: Sequence, need: int, checkpoint: Checkpoint | None) -> None:
        assert s.slot is not None
        fresh = self.pages.take(need)
        if checkpoint is None:
            self.cache.clear(s.slot)
            # an MTP layer never writes place 0: what another left there must not be kept
            self.cache.pages[fresh[0], :, 0] = 0
            s.pages = fresh
            return
        whole = whole_pages(checkpoint)
        kept = list(checkpoint.pages[:whole])
        self.pages.share(kept)
        s.pages = kept + fresh
        if len(checkpoint.pages) > whole:
            self.cache.copy_page(checkpoint.pages[whole], fresh[0])
        self._set(s, checkpoint.snapshot)

    def _fill(self, s: Sequence, need: int, snapshot: Snapshot, contents: torch.Tensor) -> None:
        s.pages = self.pages.take(need)
        self.cache.fill(s.pages[: len(contents)], contents)
        snapshot = snapshot.to(self.cache.pages.device)
        self._set(s, snapshot)
        # at once on the device, for the next who goes on from it
        if self.keeper.fits(snapshot.nbytes):
            self.keeper.keep(s.request.namespace, tuple(s.tokens[: s.done]), snapshot, s.pages)

    def _set(self, s: Sequence, snapshot: Snapshot) -> None:
        assert s.slot is not None
        s.base, s.done = self.cache.restore(s.slot, snapshot), snapshot.length
        hidden = snapshot.hidden
        s.last = None if hidden is None else hidden.to(self.cache.pages.device)
        s.owed = [] if s.last is None else [s.last[None]]

    def _account(self, s: Sequence, known: int, source: str) -> None:
        end, usage = len(s.tokens) - 1, s.usage
        if not usage.is_told:
            usage.is_told, usage.cached, usage.restored_from = True, s.done, source
            usage.recomputed = max(0, min(known, end) - s.done)
            usage.miss_reason = _reason(known, s.done, end)
        s.stops = self.keeper.policy.stops(s.done, end, known, s.request.boundaries)


def _reason(known: int, done: int, most: int) -> str:
    if done == most:
        return ""
    if done >= known:
        return f"first difference at token {known}" if known else "never seen"
    return "evicted" if done == 0 else f"no checkpoint between tokens {done} and {known}"
