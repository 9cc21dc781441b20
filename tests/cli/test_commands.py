"""`gpubp train`, `predict`, `evaluate` and `find-lr`: what they print, write and answer."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import CPU, SMALL, accuracy_in, process, run

import gpubp as bp
from gpubp.cli.defaults import ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES, Pace
from gpubp.cli.task import Task
from gpubp.datasets import Dataset
from gpubp.errors import DataError

pytestmark = pytest.mark.usefixtures("empty_folder")

# -- what the README says ---------------------------------------------------------------------------------------------


def test_digits_reach_the_accuracy_of_the_readme(tmp_path: Path) -> None:
    done = process("train", "digits", *CPU)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("device   cpu (") and "10 classes" in done.stdout
    assert "1,293 rows to train with, 144 to validate with, 360 to test with" in done.stdout
    table = done.stdout[done.stdout.index("epoch ") :].splitlines()
    assert re.split(r"\s{2,}", table[0].strip()) == [
        "epoch", "loss*", "accuracy", "validation loss*", "validation accuracy"
    ]  # fmt: skip
    assert [int(row.split()[0]) for row in table[1:11]][::9] == [1, 49] and table[12] == ""
    assert table[11] == "* The losses by epoch include label smoothing; the loss of an evaluation does not."
    accuracy = accuracy_in(done.stdout[done.stdout.index("test accuracy") :])
    assert accuracy >= 0.975
    assert "model    digits.safetensors" in done.stdout and "gpubp predict digits.safetensors digits" in done.stdout
    assert done.stderr.count("epoch ") == 11 and "\x1b" not in done.stdout + done.stderr  # plain, as it is no terminal
    judged = run("evaluate", "digits.safetensors", "digits", *CPU).output
    assert f"test accuracy {accuracy:.4f}" in judged and len(re.findall(r"^\d +3\d ", judged, re.M)) == 10
    again = run("train", "digits", *CPU).output
    assert "in place of an older file" in again and f"test accuracy {accuracy:.4f}" in again  # the same, bit for bit


@pytest.mark.parametrize("seed", [1, 2])
def test_digits_reach_it_with_other_seeds(seed: int) -> None:
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


def test_classes_are_trained_predicted_and_evaluated_from_files(points: Path) -> None:
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
    assert lines[0] == "row,prediction,probability" and lines[150].startswith("150,")
    assert [int(row.split(",")[1]) for row in lines[1:]] == expected.tolist()
    assert lines[1].split(",")[2] == f"{p[0].max():.6f}"
    assert run("predict", "points.safetensors", points, "--out", "-", *CPU).output == Path("p.csv").read_text()
    shown = run("predict", "points.safetensors", points, *CPU).output
    assert "and 140 more rows" in shown and f"{p[9].max():.6f}" in shown
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
        predicted = np.loadtxt("p.csv", skiprows=1, delimiter=",")[:, 1]
        assert predicted == pytest.approx(data["y"], abs=0.05)


def test_labels_are_predicted_one_by_one(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(120, 2))
    np.savez("labels.npz", X=X, y=(X > 0).astype(int))
    done = run("train", "labels.npz", "--hidden", "none", "--epochs", 100, "--lr", "0.1", *CPU)
    assert done.exit_code == 0 and "2 labels, yes or no each" in done.output, done.output
    run("predict", "labels.safetensors", "labels.npz", "--out", "p.csv", *CPU)
    lines = Path("p.csv").read_text().splitlines()
    assert lines[0] == "row,prediction_0,prediction_1,probability_0,probability_1"
    said = np.loadtxt(lines[1:], delimiter=",")[:, 1:]
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
def test_every_choice_of_an_option_trains(option: str, points: Path, line: Path) -> None:
    words = {"activation": ACTIVATIONS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES, "loss": LOSSES}[option]
    assert len(words) >= 3
    np.savez("yes_or_no.npz", X=np.eye(4), y=[0, 1, 1, 0])
    for word in words:
        data = points if option != "loss" else line if LOSSES[word].predicts == "numbers" else "yes_or_no.npz"
        done = run("train", data, f"--{option}", word, *SMALL)
        assert done.exit_code == 0, done.output


def test_a_share_of_the_targets_lies_below_a_quantile() -> None:
    draw = np.random.default_rng(0)
    X = draw.uniform(-1, 1, (400, 1))
    np.savez("noisy.npz", X=X, y=X[:, 0] + draw.normal(size=400))
    done = run("train", "noisy.npz", "--loss", "quantile", "--quantile", "0.8", "--epochs", "60", "--hidden", "8", *CPU)
    assert done.exit_code == 0 and "Quantile(0.8)" in done.output, done.output
    made = run("predict", "noisy.safetensors", "noisy.npz", "--out", "p.npy", *CPU)
    assert made.exit_code == 0
    assert (np.load("noisy.npz")["y"] < np.load("p.npy")).mean() == pytest.approx(0.8, abs=0.04)


def test_options_reach_the_training(points: Path) -> None:
    options = ("--l2", "0.5", "--clip-norm", "1", "--dtype", "float64", "--batch-size", "150", "--label-smoothing", "0")
    done = run("train", points, *SMALL, *options, "--optimizer", "sgd", "--schedule", "constant", "--lr", "0.5")
    assert "SoftmaxCrossEntropy(), SGD(0.5, momentum=0.9), 3 epochs of 1 steps of 150 rows" in done.output
    assert "float64" in done.output and bp.load("points.safetensors", device="cpu").dtype == np.float64
    first = float(re.search(r"^ +1 +(\d\.\d+)", done.output, re.M)[1])  # type: ignore[index]
    plain = run("train", points, *SMALL, *options[2:], "--optimizer", "sgd", "--schedule", "constant", "--lr", "0.5")
    without = float(re.search(r"^ +1 +(\d\.\d+)", plain.output, re.M)[1])  # type: ignore[index]
    assert first > without + 1  # the penalty is part of the loss


def test_a_share_of_the_steps_for_the_rise_of_the_rate(points: Path) -> None:
    steps = ("--epochs", "100", "--batch-size", "150", *CPU)
    done = run("train", points, *steps, "--warmup", "0.2", "--optimizer", "nadam", "--save-config", "a.toml")
    assert "NAdam(Warmup(CosineDecay(0.003, 80), steps=20)), 100 epochs of 1 steps" in done.output, done.output
    assert "warmup = 0.2" in Path("a.toml").read_text()
    for schedule, shown in (
        ("linear", "LinearDecay(0.003, 80)"),
        ("step", "MultiStepDecay(0.003, (40, 60))"),
        ("restarts", "CosineRestarts(0.003, 12)"),
        ("constant", "0.003"),
    ):
        done = run("train", points, "--config", "a.toml", "--schedule", schedule)
        assert f"NAdam(Warmup({shown}, " in done.output, done.output
    wrong = run("train", points, *steps, "--warmup", "0.2", "--schedule", "one-cycle")
    assert wrong.exit_code == 2 and "one-cycle rises by itself; take another --schedule with --warmup" in wrong.output
    assert "1 is not a number from 0 and below 1" in run("train", points, "--warmup", "1").output


def test_an_l1_penalty_is_part_of_the_loss_and_of_the_results(points: Path) -> None:
    found = []
    for more in ((), ("--l1", "0.05")):
        done = run("train", points, *SMALL, "--label-smoothing", "0", "--json", *more)
        found.append(json.loads(done.stdout))
    assert [told["l1"] for told in found] == [0.0, 0.05]
    assert found[1]["history"]["loss"][0] > found[0]["history"]["loss"][0] + 0.5
    shown = run("train", points, *SMALL, "--label-smoothing", "0", "--l1", "0.05").output
    assert "the l1 penalty" in shown
    assert "-1 is not a number from 0" in run("train", points, "--l1", "-1").output


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


def test_ambiguous_targets_are_refused() -> None:
    prices = Dataset("d", np.zeros((100, 2)), np.arange(100))
    with pytest.raises(DataError, match="100 different whole numbers in 100 rows.*--loss mse or --loss softmax"):
        Task.infer(prices, None)
    assert Task.infer(prices, "mse").kind == "numbers" and Task.infer(prices, "softmax").outputs == 100


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


def test_weights_are_loaded_from_a_model_and_frozen() -> None:
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
