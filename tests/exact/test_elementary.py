"""exp, log, tanh and their kin of exact numerics: how near they are to the truth, and which bits they have for ever."""

from __future__ import annotations

import hashlib
import math
import os
from decimal import Decimal, localcontext

import numpy as np
import pytest

from gpubp.formula.elementary import NAMES, OWN, exp64, into, of_numbers, program_of

LIMITS = {"float32": 0.506, "float64": 0.51, "float64 erfc": 5.0}
DIGITS = 60
PI = Decimal(
    "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798214"
)
INF, NAN = math.inf, math.nan

SPECIAL = {
    "exp": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (1e4, INF), (-1e4, 0.0), (1e-300, 1.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (1e4, INF), (-1e4, -1.0)],
    "log": [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-1.5, NAN), (-INF, NAN)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (50.0, 1.0), (-50.0, -1.0)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (1e30, 0.0)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (7.0, 1.0), (-7.0, -1.0)],
    "erfc": [(0.0, 1.0), (-0.0, 1.0), (INF, 0.0), (-INF, 2.0), (30.0, 0.0), (-7.0, 2.0)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN), (1e30, 1.0)],
}


def _sine(x: Decimal) -> Decimal:
    quarters = (x / (PI / 2)).to_integral_value()
    x -= quarters * PI / 2
    first = Decimal(1) if quarters % 2 else x  # cosine or sine
    term, total, k = first, first, 1 if quarters % 2 == 0 else 0
    while abs(term) > Decimal(10) ** -DIGITS * abs(total) and term:
        term *= -x * x / ((k + 1) * (k + 2))
        total, k = total + term, k + 2
    return -total if quarters % 4 in (2, 3, -1, -2) else total


def _erf(x: Decimal, least: Decimal = Decimal(10) ** -DIGITS) -> Decimal:
    if abs(x) > 12:
        return Decimal(1).copy_sign(x)  # to 60 digits
    term, total, k = x, x, 0
    while abs(term) > least * abs(total) and term:
        k += 1
        term *= -x * x / k
        total += term / (2 * k + 1)
    return 2 * total / PI.sqrt()


def _erfc(x: Decimal) -> Decimal:
    if x > 12:  # by its continued fraction, e^(-x²)/√π / (x + ½/(x + 1/(x + 3/2/(x + …))))
        below = x
        for k in range(200, 0, -1):
            below = x + Decimal(k) / 2 / below
        return (-x * x).exp() / PI.sqrt() / below
    with localcontext() as context:
        context.prec = 200  # of which 1 - erf x leaves enough
        return 1 - _erf(x, Decimal(10) ** -190)


TRUE = {
    "exp": lambda x: x.exp(),
    "expm1": lambda x: x.exp() - 1,
    "log": lambda x: x.ln(),
    "log1p": lambda x: (1 + x).ln(),
    "tanh": lambda x: ((2 * x).exp() - 1) / ((2 * x).exp() + 1),
    "sin": _sine,
    "erf": _erf,
    "erfc": _erfc,
    "cos": lambda x: _sine(x + PI / 2),
}


def _arguments(name: str, dtype: str, count: int = 300) -> np.ndarray:
    """Arguments made of whole numbers, the same everywhere."""
    words = np.random.Philox(key=7).random_raw(count)
    u = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    scale = np.ldexp(1.0, (words & np.uint64(31)).astype(np.int64) - 25)
    last = 700.0 if dtype == "float64" else 85.0
    wide = {
        "exp": np.r_[(2 * u - 1) * last, -last - u * 40.0],
        "expm1": (2 * u - 1) * last,
        "log": np.ldexp(1 + u, (words % np.uint64(240)).astype(np.int64) - 120),
        "log1p": np.r_[-1 + u * scale, u * 1e5],
        "tanh": (2 * u - 1) * 20.0,
        "erf": (2 * u - 1) * 6.5,
        "erfc": np.r_[(2 * u - 1) * 3.0, u * (26.5 if dtype == "float64" else 10.0)],
        "sin": (2 * u - 1) * 1e5,
        "cos": (2 * u - 1) * 1e5,
    }[name]
    near = (2 * u - 1) * np.minimum(scale, 1.0)
    near = {"log": 1 + near / 4, "log1p": near * 0.9}.get(name, near)
    x = np.r_[wide, near, np.arange(1, 20) * (math.pi / 2), [5e-324, 1e-310, 1e-40, 2.0**-1022]].astype(dtype)
    x = x[x > {"log": 0.0, "log1p": -1.0}.get(name, -INF)]
    return x


