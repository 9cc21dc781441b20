"""Training on rows of different lengths: padding and company change nothing, and a resumed training goes on exactly."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_training import device
from time_layers import AddSum, MaskedSum, Words

import gpubp as bp
from gpubp.layers.time_steps import bucket
from gpubp.training import step_cache

N, K = 30, 3
RNG = np.random.default_rng(4)
L = RNG.integers(1, 21, N)
ROWS = [RNG.normal(size=(n, 3)) for n in L]
X = bp.Sequences(ROWS)
Y = RNG.integers(0, K, N)
STEPS = [RNG.integers(0, K, n) for n in L]
WEIGHTS = np.linspace(0.5, 2.0, N)

ENDS = {
    "sum": bp.Sequential(bp.Dense(4), AddSum(), bp.Dropout(0.2), MaskedSum(), bp.BatchNorm(), bp.Dense(K)),
    "lstm": bp.Sequential(bp.LSTM(4), bp.Dense(K)),
    "gru": bp.Sequential(bp.Bidirectional(bp.GRU(3)), bp.Dense(K)),
    "attention": bp.Sequential(
        bp.Dense(4), bp.PositionalEncoding(), bp.MultiHeadAttention(2), bp.LayerNorm(), bp.MeanOverTime(), bp.Dense(K)
    ),
    "max": bp.Sequential(bp.SimpleRNN(4, return_sequences=True), bp.MaxOverTime(), bp.Dense(K)),
}
KEEPS = {
    "each": bp.Sequential(bp.Dense(4), bp.Tanh(), AddSum(), bp.Dense(K)),
    "rnn": bp.Sequential(bp.GRU(4, return_sequences=True), bp.Dropout(0.2), bp.Dense(K)),
    "causal": bp.Sequential(bp.Dense(4), bp.MultiHeadAttention(2, causal=True), bp.Dense(K)),
}
ALL = ENDS | KEEPS


def network(name: str, dtype: str = "float32", **options: Any) -> bp.Network:
    return bp.Network(ALL[name], (None, 3), dtype=dtype, **{"device": "cpu", **options})


def trainer(net: bp.Network, batch_size: int = 8, **options: Any) -> bp.Trainer:
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=batch_size, **options)


def targets(name: str) -> Any:
    return Y if name in ENDS else STEPS


def padded(rows: Any, to: int, fill: float) -> Any:
    made = np.full((len(rows), to, *rows[0].shape[1:]), fill)
    for place, row in zip(made, rows, strict=True):
        place[: len(row)] = row
    return made


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


def flat(outputs: Any) -> Any:
    return outputs.flat if isinstance(outputs, bp.Sequences) else outputs


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
        (bp.BinaryCrossEntropy(pos_weight=(1.0, 2.0)), "accuracy"),
        (bp.SoftmaxCrossEntropy(label_smoothing=0.1), bp.metrics.TopKAccuracy(1)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, bp.Loss) else "",
)
def test_losses_and_metrics_of_single_steps(loss: bp.Loss, metric: Any, rng: np.random.Generator) -> None:
    layers = bp.Sequential(bp.Dense(3), AddSum(), bp.Dense(2))
    net = bp.Network(layers, (None, 3), device="cpu", dtype="float64")
    of = {"numbers": lambda n: rng.uniform(0, 2, (n, 2)), "labels": lambda n: rng.integers(0, 2, (n, 2))}
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


class StopAt(bp.Callback):
    """Writes a checkpoint after a step, and ends training there."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_step_end(self, trainer: Any) -> None:
        if trainer.step_count == self.step:
            trainer.save(self.path)
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {}),
        ("sum", {"metrics": ["accuracy", "f1"], "on_nonfinite": "raise"}),
        ("sum", {"accumulate": 2, "workers": 2, "l2": 1e-3, "penalty_per_weight": True, "on_nonfinite": "rollback"}),
        ("rnn", {"metrics": ["accuracy"], "accumulate": 2}),
        ("causal", {"workers": 2, "on_nonfinite": "skip"}),
    ],
    ids=str,
)
def test_a_resumed_training_has_the_same_bits(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    def fit(t: bp.Trainer, *callbacks: bp.Callback) -> bp.History:
        return t.fit(
            X, targets(name), epochs=3, sample_weight=WEIGHTS, validation_data=(X[:9], targets(name)[:9]),
            callbacks=callbacks, verbose=False,
        )  # fmt: skip

    whole = trainer(network(name), **options)
    history = fit(whole)
    per_epoch = whole.step_count // 3
    for step in (1, per_epoch, per_epoch + 2):
        path = tmp_path / f"{step}.safetensors"
        fit(trainer(network(name), **options), StopAt(step, path))
        again = trainer(network(name), **options)
        again.resume(path)
        assert dict(fit(again)) == dict(history)
        assert again.network.flat.tobytes() == whole.network.flat.tobytes()


def test_other_lengths_are_refused_by_a_resumed_training(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    trainer(network("lstm")).fit(X, Y, epochs=2, callbacks=[StopAt(3, path)], verbose=False)
    again = trainer(network("lstm"))
    again.resume(path)
    with pytest.raises(bp.DataError, match="trained with other data: X differs"):
        again.fit(bp.Sequences(ROWS, np.maximum(L - 1, 1)), Y, epochs=2, verbose=False)


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


@pytest.mark.parametrize("choice", ["raise", "skip", "rollback"])
def test_a_step_that_is_not_finite_is_found_in_its_bucket(choice: str) -> None:
    rows = [row.copy() for row in ROWS]
    rows[int(np.argmax(L))] *= 1e38
    net = bp.Network(bp.Sequential(bp.Dense(4), MaskedSum(), bp.Dense(K)), (None, 3), device="cpu")
    t = trainer(net, on_nonfinite=choice)
    if choice == "raise":
        with np.errstate(all="ignore"), pytest.raises(bp.NonFiniteError, match='the output of layer "'):
            t.fit(rows, Y, epochs=2, verbose=False)
    elif choice == "skip":
        with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="changed nothing"):
            t.fit(rows, Y, epochs=2, verbose=False)
    else:
        with np.errstate(all="ignore"), pytest.warns(RuntimeWarning), pytest.raises(bp.NonFiniteError):
            t.fit(rows, Y, epochs=2, verbose=False)
    assert np.isfinite(net.flat).all()


def test_a_step_that_a_callback_takes_changes_no_sums() -> None:
    class Takes(bp.Callback):
        def on_step_end(self, trainer: Any) -> None:
            before = trainer.network.flat.copy()
            trainer.step(X[:8], Y[:8])
            trainer.network.flat[...] = before

    nets = [network("lstm") for _ in range(2)]
    plain = bp.Trainer(nets[0], bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=8).fit(X, Y, verbose=False)
    t = bp.Trainer(nets[1], bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=8)
    assert t.fit(X, Y, callbacks=[Takes()], verbose=False)["loss"] == plain["loss"]


def test_steps_of_all_lengths_are_kept_within_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_cache, "STEP_BYTES", 0)
    t = trainer(network("lstm"))
    t.fit(X, Y, epochs=2, verbose=False)
    steps = t.step_cache.steps
    memory = [step.memory for step in steps.values()]
    assert len({key.time_steps for key in steps}) == len(memory) > 2
    assert sum(memory) <= step_cache.OF_LARGEST * max(memory)
    monkeypatch.setattr(step_cache, "OF_LARGEST", 1)
    few = trainer(network("lstm"))
    assert few.fit(X, Y, epochs=2, verbose=False)["loss"] == t.history["loss"]
    assert len(few.step_cache.steps) < len(steps)


