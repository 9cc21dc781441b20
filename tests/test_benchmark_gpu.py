"""The benchmark of GPUs, on the CPU: contenders in their own processes, each turn noted."""

import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the installed package

from benchmarks import gpu, harness, report, statistics  # noqa: E402
from benchmarks.__main__ import main  # noqa: E402
from benchmarks.contenders import missing  # noqa: E402
from benchmarks.harness import Settings, only_same_work, race  # noqa: E402
from benchmarks.processes import Crew, Process  # noqa: E402
from benchmarks.workloads import CPU, GPU, Workload, mlp  # noqa: E402


class TestGPUBenchmark:
    """All of it but the device: the same contenders and the same way through, on the CPU."""

    SMALL = {
        "A": Workload("A", "16-12-4", (16,), mlp(12, 4), 8, rows=64),
        "B": Workload("B", "16-12-4 in bfloat16", (16,), mlp(12, 4), 8, "momentum", "mse", 64, precision="bfloat16"),
    }

    def test_it_measures_compares_and_writes(self) -> None:
        if missing("torch"):
            pytest.skip("torch is not installed")
        kept: list[dict] = []
        results = gpu.run(
            ["A", "B"], ["gpubp", "torch", "torch-graph"], 2, device="cpu", workloads=self.SMALL, turn=0.01,
            written=lambda found: kept.append(json.loads(json.dumps(found))),
        )  # fmt: skip
        found = results["workloads"]["A"]
        assert list(found["contenders"]) == ["gpubp", "torch"]
        assert found["contenders"]["torch"]["difference"] < 1e-5
        assert len(found["products"]) == 2
        assert 0 < statistics.summary(found, {})["torch"]["share"] < 1
        assert list(results["workloads"]["B"]["contenders"]) == ["torch"]  # gpubp has bfloat16 on a GPU only
        assert "bfloat16" in results["skipped"]["B"]["gpubp"]
        assert [list(k["workloads"]) for k in kept] == [["A"], ["A", "B"]]
        assert "torch eager" in report.terminal(results) and "16-12-4" in report.markdown(results)

    def test_on_the_stand_in_for_a_gpu(self) -> None:
        """Contenders get ready at once, in processes that are kept, and each turn is told."""
        told: list[tuple[str, dict]] = []
        results = gpu.run(
            ["A", "B"], [], 2, device="stand-in", workloads=self.SMALL, turn=0.01,
            noted=lambda workload, **values: told.append((workload, values)),
        )  # fmt: skip
        took_part = {name: list(found["contenders"]) for name, found in results["workloads"].items()}
        assert took_part == {"A": ["gpubp"], "B": ["gpubp"]}
        turns = [(name, t["contender"], t["round"], t["seconds"]) for name, t in told]
        assert [turn[:3] for turn in turns] == [(name, "gpubp", k) for name in ("A", "B") for k in (1, 2)]
        measured = [s for w in results["workloads"].values() for s in w["contenders"]["gpubp"]["seconds"]]
        assert measured == [turn[3] for turn in turns]

    def test_a_process_is_kept_until_it_is_lost(self) -> None:
        settings = Settings(1, 0.01, 1)
        told: list[dict] = []
        with Crew(1, pinned=False) as crew:
            first = crew.of("gpubp").pid
            for workload in (CPU["W1"], CPU["W4"]):
                found, _ = race(workload, ["gpubp"], settings, crew=crew, noted=lambda **values: told.append(values))
                assert crew.of("gpubp").pid == first and found["contenders"]["gpubp"]["first_losses"]
            crew.lose("gpubp")
            again = crew.of("gpubp")
            assert again.pid != first
        assert again._process.poll() is not None
        assert [values["round"] for values in told] == [1, 1]

    def test_a_contender_not_ready_in_time_is_left_out_and_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(harness, "LEAST", 0.001)
        told: list[dict] = []
        settings = Settings(1, 0.01, 1, device="stand-in", limit=0.001)
        with Crew(1, pinned=False) as crew:
            first = crew.of("gpubp")
            found, skipped = race(
                GPU["B"], ["gpubp"], settings, lambda text: None, crew, lambda **values: told.append(values)
            )
            assert found["contenders"] == {} and "no answer within" in skipped["gpubp"]
            assert told == [{"contender": "gpubp", "without": skipped["gpubp"]}]
            assert first._process.poll() is not None

    @pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system pins no process")
    def test_processes_are_pinned_to_a_core(self) -> None:
        cores = os.sched_getaffinity(0)
        for pinned in (True, False):
            with Process("gpubp", 1, pinned) as process:
                assert len(os.sched_getaffinity(process.pid)) == (1 if pinned else len(cores))

    def test_workloads_after_the_time_limit_are_left_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        results = gpu.run(["A"], [], limit=1.0, device="cpu", workloads=self.SMALL)
        assert results["workloads"] == {} and "gpubp" in results["skipped"]["A"]
        assert "left out, the 1 s are over" in capsys.readouterr().out

    def test_contenders_with_other_losses_are_left_out(self) -> None:
        found = {
            "precision": "float32",
            "contenders": {"gpubp": {"first_losses": [2.0]}, "jax": {"first_losses": [2.1]}},
        }
        skipped: dict[str, str] = {}
        only_same_work(found, skipped, 2e-3)
        assert list(found["contenders"]) == ["gpubp"] and "not the same work" in skipped["jax"]

    def test_the_workloads_are_those_of_a_gpu(self) -> None:
        assert {name: w.precision for name, w in GPU.items()} == {
            "A": "float32", "B": "float32", "B-tf32": "tf32", "C": "bfloat16", "D": "float32",
        }  # fmt: skip
        assert GPU["C"].flops == pytest.approx(6.32e12, rel=1e-2)

    def test_without_a_gpu(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr("benchmarks.__main__.gpu", lambda: "")
        assert main(["gpu"]) == 3
        assert "nvidia-smi finds no GPU" in capsys.readouterr().err