def _error(name: str, x: float, y: float, dtype: str) -> float:
    """How far y is from the truth, in units of its last place."""
    bits, lowest = (24, -149) if dtype == "float32" else (53, -1074)
    with localcontext() as context:
        context.prec = DIGITS + 340 if name in ("expm1", "log1p", "tanh") and abs(x) < 1e-30 else 2 * DIGITS
        true = TRUE[name](Decimal(x))
        unit = Decimal(2) ** max(math.frexp(y)[1] - bits, lowest)
        return float(abs(Decimal(y) - true) / unit)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_results_are_the_true_ones_rounded(name: str, dtype: str) -> None:
    x = _arguments(name, dtype)
    y = into(name, x, np.empty_like(x))
    errors = [_error(name, float(a), float(b), dtype) for a, b in zip(x, y, strict=True)]
    worst = int(np.argmax(errors))
    assert errors[worst] < LIMITS.get(f"{dtype} {name}", LIMITS[dtype]), f"{name}({x[worst]!r}) = {y[worst]!r}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_special_values(name: str, dtype: str) -> None:
    given = SPECIAL[name]
    x = np.array([*(x for x, _ in given), NAN]).astype(dtype)
    y = into(name, x, np.empty_like(x))
    wanted = np.array([*(y for _, y in given), NAN], dtype)
    np.testing.assert_array_equal(y, wanted)
    signs = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(y)[signs], np.signbit(wanted)[signs])


BITS = {
    ("exp", "float32"): "04a9e407a1380d24",
    ("exp", "float64"): "778ffb7106d59eee",
    ("expm1", "float32"): "7fd43ba3eb4d028b",
    ("expm1", "float64"): "9b983fd76b08674c",
    ("log", "float32"): "cadf63a0178b89bb",
    ("log", "float64"): "500cac589c54dcc8",
    ("log1p", "float32"): "bd362a1dd48c3b8c",
    ("log1p", "float64"): "cb29e82a2dabfe42",
    ("tanh", "float32"): "3f59fd429d637f73",
    ("tanh", "float64"): "b7a4a121c4ce4cb9",
    ("sin", "float32"): "8b41f9208d52664f",
    ("sin", "float64"): "87f093fbd31c9c5f",
    ("cos", "float32"): "bcc182c5bd6c8714",
    ("cos", "float64"): "5a4971b8de3bd7e5",
    ("erf", "float32"): "0befec4d020e6025",
    ("erf", "float64"): "bbda5c961a22128e",
    ("erfc", "float32"): "c2cedbab74bed1c1",
    ("erfc", "float64"): "38ca415c2c226e1b",
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_bits_stay_what_they_are(name: str, dtype: str) -> None:
    x = _arguments(name, dtype)
    y = into(name, x, np.empty_like(x))
    sum_of_bits = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()[:16]
    assert sum_of_bits == BITS[name, dtype]


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_float64_rounded(name: str) -> None:
    """Against the float64 function, on a million numbers; with GPUBP_EVERY_FLOAT32=1 on all there are."""
    step = 1 if os.environ.get("GPUBP_EVERY_FLOAT32") == "1" else 4099
    worst, piece = 0.0, 2**20
    for first in range(0, 2**32, piece * step):
        x = np.arange(first, min(first + piece * step, 2**32), step, np.int64).astype(np.uint32).view(np.float32)
        worst = max(worst, _worst(name, x))
    assert worst < 0.506


def _worst(name: str, x: np.ndarray) -> float:
    """The largest error of the float32 function, in units of the last place."""
    y = into(name, x, np.empty_like(x))
    true = into(name, x, np.empty(x.shape))
    with np.errstate(all="ignore"):
        assert np.array_equal(np.isnan(y), np.isnan(true))
        finite = np.isfinite(y) & np.isfinite(true)
        assert np.array_equal(finite, np.isfinite(true.astype(np.float32)))
    if name in ("sin", "cos"):
        finite &= np.abs(x) < 1e6
    y, true = y[finite].astype(np.float64), true[finite]
    unit = np.ldexp(1.0, np.maximum(np.frexp(true)[1] - 24, -149))
    return float(np.max(np.abs(y - true) / unit, initial=0.0))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 1, 17000), (16385,)])
def test_every_shape_and_place(shape: tuple[int, ...]) -> None:
    x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape) / 500
    wanted = np.array([exp64(float(v)) for v in x.ravel()[::37]]).astype(np.float32)
    for out in (np.empty_like(x), np.empty((*shape, 2), np.float32)[..., 1]):
        into("exp", x, out)
        assert out.ravel()[::37].tobytes() == wanted.tobytes()
    if shape:
        into("exp", x, x)
        assert x.ravel()[::37].tobytes() == wanted.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_single_numbers_have_the_bits_of_arrays(name: str) -> None:
    x = np.r_[_arguments(name, "float64"), [a for a, _ in SPECIAL[name]], NAN]
    one_by_one = np.array([of_numbers(name, float(a)) for a in x])
    assert np.array_equal(one_by_one, of_numbers(name, x), equal_nan=True)
    signs = np.signbit(one_by_one) == np.signbit(of_numbers(name, x))
    assert np.all(signs | np.isnan(one_by_one))


def test_an_output_over_a_part_of_its_input() -> None:
    x = np.linspace(-1, 1, 36001)
    wanted = into("tanh", x[:-1].copy(), np.empty(36000))
    into("tanh", x[:-1], x[1:])
    assert x[1:].tobytes() == wanted.tobytes()


def test_programs_are_not_long() -> None:
    """A loop of Numba and a kernel have so many lines more for each call."""
    assert max(len(program_of(name, "float32").steps) for name in NAMES if name != "erf") < 60
    assert max(len(program_of(name, "float64").steps) for name in NAMES if name != "erf") < 190
    assert max(len(program_of(name, "float64", "ordinary").steps) for name in OWN) < 190
