"""The third part of scripts/gpu_check.sh on the stand-in: trainings as on the CPU, after a kill and in full memory,
`gpubp compare`, and profiles; and what the first four stages call a fault."""

from __future__ import annotations

import doctest
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.driver import why_not
from gpubp.training.step_cache import StepCache

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
sys.path[:0] = [str(SCRIPTS), str(ROOT)]

import gpu_compare  # noqa: E402
import gpu_data  # noqa: E402
import gpu_memory  # noqa: E402
import gpu_resume  # noqa: E402
import gpu_stages  # noqa: E402
import gpu_table  # noqa: E402
import gpu_training  # noqa: E402
from gpu_results import read  # noqa: E402

from test_gpu_check import THIRD, check, needs_a_compiler, table  # noqa: E402
from test_gpu_smoke import dry  # noqa: E402

pytest.importorskip("sklearn")  # which has the digits


def only(found: list[dict[str, Any]], stage: str, name: str) -> dict[str, Any]:
    (line,) = (line for line in gpu_table.of(found, stage) if line["name"] == name)
    return line


@needs_a_compiler
def test_a_dry_run(tmp_path: Path) -> None:
    done = check(tmp_path, "third", "--dry")
    found = read(tmp_path / "results.jsonl")
    assert done.returncode == 0 and not done.stderr, done.stdout
    assert [line["stage"] for line in found if line["name"] == "end"] == THIRD
    assert all(line["went"] == "ok" for line in found if line["name"] == "end")
    assert all(line["dry"] is True for line in found) and len(done.stdout) <= gpu_stages.MOST
    assert done.stdout.endswith(table(tmp_path).stdout)

    bits = only(found, "training", "cnn, bits")
    assert {"rows", "kept of 6 Dropout", "pictures of 0 RandomTranslation"} <= set(bits["arrays"]) and bits["captured"]
    rotated = only(found, "training", "rotation, bits")
    assert {"pictures of 0 RandomFlip", "u of 1 RandomRotation"} <= set(rotated["arrays"])
    assert rotated["apart"].keys() == {"theta of 1 RandomRotation", "pictures of 1 RandomRotation"}
    mlp = only(found, "training", "mlp")
    assert mlp["gpu_losses"] == pytest.approx(mlp["cpu_losses"], rel=1e-5) and mlp["gpu"] == mlp["cpu"]
    assert mlp["compared_after"] == 2 and 0 < mlp["cpu_seconds"]
    plain = only(found, "resume", "plain")
    assert 0 < plain["resumed_at"] < plain["steps"] and plain["different"] == []
    across = [line for line in gpu_table.of(found, "resume") if "checkpoint of the" in line["name"]]
    assert len(across) == 2 and all(line["steps"] > 5 and line["apart"] < 1e-6 for line in across)
    for line in gpu_table.of(found, "memory"):
        assert line["named"] < line["rows"] and line["captured"] and "batch_size of about" in line["error"]
    profiled = {line["name"]: line for line in gpu_table.of(found, "profile")}
    assert {"A step", "A profile", "A host", "A nodes of a graph", "C side by side", "C products"} <= profiled.keys()
    assert profiled["D-pieces"]["2^8"]["calls"] > profiled["D-pieces"]["2^10"]["calls"]
    with tarfile.open(tmp_path / "logs.tar.gz") as tar:
        for name in ("digits", "cnn"):
            text = tar.extractfile(f"logs/compare-{name}.txt").read().decode()  # type: ignore[union-attr]
            assert text.startswith("$ gpubp compare digits ") and "cuda against cpu: 2 steps" in text
            assert "ok: rounding explains all differences" in text and "json " not in text
            compared = json.load(tar.extractfile(f"logs/compare-{name}.json"))  # type: ignore[arg-type]
            assert compared["reference"] == "cpu" and [other["name"] for other in compared["others"]] == ["cuda"]
        assert b"cuda-tf32 against cpu" in tar.extractfile("logs/command-tf32.txt").read()  # type: ignore[union-attr]


def test_without_mnist_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("", str(tmp_path / "nowhere")):
        monkeypatch.setenv("GPUBP_MNIST", folder)
        gpu_data.pictures.cache_clear()
        assert gpu_data.pictures().name == "digits" and "GPUBP_MNIST names no folder" in gpu_data.missing()
    gpu_data.pictures.cache_clear()
    assert gpu_training.data("cnn", False)[0].shape == (1437, 8, 8, 1)


