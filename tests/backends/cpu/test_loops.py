"""Formulas as loops: the bits of NumPy's passes, whenever the loop takes over."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpubp as bp
from forked import in_child, needs_fork
from gpubp.backends import CPU
from gpubp.backends.cpu import compiled, loops
from gpubp.backends.cpu.loops import Fused, Loop
from random_formulas import SHAPES, Formula, formulas, values

needs_numba = pytest.mark.skipif(not compiled.installed(), reason="Numba is not installed: pip install 'gpubp[fast]'")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiled_at_once: None) -> Iterator[None]:
    """Loops are made at the first replays, and kept in a folder of the test's own."""
    monkeypatch.setattr(compiled, "LOOP_PRICE", -1.0)
    monkeypatch.setenv("GPUBP_CACHE_DIR", str(tmp_path / "cache"))
    loops._loop.cache_clear()
    yield
    loops._loop.cache_clear()


def loops_in(record: Any) -> list[Fused]:
    return [call.function for call in record.calls if isinstance(call.function, Fused)]


def interpreted(loop: Loop) -> Any:
    """The loop as Python runs it: the same operations on NumPy's single numbers, without waiting for a compiler."""
    space: dict[str, Any] = {"sqrt": np.sqrt, "real": getattr(np, loop.dtype)}
    exec(loop.source, space)
    return next(f for name, f in space.items() if loop.source.startswith(f"def {name}("))


def by_python(record: Any) -> None:
    """Replay it with its loops as Python runs them."""
    for function, args, kwargs in record.calls:
        (interpreted(function.loop) if isinstance(function, Fused) else function)(*args, **kwargs)


def by_numba(record: Any) -> None:
    """Replay it with its loops as Numba compiles them."""
    record.settle()
    record()
    assert all(found.loop.address for found in loops_in(record))


def both(f: Any, inputs: list[Any], outs: list[Any], do: Any = by_python) -> tuple[bool, list[bytes], list[bytes]]:
    """Whether there was a loop; what the passes leave in inputs and outputs, and what the loop does."""
    be, everything = CPU(), [*inputs, *outs]
    before = [a.copy() for a in everything]
    with be.active():
        record: Any = be.capture(lambda: be.apply(f, *inputs, out=tuple(outs)))
        wanted = [a.tobytes() for a in everything]
        for a, first in zip(everything, before, strict=True):
            a[...] = first
        do(record)
    return bool(loops_in(record)), wanted, [a.tobytes() for a in everything]


SEEN = {"loops": 0, "passes": 0}
SWAPPED = {"maximum": "subtract", "minimum": "multiply", "sign": "negative", "equal": "less"}


def exact(f: Formula) -> Formula:
    """The formula with operations that a loop can do in place of others, its outputs all computed."""
    steps = [(SWAPPED.get(operation, operation), operands) for operation, operands in f.steps]
    computed = [o for o in f.outputs if isinstance(o, int) and o >= f.inputs]
    return Formula(f.inputs, steps, computed or [f.inputs + len(steps) - 1])


@settings(max_examples=600, deadline=None, derandomize=True, database=None)
@given(formulas(), st.data())
def test_random_formulas_have_the_bits_of_the_passes(f: Formula, data: st.DataObject) -> None:
    if f.steps and data.draw(st.integers(0, 3)):
        f = exact(f)
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    shape = data.draw(st.sampled_from([(6,), (2, 3), (4, 2, 3), (1,), (), (1, 3)]))
    fitting = [s for s in SHAPES if np.broadcast_shapes(s, shape) == shape] if shape != (6,) else [(6,), (1,), ()]
    shapes = [data.draw(st.sampled_from([shape, *fitting])) for _ in range(f.inputs)]
    inputs: list[Any] = [np.asarray(values(rng, s, dtype)) for s in shapes]
    if data.draw(st.booleans()):
        inputs[-1] = inputs[0]
    outs: list[Any] = []
    with np.errstate(all="ignore"):
        results = f(*inputs)
    for result in results:
        free = [a for a in inputs if a.shape == shape and a.dtype == dtype and not any(a is o for o in outs)]
        if free and data.draw(st.booleans()):
            outs.append(data.draw(st.sampled_from(free)))
        else:
            is_bool = np.asarray(result).dtype == bool and data.draw(st.booleans())
            outs.append(np.full(shape, 1, bool if is_bool else dtype))
    with np.errstate(all="ignore"):
        fused_at_all, wanted, came = both(f, inputs, outs)
    SEEN["loops" if fused_at_all else "passes"] += 1
    assert came == wanted


