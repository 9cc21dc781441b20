"""The command line: what it prints, writes and answers, and that each mistake is one line and the right exit code.

In this process where that shows all, else as a process of its own; on a terminal of its own for the progress bar.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import gpubp as bp
from gpubp.cli.app import app
from gpubp.cli.defaults import ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES, Pace
from gpubp.cli.task import Task
from gpubp.datasets import Dataset
from gpubp.errors import DataError

pytest.importorskip("sklearn")

CPU = ("--device", "cpu")
SMALL = ("--hidden", "8", "--epochs", "3", *CPU)


def run(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def process(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gpubp", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]


def accuracy_in(text: str) -> float:
    found = re.search(r"accuracy (\d\.\d+)", text)
    assert found, text
    return float(found[1])


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Two classes, called 3 and 7, that a line separates, as an .npz file with a test part."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = np.where(X @ [1.0, -2.0, 0.5] > 0, 7, 3)
    path = tmp_path / "points.npz"
    np.savez(path, X=X[:150], y=y[:150], X_test=X[150:], y_test=y[150:])
    return path


@pytest.fixture
def line(tmp_path: Path) -> Path:
    """Numbers on a plane, without a test part."""
    X = np.random.default_rng(0).normal(size=(100, 2))
    path = tmp_path / "line.npz"
    np.savez(path, X=X, y=X @ [3.0, -1.0] + 2.0)
    return path


# -- what the README says ---------------------------------------------------------------------------------------------


def test_digits_reaches_what_the_readme_says(tmp_path: Path) -> None:
    done = process("train", "digits", *CPU)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("device   cpu (") and "10 classes" in done.stdout
    assert "1,293 rows to train with, 144 to validate with, 360 to test with" in done.stdout
    table = done.stdout[done.stdout.index("epoch ") :].splitlines()
    assert re.split(r"\s{2,}", table[0].strip()) == [
        "epoch", "loss", "accuracy", "validation loss", "validation accuracy"
    ]  # fmt: skip
    assert [int(row.split()[0]) for row in table[1:11]][::9] == [1, 49] and table[11] == ""
    accuracy = accuracy_in(done.stdout[done.stdout.index("test accuracy") :])
    assert accuracy >= 0.975
    assert "model    digits.safetensors" in done.stdout and "gpubp predict digits.safetensors digits" in done.stdout
    assert done.stderr.count("epoch ") == 11 and "\x1b" not in done.stdout + done.stderr  # plain, as it is no terminal
    judged = run("evaluate", "digits.safetensors", "digits", *CPU).output
    assert f"test accuracy {accuracy:.4f}" in judged and len(re.findall(r"^\d +3\d ", judged, re.M)) == 10
    again = run("train", "digits", *CPU).output
    assert "in place of an older file" in again and f"test accuracy {accuracy:.4f}" in again  # the same, bit for bit


@pytest.mark.parametrize("seed", [1, 2])
def test_other_seeds_reach_it_too(seed: int) -> None:
    output = run("train", "digits", "--seed", seed, *CPU).output
    assert accuracy_in(output[output.index("test accuracy") :]) >= 0.97


def test_mnist_is_read_from_the_folder_given(tmp_path: Path) -> None:
    from test_datasets import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, idx

    rng = np.random.default_rng(0)
    for images, labels, n in ((TRAIN_IMAGES, TRAIN_LABELS, 300), (TEST_IMAGES, TEST_LABELS, 20)):
        y = (np.arange(n) % 3).astype("u1")
        pixels = rng.integers(0, 50, size=(n, 4, 5), dtype="u1") + (y * 80)[:, None, None]
        (tmp_path / images).write_bytes(idx(pixels.astype("u1")))
        (tmp_path / labels).write_bytes(idx(y))
    done = run("train", "mnist", "--data", tmp_path, "--epochs", 60, "--hidden", "16", *CPU)
    assert done.exit_code == 0, done.output
    assert "rows of 4 x 5 numbers, 3 classes" in done.output and "test accuracy 1.0000" in done.output
    judged = run("evaluate", "mnist.safetensors", "mnist", "--data", tmp_path, *CPU)
    assert "test accuracy 1.0000" in judged.output
    assert "--data says where MNIST lies" in run("train", "digits", "--data", tmp_path).output


# -- files in, files out ----------------------------------------------------------------------------------------------


def test_classes_from_a_file_and_back(points: Path) -> None:
    done = run("train", points, "--hidden", "8", "--epochs", 60, "--plot", "curve.png", *CPU)
    assert done.exit_code == 0, done.output
    assert accuracy_in(done.output[done.output.index("test accuracy") :]) > 0.9
    assert Path("curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and Path("curve.png").stat().st_size > 10_000
    network = bp.load("points.safetensors", device="cpu")
    assert network.metadata["classes"] == [3, 7] and network.metadata["gpubp"] == bp.__version__
    with np.load(points) as data:
        z = network.predict(data["X"]).astype(np.float64)
    expected = np.array([3, 7])[z.argmax(axis=1)]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    for out in ("p.npy", "p.npz", "p.csv"):
        assert f"150 predictions in {out}" in run("predict", "points.safetensors", points, "--out", out, *CPU).output
    assert np.array_equal(np.load("p.npy"), expected)
    with np.load("p.npz") as written:
        assert np.array_equal(written["prediction"], expected) and written["probability"] == pytest.approx(p)
    lines = Path("p.csv").read_text().splitlines()
    assert lines[0] == "prediction,probability" and [int(row.split(",")[0]) for row in lines[1:]] == expected.tolist()
    assert lines[1].split(",")[1] == f"{p[0].max():.4f}"
    assert run("predict", "points.safetensors", points, "--out", "-", *CPU).output == Path("p.csv").read_text()
    shown = run("predict", "points.safetensors", points, *CPU).output
    assert "and 140 more rows" in shown and f"{p[9].max():.4f}" in shown
    np.save("rows.npy", np.load(points)["X"])
    run("predict", "points.safetensors", "rows.npy", "--out", "q.csv", *CPU)
    assert Path("q.csv").read_text() == Path("p.csv").read_text()
    judged = run("evaluate", "points.safetensors", points, *CPU).output
    assert "50 test rows" in judged and re.search(r"^7 +\d+ ", judged, re.M)
    assert not [name for name in os.listdir() if name.startswith(".")]  # no temporary file stays behind


def test_numbers_are_predicted_as_numbers(line: Path) -> None:
    done = run("train", line, "--hidden", "none", "--epochs", 60, "--lr", "0.1", *CPU)
    assert done.exit_code == 0, done.output
    assert "1 number to predict" in done.output and "nothing is known of rows it was not trained with" in done.output
    report = run("evaluate", "line.safetensors", line, *CPU).output
    assert "100 rows" in report and "accuracy" not in report
    found = re.search(r"mean squared error (\S+), mean absolute error (\S+),", report)
    assert found and float(found[1]) < 1e-4 and float(found[2]) < 1e-2
    run("predict", "line.safetensors", line, "--out", "p.csv", *CPU)
    with np.load(line) as data:
        predicted = np.loadtxt("p.csv", skiprows=1)
        assert predicted == pytest.approx(data["y"], abs=0.05)


def test_labels_are_predicted_one_by_one(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(120, 2))
    np.savez("labels.npz", X=X, y=(X > 0).astype(int))
    done = run("train", "labels.npz", "--hidden", "none", "--epochs", 100, "--lr", "0.1", *CPU)
    assert done.exit_code == 0 and "2 labels, yes or no each" in done.output, done.output
    run("predict", "labels.safetensors", "labels.npz", "--out", "p.csv", *CPU)
    lines = Path("p.csv").read_text().splitlines()
    assert lines[0] == "prediction_0,prediction_1,probability_0,probability_1"
    said = np.loadtxt(lines[1:], delimiter=",")
    assert ((said[:, :2] > 0) == (X > 0)).mean() > 0.97 and np.array_equal(said[:, :2] > 0, said[:, 2:] > 0.5)


def test_a_model_from_python_predicts_its_outputs(tmp_path: Path) -> None:
    network = bp.Network(bp.Dense(2), input_shape=3, device="cpu")
    network.save("plain.safetensors")
    np.savez("rows.npz", X=np.eye(3), y=np.zeros((3, 2)))
    run("predict", "plain.safetensors", "rows.npz", "--out", "p.npy", *CPU)
    assert np.load("p.npy") == pytest.approx(network.predict(np.eye(3)))
    assert (
        "does not say what it was trained for: give --loss"
        in run("evaluate", "plain.safetensors", "rows.npz", *CPU).output
    )
    told = run("evaluate", "plain.safetensors", "rows.npz", "--loss", "mse", *CPU)
    assert told.exit_code == 0 and "mean squared error" in told.output


@pytest.mark.parametrize("option", ["activation", "optimizer", "schedule", "loss"])
def test_every_word_offered_is_understood(option: str, points: Path, line: Path) -> None:
    words = {"activation": ACTIVATIONS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES, "loss": LOSSES}[option]
    assert len(words) >= 3
    np.savez("yes_or_no.npz", X=np.eye(4), y=[0, 1, 1, 0])
    for word in words:
        data = points if option != "loss" else line if LOSSES[word].predicts == "numbers" else "yes_or_no.npz"
        done = run("train", data, f"--{option}", word, *SMALL)
        assert done.exit_code == 0, done.output


def test_options_reach_the_training(points: Path) -> None:
    options = ("--l2", "0.5", "--clip-norm", "1", "--dtype", "float64", "--batch-size", "150", "--label-smoothing", "0")
    done = run("train", points, *SMALL, *options, "--optimizer", "sgd", "--schedule", "constant", "--lr", "0.5")
    assert "SoftmaxCrossEntropy(), SGD(0.5, momentum=0.9), 3 epochs of 1 steps of 150 rows" in done.output
    assert "float64" in done.output and bp.load("points.safetensors", device="cpu").dtype == np.float64
    first = float(re.search(r"^ +1 +(\d\.\d+)", done.output, re.M)[1])  # type: ignore[index]
    plain = run("train", points, *SMALL, *options[2:], "--optimizer", "sgd", "--schedule", "constant", "--lr", "0.5")
    without = float(re.search(r"^ +1 +(\d\.\d+)", plain.output, re.M)[1])  # type: ignore[index]
    assert first > without + 1  # the penalty is part of the loss


def test_early_stopping_with_and_without_a_number(points: Path) -> None:
    long = ("--epochs", "400", "--lr", "0.1", "--validation-fraction", "0.3", *CPU)
    done = run("train", points, *long, "--early-stopping", "2")
    assert re.search(r"no gain for 2 epochs: stopped after epoch (\d+), kept epoch (\d+)", done.output), done.output
    assert "validation loss" in done.output
    assert "no gain for 10 epochs" in run("train", points, *long, "--early-stopping").output
    wrong = run("train", "--early-stopping", points)
    assert wrong.exit_code == 2 and "write --early-stopping=10, or put it last" in wrong.output


def test_the_defaults_follow_the_rows() -> None:
    assert [Pace.of(n).epochs for n in (4, 1437, 60_000)] == [500, 49, 10]
    assert [Pace.of(n).batch_size for n in (4, 1437, 60_000)] == [4, 32, 128]
    for rows, fraction in ((10, 0.25), (1437, 0.1), (2, 0.9), (7, 0.5)):  # as the trainer will hold them out
        from gpubp.data.checks import split

        assert Pace.of(rows, fraction).rows == len(split(rows, fraction, 0)[0])


@pytest.mark.parametrize(
    ("y", "kind", "outputs"),
    [
        ([0, 1, 2, 1], "classes", 3),
        ([[5], [9], [5], [5]], "classes", 2),
        ([True, False, True, True], "classes", 2),
        ([[0, 1], [1, 0], [0, 1], [0, 1]], "classes", 2),  # one-hot
        ([[0, 1], [1, 1], [0, 0], [0, 1]], "labels", 2),
        ([[4, 1], [7, 0], [0, 1], [0, 1]], "numbers", 2),
        ([0.5, 1.0, 2.0, 3.0], "numbers", 1),
        ([[0.0, 1.0]] * 4, "numbers", 2),
    ],
)
def test_the_task_is_read_from_y(y: list, kind: str, outputs: int) -> None:
    task = Task.infer(Dataset("d", np.zeros((4, 2)), np.array(y)), None)
    assert (task.kind, task.outputs) == (kind, outputs)


def test_what_y_could_mean_twice_is_asked() -> None:
    prices = Dataset("d", np.zeros((100, 2)), np.arange(100))
    with pytest.raises(DataError, match="100 different whole numbers in 100 rows.*--loss mse or --loss softmax"):
        Task.infer(prices, None)
    assert Task.infer(prices, "mse").kind == "numbers" and Task.infer(prices, "softmax").outputs == 100


# -- mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES = [
    (("train", "nowhere.npz"), "there is no file nowhere.npz"),
    (("train", "cifar"), "there is no data set or file cifar; give digits, mnist or"),
    (("train",), "Missing argument"),
    (("train", "text.npz"), "text.npz is not an .npz file"),
    (("train", "nan.npz"), "first in row 1"),
    (("train", "one.npz"), "y holds the class 4 and no other"),
    (("train", "fractions.npz", "--loss", "softmax"), "y holds 0.5, 1.5, and classes are whole numbers"),
    (("train", "fractions.npz", "--label-smoothing", "0.1"), "--label-smoothing goes with --loss softmax"),
    (("train", "test.npz", "--loss", "binary"), "in the test part, BinaryCrossEntropy needs targets between 0 and 1"),
    (("train", "mnist", "--data", "empty"), "empty lacks train-images"),
    (("train", "digits", "--out", "no/such/m.safetensors"), "there is no folder no/such; make it first"),
    (("train", "digits", "--out", "."), "is a folder"),
    (("train", "digits", "--out", "new/"), "is a folder"),
    (("train", "nan.npz", "--out", "nan.npz"), "would write over nan.npz"),
    (("train", "digits", "--plot", "curve.txt"), "must end in .png or .svg or .pdf"),
    (("train", "digits", "--plot", "a.png", "--out", "a.png"), "would write over a.png"),
    (("train", "digits", "--hidden", "12,x"), "'12,x' is no list of numbers of units"),
    (("train", "digits", "--hidden", "12,0"), "'12,0' is no list"),
    (("train", "digits", "--device", "tpu"), "there is no device 'tpu'"),
    (("train", "digits", "--epochs", "0"), "Invalid value for '--epochs'"),
    (("train", "digits", "--lr", "nan"), "nan is not a number above 0"),
    (("train", "digits", "--lr", "fast"), "'fast' is not a number"),
    (("train", "digits", "--validation-fraction", "1"), "1 is not a number from 0 and below 1"),
    (("train", "digits", "--activation", "swish"), "'swish' is not one of"),
    (("train", "digits", "--hiden", "3"), "--hidden"),
    (("trian", "digits"), "No such command 'trian'"),
    (("predict", "nothing.safetensors", "wide.npz"), "there is no file nothing.safetensors"),
    (("predict", "text.safetensors", "wide.npz"), "no whole safetensors file"),
    (("predict", "wide.npz", "plain.safetensors"), "first comes the model"),
    (("predict", "plain.safetensors", "gone.npz"), "there is no file gone.npz"),
    (("predict", "plain.safetensors", "wide.npz"), "rows of shape (5,), and the network takes rows of shape (3,)"),
    (("predict", "plain.safetensors", "text.npy"), "text.npy is not an .npy file"),
    (("predict", "plain.safetensors", "rows.npy", "--out", "p.txt"), "must end in .csv or .npy or .npz"),
    (("predict", "plain.safetensors", "rows.npy", "--out", "rows.npy"), "would write over rows.npy"),
    (("predict", "odd.safetensors", "rows.npy"), "the classes of its 2 outputs are given as [1]"),
    (("evaluate", "plain.safetensors", "digits"), "give --loss"),
    (("evaluate", "told.safetensors", "strange.npz"), "y holds 9, and the network knows the classes 0, 1"),
    (("train", "empty"), "empty is a folder; give digits, mnist or"),
    (("train", ""), "there is no data set or file ''"),
    (("train", "test.npz", "--freeze", "*"), "--freeze * leaves nothing to train"),
    (("train", "rows.npz", "--from", "plain.safetensors"), "missing in the file: 0.W"),
    (("train", "test.npz", "--epochs", "1.5"), "'1.5' is not a valid whole number"),
    (("train", "test.npz", "--config"), "'--config' requires an argument. See gpubp train --help"),
    (("train", "test.npz", "--resume"), "'--resume' requires an argument. See gpubp train --help"),
    (("predict", "plain.safetensors", "rows.npy", "--data", "empty"), "--data says where MNIST lies"),
    (("predict", "plain.safetensors", "empty"), "empty is a folder; give an .npz file"),
    (("predict", "plain.safetensors", "wide.npz", "--out", "empty"), "--out empty is a folder; name a file in it"),
    (("predict", "empty", "wide.npz"), "empty is a folder"),
    (("evaluate", "told.safetensors", "test.npz", "--data", "empty"), "--data says where MNIST lies"),
    (("evaluate", "told.safetensors", "test.npz", "--loss", "mea"), "'mea' is not one of 'softmax'"),
    (("inspect", "empty"), "empty is a folder"),
    (("inspect", "wide.npz"), "wide.npz is data; first comes the model"),
    (("inspect", "plain.safetensors", "--batch-size", "0"), "0 is not in the range x>=1"),
    (("find-lr", "empty"), "empty is a folder"),
    (("profile", "nowhere.npz"), "there is no file nowhere.npz"),
    (("compare", "nowhere.npz"), "there is no file nowhere.npz"),
    (("train", "test.npz", "--autotune", *CPU), "autotune is for GPUs"),
    (("doctor", "extra"), "Got unexpected extra argument (extra)"),
    (("completion",), "Choose from: bash, zsh, fish"),
    (("help", "trian"), "did you mean train?"),
]  # fmt: skip


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    for name in ("text.npz", "text.npy", "text.safetensors"):
        (tmp_path / name).write_text("this is something else")
    (tmp_path / "empty").mkdir()
    np.savez("nan.npz", X=[[1.0], [np.nan]], y=[0, 1])
    np.savez("one.npz", X=[[1.0], [2.0]], y=[4, 4])
    np.savez("fractions.npz", X=[[1.0], [2.0]], y=[0.5, 1.5])
    np.savez("test.npz", X=np.eye(2), y=[0, 1], X_test=np.eye(2), y_test=[0, 5])
    np.savez("strange.npz", X=np.zeros((2, 3)), y=[0, 9])
    np.savez("wide.npz", X=np.zeros((2, 5)))
    np.savez("rows.npz", X=np.eye(7), y=np.arange(7) % 2)
    np.save("rows.npy", np.zeros((2, 3)))
    network = bp.Network(bp.Dense(2), input_shape=3, device="cpu")
    network.save("plain.safetensors")
    for name, classes in (("told", [0, 1]), ("odd", [1])):
        network.metadata = {"loss": bp.SoftmaxCrossEntropy().config(), "classes": classes}
        network.save(f"{name}.safetensors")
    return tmp_path


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: tuple[str, ...], words: str, traps: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in traps.iterdir()}
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == "" and done.stderr.count("\n") == 1 and done.stderr.startswith("gpubp: "), done.output
    assert words in done.stderr
    assert {path: path.stat().st_mtime_ns for path in traps.iterdir()} == before, "nothing may be written"


def test_a_mistake_in_a_process_of_its_own() -> None:
    done = process("train", "digits", "--epochs", "many")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gpubp: Invalid value for '--epochs': 'many'") and done.stderr.count("\n") == 1
    assert done.stderr.endswith("See gpubp train --help\n")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody may write to")
def test_a_folder_that_cannot_be_written_to_is_found_before_the_training() -> None:
    done = run("train", "digits", "--out", "/proc/model.safetensors")
    assert done.exit_code == 2 and "/proc can't be written to" in done.stderr and "epoch" not in done.output


def test_a_training_that_diverges_says_so_and_saves_nothing(points: Path) -> None:
    Path("points.safetensors").write_text("an older model")
    with np.load(points) as data:
        np.savez(points, X=data["X"] * 1e18, y=data["X"][:, 0])
    done = run("train", points, "--optimizer", "sgd", "--lr", "1e3", "--schedule", "constant", *SMALL)
    assert done.exit_code == 1 and "Nothing is saved: try a smaller --lr" in done.stderr, done.output
    assert "X reaches" in done.stderr and "Traceback" not in done.output
    assert Path("points.safetensors").read_text() == "an older model"


def test_a_fault_of_gpubps_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, points: Path) -> None:
    monkeypatch.setattr("gpubp.cli.commands.train.evaluate_model", lambda *_: 1 / 0)
    assert isinstance(run("train", points, *SMALL).exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(28, "No space left on device"), 1, "gpubp: No space left on device"),
        (PermissionError(13, "Permission denied", "m.safetensors"), 1, "gpubp: m.safetensors: Permission denied"),
        (MemoryError("12 GiB"), 1, "not enough memory (12 GiB)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_fails_at_run_time(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, points: Path
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(bp.Network, "save", fails)
    done = run("train", points, *SMALL)
    assert done.exit_code == code and words in done.stderr and "Traceback" not in done.output


def test_without_matplotlib_a_plot_is_refused_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run("train", "digits", "--plot", "curve.png")
    assert done.exit_code == 2 and "pip install 'gpubp[plot]'" in done.stderr and "epoch" not in done.output


@pytest.mark.parametrize("library", ["click", "rich"])
def test_without_click_or_rich_the_command_says_what_to_install(library: str, tmp_path: Path) -> None:
    (tmp_path / f"{library}.py").write_text(f"raise ModuleNotFoundError('gone', name={library!r})")
    done = process("train", "digits", env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"gpubp: the command line needs {library}: pip install 'gpubp[cli]'\n"


# -- the terminal, and the keyboard -----------------------------------------------------------------------------------


def test_ctrl_c_saves_what_was_learnt() -> None:
    command = [sys.executable, "-m", "gpubp", "train", "digits", "--epochs", "100000", *CPU]
    hears_it = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job is deaf to it
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, preexec_fn=hears_it, **streams) as running:
        assert running.stderr is not None
        assert "epoch 1/100000" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert re.search(r"interrupted after \d+ of 100000 epochs; what was learnt so far is saved", err)
    assert "Traceback" not in err and "model    digits.safetensors" in out and "test accuracy" in out
    assert bp.load("digits.safetensors", device="cpu").predict(np.zeros((1, 64))).shape == (1, 10)


def on_a_terminal(*arguments: object, **variables: str) -> str:
    """What a terminal of 80 columns shows of the command."""
    import fcntl
    import pty
    import struct
    import termios

    above, below = pty.openpty()
    fcntl.ioctl(below, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color"} | variables
    command = [sys.executable, "-m", "gpubp", *map(str, arguments)]
    with subprocess.Popen(command, stdin=below, stdout=below, stderr=below, env=environment) as running:
        os.close(below)
        seen = b""
        while True:
            try:
                part = os.read(above, 65536)
            except OSError:  # how Linux says that nobody is left at the other end
                break
            if not part:
                break
            seen += part
        running.wait(timeout=60)
    os.close(above)
    assert running.returncode == 0, seen
    return seen.decode()


def test_a_terminal_gets_a_bar_that_fits_it_and_colours(points: Path) -> None:
    seen = on_a_terminal("train", points, "--epochs", "30", *CPU)
    assert "━" in seen and "epoch 30/30" in seen and "\x1b[1;32mtest accuracy" in seen
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    bars = [part for part in re.split(r"[\r\n]+", plain) if "━" in part]
    assert bars and max(map(len, bars)) <= 80 and re.search(r"epoch 30/30 ━+ \S+ +loss \d\.\d+  accuracy", bars[-1])


def test_no_color_is_honoured(points: Path) -> None:
    seen = on_a_terminal("train", points, *SMALL, NO_COLOR="1")
    assert "test accuracy" in seen and not re.search(r"\x1b\[[0-9;]*3[0-7]", seen)


# -- help and doctor --------------------------------------------------------------------------------------------------


def test_help_shows_examples_and_the_way_on() -> None:
    assert run().output == run("--help").output and run().exit_code == 0
    for command in ("train", "predict", "evaluate", "doctor"):
        done = run(command, "--help")
        assert done.exit_code == 0 and done.output.count(f"gpubp {command}") >= 2, done.output
        assert f"  {command} " in run("--help").output
    assert run("--version").output == f"gpubp {bp.__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['gpubp', 'train', '--help']\nfrom gpubp.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({n.partition('.')[0] for n in sys.modules} & {'sklearn', 'scipy', 'matplotlib', 'cupy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


def test_doctor_names_what_works_and_what_mends_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("doctor")
    assert done.exit_code == 0 and "all that is needed works" in done.output
    assert np.__version__ in done.output and re.search(r"^cpu +works +cpu \(\d+ cores?\), float32, ", done.output, re.M)
    monkeypatch.setattr("gpubp.cli.commands.doctor._version", lambda name: None)
    monkeypatch.setattr(
        "gpubp.cli.commands.doctor.why_not", lambda: "CuPy is not installed: pip install 'gpubp[cuda12]'"
    )
    bare = re.sub(r"\s+", " ", run("doctor").output)
    for mend in ("gpubp[cli]", "gpubp[sklearn]", "gpubp[plot]", "gpubp[fast]", "gpubp[cuda12]"):
        assert f"pip install '{mend}'" in bare

    def broken(device: str) -> None:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr("gpubp.cli.commands.doctor._trained", broken)
    done = run("doctor")
    assert done.exit_code == 1 and "broken: cpu" in done.output and "illegal instruction" in done.output


# -- models, and what looks into them ---------------------------------------------------------------------------------


def test_a_cnn_on_digits_with_dropout_and_batch_norm() -> None:
    options = ("--model", "cnn", "--epochs", "2", "--batch-norm", "--dropout", "0.1", *CPU)
    done = run("train", "digits", *options)
    assert done.exit_code == 0, done.output
    layers = repr(bp.load("digits.safetensors", device="cpu").layers)
    assert layers.startswith("Sequential(Reshape((8, 8, 1)), Conv2D(16, 3, padding='same'), BatchNorm(), ReLU()")
    assert layers.count("Dropout(0.1)") == 2
    shown = run("inspect", "digits.safetensors")
    assert shown.exit_code == 0 and "Conv2D(32, 3, padding='same')" in shown.output and "parameters" in shown.output


def test_a_trained_body_is_taken_over_and_kept() -> None:
    assert run("train", "digits", "--epochs", "1", "--out", "body.safetensors", *CPU).exit_code == 0
    options = ("--from", "body.safetensors", "--freeze", "0.*", "--epochs", "1", "--seed", "3", *CPU)
    done = run("train", "digits", *options)
    assert done.exit_code == 0 and "taken: 0.W" in done.output
    one, two = (bp.load(f"{name}.safetensors", device="cpu").parameters for name in ("body", "digits"))
    assert np.array_equal(one["0.W"], two["0.W"]) and not np.array_equal(one["2.W"], two["2.W"])


def test_find_lr_suggests_and_draws() -> None:
    done = run("find-lr", "digits", "--plot", "sweep.png", *CPU)
    assert done.exit_code == 0, done.output
    assert 1e-5 < float(done.output.split("suggested learning rate ")[1].split()[0]) < 1.0
    assert Path("sweep.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "digits", "--from", "none.safetensors"), "none.safetensors"),
        (("train", "digits", "--freeze", "9.*"), "no parameter is called '9.*'"),
        (("inspect", "none.safetensors"), "none.safetensors"),
        (("find-lr", "none.npz"), "none.npz"),
    ],
)
def test_mistakes_with_models(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2 and words in done.stderr and "Traceback" not in done.output


def test_pictures_are_augmented_in_training_and_predicted_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot = tmp_path / "curves.png"
    options = (
        "--model",
        "cnn",
        "--hidden",
        "16",
        "--epochs",
        "2",
        "--augment",
        "flip,translate:0.1",
        "--plot",
        plot,
        *CPU,
    )
    done = run("train", "digits", *options)
    assert done.exit_code == 0 and plot.stat().st_size > 1000, done.output
    net = bp.load("digits.safetensors", device="cpu")
    assert [repr(layer) for layer in net.layers.children[1:3]] == [
        "RandomFlip('horizontal')", "RandomTranslation(0.1, 0.1)"
    ]  # fmt: skip
    assert run("evaluate", "digits.safetensors", "digits", *CPU).exit_code == 0


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        ("blur", "there is no 'blur'; there are flip, translate, rotate, zoom"),
        ("translate:x", "'x' is not a number"),
        ("translate:3", "3 is no strength for translate"),
        ("flip:2", "flip has no strength"),
    ],
)
def test_augmentations_that_are_none(augment: str, words: str) -> None:
    done = run("train", "digits", "--model", "cnn", "--augment", augment, *CPU)
    assert done.exit_code == 2 and words in done.stderr


def test_a_fully_connected_network_has_no_pictures_to_augment() -> None:
    done = run("train", "digits", "--augment", "flip", *CPU)
    assert done.exit_code == 2 and "--model cnn" in done.stderr and "Traceback" not in done.stderr
