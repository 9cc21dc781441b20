"""The benchmarks: that every contender does the same work, that the numbers of the tables are right, and what a step
costs in calls and bytes, which no clock decides."""

import doctest
import importlib.metadata
import json
import os
import re
import sys
import tracemalloc
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cpu import compiled

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the installed package

from benchmarks import (  # noqa: E402
    gpu,
    harness,
    kernels,
    mnist,
    processes,
    quiet,
    report,
    scaling,
    statistics,
    workloads,
)
from benchmarks.__main__ import main  # noqa: E402
from benchmarks.contenders import CONTENDERS, CannotDo, find, make, missing  # noqa: E402
from benchmarks.cpu import AGREED  # noqa: E402
from benchmarks.harness import Settings, difference, losses, only_same_work, race  # noqa: E402
from benchmarks.processes import Crew, Gone, Process  # noqa: E402
from benchmarks.workloads import CPU, GPU, Job, Workload, data_of, first_weights, mlp, orders  # noqa: E402
from gpubp.backends.cpu.blas import forcing  # noqa: E402


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


def steps_of(name: str, workload: Workload, steps: int) -> list[float]:
    """The losses of a contender in this process."""
    contender = make(name, Job(workload, data_of(workload), first_weights(workload), threads=1, chunk=1))
    rows = np.stack(list(islice(orders(workload), steps)))
    return [contender.run(rows[i : i + 1])[1] for i in range(steps)]


class TestTheSameWork:
    PAIRS = [
        pytest.param(name, workload, id=f"{name}-{workload.name}")
        for workload in (CPU["W1"], CPU["W4"], CPU["W6"].plain(), SMALL_CNN)
        for name in find(workload)
        if name not in ("gpubp", "torch-compile")  # compiling takes long, and `python -m benchmarks cpu` checks it
    ]

    @pytest.mark.parametrize(("name", "workload"), PAIRS)
    def test_every_contender_has_gpubps_losses(self, name: str, workload: Workload) -> None:
        if missing(name):
            pytest.skip(f"{missing(name)} is not installed")
        ours = steps_of("gpubp", workload, 8)
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
        gflop = {"W1": 0.00098, "W2": 0.411, "W3": 32.5, "W5": 3.2, "W6": 0.411}
        assert {name: CPU[name].flops / 1e9 for name in gflop} == pytest.approx(gflop, rel=5e-3)

    @pytest.mark.parametrize("workload", [*CPU.values(), SMALL_CNN], ids=lambda w: w.name)
    def test_gpubp_has_the_parameters_that_are_counted(self, workload: Workload) -> None:
        net = make("gpubp", Job(workload, data_of(workload), first_weights(workload))).trainer.network
        assert sum(a.size for a in net.parameters.values()) == workload.size
        assert Workload.from_json(json.loads(json.dumps(workload.as_json()))) == workload

    def test_what_moves_in_an_update(self) -> None:
        assert (CPU["W1"].size, CPU["W1"].bytes) == (6570, 4 * 7 * 6570)
        assert CPU["W3"].bytes == 4 * 5 * CPU["W3"].size


