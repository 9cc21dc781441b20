"""Formulas in exact numerics: eager, as passes of a record, as loops, in C, and on other processors, the same bits."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

import gpubp as bp
from cases import LAYERS, LOSSES
from gpubp.backends import get_backend
from gpubp.backends.cpu import compiled
from gpubp.backends.cpu.loops import Fused, Loop
from gpubp.formula import exp, fmax, fmin, log, maximum, minimum, row_max, row_sum, sign, tanh
from gpubp.formula.elementary import DEVICE, NAMES, c_function, into
from random_formulas import Formula, formulas, values

HERE = Path(__file__).parent
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 88.8, -104.0, 710.0, 3e5, 1e30]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch, compiled_at_once: None) -> None:
    monkeypatch.setattr(compiled, "LOOP_PRICE", -1.0)


def bits(a: np.ndarray) -> bytes:
    """The bits of an array, where all that is not a number is the same."""
    return np.where(a == a, a, np.array(np.nan, a.dtype)).tobytes() if a.dtype.kind == "f" else a.tobytes()


def interpreted(loop: Loop) -> Any:
    """The loop as Python runs it: the same operations on NumPy's single numbers, without waiting for a compiler."""
    space: dict[str, Any] = {
        "sqrt": np.sqrt, "real": getattr(np, loop.dtype), "double": np.float64, "INF": np.inf, "NAN": np.nan,
        "njit": lambda **options: lambda f: f,
        "bits": lambda x: int(np.float64(x).view(np.int64)),
        "number": lambda n: np.array(n & (2**64 - 1), np.uint64).view(np.float64)[()],
    }  # fmt: skip
    helpers = "\n".join(line for line in loop.helpers.split("\n") if not line.startswith("from "))
    exec(helpers + loop.source, space)
    return space[loop.name]


def in_every_way(f: Any, inputs: list[Any], outs: list[Any], do: Any) -> tuple[list[bytes], ...]:
    """What a formula leaves in inputs and outputs: eager, recorded, and replayed by `do`."""
    be, everything = get_backend("cpu", numerics="exact"), [*inputs, *outs]
    before = [a.copy() for a in everything]
    found = []
    with be.active():
        for way in ("eager", "recorded", "replayed"):
            if way != "replayed":
                for a, first in zip(everything, before, strict=True):
                    a[...] = first
            if way == "eager":
                be.apply(f, *inputs, out=tuple(outs))
            elif way == "recorded":
                record: Any = be.capture(lambda: be.apply(f, *inputs, out=tuple(outs)))
            else:
                for a, first in zip(everything, before, strict=True):
                    a[...] = first
                do(record)
            found.append([bits(a) for a in everything])
    return tuple(found)


def by_python(record: Any) -> None:
    for function, args, kwargs in record.calls:
        (interpreted(function.loop) if isinstance(function, Fused) else function)(*args, **kwargs)


def by_numba(record: Any) -> None:
    record.settle()
    assert record._stage == "_check"
    record()
    assert not compiled.CompiledRecord.broken and all(
        c.function.loop.address for c in record.calls if isinstance(c.function, Fused)
    )


SWAPPED = {
    "negative": "exp",
    "absolute": "tanh",
    "sqrt": "log1p",
    "sign": "expm1",
    "divide": "fmax",
    "subtract": "fmin",
}


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(formulas(), st.data())
def test_random_formulas_have_one_result(f: Formula, data: st.DataObject) -> None:
    swapped = data.draw(st.booleans())
    steps = [(SWAPPED.get(o, o) if swapped else o, operands) for o, operands in f.steps]
    f = Formula(f.inputs, steps, f.outputs)
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    shape = data.draw(st.sampled_from([(6,), (2, 3)]))
    inputs: list[Any] = [values(rng, shape, dtype) for _ in range(f.inputs)]
    with np.errstate(all="ignore"):
        results = f(*inputs)
    outs = [np.full(shape, 1, "bool" if np.asarray(r).dtype == bool else dtype) for r in results]
    if data.draw(st.booleans()) and outs[0].dtype == dtype:
        outs[0] = inputs[0]
    with np.errstate(all="ignore"):
        eager, recorded, replayed = in_every_way(f, inputs, outs, by_python)
    assert eager == recorded == replayed


