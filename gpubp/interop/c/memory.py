"""Working memory: where each value of a network lies. Values that are needed one after the other share memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Life(NamedTuple):
    """A value of `size` numbers that the steps from number `first` to number `last` need.

    >>> Life(4, 0, 1).meets(Life(4, 1, 2)), Life(4, 0, 1).meets(Life(4, 2, 3))
    (True, False)
    """

    size: int
    first: int
    last: int

    def meets(self, other: Life) -> bool:
        """Whether some step needs both."""
        return self.first <= other.last and other.first <= self.last


def offsets(lives: Sequence[Life]) -> tuple[list[int], int]:
    """Where each value begins, and how many numbers all take: the largest first, each at the lowest free place.

    No two values that one step needs overlap. The order is that of "greedy by size" in Pisarchyk and Lee, Efficient
    Memory Management for Deep Neural Net Inference (2020).

    >>> offsets([Life(8, 0, 1), Life(4, 1, 2), Life(6, 2, 3)])
    ([0, 8, 0], 12)
    """
    places: dict[int, int] = {}
    for i in sorted(range(len(lives)), key=lambda i: (-lives[i].size, i)):
        taken = sorted((places[j], places[j] + lives[j].size) for j in places if lives[i].meets(lives[j]))
        place = 0
        for start, end in taken:
            if start - place >= lives[i].size:
                break
            place = max(place, end)
        places[i] = place
    return [places[i] for i in range(len(lives))], max((places[i] + lives[i].size for i in places), default=0)
