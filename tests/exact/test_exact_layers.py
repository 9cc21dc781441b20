"""Exact numerics of every layer and every loss: the same bits by every way, and right to the last places."""

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LOSSES

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")
import exact_runs
from exact_runs import KEPT, SOME, all_digests, all_of_lengths, by_loops, digest, layer_step, loss_step, trained

CASES = [(layer_step, case) for case in LAYERS] + [(loss_step, case) for case in LOSSES]
each = pytest.mark.parametrize(("make", "case"), CASES, ids=[case.id for _, case in CASES])

DISPATCHED = np._core._multiarray_umath.__cpu_dispatch__  # what NumPy has code of its own for
WIDE = [name for name in DISPATCHED if "AVX512" in name or name == "X86_V4"]
PROCESSORS = {  # OpenBLAS's kernels, Numba's target, and what NumPy must do without
    "Nehalem": ({"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2"}, DISPATCHED),
    "Haswell": ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}, WIDE),
}


def call_by_call(run, steps=3):
    with run.net.backend.active():
        for _ in range(steps):
            run.step.update.advance()
            run.step.be.put(run.step.context.step, run.step.update.t)
            run.step.compute()
    return digest(run.net.flat, run.net.states.flat, run.step.last_loss())


@each
def test_records_in_python_compiled_ones_and_calls_give_the_same_bits(request, make, case):
    one_by_one = call_by_call(make(case))
    assert trained(make(case)) == one_by_one
    request.getfixturevalue("compiled_at_once")
    assert trained(make(case)) == one_by_one


@pytest.mark.parametrize("name", SOME)
def test_loops_of_formulas_give_the_same_bits(compiled_at_once, name):
    assert by_loops(SOME[name]()) == call_by_call(SOME[name](), 4)


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


@pytest.fixture(scope="module")
def here():
    return all_digests(rows=70)


def test_bits_stay_what_they_are(here):
    """Another one needs another version of exact numerics; see `exact_runs.py`."""
    assert here == json.loads(KEPT.read_text(encoding="utf-8"))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the processors are of this kind")
def test_other_processors_give_the_same_bits(compiled_at_once, here):
    running = {}
    for blas, (target, without) in PROCESSORS.items():
        env = {"OPENBLAS_CORETYPE": blas, "NPY_DISABLE_CPU_FEATURES": " ".join(without), **target}
        running[blas] = subprocess.Popen(
            [sys.executable, exact_runs.__file__], env=os.environ | env, stdout=subprocess.PIPE, text=True
        )
    here = here | all_of_lengths()
    for name, process in running.items():
        there = json.loads(process.communicate()[0].splitlines()[-1])
        here |= {case: by_loops(SOME[case.removeprefix("loops ")]()) for case in there if case.startswith("loops ")}
        assert {case for case in there if there[case] != here[case]} == set(), name
        assert len(there) == len(here) > 100
