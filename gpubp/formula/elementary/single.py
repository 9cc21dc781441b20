"""Elementary functions of float32 numbers: computed in float64, to 32 bits and more, and rounded once.

x and the result are float64 numbers here; x has a float32 number.
"""

from __future__ import annotations

import math
from typing import Any

from .steps import equal, exponent, horner, mantissa, power_of_two, select, whole, with_sign

LOG2_E, LN2, ROOT2 = 1.4426950408889634, 0.6931471805599453, 1.4142135623730951
INF, NAN = math.inf, math.nan
INVERSE_FACTORIALS = [1.0 / math.factorial(n) for n in range(20)]
# Polynomials whose largest error is about the least (by Chebyshev's), highest powers first: (eʳ - 1) / r for |r| up to
# log √2; (log(1 + f) - 2 s) / s³ of z = s², see `_log`; (sin r - r) / r³ and (cos r - 1) / r² of z = r² up to π/4
EXP = [
    0.00019899274074816048, 0.0013941108538586104, 0.008333298483615364, 0.04166635289551871, 0.16666666718997822,
    0.5000000047118041, 1.0,
]  # fmt: skip
LOG = [0.23330468363519238, 0.285508207738004, 0.4000012184017775, 0.6666666655449663]
SIN = [2.7249895230611676e-06, -0.000198400864995936, 0.008333331874273714, -0.16666666663854168]
COS = [
    -2.7237108576245085e-07, 2.4799861846361453e-05, -0.0013888885090262895, 0.041666666637384386, -0.49999999999963873,
]  # fmt: skip
TWO_OVER_PI = float.fromhex("0x1.45f306dc9c883p-1")
HALF_PI = [float.fromhex(p) for p in ("0x1.921fb54400000p+0", "0x1.0b4611a600000p-34", "0x1.3198a2e037073p-69")]
FAR = 2.0**50  # angles beyond are taken for 0


def _power(x: Any) -> tuple[Any, Any]:
    """n, p with eˣ = 2ⁿ (1 + p) and |p| < 0.42"""
    n = whole(x * LOG2_E)
    r = x - n * LN2
    return n, r * horner(r, *EXP)


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
    return horner(r, *EXP, 1.0) * power_of_two(n)


def expm1(x: Any) -> Any:
    """eˣ - 1

    >>> abs(float(expm1(1.0)) - 1.718281828459045) < 1e-9
    True
    """
    n, p = _power(_between(x, -40.0, 90.0))
    scale = power_of_two(n)
    return select(equal(x, 0.0), x, scale * p + (scale - 1.0))


def _log(e: Any, f: Any) -> Any:
    """log((1 + f) 2ᵉ), by s = f / (2 + f): log(1 + f) = 2 (s + s³/3 + s⁵/5 + …)"""
    s = f / (2.0 + f)
    z = s * s
    return e * LN2 + (2.0 * s + s * (z * horner(z, *LOG)))


def special(x: Any, y: Any) -> Any:
    """y = log x, but where x is 0, negative, infinite or not a number.

    >>> float(special(0.0, 1.0))
    -inf
    """
    y = select(x < INF, y, x)
    y = select(x < 0.0, NAN, y)
    return select(equal(x, 0.0), -INF, y)


def split(x: Any) -> tuple[Any, Any]:
    """e, m with x = m 2ᵉ and √½ ≤ m ≤ √2

    >>> [float(number) for number in split(12.0)]
    [4.0, 0.75]
    """
    e, m = exponent(x), mantissa(x)
    large = m > ROOT2
    return select(large, e + 1.0, e), select(large, 0.5 * m, m)


def log(x: Any) -> Any:
    """The natural logarithm

    >>> float(log(1.0)), float(log(0.0))
    (0.0, -inf)
    """
    e, m = split(x)
    return special(x, _log(e, m - 1.0))


def log1p(x: Any) -> Any:
    """log(1 + x)

    >>> float(log1p(-0.0)), float(log1p(-1.0))
    (-0.0, -inf)
    """
    u = 1.0 + x
    e, m = split(u)
    rest = (x - (u - 1.0)) * power_of_two(-e)
    return select(equal(x, 0.0), x, special(u, _log(e, (m - 1.0) + rest)))


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
    sine, cosine = r + r * (z * horner(z, *SIN)), horner(z, *COS, 1.0)
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


# erf x = x p(x²) for |x| < 1; beyond 1 - e^(-x²) q(u) with u = (|x| - k) / (|x| + k), up to |x| = 4
ERF = [
    -9.667044571486996e-06, 0.00011265959025606609, -0.0008484080405535107, 0.005221031807858023,
    -0.026865430727670243, 0.11283782495236845, -0.3761263846802871, 1.1283791670615435,
]  # fmt: skip
BEYOND = [
    -0.0009441596340872735, -0.0008365899736486057, 0.006994855413599958, 0.0037321413513030097,
    -0.07897852327253349, 0.24165821109072444, -0.42718584761434303, 0.25539567625190335,
]  # fmt: skip


def erf(x: Any) -> Any:
    """The error function, (2/√π) ∫ e^(-t²) dt from 0 to x

    >>> 0.842700792 < float(erf(1.0)) < 0.842700794
    True
    """
    a = abs(x)
    a = select(a > 4.0, 4.0, a)
    z = a * a
    near = a * horner(z, *ERF)
    n, p = _power(-z)
    scale = power_of_two(n)
    beyond = 1.0 - (scale + scale * p) * horner((a - 2.0) / (a + 2.0), *BEYOND)
    return with_sign(select(a < 1.0, near, beyond), x)


# erfc x = e^(-x²) Σ(u; TAIL) / (x + 3) for x ≥ 0, with u = (x - 3) / (x + 3) as Shepherd and Laframboise (1981) have it
TAIL = [
    1.0218983560697924e-06, 4.23581817145779e-05, 9.740950346592931e-05, -0.0002892010794035999,
    -0.0005475283780983619, 0.0030382566351136293, -0.0012119627952550146, -0.026827857138483735,
    0.11952767116043639, -0.31046722264714377, 0.5902283615542963, -0.8833944539076298, 1.0740069070578793,
]  # fmt: skip


def erfc(x: Any) -> Any:
    """1 - erf x, which has all its places also where it is small

    >>> 0.157299207 < float(erfc(1.0)) < 0.157299208
    True
    """
    a = abs(x)
    a = select(a > 10.5, 10.5, a)
    n, p = _power(-(a * a))
    scale = power_of_two(n)
    w = 1.0 / (a + 3.0)
    y = (scale + scale * p) * (w * horner((a - 3.0) * w, *TAIL))
    return select(x < 0.0, 2.0 - y, y)