def test_predictors_of_many_lengths_are_kept_within_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network("lstm")
    wanted = net.predict(X)
    assert len(net._predictors._of_steps) == len(set(X.buckets))
    monkeypatch.setattr("gpubp.network.prediction.ALL_TILES", 0)
    assert np.array_equal(net.predict(X), wanted) and len(net._predictors._of_steps) == 1


def test_a_step_and_a_profile_take_the_longest_row() -> None:
    t = trainer(network("lstm"))
    t.step(ROWS[:5], Y[:5])
    assert t.last_step is not None and t.last_step.x.shape == (5, bucket(int(L[:5].max())), 3)
    assert np.isfinite(t.loss)
    assert t.profile(X, Y, steps=2).rows == 8


def test_a_summary_leaves_the_time_steps_open(capsys: pytest.CaptureFixture[str]) -> None:
    network("lstm").summary()
    shown = capsys.readouterr().out
    assert "(32, 4)" in shown and "a training step on 32 rows of 64 time steps" in shown
    network("rnn").summary()
    assert "(32, None, 3)" in capsys.readouterr().out


@pytest.mark.parametrize("shape", [{}, {"batch_size": 1}, {"batch_size": None}, {"batch_size": 64}])
def test_batches_of_every_size(shape: dict[str, Any]) -> None:
    t = bp.Trainer(network("rnn"), bp.SoftmaxCrossEntropy(), bp.SGD(0.1), **shape)
    history = t.fit(X[:20], STEPS[:20], epochs=2, shuffle=False, verbose=False)
    assert np.isfinite(history["loss"]).all()
    own = t.fit(X[:20], STEPS[:20], shuffle=lambda epoch, n: [3, 3, 1], verbose=False)
    assert np.isfinite(own["loss"][0])


