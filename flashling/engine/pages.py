"""Which pages are free, and how many hold each of the others."""

from __future__ import annotations

from collections.abc import Iterable


class Pages:
    """Numbers of pages with a count of their holders; a page nobody holds is free again."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count - 1, -1, -1))
        self._holders = [0] * count

    @property
    def free(self) -> int:
        """How many pages nobody holds."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """So many free pages, held once; the caller has asked whether there are."""
        assert count <= self.free, f"{count} pages wanted, {self.free} free"
        found = [self._free.pop() for _ in range(count)]
        for page in found:
            self._holders[page] = 1
        return found

    def share(self, pages: Iterable[int]) -> None:
        """One more holder of each page."""
        for page in pages:
            assert self._holders[page] > 0, f"page {page} is free"
            self._holders[page] += 1

    def drop(self, pages: Iterable[int]) -> None:
        """One holder less of each page."""
        for page in pages:
            assert self._holders[page] > 0, f"page {page} is free already"
            self._holders[page] -= 1
            if not self._holders[page]:
                self._free.append(page)

    def held(self, page: int) -> int:
        """How many hold a page."""
        return self._holders[page]
