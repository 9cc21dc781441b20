"""Training: batches, seeds, penalties, clipping, frozen parameters, learning rates, hooks, options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.data.checks import epoch_order


def network(seed: int = 0, dtype: str = "float64", outputs: int = 3) -> bp.Network:
    layers = bp.Sequential(bp.Dense(6), bp.Tanh(), bp.Dense(outputs))
    return bp.Network(layers, 4, device="cpu", dtype=dtype, seed=seed)


def trainer(net: bp.Network, **options: Any) -> bp.Trainer:
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.3, momentum=0.5), **options)


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(50, 4)), rng.integers(0, 3, 50)


def by_hand(net: bp.Network, X: np.ndarray, y: np.ndarray, batches: list[np.ndarray], rate: float) -> list[float]:
    """Plain gradient descent with `loss_and_gradients`, batch by batch; the batches' losses."""
    losses = []
    for rows in batches:
        loss, gradients = net.loss_and_gradients(bp.SoftmaxCrossEntropy(), X[rows], y[rows])
        losses.append(loss)
        for name, g in gradients.items():
            net.parameters[name][...] -= rate * g
    return losses


@pytest.mark.parametrize("batch_size", [1, 16, 32, 50, 64, None])
def test_every_batch_size_equals_steps_by_hand(batch_size: int | None, data: tuple[np.ndarray, np.ndarray]) -> None:
    """Online, mini-batch (the last one ragged: 50 = 32 + 18) and full batch equal the steps done by hand."""
    X, y = data
    one, two = network(), network()
    history = bp.Trainer(one, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=batch_size).fit(X, y, epochs=2)
    rows = batch_size or 50
    for epoch in range(2):
        order = epoch_order(50, seed=0, epoch=epoch)
        batches = [order[start : start + rows] for start in range(0, 50, rows)]
        losses = by_hand(two, X, y, batches, 0.1)
        mean = np.average(losses, weights=[len(b) for b in batches])
        assert history["loss"][epoch] == pytest.approx(mean, rel=1e-12)
    assert one.flat == pytest.approx(two.flat, rel=1e-12, abs=1e-14)


def test_the_order_depends_on_the_seed_alone(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data

    def flat(seed: int, shuffle: bool = True) -> np.ndarray:
        net = network()
        trainer(net, batch_size=8, seed=seed).fit(X, y, epochs=2, shuffle=shuffle)
        return net.flat

    assert np.array_equal(flat(1), flat(1)) and not np.array_equal(flat(1), flat(2))
    assert np.array_equal(flat(1, shuffle=False), flat(2, shuffle=False))


def test_two_fits_equal_one_longer_fit(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    one, two = network(), network()
    a, b = trainer(one), trainer(two)
    a.fit(X, y, epochs=4)
    b.fit(X, y, epochs=1)
    b.fit(X, y, epochs=3)
    assert np.array_equal(one.flat, two.flat) and a.step_count == b.step_count == 8


def test_penalties_are_in_loss_and_gradient(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    net, before = network(), network()
    net.parameters["0.b"][...] = before.parameters["0.b"][...] = 5.0  # biases don't count
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=None, l1=0.01, l2=0.02)
    t.step(X, y)
    loss, gradients = before.loss_and_gradients(bp.SoftmaxCrossEntropy(), X, y)
    for name, a in before.parameters.items():
        if name.endswith("W"):
            loss += 0.01 * np.abs(a).sum() + 0.01 * (a * a).sum()
            gradients[name] = gradients[name] + 0.01 * np.sign(a) + 0.02 * a
        assert net.parameters[name] == pytest.approx(a - 0.1 * gradients[name], rel=1e-10), name
    assert t.loss == pytest.approx(loss, rel=1e-12)


def test_a_penalty_per_weight_is_divided_by_the_batchs_weight(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    w = np.linspace(0.5, 2.0, 50)
    net, by_hand = network(), network()
    options = dict(batch_size=32, l1=0.1, l2=0.3, penalty_per_weight=True)
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), **options)
    history = t.fit(X, y, epochs=1, shuffle=False, sample_weight=w)
    losses = []
    for rows in (slice(0, 32), slice(32, 50)):  # the last batch is short, and has less weight
        share = w[rows].sum()
        one = bp.Trainer(by_hand, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), l1=0.1 / share, l2=0.3 / share)
        one.step(X[rows], y[rows], w[rows])
        losses.append(one.loss)
    assert net.flat == pytest.approx(by_hand.flat, rel=1e-12, abs=1e-14)
    assert history["loss"] == pytest.approx([np.average(losses, weights=[w[:32].sum(), w[32:].sum()])], rel=1e-12)


