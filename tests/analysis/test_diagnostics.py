"""GradientFlow and `find_learning_rate`, compared with numbers that are computed apart from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.config import Configurable
from thread_processes import in_threads


def deep(activation: type[bp.Layer], depth: int = 8, **options: Any) -> bp.Network:
    layers = [layer for _ in range(depth) for layer in (bp.Dense(16, **options), activation())]
    return bp.Network(bp.Sequential(*layers, bp.Dense(1)), 4, device="cpu", dtype="float64")


def fit(net: bp.Network, rng: np.random.Generator, **options: Any) -> tuple[bp.GradientFlow, np.ndarray, np.ndarray]:
    X = rng.normal(size=(40, 4))
    y = X[:, 0] * X[:, 1]
    flow = bp.GradientFlow()
    trainer = bp.Trainer(net, bp.MeanSquaredError(), options.pop("optimizer", bp.SGD(0.01)), batch_size=None, **options)
    trainer.fit(X, y, epochs=1, callbacks=[flow])
    return flow, X, y


def test_sizes_equal_those_of_the_gradients(rng: np.random.Generator) -> None:
    net, before = deep(bp.Tanh, 2), deep(bp.Tanh, 2)
    flow, X, y = fit(net, rng)
    _, gradients = before.loss_and_gradients(bp.MeanSquaredError(), X, y)
    names = ["0.W", "2.W", "4.W"]
    assert flow.layers == ["0", "2", "4"]
    rms = [np.sqrt((gradients[n] ** 2).mean()) for n in names]
    assert flow.gradients[0] == pytest.approx(rms, rel=1e-9)
    moved = [np.sqrt(((net.parameters[n] - before.parameters[n]) ** 2).mean()) for n in names]
    assert flow.updates[0] == pytest.approx(moved, rel=1e-9)
    assert flow.weights[0] == pytest.approx([np.sqrt((before.parameters[n] ** 2).mean()) for n in names], rel=1e-9)
    hidden = np.tanh(X @ before.parameters["0.W"] + before.parameters["0.b"])
    assert flow.outputs[0]["1"] == pytest.approx(np.sqrt((hidden**2).mean()), rel=1e-9)


def test_gradient_flow_changes_no_bit(rng: np.random.Generator) -> None:
    one, two = deep(bp.Tanh), deep(bp.Tanh)
    _, X, y = fit(one, rng)
    trainer = bp.Trainer(two, bp.MeanSquaredError(), bp.SGD(0.01), batch_size=None)
    trainer.fit(X, y, epochs=1)
    assert np.array_equal(one.flat, two.flat)
    assert "copyto" not in str(trainer.record)  # and nothing of it stays in steps without it


def test_sizes_sampled_after_steps_are_the_same(rng: np.random.Generator) -> None:
    """Every step of the first epoch is looked at, then every second; without penalties or clipping."""
    X, y = rng.normal(size=(80, 4)), rng.normal(size=80)
    flows = bp.GradientFlow(), bp.GradientFlow(samples=8)
    for flow in flows:
        trainer = bp.Trainer(deep(bp.Tanh, 2), bp.MeanSquaredError(), bp.Adam(0.01), batch_size=10)
        trainer.fit(X, y, epochs=3, callbacks=[flow])
    within, after = flows
    assert after.layers == within.layers and len(after.gradients) == 3
    for kind in ("gradients", "updates"):
        assert getattr(after, kind)[0] == pytest.approx(getattr(within, kind)[0], rel=1e-9)
        assert getattr(after, kind)[2] == pytest.approx(getattr(within, kind)[2], rel=0.5)
        assert getattr(after, kind)[2] != getattr(within, kind)[2]
    assert after.report().startswith("The gradient reaches every layer")


def test_sampling_after_steps_keeps_workers(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(64, 4)), rng.normal(size=64)
    flats = []
    for callbacks in ([], [bp.GradientFlow(samples=2)]):
        trainer = bp.Trainer(deep(bp.Tanh, 2), bp.MeanSquaredError(), bp.SGD(0.01), batch_size=16, workers=2)
        trainer.fit(X, y, epochs=2, callbacks=callbacks)
        assert trainer.last_step is not None and trainer.last_step.workers == 2
        flats.append(trainer.network.flat.copy())
    assert np.array_equal(*flats)


def test_an_invalid_number_of_samples() -> None:
    with pytest.raises(ValueError, match="GradientFlow needs samples to be a whole number, 1 or more, or None"):
        bp.GradientFlow(samples=0)


def test_the_gradient_vanishes_in_a_deep_sigmoid_network(rng: np.random.Generator) -> None:
    starving = fit(deep(bp.Sigmoid), rng)[0].report()
    assert starving.startswith('The gradient vanishes: that of layer "0", Dense(16), is') and "Residual" in starving
    fed = fit(deep(bp.ReLU, weight_initializer=bp.HeNormal()), rng)[0].report()
    assert fed.startswith("The gradient reaches every layer")


def test_an_embedding_of_words_that_say_nothing_is_no_vanishing_gradient(rng: np.random.Generator) -> None:
    """With an L2 penalty its weights, and those on it, fall to 0, and so does its gradient."""
    layers = bp.Sequential(bp.EmbedColumns(bp.Embedding(5, 2)), *bp.mlp(1, (8,)).layers)
    net = bp.Network(layers, input_shape=3, device="cpu", seed=0)
    net.parameters["0.0.W"][:] = 0
    net.parameters["1.W"][2:] = 0
    X = rng.normal(size=(64, 3))
    X[:, 2] = rng.integers(0, 5, 64)
    flow = bp.GradientFlow()
    bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.01)).fit(X, X[:, 1], epochs=1, callbacks=[flow], verbose=False)
    assert flow.gradients[-1][0] == 0 and flow.report().startswith("The gradient reaches every layer")


def test_the_gradient_explodes_with_large_weights(rng: np.random.Generator) -> None:
    report = fit(deep(bp.ReLU, weight_initializer=bp.Normal(std=3.0)), rng, optimizer=bp.SGD(1e-30))[0].report()
    assert report.startswith("The gradient explodes") and "clip_norm" in report


def test_frozen_layers_are_left_out(rng: np.random.Generator) -> None:
    net = deep(bp.Tanh, 2)
    net.freeze("0.*")
    assert fit(net, rng)[0].layers == ["2", "4"]


def test_gradient_flow_is_drawn(tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("matplotlib")
    flow = fit(deep(bp.Sigmoid), rng)[0]
    flow.plot(tmp_path / "flow.png")
    assert (tmp_path / "flow.png").stat().st_size > 5000


def test_the_suggested_learning_rate_trains(tmp_path: Path, rng: np.random.Generator) -> None:
    X = rng.normal(size=(512, 4))
    y = np.sin(X[:, :1] * 2) + X[:, 1:2]
    net = bp.Network(bp.Sequential(bp.Dense(32), bp.Tanh(), bp.Dense(1)), 4, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(), batch_size=32, l2=1e-4)
    trainer.step(X[:32], y[:32])
    flat, steps, moment = net.flat.copy(), trainer.step_count, trainer.update.moments["m"].flat.copy()
    found = bp.find_learning_rate(trainer, X, y)
    assert np.array_equal(net.flat, flat) and trainer.step_count == steps
    assert np.array_equal(trainer.update.moments["m"].flat, moment)
    assert found.rates[0] == pytest.approx(1e-6) and len(found.rates) == len(found.losses)

    def after(rate: float) -> float:
        other = bp.Network(net.layers, 4, device="cpu")
        t = bp.Trainer(other, bp.MeanSquaredError(), bp.Adam(rate), batch_size=32)
        return t.fit(X, y, epochs=5)["loss"][-1]

    assert after(found.suggestion) < 0.5 * min(after(found.suggestion / 30), after(found.suggestion * 1000))
    pytest.importorskip("matplotlib")
    found.plot(tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 5000


def test_an_optimizer_of_ones_own_need_not_be_a_dataclass(rng: np.random.Generator) -> None:
    class Descent(bp.Optimizer):
        def __init__(self, learning_rate: Any = 0.1, weight_decay: float = 0.0) -> None:
            self.learning_rate, self.weight_decay = learning_rate, weight_decay

        def rule(self, theta: Any, g: Any, *rest: Any) -> Any:
            return (theta - rest[0] * g,)

    X, found = rng.normal(size=(128, 4)), []
    for optimizer in (Descent(), bp.SGD(0.1)):
        trainer = bp.Trainer(deep(bp.Tanh), bp.MeanSquaredError(), optimizer)
        found.append(bp.find_learning_rate(trainer, X, X[:, :1], steps=20))
        assert trainer.learning_rate == 0.1
    assert found[0] == found[1]


def test_a_learning_rate_that_cannot_be_set_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))

    class Fixed(bp.Optimizer):
        weight_decay = 0.0

        @property
        def learning_rate(self) -> float:  # type: ignore[override]
            return 0.1

        def rule(self, theta: Any, g: Any, *rest: Any) -> Any:
            return (theta - rest[0] * g,)

    trainer = bp.Trainer(deep(bp.Tanh), bp.MeanSquaredError(), Fixed())
    with pytest.raises(TypeError, match="learning_rate of a copy .* that of Fixed can't be set; make it a field"):
        bp.find_learning_rate(trainer, np.zeros((8, 4)), np.zeros((8, 1)))
    assert trainer.learning_rate == 0.1


def test_an_invalid_sweep() -> None:
    trainer = bp.Trainer(deep(bp.Tanh), bp.MeanSquaredError(), bp.Adam())
    with pytest.raises(ValueError, match="0 < low < high"):
        bp.find_learning_rate(trainer, np.zeros((8, 4)), np.zeros(8), low=1.0, high=0.1)
    with pytest.raises(ValueError, match="steps to be a whole number, 10 or more, and got 3"):
        bp.find_learning_rate(trainer, np.zeros((8, 4)), np.zeros(8), steps=3)


def test_several_processes_see_the_sizes_of_one() -> None:
    """Each has the gradients of its own slice alone, until they are gathered."""

    def sizes(processes: Any) -> Any:
        X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
        net = bp.Network(bp.Sequential(bp.Dense(16), bp.Tanh(), bp.Dense(2)), 4, device="cpu")
        trainer = bp.Trainer(
            net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=16, shards=4, communicator=processes
        )
        flow = bp.GradientFlow(samples=2)
        trainer.fit(X, (X[:, 0] > 0).astype(int), epochs=2, callbacks=[flow])
        return flow.gradients, flow.updates, flow.weights, net.flat.tobytes()

    assert in_threads(2, sizes) == [sizes(None)] * 2
