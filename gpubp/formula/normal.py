"""The normal distribution in few operations, for formulas of float32 numbers in ordinary numerics.

    e = e^(-a²/2)        Φ(-a) = e P(a) / Q(a)        for a = |x|, at most 16, where e is 0 to float32

P/Q differs from Φ(-a) e^(a²/2) by less than 0.4 · 2⁻²⁴ of it up to a = 14.5. All coefficients are positive, so nothing
cancels: rounding adds 6 units of the last place. That of a² adds a²/2 units where x is far below 0, 70 at x = -12.9,
beyond which x Φ(x) is subnormal. ½ erfc(-x/√2), whose argument is rounded, has twice as many there.
"""

from __future__ import annotations

from typing import Any

from . import functions
from .elementary.steps import horner

# of a⁴ … 1, and of a⁴ … 1 below a⁵: by a rational fit whose largest relative error on [0, 14.5] is about the least
P = [0.3989469110965729, 3.9381256103515625, 17.758968353271484, 42.47917175292969, 48.45965576171875]
Q = [9.872041702270508, 45.50062561035156, 116.5455551147461, 162.28880310058594, 96.9193115234375]
FAR = 16.0


def below(x: Any) -> tuple[Any, Any, Any]:
    """a, e and P/Q with Φ(-|x|) = e P/Q

    >>> a, e, ratio = below(-1.0)
    >>> round(float(e * ratio), 6)
    0.158655
    """
    a = functions.minimum(functions.absolute(x), FAR)
    q = horner(a, a + Q[0], *Q[1:])
    return a, functions.exp(-0.5 * (a * a)), horner(a, *P) / q