def test_many_random_formulas_became_loops() -> None:
    assert SEEN["loops"] > 100 and SEEN["passes"] > 50


def masked(x: Any, kept: Any, scale: Any) -> Any:
    return x * kept * scale


FORMULAS = [
    (bp.Adam().rule, [(1000,)] * 4 + [(), ()], 3, [0, 2, 3]),
    (bp.SGD(0.1, momentum=0.9, nesterov=True).rule, [(1000,)] * 3 + [()], 2, [0, 2]),
    (bp.RMSprop(0.1).rule, [(1000,)] * 3 + [()], 2, [0, 2]),
    (lambda x, m, r: (x - m) * r, [(30, 33), (33,), (33,)], 1, []),
    (lambda x, m, r: (x - m) / r, [(3, 5, 7), (3, 5, 1), ()], 1, []),
    (lambda x, m, r: (x - m) / r, [(3, 5, 4, 7), (3, 1, 1, 1), (7,)], 1, []),
    (lambda x, y, dy: dy * (x > 0), [(1000,)] * 3, 1, []),
    (masked, [(31, 32), (31, 32), ()], 1, [0]),
    (lambda a, b: (a * 0.1 + b * 0.3, -a, abs(a) - b), [(257,)] * 2, 3, [0]),
]


@needs_numba
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", FORMULAS, ids=lambda case: getattr(case[0], "__qualname__", "formula"))
def test_compiled_loops_have_the_bits_of_the_passes(case: Any, dtype: str) -> None:
    f, shapes, count, written = case
    rng = np.random.default_rng(0)
    inputs: list[Any] = [np.asarray(values(rng, shape, dtype)) for shape in shapes]
    if f is masked:
        inputs[1] = inputs[1] > 0
    np.abs(inputs[-1], out=inputs[-1])
    outs = [inputs[k] for k in written] + [np.ones(shapes[0], dtype) for _ in range(count - len(written))]
    found, wanted, came = both(f, inputs, outs, by_numba)
    assert found and came == wanted


VIEWS = [
    pytest.param(lambda a: [a[:, h::2, w::2] for h in (0, 1) for w in (0, 1)], bp.MaxPool2D().largest, 1, id="largest"),
    pytest.param(
        lambda a: [a[:, ::2, 1::2], a[:, 1::2, ::2], a[:, 0:2, 0:3]], lambda x, y, z: (x - y) * z, 1, id="of one"
    ),
    pytest.param(
        lambda a: [a[:, ::2, ::2], a[:, ::2, ::2, :1].copy()], lambda x, k: (x * k, x + k), 2, id="with a column"
    ),
    pytest.param(lambda a: [a[:, ::2, ::2], a[:, :1, :1, :1].copy()], lambda x, k: (x * k, x + k), 2, id="of an image"),
]


@pytest.mark.parametrize("do", [by_python, pytest.param(by_numba, marks=needs_numba)])
@pytest.mark.parametrize(("views", "f", "count"), VIEWS)
def test_arrays_with_gaps(views: Any, f: Any, count: int, do: Any) -> None:
    rng = np.random.default_rng(0)
    for channels in (1, 3, 32, 67):
        inputs = views(values(rng, (3, 4, 6, channels), "float32"))
        outs = [np.ones((3, 4, 6, channels), "float32")[:, 1::2, 1::2] for _ in range(count)]
        outs[-1] = np.ones((3, 2, 3, channels), "float32")
        found, wanted, came = both(f, inputs, outs, do)
        assert came == wanted
        assert found


