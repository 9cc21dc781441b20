"""The elementary functions of docs/exact.md for float32, as that page has them: nothing of gpubp is imported."""

from __future__ import annotations

import numpy as np
from exact_reader import LN2, Array, constant, double, horner, power, single

LOG, SIN, COS, ERF, BEYOND, TAIL = map(constant, ("LOG", "SIN", "COS", "ERF", "BEYOND", "TAIL"))
HALF_PI = constant("HALF_PI")
(ROOT2,), (TWO_OVER_PI,), (FAR,) = map(constant, ("ROOT2", "TWO_OVER_PI", "FAR"))


def whole(x: Array) -> Array:
    return (x + 1.5 * 2.0**52) - 1.5 * 2.0**52


def parts(x: Array) -> tuple[Array, Array]:
    """e, m of x = m 2ᵉ, with m up to ROOT2."""
    m, e = np.frexp(x)
    m, e = 2.0 * m, e - 1.0
    large = m > ROOT2
    return np.where(large, e + 1.0, e), np.where(large, 0.5 * m, m)


def log_of(e: Array, f: Array) -> Array:
    s = f / (2.0 + f)
    z = s * s
    return e * LN2 + (2.0 * s + s * (z * horner(z, LOG)))


def special(u: Array, y: Array) -> Array:
    y = np.where(u < np.inf, y, u)
    y = np.where(u < 0.0, np.nan, y)
    return np.where(u == 0.0, -np.inf, y)


def expm1(x: Array) -> Array:
    a = np.where(x < -40.0, -40.0, x)
    a = np.where(a > 90.0, 90.0, a)
    _, p, scale = power(a)
    return np.where(x == 0.0, x, scale * p + (scale - 1.0))


def log(x: Array) -> Array:
    e, m = parts(np.where(x > 0, x, 1.0))
    return special(x, log_of(e, m - 1.0))


def log1p(x: Array) -> Array:
    u = 1.0 + x
    e, m = parts(np.where((u > 0) & (u < np.inf), u, 1.0))
    y = log_of(e, (m - 1.0) + (x - (u - 1.0)) * np.ldexp(1.0, -e.astype(int)))
    return np.where(x == 0.0, x, special(u, y))


def angle(x: Array) -> tuple[Array, Array]:
    x = np.where(abs(x) < FAR, x, x - x)
    n = whole(x * TWO_OVER_PI)
    r = x
    for c in HALF_PI:
        r = r - n * c
    return n, r


def sine(n: Array, r: Array) -> Array:
    z = r * r
    y = np.where(n % 2 == 0, r + r * (z * horner(z, SIN)), horner(z, [*COS, 1.0]))
    return np.where(np.floor(n / 2) % 2 == 0, y, -y)


def sin(x: Array) -> Array:
    return np.where(x == 0.0, x, sine(*angle(x)))


def cos(x: Array) -> Array:
    n, r = angle(x)
    return sine(n + 1.0, r)


def erf(x: Array) -> Array:
    a = abs(x)
    a = np.where(a > 4.0, 4.0, a)
    z = a * a
    _, p, scale = power(-z)
    far = 1.0 - (scale + scale * p) * horner((a - 2.0) / (a + 2.0), BEYOND)
    return np.copysign(np.where(a < 1.0, a * horner(z, ERF), far), x)


def erfc(x: Array) -> Array:
    a = abs(x)
    a = np.where(a > 10.5, 10.5, a)
    _, p, scale = power(-(a * a))
    w = 1.0 / (a + 3.0)
    y = (scale + scale * p) * (w * horner((a - 3.0) * w, TAIL))
    return np.where(x < 0.0, 2.0 - y, y)


FUNCTIONS = {"expm1": expm1, "log": log, "log1p": log1p, "sin": sin, "cos": cos, "erf": erf, "erfc": erfc}


def computed(name: str, x: Array) -> Array:
    """A function of float32 numbers."""
    with np.errstate(all="ignore"):
        result: Array = FUNCTIONS[name](x.astype(double)).astype(single)
    return result
