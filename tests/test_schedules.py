"""Schedules: their numbers, and what one of your own gives, are checked before the step that they are for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp

X, Y = np.eye(4), np.ones((4, 1))


class Mine(bp.Schedule):
    """What a function of t gives."""

    def __init__(self, given: Callable[[int], Any]) -> None:
        self.given = given

    def __call__(self, t: int) -> Any:
        return self.given(t)

    def __repr__(self) -> str:
        return "Mine()"


def trainer(optimizer: bp.Optimizer, **settings: Any) -> bp.Trainer:
    net = bp.Network(bp.Dense(1), 4, device="cpu")
    return bp.Trainer(net, bp.MeanSquaredError(), optimizer, batch_size=2, **settings)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.CosineDecay(-1.0, steps=10), "CosineDecay needs rate to be a number, 0 or more, and got -1.0"),
        (lambda: bp.CosineDecay(1.0, steps=0), "CosineDecay needs steps to be a whole number, 1 or more, and got 0"),
        (lambda: bp.CosineDecay(1.0, steps=2.5), "CosineDecay needs steps to be a whole number"),
        (lambda: bp.CosineDecay(1.0, steps=True), "CosineDecay needs steps to be a whole number"),
        (lambda: bp.CosineDecay(1.0, steps=10, final=-0.1), "CosineDecay needs final to be a number, 0 or more"),
        (lambda: bp.ConstantRate(math.nan), "ConstantRate needs rate to be a number, 0 or more, and got nan"),
        (lambda: bp.ConstantRate(math.inf), "ConstantRate needs rate to be a number, 0 or more, and got inf"),
        (lambda: bp.ConstantRate(True), "ConstantRate needs rate"),
        (lambda: bp.StepDecay("0.1"), "StepDecay needs rate to be a number"),
        (lambda: bp.StepDecay(0.1, factor=-0.5), "StepDecay needs factor to be a number, 0 or more"),
        (lambda: bp.StepDecay(0.1, factor=math.nan), "StepDecay needs factor"),
        (lambda: bp.StepDecay(0.1, steps=-1), "StepDecay needs steps"),
        (lambda: bp.ExponentialDecay(0.1, decay=0.0), "ExponentialDecay needs decay to be a number, above 0"),
        (lambda: bp.ExponentialDecay(-0.1), "ExponentialDecay needs rate"),
        (lambda: bp.InverseTimeDecay(0.1, decay=-1.0), "InverseTimeDecay needs decay to be a number, 0 or more"),
        (lambda: bp.Warmup(-0.1), "Warmup needs a learning rate that is a finite number, 0 or more, or a Schedule"),
        (lambda: bp.Warmup(math.nan), "Warmup needs a learning rate"),
        (lambda: bp.Warmup(0.1, steps=0), "Warmup needs steps"),
        (lambda: bp.OneCycle(-1.0, steps=5), "OneCycle needs rate"),
        (lambda: bp.OneCycle(1.0, steps=5, rise=1.0), "OneCycle needs rise to be a number, between 0 and 1"),
        (lambda: bp.OneCycle(1.0, steps=5, start=0.0), "OneCycle needs start to be a number, above 0"),
        (lambda: bp.OneCycle(1.0, steps=5, end=-1.0), "OneCycle needs end to be a number, above 0"),
        (lambda: bp.Adam(True), "Adam needs a learning rate that is a finite number, 0 or more, or a Sch"),
        (lambda: bp.Adam(math.nan), "Adam needs a learning rate"),
        (lambda: bp.Adam(math.inf), "Adam needs a learning rate"),
        (lambda: bp.Adam(-0.1), "Adam needs a learning rate"),
        (lambda: bp.Adam("0.1"), "Adam needs a learning rate"),
        (lambda: bp.Adam(None), "Adam needs a learning rate"),
        (lambda: bp.SGD(0.1, momentum=True), "SGD needs momentum"),
        (lambda: bp.AdamW(0.1, weight_decay=math.inf), "AdamW needs weight_decay to be a number"),
    ],
)  # fmt: skip
def test_wrong_numbers_are_refused_when_it_is_made(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: bp.Adam(lambda t: 0.1),
            r"write a class with the base gpubp.Schedule, whose __call__\(self, t\) returns",
        ),
        (lambda: bp.Warmup(lambda t: 0.1), "write a class with the base gpubp.Schedule"),
        (lambda: bp.Adam(bp.CosineDecay), r"write CosineDecay\(...\)"),
    ],
)
def test_a_function_or_a_class_is_answered_with_what_to_write(make: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make()


BAD = [None, math.nan, math.inf, -0.1, np.zeros(3), np.array([0.1]), "0.1", True, [0.1], 1j]


@pytest.mark.parametrize("bad", BAD, ids=repr)
@pytest.mark.parametrize("late", [0, 1, 5])
def test_what_a_schedule_gives_is_checked_before_its_step(bad: Any, late: int) -> None:
    t = trainer(bp.Adam(Mine(lambda k: bad if k == late else 0.01)))
    with pytest.raises(ValueError, match=rf"Mine\(\) gave .* as the learning rate of step {late + 1} \({late} was its"):
        t.fit(X, Y, epochs=4)
    assert t.step_count == late and np.isfinite(t.network.flat).all()
    before = t.network.flat.copy()
    with pytest.raises(ValueError, match=rf"Mine\(\) gave .* as the learning rate of step {late + 1}"):
        t.learning_rate  # noqa: B018
    with pytest.raises(ValueError, match=rf"Mine\(\) gave .* as the learning rate of step {late + 1}"):
        t.step(X, Y)
    assert np.array_equal(t.network.flat, before)


@pytest.mark.parametrize("bad", [None, "0.1", (0.1,), -0.1, math.nan, np.ones(1)], ids=repr)
@pytest.mark.parametrize("t", [0, 4])
def test_warmup_names_the_schedule_inside(bad: Any, t: int) -> None:
    """Also where a Warmup is inside a Warmup."""

    class Inner(bp.Schedule):
        def __call__(self, t: int) -> Any:
            return bad

    for schedule in (bp.Warmup(Inner(), steps=4), bp.Warmup(bp.Warmup(Inner(), steps=4), steps=2)):
        with pytest.raises(ValueError, match=r"^Inner\(\) gave .* as the rate .* Warmup.* must return a finite number"):
            schedule(t)
        with pytest.raises(ValueError, match=r"^Inner\(\) gave") as caught:
            bp.SGD(schedule).rate(t + 1)
        assert caught.value.__notes__[-1].startswith(f"{schedule!r} was asked for the learning rate of step {t + 1}: ")


def test_warmup_gives_the_bits_of_the_schedule_inside() -> None:
    class Single(bp.Schedule):
        def __call__(self, t: int) -> Any:
            return np.float32(0.1) if t < 3 else 1

    found = [bp.Warmup(Single(), steps=3)(t) for t in range(8)]
    assert found == [*(np.float32(0.1) * k / 3 for k in (1, 2, 3)), *[np.float32(0.1)] * 3, 1, 1]


def test_a_forgotten_return_is_guessed() -> None:
    with pytest.raises(ValueError, match=r"Mine\(\) gave None .*; is a return missing"):
        trainer(bp.Adam(Mine(lambda t: None))).step(X, Y)


@pytest.mark.parametrize("good", [0.1, np.float32(0.1), np.array(0.1), 1, np.int64(1), 0])
def test_numpys_numbers_are_rates(good: Any) -> None:
    one, other = trainer(bp.SGD(Mine(lambda t: good))), trainer(bp.SGD(float(good)))
    for t in (one, other):
        t.fit(X, Y, epochs=2)
    assert np.array_equal(one.network.flat, other.network.flat)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_schedule_may_end_where_training_ends(workers: int) -> None:
    """It is asked for steps ahead, of which it knows nothing."""
    rates = [0.1 / (1 + k) for k in range(6)]
    t = trainer(bp.SGD(Mine(lambda k: rates[k])), workers=workers)
    t.fit(X, Y, epochs=3)
    assert t.step_count == 6
    other = trainer(bp.SGD(Mine(lambda k: 0.1 / (1 + k))), workers=workers)
    other.fit(X, Y, epochs=3)
    assert np.array_equal(t.network.flat, other.network.flat)
    with pytest.raises(IndexError, match="list index out of range") as caught:
        t.step(X, Y)
    assert caught.value.__notes__ == ["Mine() was asked for the learning rate of step 7: 6 was its argument"]
    assert t.step_count == 6


def test_it_is_asked_in_order_and_seldom_again() -> None:
    asked: list[int] = []
    t = trainer(bp.SGD(Mine(lambda k: asked.append(k) or 0.1)))
    t.fit(X, Y, epochs=200)
    assert asked == list(range(512))


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (lambda t, eta: None, TypeError, r"must return a dictionary, name -> array \(steps,\), and gave None; is"),
        (lambda t, eta: [eta], TypeError, "must return a dictionary"),
        (lambda t, eta: {"eta": 0.1}, ValueError, r"an array of numbers \(steps,\).* and gave 0.1 for 'eta'"),
        (lambda t, eta: {"eta": eta[:1].reshape(1, 1)}, ValueError, "for each name an array of numbers"),
        (lambda t, eta: {"eta": [0.1] * len(t)}, ValueError, "for each name an array of numbers"),
        (lambda t, eta: {"eta": eta.astype(str)}, ValueError, "for each name an array of numbers"),
        (lambda t, eta: {"eta": eta} if len(t) == 1 else {"rate": eta}, ValueError, "gave eta for one step and rate"),
        (lambda t, eta: {"eta": np.full(len(t), np.nan)}, ValueError, "step 1 would compute with eta = nan in float32"),
        (lambda t, eta: {"eta": eta * 1e300}, ValueError, "step 1 would compute with eta = inf in float32"),
    ],
)  # fmt: skip
def test_what_step_scalars_gives_is_checked(given: Any, error: type[Exception], words: str) -> None:
    class Own(bp.SGD):
        def step_scalars(self, t: Any, eta: Any) -> Any:
            return given(t, eta)

    with pytest.raises(error, match=words), np.errstate(over="ignore"):
        trainer(Own(0.1)).fit(X, Y)


def test_scalars_that_are_not_finite_stop_the_step_that_they_are_for() -> None:
    class Own(bp.SGD):
        def step_scalars(self, t: Any, eta: Any) -> Any:
            return {"eta": np.where(t > 5, np.nan, eta)}

    t = trainer(Own(0.1))
    t.fit(X, Y, epochs=2)
    assert t.step_count == 4
    with pytest.raises(ValueError, match="step 6 would compute with eta = nan .*Own.step_scalars"):
        t.fit(X, Y, epochs=2)
    assert t.step_count == 5 and np.isfinite(t.network.flat).all()


@pytest.mark.parametrize("optimizer", [bp.SGD, bp.Adam])
@pytest.mark.parametrize("settings", [{}, {"learning_rate_factors": {"W": 0.5}}], ids=str)
def test_a_rate_beyond_the_networks_type_is_named(optimizer: Any, settings: dict[str, Any]) -> None:
    t = trainer(optimizer(Mine(lambda t: 0.1 if t < 2 else 1e50)), **settings)
    t.fit(X, Y)
    words = r"^the learning rate of step 3 is 1e\+50, by Mine\(\), and the largest number in float32 is 3.4e\+38; lower"
    with pytest.raises(ValueError, match=words):
        t.fit(X, Y)
    assert t.step_count == 2 and np.isfinite(t.network.flat).all()
    with pytest.raises(ValueError, match=r"^the learning rate of step 1 is 1e\+50, and the largest"):
        trainer(optimizer(1e50), **settings).fit(X, Y)


def test_scalars_beyond_the_networks_type_are_named_as_the_optimizer_names_them() -> None:
    t = trainer(bp.SGD(3e38, weight_decay=2.0))
    words = (
        "^step 1 would compute with 1 - eta weight_decay = -inf in float32, which must be finite: lower the learning"
    )
    with pytest.raises(ValueError, match=words):
        t.fit(X, Y)
    t = trainer(bp.SGD(3e38), learning_rate_factors={"W": 2.0})
    with pytest.raises(ValueError, match="would compute with eta with the learning-rate factor 2 = inf in float32"):
        t.fit(X, Y)
    t = trainer(bp.SGD(3e38, weight_decay=1.0), weight_decay_factors={"W": 2.0})
    with pytest.raises(ValueError, match="^step 1 would compute with 1 - 2 eta weight_decay = -inf in float32"):
        t.fit(X, Y)


def test_an_optimizer_of_ones_own_is_checked_where_it_does_not_check_itself() -> None:
    class Own(bp.Optimizer):
        weight_decay = 0.0

        def __init__(self, learning_rate: Any) -> None:
            self.learning_rate = learning_rate

        def rule(self, theta: Any, g: Any, *rest: Any) -> Any:
            return (theta - rest[0] * g,)

    trainer(Own(0.1)).step(X, Y)
    for rate, error in ((lambda t: 0.1, TypeError), (None, ValueError), (math.nan, ValueError)):
        with pytest.raises(error, match="Own needs a learning rate that is a finite number"):
            trainer(Own(rate)).step(X, Y)


def test_logs_and_plateaus_need_no_rate_after_the_last_step(tmp_path: Path) -> None:
    rates = [0.4, 0.3, 0.2, 0.1]
    t = trainer(bp.SGD(Mine(lambda k: rates[k])))
    logs = [bp.CSVLogger(tmp_path / "a.csv"), bp.JSONLinesLogger(tmp_path / "a.jsonl")]
    t.fit(X, Y, epochs=2, callbacks=[*logs, bp.ReduceOnPlateau(patience=0, min_delta=1e9)])
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert [float(line.split(",")[3]) for line in lines[1:]] == [0.2, pytest.approx(0.01)]
    with pytest.raises(IndexError):
        t.learning_rate  # noqa: B018


def test_an_estimators_schedule_may_end_where_training_ends() -> None:
    estimators = pytest.importorskip("gpubp.estimators")
    pytest.importorskip("sklearn")
    rates = [0.4, 0.3, 0.2, 0.1]
    made = estimators.MLPRegressor(
        hidden_layer_sizes=(2,), batch_size=2, max_iter=2, schedule=Mine(lambda k: rates[k]), solver="sgd"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        made.fit(X, Y.ravel())
    assert made.learning_rate_ == 0.1
