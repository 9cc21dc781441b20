"""What work on a stream takes, by events on both sides of it: the host only asks for it, and is ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def milliseconds(cuda: Any, stream: Any, launch: Callable[[], Any], rounds: int) -> list[float]:
    """What `launch` asks `stream` for takes, in each of so many rounds. The host waits for each.

    cuda: CuPy's module of that name.
    """
    spent = []
    for _ in range(rounds):
        before, after = cuda.Event(), cuda.Event()
        before.record(stream)
        launch()
        after.record(stream)
        after.synchronize()
        spent.append(float(cuda.get_elapsed_time(before, after)))
    return spent