def test_decay_reaches_weights_only(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    plain, decayed = network(), network()
    for net, decay in ((plain, 0.0), (decayed, 0.5)):
        net.parameters["0.b"][...] = 1.0
        bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1, weight_decay=decay)).step(X, y)
    assert np.array_equal(plain.parameters["0.b"], decayed.parameters["0.b"])
    shrunk = network().parameters["0.W"] * 0.1 * 0.5
    assert plain.parameters["0.W"] - decayed.parameters["0.W"] == pytest.approx(shrunk, rel=1e-9)


def test_clipping(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    for options, norm in (({"clip_norm": 0.01}, 0.01), ({"clip_value": 0.001}, None)):
        net, before = network(), network()
        bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(1.0), **options).step(X, y)
        moved = np.concatenate([(before.parameters[n] - net.parameters[n]).ravel() for n in net.parameters])
        if norm:
            assert np.linalg.norm(moved) == pytest.approx(norm, rel=1e-9)
        else:
            assert np.abs(moved).max() == pytest.approx(0.001, rel=1e-9)


def test_frozen_parameters_stay_and_have_no_gradients(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    net = network()
    net.freeze("0.*")
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam())
    assert list(t.update.moments["m"]) == ["2.W", "2.b"]
    before = {n: a.copy() for n, a in net.parameters.items()}
    t.fit(X, y, epochs=2)
    for name, a in net.parameters.items():
        assert np.array_equal(a, before[name]) == name.startswith("0."), name
    frozen = str(next(iter(t.step_cache.steps.values())).record)
    net.unfreeze()
    t.fit(X, y, epochs=2)
    assert not np.array_equal(net.parameters["0.W"], before["0.W"])
    whole = str(next(iter(t.step_cache.steps.values())).record)
    assert whole.count("dot(") == frozen.count("dot(") + 3  # dx above, dW and db below
    net.freeze("*")
    with pytest.raises(ValueError, match="every parameter is frozen"):
        t.fit(X, y)
    with pytest.raises(ValueError, match="layers have no parameters"):
        bp.Trainer(bp.Network(bp.Softmax(), 3, device="cpu"), bp.MeanSquaredError(), bp.SGD()).fit(X[:, :3], X[:, :3])
    with pytest.raises(ValueError, match="no parameter is called '7.*'; there are 0.W"):
        net.freeze("7.*")


def test_learning_rate_factors(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    plain, slow = network(), network()
    bp.Trainer(plain, bp.SoftmaxCrossEntropy(), bp.SGD(0.1)).step(X, y)
    bp.Trainer(slow, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), learning_rate_factors={"0.*": 0.1, "2.b": 0.0}).step(X, y)
    start = network().parameters
    moved = {n: (plain.parameters[n] - start[n], slow.parameters[n] - start[n]) for n in start}
    assert moved["0.W"][1] == pytest.approx(0.1 * moved["0.W"][0], rel=1e-9)
    assert moved["2.W"][1] == pytest.approx(moved["2.W"][0], rel=1e-12)
    assert not moved["2.b"][1].any() and moved["2.b"][0].any()


class Log(bp.Callback):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_train_begin(self, trainer: bp.Trainer) -> None:
        self.calls.append("begin")

    def on_step_end(self, trainer: bp.Trainer) -> None:
        self.calls.append("step")

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        self.calls.append(f"epoch {trainer.epoch} {sorted(logs)}")

    def on_train_end(self, trainer: bp.Trainer) -> None:
        self.calls.append("end")


def test_hooks_are_called_in_order(data: tuple[np.ndarray, np.ndarray]) -> None:
    log = Log()
    trainer(network(), batch_size=32).fit(*data, epochs=2, callbacks=[log])
    assert log.calls == ["begin", "step", "step", "epoch 1 ['loss']", "step", "step", "epoch 2 ['loss']", "end"]


