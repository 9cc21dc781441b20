"""Matrix products in which the bits of a row do not depend on its position or on the other rows.

    y_i = x_i W        for each row i;   x (m, k)   W (k, n)   y (m, n)

A BLAS computes parts of one product by different code, which adds the terms Σ_k x_ik W_kj in different orders. Which
code serves row i depends on i and on m. OpenBLAS's kernel for AVX2, for example, takes 12 rows at a time: in the first
six it adds even and odd terms apart for the first 8 columns, in the last six for the last 8 columns, and elsewhere all
terms one after the other. So y_i is not one number for one x_i.

So a product is made in a way that has been tested, once in a process for each k, n and layout: rows that are all equal
must give results that are all equal. The order in which a BLAS adds depends on shapes and not on values. In the test
the terms cancel in pairs, so that the result is the sum of all rounding errors, which is another one in every other
order. The ways, of which the first that passes is taken:

    whole    one product of 48 rows
    again    then the columns in which rows differed are computed again, between columns that are not used
    singly   each row is copied to one place and multiplied alone: always the same call on the same addresses

A product of m rows is made in pieces of 48 rows, or of 144, 576 or 2304 where each of their rows has been tested to
have the bits that it has among 48. The last piece begins so early that it is full: rows that are done twice get the
same bits. Tests and products must be made with as many threads of BLAS, which is one (`blas_threads.one_blas_thread`).

A product with many numbers in W is made in blocks of 512 columns, each of which is a product of its own, so that
threads may share them where there are not enough rows to be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..recording import Call, Record

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["BLOCK", "PIECE", "PIECES", "SHARED", "Blocks", "Kind", "Way", "calls", "pieces", "submit", "way_of"]

Array = np.ndarray[Any, Any]
Scratch = Callable[[str, tuple[int, ...], Any], Array]  # memory by name, shape and dtype, as `Backend.scratch`

PIECE = 48  # rows: a multiple of what kernels take at a time, which is 2, 4, 6, 8, 12, 16 or 24
PIECES = (2304, 576, 144, PIECE)
SHARED, BLOCK = 2**20, 512  # numbers of W from which on a product is made in blocks, and the columns of one
MARGINS = (8, 16)  # columns that are not used, on either side of those that are computed again
TOGETHER = 240  # columns computed again in one product, at most: a BLAS works in blocks, and a block has edges
VECTOR = 8  # columns that a kernel treats alike, at least


class Kind(NamedTuple):
    """What the order of a BLAS's additions depends on, beside the number of rows.

    x, w: how a matrix lies in memory, "C" row by row or "F" column by column, "+" with gaps in between; y: its gaps.

    >>> Kind.of(np.zeros((48, 3)), np.zeros((5, 3)).T, np.zeros((48, 5)))
    Kind(dtype='float64', k=3, n=5, x='C', w='F', y='')
    """

    dtype: str
    k: int
    n: int
    x: str
    w: str
    y: str

    @classmethod
    def of(cls, x: Array, w: Array, y: Array) -> Kind | None:
        """The kind of a product, None if a matrix lies in memory in neither way."""
        of_x, of_w, of_y = (_lies(a) for a in (x, w, y))
        if of_x is None or of_w is None or of_y is None or of_y[0] == "F" or not x.dtype == w.dtype == y.dtype:
            return None
        return cls(str(x.dtype), len(w), w.shape[1], of_x, of_w, of_y[1:])


class Way(NamedTuple):
    """How a piece is made.

    whole: by one product. again: the columns that are computed again, as groups of (first, end), each group by a
    product of its own, between `margin` columns that are not used. singly: row by row.

    >>> Way().whole, Way().again
    (True, ())
    """

    whole: bool = True
    again: tuple[tuple[tuple[int, int], ...], ...] = ()
    margin: int = 0
    singly: bool = False


SINGLY = Way(whole=False, singly=True)


class Blocks:
    """A product whose blocks of columns are made one after the other, or by the threads of a pool.

    parts: the calls of each block. pool: asked for at every call; None for no threads.

    >>> seen = []
    >>> Blocks([[Call(seen.append, (1,), {})], [Call(seen.append, (2,), {})]], lambda: None)()
    >>> seen
    [1, 2]
    """

    def __init__(self, parts: Sequence[list[Call]], pool: Callable[[], ThreadPoolExecutor | None]) -> None:
        self.parts, self._pool = [Record(part) for part in parts], pool

    def __call__(self) -> None:
        """Make the product."""
        pool = self._pool()
        if pool is None:
            for part in self.parts:
                part()
            return
        for future in [submit(pool, _silently, part) for part in self.parts]:
            if future is not None:
                future.result()


def submit(pool: ThreadPoolExecutor, work: Callable[..., Any], *args: Any) -> Future[Any] | None:
    """Have a thread of the pool do the work; or do it at once, and return None, where no thread can be started any more
    because the interpreter is ending.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(1) as pool:
    ...     submit(pool, max, 1, 2).result()
    2
    >>> submit(pool, max, 1, 2)
    """
    try:
        return pool.submit(work, *args)
    except RuntimeError:
        work(*args)
        return None


def _silently(part: Record) -> None:
    with np.errstate(all="ignore"):  # which each thread has for itself
        part()


def blocks(x: Array, w: Array, y: Array, scratch: Scratch, pool: Callable[[], ThreadPoolExecutor | None]) -> list[Call]:
    """The calls of `calls`, or one that makes the product block by block if w is large.

    >>> x, w, y = np.ones((48, 2048)), np.ones((2048, 600)), np.empty((48, 600))
    >>> len(blocks(x, w, y, lambda name, shape, dtype: np.empty(shape, dtype), lambda: None)[0].function.parts)
    2
    """
    if w.size < SHARED or w.shape[1] <= BLOCK:
        return calls(x, w, y, scratch)
    parts = []
    for first in range(0, w.shape[1], BLOCK):
        columns = slice(first, first + BLOCK)

        def own(name: str, shape: tuple[int, ...], dtype: Any, first: int = first) -> Array:
            return scratch(f"{name} {first}", shape, dtype)

        parts.append(calls(x, w[:, columns], y[:, columns], own))
    return [Call(Blocks(parts, pool), (), {})]


def calls(x: Array, w: Array, y: Array, scratch: Scratch) -> list[Call]:
    """The calls that make y = x w, every row with the same bits at every place and among any number of rows.

    >>> x, w, y = np.ones((50, 2)), np.ones((2, 1)), np.empty((50, 1))
    >>> for call in calls(x, w, y, lambda name, shape, dtype: np.empty(shape, dtype)):
    ...     _ = call.function(*call.args, **call.kwargs)
    >>> y.min(), y.max()
    (np.float64(2.0), np.float64(2.0))
    """
    kind, m = Kind.of(x, w, y), len(x)
    way = SINGLY if kind is None else way_of(kind)
    if way.singly or kind is None:
        return _piece(SINGLY, x, w, y, scratch)
    if m < PIECE:
        few = _matrix(PIECE, kind.k, kind.x, lambda shape: scratch("few rows", shape, x.dtype))
        made = _matrix(PIECE, kind.n, "C" + kind.y, lambda shape: scratch("products of few rows", shape, x.dtype))
        before, after = Call(np.copyto, (few[:m], x), {}), Call(np.copyto, (y, made[:m]), {})
        return [before, *calls(few, w, made, scratch), after]
    found: list[Call] = []
    for rows in pieces(m, lambda size: _holds(kind, size)):
        found += _piece(way, x[rows], w, y[rows], scratch)
    return found


def pieces(m: int, holds: Callable[[int], bool]) -> Iterator[slice]:
    """0 … m-1 in pieces of such sizes as `holds` allows; the last ones may overlap. m is 48 or more.

    >>> [(rows.start, rows.stop) for rows in pieces(250, lambda size: True)]
    [(0, 144), (144, 192), (192, 240), (202, 250)]
    """
    start = 0
    while start < m:
        size = next((s for s in PIECES if s <= m - start and holds(s)), PIECE)
        start = min(start, m - size)
        yield slice(start, start + size)
        start += size


@lru_cache(maxsize=1024)
def way_of(kind: Kind) -> Way:
    """The first way that passes the test for this kind.

    >>> way_of(Kind("float32", 1, 8, "C", "C", "")).singly     # nothing is added: there is one order
    False
    """
    differing = _differing(kind, Way(), 0)
    if not differing.any():
        return Way()
    for margin in MARGINS:
        found = differing.copy()
        for attempt in (1, 2, 3):  # with other numbers, which may show what the first did not
            way = _again(found, margin)
            more = _differing(kind, way, attempt)
            if not more.any():
                return way
            found |= more
    return SINGLY


def _again(columns: Array, margin: int) -> Way:
    """The way in which these columns are computed again, or all of them if that is less work.

    >>> _again(np.arange(100) > 91, 8)
    Way(whole=True, again=(((92, 100),),), margin=8, singly=False)
    >>> _again(np.arange(20) > 14, 8)
    Way(whole=False, again=(((0, 20),),), margin=8, singly=False)
    """
    n, whole = len(columns), True
    if columns.sum() + 2 * margin >= n:
        columns, whole = np.ones(n, bool), False
    groups: list[list[tuple[int, int]]] = []
    room = 0
    for column in np.flatnonzero(columns).tolist():
        if not room:
            groups.append([])
            room = TOGETHER
        group, room = groups[-1], room - 1
        if group and group[-1][1] == column:
            group[-1] = group[-1][0], column + 1
        else:
            group.append((column, column + 1))
    return Way(whole, tuple(map(tuple, groups)), margin)


def _piece(way: Way, x: Array, w: Array, y: Array, scratch: Scratch) -> list[Call]:
    if way.singly:
        row, made = scratch("one row", (1, x.shape[1]), x.dtype), scratch("its product", (1, w.shape[1]), x.dtype)
        return [Call(_singly, (x, w, y, row, made), {})]
    found = [_product(x, w, y)] if way.whole else []
    for group in way.again:
        width = sum(end - first for first, end in group) + 2 * way.margin
        some, made = scratch("columns", (len(w), width), x.dtype), scratch("products", (len(x), width), x.dtype)
        before, after, start = [], [], way.margin
        for first, end in group:
            place = slice(start, start + end - first)
            before.append(Call(np.copyto, (some[:, place], w[:, first:end]), {}))
            after.append(Call(np.copyto, (y[:, first:end], made[:, place]), {}))
            start = place.stop
        found += [*before, _product(x, some, made), *after]
    return found


def _product(x: Array, w: Array, y: Array) -> Call:
    """y = x w by BLAS, which NumPy's dot reaches sooner than its matmul; but that can do with gaps between rows."""
    whole = y.flags.c_contiguous and all(a.flags.c_contiguous or a.flags.f_contiguous for a in (x, w))
    return Call(np.dot, (x, w, y), {}) if whole else Call(np.matmul, (x, w), {"out": y})


