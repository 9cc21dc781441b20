"""What the machine is called."""

from __future__ import annotations

import platform


def processor() -> str:
    """The name of the processor, as its system has it; "unknown" where it has none.

    >>> bool(processor())
    True
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"
