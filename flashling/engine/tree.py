"""The prefix tree: token sequences that were read, and the checkpoints from which to go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .cache import Snapshot
from .request import shared


@dataclass
class Checkpoint:
    """A snapshot at the end of a prefix, with the pages of all its tokens (held once each)."""

    snapshot: Snapshot
    pages: tuple[int, ...]
    node: Node | None = None


@dataclass
class Node:
    """A stretch of tokens after its parent's; `end` is how many stand before its end in all."""

    tokens: tuple[int, ...]
    end: int
    parent: Node | None = None
    children: dict[int, Node] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Match:
    """What the tree knows of a sequence: how many of its tokens were read before, and the deepest
    checkpoint among them that is asked for.
    """

    known: int
    checkpoint: Checkpoint | None


class Tree:
    """Prefixes by namespace. Every hit compares tokens; nothing is a hash."""

    def __init__(self) -> None:
        self._roots: dict[str, Node] = {}

    def match(self, namespace: str, tokens: Sequence[int], most: int) -> Match:
        """The known beginning of `tokens`, and the deepest checkpoint of at most `most` tokens."""
        node, found, at = self._roots.get(namespace), None, 0
        while node is not None:
            if node.checkpoint is not None and node.end <= most:
                found = node.checkpoint
            child = node.children.get(tokens[at]) if at < len(tokens) else None
            if child is None:
                break
            same = shared(child.tokens, tokens[at : at + len(child.tokens)])
            at += same
            node = child if same == len(child.tokens) else None
        return Match(at, found)

    def insert(
        self, namespace: str, tokens: Sequence[int], checkpoint: Checkpoint
    ) -> Checkpoint | None:
        """Put a checkpoint at the end of `tokens`; the one it replaces, if any."""
        node = self._roots.setdefault(namespace, Node((), 0))
        at = 0
        while at < len(tokens):
            child = node.children.get(tokens[at])
            if child is None:
                child = Node(tuple(tokens[at:]), len(tokens), node)
                node.children[tokens[at]] = child
            same = shared(child.tokens, tokens[at : at + len(child.tokens)])
            node = child if same == len(child.tokens) else _split(child, same)
            at += same
        before, node.checkpoint = node.checkpoint, checkpoint
        checkpoint.node = node
        if before is not None:
            before.node = None
        return before

    def remove(self, checkpoint: Checkpoint) -> None:
        """Forget a checkpoint, and the stretches that lead to no other."""
        node = checkpoint.node
        assert node is not None and node.checkpoint is checkpoint
        node.checkpoint = checkpoint.node = None
        while node.parent is not None and not node.children and node.checkpoint is None:
            parent = node.parent
            del parent.children[node.tokens[0]]
            node = parent

    def __iter__(self) -> Iterator[Checkpoint]:
        """All checkpoints."""
        waiting = list(self._roots.values())
        while waiting:
            node = waiting.pop()
            waiting += node.children.values()
            if node.checkpoint is not None:
                yield node.checkpoint

    def clear(self) -> list[Checkpoint]:
        """Forget everything; the checkpoints there were."""
        found = list(self)
        self._roots.clear()
        return found


def _split(node: Node, at: int) -> Node:
    """Cut a stretch in two; its first part."""
    parent = node.parent
    assert parent is not None
    first = Node(node.tokens[:at], node.end - len(node.tokens) + at, parent)
    first.children[node.tokens[at]] = node
    parent.children[first.tokens[0]] = first
    node.tokens, node.parent = node.tokens[at:], first
    return first
