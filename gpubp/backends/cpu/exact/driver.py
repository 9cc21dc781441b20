"""The compiled function of exact products and sums: it calls the kernels on one tile after the other.

`entries.py` compiles the text of this module, once for all types: what differs between them are the kernels and their
features, which are in a table.

A product goes over its columns in parts of NC, over rows in parts of MC, and over k in runs that fit into the cache. A
run is 2ⁿ groups, or 2ⁿ blocks of a long group, so that it has one number in the tree of each result. Where there are
several runs, these numbers wait on a stack that each tile has. The sums of the blocks within a run wait on another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import carray, int64, njit

from gpubp.backends.cpu.exact import layout as at
from gpubp.backends.cpu.exact.kernels import call_3, call_5, call_7, call_9, call_11, move, waiting, word
from gpubp.backends.cpu.exact.layout import LEVELS, LONGEST, RUN, STRIP
from gpubp.backends.order import BLOCK

BLOCK_WORDS = 23
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """A function of whole numbers for calls from compiled code alone.

    >>> callable(compiled(lambda: None))
    True
    """
    made: Function = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return made


@compiled
def _tile(
    kernel: int, a: int, sa: int, step: int, b: int, sb: int, K: int, length: int, top: int, far: int, base: int,
    to: int, row: int, table: int,
) -> None:  # fmt: skip
    """A tile over a run of k, by the kernel at an address; step: of a along k."""
    slot, pitch_of_slot = word(table + at.SLOT), word(table + at.NR) * word(table + at.SIZE)
    first = group = 0
    while first < K:
        end = min(first + length, K)
        k, block = first, 0
        while k < end:
            stop = min(k + BLOCK, end)
            near = waiting(block, stop == end, group, end == K)
            place, pitch, others = top - near * slot, pitch_of_slot, 0
            if stop == K:
                place, pitch, others = to, row, far
            x, y, n = a + k * step, b + k * sb, stop - k
            call_11(kernel, x, sa, y, sb, n, near, top, others, base, place, pitch)
            top += (1 - near) * slot
            k, block = stop, block + 1
        first, group = end, group + 1


@compiled
def _pack_rows(a: int, ra: int, ca: int, m: int, K: int, to: int, table: int) -> None:
    """m rows of a as columns with room for a whole number of vectors; what is in the rest is not used."""
    size, VL, padded = word(table + at.SIZE), word(table + at.VL), word(table + at.AP)
    done, transpose = 0, word(table + at.TRANSPOSE)
    if ca == size:
        for k in range(0, K - VL + 1, VL):
            for i in range(0, m, VL):
                place = to + (k * padded + i) * size
                call_5(transpose, a + i * ra + k * size, ra, min(m - i, VL), place, padded * size)
            done = k + VL
    elif ra == size and m == word(table + at.MR):
        call_5(word(table + at.COPY_ROWS), a, ca, to, padded * size, K)
        return
    for k in range(done, K):
        for i in range(m):
            move(to + (k * padded + i) * size, a + i * ra + k * ca, size)


@compiled
def _pack_columns(b: int, rb: int, cb: int, n: int, K: int, to: int, width: int, table: int) -> None:
    """n columns of b as rows of `width` numbers; what is in the rest is not used."""
    size, VL, NR = word(table + at.SIZE), word(table + at.VL), word(table + at.NR)
    done, transpose = 0, word(table + at.TRANSPOSE)
    if cb == size and n == width:
        if n == NR:
            call_5(word(table + at.COPY_COLUMNS), b, rb, to, NR * size, K)
        else:
            call_5(word(table + at.COPY_NARROW), b, rb, to, VL * size, K)
        return
    if rb == size:
        for k in range(0, K - VL + 1, VL):
            for j in range(0, n, VL):
                place = to + (k * width + j) * size
                call_5(transpose, b + j * cb + k * size, cb, min(n - j, VL), place, width * size)
            done = k + VL
    for k in range(done, K):
        for j in range(n):
            move(to + (k * width + j) * size, b + k * rb + j * cb, size)


@compiled
def _put_tile(tile: int, m: int, n: int, c: int, rc: int, cc: int, table: int) -> None:
    """A tile that was computed aside to its place."""
    size, VL, NR = word(table + at.SIZE), word(table + at.VL), word(table + at.NR)
    if rc == size and m == word(table + at.MR):
        done = n // VL * VL
        for j in range(0, done, VL):
            call_3(word(table + at.STORE_TRANSPOSED), tile + j * size, c + j * cc, cc)
    else:
        done = 0
    for j in range(done, n):
        for i in range(m):
            move(c + i * rc + j * cc, tile + (i * NR + j) * size, size)


@compiled
def _run(
    a: int, ra: int, ca: int, b: int, rb: int, cb: int, c: int, rc: int, cc: int, m: int, n: int, K: int, length: int,
    pack: int, is_last: int, far: int, depth: int, room: int, table: int,
) -> None:  # fmt: skip
    """A part of the result over a run of k. pack: 1 packs a, 2 packs b, 3 both."""
    size, MR, NR, VL = word(table + at.SIZE), word(table + at.MR), word(table + at.NR), word(table + at.VL)
    padded, slot, down = word(table + at.AP), word(table + at.SLOT), word(table + at.DOWN)
    of_all = down * word(table + at.RIGHT) * slot
    a_step, b_step = K * padded * size, K * NR * size
    of_a, of_b = room + word(table + at.OF_A), room + word(table + at.OF_B)
    aside, of_stacks = room + word(table + at.OF_TILE), room + word(table + at.OF_STACKS)
    for t in range((m + MR - 1) // MR):
        rows = min(MR, m - t * MR)
        if pack & 1 or rows < MR:
            _pack_rows(a + t * MR * ra, ra, ca, rows, K, of_a + t * a_step, table)
    for q in range((n + NR - 1) // NR):
        columns = min(NR, n - q * NR)
        width = VL if columns <= VL else NR
        packed = of_b + q * b_step
        at_b, sb = b + q * NR * cb, rb
        if pack & 2 or columns < width or cb != size:
            if pack & 4 == 0:
                _pack_columns(at_b, rb, cb, columns, K, packed, width, table)
            at_b, sb = packed, width * size
        for t in range((m + MR - 1) // MR):
            rows = min(MR, m - t * MR)
            if pack & 1 or rows < MR:
                at_a, sa, step = of_a + t * a_step, padded * size, padded * size
                kind = (
                    at.FULL
                    if rows > word(table + at.MIDDLE)
                    else at.FEWER
                    if rows > word(table + at.SMALL)
                    else at.FEWEST
                )
            elif ra == size:
                at_a, sa, step, kind = a + t * MR * ra, ca, ca, at.FULL
            else:
                at_a, sa, step, kind = a + t * MR * ra, ra, ca, at.ROWS
            if width < NR:
                kind += at.NARROW
            stack = of_stacks + (q * down + t) * slot + depth * of_all
            place = c + t * MR * rc + q * NR * cc
            if not is_last:
                to, row = stack - far * of_all, NR * size
            elif rows == MR and columns == width and cc == size:
                to, row = place, rc
            else:
                to, row = aside, NR * size
            _tile(word(table + kind), at_a, sa, step, at_b, sb, K, length, room, far, stack, to, row, table)
            if is_last and to == aside:
                _put_tile(to, rows, columns, place, rc, cc, table)


@compiled
def _line(
    a: int, sa: int, b: int, rb: int, c: int, cc: int, N: int, K: int, length: int, room: int, table: int
) -> None:  # fmt: skip
    """A single row c of up to STRIP numbers side by side, of b whose rows have them side by side."""
    size, VL = word(table + at.SIZE), word(table + at.VL)
    pitch = (N + VL - 1) // VL * VL
    entry = pitch * size
    packed = room + 2 * LEVELS * entry
    over = (pitch - N) * size  # how far a vector reaches beyond a row
    safe = K  # the rows of b from which vectors may be read
    if over > 0:
        safe = max(K - (over + rb - 1) // rb, 0) if rb > 0 else 0
    together = 8 if pitch == VL else 4 if pitch == 2 * VL else 2 if pitch == 4 * VL else 1
    in_lanes = N == 1 and sa == size and rb == size and length == BLOCK
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
                near = waiting(0, True, group // VL, stop == K)
            elif alone and group % together == 0 and first + together * length <= safe:
                how, count, n, stop = together, together, length, first + together * length
                end = stop
                near = waiting(0, True, group // together, stop == K)
            elif not alone and block % together == 0 and k + together * BLOCK <= min(end, safe):
                how, count, n, stop = together, together, BLOCK, k + together * BLOCK
                near = waiting(block // together, stop == end, group, end == K)
            else:
                near = waiting(block, stop == end, group, end == K)
            at_b, sb = b + k * rb, rb
            if stop > safe and how != 0:
                for p in range(n):
                    for j in range(N):
                        move(packed + p * entry + j * size, at_b + p * rb + j * size, size)
                at_b, sb = packed, entry
            x = a + k * sa
            to = top - near * entry
            if how == 0:
                call_7(word(table + (at.SQUARES if a == b else at.DOT)), x, at_b, n, near, top, entry, to)
            elif how > 1:
                kernel = at.LINE_8_1 if how == 8 else at.LINE_4_2 if how == 4 else at.LINE_2_4
                call_9(word(table + kernel), x, sa, at_b, sb, n, near, top, entry, to)
            else:
                j = 0
                while j < pitch:
                    kernel, vectors = at.LINE_1_8, 8
                    while (pitch - j) < vectors * VL:
                        kernel, vectors = kernel + 8, vectors // 2
                    start, skip = word(table + kernel), j * size
                    call_9(start, x, sa, at_b + skip, sb, n, near, top + skip, entry, to + skip)
                    j += vectors * VL
            top += (1 - near) * entry
            k, block = stop, block + (count if not alone else 1)
            if alone:
                group += count - 1
        first, group = end, group + 1
    for j in range(N):
        move(c + j * cc, room + j * size, size)


@compiled
def _across(
    a: int, sa: int, b: int, cb: int, c: int, cc: int, N: int, K: int, length: int, room: int, table: int
) -> None:  # fmt: skip
    """A single row c, of b whose columns have their numbers side by side."""
    size, VL = word(table + at.SIZE), word(table + at.VL)
    for j in range(0, N, VL):
        n, top = min(VL, N - j), room
        first = group = 0
        while first < K:
            end = min(first + length, K)
            k, block = first, 0
            while k < end:
                stop = min(k + BLOCK, end)
                near = waiting(block, stop == end, group, end == K)
                to, of_b = top - near * VL * size, b + j * cb + k * size
                call_9(word(table + at.ACROSS), a + k * sa, sa, of_b, cb, n, stop - k, near, top, to)
                top = to + VL * size
                k, block = stop, block + 1
            first, group = end, group + 1
        for i in range(n):
            move(c + (j + i) * cc, room + i * size, size)


@compiled
def _product(
    a: int, ra: int, ca: int, b: int, rb: int, cb: int, c: int, rc: int, cc: int, M: int, N: int, K: int, length: int,
    room: int, table: int,
) -> None:  # fmt: skip
    """c = a b, or cᵀ = bᵀ aᵀ, which is the same to the bit."""
    size, MR, NR = word(table + at.SIZE), word(table + at.MR), word(table + at.NR)
    few, MC, NC = 3 * MR, MR * word(table + at.DOWN), NR * word(table + at.RIGHT)
    if K == 0:
        for i in range(M):
            for j in range(N):
                move(c + i * rc + j * cc, table + at.ZERO, size)
        return
    as_it_is = (M > few or cb != size) * K * N * (1 if cb == size else 3) + (cc != size) * M * N * 3
    turned = (N > few or ra != size) * K * M * (1 if ra == size else 3) + (rc != size) * M * N * 3
    if M > 1 and (N == 1 or turned < as_it_is):
        a, ra, ca, b, rb, cb = b, cb, rb, a, ca, ra
        rc, cc, M, N = cc, rc, N, M
    if M == 1 and (cb == size or N == 1):
        for j in range(0, N, STRIP):
            _line(a, ca, b + j * cb, rb, c + j * cc, cc, min(STRIP, N - j), K, length, room, table)
        return
    if M == 1 and rb == size:
        _across(a, ca, b, cb, c, cc, N, K, length, room, table)
        return
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
            if (ra != size and ca != size) or (n > 4 * NR):
                pack |= 1
            if cb != size or M > few:  # a few rows read b where it lies
                pack |= 2
            if i > 0 and K <= LONGEST:
                pack |= 4
            depth = int64(0)  # or else Numba compiles `_run` for a constant, too
            for g in range((K + group - 1) // group):
                first = g * group
                end = min(first + group, K)
                for part in range((end - first + run - 1) // run):
                    k = first + part * run
                    stop = min(k + run, end)
                    far = waiting(part, stop == end, g, end == K)
                    _run(
                        a + i * ra + k * ca, ra, ca, b + k * rb + j * cb, rb, cb, c + i * rc + j * cc, rc, cc, m, n,
                        stop - k, inside, pack, stop == K, far, depth, room, table,
                    )  # fmt: skip
                    depth += 1 - far


def entry(block: Any) -> None:
    """A stack of products. block: a and its steps, b, c; M, N, K, length; of two axes of the stack how long it is and
    the steps of a, b and c; the room; the table."""
    w = carray(block, BLOCK_WORDS)
    room = (w[21] + 63) // 64 * 64
    table = w[22]
    for i in range(w[13]):
        for j in range(w[17]):
            a, b, c = w[0] + i * w[14] + j * w[18], w[3] + i * w[15] + j * w[19], w[6] + i * w[16] + j * w[20]
            _product(a, w[1], w[2], b, w[4], w[5], c, w[7], w[8], w[9], w[10], w[11], w[12], room, table)
