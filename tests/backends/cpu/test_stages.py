"""Formulas in stages: passes of NumPy's with loops between them, and the bits of passes alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpubp as bp
from gpubp.backends import CPU
from gpubp.backends.cpu import compiled, stages
from gpubp.backends.cpu.loops import Fused
from gpubp.backends.cpu.stages import depends_on_place
from gpubp.formula import OPERATIONS, equal, exp, log, row_max, row_sum, sigmoid, tanh
from random_formulas import BINARY, CONSTANTS, OWN, ROUNDED, ROWS, UNARY, Formula, values

needs_numba = pytest.mark.skipif(not compiled.installed(), reason="Numba is not installed: pip install 'gpubp[fast]'")
rng = np.random.default_rng(0)


def numbers(*shape: int, dtype: str = "float32") -> Any:
    return values(rng, shape, dtype)


def recorded(f: Any, inputs: list[Any], outs: list[Any], native: bool = True) -> Any:
    """The record of a formula, which is done once."""
    be = CPU()
    be.native = native
    with be.active():
        return be.capture(lambda: be.apply(f, *inputs, out=tuple(outs)))


def by_python(record: Any) -> None:
    """Replay it with its loops as Python runs them, on NumPy's single numbers."""
    with np.errstate(all="ignore"):
        for function, args, kwargs in record.calls:
            if isinstance(function, Fused):
                space: dict[str, Any] = {
                    "sqrt": np.sqrt, "real": getattr(np, function.loop.dtype), "double": np.float64,
                    "njit": lambda **options: lambda f: f, "INF": np.inf, "NAN": np.nan,
                    "bits": lambda x: int(np.float64(x).view(np.int64)),
                    "number": lambda n: np.array(n & (2**64 - 1), np.uint64).view(np.float64)[()],
                }  # fmt: skip
                helpers = [line for line in function.loop.helpers.split("\n") if not line.startswith("from ")]
                exec("\n".join(helpers) + function.loop.source, space)
                function = space[function.loop.name]
            function(*args, **kwargs)


def by_numba(record: Any) -> None:
    record.settle()
    with np.errstate(all="ignore"):
        record()
    assert record.program is not None and all(c.function.loop.address for c in loops_in(record))


def loops_in(record: Any) -> list[Any]:
    return [call for call in record.calls if isinstance(call.function, Fused)]


def bits(a: np.ndarray) -> bytes:
    """The bits of an array, where all that is not a number is the same."""
    return np.where(a == a, a, np.array(np.nan, a.dtype)).tobytes() if a.dtype.kind == "f" else a.tobytes()


def compared(f: Any, inputs: list[Any], outs: list[Any], do: Any = by_python) -> tuple[Any, Any]:
    """The records with stages and without, after all three ways left the same bits: NumPy alone, the passes with
    stages, and the loops."""
    everything = [*inputs, *outs]
    before = [a.copy() for a in everything]

    def left(work: Any) -> tuple[Any, list[bytes]]:
        for a, first in zip(everything, before, strict=True):
            a[...] = first
        return work(), [bits(a) for a in everything]

    plain, wanted = left(lambda: recorded(f, inputs, outs, native=False))
    record, came = left(lambda: recorded(f, inputs, outs))
    assert came == wanted
    assert left(lambda: do(record))[1] == wanted
    return record, plain


@st.composite
def rounded_formulas(draw: Any) -> Formula:
    """Formulas in which every other function is one that IEEE 754 does not fix, or one over rows."""
    inputs = draw(st.integers(1, 4))
    steps: list[tuple[str, tuple]] = []
    is_bool = [False] * inputs
    for _ in range(draw(st.integers(6, 14))):
        unary = draw(st.sampled_from([UNARY, ROUNDED, OWN, BINARY, BINARY, BINARY, ROWS]))
        operation = draw(st.sampled_from(unary))
        real = [i for i, b in enumerate(is_bool) if not b]
        operands: list[int | float] = [draw(st.sampled_from(real[-3:] + real))]
        if unary is BINARY:
            operands.append(draw(st.integers(0, len(is_bool) - 1) | st.sampled_from(CONSTANTS)))
            if draw(st.booleans()):
                operands.reverse()
        steps.append((operation, tuple(operands)))
        is_bool.append(OPERATIONS[operation].gives_bool)
    outputs = st.lists(st.integers(max(inputs, len(is_bool) - 4), len(is_bool) - 1), min_size=1, max_size=4)
    return Formula(inputs, steps, draw(outputs))


