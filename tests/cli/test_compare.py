"""`gpubp compare`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gpubp.backends.cuda.driver import why_not
from gpubp.cli.app import app
from gpubp.cli.commands import compare as command

pytest.importorskip("sklearn")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_two_types_of_numbers_on_the_cpu(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out, plot = tmp_path / "found.json", tmp_path / "found.png"
    done = run("--backends", "cpu,cpu-float64", "--steps", 3, "--hidden", 16, "--json", out, "--plot", plot)
    assert done.exit_code == 0, done.output
    assert "cpu-float64 against cpu: 3 steps of 32 rows" in done.stdout
    assert "ok: rounding explains all differences" in done.stdout
    assert json.loads(out.read_text())["others"][0]["name"] == "cpu-float64" and plot.stat().st_size > 1000


@pytest.mark.skipif(not why_not(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_and_compares_what_there_is() -> None:
    done = run("--steps", 2, "--hidden", 8)
    assert done.exit_code == 0 and "Comparing cpu,cpu-float64 instead" in done.stderr
    assert "cpu-float64 against cpu" in done.stdout


@pytest.mark.skipif(not why_not(), reason="this machine has a GPU")
def test_a_gpu_asked_for_and_not_there_is_a_mistake() -> None:
    done = run("--backends", "cpu,cuda", "--steps", 2)
    assert done.exit_code == 2 and done.stderr.startswith("gpubp: ") and "can't be used" in done.stderr
    assert not done.stdout


def test_differences_beyond_rounding_are_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(command.compare_backends.__globals__["TOLERANCES"], ("float32", "float64"), 1e-12)
    done = run("--backends", "cpu,cpu-float64", "--steps", 2, "--hidden", 8)
    assert done.exit_code == 1 and 'FAULT: outputs of "0", Dense(8)' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--backends", "cpu,cpu:1-thread"), "is for exact numerics, where threads and workers change no bit"),
        (("--backends", "cpu"), "two different backends or more"),
        (("--backends", "cpu,cpu"), "two different backends or more"),
        (("--backends", ""), "two different backends or more"),
        (("--backends", "cpu,cpu-half"), '"float32" or "float64"'),
        (("--dtype", "float64"), "the type of numbers stands in --backends"),
        (("--autotune",), "--autotune changes the last bits"),
        (("--backends", "cpu,cpu-float64", "--json", "a.txt"), "--json"),
        (("--backends", "cpu,cpu-float64", "none.npz"), "there is no file none.npz"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1


# -- exact numerics ---------------------------------------------------------------------------------------------------


def exactly(*arguments: object) -> Result:
    pytest.importorskip("numba")
    return run("--exact", "--hidden", 8, "--steps", 3, *arguments)


def test_exact_numerics_has_the_same_bits_with_threads_and_workers(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = exactly("--backends", "cpu,cpu:1-thread,cpu:2-workers", "--batch-size", 128, "--batch-norm", "--json", out)
    assert done.exit_code == 0, done.output
    assert "cpu:2-workers against cpu: 3 steps of 128 rows, seed 0, exact numerics" in done.stdout
    assert done.stdout.count("BatchNorm()  same bits") == 2 and "\nsame bits\n" in done.stdout
    told = json.loads(out.read_text())
    (digest,) = set(told["sha256"].values())
    assert done.stdout.count(digest) == 3 and told["ok"] and all(told["replayed"].values())
    assert [other["name"] for other in told["others"]] == ["cpu:1-thread", "cpu:2-workers"]


def test_the_first_layer_and_step_that_differ_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    from gpubp.analysis.same_bits import _Side

    usual = _Side.step_call_by_call

    def nudged(self: _Side, batch: object) -> None:
        usual(self, batch)  # type: ignore[arg-type]
        if self.name == "cpu:1-thread" and self.step.update.t == 2:
            self.network.parameters["2.W"][0, 0] += 1e-6

    monkeypatch.setattr(_Side, "step_call_by_call", nudged)
    done = exactly("--backends", "cpu,cpu:1-thread")
    assert done.exit_code == 1 and done.stdout.rstrip().endswith("other bits"), done.output
    first, _, last = (line for line in done.stdout.splitlines() if line[:1] in "012" and "(" in line)
    assert "parameters from step 2 on" in last and "outputs from step 3 on" in last
    assert first.endswith("differs: gradients from step 3 on, parameters from step 3 on")


@pytest.mark.skipif(not why_not(), reason="this machine has a GPU")
def test_without_a_gpu_exact_numerics_compares_threads() -> None:
    done = exactly()
    assert done.exit_code == 0 and "Comparing cpu,cpu:1-thread instead" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--backends", "cpu,cpu-float64"), "the same bits only in one type of numbers, and got cpu, cpu-float64"),
        (("--backends", "cpu,cpu:2-workers"), "each of 2 workers would have 16 of the 32 rows of a step"),
        (("--backends", "cpu,cpu:2-thingies"), "there is no backend 'cpu:2-thingies'"),
        (("--plot", "a.png"), "--plot draws differences"),
    ],
)
def test_mistakes_with_exact_numerics(arguments: tuple[str, ...], words: str) -> None:
    done = exactly(*arguments)
    assert done.exit_code == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.output
