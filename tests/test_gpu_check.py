"""scripts/gpu_check.sh: what it says without a GPU, all of it in small on the stand-in, and what is left of a run that
was cut off, of a stage that took too long, of tests that fail."""

from __future__ import annotations

import doctest
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gpubp.backends.cuda.driver import why_not

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
sys.path[:0] = [str(SCRIPTS), str(ROOT)]

import gpu_stages  # noqa: E402
import gpu_table  # noqa: E402
from gpu_results import PLAN, Results, read  # noqa: E402

FIRST = ["machine", "smoke-A", "smoke-D", "nan", "messages", "tests-cublaslt", "tests-training"]
SECOND = ["exact", "parity", "benchmarks", "racecheck"]
THIRD = ["training", "resume", "memory", "compare", "profile"]  # dry in test_gpu_third.py
PARTS = {"first": FIRST, "second": SECOND, "third": THIRD, "profile": ["profile"], "all": FIRST + SECOND + THIRD}


def check(*arguments: Any, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    command = ["bash", SCRIPTS / "gpu_check.sh", *arguments]
    environment = os.environ | {"PYTHON": sys.executable}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout)


def table(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPTS / "gpu_table.py", folder]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def stage(name: str, code: str, **options: Any) -> gpu_stages.Stage:
    """One that runs some Python, which finds `results`."""
    start = f"import os, sys, time\nfrom pathlib import Path\nfrom gpu_results import Results\n\
results = Results(Path(os.environ['GPU_CHECK_RESULTS']), {name!r})\n"
    return gpu_stages.Stage(name, [sys.executable, "-c", start + code], 60.0, 10.0, False, **options)


# -- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [(), ("out",), ("out", "fourth"), ("out", "first", "--wet"), ("", "first"), ("out", "all", "--dry", "x")],
)
def test_wrong_arguments_print_the_usage(arguments: tuple[str, ...]) -> None:
    done = check(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: scripts/gpu_check.sh FOLDER first|second|third|profile|all [--dry]\n"


@pytest.mark.skipif(not why_not(), reason="this machine has a GPU")
@pytest.mark.parametrize("which", PARTS)
def test_without_a_gpu_it_ends_with_one_line(which: str, tmp_path: Path) -> None:
    done = check(tmp_path / "out", which)
    assert done.returncode == 3 and len(done.stdout.splitlines()) == 1 and not done.stderr
    assert "nothing was checked, because no GPU can be used" in done.stdout


needs_a_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("c++")), reason="there is no g++ to build kernels with"
)


# -- all of it, on the stand-in ---------------------------------------------------------------------------------------


@needs_a_compiler
@pytest.mark.parametrize(("which", "stages"), [("first", FIRST), ("second", SECOND)])
def test_a_dry_run(which: str, stages: list[str], tmp_path: Path) -> None:
    """Every stage up to what only a GPU can do."""
    done = check(tmp_path, which, "--dry")
    assert done.returncode == 0 and not done.stderr, done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs.tar.gz", "results.jsonl"]
    found = read(tmp_path / "results.jsonl")
    assert all(line["dry"] is True for line in found)
    assert found[0]["stages"] == stages == [line["stage"] for line in found if line["name"] == "end"]
    assert all(line["went"] == "ok" for line in found if line["name"] == "end")
    assert all(any(line["stage"] == name for line in gpu_table.of(found, name)) for name in stages)
    assert len(done.stdout) <= gpu_stages.MOST
    shown = table(tmp_path)
    assert shown.returncode == 0 and done.stdout.endswith(shown.stdout)
    first, _, *rows = shown.stdout.splitlines()
    assert "no figure below is a GPU's" in first and all(re.match(r" *\S.*? dry", row) for row in rows)
    assert not re.search(r"(?<!stand-in )µs", done.stdout)
    with tarfile.open(tmp_path / "logs.tar.gz") as tar:
        assert {f"logs/{name}.log" for name in stages} <= set(tar.getnames())
    names = [line["name"] for line in found]
    if which == "first":
        assert {"A float32", "A tf32", "A bfloat16", "A profile", "D profile", "D pieces of 2^8", "guard"} <= set(names)
        (a,) = (line for line in found if line["name"] == "A float32")
        assert a["captured"] and a["warnings"] == [] and a["cpu_microseconds"] > 0
        assert any(what.startswith("8 x 16 x 12 float32, ") and what.endswith("bias") for what in a["products"])
        collected = {line["stage"]: line["tests"] for line in found if line["name"] == "collected"}
        assert min(collected.values()) > 50 and set(collected) == {"tests-cublaslt", "tests-training"}
    else:
        assert {f"network {name}" for name in ("mlp", "cnn", "words", "numbers", "shared")} <= set(names)
        bits = {"bits of dW, float32"} if importlib.util.find_spec("numba") else set()  # those of the CPU need it
        assert bits | {"speed of dx", "A"} <= {line["name"] for line in gpu_table.of(found, "exact")}
        assert {"mlp", "mlp-all", "cnn"} <= set(names) and any(name.startswith("layer ") for name in names)
        turns = [line for line in gpu_table.of(found, "benchmarks") if "seconds" in line]
        assert {line["name"] for line in turns} == {"A", "D", "C", "B"} and {t["contender"] for t in turns} == {"gpubp"}