def columns(a: np.ndarray, *widths: int, first: int = 0) -> list[Any]:
    """Columns of one matrix, side by side."""
    ends = np.cumsum([first, *widths])
    return [a[..., low:high] for low, high in zip(ends, ends[1:], strict=False)]


@pytest.mark.parametrize("do", [by_python, pytest.param(by_numba, marks=needs_numba)])
@pytest.mark.parametrize("shape", [(5, 12), (3, 2, 12)])
def test_columns_of_one_matrix_do_not_overlap(shape: tuple[int, ...], do: Any) -> None:
    """As the gates of an LSTM, which are read from one matrix and written to another, or over others of their own."""
    rng = np.random.default_rng(0)
    z, kept = values(rng, shape, "float32"), np.ones(shape, "float32")
    i, f, g, o = columns(z, 3, 3, 3, 3)
    for outs in (columns(kept, 3, 3, 3, 3), [f, i, kept[..., :3], o], [i, kept[..., 4:7], kept[..., :3], z[..., 3:6]]):
        given = [i, f, g, o] if outs[0] is not f else [f, i, g, o]
        found, wanted, came = both(lambda a, b, c, d: (a * b + c, a - b, d * c, b * 0.5), given, outs, do)
        assert found and came == wanted


def test_columns_that_overlap_keep_their_passes() -> None:
    a = values(np.random.default_rng(0), (5, 12), "float32")
    for inputs, outs in (
        (columns(a, 3, 3), columns(a, 3, first=1)),
        (columns(a, 3, 3), columns(a, 3, first=2)),
        (columns(a, 3, 3), [*columns(a, 3, first=6), *columns(a, 3, first=7)]),
        ([a[:4, :3], a[1:, 3:6]], [a[1:, :3]]),
    ):
        found, wanted, came = both(lambda x, y: tuple(x * y + n for n in range(len(outs))), inputs, outs)  # noqa: B023
        assert not found and came == wanted


def trained(**options: Any) -> tuple[bp.Trainer, np.ndarray]:
    layers = [bp.Dense(33), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.3), bp.Dense(17), bp.LeakyReLU(), bp.Dense(3)]
    net = bp.Network(bp.Sequential(*layers), 5, device="cpu")
    rng = np.random.default_rng(0)
    trainer = bp.Trainer(
        net, bp.SoftmaxCrossEntropy(), bp.AdamW(0.01), batch_size=16, clip_norm=1.0, l2=1e-3, **options
    )
    trainer.fit(rng.normal(size=(100, 5)), rng.integers(0, 3, 100), epochs=4)
    return trainer, net.flat


