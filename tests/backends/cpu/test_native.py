"""Records that run without Python: the bits of NumPy's own calls, for every kind of call."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpubp as bp
from gpubp.backends import CPU
from gpubp.backends.cpu import compiled
from gpubp.backends.cpu.compiled import CompiledRecord
from gpubp.backends.cpu.finite import check_finite
from gpubp.backends.cpu.native import Program, bytecode
from gpubp.backends.cpu.native.bytecode import Code, loop_of
from gpubp.backends.recording import Call, Record, replay_if

pytestmark = [
    pytest.mark.skipif(not compiled.installed(), reason="Numba is not installed: pip install 'gpubp[fast]'"),
    pytest.mark.usefixtures("compiled_at_once"),
]


def numbers(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray[Any, Any]:
    """What arrays may hold, infinities, zeros of either sign and NaN among it."""
    if kind == "?":
        return np.asarray(rng.random(shape) > 0.5)
    if kind in "il":
        return np.asarray(rng.integers(0, 5, shape)).astype(kind)
    x = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3, shape)
    strange = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42], shape)
    return np.where(rng.random(shape) < 0.1, strange, x).astype(kind)


def laid_out(draw: Any, rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray[Any, Any]:
    """An array of this shape: dense, with its axes in another order in memory, or every second of something."""
    match draw(st.sampled_from(["dense", "dense", "turned", "gaps"])):
        case "turned":
            order = draw(st.permutations(range(len(shape))))
            back = np.argsort(order)
            return np.ascontiguousarray(numbers(rng, tuple(shape[k] for k in order), kind)).transpose(*back)
        case "gaps" if shape:
            larger = numbers(rng, tuple(2 * n for n in shape), kind)
            return larger[tuple(slice(None, None, 2) for _ in shape)]
    return numbers(rng, shape, kind)


def both(call: Call) -> tuple[bytes, bytes] | None:
    """What the call leaves in its arrays by NumPy and without Python; None if it stays Python's."""
    arrays = [a for a in (*call.args, *call.kwargs.values()) if isinstance(a, np.ndarray)]
    bases = [a if a.base is None else a.base for a in arrays]
    before = [a.copy() for a in bases]
    with np.errstate(all="ignore"):
        call.function(*call.args, **call.kwargs)
    wanted = b"".join(a.tobytes() for a in bases)
    for a, first in zip(bases, before, strict=True):
        a[...] = first
    if not Code().add(call):
        return None
    Program([call]).replay()
    return wanted, b"".join(a.tobytes() for a in bases)


UFUNCS = [
    *[(u, "ff", "f") for u in (np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum)],
    *[(u, "dd", "d") for u in (np.add, np.divide, np.maximum)],
    *[(u, "f", "f") for u in (np.exp, np.log, np.sqrt, np.tanh, np.negative, np.absolute, np.expm1, np.log1p, np.sign)],
    *[(u, "ff", "?") for u in (np.greater, np.less_equal, np.equal)],
    (np.equal, "ii", "?"), (np.equal, "il", "?"), (np.multiply, "f?", "f"), (np.multiply, "?d", "d"),
    (np.add, "df", "d"), (np.logical_and, "??", "?"), (np.add, "ff", "d"), (np.add, "il", "l"),
]  # fmt: skip
SEEN = {"native": 0, "python": 0, "products": 0, "not": 0}


