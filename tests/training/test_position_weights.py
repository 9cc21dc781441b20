"""sample_weight with a weight for each position of the outputs: L = Σ w l / Σ w v over all positions of all rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.data.checks import as_targets
from gpubp.step.batch import Batch, TargetShape
from gpubp.step.step import StepJob, TrainingStep
from gpubp.step.update import Update
from strict import StrictProducts, strict_cupy
from thread_processes import in_threads

CE = bp.SoftmaxCrossEntropy
ROWS, T, K = 29, 4, 3


class Data:
    """29 rows of 4 positions, the weights of which are 0 in every fifth row and at some positions of others."""

    def __init__(self, kind: str = "classes", rows: int = ROWS) -> None:
        rng = np.random.default_rng(1)
        self.X, self.u = rng.normal(size=(rows, T, 5)), rng.uniform(0.2, 2.0, (rows, T))
        self.u *= (rng.uniform(size=(rows, T)) < 0.8) & (np.arange(rows) % 5 > 0)[:, None]
        if kind == "classes":
            self.y = rng.integers(0, K, (rows, T))
            self.y[rng.uniform(size=(rows, T)) < 0.2] = -100
            self.loss: bp.Loss = CE(0.1, ignore_index=-100, class_weight=(1.0, 2.0, 0.5))
        else:
            self.y, self.loss = rng.normal(size=(rows, T, K)), bp.Huber(0.7)

    def as_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every position as a row of its own"""
        y = self.y.reshape(-1) if self.y.ndim == 2 else self.y.reshape(-1, K)
        return self.X.reshape(-1, 5), y, self.u.reshape(-1)


def network(shape: Any, device: Any = "cpu", dtype: str = "float64", **options: Any) -> bp.Network:
    layers = bp.Sequential(bp.Dense(6), bp.Tanh(), bp.Dense(K))
    return bp.Network(layers, shape, device=device, dtype=dtype, seed=3, **options)


def fitted(data: Data, options: dict[str, Any], net: bp.Network | None = None, **fit: Any) -> tuple[Any, bp.Trainer]:
    net = network(data.X.shape[1:]) if net is None else net
    settings: dict[str, Any] = {"batch_size": 8, "workers": 1} | options
    trainer = bp.Trainer(net, data.loss, bp.Adam(0.02), **settings)
    given: dict[str, Any] = {"epochs": 3, "sample_weight": data.u, "verbose": False} | fit
    return trainer.fit(data.X, data.y, **given), trainer


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_positions_with_weights_are_rows_with_weights(kind: str) -> None:
    """Of a network that computes each position by itself: loss, gradients, training and evaluation."""
    data = Data(kind)
    X, y, w = data.as_rows()
    one, other = network((T, 5)), network((5,))
    loss, gradients = one.loss_and_gradients(data.loss, data.X, data.y, data.u)
    of_rows, others = other.loss_and_gradients(data.loss, X, y, w)
    assert loss == pytest.approx(of_rows, rel=1e-12)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, others[name], rtol=1e-10, atol=1e-14)
    metrics = ["accuracy", "top_k_accuracy", "f1", "roc_auc"] if kind == "classes" else ["mae", "mse"]
    metrics = [bp.TopKAccuracy(2) if name == "top_k_accuracy" else name for name in metrics]
    options = {"batch_size": None, "metrics": metrics, "l2": 0.01}
    history, trainer = fitted(data, options, one, validation_data=(data.X, data.y, data.u))
    rows = bp.Trainer(other, data.loss, bp.Adam(0.02), **options)
    expected = rows.fit(X, y, epochs=3, sample_weight=w, validation_data=(X, y, w), verbose=False)
    assert dict(history).keys() == dict(expected).keys()
    for name in history:
        assert history[name] == pytest.approx(expected[name], rel=1e-9), name
    np.testing.assert_allclose(one.flat, other.flat, rtol=1e-7, atol=1e-9)
    found = trainer.evaluate(data.X, data.y, data.u)
    assert found == pytest.approx(rows.evaluate(X, y, w), rel=1e-9)
    assert trainer.evaluate(data.X, data.y)["loss"] != pytest.approx(found["loss"], rel=1e-3)


