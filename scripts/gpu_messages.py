"""Test that NCCL's messages are a part of a captured step: gpu_messages.py RESULTS LOGS

One process with one GPU sends to itself, adds and gathers, call by call and by a graph. Without NCCL this is skipped.
"""

from __future__ import annotations

import sys
from typing import Any

from gpu_results import Stage

from gpubp.cli.gpu_smoke import Size, Skipped, messages


def cupy_of(stage: Stage) -> Any:
    """The CuPy module, or in a dry run the stand-in that has NCCL."""
    if stage.dry:
        from strict_nccl import World

        return World(1).cupy(0)
    return stage.cupy()


def main(stage: Stage) -> int:
    """Write one line of results."""
    with stage.results.part("one GPU") as line:
        try:
            found, facts = messages(cupy_of(stage), stage.products(), Size())
            line |= {"shown": found, **facts}
        except Skipped as reason:
            line |= {"shown": f"skipped: {reason}", "skipped": True}
    return 0


if __name__ == "__main__":
    sys.exit(main(Stage("messages")))
