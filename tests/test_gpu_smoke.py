"""scripts/gpu_smoke.py: what it says of products that are refused, of steps that are no graph, and of other losses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from strict import StrictProducts

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

import gpu_smoke  # noqa: E402
import gpu_table  # noqa: E402
from gpu_results import Stage, read  # noqa: E402


def dry(tmp_path: Path, name: str) -> Stage:
    return Stage(name, [str(tmp_path / "results.jsonl"), str(tmp_path), "--dry"])


def perceptron(products: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The line of network A, whose products are of this class."""
    monkeypatch.setattr(Stage, "products", lambda self: products)
    asked = dry(tmp_path, "smoke-A")
    _, on_cpu = gpu_smoke.run(asked, gpu_smoke.SMALL["A"], [4])
    gpu_smoke.perceptron(asked, gpu_smoke.SMALL["A"], "float32", [4], on_cpu)
    (line,) = read(tmp_path / "results.jsonl")
    return line


class Refusing(StrictProducts):
    """Without any."""

    epilogues = ()


def test_a_refused_epilogue_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = perceptron(Refusing, tmp_path, monkeypatch)
    assert line["ok"] and any("bias: REFUSED, there is no kernel" in text for text in line["detail"])


class NoProducts(StrictProducts):
    """A library that has nothing."""

    def gemm(self, *arrays: Any, **options: Any) -> Any:
        from gpubp.backends.cuda.cublaslt import CublasLtUnavailable

        raise CublasLtUnavailable("there is no libcublasLt")


def test_a_step_that_is_no_graph_fails_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = perceptron(NoProducts, tmp_path, monkeypatch)
    assert not line["ok"] and not line["captured"] and "there is no libcublasLt" in line["shown"]
    assert line["warnings"] and gpu_table.code([line]) == 1


def test_other_losses_than_the_cpus_fail() -> None:
    cpu = [(10, 1.0, 1e-3), (20, 0.9, 1e-3)]
    assert gpu_smoke.compare_losses([(10, 1.001, 1e-5), (20, 0.7, 1e-5)], cpu, 1e-2)["near"]
    assert not gpu_smoke.compare_losses([(10, 1.1, 1e-5), (20, 0.9, 1e-5)], cpu, 1e-2)["near"]
    assert not gpu_smoke.compare_losses([(10, 1.0, 1e-5), (20, float("nan"), 1e-5)], cpu, 1e-2)["near"]
