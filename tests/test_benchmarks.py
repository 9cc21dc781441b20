"""The benchmarks: every contender does the same work, and the calls and bytes of a recorded step."""

import doctest
import json
import re
import sys
import tracemalloc
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cpu import compiled, small_products

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the installed package

from benchmarks import (  # noqa: E402
    harness,
    kernels,
    processes,
    quiet,
    report,
    statistics,
    workloads,
)
from benchmarks.__main__ import main  # noqa: E402
from benchmarks.contenders import CONTENDERS, CannotDo, find, make, missing  # noqa: E402
from benchmarks.cpu import AGREED  # noqa: E402
from benchmarks.harness import Settings, difference, losses, race  # noqa: E402
from benchmarks.processes import Gone, Process  # noqa: E402
from benchmarks.workloads import CPU, Job, Workload, data_of, first_weights, mlp, orders  # noqa: E402


@pytest.fixture(autouse=True)
def prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a contender pays for its own process is not what the tests after it pay."""
    for name in ("PRICE", "LOOP_PRICE"):
        monkeypatch.setattr(compiled, name, getattr(compiled, name))


SMALL_CNN = Workload(
    "cnn", "a small CNN", (8, 8, 2),
    (("conv", 4), ("batchnorm",), ("relu",), ("pool",), ("conv", 6), ("relu",), ("pool",), ("flatten",), *mlp(12, 5)),
    8, "momentum", rows=64, rate=1e-2,
)  # fmt: skip


SEQUENCES = [
    Workload("a", "an LSTM and a GRU", (6, 5), (("lstm-all", 7), ("gru", 4), ("dense", 3)), 8, rows=64),
    Workload("c", "letters", (6,), (("words", 9, 5), ("lstm-all", 7), ("dense", 9)), 8, rows=64),
    Workload("d", "an encoder", (6, 8), (("block", 2), ("norm",), ("mean",), ("dense", 3)), 8, rows=64),
]


def steps_of(name: str, workload: Workload, steps: int) -> list[float]:
    """The losses of a contender in this process."""
    contender = make(name, Job(workload, data_of(workload), first_weights(workload), threads=1, chunk=1))
    rows = np.stack(list(islice(orders(workload), steps)))
    return [contender.run(rows[i : i + 1])[1] for i in range(steps)]


@cache
def losses_of_gpubp(workload: Workload) -> list[float]:
    """Those of the first eight steps; computed once, for all that are compared with them."""
    return steps_of("gpubp", workload, 8)


class TestSameWork:
    PAIRS = [
        pytest.param(name, workload, id=f"{name}-{workload.name}")
        for workload in (CPU["W1"], CPU["W4"], CPU["W6"].plain(), SMALL_CNN, *SEQUENCES)
        for name in find(workload)
        if name
        not in (
            "gpubp",
            "torch-compile",
            *["jax-scan"] * (workload in SEQUENCES),
        )  # compiling takes long, and `python -m benchmarks cpu` checks it
    ]

    @pytest.mark.parametrize(("name", "workload"), PAIRS)
    def test_every_contender_has_gpubps_losses(self, name: str, workload: Workload) -> None:
        if missing(name):
            pytest.skip(f"{missing(name)} is not installed")
        ours = losses_of_gpubp(workload)
        try:
            theirs = steps_of(name, workload, 8)
        except CannotDo as why:
            pytest.skip(str(why))
        assert difference(theirs, ours) < AGREED

    def test_another_learning_rate_is_noticed(self) -> None:
        import dataclasses

        other = dataclasses.replace(CPU["W1"], rate=2e-3)
        assert difference(steps_of("gpubp", other, 8), steps_of("gpubp", CPU["W1"], 8)) > AGREED

    def test_another_order_is_noticed(self) -> None:
        w = CPU["W1"]
        contender = make("gpubp", Job(w, data_of(w), first_weights(w)))
        rows = np.stack(list(islice(orders(w, seed=1), 8)))
        assert difference([contender.run(r[None])[1] for r in rows], steps_of("gpubp", w, 8)) > AGREED

    def test_batches_are_rows_of_a_shuffled_epoch(self) -> None:
        w = CPU["W1"]
        batches = list(islice(orders(w), w.rows // w.batch + 1))
        assert sorted(np.concatenate(batches[:-1])) == list(range(w.rows))
        assert not np.array_equal(batches[0], batches[-1])


@pytest.mark.parametrize(
    "module", [harness, kernels, processes, quiet, report, statistics, workloads], ids=lambda m: m.__name__
)
def test_the_examples_of_the_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0


class TestWorkloads:
    def test_operations_are_those_of_the_products(self) -> None:
        gflop = {"W1": 0.00098, "W2": 0.411, "W3": 32.5, "W5": 3.2, "W6": 0.411, "S1": 0.210, "S4": 1.41}
        assert {name: CPU[name].flops / 1e9 for name in gflop} == pytest.approx(gflop, rel=5e-3)

    @pytest.mark.parametrize("workload", [*CPU.values(), SMALL_CNN, *SEQUENCES], ids=lambda w: w.name)
    def test_gpubp_has_the_parameters_that_are_counted(self, workload: Workload) -> None:
        net = make("gpubp", Job(workload, data_of(workload), first_weights(workload))).trainer.network
        assert sum(a.size for a in net.parameters.values()) == workload.size
        assert Workload.from_json(json.loads(json.dumps(workload.as_json()))) == workload

    def test_bytes_moved_in_an_update(self) -> None:
        assert (CPU["W1"].size, CPU["W1"].bytes) == (6570, 4 * 7 * 6570)
        assert CPU["W3"].bytes == 4 * 5 * CPU["W3"].size


class TestHarness:
    @pytest.mark.parametrize("name", ["gpubp", "torch"])
    def test_a_quick_run(self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        if missing(name):
            pytest.skip(f"{name} is not installed")
        file = tmp_path / "results.json"
        arguments = ["cpu", "--quick", "--workloads", "W1", "--contenders", name, "--json", str(file), "--threads", "1"]
        assert main(arguments) == 0
        results = json.loads(file.read_text())
        found = results["workloads"]["W1"]["contenders"][name]
        assert len(found["seconds"]) == 2 and min(found["seconds"]) > 0
        assert found["difference"] < AGREED
        assert 0 < found["memory"] < 2**30
        assert results["floor"]["gflops"] > 1 and results["floor"]["gbytes"] > 0.1
        assert results["machine"]["threads"] == 1
        assert found["kernels"] and all(kernel["name"] and kernel["version"] for kernel in found["kernels"])
        assert found["kernels"][0]["of"] == {"gpubp": "NumPy", "torch": "PyTorch"}[name]
        assert report.label(name) in capsys.readouterr().out

    def test_a_contender_not_installed_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from benchmarks.contenders import Entry

        monkeypatch.setitem(CONTENDERS, "absent", Entry("Absent", "absent_steps", "", ("no_such_library",)))
        found, skipped = race(CPU["W1"], ["absent"], Settings(1, 0.01, 1))
        assert (found["contenders"], skipped) == ({}, {"absent": "no_such_library is not installed"})

    def test_a_contender_that_refuses_is_left_out_with_its_reason(self) -> None:
        if missing("sklearn"):
            pytest.skip("scikit-learn is not installed")
        heard: list[str] = []
        _, skipped = race(CPU["W4"], ["sklearn"], Settings(1, 0.01, 1), heard.append)
        assert skipped == {"sklearn": "scikit-learn minimises half the squared error"}
        assert heard == ["  W4: without scikit-learn: scikit-learn minimises half the squared error"]

    def test_a_process_without_an_answer_is_ended(self) -> None:
        process = Process("gpubp", 1)
        with pytest.raises(Gone, match="no answer within 0 s"):
            process.ask(0.01, do="measure")

    def test_the_reason_why_a_process_ended(self) -> None:
        with Process("gpubp", 1) as process, pytest.raises(Gone, match="its process ended: .*JSONDecodeError"):
            assert process._process.stdin is not None
            process._process.stdin.write("nonsense\n")
            process._process.stdin.flush()
            process.hear(60)

    def test_losses_come_through_the_pipe(self) -> None:
        through = losses("gpubp", CPU["W1"], 3, Settings(threads=1))
        assert through == pytest.approx(steps_of("gpubp", CPU["W1"], 3), rel=1e-6)

    def test_an_unknown_workload_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["cpu", "--workloads", "W9"])
        assert "W9 is none of W1, W2" in capsys.readouterr().err

    def test_the_requirements_are_the_contenders(self) -> None:
        lines = (ROOT / "benchmarks" / "requirements.txt").read_text().splitlines()
        named = {re.split("[=<>]", line)[0] for line in lines if line and not line.startswith("#")}
        needed = {n for e in CONTENDERS.values() for n in e.needs} - {"gpubp"}
        assert named == {{"sklearn": "scikit-learn"}.get(n, n) for n in needed} | {"matplotlib"}


# Calls in the record of a step. No clock decides them. Where a change makes them fewer, write the new numbers here,
# which the failed test shows; where more, it had better be worth it.
CALLS = {"W1": 47, "W2": 165, "W5": 1036}
MOST_BYTES = 32_768  # that NumPy and Python allocate meanwhile: buffers for casts, of booleans above all


class TestCounts:
    @pytest.mark.parametrize("name", CALLS)
    def test_counts_of_a_recorded_step(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(small_products, "unpacked", lambda: False)  # as with the BLAS of most machines
        assert calls(name) == CALLS[name]
        assert allocated(name) <= MOST_BYTES


@cache
def recorded(name: str) -> bp.Trainer:
    """A trainer whose step is recorded: by one worker, so that the counts are those of any machine."""
    w = CPU[name]
    data = data_of(w)
    trainer = make("gpubp", Job(w, data, first_weights(w))).trainer
    trainer.workers = 1
    for _ in range(3):
        trainer.step(data.X[: w.batch], data.y[: w.batch])
    return trainer


def calls(name: str) -> int:
    return len(recorded(name).record)


def allocated(name: str) -> int:
    """Bytes, at the highest above the beginning, of what NumPy and Python allocate in a replayed step."""
    replay = recorded(name).record
    tracemalloc.start()
    try:
        with recorded(name).backend.active():  # as in a training, where casts go through small buffers
            replay()
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            replay()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