def test_r2_goes_by_the_weights_of_each_number() -> None:
    sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    data = Data("numbers")
    _, trainer = fitted(data, {"metrics": ["r2"]})
    z = np.asarray(trainer.network.predict(data.X))
    scores = [sk.r2_score(data.y[:, p, k], z[:, p, k], sample_weight=data.u[:, p]) for p in range(T) for k in range(K)]
    assert trainer.evaluate(data.X, data.y, data.u)["r2"] == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("kind", ["classes", "numbers"])
@pytest.mark.parametrize(
    "options",
    [
        {"workers": 2},
        {"batch_size": 4, "accumulate": 2},
        {"workers": 2, "batch_size": 4, "accumulate": 2, "on_nonfinite": "raise", "l2": 0.01},
        {"shards": 2},
        {"on_nonfinite": "skip"},
    ],
    ids=str,
)
def test_a_batch_may_be_shared_and_cut(kind: str, options: dict[str, Any]) -> None:
    """The last batch has 5 of 8 rows."""
    data, metrics = Data(kind), ["accuracy", "f1"] if kind == "classes" else ["mae", "r2"]
    plain = {key: value for key, value in options.items() if key == "l2"}
    history, trainer = fitted(data, {"metrics": metrics, **options})
    expected, one = fitted(data, {"metrics": metrics, **plain})
    for name in expected:
        assert history[name] == pytest.approx(expected[name], rel=1e-8), name
    np.testing.assert_allclose(trainer.network.flat, one.network.flat, rtol=1e-6, atol=1e-8)
    assert trainer.loss == pytest.approx(one.loss, rel=1e-8)


def test_an_epoch_reports_the_mean_over_all_its_positions() -> None:
    """And not the mean of its batches; the step that is computed call by call gives the same bits."""
    data = Data()
    history, trainer = fitted(data, {"metrics": "accuracy"}, epochs=1, shuffle=False)
    replayed = trainer.evaluate(data.X, data.y, data.u)
    losses = data.loss.rows(trainer.network.predict(data.X), data.y, each="position")
    v = np.where(data.y < 0, 0.0, np.array([1.0, 2.0, 0.5])[np.maximum(data.y, 0)])
    assert replayed["loss"] == pytest.approx((data.u * losses).sum() / (data.u * v).sum(), rel=1e-12)
    right = np.asarray(trainer.network.predict(data.X)).argmax(axis=-1) == data.y
    assert replayed["accuracy"] == pytest.approx(np.average(right, weights=data.u * (data.y >= 0)), rel=1e-12)
    assert history["loss"][0] > 0


def test_a_recorded_step_gives_the_bits_of_one_that_is_computed_call_by_call() -> None:
    for kind in ("classes", "numbers"):
        data, ends = Data(kind), []
        for replays in (True, False):
            net = network((T, 5))
            job, update = StepJob(net, data.loss), Update(net, bp.Adam(0.02))
            for rows in (np.arange(8), np.arange(8, 14)):
                if not replays or rows[0] == 0:
                    t = as_targets(data.y, data.loss, net.output_shape, ROWS, net.dtype)
                    step = TrainingStep(job, Batch(net, 8, TargetShape.of(t, data.u)), update)
                step.load(data.X, t, rows, data.u[rows])
                step.run()
            ends.append((net.flat.tobytes(), step.last_loss()))
        assert ends[0] == ends[1]


def test_weights_of_1_are_none_and_of_rows_are_those_of_rows() -> None:
    data = Data("numbers")
    for given, same in (
        (np.ones((ROWS, T)), None),
        (np.repeat(data.u[:, :1], T, axis=1), data.u[:, 0]),
    ):
        one, trainer = fitted(data, {"metrics": "mae"}, sample_weight=given)
        other, by_rows = fitted(data, {"metrics": "mae"}, sample_weight=same)
        for name in one:
            assert one[name] == pytest.approx(other[name], rel=1e-10)
        np.testing.assert_allclose(trainer.network.flat, by_rows.network.flat, rtol=1e-7, atol=1e-9)


def test_pictures_with_a_weight_for_each_pixel(rng: np.random.Generator) -> None:
    X, y, u = rng.normal(size=(11, 4, 5, 2)), rng.integers(0, K, (11, 4, 5)), rng.uniform(0, 1, (11, 4, 5))
    u[3] = 0.0
    net = bp.Network(bp.Conv2D(K, 3, padding="same"), (4, 5, 2), device="cpu", dtype="float64")
    trainer = bp.Trainer(net, CE(), bp.SGD(0.1), batch_size=4, metrics=["accuracy"])
    trainer.fit(X, y, epochs=2, sample_weight=u, verbose=False)
    z = np.asarray(net.predict(X))
    losses = CE().rows(z, y, each="position")
    found = trainer.evaluate(X, y, u)
    assert found["loss"] == pytest.approx(np.average(losses, weights=u))
    assert found["accuracy"] == pytest.approx(np.average(z.argmax(axis=-1) == y, weights=u))


