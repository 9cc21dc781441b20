"""Alignment: modules in their order beside layers in theirs, as many pairs as can be, and whether that is one way only.

    n modules, m layers, fits[i][j]: whether module i fits layer j

    (1) best(i, j) = the most pairs among the first i modules and the first j layers, in order
                   = max(best(i-1, j), best(i, j-1), best(i-1, j-1) + 1 if fits[i-1][j-1])
    (2) ways(i, j) = how many sets of so many pairs there are: those without module i, those without layer j, less those
                     that lack both and were counted twice, and those in which the two are a pair

It is the longest common subsequence (Wagner and Fischer 1974).
"""

from __future__ import annotations

from collections.abc import Sequence

Pairs = list[tuple[int, int]]


def align(fits: Sequence[Sequence[bool]]) -> tuple[Pairs, Pairs]:
    """Two of the largest alignments, as pairs (module, layer): the same twice where there is only one.

    >>> align([[True, False], [False, True]])
    ([(0, 0), (1, 1)], [(0, 0), (1, 1)])
    >>> align([[True], [True]])  # either of two modules
    ([(1, 0)], [(0, 0)])
    """
    n, m = len(fits), len(fits[0]) if fits else 0
    best = [[0] * (m + 1) for _ in range(n + 1)]
    ways = [[1] * (m + 1) for _ in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            pair = best[i - 1][j - 1] + 1 if fits[i - 1][j - 1] else -1
            most = best[i][j] = max(best[i - 1][j], best[i][j - 1], pair)  # (1)
            count = ways[i - 1][j] if best[i - 1][j] == most else 0
            count += ways[i][j - 1] if best[i][j - 1] == most else 0
            count -= ways[i - 1][j - 1] if best[i - 1][j - 1] == most else 0
            count += ways[i - 1][j - 1] if pair == most else 0
            ways[i][j] = count  # (2)
    late = _traced(fits, best, True)
    if ways[n][m] == 1:
        return late, late
    early = _traced(fits, best, False)
    return late, early if early != late else _other(fits, best, late)


def _traced(fits: Sequence[Sequence[bool]], best: Sequence[Sequence[int]], pair_first: bool) -> Pairs:
    """An alignment, back from the last module and layer: pairs where they can be had, or only where they must."""
    i, j, pairs = len(best) - 1, len(best[0]) - 1, []
    while i and j:
        can = fits[i - 1][j - 1] and best[i - 1][j - 1] + 1 == best[i][j]
        must = best[i - 1][j] < best[i][j] and best[i][j - 1] < best[i][j]
        if can and (pair_first or must):
            pairs.append((i - 1, j - 1))
            i, j = i - 1, j - 1
        elif best[i - 1][j] == best[i][j]:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _other(fits: Sequence[Sequence[bool]], best: Sequence[Sequence[int]], one: Pairs) -> Pairs:
    """An alignment as large as `one` without one of its pairs."""
    for i, j in one:
        without = [[fit and (k, l) != (i, j) for l, fit in enumerate(row)] for k, row in enumerate(fits)]
        n, m = len(best) - 1, len(best[0]) - 1
        again = [[0] * (m + 1) for _ in range(n + 1)]
        for k in range(1, n + 1):
            for l in range(1, m + 1):
                pair = again[k - 1][l - 1] + 1 if without[k - 1][l - 1] else -1
                again[k][l] = max(again[k - 1][l], again[k][l - 1], pair)
        if again[n][m] == len(one):
            return _traced(without, again, True)
    return one
