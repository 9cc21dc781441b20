"""The innermost loops of exact products and sums, written for LLVM by hand, with vectors; needs Numba.

Every kernel computes some numbers of the result over one block of k (`order.py`), adds sums that wait on a stack, and
writes what comes of it to the stack or to its place:

    s ← +0;   s ← fma(a_k, b_k, s) for the k of the block;   s ← waiting + s, as often as the tree says

How many numbers are computed together, and in which lanes, changes no bit of them. Addresses, and steps from one number
to another, are in bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core.cgutils import for_range, get_or_insert_function

from ..pointers import BYTE, NUMBERS, WORD, as_pointer, primitive
from .layout import SIZE, features, tiles

HALF = ir.IntType(32)


class Kernel(NamedTuple):
    """A function of so many words, which emit(builder, *words) writes."""

    words: int
    emit: Callable[..., None]


class Kernels:
    """Kernels for numbers of one type and one kind of vectors.

    real: "float32" or "float64". rows, vectors: of the largest tile. lanes: numbers in a vector.

    >>> kernels = Kernels("float32", 6, 2, 8)
    >>> kernels.size, kernels.width, kernels.slot, kernels.padded
    (4, 16, 384, 8)
    """

    def __init__(self, real: str, rows: int, vectors: int, lanes: int) -> None:
        self.real, self.rows, self.vectors, self.lanes = real, rows, vectors, lanes
        self._number = NUMBERS["f" if real == "float32" else "d"]
        self._vector = ir.VectorType(self._number, lanes)
        self.size = 4 if real == "float32" else 8  # bytes of a number
        self.width = vectors * lanes  # columns of a tile
        self.slot = rows * self.width * self.size  # bytes of a tile on a stack
        self.middle, self.small = (8, 4) if rows > 8 else (4, 2) if rows > 4 else (2, 1)  # rows of other tiles
        self.padded = -(-rows // lanes) * lanes  # rows of a tile where they are packed

    def all(self) -> list[Kernel]:
        """All kernels, in the order in which `driver.py` numbers them."""
        sizes = [self.rows, self.middle, self.small]
        tiles = [[self.tile(self.rows, n, True), *(self.tile(m, n, False) for m in sizes)] for n in (self.vectors, 1)]
        lines = [self.line(*form) for form in ((8, 1), (4, 2), (2, 4), (1, 8), (1, 4), (1, 2), (1, 1))]
        copies = [self.copy(n) for n in (self.rows, self.width, self.lanes)]
        both = [self.dot(squares) for squares in (False, True)]
        return [*tiles[0], *tiles[1], *lines, *both, self.transpose(), self.store_transposed(), *copies, self.across()]

    def table(self) -> Any:
        """What writes a table to where a word says: the addresses of all kernels, and their features."""

        def emit(b: Any, to: Any) -> None:
            for k, kernel in enumerate(self.all()):
                whole = ir.FunctionType(ir.VoidType(), [WORD] * kernel.words)
                function = ir.Function(b.module, whole, f"kernel_{k}")
                function.linkage = "internal"
                inside = ir.IRBuilder(function.append_basic_block())
                kernel.emit(inside, *function.args)
                inside.ret_void()
                b.store(b.ptrtoint(function, WORD), b.inttoptr(b.add(to, WORD(8 * k)), WORD.as_pointer()))
            words = features(self.size, self.rows, self.width, self.lanes, self.padded, self.middle, self.small)
            for k, number in enumerate(words, SIZE // 8):
                b.store(WORD(number), b.inttoptr(b.add(to, WORD(8 * k)), WORD.as_pointer()))

        return primitive(types.void, 1, emit)

    # -- pieces of kernels ------------------------------------------------------------------------------------------

    def _load(self, b: Any, pointer: Any, kind: Any = None) -> Any:
        kind = kind or self._vector
        loaded = b.load(b.bitcast(pointer, kind.as_pointer()))
        loaded.align = self.size
        return loaded

    def _store(self, b: Any, value: Any, pointer: Any) -> None:
        b.store(value, b.bitcast(pointer, value.type.as_pointer())).align = self.size

    def _fetch(self, b: Any, pointer: Any) -> None:
        """Have a line of memory in the cache soon."""
        whole = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), HALF, HALF, HALF])
        b.call(get_or_insert_function(b.module, whole, "llvm.prefetch.p0i8"), [pointer, HALF(0), HALF(3), HALF(1)])

    def _spread(self, b: Any, pointer: Any) -> Any:
        """A vector of which all numbers are the one at the pointer."""
        one = b.insert_element(ir.Constant(self._vector, ir.Undefined), self._load(b, pointer, self._number), HALF(0))
        return self._shuffle(b, one, one, [0] * self.lanes)

    def _shuffle(self, b: Any, one: Any, other: Any, places: list[int]) -> Any:
        return b.shuffle_vector(one, other, ir.Constant(ir.VectorType(HALF, len(places)), places))

    def _fma(self, b: Any, x: Any, y: Any, s: Any) -> Any:
        whole = ir.FunctionType(self._vector, [self._vector] * 3)
        name = f"llvm.fma.v{self.lanes}f{8 * self.size}"
        return b.call(get_or_insert_function(b.module, whole, name), [x, y, s])

    def _zeros(self, b: Any, count: int) -> list[Any]:
        slots = [b.alloca(self._vector) for _ in range(count)]
        for slot in slots:
            b.store(ir.Constant(self._vector, [0.0] * self.lanes), slot)
        return slots

    def _merge(self, b: Any, sums: list[Any], places: list[int], count: Any, top: Any, step: Any) -> None:
        """sums ← waiting + sums, `count` times, of what waits below top, the last first."""
        with for_range(b, count) as loop:
            at = _at(b, top, b.mul(b.sub(WORD(-1), loop.index), step))
            for s, place in zip(sums, places, strict=True):
                b.store(b.fadd(self._load(b, _at(b, at, WORD(place))), b.load(s)), s)

    # -- kernels ----------------------------------------------------------------------------------------------------

    def tile(self, rows: int, vectors: int, by_rows: bool) -> Kernel:
        """A tile of the result, of so many rows and vectors.

        by_rows: whether a row of a has its numbers side by side; or else a column.
        Of the words that it takes: a and its step from row to row, or from column to column; b and its step from row to
        row; how many k; near and top: how many sums wait on the stack, and where it ends; far and base: the same of a
        second stack, which has those of all tiles side by side; to and its step from row to row: where the result goes.
        """
        size, lane = self.size, self.lanes * self.size
        row_size = self.width * size
        pairs = [(i, v) for i in range(rows) for v in range(vectors)]
        places = [i * row_size + v * lane for i, v in pairs]

        def emit(b: Any, *words: Any) -> None:
            a, sa, of_b, sb, k, near, top, far, base, to, row = words
            a, of_b, top, base, to = (b.inttoptr(x, BYTE.as_pointer()) for x in (a, of_b, top, base, to))
            sums = self._zeros(b, len(pairs))
            with for_range(b, k) as loop:
                p = loop.index
                line = _at(b, of_b, b.mul(p, sb))
                vector = [self._load(b, _at(b, line, WORD(v * lane))) for v in range(vectors)]
                column = _at(b, a, b.mul(p, WORD(size) if by_rows else sa))
                for i in range(rows):
                    x = self._spread(b, _at(b, column, b.mul(sa, WORD(i)) if by_rows else WORD(i * size)))
                    for v in range(vectors):
                        s = sums[i * vectors + v]
                        b.store(self._fma(b, x, vector[v], b.load(s)), s)
            self._merge(b, sums, places, near, top, WORD(self.slot))
            self._merge(b, sums, places, far, base, WORD(self.slot * math.prod(tiles(self.rows, self.width, size))))
            for s, (i, v) in zip(sums, pairs, strict=True):
                self._store(b, b.load(s), _at(b, to, b.add(b.mul(row, WORD(i)), WORD(v * lane))))

        return Kernel(11, emit)

    def line(self, blocks: int, vectors: int) -> Kernel:
        """Part of a single row of the result, over so many neighbouring blocks, whose sums are added as a tree.

        Words: a and its step; b and its step from row to row; how many k each block has; how many sums wait, where the
        stack ends, the bytes of an entry; where the result goes.
        """
        lane = self.lanes * self.size

        def emit(b: Any, *words: Any) -> None:
            a, sa, of_b, sb, k, count, top, entry, to = words
            a, of_b, top, to = (b.inttoptr(x, BYTE.as_pointer()) for x in (a, of_b, top, to))
            sums = self._zeros(b, blocks * vectors)
            starts = [b.mul(k, WORD(block)) for block in range(blocks)]
            with for_range(b, k) as loop:
                for block, start in enumerate(starts):
                    p = b.add(start, loop.index)
                    line = _at(b, of_b, b.mul(p, sb))
                    x = self._spread(b, _at(b, a, b.mul(p, sa)))
                    for v in range(vectors):
                        s = sums[block * vectors + v]
                        b.store(self._fma(b, x, self._load(b, _at(b, line, WORD(v * lane))), b.load(s)), s)
            apart = 1
            while apart < blocks:
                for block in range(0, blocks, 2 * apart):
                    for v in range(vectors):
                        s, other = sums[block * vectors + v], sums[(block + apart) * vectors + v]
                        b.store(b.fadd(b.load(s), b.load(other)), s)
                apart *= 2
            places = [v * lane for v in range(vectors)]
            self._merge(b, sums[:vectors], places, count, top, entry)
            for s, place in zip(sums[:vectors], places, strict=True):
                self._store(b, b.load(s), _at(b, to, WORD(place)))

        return Kernel(9, emit)

    def across(self) -> Kernel:
        """As many neighbours of a single row of the result as a vector has lanes, where the columns of b have their
        numbers side by side.

        Words: a and its step; b, its step from column to column, and how many columns it has (the last one again in
        place of others); how many k; how many sums wait, where the stack ends; where the result goes.
        """
        lane = self.lanes * self.size

        def emit(b: Any, *words: Any) -> None:
            a, sa, of_b, sb, columns, k, count, top, to = words
            a, of_b, top, to = (b.inttoptr(x, BYTE.as_pointer()) for x in (a, of_b, top, to))
            sums = self._zeros(b, 1)
            last = b.sub(columns, WORD(1))
            starts = [
                _at(b, of_b, b.mul(sb, b.select(b.icmp_signed("<", WORD(j), columns), WORD(j), last)))
                for j in range(self.lanes)
            ]

            def add(p: Any, line: Any) -> None:
                x = self._spread(b, _at(b, a, b.mul(p, sa)))
                b.store(self._fma(b, x, line, b.load(sums[0])), sums[0])

            whole = b.udiv(k, WORD(self.lanes))
            with for_range(b, whole) as loop:
                first = b.mul(loop.index, WORD(self.lanes))
                lines = [self._load(b, _at(b, start, b.mul(first, WORD(self.size)))) for start in starts]
                for p, line in enumerate(self._transposed(b, lines)):
                    add(b.add(first, WORD(p)), line)
            with for_range(b, b.sub(k, b.mul(whole, WORD(self.lanes)))) as loop:
                p = b.add(loop.index, b.mul(whole, WORD(self.lanes)))
                line = ir.Constant(self._vector, ir.Undefined)
                for j, start in enumerate(starts):
                    number = self._load(b, _at(b, start, b.mul(p, WORD(self.size))), self._number)
                    line = b.insert_element(line, number, HALF(j))
                add(p, line)
            self._merge(b, sums, [0], count, top, WORD(lane))
            self._store(b, b.load(sums[0]), to)

        return Kernel(9, emit)

    def dot(self, squares: bool) -> Kernel:
        """Σ a b over one block for each lane, and the lanes' sums added as a tree. a, b side by side; squares: b is a.

        Words: a, b, the numbers of a block (a multiple of the lanes); how many sums wait, where the stack ends, the
        bytes of an entry; to.
        """
        lane = self.lanes * self.size

        def emit(b: Any, *words: Any) -> None:
            a, of_b, k, count, top, entry, to = words
            a, of_b, top, to = (b.inttoptr(x, BYTE.as_pointer()) for x in (a, of_b, top, to))
            (s,) = self._zeros(b, 1)
            apart = b.mul(k, WORD(self.size))
            with for_range(b, b.udiv(k, WORD(self.lanes))) as loop:
                start = b.mul(loop.index, WORD(lane))
                operands = []
                for pointer in (a, of_b)[: 2 - squares]:
                    first = _at(b, pointer, start)
                    for i in range(self.lanes):
                        self._fetch(b, _at(b, first, b.mul(apart, WORD(self.lanes + i))))
                    lines = [self._load(b, _at(b, first, b.mul(apart, WORD(i)))) for i in range(self.lanes)]
                    operands.append(self._transposed(b, lines))
                for x, y in zip(operands[0], operands[-1], strict=True):
                    b.store(self._fma(b, x, y, b.load(s)), s)
            total = b.load(s)
            left = self.lanes
            while left > 1:
                even, odd = ([n % left for n in range(first, 2 * self.lanes, 2)] for first in (0, 1))
                total = b.fadd(self._shuffle(b, total, total, even), self._shuffle(b, total, total, odd))
                left //= 2
            b.store(total, s)
            with for_range(b, count) as loop:
                waits = self._spread(b, _at(b, top, b.mul(b.sub(WORD(-1), loop.index), entry)))
                b.store(b.fadd(waits, b.load(s)), s)
            self._store(b, b.extract_element(b.load(s), HALF(0)), to)

        return Kernel(7, emit)

    # -- copies -----------------------------------------------------------------------------------------------------

    def _transposed(self, b: Any, lines: list[Any]) -> list[Any]:
        """The columns of a square of numbers, of its lines."""
        n = self.lanes
        low = [k // 2 + (k % 2) * n for k in range(n)]
        high = [place + n // 2 for place in low]
        for _ in range(n.bit_length() - 1):
            pairs = [(lines[i], lines[i + n // 2]) for i in range(n // 2)]
            lines = [self._shuffle(b, *pair, places) for pair in pairs for places in (low, high)]
        return lines

    def transpose(self) -> Kernel:
        """to[k, i] = of[i, k] of a square of as many numbers as lanes each way. Words: of, its step from row to row,
        how many rows it has (the last one again in place of others), to, its step from row to row."""

        def emit(b: Any, of: Any, step: Any, rows: Any, to: Any, row: Any) -> None:
            of, to = (b.inttoptr(x, BYTE.as_pointer()) for x in (of, to))
            last = b.sub(rows, WORD(1))
            lines = []
            for i in range(self.lanes):
                k = b.select(b.icmp_signed("<", WORD(i), rows), WORD(i), last)
                lines.append(self._load(b, _at(b, of, b.mul(k, step))))
            for k, line in enumerate(self._transposed(b, lines)):
                self._store(b, line, _at(b, to, b.mul(row, WORD(k))))

        return Kernel(5, emit)

    def store_transposed(self) -> Kernel:
        """to[j, i] = tile[i, j] for all rows of the largest tile and as many of its columns as lanes. Words: tile, to,
        its step from j to j + 1."""
        pieces = _pieces(self.rows, self.lanes)

        def emit(b: Any, tile: Any, to: Any, step: Any) -> None:
            tile, to = (b.inttoptr(x, BYTE.as_pointer()) for x in (tile, to))
            for first in range(0, self.rows, self.lanes):
                rows = [min(first + i, self.rows - 1) for i in range(self.lanes)]
                lines = [self._load(b, _at(b, tile, WORD(i * self.width * self.size))) for i in rows]
                for j, line in enumerate(self._transposed(b, lines)):
                    for start, count in pieces:
                        if first <= start < first + self.lanes:
                            part = self._shuffle(b, line, line, list(range(start - first, start - first + count)))
                            self._store(b, part, _at(b, to, b.add(b.mul(step, WORD(j)), WORD(start * self.size))))

        return Kernel(3, emit)

    def copy(self, count: int) -> Kernel:
        """Rows of so many numbers. Words: of, its step, to, its step, how many rows."""
        pieces = _pieces(count, self.lanes)

        def emit(b: Any, of: Any, step: Any, to: Any, row: Any, rows: Any) -> None:
            of, to = (b.inttoptr(x, BYTE.as_pointer()) for x in (of, to))
            with for_range(b, rows) as loop:
                source, target = _at(b, of, b.mul(loop.index, step)), _at(b, to, b.mul(loop.index, row))
                values = [
                    self._load(b, _at(b, source, WORD(start * self.size)), ir.VectorType(self._number, n))
                    for start, n in pieces
                ]
                for (start, _), value in zip(pieces, values, strict=True):
                    self._store(b, value, _at(b, target, WORD(start * self.size)))

        return Kernel(5, emit)


def _caller(words: int) -> Any:
    """A function that calls the kernel at an address, its first word, with so many words."""

    def emit(b: Any, address: Any, *args: Any) -> Any:
        return b.call(as_pointer(b, address, ir.FunctionType(ir.VoidType(), [WORD] * words)), args)

    return primitive(types.void, words + 1, emit)


call_3, call_5, call_7, call_9, call_11 = (_caller(words) for words in (3, 5, 7, 9, 11))
word = primitive(types.int64, 1, lambda b, address: b.load(as_pointer(b, address, WORD)))


def _move(b: Any, to: Any, of: Any, size: Any) -> None:
    with b.if_else(b.icmp_signed("==", size, WORD(4))) as branches:
        for branch, kind in zip(branches, (HALF, WORD), strict=True):
            with branch:
                b.store(b.load(as_pointer(b, of, kind)), as_pointer(b, to, kind))


def _waiting(b: Any, part: Any, is_last: Any, group: Any, is_last_group: Any) -> Any:
    def counted(n: Any, last: Any) -> Any:
        ends_in_ones = b.cttz(b.not_(n), ir.Constant(ir.IntType(1), 0))
        return b.select(b.icmp_signed("!=", last, WORD(0)), b.ctpop(n), ends_in_ones)

    of_groups = b.select(b.icmp_signed("!=", is_last, WORD(0)), counted(group, is_last_group), WORD(0))
    return b.add(counted(part, is_last), of_groups)


move = primitive(types.void, 3, _move)  # one number. Words: to, of, its size
# how many sums part `part` of group `group` is added to, its tree within the tree of the groups. Words: part, whether
# it is the last of its group, group, whether that is the last
waiting = primitive(types.int64, 4, _waiting)


def _at(b: Any, pointer: Any, step: Any) -> Any:
    return b.gep(pointer, [step])


def _pieces(count: int, most: int) -> list[tuple[int, int]]:
    """`count` numbers as vectors of a power of two, (first, length).

    >>> _pieces(14, 16), _pieces(20, 8)
    ([(0, 8), (8, 4), (12, 2)], [(0, 8), (8, 8), (16, 4)])
    """
    found, first = [], 0
    while first < count:
        length = most
        while length > count - first:
            length //= 2
        found.append((first, length))
        first += length
    return found
