"""Functions of single numbers: which layer a formula of the file is.

A formula such as x · σ(x) is computed at some hundred places and compared with the activations that gpubp has, so that
it does not matter in which way a program has written it. Where a formula has a corner, as max(x, c) has at c, there
are places around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from ...layers import (
    CELU,
    ELU,
    GELU,
    SELU,
    Activation,
    Hardshrink,
    HardSigmoid,
    HardSwish,
    Hardtanh,
    Layer,
    LeakyReLU,
    LogSigmoid,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    ThresholdedReLU,
)
from .values import Array, Term

UNNAMED = "a function of single numbers"
CLOSE = 2e-6  # constants of a file are float32 numbers
DEEPEST = 24
DENSE = 481  # places around 0
CORNERS = 1e4  # a formula's are below


def erf(x: Array) -> Array:
    """The error function.

    >>> erf(np.array([0.0, 1.0])).round(4).tolist()
    [0.0, 0.8427]
    """
    found: Array = np.vectorize(math.erf, otypes=[np.float64])(x)
    return found


def _sigmoid(x: Any) -> Any:
    return np.exp(-np.logaddexp(0.0, -x))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Neg": np.negative,
    "Abs": np.abs, "Exp": np.exp, "Log": np.log, "Sqrt": np.sqrt, "Reciprocal": lambda x: 1.0 / x, "Erf": erf,
    "Sign": np.sign, "Floor": np.floor, "Ceil": np.ceil, "Round": np.round, "Max": np.maximum, "Min": np.minimum,
    "Greater": np.greater, "Less": np.less,
    "GreaterOrEqual": np.greater_equal, "LessOrEqual": np.less_equal, "Equal": np.equal, "Where": np.where,
    "Not": np.logical_not, "And": np.logical_and, "Or": np.logical_or, "IsNaN": np.isnan,
    "Cast": lambda x: np.asarray(x, np.float64), "Sin": np.sin, "Cos": np.cos,
    "Tanh": np.tanh, "Sigmoid": _sigmoid, "Relu": lambda x: np.maximum(x, 0.0),
    "Softplus": lambda x: np.logaddexp(x, 0.0), "LeakyRelu": lambda x, a: np.where(x < 0, a * x, x),
    "Elu": lambda x, a: np.where(x < 0, a * np.expm1(np.minimum(x, 0.0)), x), "Clip": np.clip,
    "Selu": lambda x, a, g: g * np.where(x <= 0, a * np.expm1(np.minimum(x, 0.0)), x),
    "HardSigmoid": lambda x, a, b: np.clip(a * x + b, 0.0, 1.0), "Softsign": lambda x: x / (1.0 + np.abs(x)),
    "HardSwish": lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0), "Mish": lambda x: x * np.tanh(np.logaddexp(x, 0.0)),
    "Celu": lambda x, a: np.maximum(x, 0) + np.minimum(0, a * np.expm1(np.minimum(x, 0.0) / a)),
    "Gelu": lambda x: 0.5 * x * (1.0 + erf(x / math.sqrt(2.0))), "GeluTanh": GELU("tanh").f,
    "Swish": lambda x, a: x * _sigmoid(a * x), "ThresholdedRelu": lambda x, a: np.where(x > a, x, 0.0),
    "Shrink": lambda x, bias, l: np.where(x < -l, x + bias, np.where(x > l, x - bias, 0.0)),
}  # fmt: skip

# Functions that gpubp has no layer for, which a message can name.
NAMED: dict[str, Callable[[Array], Array]] = {
    "the exponential": np.exp,
    "the square": lambda x: x * x,
    "the absolute value": np.abs,
}  # fmt: skip


def places(term: Term) -> Array:
    """Numbers at which formulas are compared: dense around 0, far ones, and some around each constant, not at it, where
    a formula may jump.

    >>> places(Term("Max", ("x", 7.5))).shape[0] > 500
    True
    """
    found = [np.linspace(-12.0, 12.0, DENSE), *(s * np.geomspace(12.5, 3e4, 60) for s in (1.0, -1.0))]
    corners = [c for c in constants_of(term) if math.isfinite(c) and abs(c) < CORNERS]
    found += [np.array([c * f + d for f in (0.5, 1.0, 2.0) for d in (-1.0, -0.05, 0.05, 1.0)]) for c in corners[:50]]
    x = np.concatenate(found)
    for c in corners:
        x[np.abs(np.abs(x) - abs(c)) < 1e-5 * (1.0 + abs(c))] += 2e-3
    return x


def constants_of(term: Term) -> list[float]:
    """The numbers that stand in a formula, each once.

    >>> constants_of(Term("Max", ("x", Term("Mul", (0.2, "x")))))
    [0.2]
    """
    found: set[float] = set()
    waiting: list[Any] = [term]
    while waiting:
        at = waiting.pop()
        if isinstance(at, Term):
            waiting += at.operands
            found.update(at.more)
        elif at != "x":
            found.add(float(at))
    return sorted(found)


def evaluated(term: Term, x: Array) -> Array:
    """The formula at x, in float64.

    >>> evaluated(Term("Mul", ("x", Term("Sigmoid", ("x",)))), np.array([0.0, 1.0])).round(3).tolist()
    [0.0, 0.731]
    """
    known: dict[int, Any] = {}

    def of(operand: Any) -> Any:
        if isinstance(operand, Term):
            if id(operand) not in known:
                known[id(operand)] = FUNCTIONS[operand.op](*map(of, operand.operands), *operand.more)
            return known[id(operand)]
        return x if isinstance(operand, str) else np.float64(operand)

    with np.errstate(all="ignore"):
        return np.asarray(of(term), np.float64) * np.ones_like(x)


def agree(y: Array, z: Array) -> bool:
    """Whether two functions have the same numbers at `places`, but for rounding, and where y overflows far out.

    >>> agree(np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-8]))
    True
    """
    known = np.isfinite(y)
    return bool(known[:DENSE].all() and (np.abs(y - z)[known] <= CLOSE * (np.abs(z) + 0.05)[known]).all())


def activation_of(term: Term) -> Layer | str | None:
    """The layer that computes a formula, "x" if the formula is x itself, None if gpubp has none.

    >>> activation_of(Term("Mul", ("x", Term("Sigmoid", ("x",)))))
    SiLU()
    >>> activation_of(Term("Max", ("x", Term("Mul", (0.2, "x")))))
    LeakyReLU(0.2)
    """
    if term.operands == ("x",) and term.op in ALONE:
        with suppress(ValueError):  # a number that no layer takes
            return ALONE[term.op](*map(shortest, term.more))
    x = places(term)
    y = evaluated(term, x)
    if agree(y, x):
        return "x"
    with np.errstate(all="ignore"):
        of_x = ((layer, np.asarray(layer.f(x), np.float64)) for layer in _candidates(term))
        return next((layer for layer, z in of_x if agree(y, z)), None)


FIXED = (
    ReLU(), Sigmoid(), Tanh(), SiLU(), GELU(), GELU("tanh"), Softplus(), Mish(), HardSwish(), SELU(), Softsign(),
    LogSigmoid(), Tanhshrink(),
)  # fmt: skip


def _candidates(term: Term) -> Iterator[Activation]:
    """Activations that a formula may be, with the arguments that its values at a few places leave."""
    yield from FIXED
    at = dict(zip(AT, evaluated(term, np.array(AT)), strict=True))
    constants = constants_of(term)

    def arguments() -> Iterator[tuple[Callable[..., Activation], tuple[float | None, ...]]]:
        low, high = at[-FAR], at[FAR]
        yield LeakyReLU, (-at[-1.0],)
        yield ELU, (at[-1.0] / math.expm1(-1.0),)
        yield CELU, (-low,)
        yield SELU, (-low / at[1.0], at[1.0])
        yield SiLU, (np.log(at[1.0] / (1.0 - at[1.0])),)
        yield Softplus, (math.log(2.0) / at[0.0],)
        if max(-low, high) < CORNERS:
            yield (ReLU, (high,)) if low == 0 else (Hardtanh, (low, high))
        yield from [(Hardtanh, (low, None))] if high == FAR and abs(low) < CORNERS else []
        yield from [(Hardtanh, (None, high))] if low == -FAR and abs(high) < CORNERS else []
        yield HardSigmoid, ((at[0.0625] - at[0.0]) / 0.0625, at[0.0])
        yield Softshrink, (FAR - high,)
        for constant in constants:
            yield Hardshrink, (abs(constant),)
            yield ThresholdedReLU, (constant, low)

    with np.errstate(all="ignore"):
        for cls, numbers in arguments():
            with suppress(ValueError):  # not its arguments
                yield cls(*(None if number is None else shortest(number) for number in numbers))


FAR = 3e4
AT = (-FAR, -1.0, 0.0, 0.0625, 1.0, FAR)
ALONE: dict[str, Callable[..., Layer]] = {
    "Relu": ReLU, "Sigmoid": Sigmoid, "Tanh": Tanh, "Softplus": Softplus, "LeakyRelu": LeakyReLU, "Elu": ELU,
    "Gelu": GELU, "GeluTanh": lambda: GELU("tanh"), "Selu": SELU, "Celu": CELU, "Softsign": Softsign, "Mish": Mish,
    "HardSwish": HardSwish, "HardSigmoid": HardSigmoid, "Swish": SiLU, "ThresholdedRelu": ThresholdedReLU,
}  # fmt: skip


def called(term: Term) -> str:
    """What a formula is that gpubp has no layer for.

    >>> called(Term("Abs", ("x",)))
    'the absolute value'
    """
    x = np.linspace(-9.0, 9.0, 37)
    y = evaluated(term, x)
    with np.errstate(all="ignore"):
        return next((name for name, f in NAMED.items() if agree(y, f(x))), UNNAMED)


def shortest(number: float) -> float:
    """The number that was meant by a float32 number: 0.1 for 0.10000000149, and 1/6 for 0.16666667.

    >>> shortest(float(np.float32(0.1))), shortest(0.25), shortest(0.16666667)
    (0.1, 0.25, 0.16666666666666666)
    """
    for usual in (HardSigmoid().slope, SELU().alpha, SELU().scale):
        if np.float32(number) == np.float32(usual):
            return usual
    with np.errstate(all="ignore"):
        near = float(str(np.float32(number)))
    return near if abs(near - number) <= 1.2e-7 * abs(number) else float(number)
