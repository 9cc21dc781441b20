"""Which GPU each of several processes uses.

Processes of one host take its GPUs in the order of their ranks. Each may see all GPUs of the host, or only its own, as
under `srun --gpus-per-task=1`. So a GPU is known by its UUID, and each process takes the first that it sees and no
process before it has taken.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import DeviceError, MissingDependencyError
from .base import Processes


class Seen(NamedTuple):
    """What a process sees. host: its name. gpus: UUIDs, in the order of CUDA's numbers. problem: why it can't send
    messages between GPUs, "" if it can.

    >>> Seen("a", ["GPU-1"]).problem
    ''
    """

    host: str
    gpus: list[str]
    problem: str = ""


def seen_here(cupy: Any = None) -> Seen:
    """What this process sees. cupy: the CuPy module, None to look for it.

    >>> isinstance(seen_here().host, str)
    True
    """
    from ..backends.cuda.driver import find_cupy
    from ..backends.cuda.nccl import why_no_nccl

    host = socket.gethostname()
    try:
        cupy = find_cupy() if cupy is None else cupy
    except DeviceError as problem:
        return Seen(host, [], str(problem))
    gpus = [_uuid(cupy, k) for k in range(int(cupy.cuda.runtime.getDeviceCount()))]
    return Seen(host, gpus, why_no_nccl(cupy))


def _uuid(cupy: Any, index: int) -> str:
    runtime = cupy.cuda.runtime
    found = runtime.getDeviceProperties(index).get("uuid")
    return found.hex() if isinstance(found, bytes) else str(runtime.deviceGetPCIBusId(index))


def place(seen: Sequence[Seen]) -> list[int]:
    """The number of the GPU that each process uses, as CUDA numbers those that it sees.

    seen: what each process sees, by rank. Every process gets the same answer or the same error.

    Raises MissingDependencyError where a process has no NCCL, DeviceError where a host has more processes than GPUs.

    >>> place([Seen("a", ["x", "y"]), Seen("a", ["x", "y"]), Seen("b", ["x"])])
    [0, 1, 0]
    >>> place([Seen("a", ["x"]), Seen("a", ["y"])])
    [0, 0]
    >>> place([Seen("a", ["x"]), Seen("a", ["x"])])
    Traceback (most recent call last):
    ...
    gpubp.errors.DeviceError: 2 processes and 1 GPU on host a: start 1 there, or give device="cpu". Each process ...
    """
    for rank, (host, gpus, problem) in enumerate(seen):
        if problem:
            error = MissingDependencyError if gpus else DeviceError
            raise error(f"process {rank} of {len(seen)} on host {host}: {problem}")
    taken: dict[str, set[str]] = {}
    numbers = []
    for host, gpus, _ in seen:
        of_host = taken.setdefault(host, set())
        free = next((k for k, gpu in enumerate(gpus) if gpu not in of_host), None)
        if free is None:
            raise DeviceError(_too_many(host, [other for other in seen if other.host == host]))
        of_host.add(gpus[free])
        numbers.append(free)
    return numbers


def _too_many(host: str, seen: list[Seen]) -> str:
    count = len({gpu for one in seen for gpu in one.gpus})
    gpus = f"{count} GPU{'s' * (count != 1)}"
    if count >= len(seen):
        return (
            f"{len(seen)} processes on host {host} see {gpus}, but too few of these each: let all of them see all GPUs "
            "of the host, or each its own (CUDA_VISIBLE_DEVICES)."
        )
    return (
        f'{len(seen)} processes and {gpus} on host {host}: start {count} there, or give device="cpu". Each process '
        "uses a GPU of its own."
    )


def device_of(processes: Processes | None, device: str = "cuda", cupy: Any = None) -> str:
    """The device on which this process of several makes its network: "cuda:1" for the second process of a host.

    device: as the user gives it. "auto" is the CPU where any process has no GPU. What is neither "auto" nor "cuda" is
    returned as it is, as is all for one process. All processes call it at the same place, with the same device. Raises
    what `place` raises, the same in all of them.

    >>> device_of(None, "cuda"), device_of(None, "cpu")
    ('cuda', 'cpu')
    """
    if processes is None or processes.size == 1 or device not in ("auto", "cuda"):
        return device
    seen = [Seen(*one) for one in processes.collect(list(seen_here(cupy)))]
    if device == "auto" and not all(one.gpus for one in seen):
        return "cpu"
    return f"cuda:{place(seen)[processes.rank]}"
