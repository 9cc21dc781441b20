"""Exact numerics of every layer and every loss: the same bits by every way, and right to the last places."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LOSSES

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")
import exact_runs
from exact_runs import all_digests, digest, layer_step, loss_step, trained

CASES = [(layer_step, case) for case in LAYERS] + [(loss_step, case) for case in LOSSES]
each = pytest.mark.parametrize(("make", "case"), CASES, ids=lambda of: str(of) if not callable(of) else of.__name__)

DISPATCHED = np._core._multiarray_umath.__cpu_dispatch__  # NumPy's own code for features of processors
WIDE = [name for name in DISPATCHED if "AVX512" in name or name == "X86_V4"]
PROCESSORS = {
    "old": {
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": " ".join(DISPATCHED),
        "NUMBA_CPU_NAME": "nehalem",
    },
    "newer": {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": " ".join(WIDE), "NUMBA_CPU_NAME": "haswell"},
    "skylake-avx512": {"OPENBLAS_CORETYPE": "SkylakeX"},
}


@each
def test_recorded_compiled_and_call_by_call_give_the_same_bits(monkeypatch, make, case):
    net, step, _ = make(case)
    with net.backend.active():
        for _ in range(3):
            step.update.advance()
            step.be.put(step.context.step, step.update.t)
            step.compute()
    one_by_one = digest(net.flat, net.states.flat, step.last_loss())
    assert trained(make(case)) == one_by_one
    monkeypatch.setattr("gpubp.backends.cpu.compiled.PRICE", -1.0)
    monkeypatch.setattr("gpubp.backends.cpu.backend.wanted", lambda: True)
    monkeypatch.setattr("gpubp.backends.cpu.compiled.CompiledRecord.broken", False)
    assert trained(make(case)) == one_by_one


@each
def test_gradients_are_those_of_ordinary_numerics(make, case):
    exact, step, y = make(case, dtype="float64")
    ordinary = bp.Network(exact.layers, exact.input_shape, device="cpu", dtype="float64", seed=1)
    ordinary.flat[...] = exact.flat
    (loss, g), (same_loss, h) = (net.loss_and_gradients(step.job.loss, step.x, y) for net in (exact, ordinary))
    assert loss == pytest.approx(same_loss, rel=1e-12)
    largest = max(np.abs(a).max() for a in h.values())
    assert all(np.abs(g[name] - h[name]).max() <= 1e-12 * largest for name in h)


def test_two_workers_give_the_bits_of_one():
    one, two = (all_digests(rows=128, workers=workers) for workers in (1, 2))
    assert {name for name in one if one[name] != two[name]} == set()


def test_other_processors_give_the_same_bits():
    environments = [{**os.environ, **of, "NUMBA_CPU_NAME": name} for name, of in PROCESSORS.items()]
    running = [
        subprocess.Popen([sys.executable, exact_runs.__file__], env=env, stdout=subprocess.PIPE, text=True)
        for env in environments
    ]
    found = [json.loads(one.communicate()[0].splitlines()[-1]) for one in running]
    differ = {name for name in found[0] if len({of[name] for of in found}) > 1}
    assert differ == set()
