"""`gpubp doctor --gpu-smoke` on the strict stand-in for CuPy: all stages pass, and each fails if its part is broken."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
from command_line import run

import gpubp as bp
from gpubp.backends.cuda import launches
from gpubp.backends.cuda.cublaslt import CublasLtUnavailable
from gpubp.backends.cuda.cublaslt_choice import MASKS_0
from gpubp.cli import gpu_smoke
from gpubp.cli.gpu_smoke import Outcome, Size, stages
from strict import LosingNaN, Masking0, Misreading, StrictProducts, strict_cupy
from strict_nccl import World

SMALL = Size(array=1000, inputs=6, hidden=(8,), rows=256, batch=8, seconds=0.0)
NAMES = ["driver", "CuPy", "cublasLt", "kernels", "capture", "parity", "steps a second", "messages"]


@pytest.fixture(autouse=True)
def first_warning() -> None:
    launches._warned.clear()


def tried(cupy: Any = None, products: Any = StrictProducts, reason: str = "") -> dict[str, Outcome]:
    found = list(stages(cupy or World(1).cupy(0), products, SMALL, reason))
    assert [outcome.stage for outcome in found] == NAMES
    return {outcome.stage: outcome for outcome in found}


def states(found: dict[str, Outcome]) -> dict[str, str]:
    """Those that are not fine."""
    return {name: outcome.state for name, outcome in found.items() if outcome.state != "ok"}


def not_reached(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "not reached")


def test_all_stages_pass() -> None:
    found = tried()
    assert states(found) == {}, found
    assert "a stand-in; the driver knows CUDA up to 12.9" in found["driver"].found
    assert "14.2.0 for CUDA 12.9" in found["CuPy"].found and "GiB free" in found["CuPy"].found
    assert found["cublasLt"].found == "products, its ReLU keeps NaN"
    assert found["cublasLt"].facts["relu_keeps_nan"] is True and found["cublasLt"].facts["refused"] == {}
    assert "calls is one launch" in found["capture"].found
    assert max(found["parity"].facts.values()) < 1e-5
    assert "of a 6-8-10 network with batches of 8; the loss went from" in found["steps a second"].found
    assert found["steps a second"].facts["steps_a_second"] > 0
    assert found["messages"].found == "NCCL 2.27.5; a graph sends, adds and gathers"
    assert all(outcome.seconds > 0 and not outcome.mend for outcome in found.values())


def test_messages_are_left_out_without_nccl_and_say_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy.cuda.nccl", None)  # this machine's CuPy may find one
    found = tried(strict_cupy())
    assert states(found) == {"messages": "skipped"}
    assert "pip install 'gpubp[nccl12]'" in found["messages"].found


def test_messages_that_come_back_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_smoke, "add_as_tree", lambda be, parts, out: be.apply(lambda x: x * 3.0, out, out=out))
    found = tried()
    assert states(found) == {"messages": "failed"}
    assert found["messages"].found == "numbers that a graph has sent by NCCL came back wrong"


def test_a_relu_that_loses_nan_is_a_fact_and_no_failure() -> None:
    found = list(stages(strict_cupy(), LosingNaN, SMALL))[2]
    assert found.state == "ok" and "its ReLU turns NaN into 0, so gpubp's own is used" in found.found
    assert found.facts["relu_keeps_nan"] is False and "relu_aux_bias" in found.facts["refused"]
    assert found.facts["reads_own_mask"] is True
    assert list(stages(strict_cupy(), Misreading, SMALL))[2].facts["reads_own_mask"] is False


def test_a_mask_that_counts_0_as_positive_is_a_fact_and_no_failure() -> None:
    found = list(stages(strict_cupy(), Masking0, SMALL))[2]
    assert found.state == "ok" and found.found.endswith("counts 0 as positive, so gpubp's own derivative is used")
    assert found.facts["relu_keeps_nan"] is True and found.facts["refused"] == {"relu_aux_bias": MASKS_0}


def test_missing_epilogues_are_named() -> None:
    class Few(StrictProducts):
        epilogues = ("bias", "bgrada")

    outcomes = stages(strict_cupy(), Few, SMALL)
    found = next(outcome for outcome in outcomes if outcome.stage == "cublasLt")
    assert found.found == "products, no ReLU; without relu_aux_bias, drelu_bgrad"
    assert found.facts["relu_keeps_nan"] is None


def test_without_a_gpu_the_first_stage_says_why() -> None:
    for found in (tried(reason="CuPy is not installed: pip install"), tried(strict_cupy(driver=0))):
        assert states(found) == {"driver": "failed"} | not_reached(*NAMES[1:])
        assert "CuPy is not installed" in found["driver"].found or "no NVIDIA driver" in found["driver"].found
        assert "nvidia-smi" in found["driver"].mend and found["CuPy"].found == "it needs driver"


def test_a_full_gpu() -> None:
    cupy = strict_cupy()
    cupy.room = 100
    found = tried(cupy)
    assert states(found) == {"CuPy": "failed"} | not_reached(*NAMES[2:])
    assert "no room" in found["CuPy"].found and "programs hold the GPU's memory" in found["CuPy"].mend


def test_numbers_that_come_back_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = strict_cupy()
    monkeypatch.setattr(cupy, "add", lambda a, b: cupy.subtract(a, b), raising=False)
    found = tried(cupy)
    assert states(found) == {"CuPy": "failed"} | not_reached(*NAMES[2:])
    assert found["CuPy"].found == "of 1,000 numbers 1,000 came back wrong"
    assert "pip install --force-reinstall 'gpubp[cuda12]'" in found["CuPy"].mend


def test_without_cublaslt() -> None:
    def none(cupy: Any) -> Any:
        raise CublasLtUnavailable("there is no libcublasLt for CUDA 12")

    found = tried(products=none)
    assert states(found) == {"cublasLt": "failed", "capture": "not reached"}
    assert found["cublasLt"].found == "there is no libcublasLt for CUDA 12"
    assert "pip install --force-reinstall 'gpubp[cuda12]'" in found["cublasLt"].mend
    assert found["capture"].found == "it needs cublasLt"


class Wrong(StrictProducts):
    """Products that are a little too large, with the epilogue `at` or, if it is None, without one."""

    at: str | None = None

    def gemm(self, a: Any, b: Any, out: Any, *, stream: Any, epilogue: str | None = None, **finish: Any) -> Any:
        super().gemm(a, b, out, stream=stream, epilogue=epilogue, **finish)
        if epilogue == self.at:
            self._cupy.multiply(out, np.float32(1.001), out=out)
        return out


def test_wrong_products() -> None:
    found = next(outcome for outcome in stages(strict_cupy(), Wrong, SMALL) if outcome.stage == "cublasLt")
    assert found.state == "failed" and found.found.startswith("products are wrong: 1.0e-03")


def test_wrong_numbers_of_a_step() -> None:
    class WrongRelu(Wrong):
        at = "relu_aux_bias"

    found = tried(products=WrongRelu)
    assert states(found) == {"parity": "failed"}
    assert "after 4 recorded steps parameters are" in found["parity"].found
    assert "gpubp compare" in found["parity"].mend


def test_a_kernel_that_does_not_compile() -> None:
    cupy = strict_cupy()

    def broken(code: str, name: str, options: tuple[str, ...] = ()) -> Any:
        raise cupy.cuda.compiler.CompileException("nvrtc: error: invalid value for --gpu-architecture\nmore")

    cupy.RawKernel = broken
    found = tried(cupy)
    assert states(found) == {"kernels": "failed"} | not_reached(*NAMES[4:])
    assert found["kernels"].found == "CompileException: nvrtc: error: invalid value for --gpu-architecture"
    assert "'gpubp[cuda12]'" in found["kernels"].mend and "rm -r ~/.cupy" in found["kernels"].mend


def test_wrong_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_smoke.CUDA, "random_mask", lambda self, out, *arguments: out.fill(True))
    found = next(outcome for outcome in stages(strict_cupy(), StrictProducts, SMALL) if outcome.stage == "kernels")
    assert found.state == "failed" and "random masks have other bits" in found.found


def test_a_capture_that_is_refused() -> None:
    class Uncapturable(StrictProducts):
        def gemm(self, a: Any, b: Any, out: Any, *, stream: Any, **finish: Any) -> Any:
            if stream.is_capturing():
                raise RuntimeError("cudaErrorStreamCaptureUnsupported")
            return super().gemm(a, b, out, stream=stream, **finish)

    found = tried(products=Uncapturable)
    assert states(found) == {"capture": "failed"}
    assert "cudaErrorStreamCaptureUnsupported" in found["capture"].found and "--json" in found["capture"].mend


def test_a_network_that_does_not_learn_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_smoke, "Adam", lambda *rate: bp.SGD(0.0))
    found = tried()
    assert states(found) == {"capture": "failed", "steps a second": "failed"}
    assert "it does not learn: the loss went from" in found["capture"].found
    assert "training does not learn: the loss went from" in found["steps a second"].found


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_smoke, "why_not", lambda: "the NVIDIA driver shows no GPU: check with nvidia-smi")
    done = run("doctor", "--gpu-smoke")
    lines = done.stdout.splitlines()
    assert done.exit_code == 1 and len(lines) == 10
    assert lines[0].startswith("driver          failed") and "the NVIDIA driver shows no GPU" in lines[0]
    assert "what to do: " in lines[1] and lines[2].split() == ["CuPy", "not", "reached", "it", "needs", "driver"]
    assert lines[-1] == "failed: driver"


def test_the_command_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_smoke, "why_not", lambda: "")
    monkeypatch.setattr(gpu_smoke, "find_cupy", lambda: World(1).cupy(0))
    whole = gpu_smoke.stages
    monkeypatch.setattr(gpu_smoke, "stages", lambda cupy, reason: whole(cupy, StrictProducts, SMALL, reason))
    done = run("doctor", "--gpu-smoke", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0 and told["ok"] is True and done.stderr.count("\n") == 9
    assert [stage["stage"] for stage in told["stages"]] == NAMES
    assert {stage["state"] for stage in told["stages"]} == {"ok"}
    assert told["stages"][2]["facts"]["relu_keeps_nan"] is True
    assert told["findings"] == [] and told["blas"] is None
