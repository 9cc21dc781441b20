"""Formulas of several passes, made block by block: what is cut, and the same bits by every way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends import CPU
from gpubp.backends.cpu import blocks, compiled
from gpubp.backends.cpu.row_maxima import row_maxima
from gpubp.formula import exp, log, row_max, row_sum, trace

SHAPE = (6, 5, 4)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def _softmax(x: Any) -> Any:
    e = exp(x - row_max(x))
    return e / row_sum(e)


def _two(x: Any, t: Any) -> Any:
    s = x - row_max(x)
    return log(row_sum(exp(s))) - row_sum(s * t), exp(s) - t


# formula, inputs, shapes of outputs, how many blocks of 20 numbers there are
CASES: dict[str, tuple[Any, list[np.ndarray], list[tuple[int, ...]], int]] = {
    "elementwise": (lambda x: x * exp(-x) + 1.0, [numbers(*SHAPE)], [SHAPE], 8),
    "a number": (lambda x, c: x * exp(-x) + c, [numbers(*SHAPE), numbers(1)], [SHAPE], 8),
    "rows": (_softmax, [numbers(*SHAPE)], [SHAPE], 8),
    "long rows": (_softmax, [numbers(3, 100)], [(3, 100)], 3),
    "row and column": (lambda x, r, c: exp(x * r) - c, [numbers(*SHAPE), numbers(4), numbers(6, 5, 1)], [SHAPE], 8),
    "several outputs": (_two, [numbers(*SHAPE), numbers(*SHAPE)], [(6, 5, 1), SHAPE], 8),
    "one of each of the batch": (lambda x, c: exp(x * c) - c, [numbers(*SHAPE), numbers(6, 1, 1)], [SHAPE], 6),
    "columns of a matrix": (lambda x, r: exp(x) * r, [numbers(6, 5, 9)[:, :, 2:6], numbers(4)], [SHAPE], 8),
    "turned": (lambda x, y: exp(x) * y, [numbers(5, 6, 4).swapaxes(0, 1), numbers(*SHAPE)], [SHAPE], 6),
    "one row": (_softmax, [numbers(1, 100)], [(1, 100)], 1),
    "one pass": (exp, [numbers(*SHAPE)], [SHAPE], 1),
    "what is the same for all": (lambda x, r: x + exp(r), [numbers(*SHAPE), numbers(1, 5, 4)], [SHAPE], 6),
}


@pytest.mark.parametrize("case", CASES)
def test_a_formula_is_cut_and_has_the_same_bits_by_every_way(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    f, inputs, shapes, count = CASES[case]
    whole = [np.empty(shape, "float32") for shape in shapes]
    CPU().apply(f, *inputs, out=tuple(whole))
    monkeypatch.setattr(blocks, "BLOCK", 20)
    monkeypatch.setattr(compiled, "LOOP_PRICE", -1.0)
    cut = blocks.blocks(trace(f, len(inputs)), inputs, whole)
    assert len(cut) == count
    assert sum(to[-1].size for _, to in cut) == whole[-1].size
    results = []
    for native in (None, False, True):  # call by call, recorded, compiled
        be, outs = CPU(), tuple(np.zeros(shape, "float32") for shape in shapes)
        be.native = bool(native) and compiled.wanted()
        with be.active():
            if native is None:
                be.apply(f, *inputs, out=outs)
            else:
                record: Any = be.capture(lambda be=be, outs=outs: be.apply(f, *inputs, out=outs))
                for replay in range(4):
                    for out in outs:
                        out[...] = 0
                    record()
                    if replay == 1 and be.native:
                        record.settle()
        results.append(outs)
    for outs in results:
        for out, first, as_one in zip(outs, results[0], whole, strict=True):
            np.testing.assert_array_equal(out, first)
            np.testing.assert_allclose(out, as_one, rtol=1e-5, atol=1e-6)


def test_an_output_in_the_memory_of_an_input_is_cut_only_where_it_is_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 10)
    program, x = trace(lambda x: exp(x) + 1.0, 1), numbers(101)
    assert len(blocks.blocks(program, (x,), (x,))) > 1
    assert len(blocks.blocks(program, (x[1:],), (x[:-1],))) == 1
    wanted = np.exp(x[1:]) + np.float32(1.0)
    CPU().apply(lambda x: exp(x) + 1.0, x[1:], out=x[:-1])
    np.testing.assert_array_equal(x[:-1], wanted)


def test_a_network_trains_to_the_same_bits_with_blocks_call_by_call_and_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 64)
    layers = bp.Sequential(
        bp.Embedding(20, 8), bp.MultiHeadAttention(2), bp.LayerNorm(), bp.GELU(), bp.LSTM(8), bp.Dense(12),
        bp.Softmax(), bp.Dense(4),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 20, (32, 6)), rng.integers(0, 4, 32)
    found = []
    for fast in ("0", "1"):
        monkeypatch.setenv("GPUBP_FAST", fast)
        net = bp.Network(layers, input_shape=6, device="cpu", seed=0)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=16, seed=0)
        trainer.fit(X, y, epochs=3, verbose=False)
        found.append(np.array(net.flat))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_the_largest_of_each_row(dtype: str) -> None:
    """Short and long rows, few and many; NaN and infinite numbers as NumPy has them."""
    kinds = set()
    for rows, n in ((1, 1), (2, 3), (40, 3), (500, 16), (500, 17), (1000, 32), (1000, 33), (3, 100)):
        x = (10 * numbers(rows, n)).astype(dtype)
        if dtype != "int32":
            x[0, -1], x[-1, 0] = np.nan, -np.inf
            x[rows // 2] = -np.inf
        out = np.empty((rows, 1), dtype)
        calls = row_maxima(x, out)
        kinds.add(min(len(calls), 2))
        for function, args, kwargs in calls:
            function(*args, **kwargs)
        np.testing.assert_array_equal(out, np.max(x, axis=-1, keepdims=True))
        assert len(calls) == 1 or all(c.args[0].size + c.args[1].size == 2 * rows for c in calls)
    assert kinds == ({1} if dtype == "int32" else {1, 2})
