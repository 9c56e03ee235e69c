"""What is kept of the past, and what goes when room is short: arithmetic over tree and pages."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .cache import PAGE, Snapshot
from .pages import Pages
from .request import pages_for
from .tree import Checkpoint, Match, Node, Tree

# tokens between the checkpoints of a long prompt
SPARSE = 8192
# part of a budget that is freed at once, and the part from which on states are made smaller
SLACK, FULL = 1 / 64, 4 / 5
# how likely a checkpoint is asked for, by its class
SUPERSEDED, OLDER, NEWEST, SHARED = range(4)
CHANCE = (0.01, 0.3, 1.0, 1.0)
# seconds until half of agents' turns have returned
USUAL_GAP = 0.3


@dataclass
class Kept(Checkpoint):
    """A checkpoint, whose prefix it ends (`namespace`), when it was last asked for (`at`, seconds),
    and whether a later one of the same turn has taken its place. number: how many came before.
    """

    namespace: str = ""
    at: float = 0.0
    number: int = 0
    is_superseded: bool = False


class Policy:
    """Where checkpoints are taken, and what each is worth.

    They lie where agents return: at the ends of messages that the request names, before the last
    token of the prompt (which is never restored), at the end of the turn, where a text leaves what
    was known, and now and then in a long prompt.
    """

    def stops(self, done: int, end: int, known: int, boundaries: Iterable[int] = ()) -> list[int]:
        """Where to keep a checkpoint of a prompt of `end` + 1 tokens, ascending: it goes on at
        token `done`, its first `known` tokens were read before.
        """
        wanted = {*boundaries, known, end, *range(SPARSE, end, SPARSE)}
        return sorted(p for p in wanted if done < p <= end)

    def last(self, done: int) -> int:
        """Where to keep the end of a turn of `done` tokens."""
        return done

    def worth(self, kept: Kept, now: float, freed: int) -> float:
        """What is lost with a checkpoint for each of the `freed` bytes (or pages): the tokens that
        would be read again, from the nearest checkpoint above, times the chance that it is asked
        for soon. That falls with the time since it was last asked for: of agents' turns 86 %
        return in a second, 95 % in ten. So neighbours on a line protect each other less than
        isolated ones, and what is left of a long line lies far apart.
        """
        lost = kept.snapshot.length - ancestor(kept)
        return lost * CHANCE[kind(kept)] / (USUAL_GAP + now - kept.at) / max(1, freed)


def kind(kept: Kept) -> int:
    """SHARED: two texts or more go on from it. NEWEST of its line. SUPERSEDED: the end of a prompt
    whose turn has ended. OLDER: the others.
    """
    node = kept.node
    assert node is not None
    if len(node.children) != 1:
        return SHARED if node.children else NEWEST
    return SUPERSEDED if kept.is_superseded else OLDER


def ancestor(checkpoint: Checkpoint) -> int:
    """Tokens of the nearest checkpoint above."""
    node = checkpoint.node
    assert node is not None
    while node.parent is not None:
        node = node.parent
        if node.checkpoint is not None:
            return node.end
    return 0


def path(checkpoint: Checkpoint) -> tuple[int, ...]:
    """The tokens that a checkpoint has read."""
    parts: list[tuple[int, ...]] = []
    node: Node | None = checkpoint.node
    while node is not None:
        parts.append(node.tokens)
        node = node.parent
    return tuple(t for part in reversed(parts) for t in part)


class Keeper:
    """The checkpoints of one memory: their states within `state_bytes`, their pages among those
    of `pages`, which running sequences hold too.

    now: seconds, ascending. spill: told of each checkpoint that goes, while it still stands in
    the tree and holds its pages; so that a lower tier can take it. shrink: makes a state smaller,
    or gives it back as it is; those of least worth are, once four fifths of the bytes are taken.
    """

    def __init__(
        self,
        pages: Pages,
        state_bytes: int,
        policy: Policy | None = None,
        now: Callable[[], float] = time.monotonic,
        spill: Callable[[Kept], None] | None = None,
        shrink: Callable[[Snapshot], Snapshot] | None = None,
    ) -> None:
        self.pages, self.state_bytes, self.policy = pages, state_bytes, policy or Policy()
        self.tree, self.bytes_kept = Tree(), 0
        self._now, self._spill, self._shrink = now, spill, shrink
        self._kept: dict[int, Kept] = {}
        self._count = 0
        # of each page: how many checkpoints hold it
        self._holders = [0] * pages.count

    def find(self, namespace: str, tokens: Sequence[int]) -> Match:
        """What is known of a prompt, and the deepest checkpoint before its last token."""
        match = self.tree.match(namespace, tokens, len(tokens) - 1)
        if match.checkpoint is not None:
            _own(match.checkpoint).at = self._now()
        return match

    def fits(self, nbytes: int) -> bool:
        """Whether a state of so many bytes can be kept at all; asked before it is copied."""
        return nbytes <= self.state_bytes

    def keep(
        self,
        namespace: str,
        tokens: Sequence[int],
        snapshot: Snapshot,
        pages: Sequence[int],
        over: int | None = None,
    ) -> None:
        """Keep the state after `tokens`, whose latents stand in the first of `pages`; others go
        for it. Its caller still holds the pages. over: from this token on it supersedes those of
        its line (at the end of a turn: the prompt's last token, before which one was kept).
        """
        assert self.fits(snapshot.nbytes) and snapshot.length == len(tokens)
        held = tuple(pages[: pages_for(len(tokens))])
        self.pages.share(held)
        for page in held:
            self._holders[page] += 1
        kept = Kept(snapshot, held, namespace=namespace, at=self._now(), number=self._count)
        self._kept[kept.number] = kept
        self._count += 1
        self.bytes_kept += snapshot.nbytes
        before = self.tree.insert(namespace, tokens, kept)
        if before is not None:
            self._forget(before)
        if over is not None:
            self._supersede(kept, over)
        self._make_small(kept)
        if self.bytes_kept > self.state_bytes:
            # whole states more than must go, so that the next ones need no ranking
            more = int(self.state_bytes * SLACK) // snapshot.nbytes * snapshot.nbytes
            most = self.state_bytes - more
            for found in self._ranked(_state_bytes, kept):
                if self.bytes_kept <= most:
                    break
                self._drop(found)

    def make_room(self, need: int, spared: Checkpoint | None = None) -> bool:
        """Drop checkpoints other than `spared` until so many pages are free; whether they are. None
        is dropped in vain, when sequences that run hold too many.
        """
        if self.pages.free >= need:
            return True
        kept = [p for p, n in enumerate(self._holders) if n and n == self.pages.held(p)]
        saved = set(spared.pages) if spared else set[int]()
        if self.pages.free + len(kept) - len(saved.intersection(kept)) < need:
            return False
        more = int(self.pages.count * SLACK)
        for found in self._ranked(self._own_pages, spared):
            if self.pages.free >= need + more:
                break
            self._drop(found)
        return self.pages.free >= need

    def clear(self) -> None:
        """Forget everything."""
        for checkpoint in self.tree.clear():
            self._forget(checkpoint)

    def _supersede(self, kept: Kept, over: int) -> None:
        node = kept.node.parent if kept.node else None
        while node is not None and node.end >= over:
            if node.checkpoint is not None:
                _own(node.checkpoint).is_superseded = True
            node = node.parent

    def _own_pages(self, checkpoint: Checkpoint) -> int:
        """Pages that go free with a checkpoint; those that it alone holds are its last ones."""
        count = 0
        for page in reversed(checkpoint.pages):
            if self.pages.held(page) > 1:
                break
            count += 1
        return count

    def _make_small(self, spared: Kept) -> None:
        """Shrink states of least worth until enough is free or all are small."""
        if self._shrink is None or self.bytes_kept <= FULL * self.state_bytes:
            return
        for found in self._ranked(_state_bytes, spared, lambda c: c.snapshot.scale is None):
            if self.bytes_kept <= FULL * self.state_bytes:
                break
            self.bytes_kept -= found.snapshot.nbytes
            found.snapshot = self._shrink(found.snapshot)
            self.bytes_kept += found.snapshot.nbytes

    def _ranked(
        self,
        freed: Callable[[Checkpoint], int],
        spared: Checkpoint | None,
        among: Callable[[Kept], bool] = lambda _: True,
    ) -> Iterator[Kept]:
        """Checkpoints by their worth, the least first; those that free nothing by themselves come
        after all others. One that was given may go before the next is asked for.
        """
        now = self._now()

        def rank(kept: Kept) -> tuple[bool, float, int]:
            n = freed(kept)
            return not n, self.policy.worth(kept, now, n), kept.number

        ranked = [rank(c) for c in self._kept.values() if c is not spared and among(c)]
        heapq.heapify(ranked)
        while ranked:
            kept = self._kept[ranked[0][2]]
            # its neighbours may have gone since, which changes its worth
            again = rank(kept)
            if again > ranked[0]:
                heapq.heapreplace(ranked, again)
            else:
                heapq.heappop(ranked)
                yield kept

    def _drop(self, kept: Kept) -> None:
        if self._spill is not None and kind(kept) != SUPERSEDED:
            self._spill(kept)
        self.tree.remove(kept)
        self._forget(kept)

    def _forget(self, checkpoint: Checkpoint) -> None:
        del self._kept[_own(checkpoint).number]
        self.bytes_kept -= checkpoint.snapshot.nbytes
        self.pages.drop(checkpoint.pages)
        for page in checkpoint.pages:
            self._holders[page] -= 1


def _state_bytes(checkpoint: Checkpoint) -> int:
    return checkpoint.snapshot.nbytes


def _own(checkpoint: Checkpoint) -> Kept:
    """As the keeper put it into its tree."""
    assert isinstance(checkpoint, Kept)
    return checkpoint


def whole_pages(checkpoint: Checkpoint | None) -> int:
    """Pages that one who goes on from a checkpoint can share: all but the last, partial one."""
    return checkpoint.snapshot.length // PAGE if checkpoint else 0
