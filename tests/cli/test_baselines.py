"""The guess beside the results of `gpubp train` and `evaluate`, and what the losses include."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import CPU, run

import gpubp as bp

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.usefixtures("empty_folder")
QUICK = ("--hidden=8", "--epochs=30", *CPU)


def rare(name: str = "rare.csv", noise: bool = False) -> None:
    """400 rows, of which 24 are fraud, which x shows a little, or not at all."""
    draw = np.random.default_rng(0)
    fraud = np.arange(400) % 17 == 3
    x = draw.normal(size=400) + (0 if noise else 3 * fraud)
    lines = [f"{a:.3f},{b:.3f},{int(f)}" for a, b, f in zip(x, draw.normal(size=400), fraud, strict=True)]
    Path(name).write_text("\n".join(["x,z,fraud", *lines]))


def numbers(strength: float) -> None:
    """300 rows in which x shows y."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=300)
    y = 1000 + 100 * (strength * x + draw.normal(size=300))
    lines = [f"{a:.3f},{b:.2f}" for a, b in zip(x, y, strict=True)]
    Path("numbers.csv").write_text("\n".join(["x,y", *lines]))


def train(*more: object) -> tuple[str, dict[str, Any]]:
    done = run("train", *more, *QUICK, "--json", "found.json")
    assert done.exit_code == 0, done.output
    return done.output, json.loads(Path("found.json").read_text())


def test_a_network_that_misses_the_rare_class_is_no_better_than_the_guess() -> None:
    rare()
    output, found = train("rare.csv", "--target=fraud", "--test-fraction=0.3", "--l2=0.1")
    assert "by always answering 0 (the most frequent class)" in output
    assert "No better than always answering 0 (the most frequent class)." in output
    assert "balanced accuracy 0.5000; rarest class 1: 0 of" in output and "--class-weight balanced" in output
    assert found["guess"]["accuracy"] == pytest.approx(found["test"]["accuracy"])
    assert found["better_than_guess"] is False and found["judged_by"] == "test"
    assert found["balanced_accuracy"] == 0.5 and found["rarest_class"]["recall"] == 0


def test_balanced_class_weights_find_the_rare_class() -> None:
    rare()
    output, found = train(
        "rare.csv",
        "--target=fraud",
        "--test-fraction=0.3",
        "--class-weight=balanced",
        "--l2=0.01",
        "--save-config=run.toml",
    )
    assert found["class_weight"] == "balanced" and found["rarest_class"]["recall"] > 0.5
    assert found["balanced_accuracy"] > 0.7 and "None of the" not in output
    assert "are weighted by class" in output and "loss*  accuracy*" in output
    model = Path("rare.safetensors").read_bytes()
    assert 'class-weight = "balanced"' in Path("run.toml").read_text()
    assert run("train", "--config", "run.toml").exit_code == 0
    assert Path("rare.safetensors").read_bytes() == model


def test_weights_by_class_are_those_of_the_library_and_are_kept_for_a_resume() -> None:
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(100, 3)), draw.integers(0, 2, 100) * 4 + 3  # classes 3 and 7
    np.savez("points.npz", X=X, y=y)
    _, found = train("points.npz", "--class-weight", "7=5", "--validation-fraction=0", "--checkpoint-dir=runs")
    assert found["class_weight"] == {"7": 5.0}
    assert "--class-weight=7=5" in json.loads(Path("runs/run.json").read_text())["arguments"]
    first = bp.load("points.safetensors", device="cpu").predict(X)
    run("train", "points.npz", *QUICK, "--validation-fraction=0")
    assert not np.array_equal(bp.load("points.safetensors", device="cpu").predict(X), first)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("1=-2", "gives the class 1 the weight '-2'; weights are numbers, 0 or more"),
        ("1=many", "the weight 'many'"),
        ("2=3", "names the class '2', which is not there; there are 0, 1"),
        ("1=2,1=3", "gives the class 1 a weight twice"),
        ("0=0,1=0", "leaves every row without weight"),
        ("heavy", "--class-weight heavy is not understood; give balanced, or a weight for each class"),
        ("", "--class-weight is balanced, or a weight"),
    ],
)
def test_wrong_class_weights_are_refused(weights: str, words: str) -> None:
    rare()
    done = run("train", "rare.csv", "--target=fraud", *QUICK, f"--class-weight={weights}")
    assert done.exit_code == 2 and words in done.stderr and "epoch" not in done.output, done.output


