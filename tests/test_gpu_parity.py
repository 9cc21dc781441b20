"""scripts/gpu_parity.py: all cases in float32, and then in float64 on both devices; float64 judges."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_parity import Narrow

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parent)]

import gpu_documents  # noqa: E402
import gpu_parity  # noqa: E402
import gpu_table  # noqa: E402
from gpu_results import Stage, read  # noqa: E402


class Off(StrictProducts):
    """Wrong in the tenth digit."""

    def function(self, epilogue: str | None) -> Any:
        product = super().function(epilogue)

        def off(out: np.ndarray, *arrays: np.ndarray, **finish: np.ndarray) -> None:
            product(out, *arrays, **finish)
            out *= 1.0 + 1e-10

        return off


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage that takes the stand-in for a GPU."""
    cupy = strict_cupy()
    for where in ("driver", "backend"):
        monkeypatch.setattr(f"gpubp.backends.cuda.{where}.find_cupy", lambda: cupy)
    monkeypatch.setattr("gpubp.backends.cuda.driver.why_not", lambda: "")
    monkeypatch.setattr(Stage, "cupy", lambda self: cupy)
    monkeypatch.setattr(Stage, "products", lambda self: StrictProducts)
    return Stage("parity", [str(tmp_path / "results.jsonl"), str(tmp_path), "--limit", "600"])


@pytest.mark.parametrize("products", [StrictProducts, Off])
def test_a_share_compares_in_float32_and_then_in_float64(
    products: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setitem(CUDA.__init__.__kwdefaults__, "products", products)
    X, y = rng.normal(size=(12, 4)), rng.normal(size=(12, 2))
    mine = [
        gpu_parity.Case(name, bp.Dense(2), X, y, bp.MeanSquaredError(), bp.SGD(0.01), 4)
        for name in ("layer Dense", "optimizer SGD")
    ]
    monkeypatch.setattr(gpu_parity, "cases", lambda rng: iter(mine))
    gpu_parity.compare_cases(stage, 1, 1)
    lines = read(stage.results.file)
    names = [line["name"] for line in lines]
    assert names == [c.name for c in mine] + [f"{c.name}, float64" for c in mine]
    right = products is StrictProducts
    assert all(line["ok"] for line in lines[:2])
    assert all(line["ok"] == right and line["apart"] < 1e-9 for line in lines[2:])
    assert right or 'outputs of "the layer", Dense(2), differ by 1.0e-10' in lines[2]["problem"]
    groups = gpu_documents.groups_of(lines)
    assert {name: list(one["cases"]) for name, one in groups.items() if one["cases"]} == {
        "layers": ["Dense"], "optimizers": ["SGD"]
    }  # fmt: skip


def test_float64_waits_for_float32_and_is_left_out_where_the_time_is_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_parity, "cases", lambda rng: iter([gpu_parity.Case("one", *[None] * 5, 4)]))
    done: list[str] = []
    monkeypatch.setattr(gpu_parity, "compare", lambda stage, case: (done.append("float32"), setattr(stage, "end", 0.0)))
    monkeypatch.setattr(gpu_parity, "compare_exactly", lambda stage, case: done.append("float64"))
    assert gpu_parity.compare_cases(stage, 1, 1) == 0 and done == ["float32"]


class OnGPUs(Narrow):
    """Wrong on a GPU, by a thousandth."""

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        ws.x = x
        factor = 1.001 if ws.be.name.startswith("cuda") else 1.0
        return ws.xp.multiply(x, ws.be.constant(factor, ws.dtype), out=ws.y)


@pytest.mark.parametrize("wrong", [False, True])
def test_parity_is_judged_by_float64(wrong: bool, tmp_path: Path, rng: Any) -> None:
    between = OnGPUs() if wrong else bp.Tanh()
    layers = bp.Sequential(bp.Dense(5), between, bp.Dense(3))
    X, y = rng.normal(size=(24, 4)), rng.normal(size=(24, 3))
    case = gpu_parity.Case("some", layers, X, y, bp.MeanSquaredError(), bp.SGD(0.1), 8)
    gpu_parity.compare(Stage("parity", [str(tmp_path / "results.jsonl"), str(tmp_path), "--dry"]), case)
    (line,) = read(tmp_path / "results.jsonl")
    assert line["ok"] == (not wrong)
    assert any('outputs of "1", OnGPUs(): 1.0e-03 from float64, the CPU ' in fault for fault in line["faults"]) == wrong
    assert f"1 cases, {int(wrong)} with faults" in gpu_table.parity([line])
