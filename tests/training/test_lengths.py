"""Training on rows of different lengths: padding and company change nothing."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_training import device
from time_layers import AddSum, MaskedSum, Words

import gpubp as bp
from length_cases import ALL, ENDS, RNG, ROWS, STEPS, WEIGHTS, K, L, N, X, Y, flat, network, padded, targets, trainer


@pytest.mark.parametrize("name", ALL)
def test_padding_changes_no_bit(name: str) -> None:
    """Left out, longer, or made of NaN."""
    made = []
    for given, y in (
        (ROWS, targets(name)),
        (bp.Sequences(padded(ROWS, 20, np.nan), L), targets(name) if name in ENDS else padded(STEPS, 20, np.nan)),
        (bp.Sequences(padded(ROWS, 33, 7.0), L), targets(name) if name in ENDS else padded(STEPS, 33, 99)),
    ):
        net = network(name)
        history = trainer(net, metrics=["accuracy"]).fit(
            given, y, epochs=2, sample_weight=WEIGHTS, validation_fraction=0.2, verbose=False
        )
        made.append((net.flat.tobytes(), dict(history)))
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("name", ALL)
def test_a_prediction_does_not_depend_on_company(name: str) -> None:
    net = network(name)
    together = net.predict(X)
    for i in range(0, N, 5):
        assert np.array_equal(flat(net.predict([ROWS[i]])), together[i : i + 1] if name in ENDS else together[i])
    some = np.random.default_rng(1).permutation(N)[:17]
    assert np.array_equal(flat(net.predict(X[some])), flat(together[some]))
    many = net.predict(bp.Sequences([ROWS[3]] * 100 + ROWS))
    assert np.array_equal(flat(many[100:]), flat(together))
    assert np.array_equal(flat(many[[77]]), flat(together[[3]]))


@pytest.mark.parametrize("name", ALL)
def test_loss_and_gradients_are_the_means_of_rows_by_themselves(name: str) -> None:
    """Each row in a network of its own length, which knows no padding."""
    if name == "sum":
        pytest.skip("BatchNorm is of the whole batch")
    loss, some = bp.SoftmaxCrossEntropy(), [0, 5, 9, 11, 20]
    net, y = network(name, "float64"), [targets(name)[i] for i in some]
    w = WEIGHTS[some] / WEIGHTS[some].sum()
    found, gradients = net.loss_and_gradients(loss, [ROWS[i] for i in some], y, WEIGHTS[some], training=False)
    wanted, sums = 0.0, {n: np.zeros(a.shape) for n, a in gradients.items()}
    for i, t, share in zip(some, y, w, strict=True):
        alone = bp.Network(net.layers, (int(L[i]), 3), device="cpu", dtype="float64")
        alone.flat[...] = net.flat
        value, own = alone.loss_and_gradients(loss, ROWS[i][None], [t], training=False)
        wanted += share * value
        for n, a in own.items():
            sums[n] += share * a
    assert found == pytest.approx(wanted, rel=1e-12)
    for n, a in gradients.items():
        np.testing.assert_allclose(a, sums[n], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("loss", "metric"),
    [
        (bp.MeanSquaredError(), "mae"),
        (bp.Huber(0.5), "mse"),
        (bp.Poisson(), None),
        (bp.CosineSimilarity(), "mse"),
        (bp.GaussianNLL(), "mae"),
        (bp.Focal(1.5), "accuracy"),
        (bp.BinaryCrossEntropy(pos_weight=(1.0, 2.0)), "accuracy"),
        (bp.SoftmaxCrossEntropy(label_smoothing=0.1), bp.metrics.TopKAccuracy(1)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, bp.Loss) else "",
)
def test_losses_and_metrics_of_single_steps(loss: bp.Loss, metric: Any, rng: np.random.Generator) -> None:
    layers = bp.Sequential(bp.Dense(3), AddSum(), bp.Dense(2))
    net = bp.Network(layers, (None, 3), device="cpu", dtype="float64")
    width = 1 if isinstance(loss, bp.GaussianNLL) else 2
    of = {"numbers": lambda n: rng.uniform(0, 2, (n, width)), "labels": lambda n: rng.integers(0, 2, (n, 2))}
    make: Callable[[int], Any] = of.get(loss.predicts, lambda n: rng.integers(0, 2, n))
    y = [make(int(n)) for n in L]
    metrics = [] if metric is None else [metric]
    t = bp.Trainer(net, loss, bp.SGD(), metrics=metrics)
    together = t.evaluate(X, y, WEIGHTS)
    alone = []
    for i in range(N):
        fixed = bp.Network(layers, (int(L[i]), 3), device="cpu", dtype="float64")
        fixed.flat[...] = net.flat
        alone.append(bp.Trainer(fixed, loss, bp.SGD(), metrics=metrics).evaluate(ROWS[i][None], y[i][None]))
    for key, value in together.items():
        assert value == pytest.approx(np.average([a[key] for a in alone], weights=WEIGHTS), rel=1e-9)
    some = list(range(6))
    _, gradients = net.loss_and_gradients(loss, X[some], bp.Sequences(y)[some])
    step = 1e-6
    for name in gradients:
        place, v = net.parameters[name], rng.normal(size=net.parameters[name].shape)
        before, values = place.copy(), []
        for sign in (1, -1):
            place[...] = before + sign * step * v
            values.append(net.loss_and_gradients(loss, X[some], bp.Sequences(y)[some])[0])
        place[...] = before
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(float((gradients[name] * v).sum()), rel=1e-5)


@pytest.mark.parametrize("options", [{"ignore_index": -100}, {"class_weight": (1.0, 3.0, 0.5)}], ids=str)
def test_a_loss_that_counts_takes_a_batch_as_one_set_of_steps(options: dict[str, Any]) -> None:
    """As PyTorch, to which padding is a position to be left out."""
    torch = pytest.importorskip("torch")
    rng, net = np.random.default_rng(0), network("each", "float64")
    y = [
        np.where(rng.random(n) < 0.3, -100, t) if "ignore_index" in options else t
        for n, t in zip(L, STEPS, strict=True)
    ]
    weight = options.get("class_weight")
    weight = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    z, t = torch.tensor(net.predict(X).flat), torch.tensor(np.concatenate(y))
    wanted = float(torch.nn.functional.cross_entropy(z, t, weight))
    trained = bp.Trainer(net, bp.SoftmaxCrossEntropy(**options), bp.SGD(0.0), metrics=["accuracy"], batch_size=8)
    found = trained.evaluate(X, y)
    counts = t >= 0
    assert found["loss"] == pytest.approx(wanted, rel=1e-12)
    assert found["accuracy"] == pytest.approx(float((z.argmax(-1) == t)[counts].double().mean()), rel=1e-12)
    assert trained.fit(X, y, verbose=False)["loss"][0] == pytest.approx(wanted, rel=1e-12)
    assert net.loss_and_gradients(trained.loss_function, X, y)[0] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("name", ["sum", "lstm", "each"])
def test_recorded_steps_have_the_bits_of_others_on_every_device(name: str) -> None:
    y = Y if name in ENDS else bp.Sequences(STEPS)
    found = bp.compare_backends(
        ALL[name], X, y, loss=bp.SoftmaxCrossEntropy(), backends=("cpu", device()), steps=3, batch_size=4
    )
    assert found.ok and found.replayed["cpu"]


@pytest.mark.parametrize("name", ["sum", "each"])
def test_training_on_a_device_is_training_on_the_cpu(name: str) -> None:
    nets = [network(name, device=backend) for backend in ("cpu", device())]
    histories = [
        trainer(net, metrics=["accuracy"]).fit(X, targets(name), epochs=2, verbose=False)["loss"] for net in nets
    ]
    np.testing.assert_allclose(*histories, rtol=1e-5)
    np.testing.assert_allclose(*(flat(net.predict(X)) for net in nets), rtol=1e-3, atol=1e-4)


def test_workers_and_pieces_change_roundings_only() -> None:
    found = []
    for options in ({}, {"workers": 2}, {"batch_size": 4, "accumulate": 2}):
        net = network("rnn", "float64")
        trainer(net, **options).fit(X, STEPS, epochs=2, sample_weight=WEIGHTS, verbose=False)
        found.append(net.flat.copy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-9, atol=1e-12)


def test_a_saved_network_knows_lengths(tmp_path: Path) -> None:
    net = network("gru")
    trainer(net).fit(X, Y, verbose=False)
    net.save(tmp_path / "a.safetensors")
    loaded = bp.load(tmp_path / "a.safetensors", device="cpu")
    assert loaded.input_shape == (None, 3) and "input_shape=(None, 3)" in repr(loaded)
    for other in (loaded, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert np.array_equal(other.predict(X), net.predict(X))
    t = pickle.loads(pickle.dumps(trainer(network("gru"))))
    assert t.fit(ROWS, Y, verbose=False).epochs == 1


def test_words_of_different_lengths() -> None:
    ids = [RNG.integers(0, 9, n) for n in L]
    net = bp.Network(bp.Sequential(bp.Embedding(9, 4), bp.LSTM(4), bp.Dense(K)), (None,), device="cpu")
    history = trainer(net).fit(ids, Y, epochs=3, validation_fraction=0.1, verbose=False)
    assert history["loss"][-1] < history["loss"][0]
    ids[17] = np.array([1, 2, 9])
    with pytest.raises(bp.DataError, match=r"X holds 9, and Embedding\(9, 4\) .* row 17"):
        trainer(net).fit(ids, Y, verbose=False)


class Times10(bp.Layer):
    """x · 10: numbers that a layer computes below an Embedding."""

    over_time = "each"

    def plan(self, x: Any) -> bp.Plan:
        return bp.Plan(output=x, arrays={"y": x, "dx": x})

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return ws.xp.multiply(x, ws.be.constant(10.0, ws.dtype), out=ws.y)

    def input_gradient(self, ws: bp.Workspace, dy: Any) -> Any:
        return ws.dx


def test_computed_words_that_are_none_are_named_by_their_row() -> None:
    ids = [np.ones(n) for n in L]
    ids[23] = np.full(L[23], 3.0)
    net = bp.Network(bp.Sequential(Times10(), bp.Embedding(20, 4), MaskedSum(), bp.Dense(K)), (None,), device="cpu")
    t = trainer(net)
    for call in (
        lambda: net.predict(ids),
        lambda: t.evaluate(ids, Y),
        lambda: t.fit(ids, Y, verbose=False),
        lambda: t.fit([np.ones(3)] * 8, Y[:8], validation_data=(ids, Y), verbose=False),
    ):
        with pytest.raises(bp.DataError, match=r"got 30 from the layers below it, in row .*\b23\b"):
            call()


def test_a_layer_with_a_mask_of_its_own_stays_right_in_buckets() -> None:
    net = bp.Network(bp.Sequential(Words(MaskedSum()), bp.Dense(K)), 20, device="cpu")
    ids = padded([RNG.integers(1, 6, n) for n in L], 20, 0)
    assert trainer(net).fit(ids, Y, verbose=False).epochs == 1


def test_predictors_of_many_lengths_are_kept_within_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network("lstm")
    wanted = net.predict(X)
    assert len(net._predictors._of_steps) == len(set(X.buckets))
    monkeypatch.setattr("gpubp.network.prediction.ALL_TILES", 0)
    assert np.array_equal(net.predict(X), wanted) and len(net._predictors._of_steps) == 1


def test_a_summary_leaves_the_time_steps_open(capsys: pytest.CaptureFixture[str]) -> None:
    network("lstm").summary()
    shown = capsys.readouterr().out
    assert "(32, 4)" in shown and "a training step on 32 rows of 64 time steps" in shown
    network("rnn").summary()
    assert "(32, None, 3)" in capsys.readouterr().out
    few = bp.Network(bp.Sequential(bp.PositionalEmbedding(40), bp.MeanOverTime()), (None, 3), device="cpu")
    few.summary()
    assert "(32, None, 3)" in (shown := capsys.readouterr().out) and "on 32 rows of 32 time steps" in shown


def test_more_time_steps_than_a_layer_takes_are_an_error_before_any_step() -> None:
    layers = bp.Sequential(bp.PositionalEmbedding(16), bp.MeanOverTime(), bp.Dense(K))
    net = bp.Network(layers, (None, 3), device="cpu")
    before = net.flat.copy()
    with pytest.raises(bp.ShapeError, match=r'PositionalEmbedding\(16.*\) at "0" .*'):
        trainer(net).fit(X, Y, verbose=False)
    assert np.array_equal(net.flat, before)
    few = [row[:16] for row in ROWS]
    assert trainer(net).fit(few, Y, verbose=False).epochs == 1