@settings(max_examples=800, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_elementwise_calls(data: st.DataObject) -> None:
    ufunc, kinds, result = data.draw(st.sampled_from(UFUNCS))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    shape = data.draw(st.sampled_from([(), (1,), (7,), (33,), (3, 5), (4, 1), (2, 3, 4), (2, 1, 9, 3), (300, 17)]))
    narrower = [(), shape[-1:], (*shape[:-1], 1) if shape else (), shape[1:], tuple(1 for _ in shape)]
    given_ = [laid_out(data.draw, rng, data.draw(st.sampled_from([shape, shape, *narrower])), k) for k in kinds]
    out = laid_out(data.draw, rng, shape, result)
    if data.draw(st.booleans()) and kinds[0] == result and given_[0].shape == shape:
        out = given_[0]
    if ufunc is np.multiply and kinds == "f?" and data.draw(st.booleans()):
        given_[1] = 3.0  # a number of Python's
    if np.broadcast_shapes(*(np.shape(a) for a in given_)) != shape and out.ndim < max(map(np.ndim, given_)):
        return
    found = both(Call(ufunc, tuple(given_), {"out": out}))
    SEEN["native" if found else "python"] += 1
    assert found is None or found[0] == found[1]


def test_most_elementwise_calls_run_without_python() -> None:
    assert SEEN["native"] > 4 * SEEN["python"] > 0


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_products(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    size = st.sampled_from([1, 2, 3, 10, 32, 65])
    m, k, n = (data.draw(size) for _ in range(3))
    kind = data.draw(st.sampled_from("fd"))
    function = data.draw(st.sampled_from([np.dot, np.dot, np.matmul]))
    a, b = (
        rng.normal(size=shape).astype(kind) if data.draw(st.booleans()) else rng.normal(size=shape[::-1]).astype(kind).T
        for shape in ((m, k), (k, n))
    )
    out = np.zeros((m, n), kind)
    if function is np.matmul and data.draw(st.booleans()):
        a, b, out = (np.pad(x, ((0, 0), (1, 2)))[:, 1:-2] for x in (a, b, out))
    if function is np.dot:
        if data.draw(st.integers(0, 3)) == 0:
            a, out = a[0], out[0].copy()
        if data.draw(st.integers(0, 3)) == 0:
            b, out = b[:, 0], out[..., 0].copy()
    if data.draw(st.integers(0, 9)) == 0 and a.ndim == b.ndim == 2:
        b, out = a.T, np.zeros((len(a), len(a)), kind)
    if out.ndim == 0 or function is np.dot:
        out = np.ascontiguousarray(out).reshape(out.shape)
    found = both(Call(function, (a, b), {"out": out}))
    assert found is None or found[0] == found[1]
    SEEN["products" if found else "not"] += 1
    if not np.may_share_memory(a, b) and function is np.dot:
        assert found is not None


@pytest.mark.parametrize("kind", "fd")
@pytest.mark.parametrize("n", [1, 2, 5, 33, 300])
def test_products_by_one_number(n: int, kind: str) -> None:
    """Infinities, NaN and zeros of either sign among the numbers: n are added to zeros by BLAS, and one is not."""
    strange = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, 2.5, -3e38], kind)
    rng = np.random.default_rng(n)
    for factor in strange:
        for number in strange:
            column, one = np.full((n, 1), number, kind), np.full((1, 1), factor)
            column[1:] = numbers(rng, (n - 1, 1), kind)
            wide = np.repeat(column, 3, axis=1)[:, 1]
            for a, b in ((column, one), (one, column.T), (column, one[0]), (one[0], column.T), (wide[:1], one[0])):
                out = numbers(rng, (*a.shape[:-1], *b.shape[1:]), kind)
                found = both(Call(np.dot, (a, b, out), {}))
                assert found is not None and found[0] == found[1], (a, b)