# -- limits -----------------------------------------------------------------------------------------------------------


def test_an_early_stage_that_was_slow_leaves_the_later_ones_less() -> None:
    one, two, three = (gpu_stages.Stage(name, [], 80.0, 20.0) for name in "abc")
    assert gpu_stages.limit_of(150.0, one, [two, three]) == 80.0
    assert gpu_stages.limit_of(90.0, two, [three]) == 70.0
    assert gpu_stages.limit_of(15.0, three, []) == 15.0
    assert gpu_stages.limit_of(90.0, two, [three._replace(missing="it is not installed")]) == 80.0


@pytest.mark.parametrize("which", PARTS)
def test_minimum_times_of_the_stages_fit_the_limit(which: str, tmp_path: Path) -> None:
    planned = gpu_stages.stages(which, tmp_path / "r", tmp_path, dry=True)
    assert [s.name for s in planned] == PARTS[which]
    assert sum(s.least for s in planned) + gpu_stages.CLOSING + 15 <= gpu_stages.LIMITS[which]
    limits = {"first": 150, "second": 270, "third": 170, "profile": 85, "all": 560}
    assert limits[which] == gpu_stages.LIMITS[which]


def test_a_stage_that_takes_too_long_leaves_what_it_found(tmp_path: Path) -> None:
    """Interrupted, it puts its things in order; killed, with all that it has started, where it doesn't."""
    orderly = "results.add('half', shown='1')\ntry: time.sleep(60)\nexcept KeyboardInterrupt: results.add('last')"
    deaf = "import signal, subprocess\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    deaf += "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    deaf += "results.add('child', pid=child.pid)\ntime.sleep(60)"
    file, start = tmp_path / "results.jsonl", time.monotonic()
    with ThreadPoolExecutor(2) as pool:  # both wait for the same six seconds
        stages = [(name, stage(name, code)) for name, code in (("orderly", orderly), ("deaf", deaf))]
        ends = [pool.submit(gpu_stages.run, one, Results(file, name), tmp_path, 6.0) for name, one in stages]
    assert [end.result() for end in ends] == ["timed out", "timed out"]
    assert time.monotonic() - start < 50
    found = read(file)
    assert [line["name"] for line in found if line["stage"] == "orderly"] == ["begin", "half", "last", "end"]
    (pid,) = (line["pid"] for line in found if line["name"] == "child")
    for _ in range(600):
        if not runs(pid):
            break
        time.sleep(0.1)
    assert not runs(pid)
    lines = gpu_table.table(found)
    assert sum("TIMED OUT" in line for line in lines) == 2 and any("half" in line for line in lines)
    assert gpu_table.code(found) == 1


