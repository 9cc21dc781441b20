"""The forecast of a step's calls, the processes of the stage "profile", and the experiments with cublasLt's kernels."""

from __future__ import annotations

import doctest
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import gpubp as bp
import strict
from gpubp.backends.cuda.backend import CUDA
from strict_noting import Noting

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT), str(ROOT / "tests/backends/cuda/kernels")]

import gpu_algorithms  # noqa: E402
import gpu_clocks  # noqa: E402
import gpu_forecast  # noqa: E402
import gpu_profile  # noqa: E402
from gpu_results import Stage, read  # noqa: E402

from benchmarks.workloads import GPU  # noqa: E402


@pytest.fixture(params=["A", "B-tf32", "C"])
def forecast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """(network, forecast of its step)"""
    monkeypatch.setattr(strict, "strict_cupy", Noting)
    w = GPU[request.param]
    small, sizes = gpu_forecast.small(w)
    return w, gpu_forecast.forecast(gpu_forecast.recorded(small), sizes)


def test_operations_and_bytes_are_those_of_the_network(forecast: Any) -> None:
    """Also where it was recorded in small."""
    w, found = forecast
    assert sum(work.operations for work in found.works) == w.flops
    assert {work.precision for work in found.works if work.operations} == {w.precision}
    update = found.works[-1]
    assert 0 <= update.read + update.written - w.bytes < 512, "and gaps between parameters, and the learning rate"
    batch = next(work for work in found.works if work.what.startswith("next_batch"))
    row = 4 * w.shape[0] + (4 * w.outputs if w.loss == "mse" else 0)
    assert 2 * w.batch * row <= batch.read + batch.written <= 2 * w.batch * (row + 16) + 64
    casts = [work for work in found.works if work.what == f"halve ({w.batch}x{w.shape[0]})"]
    assert {(work.read, work.written) for work in casts} <= {(4 * w.batch * w.shape[0], 2 * w.batch * w.shape[0])}
    assert len(casts) == (2 * 8 if w.precision == "bfloat16" else 0), "x, seven activations, eight gradients"


def test_bounds_of_a_step(forecast: Any) -> None:
    """What runs beside others is no part of the chain, and counts as work all the same."""
    w, found = forecast
    assert any(work.aside for work in found.works)
    assert found.bound == max(found.chain, found.throughput) and found.products < found.throughput
    alone = w.flops / gpu_forecast.PRODUCTS[w.precision]
    assert alone <= found.products * (1 + 1e-9) and found.products < 1.2 * alone or w.name == "A"
    assert min(work.bound for work in found.works) == gpu_forecast.NODE
    assert found.summary() in "\n".join(found.lines())


# -- processes --------------------------------------------------------------------------------------------------------


def dry(tmp_path: Path, name: str = "profile") -> Stage:
    return Stage(name, [str(tmp_path / "results.jsonl"), str(tmp_path), "--dry"])


TURN = """
import os, signal, sys, time
import gpu_profile
from gpu_results import Stage
gpu_profile.PARTS["A"] = (None, 1.0)
with gpu_profile.turn(Stage("profile", [sys.argv[1] + "/results.jsonl", sys.argv[1]]), "A"):
    print("mine", flush=True)
    {0}
"""