@pytest.mark.parametrize("kind", "fd")
@pytest.mark.parametrize("leading", [(1,), (3,), (2, 3), (3, 1), (1, 1), (2, 3, 2)], ids=str)
def test_stacks_of_matrices(leading: tuple[int, ...], kind: str) -> None:
    """All in a row, transposed, or as the heads of attention lie; by one instruction, which does it again and again."""
    rng = np.random.default_rng(0)
    for m, k, n in ((2, 3, 4), (33, 5, 17)):

        def stack(rows: int, columns: int, how: str) -> np.ndarray[Any, Any]:
            shape = (*leading, columns, rows) if how == "turned" else (*leading, rows, columns)
            if how == "heads":  # the last of the leading axes inside the rows
                shape = (*leading[:-1], rows, leading[-1], 3 * columns)
                return np.moveaxis(rng.normal(size=shape).astype(kind)[..., columns : 2 * columns], -2, -3)
            a = rng.normal(size=shape).astype(kind)
            return a.swapaxes(-1, -2) if how == "turned" else a

        for how_a, how_b, how_out in (("", "", ""), ("heads", "turned", ""), ("turned", "heads", "heads")):
            call = Call(np.matmul, (stack(m, k, how_a), stack(k, n, how_b)), {"out": stack(m, n, how_out)})
            found = both(call)
            if found is None:
                assert len(leading) == 3 and "heads" in (how_a, how_b)
                continue
            assert found[0] == found[1]
            (a, b), out, program = call.args, call.kwargs["out"], Program([call])
            for _ in range(2):
                a *= 0.5
                program.replay()
                assert np.array_equal(out, np.matmul(a, b))
    three = rng.normal(size=(*leading, 4, 4)).astype(kind)
    assert not Code().add(Call(np.matmul, (three, three.swapaxes(-1, -2)), {"out": three.copy()})), "a aT"
    assert not Code().add(Call(np.matmul, (three, three.copy()), {"out": three})), "out is read"
    row = three[..., :1, :]
    assert not Code().add(Call(np.matmul, (row, three.swapaxes(-1, -2).copy().swapaxes(-1, -2)), {"out": row.copy()}))
    ones = np.broadcast_to(np.ones(4, kind), row.shape)  # a sum over the places of each row
    for vector in (row.copy(), ones):
        found = both(Call(np.matmul, (vector, three.copy()), {"out": row.copy()}))
        assert found is not None
        assert found[0] == found[1]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_copies(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    shape = data.draw(st.sampled_from([(), (5,), (3, 4), (2, 3, 4), (2, 2, 3, 2, 3), (4, 1, 6, 0)]))
    kind = data.draw(st.sampled_from("fd?"))
    out = laid_out(data.draw, rng, shape, kind)
    source = laid_out(data.draw, rng, data.draw(st.sampled_from([shape, (), shape[-1:]])), kind)
    found = both(Call(np.copyto, (out, source), {}))
    assert (found is not None or source.ndim > out.ndim) and (found is None or found[0] == found[1])


def test_windows_are_copied() -> None:
    x = np.arange(2 * 6 * 6 * 3, dtype="float32").reshape(2, 6, 6, 3)
    for view in (
        np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2), writeable=True).transpose(0, 1, 2, 4, 5, 3),
        np.lib.stride_tricks.sliding_window_view(x[..., :1], (3, 3), (1, 2), writeable=True).transpose(
            4, 5, 3, 0, 1, 2
        ),
    ):
        out = np.zeros(view.shape, "float32")
        found = both(Call(np.copyto, (out, view), {}))
        assert found is not None and found[0] == found[1] and np.frombuffer(found[1], "float32").any()


def test_columns_of_one_matrix_do_not_overlap() -> None:
    a = np.random.default_rng(0).normal(size=(6, 24)).astype("float32")
    b, turned = a[:, 8:14], a.T.copy().T
    for call in (
        Call(np.add, (a[:, :6], b, a[:, 14:20]), {}),
        Call(np.tanh, (a[:, :6],), {"out": b}),
        Call(np.copyto, (a[:, :6], b), {}),
        Call(np.copyto, (a[1:, :6], a[:1, 6:12]), {}),
        Call(np.matmul, (a[:, :6], b), {"out": a[:, 14:20]}),
        Call(np.multiply, (turned[:3], turned[3:], turned[:3]), {}),
    ):
        found = both(call)
        assert found is not None and found[0] == found[1]
    for call in (
        Call(np.add, (a[:, :6], b, a[:, 9:15]), {}),
        Call(np.tanh, (a[:, :6],), {"out": a[:, 1:7]}),
        Call(np.copyto, (a[:, 5:11], b), {}),
        Call(np.copyto, (a[1:, :6], a[:-1, :6]), {}),
        Call(np.matmul, (a[:, :6], b), {"out": a[:, 13:19]}),
        Call(np.multiply, (turned[:3], turned[2:5], turned[:3]), {}),
    ):
        assert both(call) is None


