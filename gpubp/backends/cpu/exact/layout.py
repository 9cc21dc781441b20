"""Memory of exact products: a table of kernels, and a room for packed matrices and stacks.

Numbers are byte offsets of the words in a table.
"""

from __future__ import annotations

from ...order import BLOCK

TOGETHER = 224, 2048  # rows, and bytes of columns, of the tiles that are done together
RUN, LONGEST = 512, 2048
LEVELS = 32  # sums that wait on a stack, at most, in each level of the tree
STRIP = 4096  # columns of a single row that are done together
ROOM = 2**25  # bytes of a room; the system gives what is used of it

# kernels, in the order of `Kernels.all`: tiles, with a read by rows or by columns, of all rows or fewer
ROWS, FULL, FEWER, FEWEST = range(0, 32, 8)
NARROW = 32  # to be added to those: tiles of one vector
LINE_8_1, LINE_4_2, LINE_2_4, LINE_1_8 = range(64, 96, 8)  # blocks and vectors; behind them 1 and 4, 1 and 2, 1 and 1
DOT, SQUARES, TRANSPOSE, STORE_TRANSPOSED, COPY_ROWS, COPY_COLUMNS, COPY_NARROW, ACROSS = range(120, 184, 8)
# and behind them what `features` says
SIZE, MR, NR, VL, AP, SLOT, MIDDLE, SMALL, DOWN, RIGHT, OF_A, OF_B, OF_TILE, OF_STACKS, ZERO = range(184, 304, 8)
WORDS = 38


def tiles(rows: int, width: int, size: int) -> tuple[int, int]:
    """How many tiles, of so many rows and columns of numbers of `size` bytes, are done together, down and to the right.

    >>> tiles(14, 32, 4)
    (16, 16)
    """
    return max(TOGETHER[0] // rows, 1), max(TOGETHER[1] // (width * size), 1)


def features(size: int, rows: int, width: int, lanes: int, padded: int, middle: int, small: int) -> list[int]:
    """The words of a table behind the kernels' addresses.

    size: bytes of a number. rows, width: of a tile. lanes: numbers of a vector. padded: rows of a tile where they are
    packed. middle, small: rows of smaller tiles.

    >>> len(features(4, 6, 16, 8, 8, 4, 2)) * 8 + SIZE == WORDS * 8
    True
    """
    slot = rows * width * size  # of a tile on a stack
    of_a = 2 * LEVELS * slot
    down, right = tiles(rows, width, size)
    of_b = of_a + down * LONGEST * padded * size
    of_tile = of_b + right * LONGEST * width * size
    of_stacks = of_tile + slot
    if max(of_stacks + down * right * LEVELS * slot, (2 * LEVELS + BLOCK) * STRIP * size) > ROOM - 64:
        raise ValueError(f"tiles of {rows} rows and {width} columns need more room")
    places = of_a, of_b, of_tile, of_stacks
    return [size, rows, width, lanes, padded, slot, middle, small, down, right, *places, 0]
