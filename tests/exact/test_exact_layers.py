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

PROCESSORS = {
    "old": {
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F",
        "NUMBA_CPU_NAME": "nehalem",
    },
    "no AVX-512": {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "AVX512F", "NUMBA_CPU_NAME": "haswell"},
    "new": {"OPENBLAS_CORETYPE": "SkylakeX"},
}


@each
def test_recorded_compiled_and_call_by_call_give_the_same_bits(monkeypatch, make, case):
    net, step = make(case)
    with net.backend.active():
        for _ in range(3):
            step.update.advance()
            step.be.put(step.context.step, step.update.t)
            step.compute()
    one_by_one = digest(net.flat, net.states.flat, step.last_loss())
    assert trained(*make(case)) == one_by_one
    monkeypatch.setattr("gpubp.backends.cpu.compiled.PRICE", -1.0)
    monkeypatch.setattr("gpubp.backends.cpu.backend.wanted", lambda: True)
    monkeypatch.setattr("gpubp.backends.cpu.compiled.CompiledRecord.broken", False)
    assert trained(*make(case)) == one_by_one


@each
def test_gradients_are_those_of_ordinary_numerics(make, case):
    net, step = make(case, dtype="float64")
    with net.backend.active():
        step.compute()
    ordinary = bp.Network(net.layers, net.input_shape, device="cpu", seed=1, dtype="float64")
    ordinary.flat[...] = make(case, dtype="float64")[0].flat
    loss, gradients = ordinary.loss_and_gradients(step.job.loss, step.x, given_targets(case, make))
    assert step.last_loss() == pytest.approx(loss, rel=1e-12)
    largest = max((np.abs(g).max() for g in gradients.values()), default=1.0)
    for name, g in gradients.items():
        assert np.abs(step.update.gradients[name] - g).max() <= 1e-12 * largest, name


def given_targets(case, make):
    """As a user gives them."""
    rows = 5 if make is layer_step else 6
    rng = np.random.default_rng(7 if make is layer_step else 8)
    if make is layer_step:
        case.x(rng, rows)
        return rng.integers(0, 3, rows)
    rng.normal(size=(rows, 4))
    return case.targets(rng, (rows, *case.shape[1:]))


def test_two_workers_give_the_bits_of_one():
    one, two = (all_digests(rows=128, workers=workers) for workers in (1, 2))
    assert {name for name in one if one[name] != two[name]} == set()


def test_other_processors_give_the_same_bits():
    environments = [{**os.environ, **of} for of in PROCESSORS.values()]
    running = [
        subprocess.Popen([sys.executable, exact_runs.__file__], env=env, stdout=subprocess.PIPE, text=True)
        for env in environments
    ]
    found = [json.loads(one.communicate()[0].splitlines()[-1]) for one in running]
    differ = {name for name in found[0] if len({of[name] for of in found}) > 1}
    assert differ == set()