@pytest.mark.parametrize("kind", "fd")
@pytest.mark.parametrize("ufunc", [np.maximum, np.minimum])
def test_the_largest_of_rows(ufunc: np.ufunc, kind: str) -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (5, 1), (3, 10), (2, 3, 33), (7, 100)):
        x, out = numbers(rng, shape, kind), np.zeros((*shape[:-1], 1), kind)
        found = both(Call(ufunc.reduce, (x,), {"axis": -1, "keepdims": True, "out": out}))
        assert found is not None and found[0] == found[1]
        for first in (-np.inf, np.inf, 0.5):
            found = both(Call(ufunc.reduce, (x,), {"axis": -1, "keepdims": True, "out": out, "initial": first}))
            assert found is not None and found[0] == found[1]
    assert not Code().add(Call(np.add.reduce, (x,), {"axis": -1, "keepdims": True, "out": out}))


@pytest.mark.parametrize("kind", "fd")
def test_argmax_of_rows(kind: str) -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (50, 2), (60, 10), (3, 20, 7)):
        x, out = np.round(numbers(rng, shape, kind)), np.zeros(shape[:-1], "int64")
        found = both(Call(np.argmax, (x,), {"axis": -1, "out": out}))
        assert found is not None and found[0] == found[1]
    assert not Code().add(Call(np.argmax, (x,), {"axis": 0, "out": out}))


@pytest.mark.parametrize("flag", [False, True])
def test_a_record_within_a_record(flag: bool) -> None:
    x, alive = np.ones(3, "float32"), np.array(flag)
    inner = Record([Call(np.add, (x, x, x), {}), Call(np.multiply, (x, x), {"out": x})])
    program = Program([Call(replay_if, (memoryview(alive), inner), {}), Call(np.add, (x, x, x), {})])
    assert program.whole is not None
    program.replay()
    assert x.tolist() == ([8.0] * 3 if flag else [2.0] * 3)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("latch", [False, True])
@pytest.mark.parametrize("was_alive", [False, True])
def test_whether_a_step_is_finite(kind: str, latch: bool, was_alive: bool) -> None:
    """Of the sum in float64: two halves of float32's range are finite together."""
    most = np.finfo(kind).max
    for total in (1.0, most, np.inf, np.nan):
        for loss in (2.0, most, -np.inf, np.nan):
            left = []
            for native in (False, True):
                arrays = [np.array(total, kind), np.array(loss, kind), np.array(was_alive), np.array(not was_alive)]
                arrays.append(np.array(41))
                call = Call(check_finite, (*(memoryview(a) for a in arrays), latch), {})
                program: Any = Program([call]) if native else Record([call])
                assert not native or program.repeats
                (program.replay if native else program)()
                left.append([a.tobytes() for a in arrays])
            assert left[0] == left[1], (total, loss)


def test_a_check_of_other_types_stays_pythons() -> None:
    arrays = [np.array(1.0), np.array(1.0, "float32"), np.array(True), np.array(False), np.array(0)]
    assert not Code().add(Call(check_finite, (*(memoryview(a) for a in arrays), True), {}))


def test_python_calls_are_made_between_native_calls() -> None:
    x, seen = np.ones(2, "float32"), []
    add = Call(np.add, (x, x, x), {})
    program = Program([add, Call(lambda: seen.append(x.tolist()), (), {}), add])
    program.replay()
    assert seen == [[2.0, 2.0]] and x.tolist() == [4.0, 4.0] and program.whole is None
    assert len(program.clocked()) == 3 and x.tolist() == [16.0, 16.0]


def test_an_unknown_layout_of_ufuncs_has_no_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(bytecode._Ufunc):
        @property
        def ntypes(self) -> int:
            return -1

    loop_of.cache_clear()
    monkeypatch.setattr(bytecode, "_Ufunc", Other)
    assert loop_of(np.add, "ff->f") is None
    monkeypatch.undo()
    loop_of.cache_clear()
    assert loop_of(np.add, "ff->f") is not None