class TestStatistics:
    FOUND = {
        "text": "text", "flops": 2e9, "bytes": 1e6, "parameters": 10, "precision": "float32",
        "contenders": {
            "gpubp": {"version": "1", "seconds": [0.02, 0.04, 0.02], "memory": 2**20, "others": [0.0, 0.5, 0.0]},
            "torch": {"version": "2", "seconds": [0.06, 0.06, 0.08], "memory": 2**21, "others": [0.0, 0.0, None]},
            "jax": {"version": "3", "seconds": [0.03, 0.02, 0.01], "memory": None},
        },
    }  # fmt: skip
    FLOOR = {"gflops": 200.0, "gbytes": 20.0}
    RESULTS = {
        "kind": "cpu", "floor": FLOOR, "workloads": {"W1": FOUND},
        "skipped": {"W1": {"keras": "keras is not installed"}},
        "machine": {
            "processor": "a processor", "cores": 2, "threads": 2, "python": "3.11", "versions": {"gpubp": "1"},
            "date": "2026-01-01",
        },
    }  # fmt: skip

    def test_a_summary_by_hand(self) -> None:
        rows = statistics.summary(self.FOUND, self.FLOOR)
        ours = rows["gpubp"]
        assert (ours["median"], ours["min"], ours["max"], ours["rate"]) == (0.02, 0.02, 0.04, 50.0)
        assert ours["to_torch"] == pytest.approx(3.0)  # of 3, 1.5 and 4
        assert (ours["best"], ours["to_best"]) == ("jax", pytest.approx(0.5))  # of 1.5, 0.5 and 0.5
        assert ours["share"] == pytest.approx(0.5)  # 10 ms of 20
        assert rows["jax"]["best"] == "torch"

    def test_the_floor_may_be_memory(self) -> None:
        assert statistics.floor_seconds(1.0, 40e9, self.FLOOR) == 2.0

    def test_without_torch_and_floor(self) -> None:
        alone = self.FOUND | {"contenders": {"gpubp": self.FOUND["contenders"]["gpubp"]}}
        row = statistics.summary(alone, {})["gpubp"]
        assert (row["to_torch"], row["to_best"], row["share"]) == (None, None, None)
        assert "–" in report.terminal(self.RESULTS | {"floor": {}, "workloads": {"W1": alone}})

    def test_the_terminals_table(self) -> None:
        text = report.terminal(self.RESULTS)
        line = next(line for line in text.splitlines() if line.strip().startswith("gpubp"))
        assert line.split() == [
            "gpubp",
            "20",
            "ms",
            "20",
            "ms",
            "40",
            "ms",
            "50",
            "3.00x",
            "0.50x",
            "50%",
            "1",
            "MB",
            "1/3",
        ]
        assert "without Keras at W1: keras is not installed" in text

    def test_the_readmes_table(self) -> None:
        assert report.markdown(self.RESULTS).splitlines() == [
            "| steps a second | gpubp | torch eager | best torch | JAX jit | to torch eager | to the best peer |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            "| W1 text | **50** | 16.7 | 16.7 | 50 | 3.00x | 0.50x |",
            "",
            "Measured on a processor, 2 cores, 2 threads, Python 3.11, gpubp 1; 2026-01-01. "
            "The kernels in use were not recorded.",
        ]

    def test_the_footnote_has_the_kernels_and_the_processor(self) -> None:
        ours = {"of": "NumPy", "name": "OpenBLAS", "version": "0.3", "kernel": "Zen", "threads": 2}
        mkl = {"of": "PyTorch", "name": "MKL", "version": "2024.2", "kernel": "", "threads": 2}
        given = self.FOUND["contenders"]
        taken = {"gpubp": given["gpubp"] | {"kernels": [ours]}, "torch": given["torch"] | {"kernels": [mkl]}}
        found = self.RESULTS | {
            "workloads": {name: self.FOUND | {"contenders": taken} for name in ("W1", "W2")},
            "machine": self.RESULTS["machine"] | {"family": "26", "model": "2", "taken_out": {"MKL_CBWR": "AVX2"}},
        }
        assert report.footnote(found) == (
            "a processor (family 26, model 2), 2 cores, 2 threads, Python 3.11, gpubp 1; 2026-01-01. Kernels: NumPy's "
            "OpenBLAS 0.3: Zen; PyTorch's MKL 2024.2. Taken out of the environment: MKL_CBWR=AVX2."
        )
        assert report.markdown(found).endswith(f"Measured on {report.footnote(found)}")
        assert report.terminal(found).startswith(report.footnote(found))
        assert "ernels" not in report.footnote(found | {"kind": "gpu"})

    def test_it_goes_between_its_markers_and_a_second_time_changes_nothing(self, tmp_path: Path) -> None:
        page, file = tmp_path / "README.md", tmp_path / "results" / "cpu.json"
        file.parent.mkdir()
        file.write_text(json.dumps(self.RESULTS))
        page.write_text("a\n<!-- benchmarks: results/cpu.json -->\nold\n<!-- /benchmarks -->\nb\n")
        for _ in range(2):
            assert main(["table", str(file), "--readme", str(page)]) == 0
            assert page.read_text() == (
                f"a\n<!-- benchmarks: results/cpu.json -->\n{report.markdown(self.RESULTS)}\n<!-- /benchmarks -->\nb\n"
            )

    def test_a_page_without_markers_stays_as_it_is(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        page, file = tmp_path / "README.md", tmp_path / "cpu.json"
        file.write_text(json.dumps(self.RESULTS))
        page.write_text("nothing")
        assert main(["table", str(file), "--readme", str(page)]) == 2
        assert "<!-- benchmarks: cpu.json -->" in capsys.readouterr().err
        assert page.read_text() == "nothing"

    def test_results_of_another_kind(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "scaling.json").write_text('{"kind": "scaling"}')
        assert main(["table", str(tmp_path / "scaling.json")]) == 2
        assert 'holds results of "scaling", and the table is of "cpu" or "gpu"' in capsys.readouterr().err

    def test_the_picture(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        report.draw(self.RESULTS, tmp_path / "speed.png")
        assert (tmp_path / "speed.png").stat().st_size > 5000


def test_the_readme_shows_what_was_measured() -> None:
    """Each table in the README is that of the JSON file it names, and each file of results has its table."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"<!-- benchmarks: (\S+) -->", page)
    for file in named:
        results = json.loads((ROOT / file).read_text(encoding="utf-8"))
        assert report.put_into(page, file, report.markdown(results)) == page, f"python -m benchmarks table {file}"
    measured = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    tables = [p.relative_to(ROOT).as_posix() for p in measured if json.loads(p.read_text())["kind"] in ("cpu", "gpu")]
    assert sorted(named) == tables


class TestTheHarness:
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

    def test_one_that_is_not_installed_is_left_out_by_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from benchmarks.contenders import Entry

        monkeypatch.setitem(CONTENDERS, "absent", Entry("Absent", "absent_steps", "", ("no_such_library",)))
        found, skipped = race(CPU["W1"], ["absent"], Settings(1, 0.01, 1))
        assert (found["contenders"], skipped) == ({}, {"absent": "no_such_library is not installed"})

    def test_one_that_cant_is_left_out_with_the_reason(self) -> None:
        if missing("sklearn"):
            pytest.skip("scikit-learn is not installed")
        heard: list[str] = []
        _, skipped = race(CPU["W4"], ["sklearn"], Settings(1, 0.01, 1), heard.append)
        assert skipped == {"sklearn": "scikit-learn minimises half the squared error"}
        assert heard == ["  W4: without scikit-learn: scikit-learn minimises half the squared error"]

    def test_one_that_takes_too_long_is_ended(self) -> None:
        process = Process("gpubp", 1)
        with pytest.raises(Gone, match="no answer within 0 s"):
            process.ask(0.01, do="measure")

    def test_one_that_ends_says_why(self) -> None:
        with Process("gpubp", 1) as process, pytest.raises(Gone, match="its process ended: .*JSONDecodeError"):
            assert process._process.stdin is not None
            process._process.stdin.write("nonsense\n")
            process._process.stdin.flush()
            process.hear(60)

    def test_losses_come_through_the_pipe(self) -> None:
        through = losses("gpubp", CPU["W1"], 3, Settings(threads=1))
        assert through == pytest.approx(steps_of("gpubp", CPU["W1"], 3), rel=1e-6)

    def test_a_strange_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["cpu", "--workloads", "W9"])
        assert "W9 is none of W1, W2" in capsys.readouterr().err

    def test_the_requirements_are_the_contenders(self) -> None:
        lines = (ROOT / "benchmarks" / "requirements.txt").read_text().splitlines()
        named = {re.split("[=<>]", line)[0] for line in lines if line and not line.startswith("#")}
        needed = {n for e in CONTENDERS.values() for n in e.needs} - {"gpubp"}
        assert named == {{"sklearn": "scikit-learn"}.get(n, n) for n in needed} | {"matplotlib"}


class TestTheGPUsBenchmark:
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

    def test_on_what_tests_take_for_a_gpu(self) -> None:
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

    def test_who_is_not_ready_in_time_is_left_out_and_ended(self) -> None:
        told: list[dict] = []
        settings = Settings(1, 0.01, 1, device="stand-in", limit=0.05)
        with Crew(1, pinned=False) as crew:
            first = crew.of("gpubp")
            found, skipped = race(
                GPU["B"], ["gpubp"], settings, lambda text: None, crew, lambda **values: told.append(values)
            )
            assert found["contenders"] == {} and "no answer within" in skipped["gpubp"]
            assert told == [{"contender": "gpubp", "without": skipped["gpubp"]}]
            assert first._process.poll() is not None

    @pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system pins no process")
    def test_who_is_pinned(self) -> None:
        cores = os.sched_getaffinity(0)
        for pinned in (True, False):
            with Process("gpubp", 1, pinned) as process:
                assert len(os.sched_getaffinity(process.pid)) == (1 if pinned else len(cores))

    def test_when_the_time_is_over(self, capsys: pytest.CaptureFixture[str]) -> None:
        results = gpu.run(["A"], [], limit=1.0, device="cpu", workloads=self.SMALL)
        assert results["workloads"] == {} and "gpubp" in results["skipped"]["A"]
        assert "left out, the 1 s are over" in capsys.readouterr().out

    def test_other_work_is_left_out(self) -> None:
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


# Calls in the record of a step. No clock decides them. Where a change makes them fewer, write the new numbers here,
# which the failed test shows; where more, it had better be worth it.
CALLS = {"W1": 47, "W2": 73, "W5": 563}
MOST_BYTES = 32_768  # that NumPy and Python allocate meanwhile: buffers for casts, of booleans above all


class TestCounts:
    @pytest.mark.parametrize("name", CALLS)
    def test_counts_of_a_recorded_step(self, name: str) -> None:
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


class TestScaling:
    def test_one_thing_grows_at_a_time(self) -> None:
        found = list(scaling.points())
        assert [size for grows, size, _ in found if grows == "batch"] == [1, 4, 16, 64, 256, 1024]
        sizes = {grows: [w.size for g, _, w in found if g == grows] for grows in ("width", "depth", "batch")}
        assert sizes["width"] == sorted(set(sizes["width"])) and sizes["depth"] == sorted(set(sizes["depth"]))
        assert len(set(sizes["batch"])) == 1
        assert all(w.batch == 128 for grows, _, w in found if grows != "batch")

    def test_steps_and_memory(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        point = ("width", 8, Workload("width 8", "", (8,), mlp(8, 3), 4, rows=16))
        monkeypatch.setattr(scaling, "points", lambda quick: [point])
        monkeypatch.setattr(scaling, "PEERS", ("gpubp",))
        results = scaling.run(["steps"], None, 1, quick=True)
        own = results["steps"][0]["contenders"]["gpubp"]
        assert len(own["seconds"]) == 2 and own["memory"] > 0
        assert own["kernels"][0]["of"] == "NumPy" and results["machine"]["taken_out"] == forcing()
        shown = scaling.terminal(results).splitlines()
        assert "Kernels: NumPy's" in shown[0] and shown[4].split()[0] == "8"
        pytest.importorskip("matplotlib")
        scaling.draw(results, tmp_path / "scaling.png")
        assert (tmp_path / "scaling.png").exists()

    def test_what_is_installed(self) -> None:
        alone, one = scaling.installed_size("numpy")
        ours, packages = scaling.installed_size("gpubp")
        assert one == 1 and packages == 1 + sum(
            not missing_package(n) for n in ("numpy", "safetensors", "threadpoolctl")
        )
        assert 0 < ours - alone < 20e6 < alone

    def test_an_import(self) -> None:
        found = scaling._import("gpubp", 1)
        assert 0 < found["seconds"] < 10 and found["memory"] > 1e6

    @pytest.mark.parametrize("model", ["mlp", "cnn"])
    def test_an_epoch_of_a_small_mnist(self, model: str, tmp_path: Path) -> None:
        write_mnist(tmp_path)
        told = mnist.learn(model, "gpubp", str(tmp_path), 1, epochs=2)
        assert told["kernels"][0]["of"] == "NumPy"
        assert told == told | {"model": model, "library": "gpubp", "goal": mnist.GOALS[model]}
        assert 0 < told["epochs"] <= 2 and told["seconds"] > 0 and told["reached"] == (told["accuracy"] >= told["goal"])

    def test_without_mnist(self, tmp_path: Path) -> None:
        assert "lacks" in mnist.learn("mlp", "gpubp", str(tmp_path), 1)["problem"]


def missing_package(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return True
    return False


def write_mnist(folder: Path) -> None:
    """The four files, with 256 rows to learn from and 64 to be tested on."""
    rng = np.random.default_rng(0)
    for part, rows in (("train", 256), ("t10k", 64)):
        for name, array in (
            ("images-idx3", rng.integers(0, 256, (rows, 28, 28))), ("labels-idx1", rng.integers(0, 10, rows))
        ):  # fmt: skip
            head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            (folder / f"{part}-{name}-ubyte").write_bytes(head + array.astype(np.uint8).tobytes())
