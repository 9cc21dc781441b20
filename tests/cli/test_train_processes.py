"""`mpiexec -n 4 gpubp train`: the same model, one voice, and one end of all processes."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import run

import mpi_runs
from gpubp.cli import process, together
from gpubp.cli.commands import doctor

COMMAND = ("-m", "gpubp")
LONG = ("points.npz", "--epochs=60", "--batch-size=8", "--hidden=8", "--device=cpu", "--shards=4", "--seed=3")
WORDS = ("points.npz", "--epochs=4", "--hidden=8", "--device=cpu", "--shards=8", "--early-stopping=2", "--ensemble=2")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with points.npz: two classes, with rows to test with."""
    X = np.random.default_rng(0).normal(size=(300, 3))
    y = np.where(X @ [1.0, -2.0, 0.5] > 0, 7, 3)
    np.savez(tmp_path / "points.npz", X=X[:250], y=y[:250], X_test=X[250:], y_test=y[250:])
    monkeypatch.chdir(tmp_path)


def ended(count: int, *arguments: object) -> mpi_runs.Ended:
    return mpi_runs.run(count, *COMMAND, *arguments, GPUBP_PROCESSES_TIMEOUT="30")


def begun(count: int, *arguments: object) -> mpi_runs.Run:
    """A training whose first epoch has ended."""
    made = mpi_runs.Run(count, *COMMAND, "train", *arguments, GPUBP_PROCESSES_TIMEOUT="30")
    assert made.process.stderr is not None
    for line in made.process.stderr:
        if line.startswith("epoch 1/"):
            return made
    raise AssertionError(made.end())


def rank_of(pid: int) -> int | None:
    """The number of a process of `gpubp`, None for any other process of the run."""
    folder = Path(f"/proc/{pid}")
    if b"-m\0gpubp\0" not in (folder / "cmdline").read_bytes():
        return None
    found = re.search(rb"\0PMI_RANK=(\d+)\0", (folder / "environ").read_bytes())
    return int(found[1]) if found else None


# -- the same in any number of processes ------------------------------------------------------------------------------


@mpi_runs.needs_mpi
def test_the_model_and_what_is_said_do_not_depend_on_processes_and_workers() -> None:
    said = {}
    for workers in (1, 2):
        done = run("train", *WORDS, f"--workers={workers}", f"--out=workers-{workers}.safetensors")
        assert done.exit_code == 0, done.output
        said[f"workers-{workers}"] = done.stdout
    for count in (2, 4):
        many = ended(count, "train", *WORDS, f"--out=processes-{count}.safetensors", f"--json={count}.json")
        assert many.code == 0, many
        said[f"processes-{count}"] = many.output
        assert re.findall(r"^shared +(.*)$", many.output, re.M) == [f"by {count} processes, {8 // count} shards each"]
        assert many.errors.count("network 1 of 2, seed 0") == 1, many.errors
        told = json.loads(Path(f"{count}.json").read_text())
        assert (told["processes"], told["shards"]) == (count, 8)
    models = {Path(f"{name}.safetensors").read_bytes() for name in said}
    assert len(models) == 1
    own = re.compile(r"^(shared|json|trained in) .*\n?", re.M)
    assert len({own.sub("", text.replace(f"{name}.", "MODEL.")) for name, text in said.items()}) == 1
    assert sorted(os.listdir()) == sorted([*(f"{name}.safetensors" for name in said), "2.json", "4.json", "points.npz"])