def test_class_weights_go_with_classes() -> None:
    numbers(1.0)
    done = run("train", "numbers.csv", "--target=y", *QUICK, "--class-weight=balanced")
    assert done.exit_code == 2 and "--class-weight goes with classes, and here numbers are predicted" in done.stderr


def test_names_of_classes_may_hold_commas_and_equals_signs() -> None:
    names = ('"a,b"', "a=c")
    lines = [f"{k % 7},{names[k % 2]}" for k in range(60)]
    Path("odd.csv").write_text("\n".join(["x,y", *lines]))
    _, found = train("odd.csv", "--target=y", "--class-weight", "a,b=2, a=c=0.5")
    assert found["class_weight"] == {"a,b": 2.0, "a=c": 0.5}


@pytest.mark.parametrize(("strength", "better"), [(3.0, True), (0.0, False)])
def test_numbers_stand_beside_the_error_of_the_mean(strength: float, better: bool) -> None:
    numbers(strength)
    output, found = train("numbers.csv", "--target=y", "--test-fraction=0.3")
    assert ("No better than always answering the mean." in output) != better
    assert found["better_than_guess"] is better and found["balanced_accuracy"] is found["rarest_class"] is None
    y = np.array([float(line.split(",")[1]) for line in Path("numbers.csv").read_text().splitlines()[1:]])
    assert found["guess"]["mean_absolute_error"] == pytest.approx(np.abs(y - y.mean()).mean(), rel=0.15)
    assert abs(found["guess"]["R²"]) < 0.1


def test_without_test_rows_the_validation_or_training_rows_are_judged() -> None:
    rare(noise=True)
    output, found = train("rare.csv", "--target=fraud", "--validation-fraction=0.3", "--l2=0.1")
    assert found["judged_by"] == "validation" and ", on the validation rows" in output
    assert "No better than always answering 0" in output
    output, found = train("rare.csv", "--target=fraud", "--validation-fraction=0", "--l2=0.1")
    assert found["judged_by"] == "training" and "No better than always answering 0" in output


def test_arrays_are_judged_as_tables_are() -> None:
    """Classes, numbers, and labels in .npz files; evaluate says the same, also of a model without a guess in it."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(200, 3))
    parts = {"X": X[:150], "X_test": X[150:]}
    for y in ((X[:, 0] > 0).astype(int), X[:, 0] * 2.0, (X > 0).astype(int)):
        np.savez("data.npz", **parts, y=y[:150], y_test=y[150:])
        output, trained = train("data.npz")
        assert "\nguess    " in output and trained["better_than_guess"] is True
        done = run("evaluate", "data.safetensors", "data.npz", *CPU, "--json", "e.json")
        judged = json.loads(Path("e.json").read_text())
        names = ("guess", "better_than_guess", "balanced_accuracy", "rarest_class")
        assert [judged[name] for name in names] == [trained[name] for name in names], done.output
        network = bp.load("data.safetensors", device="cpu")
        del network.metadata["guess"]
        network.save("old.safetensors")
        assert "\nguess    " in run("evaluate", "old.safetensors", "data.npz", *CPU).output
        network.metadata["guess"] = ["much"]
        network.save("wrong.safetensors")
        refused = run("evaluate", "wrong.safetensors", "data.npz", *CPU)
        assert refused.exit_code == 2 and "wrong.safetensors does not describe" in refused.stderr


def test_a_guess_of_classes_is_not_taken_for_one_of_numbers() -> None:
    draw = np.random.default_rng(0)
    X = draw.normal(size=(90, 3))
    np.savez("data.npz", X=X, y=np.eye(2, dtype=int)[(X[:, 0] > 0).astype(int)])
    train("data.npz", "--loss=softmax")
    done = run("evaluate", "data.safetensors", "data.npz", "--loss=mse", *CPU, "--json", "e.json")
    assert done.exit_code == 0, done.output
    assert json.loads(Path("e.json").read_text())["guess"]["mean_squared_error"] == pytest.approx(0.25, abs=0.01)


def test_what_the_losses_include_is_said_where_they_differ() -> None:
    rare()
    output, _ = train("rare.csv", "--target=fraud", "--test-fraction=0.3", "--validation-fraction=0.2")
    assert "validation loss*" in output and "(without label smoothing and the l2 penalty)" in output
    told = "* The losses by epoch include label smoothing and the l2 penalty; the loss of an evaluation does not."
    assert told in output
    plain = ("--label-smoothing=0", "--l2=0", "--validation-fraction=0.2")
    output, _ = train("rare.csv", "--target=fraud", "--test-fraction=0.3", *plain)
    assert "*" not in output and "without label" not in output