def _activations() -> list[Any]:
    layers = [case.layer for case in LAYERS if isinstance(case.layer, bp.Activation)]
    return list({repr(layer): layer for layer in layers if layer.is_by_formulas}.values())


def _losses() -> list[Any]:
    losses = [case.loss for case in LOSSES if isinstance(case.loss, bp.PointwiseLoss)]
    plain = [loss for loss in losses if loss.is_by_formulas and not loss.formula_arguments()]
    return list({repr(loss): loss for loss in plain}.values())


def everything(x: Any, t: Any) -> tuple[Any, ...]:
    """All activations and losses of numbers, in one formula: a compiler needs seconds for it, and minutes for each."""
    found: list[Any] = [fmax(x, t), fmin(t, x), sign(x), maximum(x, t), minimum(x, t)]
    for layer in _activations():
        y = layer.f(x)
        found += [y, layer.df(x, y, t)]
    for loss in _losses():
        found += [loss.l(x, t), loss.dl(x, t)]
    return tuple(o for o in found if o is not x and o is not t)


def _numbers(dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    x, t = (np.r_[np.ldexp(rng.random(500) - 0.5, rng.integers(-30, 9, 500)), rng.random(500)] for _ in range(2))
    with np.errstate(all="ignore"):
        x, t = x.astype(dtype), np.clip(t, 0.0, 1.0).astype(dtype)
        some = np.array(SPECIAL, dtype)
    pairs = np.array(np.meshgrid(some, some)).reshape(2, -1)
    return [np.r_[x, pairs[0]], np.r_[t, pairs[1]]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_and_losses_have_one_result(dtype: str) -> None:
    assert len(_activations()) >= 8 and len(_losses()) >= 4
    inputs = _numbers(dtype)
    with np.errstate(all="ignore"):
        count = len(everything(*inputs)) if dtype == "float32" else 12
    chosen = everything if dtype == "float32" else lambda x, t: everything(x, t)[:count]
    outs = [np.empty_like(inputs[0]) for _ in range(count)]
    eager, recorded, replayed = in_every_way(chosen, inputs, outs, by_numba)
    assert eager == recorded == replayed


def softmax(x: Any) -> Any:
    e = exp(x - row_max(x))
    return e / row_sum(e)


def log_sum(x: Any) -> Any:
    m = row_max(x)
    return m + log(row_sum(exp(x - m)))


@pytest.mark.parametrize("f, columns, calls", [(softmax, 100, 4), (log_sum, 1, 5)])
def test_rows_have_one_result(f: Any, columns: int, calls: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(70, 100)).astype("float32")
    x[::7] = rng.choice([0.0, -0.0, -1.0], x[::7].shape)
    x[5, 3], x[6, 4], x[7] = np.nan, np.inf, -np.inf
    kept = []

    def do(record: Any) -> None:
        kept.append(record)
        by_numba(record)

    eager, recorded, replayed = in_every_way(f, [x], [np.empty((70, columns), "float32")], do)
    assert eager == recorded == replayed
    assert len(kept[0].calls) == calls


def test_ordinary_numerics_leave_exp_to_numpy() -> None:
    be, x, y = get_backend("cpu"), np.ones(5, "float32"), np.empty(5, "float32")
    with be.active():
        record: Any = be.capture(lambda: be.apply(exp, x, out=y))
    assert [call.function for call in record.calls] == [np.exp]


@pytest.mark.parametrize("name", ["tanh", "fmax", "log1p"])
def test_the_array_library_has_exact_functions(name: str) -> None:
    be, x = get_backend("cpu", numerics="exact"), np.linspace(-0.5, 3, 50)
    with be.active():
        found = getattr(be.xp, name)(x, *([0.25] if name == "fmax" else []), out=np.empty(50))
    wanted = np.fmax(x, 0.25) if name == "fmax" else into(name, x, np.empty(50))
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("name, others", [("maximum", [0.0]), ("minimum", ["t"]), ("negative", []), ("exp", [])])
@pytest.mark.parametrize("gaps", [False, True])
def test_calls_of_the_array_library_are_loops_too(name: str, others: list[Any], gaps: bool) -> None:
    be = get_backend("cpu", numerics="exact")
    x, t = (np.stack([a, a[::-1]], axis=1).reshape(4, -1, 2)[:, :: 1 + gaps] for a in _numbers("float32"))
    operands = [x, *(t if other == "t" else other for other in others)]
    eager, out = np.empty(x.shape, "float32"), np.empty(x.shape, "float32")
    with be.active():
        getattr(be.xp, name)(*operands, out=eager)
        record: Any = be.capture(lambda: getattr(be.xp, name)(*operands, out=out))
    assert bits(out) == bits(eager)
    out[...] = 7
    with np.errstate(all="ignore"):
        by_python(record)
    assert bits(out) == bits(eager)
    assert [type(call.function) for call in record.calls] == [Fused] or name == "negative"


C = """
#include <string.h>
#include <math.h>
#define __device__
#define __forceinline__ inline
static long long __double_as_longlong(double x) { long long y; memcpy(&y, &x, 8); return y; }
static double __longlong_as_double(long long x) { double y; memcpy(&y, &x, 8); return y; }
"""


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++")
def test_c_has_the_bits_too(tmp_path: Path) -> None:
    lines = [C, DEVICE]
    for dtype, real in (("float32", "float"), ("float64", "double")):
        functions = "\n".join(c_function(name, dtype) for name in NAMES)
        lines.append(f"namespace {dtype} {{ typedef {real} real;\n{functions}}}")
        lines += [
            f'extern "C" void {name}_{dtype}(const {real}* x, {real}* o, long n)'
            f" {{ for (long i = 0; i < n; i++) o[i] = {dtype}::exact_{name}(x[i]); }}"
            for name in NAMES
        ]
    (tmp_path / "all.cpp").write_text("\n".join(lines), encoding="utf-8")
    subprocess.run(
        ["g++", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-o", "all.so", "all.cpp"], cwd=tmp_path, check=True
    )
    library = ctypes.CDLL(str(tmp_path / "all.so"))
    for dtype in ("float32", "float64"):
        words = np.random.default_rng(5).integers(0, 2**64, 20000, dtype=np.uint64)
        x = np.r_[np.concatenate(_numbers(dtype)), words.view(dtype)]
        for name in NAMES:
            y = np.empty_like(x)
            getattr(library, f"{name}_{dtype}")(
                *(ctypes.c_void_p(a.ctypes.data) for a in (x, y)), ctypes.c_long(len(x))
            )
            assert bits(y) == bits(into(name, x, np.empty_like(x))), (name, dtype)


ELSEWHERE = """
import hashlib, sys
import numpy as np
sys.path[:0] = sys.argv[1:]
import test_exact_formulas as tests
found = hashlib.sha256()
for dtype in ("float32", "float64"):
    x, t = tests._numbers(dtype)
    outs = [np.empty_like(x) for _ in range(3)]
    ways = tests.in_every_way(tests.some, [x, t], outs, tests.settled)
    assert ways[0] == ways[1] == ways[2]
    found.update(b"".join(ways[0]))
print(found.hexdigest())
"""


def some(x: Any, t: Any) -> Any:
    return tanh(x) * t + log(t), exp(x) / (t + 0.1), maximum(x, t)


def settled(record: Any) -> None:
    record.settle()
    record()
    assert record.program is not None


def test_other_processors_have_the_bits_too(tmp_path: Path) -> None:
    """NumPy without what this processor has beyond the least, and Numba for a plain one."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    found = set()
    extra = " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name])
    for extra_environment in (
        {},
        {"NPY_DISABLE_CPU_FEATURES": extra, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    ):
        environment = {**os.environ, "GPUBP_CACHE_DIR": str(tmp_path / str(len(found))), **extra_environment}
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, str(HERE), str(HERE.parent)],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not done.returncode, done.stderr
        found.add(done.stdout)
    assert len(found) == 1