@pytest.fixture(scope="module")
def cache_of_trainings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the loops of several trainings, whose formulas are the same."""
    return tmp_path_factory.mktemp("cache")


@needs_numba
@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"on_nonfinite": "skip"}], ids=str)
def test_a_training_has_the_same_bits_whenever_the_loops_take_over(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, cache_of_trainings: Path
) -> None:
    monkeypatch.setenv("GPUBP_CACHE_DIR", str(cache_of_trainings))
    with_loops, came = trained(**options)
    if "on_nonfinite" not in options:  # there the update is a record within the record
        assert [call.__name__ for call in loops_in(with_loops.record)].count("AdamRule_rule") == 1
    assert all(call.loop.address is not None for call in loops_in(with_loops.record))
    monkeypatch.setattr(compiled, "PRICE", 1e-3)
    monkeypatch.setattr(compiled, "LOOP_PRICE", 1e-4)
    loops._loop.cache_clear()
    _, midway = trained(**options)
    monkeypatch.setattr("gpubp.backends.cpu.backend.wanted", lambda: False)
    without, wanted = trained(**options)
    assert not loops_in(without.record)
    assert came.tobytes() == midway.tobytes() == wanted.tobytes()


@needs_numba
def test_compiling_waits_until_replaying_has_cost_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "PRICE", 1e-3)
    monkeypatch.setattr(compiled, "LOOP_PRICE", 1e-3)
    be, x = CPU(), np.ones(1000, "float32")
    record: Any = be.capture(lambda: be.apply(lambda a: a * 0.5 + 1.0, x, out=x))
    [found], stages = loops_in(record), []
    with be.active():
        while found.loop.address is None:
            stages.append(record.program is not None)
            record()
    assert stages[:2] == [False, False] and stages[-2:] == [True, True]  # Python's passes, the program's, the loop


def test_where_numba_fails_numpy_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(self: Loop) -> Any:
        raise RuntimeError("no compiler today")

    monkeypatch.setattr(Loop, "_compiled", broken)
    with caplog.at_level(logging.WARNING, "gpubp"):
        _, came = trained()
    if compiled.installed():
        assert caplog.text.count("no compiler today") == 1
    monkeypatch.setattr("gpubp.backends.cpu.backend.wanted", lambda: False)
    assert came.tobytes() == trained()[1].tobytes()


@pytest.mark.parametrize(
    ("inputs", "outs"),
    [
        pytest.param(lambda a: [a[:4], a[2:6]], lambda a: [a[:4]], id="partly over an input"),
        pytest.param(lambda a: [a[:4], a[:1]], lambda a: [a[:4]], id="over a number it goes on reading"),
        pytest.param(lambda a: [a[::2], a[1::2]], lambda a: [np.ones(4, "float32")], id="with gaps"),
        pytest.param(lambda a: [a[:4], a[4:].astype("float64")], lambda a: [np.ones(4, "float32")], id="of two types"),
        pytest.param(
            lambda a: [a[:4], np.ones((2, 4), "float32")], lambda a: [np.ones((4, 2), "float32").T], id="turned"
        ),
    ],
)
def test_formulas_that_no_loop_can_do_keep_their_passes(inputs: Any, outs: Any) -> None:
    a = np.arange(8, dtype="float32")
    found, wanted, came = both(lambda x, y: (x + y) * 2.0 + y, inputs(a), outs(a))
    assert not found and came == wanted


@needs_numba
def test_compiled_loops_are_stored_for_the_next_process(tmp_path: Path) -> None:
    code = (
        "import logging, numpy as np; logging.basicConfig()\n"
        "from gpubp.backends import get_backend\n"
        "be = get_backend('cpu'); x, y = np.ones(9, 'float32'), np.ones(9, 'float32')\n"
        "record = be.capture(lambda: be.apply(lambda a, b: a * b + 1.0, x, y, out=y))\n"
        "record.settle(); record()\n"
        "entry = record.calls[0].function.loop._entry\n"
        "print(y[0], entry.cache_hits)"
    )

    def said(**more: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | more)
        assert not done.stderr, done.stderr
        return done.stdout.strip()

    assert (said(), said()) == ("3.0 0", "3.0 1")
    (tmp_path / "file").write_text("")
    nowhere = {"GPUBP_CACHE_DIR": str(tmp_path / "file")}
    assert (said(**nowhere), said(**nowhere)) == ("3.0 0", "3.0 0")  # no harm done


def test_gpubp_fast_0_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("GPUBP_FAST", "0")
    assert not compiled.wanted()
    monkeypatch.delenv("GPUBP_FAST")
    assert compiled.wanted() == compiled.installed()


@needs_fork
def test_garbage_of_the_compiler_is_freed_in_a_child_whose_parent_was_compiling() -> None:
    """It waits for LLVM's lock, which a thread that the child does not have would hold for ever."""
    pytest.importorskip("numba")
    import llvmlite.binding as llvm

    garbage = [llvm.parse_assembly("define i32 @f() {\n ret i32 1\n}")]
    begun, end = threading.Event(), threading.Event()

    def compiles() -> None:
        with loops.compiling.held(), llvm.ffi.lib._lock:
            begun.set()
            end.wait(60)

    thread = threading.Thread(target=compiles)
    thread.start()
    assert begun.wait(60)
    try:
        assert in_child(lambda: garbage.clear() or "freed", 20) == "freed"
    finally:
        end.set()
        thread.join()