def _singly(x: Array, w: Array, y: Array, row: Array, made: Array) -> None:
    for i in range(len(x)):
        row[0] = x[i]
        np.matmul(row, w, out=made)
        y[i] = made[0]


# -- the test ------------------------------------------------------------------------------------------------------


def _differing(kind: Kind, way: Way, attempt: int) -> Array:
    """(n,): in which columns equal rows had different results, made this way, and their neighbours in a vector."""
    found = np.zeros(kind.n, bool)
    for draw in range(_draws(kind)):
        y = _made(kind, way, PIECE, (attempt, draw))
        found |= (y != y[0]).any(axis=0)
    vectors = np.unique(np.flatnonzero(found) // VECTOR)
    found[(vectors[:, None] * VECTOR + np.arange(VECTOR)).clip(max=kind.n - 1).reshape(-1)] = True
    return found


@lru_cache(maxsize=4096)
def _holds(kind: Kind, rows: int) -> bool:
    """Whether in a piece of so many rows each has the bits that it has in a piece of 48."""
    way = way_of(kind)
    return rows == PIECE or all((_made(kind, way, rows, (9, i)) == one).all() for i, one in enumerate(_among_48(kind)))


@lru_cache(maxsize=64)
def _among_48(kind: Kind) -> list[Array]:
    return [_made(kind, way_of(kind), PIECE, (9, draw))[0] for draw in range(_draws(kind))]


def _draws(kind: Kind) -> int:
    """How often a test is made: two orders agree by chance in half of the columns where few terms are added, and in one
    of a hundred where there are many. Then a test takes longer, too."""
    size = kind.k * max(kind.n, VECTOR)
    return 32 if size < 2**14 else 12 if size < 2**18 else 6 if size < 2**20 else 3 if size < 2**24 else 2


def _made(kind: Kind, way: Way, rows: int, draw: tuple[int, int]) -> Array:
    """(rows, n): a product of equal rows, whose terms cancel in pairs, x_b = -x_a, as W's rows are equal too."""
    rng = np.random.default_rng([kind.k, kind.n, *draw])
    order, half = rng.permutation(kind.k), kind.k // 2

    def empty(shape: tuple[int, ...]) -> Array:
        return np.empty(shape, kind.dtype)

    x, w = _matrix(rows, kind.k, kind.x, empty), _matrix(kind.k, kind.n, kind.w, empty)
    y = _matrix(rows, kind.n, "C" + kind.y, empty)
    numbers = rng.normal(size=kind.k) * 2.0 ** rng.integers(-6, 7, kind.k)  # whose roundings differ in size
    numbers[order[half : 2 * half]] = -numbers[order[:half]]
    x[:], w[:] = numbers, rng.normal(size=kind.n)
    for function, args, kwargs in _piece(way, x, w, y, lambda name, shape, dtype: np.zeros(shape, dtype)):
        function(*args, **kwargs)
    return y


def _matrix(rows: int, columns: int, lies: str, empty: Callable[[tuple[int, ...]], Array]) -> Array:
    """A matrix that lies in memory as Kind says."""
    if lies[0] == "F":
        return _matrix(columns, rows, "C" + lies[1:], empty).T
    return empty((rows, columns + 8))[:, :columns] if "+" in lies else empty((rows, columns))


def _lies(a: Array) -> str | None:
    """How a matrix lies in memory, as Kind says; None if its numbers are neighbours along neither axis."""
    if a.flags.c_contiguous:
        return "C"
    if a.flags.f_contiguous:
        return "F"
    (down, right), size = a.strides, a.itemsize
    if right == size and down >= a.shape[1] * size:
        return "C+"
    return "F+" if down == size and right >= len(a) * size else None
