"""What `Processes` promises, as checks that each process of a group makes together with the others.

As a program, started by mpiexec, it makes them with MPI. All processes draw the same random numbers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from gpubp.processes import Processes, tree_sum

SHARDS = 8  # of which each process computes as many as the others


def numbers(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Numbers of many sizes, so that each order of additions has other bits."""
    exponents = random.integers(-12, 12, shape)
    return random.standard_normal(shape) * 2.0**exponents


def random_bounds(random: np.random.Generator, length: int, size: int) -> list[int]:
    """Bounds of unequal slices, of which some are empty and some numbers belong to none."""
    return sorted(int(bound) for bound in random.integers(0, length + 1, size + 1))


def check_gather(group: Processes) -> None:
    for shape, kind in (((), "float64"), ((3,), "float32"), ((2, 2), "int64"), ((0,), "float32"), ((5,), "bool")):
        all_of_them = np.random.default_rng(3).integers(0, 2, (group.size, *shape)).astype(kind)
        out = np.empty_like(all_of_them)
        group.gather(np.ascontiguousarray(all_of_them[group.rank]).reshape(shape), out)
        assert np.array_equal(out, all_of_them)


def check_broadcast(group: Processes) -> None:
    for length in (0, 1, 1000, 100_003):
        wanted = np.random.default_rng(length).standard_normal(length)
        a = wanted.copy() if group.leads else np.zeros(length)
        group.broadcast(a)
        assert np.array_equal(a, wanted)


def check_values(group: Processes) -> None:
    value = {"text": "größer", "list": [1, 2.5, None, True], "long": "x" * 70_000, "small": 5e-324}
    assert group.share(value if group.leads else {1, "no JSON"}) == value
    assert group.collect(["of", group.rank] * group.rank) == [["of", rank] * rank for rank in range(group.size)]
    assert group.share(0.1 + 0.2 if group.leads else None) == 0.1 + 0.2


def check_slices(group: Processes, seed: int) -> None:
    """Sums have the bits of one tree over all processes, whatever the bounds, and whether or not they are started."""
    random = np.random.default_rng(seed)
    length = int(random.choice([0, 1, 7, 100, 5000]))
    bounds = random_bounds(random, length, group.size)
    vector = np.empty(length, random.choice(["float32", "float64"]))
    slices = group.slices(vector, bounds)
    for _ in range(3):  # the same slices again and again
        parts = numbers(random, group.size, length).astype(vector.dtype)
        mine, wanted = parts[group.rank].copy(), tree_sum(parts)
        vector[:] = mine
        for _ in range(random.integers(0, 3)):
            slices.start()
        slices.sum()
        low, high = bounds[group.rank : group.rank + 2]
        assert vector[low:high].tobytes() == wanted[low:high].tobytes()
        slices.gather()
        assert vector[bounds[0] : bounds[-1]].tobytes() == wanted[bounds[0] : bounds[-1]].tobytes()


def check_bits_of_shards(group: Processes) -> None:
    """Sums of 8 shards have the same bits for every number of processes that divides it."""
    random = np.random.default_rng(11)
    shards = numbers(random, SHARDS, 999)
    each = SHARDS // group.size
    vector = tree_sum(shards[group.rank * each : (group.rank + 1) * each].copy()).copy()
    slices = group.slices(vector, [round(p * 999 / group.size) for p in range(group.size + 1)])
    slices.sum()
    slices.gather()
    assert vector.tobytes() == tree_sum(shards.copy()).tobytes()
    assert tree_sum(np.roll(shards, 1, axis=0)).tobytes() != vector.tobytes()  # the order matters


def check_two_vectors(group: Processes) -> None:
    """Messages of two objects that are under way together don't mix."""
    a, b = np.full(group.size, 1.0), np.full(group.size, 10.0)
    bounds = range(group.size + 1)
    of_a, of_b = group.slices(a, bounds), group.slices(b, bounds)
    of_a.start()
    of_b.start()
    of_b.sum()
    of_a.sum()
    of_a.gather()
    of_b.gather()
    assert a.tolist() == [group.size] * group.size and b.tolist() == [10.0 * group.size] * group.size


def check_all(group: Processes, seeds: int = 20) -> None:
    check_gather(group)
    check_broadcast(group)
    check_values(group)
    check_two_vectors(group)
    if SHARDS % group.size == 0:
        check_bits_of_shards(group)
    for seed in range(seeds):
        check_slices(group, seed)


def check_bytes(group: Processes, count: Callable[[], tuple[int, int]]) -> None:
    """A process sends 2 (P - 1)/P of the vector's bytes. count: gives bytes and messages so far."""
    size, vector = group.size, np.ones(840 * 5)
    slices = group.slices(vector, range(0, len(vector) + 1, len(vector) // size))
    before = count()
    slices.sum()
    slices.gather()
    sent = [now - then for now, then in zip(count(), before, strict=True)]
    assert sent == [2 * vector.nbytes * (size - 1) // size, 2 * (size - 1)]


def check_processor_time(group: Processes) -> None:
    """One that waits leaves the processor to others for more than half of the time."""
    group.collect(0)
    if group.rank:
        time.sleep(0.5)
        group.collect(0)
    else:
        begin, spent = time.monotonic(), time.process_time()
        group.collect(0)
        assert time.process_time() - spent < 0.4 * (time.monotonic() - begin)


if __name__ == "__main__":
    from gpubp.processes import mpi, processes_of, small

    group = processes_of("auto")
    assert isinstance(group, mpi.MPIProcesses) and group.size == int(sys.argv[1])
    check_all(group)
    check_bytes(group, lambda: (group.bytes_sent, group.messages_sent))
    if group.size == 2:
        check_processor_time(group)
    mpi.LARGEST, small.DIRECT = 5000, 1  # as if vectors were large, and processes many
    check_gather(group)
    check_broadcast(group)
    check_values(group)
    for seed in range(10):
        check_slices(group, seed)
    sys.stdout.write(f"{group.rank} fine\n")  # at once: lines of processes may mix
