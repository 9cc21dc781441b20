"""Elementary functions of float32 numbers: computed in float64, to 40 bits and more, and rounded once.

x and the result are float64 numbers here; x has a float32 number.
"""

from __future__ import annotations

import math
from typing import Any

from .steps import equal, exponent, horner, mantissa, power_of_two, select, whole, with_sign

LOG2_E, LN2, ROOT2 = 1.4426950408889634, 0.6931471805599453, 1.4142135623730951
INF, NAN = math.inf, math.nan
INVERSE_FACTORIALS = [1.0 / math.factorial(n) for n in range(20)]
TWO_OVER_PI = float.fromhex("0x1.45f306dc9c883p-1")
HALF_PI = [float.fromhex(p) for p in ("0x1.921fb54400000p+0", "0x1.0b4611a600000p-34", "0x1.3198a2e037073p-69")]
FAR = 2.0**50  # angles beyond are taken for 0


def _power(x: Any) -> tuple[Any, Any]:
    """n, p with eˣ = 2ⁿ (1 + p) and |p| < 0.42"""
    n = whole(x * LOG2_E)
    r = x - n * LN2
    return n, r * horner(r, *INVERSE_FACTORIALS[10:0:-1])


def _between(x: Any, low: float, high: float) -> Any:
    """x, but at least `low` and at most `high`; NaN stays."""
    x = select(x < low, low, x)
    return select(x > high, high, x)


def exp(x: Any) -> Any:
    """eˣ

    >>> float(exp(0.0))
    1.0
    """
    x = _between(x, -110.0, 90.0)
    n = whole(x * LOG2_E)
    r = x - n * LN2
    return horner(r, *INVERSE_FACTORIALS[9::-1]) * power_of_two(n)


def expm1(x: Any) -> Any:
    """eˣ - 1

    >>> abs(float(expm1(1.0)) - 1.718281828459045) < 1e-12
    True
    """
    n, p = _power(_between(x, -40.0, 90.0))
    scale = power_of_two(n)
    return select(equal(x, 0.0), x, scale * p + (scale - 1.0))


def _log(e: Any, f: Any) -> Any:
    """log((1 + f) 2ᵉ), by s = f / (2 + f): log(1 + f) = 2 (s + s³/3 + s⁵/5 + …)"""
    s = f / (2.0 + f)
    z = s * s
    series = horner(z, *(2.0 / k for k in range(17, 1, -2)))
    return e * LN2 + (2.0 * s + s * (z * series))


def _special(x: Any, y: Any) -> Any:
    """y = log x, but where x is 0, negative, infinite or not a number."""
    y = select(x < INF, y, x)
    y = select(x < 0.0, NAN, y)
    return select(equal(x, 0.0), -INF, y)


def _split(x: Any) -> tuple[Any, Any]:
    """e, m with x = m 2ᵉ and √½ ≤ m ≤ √2"""
    e, m = exponent(x), mantissa(x)
    large = m > ROOT2
    return select(large, e + 1.0, e), select(large, 0.5 * m, m)


def log(x: Any) -> Any:
    """The natural logarithm

    >>> float(log(1.0)), float(log(0.0))
    (0.0, -inf)
    """
    e, m = _split(x)
    return _special(x, _log(e, m - 1.0))


def log1p(x: Any) -> Any:
    """log(1 + x)

    >>> float(log1p(-0.0)), float(log1p(-1.0))
    (-0.0, -inf)
    """
    u = 1.0 + x
    e, m = _split(u)
    rest = (x - (u - 1.0)) * power_of_two(-e)
    return select(equal(x, 0.0), x, _special(u, _log(e, (m - 1.0) + rest)))


def tanh(x: Any) -> Any:
    """The hyperbolic tangent, (e²ˣ - 1) / (e²ˣ + 1)

    >>> float(tanh(-0.0)), float(tanh(100.0)) > 0.99999999
    (-0.0, True)
    """
    a = abs(x)
    a = select(a > 10.0, 10.0, a)
    n, p = _power(a + a)
    scale = power_of_two(n)
    p = scale * p + (scale - 1.0)
    return with_sign(p / (p + 2.0), x)


def _angle(x: Any) -> tuple[Any, Any]:
    """n, r with x = n π/2 + r; x that is infinite is not a number."""
    x = select(abs(x) < FAR, x, x - x)
    n = whole(x * TWO_OVER_PI)
    r = x
    for part in HALF_PI:
        r = r - n * part
    return n, r


def _sine(n: Any, r: Any) -> Any:
    """sin(n π/2 + r)"""
    z = r * r
    sine = r + r * (z * horner(z, *(INVERSE_FACTORIALS[k] * (-1.0) ** (k // 2) for k in range(13, 2, -2))))
    cosine = horner(z, *(INVERSE_FACTORIALS[k] * (-1.0) ** (k // 2) for k in range(12, -1, -2)))
    half = 0.5 * n
    odd = abs(whole(half) - half) > 0.25
    y = select(odd, cosine, sine)
    half = 0.5 * whole(half - 0.25)  # of ⌊n/2⌋
    return select(abs(whole(half) - half) > 0.25, -y, y)


def sin(x: Any) -> Any:
    """The sine

    >>> float(sin(-0.0)), 0.84147098 < float(sin(1.0)) < 0.84147099
    (-0.0, True)
    """
    return select(equal(x, 0.0), x, _sine(*_angle(x)))


def cos(x: Any) -> Any:
    """The cosine

    >>> float(cos(0.0))
    1.0
    """
    n, r = _angle(x)
    return _sine(n + 1.0, r)


# erf x = x (c₀ - c₁ x² + …) for |x| < 1; beyond 1 - e^(-x²) t(u), t being polynomials in u = (|x| - k) / (|x| + k) that
# are nearest to e^(x²) (1 - erf x), to 10⁻¹² from 1 to 4
ERF = [(-1.0) ** k * 1.1283791670955126 / (math.factorial(k) * (2 * k + 1)) for k in range(15)]
BEYOND = [
    2.347756752806171e-05, 0.0001660272717714123, 4.399759513346677e-05, -0.0009810545445174538,
    -0.0008471645637690944, 0.0069974169768619076, 0.003732892825504452, -0.07897858012839472,
    0.24165819424013024, -0.4271858474188863, 0.25539567631050575,
]  # fmt: skip


def erf(x: Any) -> Any:
    """The error function, (2/√π) ∫ e^(-t²) dt from 0 to x

    >>> 0.84270079294 < float(erf(1.0)) < 0.84270079296
    True
    """
    a = abs(x)
    a = select(a > 4.0, 4.0, a)
    z = a * a
    near = a * horner(z, *ERF[::-1])
    n, p = _power(-z)
    scale = power_of_two(n)
    beyond = 1.0 - (scale + scale * p) * horner((a - 2.0) / (a + 2.0), *BEYOND)
    return with_sign(select(a < 1.0, near, beyond), x)
