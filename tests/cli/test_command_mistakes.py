"""Mistakes on the command line: each is one line on the error stream, with its exit code, and nothing is written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import CPU, SMALL, process, run

import gpubp as bp

pytestmark = pytest.mark.usefixtures("empty_folder")

MISTAKES = [
    (("train", "nowhere.npz"), "there is no file nowhere.npz"),
    (("train", "cifar"), "there is no data set or file cifar; give digits, mnist or"),
    (("train",), "Missing argument"),
    (("train", "text.npz"), "text.npz is not an .npz file"),
    (("train", "nan.npz"), "first in row 1"),
    (("train", "one.npz"), "y holds the class 4 and no other"),
    (("train", "fractions.npz", "--loss", "softmax"), "y holds 0.5, 1.5, and classes are whole numbers"),
    (("train", "fractions.npz", "--label-smoothing", "0.1"), "--label-smoothing goes with --loss softmax"),
    (("train", "digits", "--loss", "focal", "--label-smoothing", "0.1"), "--label-smoothing goes with --loss softmax"),
    (("train", "fractions.npz", "--quantile", "0.9"), "--quantile goes with --loss quantile"),
    (("train", "fractions.npz", "--loss", "quantile", "--quantile", "1"), "1 is not a number above 0 and below 1"),
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
    (("train", "empty"), "empty is a folder with neither Parquet files nor folders of .wav files in it; give"),
    (("train", ""), "there is no data set or file ''"),
    (("train", "test.npz", "--freeze", "*"), "--freeze * leaves nothing to train"),
    (("train", "rows.npz", "--from", "plain.safetensors"), "missing in the file: 0.W"),
    (("train", "test.npz", "--epochs", "1.5"), "'1.5' is not a valid whole number"),
    (("train", "test.npz", "--config"), "'--config' requires an argument. See gpubp train --help"),
    (("train", "test.npz", "--resume"), "'--resume' requires an argument. See gpubp train --help"),
    (("predict", "plain.safetensors", "rows.npy", "--data", "empty"), "--data says where MNIST lies"),
    (("predict", "plain.safetensors", "empty"), "nor folders of .wav files in it; give an .npz file"),
    (("predict", "plain.safetensors", "wide.npz", "--out", "empty"), "--out empty is a folder; name a file in it"),
    (("predict", "empty", "wide.npz"), "empty is a folder"),
    (("evaluate", "told.safetensors", "test.npz", "--data", "empty"), "--data says where MNIST lies"),
    (("evaluate", "told.safetensors", "test.npz", "--loss", "mea"), "'mea' is not one of 'softmax'"),
    (("inspect", "empty"), "empty is a folder"),
    (("inspect", "wide.npz"), "wide.npz is data; first comes the model"),
    (("inspect", "plain.safetensors", "--batch-size", "0"), "0 is not in the range x>=1"),
    (("explain",), "Missing MODEL and DATA; or give --example neuron|chain|xor|conv, which needs neither"),
    (("explain", "told.safetensors"), "Missing DATA; or give --example"),
    (("explain", "told.safetensors", "--example", "xor"), "--example xor has its own network and rows; leave out"),
    (("explain", "--example", "xor", "--row", "3"), "--row goes with MODEL and DATA, and --example xor has its own"),
    (("explain", "--example", "xor", "--no-header"), "--no-header goes with MODEL and DATA"),
    (("explain", "--example", "xro"), "'xro' is not one of 'neuron', 'chain', 'xor', 'conv'"),
    (("explain", "--example", "xor", "--out", "x.pdf"), "--out x.pdf: the name must end in .html or"),
    (("explain", "--example", "xor", "--out", "no/x.html"), "there is no folder no; make it first"),
    (("explain", "--example", "xor", "--blanks", "1"), "1 is not a number above 0 and below 1"),
    (("explain", "--example", "xor", "--seed", "1"), "--seed says which numbers --blanks leaves out; give --blanks"),
    (("explain", "--example", "xor", "--lr", "1"), "--lr is the learning rate of --optimizer; give that too"),
    (("explain", "--example", "xor", "--of", "2.V[0,1]"), "--of 2.V[0,1] names no number of this step; it has "),
    (("explain", "--example", "xor", "--of", "2.W[9,9]"), "--of 2.W[9,9]: 2.W has the shape (2, 1)"),
    (("explain", "told.safetensors", "more.npz", "--row", "0"), "'0' is no row, such as 3, and no list of rows"),
    (("explain", "told.safetensors", "more.npz", "--row", "1,9"), "there is no row 9 in more: there are 3"),
    (("explain", "told.safetensors", "strange.npz", "--row", "2"), "y holds 9, and the network knows the classes 0, 1"),
    (("explain", "told.safetensors", "wide.npz"), "wide.npz"),
    (("explain", "told.safetensors", "gone.npz"), "there is no file gone.npz"),
    (("explain", "told.safetensors", "more.npz", "--out", "more.npz"), "must end in .html or"),
    (("explain", "plain.safetensors", "more.npz"), "does not say what it was trained for: give --loss"),
    (("explain", "wide.npz", "plain.safetensors"), "first comes the model"),
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
    np.savez("more.npz", X=np.ones((3, 3)), y=[0, 1, 0])
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


def test_internal_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch, points: Path) -> None:
    monkeypatch.setattr("gpubp.cli.commands.train.evaluate_model", lambda *_: 1 / 0)
    assert isinstance(run("train", points, *SMALL).exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(28, "No space left on device"), 1, "points.safetensors can't be written: No space left on device ("),
        (
            PermissionError(13, "Permission denied", "m"),
            1,
            "gpubp: points.safetensors can't be written: Permission den",
        ),
        (MemoryError("12 GiB"), 1, "not enough memory (12 GiB)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_failures_at_run_time_are_one_line(
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "digits", "--from", "none.safetensors"), "none.safetensors"),
        (("train", "digits", "--freeze", "9.*"), "no parameter is called '9.*'"),
        (("inspect", "none.safetensors"), "none.safetensors"),
        (("find-lr", "none.npz"), "none.npz"),
    ],
)
def test_mistakes_with_models_are_refused(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2 and words in done.stderr and "Traceback" not in done.output


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        ("blur", "there is no 'blur'; there are flip, translate, rotate, zoom"),
        ("translate:x", "'x' is not a number"),
        ("translate:3", "3 is no strength for translate"),
        ("flip:2", "flip has no strength"),
    ],
)
def test_unknown_augmentations_are_refused(augment: str, words: str) -> None:
    done = run("train", "digits", "--model", "cnn", "--augment", augment, *CPU)
    assert done.exit_code == 2 and words in done.stderr


def test_a_fully_connected_network_has_no_pictures_to_augment() -> None:
    done = run("train", "digits", "--augment", "flip", *CPU)
    assert done.exit_code == 2 and "--model cnn" in done.stderr and "Traceback" not in done.stderr