def test_numpy_goes_on_alone_where_its_loops_compute_something_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one might whose ufuncs keep their loops in another order."""
    monkeypatch.setattr(
        bytecode, "loop_of", lambda ufunc, kinds: loop_of(np.subtract if ufunc is np.add else ufunc, kinds)
    )
    be, x = CPU(), np.ones(8, "float32")
    with be.active(), caplog.at_level("WARNING", "gpubp"):
        record: Any = be.capture(lambda: be.xp.add(x, x, out=x))
        for _ in range(3):
            record()
    assert x.tolist() == [16.0] * 8 and record.program is None
    assert "other numbers than NumPy, which goes on alone: call 1 of 1, add(a0, a0, a0)" in caplog.text


def test_a_profile_works_where_numba_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(calls: Any) -> Any:
        raise ImportError("Numba needs another NumPy")

    monkeypatch.setattr("gpubp.backends.cpu.backend.Program", broken)
    net = bp.Network(bp.Dense(3), 4, device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=8)
    profile = trainer.profile(np.ones((16, 4)), np.zeros(16, int), steps=3)
    assert CompiledRecord.broken and profile.seconds > 0


def test_data_are_freed_after_training() -> None:
    X, y = np.ones((64, 4), "float32"), np.zeros(64, "int32")
    net = bp.Network(bp.Dense(3), 4, device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=8)
    trainer.fit(X, y, epochs=5, verbose=False)
    assert trainer.record.program.whole is not None
    held = weakref.ref(X)
    del X
    assert held() is None


IMAGE = [bp.Conv2D(4, 3, padding="same"), bp.BatchNorm(), bp.ReLU(), bp.MaxPool2D(2)]
NETS = {
    "dense": ([bp.Dense(9), bp.Tanh(), bp.Dense(8), bp.GELU(), bp.Dense(3)], (6,)),
    "norms": ([bp.Dense(8), bp.LayerNorm(), bp.SiLU(), bp.Dropout(0.4), bp.BatchNorm(), bp.Dense(3)], (6,)),
    "images": ([*IMAGE, bp.Conv2D(6, 2, stride=2, groups=2), bp.AvgPool2D(2), bp.Flatten(), bp.Dense(3)], (9, 9, 2)),
    "grey": ([*IMAGE, bp.Conv2D(6, 3), bp.GlobalAvgPool2D(), bp.Dense(3)], (9, 9, 1)),
    "dropout": ([bp.Dense(9), bp.ReLU(), bp.Dropout(0.5), bp.GaussianNoise(0.1), bp.Dense(3)], (6,)),
    "residual": ([bp.Dense(8), bp.Residual(bp.Sequential(bp.Dense(8), bp.Softplus())), bp.Dense(3)], (6,)),
}  # fmt: skip


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", NETS)
def test_a_training_has_the_same_bits(name: str, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, shape = NETS[name]
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(70, *shape)), rng.integers(0, 3, 70)

    def trained() -> tuple[bytes, list[float], Any]:
        net = bp.Network(bp.Sequential(*layers), shape, device="cpu")
        trainer = bp.Trainer(
            net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=16, workers=workers, metrics=["accuracy"],
            on_nonfinite="skip",
        )  # fmt: skip
        history = trainer.fit(X, y, epochs=3, verbose=False)
        return net.flat.tobytes() + net.predict(X).tobytes(), history["loss"], trainer.record

    came, losses, record = trained()
    assert record.program is not None
    monkeypatch.setattr("gpubp.backends.cpu.backend.wanted", lambda: False)
    wanted, expected, plain = trained()
    assert not isinstance(plain, CompiledRecord)
    assert came == wanted and losses == expected


def test_a_network_of_single_numbers_trains_without_python() -> None:
    """Whose products have one factor."""
    net = bp.Network(bp.Sequential(bp.Dense(1), bp.ReLU(), bp.Dense(1)), 1, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(), batch_size=3)
    trainer.fit(np.linspace(-1, 1, 12)[:, None], np.ones(12), epochs=5, verbose=False)
    assert trainer.record.can_repeat


def test_a_new_backend_replays_without_python() -> None:
    be = CPU()
    x, y = be.zeros((64,), "float32"), be.empty((64,), "float32")
    with be.active():
        record: Any = be.capture(lambda: (be.xp.add(x, 1.0, out=x), be.xp.multiply(x, 2.0, out=y)))
        for _ in range(5):
            record()
    assert record.program.whole is not None and y[0] == 12.0