@mpi_runs.needs_mpi
def test_ctrl_c_saves_the_model_and_another_number_of_processes_goes_on() -> None:
    assert run("train", *LONG, "--out=whole.safetensors").exit_code == 0
    training = begun(2, *LONG, "--out=m.safetensors", "--checkpoint-dir=a", "--checkpoint-every=10", "--log=a.csv")
    training.process.send_signal(signal.SIGINT)
    done = training.end()
    assert done.code == 130, done
    assert done.errors.count("what was learnt so far is saved") == 1 and "Traceback" not in done.errors
    assert done.errors.count("gpubp train --resume a") == 1
    assert len(re.findall(r"^model +m\.safetensors", done.output, re.M)) == 1, done
    arguments = json.loads(Path("a/run.json").read_text())["arguments"]
    assert "--shards=4" in arguments and not any("workers" in word for word in arguments)
    lines = Path("a.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", *map(str, range(1, len(lines)))]
    again = run("train", "--resume=a", "--workers=2")
    assert again.exit_code == 0 and "going on from step" in again.stderr, again.output
    assert Path("m.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


# -- how it ends ------------------------------------------------------------------------------------------------------


@mpi_runs.needs_mpi
def test_a_mistake_of_all_is_printed_once() -> None:
    done = ended(3, "train", "nothing.npz")
    told = "gpubp: there is no file nothing.npz; give digits, mnist or the path of an .npz file, or of a table\n"
    assert done == (2, "", told)


@mpi_runs.needs_mpi
@pytest.mark.parametrize("rank", [0, 1])
def test_a_mistake_of_one_process_is_printed_once(rank: int) -> None:
    program = (
        "import os, sys\nfrom gpubp.cli import main\n"
        f"data = 'other.npz' if os.environ['PMI_RANK'] == '{rank}' else 'points.npz'\n"
        "sys.argv = ['gpubp', 'train', data]\nmain()"
    )
    done = mpi_runs.run(2, "-c", program)
    assert done.code == 2 and "Traceback" not in done.errors, done
    where = r" \(process 1 of 2 on \S+\)" if rank else ""
    assert len(re.findall(rf"^gpubp: there is no file other.npz; .* of a table{where}$", done.errors, re.M)) == 1, done
    assert done.errors.count("there is no file") == 1


@mpi_runs.needs_mpi
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets us see processes of others")
def test_a_killed_process_is_named() -> None:
    training = begun(2, *LONG[:1], "--epochs=100000", *LONG[2:])
    os.kill(next(pid for pid in training.left() if rank_of(pid) == 1), signal.SIGKILL)
    done = training.end()
    assert done.code and "Traceback" not in done.errors, done
    assert re.findall(r"^process (\d) of 2 \(pid \d+\) on \S+ was killed", done.errors, re.M) == ["1"], done.errors
    assert os.listdir() == ["points.npz"]


@mpi_runs.needs_mpi
def test_a_folder_that_holds_a_run_is_refused_once() -> None:
    """What process 0 alone looks at."""
    assert run("train", "points.npz", "--epochs=1", "--hidden=8", "--checkpoint-dir=a").exit_code == 0
    done = ended(2, "train", "points.npz", "--checkpoint-dir=a")
    assert done.code == 2 and "Abort" not in done.errors, done
    assert done.errors.count("gpubp:") == done.errors.count("--checkpoint-dir a holds a training") == 1, done.errors


# -- what a launcher says, without one --------------------------------------------------------------------------------


@pytest.fixture
def rank(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """This process is this one of four, by its environment."""
    number: int = request.param
    monkeypatch.setattr(process, "muted", False)
    for name, value in {"PMI_RANK": number, "PMI_SIZE": 4, "MPI_LOCALNRANKS": 4}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("GPUBP_PROCESS", raising=False)
    return number


@pytest.mark.parametrize("rank", [0, 3], indirect=True)
@pytest.mark.parametrize("arguments", [("predict", "m", "d"), ("evaluate", "m", "d"), ("profile", "digits")])
def test_other_commands_work_in_one_process(rank: int, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    told = f"gpubp: gpubp {arguments[0]} works in one process; start it without mpiexec\n"
    assert (done.exit_code, done.output) == (2, told if rank == 0 else "")


@pytest.mark.parametrize("rank", [0, 3], indirect=True)
@pytest.mark.parametrize("arguments", [("--version",), ("help", "train"), ("train", "--help"), ("completion", "bash")])
def test_what_only_tells_something_is_told_once(rank: int, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.exit_code == 0 and bool(done.output) == (rank == 0)


@pytest.mark.parametrize("rank", [3], indirect=True)
def test_a_mistake_before_the_start_is_printed_by_process_0(rank: int) -> None:
    done = run("trian")
    assert (done.exit_code, done.output) == (2, "")


def test_a_program_without_a_launcher_leads() -> None:
    assert together.leads() and together.goes_on_alone() and together.count() == 1 and together.hosts() == 1
    assert together.first(lambda: 3) == together.same(3) == together.least(3) == 3


# -- gpubp doctor -----------------------------------------------------------------------------------------------------


@mpi_runs.needs_mpi
def test_doctor_names_the_mpi() -> None:
    found = doctor._mpi()
    assert found.what == "mpi4py" and re.match(r"(MPICH|Open MPI|Intel)\S* .*\d", found.note) and not found.broken


def test_doctor_without_an_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "4.1")
    monkeypatch.setattr(doctor, "MPI", "raise RuntimeError('cannot load MPI library')")
    assert "finds no MPI that works" in doctor._mpi().note
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    assert "pip install 'gpubp[mpi]' mpich" in doctor._mpi().note