@pytest.mark.parametrize("as_given", ["list", "padded"])
def test_rows_of_different_lengths(as_given: str, rng: np.random.Generator) -> None:
    """Time steps that a row does not have count for nothing, whatever stands in the padding."""
    lengths = rng.integers(1, 12, 30)
    X = [rng.normal(size=(n, 5)) for n in lengths]
    y = [rng.integers(0, K, n) for n in lengths]
    u = [rng.uniform(0.1, 1.0, n) * (rng.uniform(size=n) < 0.8) for n in lengths]
    given: Any = u
    if as_given == "padded":
        given = np.full((30, 12), np.nan)
        for i, row in enumerate(u):
            given[i, : len(row)] = row
        given = np.where(np.isnan(given), 7.0, given)
    net = network((None, 5))
    trainer = bp.Trainer(net, CE(), bp.Adam(0.02), batch_size=8, metrics=["accuracy"], workers=1)
    rows = bp.Trainer(network((5,)), CE(), bp.Adam(0.02), batch_size=None, metrics=["accuracy"])
    flat = [np.concatenate(a) for a in (X, y, u)]
    whole, alone = net.loss_and_gradients(CE(), X, y, given), rows.network.loss_and_gradients(CE(), *flat)
    assert whole[0] == pytest.approx(alone[0], rel=1e-12)
    for name in alone[1]:
        np.testing.assert_allclose(whole[1][name], alone[1][name], rtol=1e-9, atol=1e-13)
    assert trainer.evaluate(X, y, given) == pytest.approx(rows.evaluate(*flat), rel=1e-10)
    history = trainer.fit(X, y, epochs=2, sample_weight=given, validation_fraction=0.2, verbose=False)
    assert np.isfinite(history["val_loss"]).all() and history["loss"][1] < history["loss"][0]
    other = bp.Trainer(network((None, 5)), CE(), bp.Adam(0.02), batch_size=8, metrics=["accuracy"], workers=2)
    shared = other.fit(X, y, epochs=2, sample_weight=given, validation_fraction=0.2, verbose=False)
    for name in history:
        assert shared[name] == pytest.approx(history[name], rel=1e-8)


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_on_a_gpu_a_training_is_that_of_a_cpu(kind: str) -> None:
    data = Data(kind)
    metrics = ["accuracy", "f1"] if kind == "classes" else ["mae"]
    found = []
    for device in ("cpu", CUDA(strict_cupy(), products=StrictProducts)):
        history, trainer = fitted(data, {"metrics": metrics}, network((T, 5), device, "float32"))
        host = trainer.backend.to_host
        found.append((history, host(trainer.network.flat), trainer.evaluate(data.X, data.y, data.u)))
    for name in found[0][0]:
        assert found[1][0][name] == pytest.approx(found[0][0][name], rel=1e-4)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-3, atol=1e-5)
    assert found[1][2] == pytest.approx(found[0][2], rel=1e-4)


def test_in_exact_numerics_workers_and_pieces_give_the_same_bits() -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    bits = set()
    for options in ({}, {"workers": 2}, {"batch_size": 64, "accumulate": 2}):
        data = Data(rows=256)
        net = network((T, 5), dtype="float32", numerics="exact")
        settings = {"batch_size": 128, "metrics": ["accuracy", "f1"], **options}
        history, trainer = fitted(data, settings, net, epochs=1)
        bits.add((trainer.network.flat.tobytes(), str(dict(history)), str(trainer.evaluate(data.X, data.y, data.u))))
    assert len(bits) == 1


