"""Short rows and single numbers made long, on large arrays: the bits of the operation as it is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpubp.backends import CPU
from gpubp.backends.cpu.widening import LARGE
from gpubp.formula import maximum, minimum

FORMULAS: dict[str, tuple[Any, list[Any]]] = {
    "a number": (lambda x: maximum(x, 0.0), []),
    "a number first": (lambda x: minimum(0.5, x), []),
    "a number given": (lambda x, a: maximum(x, a) * 2.0, [()]),
    "a row": (lambda x, r: (x - r) * 2.0, ["row"]),
    "two rows": (lambda x, r, s: x * r + s, ["row", "row"]),
    "a row with itself": (lambda x, r: r * r - x, ["row"]),
    "a row and a column": (lambda x, r, c: (x - c) * r, ["row", "column"]),
    "a row and a number": (lambda x, r: maximum(x * r, 0.25), ["row"]),
    "largest of a row": (lambda x, r: maximum(x, r), ["row"]),
}


@pytest.mark.parametrize("shape", [(64, 8, 32), (1000, 33), (LARGE,), (3, 5461), (128, 128), (31, 7, 11, 8)], ids=str)
@pytest.mark.parametrize("name", FORMULAS)
def test_large_arrays(name: str, shape: tuple[int, ...]) -> None:
    f, others = FORMULAS[name]
    if len(shape) == 1 and "column" in others:
        pytest.skip("one axis has no columns")
    rng, be = np.random.default_rng(0), CPU()
    shapes = {"row": shape[-1:], "column": (*shape[:-1], 1), (): ()}
    inputs = [rng.normal(size=s).astype("float32") for s in (shape, *(shapes[o] for o in others))]
    inputs[0].reshape(-1)[:4] = np.nan, 0.0, -0.0, np.inf
    one = np.float32
    with np.errstate(all="ignore"):
        wanted = f(*inputs)
        apart, within = np.zeros(shape, one), inputs[0].copy()
        be.apply(f, *inputs, out=apart)
        be.apply(f, within, *inputs[1:], out=within)
        record = be.capture(lambda: be.apply(f, *inputs, out=apart))
        for row in inputs[1:]:
            row *= one(0.5)  # what is repeated is read anew at every replay
        record()
    assert within.tobytes() == wanted.tobytes()
    with np.errstate(all="ignore"):
        assert apart.tobytes() == f(*inputs).tobytes()


def test_a_short_bias_is_added_to_every_row() -> None:
    rng, be = np.random.default_rng(0), CPU()
    for shape in ((4096, 32), (1000, 3), (17, 5000), (7, 2)):
        a, row = rng.normal(size=shape).astype("float32"), rng.normal(size=shape[-1:]).astype("float32")
        wanted = a + row
        assert be.add_row(a, row, out=a).tobytes() == wanted.tobytes()