SEEN = {"stages": 0, "passes": 0}


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(rounded_formulas(), st.data())
def test_random_formulas_have_the_bits_of_passes_alone(f: Formula, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    shape = data.draw(st.sampled_from([(2, 3), (4, 2, 3), (5, 1)]))
    narrower = [shape, shape, shape, shape[-1:], (*shape[:-1], 1)]
    inputs: list[Any] = [
        np.asarray(numbers(*data.draw(st.sampled_from(narrower)), dtype=dtype)) for _ in range(f.inputs)
    ]
    if data.draw(st.booleans()):
        inputs[-1] = inputs[0]
    with np.errstate(all="ignore"):
        results = f(*inputs)
    wide = np.ones((*shape[:-1], 3 * shape[-1]), dtype)
    outs: list[Any] = []
    for result in results:
        of = np.shape(result)
        is_bool = np.asarray(result).dtype == bool and data.draw(st.booleans())
        free = [a for a in inputs if a.shape == of and a.dtype == dtype and not any(a is o for o in outs)]
        if free and not is_bool and data.draw(st.booleans()):
            outs.append(data.draw(st.sampled_from(free)))
        elif of == shape != (5, 1) and not is_bool and wide.size and data.draw(st.booleans()):
            outs.append(wide[..., : shape[-1]])  # with gaps
            wide = wide[..., :0]
        else:
            outs.append(np.full(of, 1, bool if is_bool else dtype))
    record, plain = compared(f, inputs, outs)
    SEEN["stages" if loops_in(record) and len(record) > 1 else "passes"] += 1
    assert len(record) <= len(plain)


def test_many_random_formulas_had_stages() -> None:
    assert SEEN["stages"] > 40 and SEEN["passes"] > 20, SEEN


def cell(ai: Any, af: Any, ag: Any, ao: Any, c: Any, mu: Any) -> Any:
    i, f, g, o = sigmoid(ai), sigmoid(af), tanh(ag), sigmoid(ao)
    new = f * c + i * g
    return i, f, g, o, mu * new + (1.0 - mu) * c, o * tanh(new)


def softmax(z: Any, t: Any, classes: Any, c: Any) -> Any:
    e = exp(z - row_max(z))
    return log(row_sum(e)), (e / row_sum(e) - equal(t, classes)) * c


def columns(a: Any, k: int) -> list[Any]:
    n = a.shape[-1] // k
    return [a[..., j * n : (j + 1) * n] for j in range(k)]


def masked(x: Any, kept: Any, scale: Any) -> Any:
    y = tanh(x) * kept * scale
    return y * (y > 0.0), y > 0.0


CASES = {
    "sigmoid": (lambda: (sigmoid, [numbers(7, 33)], [numbers(7, 33)]), 3, 4),
    "in place": (lambda: (sigmoid, [x := numbers(7, 33)], [x]), 3, 4),
    "GELU": (lambda: (bp.GELU("tanh").f, [numbers(7, 33)], [numbers(7, 33)]), 3, 10),
    "GELU'": (lambda: (bp.GELU("tanh").df, [numbers(7, 33) for _ in range(3)], [numbers(7, 33)]), 3, 17),
    "masks": (lambda: (masked, [numbers(7, 33), numbers(7, 33) > 0, numbers(1, 1)],
                       [numbers(7, 33), np.ones((7, 33), bool)]), 2, 5),
    "with gaps": (lambda: (bp.SiLU().f, [numbers(7, 66)[:, ::2][:, :9]], [numbers(7, 40)[:, 4:13]]), None, 6),
    "a cell": (
        lambda: (cell, [*columns(numbers(5, 36), 4), numbers(5, 9), numbers(5, 1)],
                 [*columns(numbers(5, 36), 4), numbers(5, 9), numbers(5, 9)]), 8, 22
    ),
    "a cell over its gates": (
        lambda: (cell, [*(a := columns(numbers(5, 36), 4)), c := numbers(5, 9), numbers(5, 1)], [*a, c, numbers(5, 9)]),
        8, 22
    ),
    "softmax": (
        lambda: (softmax, [numbers(5, 4), np.array([[0], [3], [1], [2], [2]], "int32"), np.arange(4, dtype="int32"),
                           numbers(5, 1)], [numbers(5, 1), numbers(5, 4)]), 7, 9
    ),
}  # fmt: skip


@pytest.mark.kernel
@pytest.mark.parametrize("do", [by_python, pytest.param(by_numba, marks=needs_numba)])
@pytest.mark.parametrize("name", CASES)
def test_known_formulas(name: str, do: Any, compiled_at_once: None) -> None:
    make, calls, passes = CASES[name]
    record, plain = compared(*make(), do)
    assert (len(record), len(plain)) == (calls or len(plain), passes)


@pytest.mark.parametrize(
    ("inputs", "outs"),
    [
        pytest.param(lambda a: [a[:4], a[1:5]], lambda a: [a[:4]], id="over a part of an input"),
        pytest.param(lambda a: [a[:4], a[4:]], lambda a: [a[4:].T], id="turned"),
        pytest.param(lambda a: [a[:0], a[:0]], lambda a: [a[:0].copy()], id="empty"),
        pytest.param(lambda a: [a[:4], a[4:]], lambda a: [a[:4].astype("float64")], id="of another type"),
    ],
)
def test_formulas_that_no_loop_can_do_keep_their_passes(inputs: Any, outs: Any) -> None:
    a = numbers(8, 4)
    record, plain = compared(lambda x, y: 2.0 * tanh(x * y + 1.0) + y, inputs(a), outs(a))
    assert len(record) == len(plain) and not loops_in(record)


def test_outputs_that_share_memory_keep_their_passes() -> None:
    x, y = numbers(4, 6), np.ones((4, 9), "float32")
    record, plain = compared(lambda x: (sigmoid(x), x + exp(x)), [x], [y[:, :6], y[:, 3:]])
    assert len(record) == len(plain) and not loops_in(record)


class Odd:
    """A function of NumPy's kind that rounds otherwise at the end of a row, with gaps, or above itself."""

    nin = 1

    def __init__(self, strange: Any) -> None:
        self.strange = strange

    def __call__(self, x: Any, out: Any = None) -> Any:
        y = np.tanh(x)
        y[self.strange(x, y if out is None else out)] += np.float32(1e-3)
        if out is None:
            return y
        out[...] = y
        return out


@pytest.mark.parametrize(
    ("strange", "found"),
    [
        (lambda x, out: slice(0, 0), False),
        (lambda x, out: slice(len(x) // 8 * 8, None), True),
        (lambda x, out: slice(0, None if x.strides[0] > x.itemsize else 0), True),
        (lambda x, out: slice(0, None if out.strides[0] > out.itemsize else 0), True),
        (lambda x, out: slice(0, None if x is out else 0), True),
        (lambda x, out: slice(0, None if x.ctypes.data % 16 else 0), True),
    ],
)
def test_functions_whose_bits_depend_on_the_place_are_found(
    strange: Any, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "odd", Odd(strange), raising=False)
    depends_on_place.cache_clear()
    assert depends_on_place("odd", "float32") == found
    depends_on_place.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_functions_of_formulas_do_not_depend_on_the_place(dtype: str) -> None:
    """If one does on some processor, its formulas have no stages there, which is right, but slow."""
    assert not {name for name in (*ROUNDED, "sign") if depends_on_place(name, dtype)}


def test_columns_of_one_number_are_negated_in_place() -> None:
    """NumPy 2.4.6 alone gave other numbers."""
    x, y = numbers(8, 4), np.ones((8, 4), "float32")
    compared(lambda a, b: (sigmoid(a + b), sigmoid(a - b)), columns(x, 4)[:2], columns(y, 4)[:2])
    wanted = 1.0 / (1.0 + np.exp(-(x[:, :1] + x[:, 1:2]).astype("float64")))
    np.testing.assert_allclose(y[:, :1], wanted, rtol=1e-5)


def test_formulas_keep_their_passes_where_bits_depend_on_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "depends_on_place", lambda operation, *_: operation == "exp")
    record, plain = compared(sigmoid, [numbers(7, 33)], [numbers(7, 33)])
    assert len(record) == len(plain) and not loops_in(record)
    record, plain = compared(bp.Tanh().f, [numbers(7, 33)], [numbers(7, 33)])
    record, plain = compared(lambda x: 2.0 * tanh(0.5 * x) + 1.0, [numbers(7, 33)], [numbers(7, 33)])
    assert len(record) == 3 < len(plain)


NETS = {
    "dense": ([bp.Dense(9), bp.Sigmoid(), bp.Dense(8), bp.GELU(), bp.Dense(8), bp.Softplus(), bp.Dense(3)], (6,)),
    "time": ([bp.LSTM(4), bp.Dense(3)], (3, 6)),
}


@needs_numba
@pytest.mark.kernel
@pytest.mark.parametrize(("name", "workers"), [("dense", 1), ("dense", 2), ("time", 1)])
def test_a_training_has_the_bits_of_numpy_alone(
    name: str, workers: int, monkeypatch: pytest.MonkeyPatch, compiled_at_once: None
) -> None:
    monkeypatch.setattr(compiled, "LOOP_PRICE", -1.0)
    layers, shape = NETS[name]
    X, y = rng.normal(size=(40, *shape)), rng.integers(0, 3, 40)

    def trained() -> tuple[bytes, list[float], Any]:
        net = bp.Network(bp.Sequential(*layers), shape, device="cpu")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=8, workers=workers)
        history = trainer.fit(X, y, epochs=2, verbose=False)
        return net.flat.tobytes() + net.predict(X).tobytes(), history["loss"], trainer.record

    came, losses, record = trained()
    assert all(call.function.loop.address for call in loops_in(record))
    monkeypatch.setattr("gpubp.backends.cpu.backend.wanted", lambda: False)
    wanted, expected, plain = trained()
    assert came == wanted and losses == expected and len(record) < 0.6 * len(plain)
