"""Latency and bandwidth of MPI messages, by size: `mpiexec -n 2 python benchmarks/messages.py`.

A message goes from process 0 to process 1 and back; half of that time is the time of one message. The latency is that
of the fastest short message. Then all processes send at once, as in a training step: each gets its slice of a vector of
that size from all others, and sends its own slice to all others; the last column is the bandwidth of one process in
both together. It needs NumPy and mpi4py alone, so that this one file can be copied to a cluster.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

SIZES = tuple(4**k for k in range(14))  # bytes, 1 to 64 MB
TYPICAL = 2**22  # of gradients: a million weights
LARGEST = 2**28  # bytes that each size sends, at most


def time_of(comm: Any, work: Callable[[], object], runs: int) -> float:
    """Seconds that the processes take for `work`: the median of a turn, the best of ten turns, since other programs can
    only slow it down."""
    spent = []
    for _ in range(runs + 2):
        comm.Barrier()
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    means = np.array([comm.allreduce(s) / comm.Get_size() for s in spent[2:]])
    return float(min(np.median(turn) for turn in np.array_split(means, min(10, len(means)))))


def one_way(comm: Any, size: int, runs: int) -> float:
    """Seconds of a message of so many bytes from process 0 to process 1, half of there and back."""
    a, repeats = np.zeros(size, np.uint8), 10 if size <= 4096 else 1

    def there_and_back() -> None:
        for _ in range(repeats):
            if comm.Get_rank() == 0:
                comm.Send(a, 1)
                comm.Recv(a, 1)
            elif comm.Get_rank() == 1:
                comm.Recv(a, 0)
                comm.Send(a, 0)

    return time_of(comm, there_and_back, runs) / (2 * repeats)


def exchange(comm: Any, size: int, runs: int) -> tuple[float, int]:
    """(seconds, bytes that each process sends) where slices of a vector of `size` bytes are brought to their owners,
    and then every slice to everybody."""
    count = comm.Get_size()
    slice_size = max(size // count, 1)
    vector = np.zeros(slice_size * count, np.uint8)
    parts, own = np.zeros(slice_size * count, np.uint8), np.zeros(slice_size, np.uint8)

    def both() -> None:
        comm.Alltoall(vector, parts)
        comm.Allgather(own, vector)

    return time_of(comm, both, runs), 2 * (count - 1) * slice_size


def readable(size: int) -> str:
    """A number of bytes that is a power of two."""
    power = min(size.bit_length() // 10, 2)
    return f"{size >> 10 * power} {('B', 'KiB', 'MiB')[power]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table and what to give to gpubp."""
    parser = argparse.ArgumentParser(prog="messages.py", description="Latency and bandwidth of MPI messages.")
    parser.add_argument("--quick", action="store_true", help="few messages: does it run?")
    asked = parser.parse_args(arguments)
    try:
        from mpi4py import MPI
    except ImportError:
        print("messages.py needs mpi4py: pip install mpi4py", file=sys.stderr)
        return 2
    comm = MPI.COMM_WORLD
    rank, count = comm.Get_rank(), comm.Get_size()
    if count < 2:
        print("messages.py needs two processes or more: mpiexec -n 2 python benchmarks/messages.py", file=sys.stderr)
        return 2
    hosts = comm.gather(MPI.Get_processor_name())

    def runs(size: int) -> int:
        return 3 if asked.quick else max(10, min(200, LARGEST // (size * count)))

    def say(text: str) -> None:
        if rank == 0:
            print(text, flush=True)

    if rank == 0:
        print(f"{count} processes on {len(set(hosts))} machine{'s' * (len(set(hosts)) > 1)}")
        print(MPI.Get_library_version().splitlines()[0].rstrip("\0"))
    say(f"\n{'size':>8}{'one way':>14}{'GB/s':>9}{'summed and gathered':>22}{'GB/s':>9}")
    latency, rates = np.inf, {}
    for size in SIZES[:7] if asked.quick else SIZES:
        alone = one_way(comm, size, runs(size))
        spent, sent = exchange(comm, size, runs(size))
        latency, rates[size] = min(latency, alone), sent / spent
        row = f"{1e6 * alone:>11,.1f} µs{size / alone / 1e9:>9.3f}{1e6 * spent:>19,.1f} µs{rates[size] / 1e9:>9.3f}"
        say(f"{readable(size):>8}{row}")
    typical = max(size for size in rates if size <= TYPICAL)
    say(f"\nfor about {readable(typical)} of gradients; take the last column of another line for others:")
    link = f"--bandwidth {max(rates[typical] / 1e6, 0.01):.2f}MB --latency {1e6 * latency:.2f}us"
    say(f"gpubp profile DATA --processes {count} {link}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
