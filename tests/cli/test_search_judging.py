"""Parts of `gpubp search`: metrics row by row, intervals of a gain, the space, and lengths of time."""

from __future__ import annotations

import importlib.util
from typing import Any

import click
import numpy as np
import pytest

import gpubp as bp
from gpubp.cli.defaults import LOSSES, make_loss
from gpubp.cli.evaluation import evaluate_model
from gpubp.cli.search.judging import METRICS, Gain, by_row, student
from gpubp.cli.search.space import Settings, Space
from gpubp.cli.search.timeout import Timeout
from gpubp.cli.task import Task

pytest.importorskip("pyarrow")
rng = np.random.default_rng(0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("metric", METRICS)
def test_the_mean_over_rows_is_the_metric_of_an_evaluation(loss: str, outputs: int, metric: str) -> None:
    task = Task(make_loss(loss), outputs + (LOSSES[loss].predicts == "classes"))
    if (metric == "accuracy") == (task.kind == "numbers") and metric != "loss":
        pytest.skip("of another kind of task")
    net = bp.Network(bp.Dense(task.outputs), 4, device="cpu", dtype="float64")
    X = rng.normal(size=(60, 4))
    y: Any = rng.normal(size=(60, outputs)) * 3
    if task.kind == "labels":
        y = (y > 0).astype(np.int64)
    elif task.kind == "classes":
        y = rng.integers(0, task.outputs, 60) if outputs == 3 else np.eye(2)[rng.integers(0, 2, 60)]
    found = by_row(task, metric, net.predict(X), y)
    assert found.shape == (60,)
    assert found.mean() == pytest.approx(evaluate_model(net, task, X, y)[METRICS[metric]], rel=1e-9)


@pytest.mark.skipif(importlib.util.find_spec("scipy") is None, reason="scipy is not installed")
@pytest.mark.parametrize("freedom", [4, 7, 19, 100, 5000])
def test_the_quantile_is_students(freedom: int) -> None:
    from scipy.stats import t

    assert student(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=3e-3)


def test_the_interval_holds_the_true_gain_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        hard = draw.gamma(2.0, 1.0, 40)  # what makes rows hard for both
        found = Gain.of(hard + draw.normal(0.3, 0.5, 40), hard + draw.normal(0.5, 0.5, 40), higher=False)
        inside += found.low < 0.2 < found.high
    assert 0.92 < inside / 400 < 0.98


def test_higher_is_better_turns_the_gain() -> None:
    best, other = np.array([1.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])
    assert Gain.of(best, other, higher=True).gain == 0.25
    assert Gain.of(best, other, higher=False).gain == -0.25
    assert not Gain.of(best, best, higher=True).sure


def space_of(model: str, table: bool = False, texts: bool = False, rows: int = 1000, **more: Any) -> Space:
    free = ("hidden", "activation", "dropout", "lr", "l2", "batch_size", "epochs")
    options = {"model": model, "optimizer": "adam", "activation": "relu"} | more
    return Space.of(options, free, table, texts, rows)


class Drawn:
    """A trial that takes the upper end of each range."""

    def suggest_int(self, name: str, low: int, high: int, **how: Any) -> int:
        return high

    def suggest_float(self, name: str, low: float, high: float, **how: Any) -> float:
        return high

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return choices[-1]


@pytest.mark.parametrize(
    ("model", "hidden"), [("mlp", (512, 256, 128, 64)), ("cnn", (512, 256, 128, 64)), ("bag", (512,) * 4)]
)
def test_layers_get_narrower_but_in_a_bag(model: str, hidden: tuple[int, ...]) -> None:
    settings = space_of(model).suggest(Drawn())
    assert settings == Settings(hidden, "tanh", 0.5, 0.015, 200.0, 128, 2.0)


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("rows", [40, 250, 20_000])
def test_the_usual_settings_are_in_the_space_and_type_nothing(table: bool, rows: int) -> None:
    space = space_of("mlp", table, rows=rows)
    for params in space.usual():
        for name, value in params.items():
            bounds = space.searched()[name]
            assert value in bounds or bounds[0] <= value <= bounds[1]

        class Usual:
            def suggest_int(self, name: str, *bounds: Any, params: Any = params, **how: Any) -> Any:
                return params[name]

            suggest_float = suggest_categorical = suggest_int

        typed = space.different(space.suggest(Usual()), rows)
        assert typed.keys() == ({"l2"} if table else set())
    assert len(space.usual()) == (2 if table and rows >= 200 else 1)


def test_what_reads_texts_keeps_its_layers() -> None:
    assert "width" not in space_of("mlp", table=True, texts=True).searched()
    assert "width" not in space_of("gru", table=True, texts=True).searched()


def test_a_batch_size_that_was_typed_decides_the_epochs() -> None:
    factor = Settings(factor=1.0)
    assert factor.options(1000, False, 64)["epochs"] > factor.options(1000, False, 32)["epochs"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("1d2s", 86402), (" 2M ", 120)]
)
def test_a_length_of_time(text: str, seconds: float) -> None:
    assert Timeout().convert(text, None, None).seconds == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1s", "10", "1m1h", "1e3s", "infs", "9999999d", "１０m", "10 m"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time above 0"):
        Timeout().convert(text, None, None)
