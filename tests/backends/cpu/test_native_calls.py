"""Calls of gpubp's own, sums over axes and casts in records that run without Python: the bits of these calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_native import both, laid_out, numbers

import gpubp as bp
from cases import LAYERS, LOSSES, OPTIMIZERS, LayerCase, LossCase, OptimizerCase
from gpubp.backends.cpu import compiled
from gpubp.backends.cpu.compiled import CompiledRecord
from gpubp.backends.cpu.loops import Fused
from gpubp.backends.cpu.native import Program
from gpubp.backends.cpu.native.bytecode import Code
from gpubp.backends.cpu.native.instructions import CASTS
from gpubp.backends.cpu.scattering import Scatter, take_rows
from gpubp.backends.philox import fill_mask, fill_uniform
from gpubp.backends.recording import Call
from test_properties import training_step

pytestmark = [
    pytest.mark.skipif(not compiled.installed(), reason="Numba is not installed: pip install 'gpubp[fast]'"),
    pytest.mark.usefixtures("compiled_at_once"),
]
KEYS = [(0, 0), (7, 2**32 - 5), (2**63 + 5, 3), (2**64 - 1, 1)]


# -- random numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5, 16, 17, 1023, 1024, 1025, 5000, 40_000])
@pytest.mark.parametrize("first", [0, 3, 16, 12_345])
def test_masks_have_the_bits_of_the_call(n: int, first: int) -> None:
    """Also those that begin amid a block of Philox."""
    for number, key in enumerate(KEYS):
        step = np.array([3**number * 10**12], np.uint64)
        found = both(Call(fill_mask, (np.zeros(n, bool), 13_107 * number, key, step, first), {}))
        assert found is not None and found[0] == found[1]


@pytest.mark.parametrize("kind", "fd")
@pytest.mark.parametrize("n", [1, 8, 9, 511, 512, 513, 20_000])
def test_uniform_numbers_have_the_bits_of_the_call(n: int, kind: str) -> None:
    for number, key in enumerate(KEYS):
        step = np.array([3**number * 10**12], np.uint64)
        found = both(Call(fill_uniform, (np.zeros(n, kind), key, step, 8 * number), {}))
        assert found is not None and found[0] == found[1]


def test_what_is_drawn_goes_on_with_the_step() -> None:
    """A record reads the number of the step each time."""
    out, step = np.zeros((4, 9), bool), np.array([1], np.uint64)
    record: Any = CompiledRecord([Call(fill_mask, (out, 30_000, (1, 2), step), {})], compiled.Program)
    for k in range(5):
        step[0] = k
        record()
        wanted = np.zeros((4, 9), bool)
        fill_mask(wanted, 30_000, (1, 2), np.array([k], np.uint64))
        assert np.array_equal(out, wanted)


def test_masks_in_gaps_stay_with_python() -> None:
    out = np.zeros((4, 8), bool)[:, ::2]
    assert not Code().add(Call(fill_mask, (out, 5, (0, 0), np.zeros(1, np.uint64)), {}))


# -- rows by their numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", "fd")
@pytest.mark.parametrize("width", [1, 3, 64])
def test_rows_are_taken_and_added_with_the_bits_of_the_calls(width: int, kind: str, rng: np.random.Generator) -> None:
    rows = rng.integers(0, 7, 200)
    source, a = numbers(rng, (7, width), kind), numbers(rng, (200, width), kind)
    taken = both(Call(take_rows, (np.zeros((200, width), kind), source, rows), {}))
    added = both(Call(Scatter(width).scatter, (a, rows, np.ones((7, width), kind)), {}))
    assert taken is not None and taken[0] == taken[1]
    assert added is not None and added[0] == added[1]


def test_numbers_of_rows_that_are_none_touch_no_other_memory(rng: np.random.Generator) -> None:
    """They are found before; were they not, NumPy would take the nearest row, and raise where it adds."""
    rows = np.array([2, 2**40, -(2**40), 0])
    taken = both(Call(take_rows, (np.zeros((4, 3)), rng.normal(size=(3, 3)), rows), {}))
    assert taken is not None and taken[0] == taken[1]
    out, a = np.zeros((3, 3)), rng.normal(size=(4, 3))
    Program([Call(Scatter(3).scatter, (a, rows, out), {})]).replay()
    assert np.array_equal(out, [a[3], [0, 0, 0], a[0]])


def test_rows_of_another_type_stay_with_python() -> None:
    rows = np.zeros(2, np.int64)
    assert not Code().add(Call(take_rows, (np.zeros((2, 3)), np.zeros((4, 3), "f"), rows), {}))
    assert not Code().add(Call(take_rows, (np.zeros((2, 3)), np.zeros((4, 3)), rows.astype(np.int32)), {}))
    assert not Code().add(Call(Scatter(3).scatter, (np.zeros((2, 6))[:, ::2], rows, np.zeros((4, 3))), {}))


# -- sums, largest numbers, casts -------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_sums_and_largest_numbers_over_axes_have_numpys_bits(data: st.DataObject) -> None:
    """Infinities, NaN and zeros of either sign among the numbers."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    shape = tuple(data.draw(st.lists(st.sampled_from([1, 2, 3, 8, 33, 130]), min_size=1, max_size=4)))
    if np.prod(shape) > 60_000:
        return
    first = data.draw(st.integers(0, len(shape) - 1))
    axes = tuple(range(first, data.draw(st.integers(first, len(shape) - 1)) + 1))
    ufunc = data.draw(st.sampled_from([np.add, np.maximum, np.minimum]))
    keepdims, kind = data.draw(st.booleans()), data.draw(st.sampled_from("fd"))
    out = np.zeros([1 if k in axes else n for k, n in enumerate(shape) if keepdims or k not in axes], kind)
    axis: Any = axes[0] if len(axes) == 1 else axes
    options = {"axis": axis, "out": out} | ({"keepdims": True} if keepdims else {})
    found = both(Call(ufunc.reduce, (numbers(rng, shape, kind),), options))
    assert found is None or found[0] == found[1]
    inner = np.prod(shape[axes[-1] + 1 :], dtype=int)
    assert (found is not None) == (inner > 1 or ufunc is not np.add)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_casts_have_numpys_bits(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    shape = data.draw(st.sampled_from([(), (1,), (7,), (3, 5), (4, 1), (2, 3, 4), (300, 17)]))
    source, to = data.draw(st.sampled_from(sorted(CASTS)))
    narrower = data.draw(st.sampled_from([shape, shape, shape[-1:], (*shape[:-1], 1) if shape else ()]))
    a = laid_out(data.draw, rng, narrower, source)
    if to == "l" and a.dtype.kind == "f":  # no number of a row is infinite
        a = np.where(np.isfinite(a), a, 3).astype(source)
    out = laid_out(data.draw, rng, shape, to)
    if a.ndim > out.ndim:  # NumPy makes vectors of single numbers
        return
    found = both(Call(np.copyto, (out, a), {"casting": "unsafe"}))
    assert found is not None and found[0] == found[1]


# -- whole steps ------------------------------------------------------------------------------------------------------

BY_PYTHON = {
    "RandomFlip", "RandomTranslation", "RandomRotation", "RandomZoom", "augmented",  # pictures are turned by NumPy
    "AdaptiveAvgPool2D", "AdaptiveMaxPool2D", "Padding1D-Cropping1D",  # parts of larger arrays
    "Conv2DTranspose-stride", "MultiHeadAttention-one-step",  # products of one column or row
    "WordColumns-two-texts",
}  # fmt: skip


def left_to_python(net: bp.Network, loss: bp.Loss, optimizer: bp.Optimizer, x: np.ndarray, t: np.ndarray) -> list[Call]:
    """The calls of a step, but for formulas, that a program can't make; the loops of formulas are not compiled here."""
    step = training_step(net, loss, optimizer, x, t)
    with net.backend.active():
        step.run()
    record: Any = step.record
    return [call for call in record.calls if not isinstance(call.function, Fused) and not Code().add(call)]


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_a_step_of_each_layer_needs_no_python(case: LayerCase, rng: np.random.Generator) -> None:
    """So several are made in one call."""
    x, t = case.x(rng).astype("float32"), rng.integers(0, 3, case.shape[0]).astype("int32")
    net = bp.Network(case.network_layers(), case.shape[1:], device="cpu")
    assert bool(left_to_python(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), x, t)) == (case.id in BY_PYTHON)


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_a_step_of_each_loss_needs_no_python(case: LossCase, rng: np.random.Generator) -> None:
    inputs = (*case.shape[1:-1], 4)
    x, y = rng.normal(size=(case.shape[0], *inputs)).astype("float32"), case.targets(rng, case.shape)
    t = case.loss.targets(np.asarray(y), case.shape)
    t = t if t.dtype == np.int32 else t.astype("float32")
    assert not left_to_python(bp.Network(case.layers(), inputs, device="cpu"), case.loss, bp.SGD(0.1), x, t)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_a_step_of_each_optimizer_needs_no_python(case: OptimizerCase, rng: np.random.Generator) -> None:
    x, t = rng.normal(size=(6, 4)).astype("float32"), rng.normal(size=(6, 2)).astype("float32")
    net = bp.Network(bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2)), 4, device="cpu")
    assert not left_to_python(net, bp.MeanSquaredError(), case.optimizer, x, t)
