"""Check that this thread rounds as IEEE 754 says; libraries can change that."""

from __future__ import annotations

from ....errors import ExactError

NORMAL, SUBNORMAL = 2.0**-1022, 2.0**-1074  # the smallest ones
HALF, ONE = 0.5, 1.0  # Python computes with names at each call, and with numbers once
LESS_THAN_HALF, MORE_THAN_HALF = 2.0**-54, 2.0**-53 * 1.5  # of the step from 1 to the next number


def check_arithmetic() -> None:
    """Raise ExactError if subnormal numbers become 0, or sums are not rounded to the nearest number.

    >>> check_arithmetic()
    """
    if NORMAL * HALF == 0.0 or SUBNORMAL * ONE == 0.0:
        raise ExactError(
            'subnormal numbers, below 1.2e-38 in float32, are 0 in this process, and numerics="exact" needs them: a '
            "library has set the processor so (as torch.set_flush_denormal(True), or one that was compiled with "
            "-ffast-math does it when it is imported); leave that library out"
        )
    if ONE + LESS_THAN_HALF != ONE or ONE + MORE_THAN_HALF == ONE or -ONE - LESS_THAN_HALF != -ONE:
        raise ExactError(
            'sums are not rounded to the nearest number in this process, and numerics="exact" needs that: a library '
            "has set the processor so (by fesetround); leave that library out"
        )
