"""How well one column alone decides the targets: whether a column is the target in another form.

A class is judged by rows that took no part in its prediction. Let n(g, k) be the rows of value g with class k:

    (1)  a row of value g and class k is right if n(g, k) - 1 > n(g, j) for every other class j
    (2)  of a number that no other row has, the row is right if the next lower or next higher number has its class
    (3)  decided = (rows right / rows - p) / (1 - p)        p = share of the most frequent class

(1) leaves the row itself out, so a column with a value of its own in every row decides nothing. (2) finds thresholds.
Few classes of few rows could be met by chance, so the rows outside the most frequent class are at least LEAST.

Numbers are predicted by the mean of the rows of the same value, without the row itself, where values are few, and else
by a straight line in each of up to BINS parts of the column, with as many rows each:

    (4)  ŷ = (S_g - y) / (n_g - 1)                          S_g = Σ y over the n_g rows of value g
    (5)  decided = 1 - [Σ(y - ŷ)² / (n - p)] / [Σ(y - ȳ)² / (n - 1)]      p = parameters of the lines, 0 for (4)

(5) is the adjusted R² (Theil, Economic Forecasts and Policy, 1961).
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Decided = tuple[float, float]
BINS = 32
LEAST = 10  # rows outside the most frequent class
FEWEST = 50  # rows; of fewer nothing is said
COVERED = 0.8  # of the rows: so many have values that others have too
ENOUGH = 10  # rows of each part of a column


def decided(x: Array, t: Array, ordered: bool, classes: bool) -> Decided:
    """(the share of what a guess leaves that a column decides, the share of the rows or R² as it stands).

    x: (n,) numbers; NaN is a value of its own. t: (n,) classes from 0 on, or numbers. ordered: whether x are numbers,
    and no names. (0, 0) where the rows are too few to say.

    >>> x = np.arange(100) % 2
    >>> decided(x, x, False, True), decided(np.arange(100), x, False, True)
    ((1.0, 1.0), (0.0, 0.0))
    >>> decided(np.arange(100.0), 3.0 * np.arange(100), True, False)
    (1.0, 1.0)
    """
    if len(x) < FEWEST:
        return 0.0, 0.0
    values, group = np.unique(x, return_inverse=True)
    rows = np.bincount(group)
    judge = _classes if classes else _numbers
    return judge(x, t, values, group, rows, ordered)


def _classes(x: Array, t: Array, values: Array, group: Array, rows: Array, ordered: bool) -> Decided:
    many, shared = int(t.max()) + 1, rows[group] > 1
    pair, count = np.unique(group * many + t, return_counts=True)
    of, k = pair // many, pair % many
    order = np.lexsort((-count, of))  # by value, the most frequent class first
    first = np.ones(len(order), bool)
    first[1:] = of[order][1:] != of[order][:-1]
    best = order[first]
    second = np.zeros(len(values), np.int64)
    then = np.flatnonzero(first) + 1
    has = then < len(order)
    has[has] = ~first[then[has]]
    second[has] = count[order[then[has]]]
    others = count[best][of]
    others[best] = second
    sure = count - 1 > others  # (1)
    right = np.isin(group * many + t, pair[sure])
    kept = shared.copy()
    if ordered:
        main = k[best]
        lower, upper = main[np.maximum(group - 1, 0)], main[np.minimum(group + 1, len(values) - 1)]
        near = ((lower == t) & (group > 0)) | ((upper == t) & (group < len(values) - 1))
        right, kept = np.where(shared, right, near), np.ones(len(t), bool)  # (2)
    total = int(kept.sum())
    guess = int(np.bincount(t[kept]).max()) if total else 0
    if total < COVERED * len(t) or total - guess < LEAST:
        return 0.0, 0.0
    hit = int(right[kept].sum())
    return max(0.0, (hit - guess) / (total - guess)), hit / total  # (3)


def _numbers(x: Array, t: Array, values: Array, group: Array, rows: Array, ordered: bool) -> Decided:
    y, shared = t.astype(np.float64), rows[group] > 1
    if not ordered or len(values) <= max(BINS, len(y) // ENOUGH):
        y, n = y[shared], rows[group[shared]]
        if len(y) < max(FEWEST, COVERED * len(t)):
            return 0.0, 0.0
        sums = np.bincount(group[shared], y, minlength=len(values))
        error, parameters = y - (sums[group[shared]] - y) / (n - 1), 0  # (4)
    else:
        error, parameters = _lines(np.where(np.isnan(x), values[0], x), np.isnan(x), y)
    total, left = float(((y - y.mean()) ** 2).sum()), float((error**2).sum())
    if not total > 0 or len(y) - parameters < FEWEST // 2:
        return 0.0, 0.0
    found = max(0.0, 1 - left / (len(y) - parameters) / (total / (len(y) - 1)))  # (5)
    return found, found


def _lines(x: Array, missing: Array, y: Array) -> tuple[Array, int]:
    """The errors (n,) of a straight line in each part of x (n,), and how many parameters these have."""
    parts = min(BINS, int((~missing).sum()) // (5 * ENOUGH)) or 1
    edges: Array = np.zeros(0)
    if not missing.all():
        edges = np.unique(np.quantile(x[~missing], np.linspace(0, 1, parts + 1)[1:-1]))
    part = np.where(missing, len(edges) + 1, np.searchsorted(edges, x, side="right"))
    many = len(edges) + 2
    n = np.maximum(np.bincount(part, minlength=many), 1)
    u = x - (np.bincount(part, x, many) / n)[part]
    v = y - (np.bincount(part, y, many) / n)[part]
    spread = np.bincount(part, u * u, many)
    slope = np.divide(np.bincount(part, u * v, many), spread, out=np.zeros(many), where=spread > 0)
    return v - slope[part] * u, 2 * len(np.unique(part))