# -- what is a fault --------------------------------------------------------------------------------------------------


def test_one_bit_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one number that a step on the GPU has drawn."""

    def seen(model: str, device: Any, small: bool) -> Any:
        masks = [{"kept": np.ones((3, 4), bool), "pictures": np.zeros((2, 5), np.float32)} for _ in range(4)]
        if device != "cpu":
            masks[2]["pictures"][1, 3] = -0.0
        return masks, SimpleNamespace(record=SimpleNamespace(graph=object()))

    monkeypatch.setattr(gpu_training, "seen_on", seen)
    gpu_training.compare_bits(dry(tmp_path, "training"), "mlp")
    (line,) = read(tmp_path / "results.jsonl")
    assert not line["ok"] and line["shown"] == "pictures: 1 of 10 differ in step 3"


@pytest.mark.parametrize(("moved", "ok"), [(1e-6, True), (1e-3, False), (np.nan, False)])
def test_pictures_that_are_turned_are_near(
    moved: float, ok: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(model: str, device: Any, small: bool) -> Any:
        turned = np.full((2, 5), 0.0 if device == "cpu" else moved, np.float32)
        return [{"pictures of 1 RandomRotation": turned}], SimpleNamespace(record=SimpleNamespace(graph=object()))

    monkeypatch.setattr(gpu_training, "seen_on", seen)
    gpu_training.compare_bits(dry(tmp_path, "training"), "rotation")
    (line,) = read(tmp_path / "results.jsonl")
    assert line["ok"] == ok and "apart" in line["shown"]


def test_another_accuracy_than_the_cpus_is_a_fault() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 10_000)
    one, other = (np.where(rng.random(10_000) < 0.02, y + 1, y) for _ in range(2))
    assert gpu_training.judge(one, other, y)["alike"]
    worse = np.where(rng.random(10_000) < 0.01, y + 1, one)  # 0.97 in place of 0.98
    assert not gpu_training.judge(worse, other, y)["alike"]
    assert doctest.testmod(gpu_training).failed == 0


def test_of_a_cpu_that_was_not_done_in_time_the_last_epoch_is_compared(tmp_path: Path) -> None:
    asked = dry(tmp_path, "training")
    y = gpu_training.data("mlp", True)[3]
    asked.end = time.monotonic() + 2.5
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        try:
            with pytest.raises(RuntimeError, match="had no epoch done in time"):
                gpu_training.result_of(asked, "mlp", process)
            np.savez(tmp_path / "training-mlp-cpu.npz", cores=3, classes=[y], seconds=[9.0], losses=[1.0])
            gpu_training.compare_accuracy(asked, "mlp", process)
        finally:
            process.kill()
    (line,) = read(tmp_path / "results.jsonl")
    assert line["epochs"] == 2 and line["compared_after"] == 1 and line["cpu"] == 1.0
    assert not line["ok"] and line["only_gpu"] == 0 < line["only_cpu"]  # the GPU has learnt nothing


def test_a_batch_that_has_no_room_after_all_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StepCache, "_bytes_of_step", lambda self, feed, pieces, takes_rows, rows: rows)
    asked = dry(tmp_path, "memory")
    gpu_memory.tried(asked, asked.cupy(), gpu_memory.cases(True)[0])
    (line,) = read(tmp_path / "results.jsonl")
    assert not line["ok"] and line["named"] == 999 and "no room for another array" in line["problem"]


def test_an_error_that_names_no_batch_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = dry(tmp_path, "memory")
    case = gpu_memory.cases(True)[0]
    monkeypatch.setattr(StepCache, "_bytes_of_step", lambda self, feed, pieces, takes_rows, rows: 10**12)
    gpu_memory.tried(asked, asked.cupy(), case)
    gpu_memory.tried(asked, asked.cupy(), case._replace(rows=10))
    none_fits, all_fit = read(tmp_path / "results.jsonl")
    assert not none_fits["ok"] and "a smaller network would fit" in none_fits["problem"]
    assert not all_fit["ok"] and "a batch that has no room was trained on" in all_fit["problem"]


def test_a_gpu_is_filled_by_one_allocation_that_is_given_back() -> None:
    """By a double of CuPy's runtime, since only a GPU has as much."""
    free, calls = [150_000_000_000], []

    def malloc(size: int) -> int:
        free[0] -= size
        calls.append(size)
        return 7

    pool = SimpleNamespace(free_all_blocks=lambda: calls.append("pool"))
    runtime = SimpleNamespace(malloc=malloc, free=calls.append, memGetInfo=lambda: (free[0], 151_000_000_000))
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), get_default_memory_pool=lambda: pool)
    with pytest.raises(ValueError), gpu_memory.nearly_full(SimpleNamespace(dry=False), cupy, 1_500_000_000) as left:
        assert left == 1_500_000_000
        raise ValueError
    assert calls == ["pool", 148_500_000_000, 7]


