"""Elementary functions of float64 numbers, with sums and products of two numbers each: head + tail.

The error of a head's sum or product is computed exactly, as another number, so that only the last sum is rounded.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from .single import FAR, INVERSE_FACTORIALS, LOG2_E, TWO_OVER_PI, special, split
from .steps import equal, high, horner, power_of_two, select, whole, with_sign

LN2 = [float.fromhex(p) for p in ("0x1.62e42fefa3800p-1", "0x1.ef35793c76730p-45")]
HALF_PI = [
    float.fromhex(p)
    for p in ("0x1.921fb54400000p+0", "0x1.0b4611a600000p-34", "0x1.3198a2e000000p-69", "0x1.b839a252049c1p-104")
]


def _pair(value: Fraction) -> tuple[float, float]:
    head = float(value)
    return head, float(value - Fraction(head))


THIRD, SIXTH, TWENTY_FOURTH, TWO_THIRDS = (_pair(Fraction(*q)) for q in ((1, 3), (1, 6), (1, 24), (2, 3)))


def quick_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b where |a| ≥ |b|, or a = 0

    >>> quick_sum(1.0, 2.0**-60) == (1.0, 2.0**-60)
    True
    """
    s = a + b
    return s, b - (s - a)


def sum_and_rest(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b

    >>> sum_and_rest(2.0**-60, 1.0) == (1.0, 2.0**-60)
    True
    """
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def product_and_rest(a: Any, b: Any) -> tuple[Any, Any]:
    """a b

    >>> [float(p) for p in product_and_rest(1.0 + 2.0**-30, 1.0 + 2.0**-30)] == [1.0 + 2.0**-29, 2.0**-60]
    True
    """
    p = a * b
    a1, b1 = high(a), high(b)
    a2, b2 = a - a1, b - b1
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


def _power(x: Any) -> tuple[Any, Any, Any]:
    """n, p, tail of p, with eˣ = 2ⁿ (1 + p): p = r + r² (1/2 + r (1/6 + r q))"""
    n = whole(x * LOG2_E)
    r, tail = sum_and_rest(x - n * LN2[0], -(n * LN2[1]))
    q = horner(r, *INVERSE_FACTORIALS[14:3:-1])
    h, h2 = quick_sum(SIXTH[0], r * q)
    m, m2 = product_and_rest(r, h)
    k, k2 = quick_sum(0.5, m)
    k2 = k2 + (m2 + r * (h2 + SIXTH[1]))
    z, z2 = product_and_rest(r, r)
    w, w2 = product_and_rest(z, k)
    p, p2 = quick_sum(r, w)
    return n, p, p2 + ((w2 + (z * k2 + z2 * k)) + (tail + tail * p))


def exp(x: Any) -> Any:
    """eˣ

    >>> float(exp(1.0))
    2.718281828459045
    """
    x = select(x < -750.0, -750.0, x)
    x = select(x > 710.0, 710.0, x)
    n, p, tail = _power(x)
    h, h2 = quick_sum(1.0, p)
    h2 = h2 + tail
    normal = ((h + h2) * 2.0) * power_of_two(n - 1.0)
    scale = power_of_two(n + 1022.0)  # a subnormal result is rounded to its last bit, beside 1
    v = h * scale
    s, s2 = quick_sum(1.0, v)
    subnormal = select(v < 1.0, (s + (s2 + h2 * scale)) - 1.0, (h + h2) * scale) * 2.0**-1022
    return select(n < -1021.0, subnormal, normal)


def expm1(x: Any) -> Any:
    """eˣ - 1

    >>> float(expm1(1e-10))
    1.00000000005e-10
    """
    a = select(x < -45.0, -45.0, x)
    a = select(a > 710.0, 710.0, a)
    n, p, tail = _power(a)
    half = power_of_two(n - 1.0)
    c, c2 = sum_and_rest(half, -0.5)
    s, s2 = sum_and_rest(c, half * p)
    y = (s + (s2 + (c2 + half * tail))) * 2.0
    return select(abs(x) < 2.0**-54, x, y)


def _log(e: Any, f: Any, tail: Any) -> Any:
    """log((1 + f + tail) 2ᵉ), by s = f / (2 + f): log(1 + f) = 2 s (1 + z (1/3 + z (1/5 + …))) with z = s²"""
    d, d2 = quick_sum(2.0, f)
    d2 = d2 + tail
    s = f / d
    b, b2 = product_and_rest(s, d)
    s2 = (((f - b) - b2) + (tail - s * d2)) / d
    z, z2 = product_and_rest(s, s)
    z2 = z2 + 2.0 * (s * s2)
    q = horner(z, *(2.0 / k for k in range(23, 4, -2)))
    k, k2 = quick_sum(TWO_THIRDS[0], z * q)
    k2 = k2 + TWO_THIRDS[1]
    m, m2 = product_and_rest(z, k)
    m2 = m2 + (z * k2 + z2 * k)
    w, w2 = product_and_rest(s, m)
    w2 = w2 + (s * m2 + s2 * m)
    t, t2 = quick_sum(2.0 * s, w)
    t2 = t2 + (w2 + 2.0 * s2)
    y, y2 = sum_and_rest(e * LN2[0], t)
    return y + (y2 + (t2 + e * LN2[1]))


def log(x: Any) -> Any:
    """The natural logarithm

    >>> float(log(10.0))
    2.302585092994046
    """
    small = x < 2.0**-1022
    e, m = split(select(small, x * 2.0**54, x))
    return special(x, _log(select(small, e - 54.0, e), m - 1.0, 0.0))


def log1p(x: Any) -> Any:
    """log(1 + x)

    >>> float(log1p(1e-10))
    9.9999999995e-11
    """
    u, u2 = sum_and_rest(1.0, x)
    e, m = split(u)
    f, tail = sum_and_rest(m - 1.0, u2 * power_of_two(-select(e > 1000.0, 1000.0, e)))
    return select(abs(x) < 2.0**-54, x, special(u, _log(e, f, tail)))


def tanh(x: Any) -> Any:
    """The hyperbolic tangent, p / (p + 2) with p = e²ˣ - 1

    >>> float(tanh(0.5))
    0.46211715726000973
    """
    a = abs(x)
    a = select(a > 20.0, 20.0, a)
    n, p, tail = _power(a + a)
    scale = power_of_two(n)
    c, c2 = sum_and_rest(scale, -1.0)
    p, p2 = sum_and_rest(c, scale * p)
    p2 = p2 + (c2 + scale * tail)
    d, d2 = sum_and_rest(p, 2.0)
    d2 = d2 + p2
    q = p / d
    b, b2 = product_and_rest(q, d)
    q2 = (((p - b) - b2) + (p2 - q * d2)) / d
    return with_sign(select(a < 2.0**-30, a, q + q2), x)


def _angle(x: Any) -> tuple[Any, Any, Any]:
    """n, r, tail with x = n π/2 + r + tail; x that is infinite is not a number."""
    x = select(abs(x) < FAR, x, x - x)
    n = whole(x * TWO_OVER_PI)
    r, r1 = sum_and_rest(x - n * HALF_PI[0], -(n * HALF_PI[1]))
    r, r2 = sum_and_rest(r, -(n * HALF_PI[2]))
    r, tail = quick_sum(r, (r1 + r2) - n * HALF_PI[3])
    return n, r, tail


def _sine(n: Any, r: Any, tail: Any) -> Any:
    """sin(n π/2 + r + tail), by sin r = r - r z (1/6 - z q) and cos r = 1 - z/2 + z² (1/24 - z q), with z = r²"""
    z, z2 = product_and_rest(r, r)
    q = horner(z, *(INVERSE_FACTORIALS[k] * (-1.0) ** (k // 2) for k in range(17, 4, -2)))
    k, k2 = quick_sum(-SIXTH[0], z * q)
    m, m2 = product_and_rest(z, k)
    m2 = m2 + (z * (k2 - SIXTH[1]) + z2 * k)
    w, w2 = product_and_rest(r, m)
    s, s2 = quick_sum(r, w)
    sine = s + (s2 + ((w2 + r * m2) + (tail - 0.5 * (z * tail))))

    q = horner(z, *(INVERSE_FACTORIALS[k] * (-1.0) ** (k // 2) for k in range(18, 5, -2)))
    k, k2 = quick_sum(TWENTY_FOURTH[0], z * q)
    m, m2 = product_and_rest(z, k)
    m2 = m2 + (z * (k2 + TWENTY_FOURTH[1]) + z2 * k)
    k, c2 = quick_sum(-0.5, m)
    k2 = c2 + m2
    w, w2 = product_and_rest(z, k)
    c, c2 = quick_sum(1.0, w)
    cosine = c + (c2 + ((w2 + (z * k2 + z2 * k)) - (r - SIXTH[0] * (r * z)) * tail))

    half = 0.5 * n
    odd = abs(whole(half) - half) > 0.25
    y = select(odd, cosine, select(abs(r) < 2.0**-30, r + tail, sine))
    half = 0.5 * whole(half - 0.25)  # of ⌊n/2⌋
    return select(abs(whole(half) - half) > 0.25, -y, y)


def sin(x: Any) -> Any:
    """The sine

    >>> float(sin(1.0))
    0.8414709848078965
    """
    return select(equal(x, 0.0), x, _sine(*_angle(x)))


def cos(x: Any) -> Any:
    """The cosine

    >>> float(cos(1.0))
    0.5403023058681398
    """
    n, r, tail = _angle(x)
    return _sine(n + 1.0, r, tail)


# as in `single.py`, up to |x| = 6; q is 10⁻¹⁹ from the function
ROOT = (1.1283791670955126, 1.533545961316588e-17)  # 2/√π
BEYOND = [
    6.961191560229168e-08, 3.441892461295565e-07, 7.773331597404786e-08, -1.8020038653448608e-06,
    -2.2981102519735954e-06, 7.552594323139502e-06, 1.8614457552080007e-05, -3.418223813331523e-05,
    -0.0001288771713312957, 0.00022838037890860082, 0.0008759154501337608, -0.002642365964297403,
    -0.003993701165858238, 0.03992253907558476, -0.1250330523788293,
]  # fmt: skip
BEYOND_PAIRS = [
    (0.2517131932174493, 2.257985702571567e-17), (-0.37173673394897333, -2.210298152747055e-17),
    (0.2108063640611436, -5.690785603608626e-18),
]  # fmt: skip
NEAR = [(-1.0) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(22)]
NEAR_PAIRS = [_pair(Fraction((-1) ** k, math.factorial(k) * (2 * k + 1))) for k in (3, 2, 1, 0)]


def _product(a: Any, a2: Any, b: Any, b2: Any) -> tuple[Any, Any]:
    p, rest = product_and_rest(a, b)
    return p, rest + (a * b2 + a2 * b)


def _horner(x: Any, x2: Any, first: Any, pairs: list[tuple[float, float]]) -> tuple[Any, Any]:
    """(… (first x + c₀) x + c₁ …), the c in heads and tails."""
    p, p2 = first, 0.0 * x
    for head, tail in pairs:
        p, p2 = _product(p, p2, x, x2)
        p, rest = quick_sum(head, p)
        p2 = (rest + tail) + p2
    return p, p2


def erf(x: Any) -> Any:
    """The error function

    >>> float(erf(1.0))
    0.8427007929497149
    """
    a = abs(x)
    a = select(a > 6.0, 6.0, a)
    z, z2 = product_and_rest(a, a)
    s, s2 = _horner(z, z2, horner(z, *NEAR[:3:-1]), NEAR_PAIRS)
    s, s2 = _product(s, s2, *ROOT)
    y, y2 = product_and_rest(a, s)
    near = select(a < 2.0**-500, a * ROOT[0], y + (y2 + a * s2))

    n, p, tail = _power(-z)
    h, h2 = quick_sum(1.0, p)
    h2 = (h2 + tail) - z2 * h
    d, d2 = sum_and_rest(a, 2.5)
    u = (a - 2.5) / d
    b, b2 = product_and_rest(u, d)
    top, top2 = sum_and_rest(a, -2.5)
    u2 = (((top - b) - b2) + (top2 - u * d2)) / d
    t, t2 = _horner(u, u2, horner(u, *BEYOND), BEYOND_PAIRS)
    scale = power_of_two(n)
    q, q2 = _product(h, h2, t, t2)
    c, c2 = quick_sum(1.0, -(scale * q))
    return with_sign(select(a < 1.0, near, c + (c2 - scale * q2)), x)
