"""The study of `gpubp search`: files and databases, searches that go on, several processes, and signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from search_data import QUICK, searched, write_noise

from gpubp.cli.search.loop import tried
from gpubp.cli.search.processes import PARENT, Processes
from gpubp.cli.search.study import Worker, free_left_behind, open_study, quiet

optuna = pytest.importorskip("optuna")
pytest.importorskip("pyarrow")
pytestmark = pytest.mark.usefixtures("empty_folder")
NOISE = ("noise.csv", "--target=y")


@pytest.fixture(autouse=True)
def noise(empty_folder: None) -> None:
    write_noise("noise.csv", 60)


def study_in(path: str) -> Any:
    with quiet():
        backend = optuna.storages.journal.JournalFileBackend(path)
        return optuna.load_study(study_name="gpubp search", storage=optuna.storages.JournalStorage(backend))


def begin(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gpubp", "search", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(what: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("place", ["s.log", "sqlite:///s.db"])
def test_a_search_goes_on_as_if_it_had_not_ended(place: str) -> None:
    whole = searched(*NOISE, "--trials=4", *QUICK)["trials"]
    searched(*NOISE, "--trials=2", f"--study={place}", *QUICK)
    done = run("search", *NOISE, "--trials=4", f"--study={place}", "--json=again.json", *QUICK)
    assert f"going on with 2 trials of {place}" in done.output
    again = json.loads(Path("again.json").read_text())["trials"]
    assert [(t["settings"], t["score"]) for t in again] == [(t["settings"], t["score"]) for t in whole]


def test_a_finished_study_gives_the_model_again_without_a_trial() -> None:
    first = searched(*NOISE, "--trials=3", "--study=s.log", *QUICK)
    again = searched(*NOISE, "--trials=3", "--study=s.log", "--out=again.safetensors", *QUICK)
    assert again["trials"] == first["trials"]
    assert Path("again.safetensors").read_bytes() == Path("noise.safetensors").read_bytes()


def test_a_killed_trial_is_tried_again() -> None:
    words = (*NOISE, "--hidden=64,64", "--epochs=100000", "--study=s.log", "--device=cpu")
    running = begin(*words)
    wait_for(lambda: Path("s.log").exists() and b'"alive"' in Path("s.log").read_bytes())
    wait_for(lambda: not os.path.lexists("s.log.lock"))  # else another process would wait for it
    running.kill()
    running.communicate()
    assert [trial.state for trial in tried(study_in("s.log"))] == ["running"]
    with quiet():
        study = study_in("s.log")
        assert free_left_behind(study, Worker()) == 1
    again = [trial for trial in study.get_trials() if trial.state.name == "WAITING"]
    assert [trial.system_attrs["fixed_params"] for trial in again] == [study.get_trials()[0].params]
    assert again[0].user_attrs["tries"] == 2


def test_a_trial_that_ended_two_processes_is_not_tried_again() -> None:
    with quiet():
        study = open_study(None, {"rows": "1"}, False, 0)
        study.enqueue_trial({"x": 1.0}, user_attrs={"tries": 2})
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.set_user_attr("process", {"host": Worker().host, "pid": 1 << 22, "began": "1"})
        assert free_left_behind(study, Worker()) == 1
        assert [t.state.name for t in study.get_trials()] == ["FAIL"]


def test_trials_of_processes_that_live_are_left_alone() -> None:
    with quiet():
        study = open_study(None, {"rows": "1"}, False, 0)
        worker = Worker()
        here, elsewhere, silent = study.ask(), study.ask(), study.ask()
        worker.takes(here)
        for trial, alive in ((elsewhere, time.time() - 60), (silent, time.time() - 3600)):
            trial.set_user_attr("process", {"host": "elsewhere", "pid": os.getpid(), "began": "1"})
            trial.set_user_attr("alive", alive)
        assert free_left_behind(study, worker) == 1
        assert [t.state.name for t in study.get_trials()] == ["RUNNING", "RUNNING", "FAIL"]


def test_an_interrupt_saves_the_best_so_far() -> None:
    running = begin(*NOISE, "--trials=100000", "--study=s.log", *QUICK)
    wait_for(lambda: Path("s.log").exists() and len([t for t in tried(study_in("s.log")) if t.state == "finished"]) > 1)
    running.send_signal(signal.SIGINT)
    told, _ = running.communicate(timeout=300)
    assert running.returncode == 130, told
    assert "interrupted; the best so far and the default are trained on all rows" in told
    assert Path("noise.safetensors").exists()
    assert "running" not in [trial.state for trial in tried(study_in("s.log"))]


def test_an_interrupt_before_a_trial_has_ended_saves_nothing() -> None:
    running = begin(*NOISE, "--epochs=100000", "--study=s.log", "--device=cpu")
    wait_for(lambda: Path("s.log").exists() and b'"alive"' in Path("s.log").read_bytes())
    running.send_signal(signal.SIGINT)
    told, _ = running.communicate(timeout=300)
    assert running.returncode == 130, told
    assert "interrupted; nothing is saved" in told
    assert not Path("noise.safetensors").exists()
    states = [trial.state.name for trial in study_in("s.log").get_trials()]
    assert states[0] == "FAIL" and "WAITING" in states and "RUNNING" not in states


def test_two_processes_share_a_study() -> None:
    words = (*NOISE, "--trials=8", "--study=s.log", *QUICK)
    both = [begin(*words, f"--out={k}.safetensors") for k in range(2)]
    told = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    trials = tried(study_in("s.log"))
    assert sum(trial.state in ("finished", "pruned") for trial in trials) in (8, 9)
    told_settings = [json.dumps(trial.params, sort_keys=True) for trial in trials[3:]]
    assert len(set(told_settings)) > len(told_settings) // 2
    assert Path("0.safetensors").read_bytes() == Path("1.safetensors").read_bytes()


def test_processes_of_one_command_search_at_once() -> None:
    told = searched(*NOISE, "--trials=8", "--parallel=2", *QUICK)
    states = [trial["state"] for trial in told["trials"]]
    assert states.count("finished") + states.count("pruned") in (8, 9)
    assert Path("noise.safetensors").exists()
    assert sorted(path.name for path in Path().iterdir()) == ["noise.csv", "noise.safetensors", "s.json"]


def test_a_process_whose_parent_has_gone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT, "1" if os.getppid() != 1 else "2")
    done = run("search", *NOISE, "--study=s.log", *QUICK)
    assert done.exit_code == 0
    assert done.output == ""
    assert not tried(study_in("s.log"))


def test_a_process_that_fails_says_why() -> None:
    import click

    processes = Processes(["search", "nowhere.csv", "--target=y"], 1)
    processes.begin()
    with quiet(), pytest.raises(click.ClickException, match="a process of --parallel failed: gpubp: there is no file"):
        processes.watch(open_study(None, {"rows": "1"}, False, 0), lambda trial, done: None)


def refused(*words: object) -> str:
    done = run("search", *NOISE, "--trials=2", *words, *QUICK)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    return str(done.output)


def test_a_study_of_other_rows_or_options_is_refused_in_words() -> None:
    searched(*NOISE, "--trials=2", "--study=s.log", *QUICK)
    assert "a search with --seed 0, and this one has --seed 1" in refused("--study=s.log", "--seed=1")
    assert "a search with --metric loss, and this one has --metric mae" in refused("--study=s.log", "--metric=mae")
    assert "a search with --lr None, and this one has --lr 0.1" in refused("--study=s.log", "--lr=0.1")
    write_noise("noise.csv", 62)
    told = refused("--study=s.log")
    assert "s.log is of other rows than these; it has 2 trials" in told


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\n", "is another file, and no study of Optuna"),
        (b"\x00\xff" * 100, "is another file, and no study of Optuna"),
        (b"[" * 100_000, "is another file, and no study of Optuna"),
        (b'{"op_code": 0}\n', "can't be used"),
        (b'{"op_code": "x", "worker_id": 3}\n{}\n', "can't be used"),
        (b'{"op_code": 0, "worker_id": "w", "study_name": "gpubp search", "directions": [7]}\n', "can't be used"),
    ],
)
def test_a_file_that_is_no_study_is_refused_and_left_as_it_is(content: bytes, words: str) -> None:
    Path("s.log").write_bytes(content)
    assert words in refused("--study=s.log")
    assert Path("s.log").read_bytes().startswith(content)


def test_a_last_line_that_was_not_written_to_its_end_is_cut_off() -> None:
    first = searched(*NOISE, "--trials=2", "--study=s.log", *QUICK)["trials"]
    with open("s.log", "ab") as file:
        file.write(b'{"op_code":4,"wor')
    again = searched(*NOISE, "--trials=3", "--study=s.log", *QUICK)["trials"]
    assert again[:2] == first


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--study=redis://localhost",), "can't be a Redis server"),
        (("--study=sqlite:////nowhere/at/all.db",), "can't be used"),
        (("--study=bogus://x",), "can't be used"),
        (("--study=noise.csv",), "would write over noise.csv"),
        (("--study=no/such/s.log",), "there is no folder no/such"),
        (("--out=no/such/m.safetensors",), "there is no folder no/such; make it first"),
        (("--plot=t.txt",), "must end in .png or .svg or .pdf"),
        (("--report=t.txt",), "must end in .html or .htm"),
        (("--timeout=0",), "'0' is no time above 0, such as 90s, 10m or 1h30m"),
        (("--timeout=0s",), "'0s' is no time above 0"),
        (("--timeout=soon",), "'soon' is no time"),
        (("--timeout=3000",), "'3000' is no time"),
        (("--trials=0",), "Invalid value for '--trials'"),
        (("--parallel=0",), "Invalid value for '--parallel'"),
        (("--metric=accuracy",), "--metric accuracy does not go with y as a number: give loss, mse or mae"),
        (("--l2=auto",), "leave out --l2 auto"),
        (("--test-fraction=0.01",), "of them to test with"),
    ],
)
def test_mistakes_are_told_before_the_search(words: tuple[str, ...], told: str) -> None:
    assert told in refused(*words)
    assert [path.name for path in Path().iterdir()] == ["noise.csv"]


def test_too_few_rows_or_one_class_are_told() -> None:
    write_noise("ten.csv", 10)
    done = run("search", "ten.csv", "--target=y")
    assert done.exit_code == 2
    assert "a search needs at least 40 rows" in done.output
    Path("one.csv").write_text("a,y\n" + "".join(f"{k},yes\n" for k in range(100)))
    done = run("search", "one.csv", "--target=y")
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    done = run("search", "-", "--target=y")
    assert "standard input can be read once only" in done.output


def test_without_optuna_the_command_that_mends_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = run("search", *NOISE)
    assert done.exit_code == 2
    assert "pip install 'gpubp[search]'" in done.output


@pytest.mark.parametrize("params", [{}, {"activation": "gelu"}, {"activation": 10**30}, {"batch_size": 10**9}])
def test_trials_with_settings_that_no_search_tries_are_refused(params: dict[str, Any]) -> None:
    searched(*NOISE, "--trials=1", "--study=s.log", *QUICK)
    with quiet():
        study = study_in("s.log")
        whole = study.get_trials()[0].params if params else {}
        distributions = {k: optuna.distributions.CategoricalDistribution([v]) for k, v in (whole | params).items()}
        study.add_trial(optuna.trial.create_trial(params=whole | params, distributions=distributions, value=0.0))
    assert "trial 1 has settings that no search tries" in refused("--study=s.log")


def test_a_trial_that_was_killed_among_its_settings_does_no_harm() -> None:
    pytest.importorskip("jinja2")
    searched(*NOISE, "--trials=1", "--study=s.log", *QUICK)
    with quiet():
        study = study_in("s.log")
        trial = study.ask()
        trial.suggest_categorical("activation", ("relu", "silu", "tanh"))
        trial.set_user_attr("process", {"host": Worker().host, "pid": 1 << 22, "began": "1"})
    told = searched(*NOISE, "--trials=3", "--study=s.log", "--report=r.html", *QUICK)
    assert [trial["state"] for trial in told["trials"][:2]] == ["finished", "failed"]
    assert told["trials"][2]["settings"]["activation"] == told["trials"][1]["settings"]["activation"]


def test_settings_that_can_not_be_trained_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpubp.cli.search.training import TrialRunner
    from gpubp.errors import ShapeError

    run_as_ever = TrialRunner.run

    def run_but_silu(self: Any, settings: Any, *more: Any) -> Any:
        if settings.activation != "relu":
            raise ShapeError("it does not fit")
        return run_as_ever(self, settings, *more)

    monkeypatch.setattr(TrialRunner, "run", run_but_silu)
    told = searched(*NOISE, "--trials=6", *QUICK)
    assert {t["why"] for t in told["trials"] if t["settings"]["activation"] != "relu"} == {"it does not fit"}