def test_a_training_that_was_not_killed_in_the_middle_is_a_fault(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Traceback\nValueError: no\n")

    def ended(code: str) -> gpu_resume.Run:
        process = subprocess.Popen([sys.executable, "-c", f"import os, signal; {code}"])
        return gpu_resume.Run(process, tmp_path, log)

    with pytest.raises(RuntimeError, match="ended with 3, and not by SIGKILL: ValueError: no"):
        gpu_resume.killed_in_the_middle(ended("os._exit(3)"), 30.0, 40)
    killed = f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    net = bp.Network(bp.Dense(1), 2, device="cpu")
    for step in (0, 40):
        bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).save(tmp_path / f"step-{step:09}.safetensors")
        with pytest.raises(RuntimeError, match=f"newest checkpoint is of step {step} of 40"):
            gpu_resume.killed_in_the_middle(ended(killed), 30.0, 40)
    with pytest.raises(TimeoutError, match="not done in time"):
        gpu_resume.killed_in_the_middle(waits := ended("import time; time.sleep(30)"), 0.2, 40)
    waits.process.kill()
    waits.process.wait()


def test_other_bits_after_a_resume_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder, parameters in ((whole, "aa"), (killed, "ab")):
        folder.mkdir()
        outcome = {"steps": 40, "parameters": parameters, "moments": {"m": "cc"}}
        (folder / "outcome.json").write_text(json.dumps({"outcome": outcome, "captured": True}))
    (checkpoint := tmp_path / "step-000000012.safetensors").write_text("")
    done = subprocess.Popen([sys.executable, "-c", ""])
    runs = [gpu_resume.Run(done, folder, tmp_path / "log") for folder in (whole, killed)]
    monkeypatch.setattr(gpu_resume, "killed_in_the_middle", lambda *arguments: (checkpoint, 12))
    monkeypatch.setattr(gpu_resume, "begin", lambda *arguments, **options: runs[1])
    gpu_resume.resume(dry(tmp_path, "resume"), tmp_path, "plain", runs[0], runs[1], 40)
    (line,) = read(tmp_path / "results.jsonl")
    assert not line["ok"] and line["different"] == ["parameters"] and "OTHER parameters" in line["shown"]


@pytest.mark.parametrize("run", [gpu_compare.compare, gpu_compare.command])
def test_a_command_that_fails_is_a_fault(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(SCRIPTS))))
    run(dry(tmp_path, "compare"), "neither", ["compare"])
    (line,) = read(tmp_path / "results.jsonl")
    assert not line["ok"] and "KeyError: 'neither'" in line["problem"]


def test_mnist_is_compared_and_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(code: int) -> Any:
        return lambda *arguments: SimpleNamespace(returncode=code, stdout="FAULT: gradients differ\n", stderr="")

    for name, code in (("mnist", 1), ("mnist", 2), ("tf32", 1)):
        monkeypatch.setattr(gpu_compare, "run", ended(code))
        gpu_compare.command(dry(tmp_path, "compare"), name, gpu_compare.MNIST)
    told = read(tmp_path / "results.jsonl")
    assert [line.get("ok") for line in told] == [None, False, False]
    assert told[0]["shown"] == "FAULT: gradients differ" and told[0]["code"] == 1


@pytest.mark.skipif(not why_not(), reason="this machine has a GPU")
@pytest.mark.parametrize("name", gpu_compare.commands(False) | gpu_compare.other_commands(False))
def test_commands_for_a_gpu_get_as_far_as_to_ask_for_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from gpubp.cli.app import app

    commands = gpu_compare.commands(False) | gpu_compare.other_commands(False)
    code = app.run([*commands[name], *gpu_compare.PLAIN], "gpubp")
    assert code == (1 if name == "doctor" else 2)
    said = capsys.readouterr()
    assert 'device "cuda" can\'t be used' in said.err or "driver          failed" in said.out
