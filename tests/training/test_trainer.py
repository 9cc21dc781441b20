"""Training: batches, weights, validation, stopping, hooks."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
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
def test_all_batch_sizes_are_the_same_loop(batch_size: int | None, data: tuple[np.ndarray, np.ndarray]) -> None:
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


def test_a_weight_of_two_is_the_row_twice(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    w = np.where(np.arange(50) % 3 == 0, 2, 1)
    one, two, three = network(), network(), network()
    a = trainer(one, batch_size=None).fit(X, y, epochs=3, sample_weight=w)
    b = trainer(two, batch_size=None).fit(np.repeat(X, w, axis=0), np.repeat(y, w), epochs=3)
    trainer(three, batch_size=None).fit(X, y, epochs=3)
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-12) and one.flat == pytest.approx(two.flat, rel=1e-10)
    assert one.flat != pytest.approx(three.flat, rel=1e-3)


def test_rows_of_weight_zero_are_not_there(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    w = (np.arange(50) < 30) * 1.0
    one, two = network(), network()
    trainer(one, batch_size=None).fit(X, y, epochs=3, sample_weight=w)
    trainer(two, batch_size=None).fit(X[:30], y[:30], epochs=3)
    assert one.flat == pytest.approx(two.flat, rel=1e-10)


def test_class_weights_are_row_weights(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    one, two, three = network(), network(), network()
    a = trainer(one).fit(X, y, epochs=2, class_weight={0: 3.0, 2: 0.5})
    b = trainer(two).fit(X, y, epochs=2, sample_weight=np.array([3.0, 1.0, 0.5])[y])
    assert a["loss"] == b["loss"] and np.array_equal(one.flat, two.flat)
    trainer(three).fit(X, y, epochs=2, class_weight="balanced")
    four = network()
    trainer(four).fit(X, y, epochs=2, sample_weight=(50 / (3 * np.bincount(y)))[y])
    assert np.array_equal(three.flat, four.flat)


def test_the_seed_decides_the_order_and_nothing_else_does(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data

    def flat(seed: int, shuffle: bool = True) -> np.ndarray:
        net = network()
        trainer(net, batch_size=8, seed=seed).fit(X, y, epochs=2, shuffle=shuffle)
        return net.flat

    assert np.array_equal(flat(1), flat(1)) and not np.array_equal(flat(1), flat(2))
    assert np.array_equal(flat(1, shuffle=False), flat(2, shuffle=False))


def test_two_fits_are_one_longer_fit(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    one, two = network(), network()
    a, b = trainer(one), trainer(two)
    a.fit(X, y, epochs=4)
    b.fit(X, y, epochs=1)
    b.fit(X, y, epochs=3)
    assert np.array_equal(one.flat, two.flat) and a.step_count == b.step_count == 8


def test_validation_data_and_evaluate_agree(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    net = network()
    t = trainer(net, metrics=("accuracy",), l2=0.1)
    history = t.fit(X[:30], y[:30], epochs=2, validation_data=(X[30:], y[30:]))
    assert t.evaluate(X[30:], y[30:]) == {"loss": history["val_loss"][-1], "accuracy": history["val_accuracy"][-1]}
    accuracy = (net.predict(X[30:]).argmax(axis=1) == y[30:]).mean()
    assert history["val_accuracy"][-1] == pytest.approx(accuracy)
    plain, _ = net.loss_and_gradients(bp.SoftmaxCrossEntropy(), X[30:], y[30:], training=False)
    penalty = 0.05 * sum((net.parameters[n] ** 2).sum() for n in ("0.W", "2.W"))
    assert history["val_loss"][-1] == pytest.approx(plain + penalty, rel=1e-12)


def test_a_validation_fraction_is_kept_out_of_training(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    net = network()
    t = trainer(net, batch_size=None)
    history = t.fit(X, y, epochs=3, validation_fraction=0.2)
    assert len(history["val_loss"]) == 3 and t.step_count == 3
    seen = bp.data.split(50, 0.2, seed=0)[0]
    assert len(seen) == 40
    other = network()
    trainer(other, batch_size=None).fit(X[seen], y[seen], epochs=3)
    assert net.flat == pytest.approx(other.flat, rel=1e-12)


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


def test_a_penalty_per_weight_goes_by_the_batch(data: tuple[np.ndarray, np.ndarray]) -> None:
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


def test_the_order_of_an_epoch_may_be_given(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    orders = [np.arange(50)[::-1], np.arange(0, 50, 2)]
    one, two = network(), network()
    trainer(one).fit(X, y, epochs=2, shuffle=lambda epoch, n: orders[epoch])
    t = trainer(two)
    for rows in (orders[0][:32], orders[0][32:], orders[1]):
        t.step(X[rows], y[rows])
    assert one.flat == pytest.approx(two.flat, rel=1e-10)
    for wrong in ([], [50], [-1], [0.5], [[0]]):
        with pytest.raises(bp.DataError, match="shuffle"):
            trainer(network()).fit(X, y, shuffle=lambda epoch, n, wrong=wrong: wrong)


def test_sparse_rows_train_and_predict_as_dense_ones(data: tuple[np.ndarray, np.ndarray]) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    X, y = data
    X = np.where(np.abs(X) > 1, X, 0.0)
    results = []
    for given in (X, sparse.csr_array(X), sparse.csc_matrix(X), sparse.coo_array(X), sparse.csr_matrix(X, dtype="f4")):
        net = network(dtype=str(given.dtype))
        trainer(net).fit(given, y, epochs=2, validation_data=(given, y))
        results.append(net.predict(given))
    for result in results[1:4]:
        assert np.array_equal(result, results[0])
    assert results[4] == pytest.approx(results[0], abs=1e-5)
    X[3, 2] = np.nan
    with pytest.raises(bp.DataError, match="nan"):
        net.predict(sparse.csr_array(X))
    with pytest.raises(bp.DataError, match=r"rows of shape \(4,\)"):
        net.predict(sparse.csr_array(np.eye(3)))


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


def test_frozen_parameters_stay_and_cost_nothing(data: tuple[np.ndarray, np.ndarray]) -> None:
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


def test_hooks_come_in_order(data: tuple[np.ndarray, np.ndarray]) -> None:
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


def test_a_name_that_is_not_reported_is_said(data: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="watches 'val_loss', and an epoch reports loss"):
        trainer(network()).fit(*data, callbacks=[bp.EarlyStopping("val_loss")])


def test_reduce_on_plateau(data: tuple[np.ndarray, np.ndarray]) -> None:
    t = trainer(network())
    rates = []
    watch = bp.LambdaCallback(on_epoch_end=lambda trainer, logs: rates.append(trainer.learning_rate))
    reduce = bp.ReduceOnPlateau(factor=0.1, patience=2, minimum=0.005)
    t.fit(*data, epochs=7, callbacks=[Script([3, 2, 2, 2, 2, 2, 2.0]), reduce, watch])
    assert rates == pytest.approx([0.3, 0.3, 0.3, 0.03, 0.03, 0.005, 0.005])


def test_the_learning_rate_a_step_uses_is_the_schedule(data: tuple[np.ndarray, np.ndarray]) -> None:
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


def test_a_real_ctrl_c(tmp_path: Any) -> None:
    script = textwrap.dedent(
        """
        import numpy as np, gpubp as bp
        net = bp.Network(bp.Dense(2), 3, device="cpu")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD())
        print("ready", flush=True)
        history = trainer.fit(np.ones((64, 3)), np.zeros(64, int), epochs=10**7)
        print(history.interrupted, history.epochs > 0, np.isfinite(net.flat).all(), flush=True)
        """
    )
    hears_it = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job is deaf to it
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, preexec_fn=hears_it
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=30)[0] == "True True True\n"
    assert running.returncode == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size is a whole number"),
        ({"batch_size": 2.5}, "batch_size is a whole number"),
        ({"clip_norm": 0}, "clip_norm must be above 0"),
        ({"l2": -1}, "l2 must be 0 or more"),
        ({"metrics": ("f1",)}, "there is no metric 'f1'"),
        ({"metrics": ("mae",)}, "judges numbers or labels"),
        ({"learning_rate_factors": {"9.*": 1.0}}, "no parameter is called"),
    ],
)
def test_options_that_can_not_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trainer(network(), **options)


def test_classes_given_for_objects_are_seen() -> None:
    with pytest.raises(TypeError, match=r"write SGD\(\.\.\.\)"):
        bp.Trainer(network(), bp.SoftmaxCrossEntropy(), bp.SGD)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        (np.zeros((5, 3)), np.zeros(5, int), r"X has rows of shape \(3,\), and the network takes rows of shape \(4,\)"),
        (np.zeros((5, 2, 2)), np.zeros(5, int), r"X.reshape\(-1, 4\)"),
        (np.zeros(4), np.zeros(1, int), r"X\[None\]"),
        (np.zeros((0, 4)), np.zeros(0, int), "X has no rows"),
        (np.zeros((5, 4)), np.zeros(4, int), "X has 5 rows and y has 4"),
        (np.zeros((2, 4)), np.array([0, 3]), "y holds the class 3, and the network has 3 outputs"),
        (np.zeros((2, 4)), np.array([0, -1]), "y holds the class -1"),
        (np.zeros((2, 4)), np.array([0.0, 0.5]), "needs class indices, whole numbers"),
        (np.zeros((2, 4)), np.array([0.0, np.nan]), "y holds nan in row 1"),
        (np.array([[0.0] * 4, [0, 0, np.inf, 0]]), np.array([0, 1]), "X holds inf in row 1"),
        (np.zeros((2, 4)), np.array([[0.2, 0.2, 0.2]] * 2), "sums to 0.6"),
        (np.array([["a"] * 4] * 2), np.array([0, 1]), "needs numbers"),
        (np.zeros((2, 4)), np.array(["cat", "dog"]), "number the classes"),
        (np.zeros((2, 4)), np.zeros((2, 5)), r"one-hot rows of shape \(3,\)"),
    ],
)
def test_data_that_does_not_fit(X: np.ndarray, y: np.ndarray, words: str) -> None:
    """One clear error, from fit, step and evaluate alike, and nothing trained."""
    net = network()
    before = net.flat.copy()
    t = trainer(net)
    for use in (t.fit, t.step, t.evaluate):
        with pytest.raises(bp.DataError, match=words):
            use(X, y)
    with pytest.raises(bp.DataError, match="in validation_data, "):
        t.fit(np.zeros((2, 4)), [0, 1], validation_data=(X, y))
    assert np.array_equal(net.flat, before) and t.step_count == 0


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"sample_weight": np.ones(3)}, "one weight a row"),
        ({"sample_weight": [-1.0] * 50}, "0 or more"),
        ({"sample_weight": np.zeros(50)}, "not all of them zero"),
        ({"class_weight": {7: 1.0}}, "does not hold: 7"),
        ({"class_weight": "even"}, "balanced"),
        ({"class_weight": {0: -2.0}}, "weights are 0 or more"),
        ({"validation_fraction": 1.5}, "between 0 and 1"),
    ],
)
def test_weights_that_can_not_be(weights: dict[str, Any], words: str, data: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(bp.DataError, match=words):
        trainer(network()).fit(*data, **weights)


def test_metrics_are_weighted_means(data: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> None:
    X, y = data
    w = rng.uniform(size=50)
    net = network()
    report = trainer(net, metrics="accuracy").evaluate(X, y, sample_weight=w)
    right = net.predict(X).argmax(axis=1) == y
    assert report["accuracy"] == pytest.approx(np.average(right, weights=w))
    numbers = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), metrics=("mae", "mse"))
    t = rng.normal(size=(50, 3))
    report = numbers.evaluate(X, t, sample_weight=w)
    error = net.predict(X) - t
    assert report["mean_absolute_error"] == pytest.approx(np.average(np.abs(error).mean(axis=1), weights=w))
    assert (
        report["mean_squared_error"] == report["loss"] == pytest.approx(np.average((error**2).mean(axis=1), weights=w))
    )
    labels = bp.Trainer(net, bp.BinaryCrossEntropy(), bp.SGD(), metrics="accuracy")
    truth = rng.integers(0, 2, (50, 3))
    agreed = ((net.predict(X) > 0) == truth).mean(axis=1)
    assert labels.evaluate(X, truth, w)["accuracy"] == pytest.approx(np.average(agreed, weights=w))
