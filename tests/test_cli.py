"""The command line, through real processes where it matters how they end, else in this one."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import gpubp as bp
from gpubp.cli.app import app

pytest.importorskip("sklearn")


def run(*arguments: object) -> Result:
    """The command in this process; gpubp's own errors arrive in `exception`."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def process(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gpubp", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Two classes that a line separates, as an .npz file with a test part."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = (X @ [1.0, -2.0, 0.5] > 0).astype(int)
    path = tmp_path / "points.npz"
    np.savez(path, X=X[:150], y=y[:150], X_test=X[150:], y_test=y[150:])
    return path


@pytest.fixture
def line(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 2))
    path = tmp_path / "line.npz"
    np.savez(path, X=X, y=X @ [3.0, -1.0] + 2.0)
    return path


def test_digits_reaches_what_the_readme_says(tmp_path: Path) -> None:
    done = process("train", "digits", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "device  cpu" in done.stdout and "10 classes" in done.stdout
    accuracy = float(done.stdout.split("test accuracy ")[1].split()[0])
    assert accuracy >= 0.97
    assert (tmp_path / "digits.safetensors").is_file() and "saved to digits.safetensors" in done.stdout
    assert done.stderr.count("epoch ") >= 5  # no terminal: plain lines, no bar
    judged = process("evaluate", "digits.safetensors", "digits", "--device", "cpu", cwd=tmp_path)
    assert f"accuracy {accuracy:.4f}" in judged.stdout


def test_classes_from_a_file_and_back(points: Path, tmp_path: Path) -> None:
    model, curve = tmp_path / "m.safetensors", tmp_path / "curve.png"
    options = ("--hidden", "8", "--epochs", "30", "--lr", "0.01", "--validation-fraction", "0.2", "--device", "cpu")
    done = run("train", points, *options, "--out", model, "--plot", curve)
    assert done.exit_code == 0, done.output
    assert "val_loss" in done.output and "test accuracy" in done.output
    assert curve.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and curve.stat().st_size > 10_000
    printed = run("predict", model, points, "--device", "cpu").output.splitlines()
    assert printed[0] == "row,prediction,probability" and len(printed) == 151
    network = bp.load(model, device="cpu")
    with np.load(points) as data:
        expected = network.predict(data["X"]).argmax(axis=1)
        assert (expected == data["y"]).mean() > 0.9
    assert [int(row.split(",")[1]) for row in printed[1:]] == expected.tolist()
    for ending in (".csv", ".npy", ".npz"):
        out = tmp_path / f"p{ending}"
        assert run("predict", model, points, "--out", out, "--device", "cpu").exit_code == 0
        assert out.stat().st_size > 0
    assert np.load(tmp_path / "p.npy").tolist() == expected.tolist()


def test_numbers_are_predicted_as_numbers(line: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    done = run("train", line, "--hidden", "", "--epochs", "60", "--lr", "0.1", "--out", model, "--device", "cpu")
    assert done.exit_code == 0, done.output
    report = run("evaluate", model, line, "--device", "cpu").output
    assert "mean_absolute_error 0.0" in report and "all rows" in report
    assert run("predict", model, line, "--device", "cpu").output.splitlines()[0] == "row,prediction"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "nowhere.npz"), "there is no file nowhere.npz"),
        (("train", "digits", "--out", "no/such/m.safetensors"), "there is no folder no/such"),
        (("train", "digits", "--out", "."), "is a folder"),
        (("train", "digits", "--plot", "curve.txt"), "must end in .png"),
        (("train", "digits", "--hidden", "12,x"), "not a list of whole numbers"),
        (("train", "digits", "--device", "tpu"), "there is no device 'tpu'"),
        (("train", "digits", "--epochs", "0"), "Invalid value for '--epochs'"),
        (("train", "text.npz"), "text.npz"),
        (("train", "nan.npz"), "row 1"),
        (("train", "fractions.npz", "--loss", "softmax"), "needs classes"),
        (("train", "mnist", "--data", "empty"), "empty"),
        (("predict", "nothing.safetensors", "text.npz"), "there is no file nothing.safetensors"),
        (("predict", "text.npz", "text.npz"), "text.npz"),
        (("predict", "plain.safetensors", "gone.npz"), "there is no file gone.npz"),
        (("predict", "plain.safetensors", "wide.npz"), "rows of shape (5,)"),
        (("evaluate", "plain.safetensors", "digits"), "which loss"),
        (("trian", "digits"), "No such command"),
    ],
)
def test_a_mistake_is_one_clear_message(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    """Exit code 2, the words on the error stream, no traceback, and no file written."""
    (tmp_path / "text.npz").write_text("this is no archive")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "nan.npz", X=[[1.0], [np.nan]], y=[0, 1])
    np.savez(tmp_path / "fractions.npz", X=[[1.0], [2.0]], y=[0.5, 1.5])
    np.savez(tmp_path / "wide.npz", X=np.zeros((2, 5)))
    bp.Network(bp.Dense(2), input_shape=3, device="cpu").save(tmp_path / "plain.safetensors")
    before = sorted(tmp_path.iterdir())
    done = process(*arguments, cwd=tmp_path)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert words in done.stderr and "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_ctrl_c_saves_what_was_learnt(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gpubp", "train", "digits", "--epochs", "100000", "--device", "cpu"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        while "network" not in running.stdout.readline():
            pass
        time.sleep(1.0)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted" in err and "Traceback" not in err and "saved to digits.safetensors" in out
    assert bp.load(tmp_path / "digits.safetensors", device="cpu").predict(np.zeros((1, 64))).shape == (1, 10)


def test_a_terminal_gets_a_progress_bar(points: Path, tmp_path: Path) -> None:
    above, below = pty.openpty()
    arguments = ("train", points, "--epochs", "5", "--device", "cpu", "--out", tmp_path / "m.safetensors")
    command = [sys.executable, "-m", "gpubp", *map(str, arguments)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=below, timeout=60, env=environment)
    os.close(below)
    seen = os.read(above, 65536).decode(errors="replace")
    os.close(above)
    assert done.returncode == 0
    assert "training" in seen and "100%" in seen and "loss" in seen


def test_without_click_the_command_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('gone', name='click')")
    done = process("train", "digits", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr == "gpubp: the command line needs click: pip install 'gpubp[cli]'\n"


def test_doctor_names_what_mends_it() -> None:
    report = run("doctor").output
    assert "NumPy" in report and "device cpu" in report and "CuPy" in report


def test_help_shows_examples() -> None:
    for command in ("train", "predict", "evaluate"):
        assert f"gpubp {command} " in run(command, "--help").output