@pytest.mark.parametrize("lengths", [False, True])
def test_processes_end_with_the_bits_of_one(lengths: bool, rng: np.random.Generator) -> None:
    """Two, with shards; rows of one length, and of different ones."""
    data = Data()
    X, y, u = data.X, data.y, data.u
    if lengths:
        L = rng.integers(1, T + 1, ROWS)
        X, y, u = ([row[:n] for row, n in zip(a, L, strict=True)] for a in (X, y, u))

    def train(processes: Any) -> tuple[Any, ...]:
        net = network((None if lengths else T, 5))
        options = {
            "communicator": processes,
            "shards": 4,
            "metrics": ["f1", "accuracy"],
            "accumulate": 2,
            "batch_size": 4,
        }
        trainer = bp.Trainer(net, data.loss, bp.Adam(0.02), **options)
        history = trainer.fit(X, y, epochs=2, sample_weight=u, validation_data=(X, y, u), verbose=False)
        return net.flat.tobytes(), dict(history), trainer.evaluate(X, y, u)

    alone = train(None)
    assert in_threads(2, train) == [alone, alone]


class StopAt(bp.Callback):
    """Writes a checkpoint after a step, and ends training there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_step_end(self, trainer: Any) -> None:
        if trainer.step_count == 6:
            trainer.save(self.path)
            raise KeyboardInterrupt


def test_a_resumed_training_has_the_same_bits_and_the_same_weights(tmp_path: Path) -> None:
    data, options = Data(), {"metrics": ["accuracy", "f1"], "on_nonfinite": "rollback"}
    history, whole = fitted(data, options)
    fitted(data, options, callbacks=[StopAt(tmp_path / "a")])
    again = bp.Trainer(network((T, 5)), data.loss, bp.Adam(0.02), batch_size=8, workers=1, **options)
    again.resume(tmp_path / "a")
    with pytest.raises(bp.DataError, match="trained with other data: weights differ"):
        again.fit(data.X, data.y, epochs=3, sample_weight=data.u + 1.0, verbose=False)
    assert dict(again.fit(data.X, data.y, epochs=3, sample_weight=data.u, verbose=False)) == dict(history)
    assert again.network.flat.tobytes() == whole.network.flat.tobytes()


def test_a_step_that_is_not_finite_is_found() -> None:
    data = Data("numbers")
    data.X[7], data.u[7] = 1e308, 1.0
    net = bp.Network(bp.Sequential(bp.Dense(6), bp.ReLU(), bp.Dense(K)), (T, 5), device="cpu", dtype="float64")
    net.parameters["0.W"][...] *= 10
    with np.errstate(all="ignore"), pytest.raises(bp.NonFiniteError, match='the output of layer "0"'):
        fitted(data, {"on_nonfinite": "raise"}, net)


def test_rows_on_disk_have_weights_in_memory(tmp_path: Path) -> None:
    data = Data("numbers")
    np.save(tmp_path / "X.npy", data.X)
    rows = bp.open_rows(tmp_path / "X.npy", memory=4096)
    net = network((T, 5))
    trainer = bp.Trainer(net, data.loss, bp.Adam(0.02), batch_size=8)
    trainer.fit(rows, data.y, epochs=1, sample_weight=data.u, validation_fraction=0.3, verbose=False)
    found = trainer.evaluate(rows, data.y, data.u)["loss"]
    losses = data.loss.rows(net.predict(data.X), data.y, each="position")
    assert found == pytest.approx(np.average(losses, weights=data.u), rel=1e-9)


def test_steps_by_hand_and_class_weights() -> None:
    data = Data()
    trainer = bp.Trainer(network((T, 5)), data.loss, bp.SGD(0.0))
    trainer.step(data.X, data.y, sample_weight=data.u)
    assert trainer.loss == pytest.approx(trainer.evaluate(data.X, data.y, data.u)["loss"])
    X, y, u = data.X[:, :1], np.maximum(data.y[:, :1], 0), data.u[:, :1]
    one, both = (bp.Trainer(network((1, 5)), CE(), bp.SGD(0.0)) for _ in range(2))
    found = both.fit(X, y, sample_weight=u, class_weight={0: 3.0}, verbose=False)["loss"]
    of_classes = np.where(y[:, 0] == 0, 3.0, 1.0)
    assert found == pytest.approx(one.fit(X, y, sample_weight=u[:, 0] * of_classes, verbose=False)["loss"])


class Quartic(bp.PointwiseLoss):
    """A loss of two formulas."""

    def l(self, z: Any, t: Any) -> Any:  # noqa: E743
        e = z - t
        return e * e * e * e

    def dl(self, z: Any, t: Any) -> Any:
        e = z - t
        return 4 * e * e * e


def test_a_loss_of_formulas_takes_weights_of_positions() -> None:
    data = Data("numbers")
    data.loss = Quartic()
    history, trainer = fitted(data, {})
    z = np.asarray(trainer.network.predict(data.X))
    expected = np.average(((z - data.y) ** 4).mean(axis=-1), weights=data.u)
    assert trainer.evaluate(data.X, data.y, data.u)["loss"] == pytest.approx(expected)
    assert history["loss"][-1] < history["loss"][0]


class Own(bp.MeanSquaredError):
    """Has a forward of its own, which says nothing of positions."""

    def forward(self, ws: Any, z: Any, t: Any) -> Any:
        return super().forward(ws, z, t)


class OwnMetric(bp.EpochMetric):
    """Takes one weight a row."""

    name, kinds, higher_is_better = "own", ("numbers",), False

    def result(self, outputs: Any, targets: Any, weights: Any) -> float:
        return float(np.average(np.abs(outputs - targets).max(axis=(1, 2)), weights=weights))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            dict(sample_weight=np.ones((ROWS, T, K))),
            r"has the shape \(29, 4, 3\), .* a row, or one a position, \(29, 4",
        ),
        (dict(sample_weight=np.ones((T, ROWS))), r"has the shape \(4, 29\), and X has 29 rows"),
        (dict(sample_weight=-np.ones((ROWS, T))), "finite weights of 0 or more"),
        (dict(sample_weight=np.zeros((ROWS, T))), "not all of them zero"),
        (dict(loss=Own()), r"Own\(\) does not say that it knows of weights of positions, .* by_position = True"),
        (dict(metrics=[OwnMetric()]), r"OwnMetric\(\) does not say that it knows of weights of positions"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_before_training(change: dict[str, Any], words: str) -> None:
    data = Data("numbers")
    given = {"sample_weight": data.u, "loss": data.loss, "metrics": ()} | change
    trainer = bp.Trainer(network((T, 5)), given["loss"], bp.SGD(), metrics=given["metrics"])
    with pytest.raises(ValueError, match=words):
        trainer.fit(data.X, data.y, sample_weight=given["sample_weight"])
    assert trainer.step_count == 0


def test_weights_of_time_steps_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    X, y = [rng.normal(size=(n, 5)) for n in (2, 3)], [[0, 1], [2, 1, 0]]
    trainer = bp.Trainer(network((None, 5)), CE(), bp.SGD())
    for weights, words in (
        ([[1.0, 1.0], [1.0, 1.0]], "row 1 of X has 3 time steps, and row 1 of sample_weight 2; each step needs its we"),
        ([[1.0, 1.0]], "X has 2 rows and sample_weight 1"),
        ([[[1.0]] * 2, [[1.0]] * 3], r"weights of shape \(1,\) in each time step, and needs \(\)"),
        ([[1.0, np.inf], [1.0] * 3], "finite weights"),
        ([1.0, 1.0, 1.0], "one weight a row, or one a time step, as X is given"),
    ):
        with pytest.raises(bp.DataError, match=words):
            trainer.fit(X, y, sample_weight=weights)


def test_explain_shows_the_weights_of_positions(rng: np.random.Generator) -> None:
    net = bp.Network(bp.Dense(2), (2, 2), device="cpu", dtype="float64")
    X, y = rng.normal(size=(1, 2, 2)), rng.normal(size=(1, 2, 2))
    text = str(net.explain(X, y, bp.HalfMeanSquaredError(), sample_weight=[[1.0, 3.0]]))
    assert "u[0,0] = 1  u[0,1] = 3" in text
    assert "dz[0,1,0] = (z[0,1,0] − t[0,1,0])·c[0]·0.5·u[0,1]" in text
    chain = str(net.explain(X, y, bp.HalfMeanSquaredError(), of="W[0,0]", sample_weight=[[1.0, 3.0]]))
    assert "∂L/∂y[0,1,0] = (z[0,1,0] − t[0,1,0])·c[0]·0.5·u[0,1]" in chain
    loss = net.loss_and_gradients(bp.HalfMeanSquaredError(), X, y, [[1.0, 3.0]])[0]
    assert f"= {loss:.6g}" in next(line for line in text.splitlines() if line.startswith("  L = c[0]·ℓ[0]"))
    of_class = bp.Network(bp.Dense(2), 2, device="cpu", dtype="float64").explain(
        X[0, :1], [1], CE(class_weight=[1.0, 3.0])
    )
    assert "L = c[0]·" in str(of_class)  # one row, whose loss is divided by its class weight