@pytest.mark.parametrize(("what", "by"), [("time.sleep(60)", "SIGALRM"), ("os.kill(os.getpid(), 11)", "SIGSEGV")])
def test_a_process_that_dies_or_stays_loses_only_its_own_part(what: str, by: str, tmp_path: Path) -> None:
    """The next one has its turn, and a line says what happened."""
    command = [sys.executable, "-c", TURN.format(what), str(tmp_path)]
    environment = {"PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    assert process.stdout is not None and process.stdout.readline() == b"mine\n"
    start = time.monotonic()
    with gpu_profile.turn(dry(tmp_path), "A"):
        assert time.monotonic() - start < 30
    assert process.wait(30) == -signal.Signals[by]
    process.stdout.close()
    gpu_profile.ended(dry(tmp_path), "A", process.returncode)
    turn, line = read(tmp_path / "results.jsonl")
    assert turn["name"] == "A turn" and not line["ok"] and by in line["problem"]


def test_a_part_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_a_gpu(stage: Stage, part: str) -> int:
        raise bp.DeviceError("there is no NVIDIA driver")

    monkeypatch.setitem(gpu_profile.PARTS, "A", (without_a_gpu, 1.0))
    asked = [str(tmp_path / "results.jsonl"), str(tmp_path), "--dry", "--share", "A"]
    code = gpu_profile.main(Stage("profile", asked))
    gpu_profile.ended(dry(tmp_path), "A", code)
    (line,) = read(tmp_path / "results.jsonl")
    assert not line["ok"] and "there is no NVIDIA driver" in line["problem"] and code


def test_parts_without_time_are_named(tmp_path: Path) -> None:
    stage = Stage("profile", [str(tmp_path / "results.jsonl"), str(tmp_path), "--dry", "--limit", "2"])
    assert gpu_profile.run_parts(stage) == 0
    lines = read(tmp_path / "results.jsonl")
    assert [line["name"] for line in lines] == list(gpu_profile.IN_SMALL)
    assert all("the time was over" in line["shown"] for line in lines)


def test_networks_are_those_of_the_benchmarks() -> None:
    assert set(gpu_profile.SMALL) == set(GPU) == set(gpu_profile.STEPS)
    parts = {part for part, (what, _) in gpu_profile.PARTS.items() if what is gpu_profile.network}
    assert parts == set(GPU) and set(gpu_profile.IN_SMALL) <= set(gpu_profile.PARTS)


# -- products ---------------------------------------------------------------------------------------------------------


def test_products_are_those_of_the_networks() -> None:
    """Dense networks: every product of a step is tried, in its precision."""
    for name in ("A", "B", "C"):
        tried = {tuple(p.sizes) for p in gpu_algorithms.products_of(name)}
        assert {sizes for sizes in GPU[name].products() if name != "B" or 10 not in sizes} <= tried
    assert {p.operands for p in gpu_algorithms.products_of("C")} == {"bfloat16"}


@pytest.mark.parametrize("vector", ["float32", "bfloat16"])
@pytest.mark.parametrize("epilogue", ["bias", "relu_aux_bias"])
def test_a_result_in_bfloat16_has_the_bits_of_a_cast(epilogue: str, vector: str, tmp_path: Path) -> None:
    """By the model of the library; a bias of the wrong type is read as other numbers, so that this is seen."""
    stage = dry(tmp_path)
    be = CUDA(stage.cupy(), products=stage.products())
    product = gpu_algorithms.Product("y", (32, 24, 16), epilogue, "bfloat16", "bfloat16", vector)
    with be.active():
        lab = gpu_algorithms.laboratory(stage, be, 1 << 20)
        trial = gpu_algorithms.Trial(lab, product, 8, 1 << 20)
        assert gpu_algorithms.apart(trial) == 0.0
        bias = (trial.vector.bits if vector == "bfloat16" else trial.vector).get()
        trial.launch(trial.found[0])
        right = trial.out.bits.get()
        assert bias.any() and right.any()
        trial.close()
        other = gpu_algorithms.Trial(lab, product._replace(epilogue=None), 8, 1 << 20)
        other.launch(other.found[0])
        assert (other.out.bits.get() != right).any(), "the epilogue does something"


def test_a_refused_product_is_a_finding(tmp_path: Path) -> None:
    stage = dry(tmp_path)
    be = CUDA(stage.cupy(), products=stage.products())
    with be.active():
        lab = gpu_algorithms.laboratory(stage, be, 1 << 20)
        lab._lib._model.fail["cublasLtMatmulAlgoGetHeuristic"] = 15
        line = gpu_algorithms.explore(stage, lab, gpu_algorithms.Product("y", (32, 24, 16)), (1 << 20,))
    assert line["ok"] and "CUBLAS_STATUS_NOT_SUPPORTED" in line["refused"]
    assert read(tmp_path / "results.jsonl")[0]["refused"] == line["refused"]


def test_the_examples_of_the_docstrings() -> None:
    assert all(doctest.testmod(module).failed == 0 for module in (gpu_clocks, gpu_forecast))
