"""Results as JSON: one document on the output stream or in a file, with the documented fields."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run
from test_process import ended

import gpubp as bp
from gpubp.cli.json_output import document

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
CPU = "--device=cpu"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with points.npz, two classes called 3 and 7, and a network that knows them a little."""
    X = np.random.default_rng(0).normal(size=(250, 3))
    y = np.where(X @ [1.0, -2.0, 0.5] > 0, 7, 3)
    np.savez(tmp_path / "points.npz", X=X[:200], y=y[:200], X_test=X[200:], y_test=y[200:])
    monkeypatch.chdir(tmp_path)
    assert run("train", "points.npz", "--epochs=2", "--hidden=8", CPU, "--out=m.safetensors").exit_code == 0


@pytest.fixture
def exact(command: str) -> None:
    """exact.safetensors, where the command needs it, and Numba; for another, onnx."""
    if command == "search":
        pytest.importorskip("optuna")
    if command == "export":
        pytest.importorskip("onnx")
    if command == "verify":
        pytest.importorskip("numba")
        assert (
            run("train", "points.npz", "--exact", "--epochs=1", "--hidden=4", "--out=exact.safetensors").exit_code == 0
        )


def told(*arguments: object, code: int = 0) -> dict[str, Any]:
    """The document, which is all that stands on the output stream."""
    done = run(*arguments)
    assert done.exit_code == code, done.output
    found = json.loads(done.stdout)
    assert (found["gpubp"], found["command"]) == (bp.__version__, next(a for a in arguments if a in COMMANDS))
    assert done.stdout.count("\n") == 1 and "\x1b" not in done.stdout
    return found  # type: ignore[no-any-return]


COMMANDS = {
    "train": ("points.npz", "--epochs=2", "--hidden=8", CPU),
    "search": ("points.npz", "--trials=1", "--epochs=2", "--hidden=4", CPU),
    "evaluate": ("m.safetensors", "points.npz", CPU),
    "predict": ("m.safetensors", "points.npz", CPU),
    "inspect": ("m.safetensors",),
    "verify": ("exact.safetensors", CPU),
    "explain": ("m.safetensors", "points.npz"),
    "export": ("m.safetensors", "points.onnx"),
    "find-lr": ("points.npz", CPU),
    "doctor": (),
    "profile": ("points.npz", "--steps=2", CPU),
    "compare": ("points.npz", "--backends=cpu,cpu-float64", "--steps=2"),
}


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("command", COMMANDS)
def test_the_fields_are_those_of_the_documentation(command: str) -> None:
    found = told(command, *COMMANDS[command], "--json")
    section = re.search(rf"^## gpubp {command}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert section is not None
    listed = re.findall(r"^\| `(\w+)` \|", section[1], re.M)
    assert set(listed) == found.keys() - {"gpubp", "command"}
    people = run(command, *COMMANDS[command])
    assert people.exit_code == 0 and people.stdout.strip() and not people.stdout.startswith("{")


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_holds_the_same_document(command: str) -> None:
    done = run(command, *COMMANDS[command], "--json", "found.json")
    assert done.exit_code == 0 and "json     found.json" in done.stdout, done.output
    assert json.loads(Path("found.json").read_text()).keys() == told(command, *COMMANDS[command], "--json").keys()
    assert json.loads(Path("found.json").read_text())["command"] == command


def test_the_numbers_are_those_of_the_network() -> None:
    found = told("train", "points.npz", "--epochs=3", "--json", CPU, "--hidden=8", "--save-config=run.toml")
    net = bp.load("points.safetensors", device="cpu")
    with np.load("points.npz") as data:
        X, y, X_test, y_test = (data[name] for name in ("X", "y", "X_test", "y_test"))
    z = net.predict(X_test).astype(np.float64)
    right = np.array([3, 7])[z.argmax(axis=1)] == y_test
    assert found["model"] == "points.safetensors" and found["classes"] == [3, 7] and found["seconds"] > 0
    assert found["epochs"] == 3 == len(found["history"]["loss"]) and found["test"]["accuracy"] == right.mean()
    assert found["data"]["rows"] + found["data"]["validation_rows"] == len(X) and found["data"]["input_shape"] == [3]
    judged = told("evaluate", "points.safetensors", "points.npz", "--json", CPU)
    assert judged["metrics"] == found["test"]
    assert np.trace(judged["confusion"]) == right.sum() and judged["rows"] == len(right)
    z = net.predict(X).astype(np.float64)
    answers = told("--color", "always", "predict", "--json", "points.safetensors", "points.npz", CPU)
    assert answers["predictions"] == np.array([3, 7])[z.argmax(axis=1)].tolist() and answers["rows"] == len(y)
    assert np.allclose(answers["probabilities"], np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))
    written = told("predict", "points.safetensors", "points.npz", "--out=p.csv", "--json", CPU)
    assert written["out"] == "p.csv" and "predictions" not in written and Path("p.csv").exists()
    layers = told("inspect", "points.safetensors", "--json")["layers"]
    assert layers[0] == {"name": "0", "layer": "Dense(8)", "output": [32, 8], "parameters": 32}


def test_progress_and_notes_go_to_the_error_stream() -> None:
    done = run("train", "points.npz", "--epochs=2", "--hidden=8", "--device=auto", "--json")
    assert "device   " in done.stderr and "epoch 1/2" in done.stderr and "next     gpubp predict" in done.stderr


def test_an_error_is_a_line_and_no_document() -> None:
    for words in (("train", "nowhere.npz"), ("predict", "m.safetensors", "nowhere.npz"), ("train", "--nonsense")):
        done = run(*words, "--json")
        assert (done.exit_code, done.stdout) == (2, "") and done.stderr.count("\n") == 1, done.output
    both = run("predict", "m.safetensors", "points.npz", "--out=-", "--json")
    assert both.exit_code == 2 and "--out - and --json would both print" in both.stderr and both.stdout == ""


def test_a_failing_device_is_in_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubp.cli.commands.doctor._trained", lambda device: 1 / 0)
    found = told("doctor", "--json", code=1)
    assert found["ok"] is False and [f["what"] for f in found["findings"] if f["broken"]] == ["cpu"]


def test_an_interrupted_training_says_so() -> None:
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = [sys.executable, "-m", "gpubp", "train", "points.npz", "--epochs=100000", "--json", CPU]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": hears}
    with subprocess.Popen(command, text=True, **streams) as running:
        assert running.stderr is not None
        while not running.stderr.readline().startswith("epoch 1/"):
            pass
        running.send_signal(signal.SIGINT)
        out, err = ended(running)
    found = json.loads(out)
    assert running.returncode == 130 and found["interrupted"] and found["planned_epochs"] == 100000, err
    assert found["epochs"] == len(found["history"]["loss"]) == bp.load("points.safetensors").metadata["epochs"]


def test_the_document_of_a_finished_run() -> None:
    assert run("train", "points.npz", "--epochs=1", "--hidden=8", CPU, "--checkpoint-dir=a").exit_code == 0
    found = told("train", "--resume=a", "--json")
    assert found["trained"] is False and found["model"] == str(Path("points.safetensors").absolute())


def test_numbers_that_are_not_finite_are_null() -> None:
    assert document({"a": [np.float32(np.inf), np.nan], "b": np.eye(1), 3: Path("x")}) == (
        '{"a": [null, null], "b": [[1.0]], "3": "x"}'
    )


def test_a_file_without_the_ending_json_is_refused() -> None:
    done = run("compare", "--json", "found.txt")
    assert done.exit_code == 2 and "--json found.txt: the name must end in .json" in done.stderr