def runs(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def in_turn(monkeypatch: pytest.MonkeyPatch, *stages: gpu_stages.Stage) -> None:
    monkeypatch.setattr(gpu_stages, "stages", lambda *arguments: list(stages))


def test_stages_without_time_are_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(gpu_stages.LIMITS, "first", gpu_stages.CLOSING + 16.0)
    absent = stage("absent", "", missing="it is not installed")
    in_turn(monkeypatch, stage("quick", "results.add('x', shown='y')"), absent, stage("late", "time.sleep(60)"))
    assert gpu_stages.check("first", tmp_path, False, spent=7.0) == 1  # nothing is left for the last one
    ends = {line["stage"]: line for line in read(tmp_path / "results.jsonl") if line["name"] == "end"}
    assert [end["went"] for end in ends.values()] == ["left out", "left out", "timed out"]
    assert [ends[name].get("why") for name in ("quick", "absent")] == ["the time was over", "it is not installed"]
    assert "LEFT OUT" not in capsys.readouterr().out


def test_a_run_that_is_ended_shows_what_it_has(tmp_path: Path) -> None:
    command = ["bash", SCRIPTS / "gpu_check.sh", tmp_path, "second", "--dry"]
    environment = os.environ | {"PYTHON": sys.executable}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    for _ in range(3000):
        if any(line["name"] == "begin" for line in read(tmp_path / "results.jsonl")):
            break
        time.sleep(0.1)
    process.terminate()
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 1 and "INTERRUPTED" in out and out.count("NOT BEGUN") == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs.tar.gz", "results.jsonl"]


# -- what is printed and kept -----------------------------------------------------------------------------------------

MUCH = """
for i in range(200):
    results.add(f'test_{i}', outcome='failed', problem='first line ' * 30 + '\\n' + 'second line ' * 30)
    results.add(f'part {i}', ok=True, shown='shown ' * 60, detail=['detail ' * 30] * 30)
print('x' * 1_000_000)
sys.exit(1)
"""


def test_long_output_is_shortened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_turn(monkeypatch, *(stage(name, MUCH) for name in ("much", "more", "most")))
    assert gpu_stages.check("first", tmp_path, False, 0.0) == 1
    out = capsys.readouterr().out
    assert len(out) <= gpu_stages.MOST and "characters ..." in out and "first line" in out and "second line" in out
    assert out.endswith("\n".join(gpu_table.table(read(tmp_path / "results.jsonl"))) + "\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs.tar.gz", "results.jsonl"]
    with tarfile.open(tmp_path / "logs.tar.gz") as tar:
        assert all(member.size < 500_000 for member in tar.getmembers()) and len(tar.getnames()) == 3
    assert (tmp_path / "logs.tar.gz").stat().st_size < 100_000


def test_logs_of_an_earlier_part_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the same folder: those of the same stage are replaced, the others stay."""
    for name, said in (("early", "1"), ("late", "2"), ("early", "3")):
        in_turn(monkeypatch, stage(name, f"print({said})\nresults.add('x')"))
        assert gpu_stages.check("first", tmp_path, False, 0.0) == 0
    with tarfile.open(tmp_path / "logs.tar.gz") as tar:
        logs = {name: tar.extractfile(name).read().decode().strip() for name in tar.getnames()}  # type: ignore[union-attr]
    assert logs == {"logs/early.log": "3", "logs/late.log": "2"}
    whole = (tmp_path / "logs.tar.gz").read_bytes()
    (tmp_path / "logs.tar.gz").write_bytes(whole[: len(whole) // 2])  # somebody was cut off
    in_turn(monkeypatch, stage("last", "results.add('x')"))
    assert gpu_stages.check("first", tmp_path, False, 0.0) == 0


def test_json_is_never_cut(tmp_path: Path) -> None:
    numbers = json.dumps(["a number"] * 50_000)
    for name in ("found.json", "found.log"):
        (tmp_path / name).write_text(numbers)
        gpu_stages._shorten(tmp_path / name)
    assert (tmp_path / "found.json").read_text() == numbers and "cut" in (tmp_path / "found.log").read_text()


TESTS = """
import pytest
def test_well(): pass
@pytest.mark.skip(reason="no such thing here")
def test_left_out(): pass
def test_wrong():
    import warnings
    warnings.warn("this is no error here")
    assert 1 == 2, "one is not two"
def test_broken(): raise RuntimeError("illegal\\n\\nmemory access")
"""


@pytest.mark.parametrize("processes", [[], ["-n", "2"]], ids=["one process", "two processes"])
def test_tests_that_fail(processes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if processes:
        pytest.importorskip("xdist")
    (tmp_path / "test_some.py").write_text(TESTS)
    file, logs = tmp_path / "results.jsonl", tmp_path / "logs"
    logs.mkdir()
    monkeypatch.setitem(gpu_stages.TEST_FILES, "tests-some", str(tmp_path / "test_some.py"))
    made = gpu_stages._tests("tests-some", logs, dry=False)
    command = [word for word in made.command if word not in ("-n", "8")]
    made = made._replace(command=[*command, *processes])
    Results(file, PLAN).add("plan", stages=["tests-some"])
    assert gpu_stages.run(made, Results(file, "tests-some"), logs, 90.0) == "failed"
    found = read(file)
    outcomes = {line["name"]: line["outcome"] for line in found if "outcome" in line}
    wanted = {"test_well": "passed", "test_left_out": "skipped", "test_wrong": "failed", "test_broken": "failed"}
    assert outcomes == wanted
    shown = "\n".join(gpu_table.table(found))
    assert "FAILED" in shown and "1 passed, 2 failed, 1 skipped" in shown and "  test_wrong" in shown
    assert "one is not two" in shown and "illegal" in shown and gpu_table.code(found) == 1
    assert 'name="test_wrong"' in (logs / "tests-some.xml").read_text()
    assert any("memory access" in line for line in gpu_table.details(found))


def test_a_half_written_file(tmp_path: Path) -> None:
    """The table is that of all whole lines, and what comes after it begins on a line of its own."""
    file = tmp_path / "results.jsonl"
    Results(file, PLAN).add("plan", stages=["smoke-A", "benchmarks", "racecheck"])
    smoke = Results(file, "smoke-A")
    smoke.add("begin")
    smoke.add("A float32", ok=True, shown="61.5 µs a step", loss=float("nan"))
    smoke.add("end", went="ok", code=0, seconds=12.3)
    turns = Results(file, "benchmarks")
    turns.add("begin")
    for seconds in (60e-6, 62e-6, 70e-6):
        turns.add("A", contender="gpubp", round=1, seconds=seconds, steps=9)
    turns.add("A", contender="torch-graph", round=1, seconds=50e-6, steps=9)
    turns.add("A", contender="jax", without="no answer within 50 s")
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"stage": "benchmarks", "name": "A", "contender": "to')
    done = table(tmp_path)
    assert done.returncode == 1 and not done.stderr
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert rows[1][:2] == ["smoke-A", "ok"] and "61.5 µs a step" in done.stdout
    assert rows[3][0] == "benchmarks" and "CUT OFF" in done.stdout and "NOT BEGUN" in done.stdout
    assert (
        "µs a step: torch-graph 50, gpubp 62, so gpubp is 0.81 times as fast as torch-graph; without jax" in done.stdout
        and "DRY" not in done.stdout
    )
    turns.add("A", contender="torch", round=1, seconds=80e-6)
    assert len(read(file)) == len(whole.splitlines()) + 1
    assert '"loss": "nan"' in file.read_text()


def test_without_a_file(tmp_path: Path) -> None:
    done = table(tmp_path / "nowhere")
    assert (done.returncode, done.stdout, done.stderr) == (1, "no results\n", "")


def test_a_second_run_into_the_same_folder_is_shown_alone(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    for name, went in (("old", "failed"), ("new", "ok")):
        Results(file, PLAN).add("plan", stages=[name])
        Results(file, name).add("found", summary="something")
        Results(file, name).add("end", went=went, code=0, seconds=1)
    done = table(tmp_path)
    assert done.returncode == 0 and "old" not in done.stdout and "something" in done.stdout


def test_the_examples_of_the_docstrings() -> None:
    assert doctest.testmod(gpu_stages).failed == 0


def test_every_file_is_json_lines(tmp_path: Path) -> None:
    Results(tmp_path / "r", "x").add("y", values=[float("inf"), {"a": (1, float("nan"))}], path=Path("z"))
    assert json.loads((tmp_path / "r").read_text())["values"] == ["inf", {"a": [1, "nan"]}]
