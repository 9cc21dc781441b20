"""Short rows and single numbers made long, on large arrays: the bits of the operation as it is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpubp.backends import CPU, Backend
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
    "a row for each row of the batch": (lambda x, m: x - m, ["rows"]),
    "such rows, a row, a number of each": (lambda x, m, r, c: (x - m) * r + c * x, ["rows", "row", "of rows"]),
    "such rows and a column": (lambda x, m, c: (x - m) * c, ["rows", "column"]),
    "two outputs": (lambda x, m, r: (x - m, (x - m) * r), ["rows", "row"]),
}


@pytest.mark.parametrize("shape", [(64, 8, 32), (1000, 33), (LARGE,), (3, 5461), (128, 128), (31, 7, 11, 8)], ids=str)
@pytest.mark.parametrize("name", FORMULAS)
def test_large_arrays(name: str, shape: tuple[int, ...]) -> None:
    f, others = FORMULAS[name]
    if len(shape) == 1 and {"column", "rows", "of rows"} & {*others}:
        pytest.skip("one axis has no columns, and no rows")
    rng, be = np.random.default_rng(0), CPU()
    inner = [1] * (len(shape) - 2)
    shapes = {"row": shape[-1:], "column": (*shape[:-1], 1), (): (), "of rows": (shape[0], *inner, 1)}
    shapes["rows"] = (shape[0], *inner, shape[-1])
    inputs = [rng.normal(size=s).astype("float32") for s in (shape, *(shapes[o] for o in others))]
    inputs[0].reshape(-1)[:4] = np.nan, 0.0, -0.0, np.inf
    one = np.float32

    def wanted() -> bytes:
        found = f(*inputs)
        return b"".join(a.tobytes() for a in (found if isinstance(found, tuple) else (found,)))

    def places(first: Any) -> Any:
        return (first, np.zeros(shape, one)) if name == "two outputs" else first

    with np.errstate(all="ignore"):
        apart, within = places(np.zeros(shape, one)), places(inputs[0].copy())
        be.apply(f, within[0] if name == "two outputs" else within, *inputs[1:], out=within)
        assert np.array(within).tobytes() == wanted()
        be.apply(f, *inputs, out=apart)
        assert np.array(apart).tobytes() == wanted()
        record = be.capture(lambda: be.apply(f, *inputs, out=apart))
        for row in inputs[1:]:
            row *= one(0.5)  # what is repeated is read anew at every replay
        record()
        assert np.array(apart).tobytes() == wanted()
        if be.native and shape == (31, 7, 11, 8):
            record.settle()  # type: ignore[attr-defined]
            for _ in range(3):
                inputs[0] *= one(0.5)
                record()
                assert np.array(apart).tobytes() == wanted()


@pytest.mark.kernel
@pytest.mark.parametrize("shape", [(16, 28, 28, 32), (8, 256, 64), (16, 16, 16, 16, 8), (8, 201, 64)], ids=str)
def test_sums_over_places_are_no_less_exact_than_those_axis_after_axis(shape: tuple[int, ...]) -> None:
    be, rng = CPU(), np.random.default_rng(0)
    a = rng.normal(3.0, 1.0, size=shape).astype("float32")
    found = np.zeros((shape[0], *[1] * (len(shape) - 2), shape[-1]), "float32")
    by_axes = found.copy()
    record = be.capture(lambda: be.sum_places(a, out=found))
    assert [call.function for call in record.calls].count(np.matmul) >= 1  # type: ignore[attr-defined]
    Backend.sum_places(be, a, by_axes)
    wanted = a.astype("float64").reshape(shape[0], -1, shape[-1]).sum(1).reshape(found.shape)

    def error(sums: np.ndarray[Any, Any]) -> float:
        return float(np.sqrt(np.mean((sums - wanted) ** 2)))

    assert error(found) < 1.4 * error(by_axes)
    assert error(found) < 1e-6 * wanted.mean()


def test_a_short_bias_is_added_to_every_row() -> None:
    rng, be = np.random.default_rng(0), CPU()
    for shape in ((4096, 32), (1000, 3), (17, 5000), (7, 2)):
        a, row = rng.normal(size=shape).astype("float32"), rng.normal(size=shape[-1:]).astype("float32")
        wanted = a + row
        assert be.add_row(a, row, out=a).tobytes() == wanted.tobytes()
