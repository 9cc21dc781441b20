"""Products and sums in the order of `order.py`, as Numba compiles them: which kernel works on which numbers, and when.

`entries.py` compiles the text of this module for each type, with another line KERNELS.

A product goes over its columns in parts of NC, over rows in parts of MC, and over k in runs that fit into the cache. A
run is 2ⁿ groups, or 2ⁿ blocks of a long group, so that it has one number in the tree of each result. Where there are
several runs, these numbers wait on a stack that each tile has. The sums of the blocks within a run wait on another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import carray, njit

from gpubp.backends.cpu.exact.kernels import Kernels, kernel_of
from gpubp.backends.order import BLOCK

KERNELS = Kernels("float32", 6, 2, 8)

SIZE, MR, NR, VL, AP, SLOT = (
    KERNELS.size, KERNELS.rows, KERNELS.width, KERNELS.lanes, KERNELS.padded, KERNELS.slot
)  # fmt: skip
WORDS = 23
TILES = 16  # rows of tiles, and columns of tiles, that are done together
MC, NC = MR * TILES, NR * TILES
RUN, LONGEST = 512, 1024  # k of a run where there are several, and of a single one
LEVELS = 32  # sums that wait on a stack, at most
STRIP = 4096  # columns of a single row that are done together
FEW = 2 * MR  # rows for which b is not packed
OF_A = 64 * SLOT  # in the room: stacks of up to 64 sums, then a packed, b packed, a tile's own stacks
OF_B = OF_A + TILES * LONGEST * AP * SIZE
OF_TILE = OF_B + LONGEST * NC * SIZE
OF_STACKS = OF_TILE + SLOT
ROOM = 2**25  # bytes, of which the system gives those that are used
if max(OF_STACKS + TILES * TILES * LEVELS * SLOT, (2 * LEVELS + BLOCK) * STRIP * SIZE) > ROOM - 64:
    raise ValueError(f"tiles of {MR} rows and {NR} columns need more room")

MIDDLE, SMALL = KERNELS.middle, KERNELS.small
# kernels, by their number in `Kernels.all`: of tiles, a read by rows or by columns, all rows or fewer
ROWS, FULL, FEWER, FEWEST, NARROW = range(5)  # and again those of tiles of one vector
LINE_8_1, LINE_4_2, LINE_2_4, LINE_1_8, LINE_1_4, LINE_1_2, LINE_1_1 = range(8, 15)  # blocks, vectors
DOT, SQUARES, TRANSPOSE, STORE_TRANSPOSED, COPY_ROWS, COPY_COLUMNS, COPY_NARROW = range(15, 22)

_move, _clear, _word = KERNELS.move(), KERNELS.clear(), KERNELS.word()
_call_3, _call_5, _call_7, _call_9, _call_11 = (kernel_of(words) for words in (3, 5, 7, 9, 11))

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """By Numba, for calls from compiled code alone.

    >>> callable(compiled(lambda: None))
    True
    """
    made: Function = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return made


@compiled
def _ends_in_ones(n: int) -> int:
    """How many of the last bits of n are 1: with how many sums before it part n of a tree is added at once."""
    count = 0
    while n & 1:
        n >>= 1
        count += 1
    return count


@compiled
def _ones(n: int) -> int:
    """How many bits of n are 1: how many sums of n parts wait for the next one."""
    count = 0
    while n:
        n &= n - 1
        count += 1
    return count


@compiled
def _waiting(part: int, is_last: bool, group: int, is_last_group: bool) -> int:
    """How many sums part `part` of group `group` is added to, its tree within the tree of the groups."""
    if not is_last:
        return _ends_in_ones(part)
    return _ones(part) + (_ones(group) if is_last_group else _ends_in_ones(group))


@compiled
def _tile(
    kernel: int, a: int, sa: int, step: int, b: int, sb: int, K: int, length: int, top: int, far: int, base: int,
    to: int, row: int,
) -> None:  # fmt: skip
    """A tile over a run of k, by the kernel at an address; step: of a along k."""
    first = group = 0
    while first < K:
        end = min(first + length, K)
        k, block = first, 0
        while k < end:
            stop = min(k + BLOCK, end)
            near = _waiting(block, stop == end, group, end == K)
            place, pitch, others = top - near * SLOT, NR * SIZE, 0
            if stop == K:
                place, pitch, others = to, row, far
            x, y, n = a + k * step, b + k * sb, stop - k
            _call_11(kernel, x, sa, y, sb, n, near, top, others, base, place, pitch)
            top += (1 - near) * SLOT
            k, block = stop, block + 1
        first, group = end, group + 1


@compiled
def _pack_rows(a: int, ra: int, ca: int, m: int, K: int, to: int, table: int) -> None:
    """m rows of a as columns with room for AP numbers; what is in the rest is not used."""
    done, transpose = 0, _word(table + 8 * TRANSPOSE)
    if ca == SIZE:
        for k in range(0, K - VL + 1, VL):
            for i in range(0, m, VL):
                place = to + (k * AP + i) * SIZE
                _call_5(transpose, a + i * ra + k * SIZE, ra, min(m - i, VL), place, AP * SIZE)
            done = k + VL
    elif ra == SIZE and m == MR:
        _call_5(_word(table + 8 * COPY_ROWS), a, ca, to, AP * SIZE, K)
        return
    for k in range(done, K):
        for i in range(m):
            _move(to + (k * AP + i) * SIZE, a + i * ra + k * ca)


@compiled
def _pack_columns(b: int, rb: int, cb: int, n: int, K: int, to: int, width: int, table: int) -> None:
    """n columns of b as rows of `width` numbers; what is in the rest is not used."""
    done, transpose = 0, _word(table + 8 * TRANSPOSE)
    if cb == SIZE and n == width:
        if n == NR:
            _call_5(_word(table + 8 * COPY_COLUMNS), b, rb, to, NR * SIZE, K)
        else:
            _call_5(_word(table + 8 * COPY_NARROW), b, rb, to, VL * SIZE, K)
        return
    if rb == SIZE:
        for k in range(0, K - VL + 1, VL):
            for j in range(0, n, VL):
                place = to + (k * width + j) * SIZE
                _call_5(transpose, b + j * cb + k * SIZE, cb, min(n - j, VL), place, width * SIZE)
            done = k + VL
    for k in range(done, K):
        for j in range(n):
            _move(to + (k * width + j) * SIZE, b + k * rb + j * cb)


@compiled
def _put_tile(tile: int, m: int, n: int, c: int, rc: int, cc: int, table: int) -> None:
    """A tile that was computed aside to its place."""
    if rc == SIZE and m == MR:
        done = n - n % VL
        for j in range(0, done, VL):
            _call_3(_word(table + 8 * STORE_TRANSPOSED), tile + j * SIZE, c + j * cc, cc)
    else:
        done = 0
    for j in range(done, n):
        for i in range(m):
            _move(c + i * rc + j * cc, tile + (i * NR + j) * SIZE)


@compiled
def _run(
    a: int, ra: int, ca: int, b: int, rb: int, cb: int, c: int, rc: int, cc: int, m: int, n: int, K: int, length: int,
    pack: int, is_last: bool, far: int, depth: int, room: int, table: int,
) -> None:  # fmt: skip
    """A part of the result over a run of k. pack: 1 packs a, 2 packs b, 3 both."""
    for t in range((m + MR - 1) // MR):
        rows = min(MR, m - t * MR)
        if pack & 1 or rows < MR:
            _pack_rows(a + t * MR * ra, ra, ca, rows, K, room + OF_A + t * LONGEST * AP * SIZE, table)
    for q in range((n + NR - 1) // NR):
        columns = min(NR, n - q * NR)
        width = VL if columns <= VL else NR
        packed = room + OF_B + q * LONGEST * NR * SIZE
        at_b, sb = b + q * NR * cb, rb
        if pack & 2 or columns < width or cb != SIZE:
            if pack & 4 == 0:
                _pack_columns(at_b, rb, cb, columns, K, packed, width, table)
            at_b, sb = packed, width * SIZE
        for t in range((m + MR - 1) // MR):
            rows = min(MR, m - t * MR)
            if pack & 1 or rows < MR:
                at_a, sa, step = room + OF_A + t * LONGEST * AP * SIZE, AP * SIZE, AP * SIZE
                kind = FULL if rows > MIDDLE else FEWER if rows > SMALL else FEWEST
            elif ra == SIZE:
                at_a, sa, step, kind = a + t * MR * ra, ca, ca, FULL
            else:
                at_a, sa, step, kind = a + t * MR * ra, ra, ca, ROWS
            if width < NR:
                kind += NARROW
            stack = room + OF_STACKS + (q * TILES + t) * LEVELS * SLOT + depth * SLOT
            place = c + t * MR * rc + q * NR * cc
            if not is_last:
                to, row = stack - far * SLOT, NR * SIZE
            elif rows == MR and columns == width and cc == SIZE:
                to, row = place, rc
            else:
                to, row = room + OF_TILE, NR * SIZE
            _tile(_word(table + 8 * kind), at_a, sa, step, at_b, sb, K, length, room, far, stack, to, row)
            if is_last and to == room + OF_TILE:
                _put_tile(to, rows, columns, place, rc, cc, table)


@compiled
def _product(
    a: int, ra: int, ca: int, b: int, rb: int, cb: int, c: int, rc: int, cc: int, M: int, N: int, K: int, length: int,
    room: int, table: int,
) -> None:  # fmt: skip
    """c = a b, by tiles. length: of a group."""
    if K <= LONGEST:
        group = run = K
        inside = length
    elif length <= RUN:
        run = length
        while 2 * run <= RUN:
            run *= 2
        group, inside = run, length
    else:
        group, run, inside = length, RUN, RUN
    for j in range(0, N, NC):
        n = min(NC, N - j)
        for i in range(0, M, MC):
            m = min(MC, M - i)
            pack = 0
            if (ra != SIZE and ca != SIZE) or (n > 4 * NR):
                pack |= 1
            if cb != SIZE or M > FEW:
                pack |= 2
            if i > 0 and K <= LONGEST:
                pack |= 4
            depth = 0
            for g in range((K + group - 1) // group):
                first = g * group
                end = min(first + group, K)
                for part in range((end - first + run - 1) // run):
                    k = first + part * run
                    stop = min(k + run, end)
                    far = _waiting(part, stop == end, g, end == K)
                    _run(
                        a + i * ra + k * ca, ra, ca, b + k * rb + j * cb, rb, cb, c + i * rc + j * cc, rc, cc, m, n,
                        stop - k, inside, pack, stop == K, far, depth, room, table,
                    )  # fmt: skip
                    depth += 1 - far


@compiled
def _line(
    a: int, sa: int, b: int, rb: int, c: int, cc: int, N: int, K: int, length: int, room: int, table: int
) -> None:  # fmt: skip
    """A single row c of up to STRIP numbers side by side, of b whose rows have them side by side."""
    pitch = (N + VL - 1) // VL * VL
    entry = pitch * SIZE
    packed = room + 2 * LEVELS * entry
    over = (pitch - N) * SIZE  # how far a vector reaches beyond a row
    safe = K  # the rows of b from which vectors may be read
    if over > 0:
        safe = max(K - (over + rb - 1) // rb, 0) if rb > 0 else 0
    together = 8 if pitch == VL else 4 if pitch == 2 * VL else 2 if pitch == 4 * VL else 1
    in_lanes = N == 1 and sa == SIZE and rb == SIZE and length == BLOCK
    top = room
    first = group = 0
    while first < K:
        end = min(first + length, K)
        # 2ⁿ blocks at a time: of a long group, or groups of one block
        alone = length <= BLOCK
        k, block = first, 0
        while k < end:
            stop = min(k + BLOCK, end)
            how, count, n = 1, 1, stop - k
            if in_lanes and group % VL == 0 and first + VL * BLOCK <= K:
                how, count, stop = 0, VL, first + VL * BLOCK
                end = stop
                near = _waiting(0, True, group // VL, stop == K)
            elif alone and group % together == 0 and first + together * length <= safe:
                how, count, n, stop = together, together, length, first + together * length
                end = stop
                near = _waiting(0, True, group // together, stop == K)
            elif not alone and block % together == 0 and k + together * BLOCK <= min(end, safe):
                how, count, n, stop = together, together, BLOCK, k + together * BLOCK
                near = _waiting(block // together, stop == end, group, end == K)
            else:
                near = _waiting(block, stop == end, group, end == K)
            at_b, sb = b + k * rb, rb
            if stop > safe and how != 0:
                for p in range(n):
                    for j in range(N):
                        _move(packed + p * entry + j * SIZE, at_b + p * rb + j * SIZE)
                at_b, sb = packed, entry
            x = a + k * sa
            to = top - near * entry
            if how == 0:
                _call_7(_word(table + 8 * (SQUARES if a == b else DOT)), x, at_b, n, near, top, entry, to)
            elif how > 1:
                kernel = LINE_8_1 if how == 8 else LINE_4_2 if how == 4 else LINE_2_4
                _call_9(_word(table + 8 * kernel), x, sa, at_b, sb, n, near, top, entry, to)
            else:
                j = 0
                while j < pitch:
                    kernel, vectors = LINE_1_8, 8
                    while (pitch - j) < vectors * VL:
                        kernel, vectors = kernel + 1, vectors // 2
                    start, skip = _word(table + 8 * kernel), j * SIZE
                    _call_9(start, x, sa, at_b + skip, sb, n, near, top + skip, entry, to + skip)
                    j += vectors * VL
            top += (1 - near) * entry
            k, block = stop, block + (count if not alone else 1)
            if alone:
                group += count - 1
        first, group = end, group + 1
    for j in range(N):
        _move(c + j * cc, room + j * SIZE)


@compiled
def _one(
    a: int, ra: int, ca: int, b: int, rb: int, cb: int, c: int, rc: int, cc: int, M: int, N: int, K: int, length: int,
    room: int, table: int,
) -> None:  # fmt: skip
    """c = a b, or cᵀ = bᵀ aᵀ, which is the same to the bit."""
    if K == 0:
        for i in range(M):
            for j in range(N):
                _clear(c + i * rc + j * cc)
        return
    as_it_is = (M > FEW or cb != SIZE) * K * N * (1 if cb == SIZE else 3) + (cc != SIZE) * M * N * 3
    turned = (N > FEW or ra != SIZE) * K * M * (1 if ra == SIZE else 3) + (rc != SIZE) * M * N * 3
    if M > 1 and (N == 1 or turned < as_it_is):
        a, ra, ca, b, rb, cb = b, cb, rb, a, ca, ra
        rc, cc, M, N = cc, rc, N, M
    if M == 1 and (cb == SIZE or N == 1):
        for j in range(0, N, STRIP):
            _line(a, ca, b + j * cb, rb, c + j * cc, cc, min(STRIP, N - j), K, length, room, table)
    else:
        _product(a, ra, ca, b, rb, cb, c, rc, cc, M, N, K, length, room, table)


def entry(block: Any) -> None:
    """A stack of products. block: a and its steps, b, c; M, N, K, length; of two axes of the stack how long it is and
    the steps of a, b and c; the room; the table of the
    kernels."""
    w = carray(block, WORDS)
    room = (w[21] + 63) // 64 * 64
    table = w[22]
    for i in range(w[13]):
        for j in range(w[17]):
            a, b, c = w[0] + i * w[14] + j * w[18], w[3] + i * w[15] + j * w[19], w[6] + i * w[16] + j * w[20]
            _one(a, w[1], w[2], b, w[4], w[5], c, w[7], w[8], w[9], w[10], w[11], w[12], room, table)