def test_what_looks_at_a_training_knows_lengths(tmp_path: Path) -> None:
    for name in ("sum", "each"):
        found = bp.find_learning_rate(trainer(network(name)), ROWS, targets(name), steps=20)
        assert len(found.rates) > 5
        flow = bp.GradientFlow()
        callbacks = [flow, bp.ExponentialMovingAverage(0.9), bp.EarlyStopping(), bp.Checkpoint(tmp_path / name)]
        t = trainer(network(name))
        t.fit(X, targets(name), epochs=2, validation_fraction=0.2, callbacks=callbacks, verbose=False)
        assert flow.gradients
        with pytest.raises(ValueError, match="rows of different lengths are no pictures"):
            bp.plot_misclassified(t.network, X, targets(name))
        with pytest.raises(bp.DataError, match="a report needs rows of one length"):
            bp.write_report(tmp_path / "report.html", t, X, targets(name))


KILLED = """
import os, sys
import numpy as np, gpubp as bp

class Dies(bp.Callback):
    comes_last = True  # after the checkpoint
    def on_step_end(self, trainer):
        if trainer.step_count == int(sys.argv[2]):
            os._exit(9)

rng = np.random.default_rng(0)
rows = [rng.normal(size=(n, 3)) for n in rng.integers(1, 30, 40)]
net = bp.Network(bp.Sequential(bp.GRU(4), bp.Dense(2)), (None, 3), device="cpu")
trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=4)
trainer.resume(sys.argv[1], missing_ok=True)
kept = bp.Checkpoint(sys.argv[1], every_steps=3)
trainer.fit(rows, rng.integers(0, 2, 40), epochs=3, callbacks=[kept, Dies()], verbose=False)
print(net.flat.tobytes().hex(), dict(trainer.history))
"""


def test_a_training_that_is_killed_goes_on_exactly(tmp_path: Path) -> None:
    def run(folder: str, dies: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(tmp_path / folder), str(dies)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole, killed = run("whole", -1), run("killed", 17)
    assert whole.returncode == 0 and killed.returncode == 9 and not killed.stdout
    again = run("killed", -1)
    assert again.returncode == 0 and again.stdout == whole.stdout