class Script(bp.Callback):
    """Puts scripted values where the trainer's own were, before other callbacks look."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        logs["loss"] = self.values[trainer.epoch - 1]
        trainer.network.flat[...] = trainer.epoch


@pytest.mark.parametrize(
    ("options", "epochs", "best"),
    [
        ({"patience": 2}, 5, 3),
        ({"patience": 3}, 7, 7),
        ({"patience": 2, "min_delta": 0.5}, 3, 1),
        ({"patience": 2, "restore_best": False}, 5, None),
        ({"patience": 0}, 4, 3),
    ],
)
def test_early_stopping(
    options: dict[str, Any], epochs: int, best: int | None, data: tuple[np.ndarray, np.ndarray]
) -> None:
    """Losses 3, 2.9, 2.7, 2.8, 2.8, 2.6, 2.5 ...: when it ends, and whose parameters stay."""
    script = Script([3.0, 2.9, 2.7, 2.8, 2.8, 2.6, 2.5])
    net = network()
    stopping = bp.EarlyStopping(**options)
    history = trainer(net).fit(*data, epochs=7, callbacks=[script, stopping])
    assert history.epochs == epochs
    assert (net.flat == (epochs if best is None else best)).all()
    if best is not None:
        assert stopping.best_epoch == best


def test_an_unknown_monitor_is_an_error(data: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="watches 'val_loss', and an epoch reports loss"):
        trainer(network()).fit(*data, callbacks=[bp.EarlyStopping("val_loss")])


def test_reduce_on_plateau(data: tuple[np.ndarray, np.ndarray]) -> None:
    t = trainer(network())
    rates = []
    watch = bp.LambdaCallback(on_epoch_end=lambda trainer, logs: rates.append(trainer.learning_rate))
    reduce = bp.ReduceOnPlateau(factor=0.1, patience=2, minimum=0.005)
    t.fit(*data, epochs=7, callbacks=[Script([3, 2, 2, 2, 2, 2, 2.0]), reduce, watch])
    assert rates == pytest.approx([0.3, 0.3, 0.3, 0.03, 0.03, 0.005, 0.005])


def test_steps_use_the_learning_rate_of_the_schedule(data: tuple[np.ndarray, np.ndarray]) -> None:
    """Through the table that is computed 256 steps ahead, and after a change in its middle."""
    schedule = bp.InverseTimeDecay(0.5, decay=1.0, steps=3)
    one, two = network(), network()
    t = bp.Trainer(one, bp.SoftmaxCrossEntropy(), bp.SGD(schedule), batch_size=None)
    for k in range(300):
        if k == 100:
            t.update.factor = 0.5
        assert t.learning_rate == schedule(k) * (0.5 if k >= 100 else 1.0)
        t.step(*data)
        by_hand(two, *data, [np.arange(50)], schedule(k) * (0.5 if k >= 100 else 1.0))
    assert one.flat == pytest.approx(two.flat, rel=1e-9)


def test_ctrl_c_in_a_callback_keeps_the_history(data: tuple[np.ndarray, np.ndarray]) -> None:
    class Interrupt(bp.Callback):
        def on_step_end(self, trainer: bp.Trainer) -> None:
            if trainer.step_count == 5:
                raise KeyboardInterrupt

    log = Log()
    history = trainer(network()).fit(*data, epochs=10, callbacks=[Interrupt(), log])
    assert history.interrupted and history.epochs == 2 and log.calls[-1] == "end"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size to be a whole number, 1 or more, or None"),
        ({"batch_size": 2.5}, "batch_size to be a whole number, 1 or more, or None"),
        ({"clip_norm": 0}, "clip_norm to be a number, above 0, or None, and got 0"),
        ({"l2": -1}, "Trainer needs l2 to be a number, 0 or more"),
        ({"metrics": ("f7",)}, "there is no metric 'f7'"),
        ({"metrics": ("mae",)}, "judges numbers or labels"),
        ({"learning_rate_factors": {"9.*": 1.0}}, "no parameter is called"),
    ],
)
def test_invalid_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trainer(network(), **options)


def test_a_class_in_place_of_an_object_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"write SGD\(\.\.\.\)"):
        bp.Trainer(network(), bp.SoftmaxCrossEntropy(), bp.SGD)


@pytest.mark.parametrize("option", ["clip_norm", "clip_value"])
def test_an_infinite_limit_clips_nothing(option: str) -> None:
    net = bp.Network(bp.Dense(1), 2, device="cpu")
    assert bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), **{option: np.inf}).settings[option] is None
