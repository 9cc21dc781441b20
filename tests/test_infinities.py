"""Formulas at the ends of float32: finite where mathematics is finite, and the numbers of float64 up to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from device_training import device

import gpubp as bp
from gpubp.backends import CPU, Backend

INF = float("inf")
LARGEST, LEAST = float(np.finfo("float32").max), float(np.finfo("float32").smallest_subnormal)
POINTS = [0.0, -0.0, 1.0, 20.0, 88.0, 100.0, 1e3, 1e6, 3e6, 1e19, 3e19, 1e38, LARGEST, INF, LEAST, 1e-30]
POINTS += [-x for x in POINTS]
ACTIVATIONS = [
    bp.Sigmoid(), bp.Tanh(), bp.ReLU(), bp.LeakyReLU(0.1), bp.LeakyReLU(0.0), bp.ELU(), bp.ELU(0.5), bp.Softplus(),
    bp.SiLU(), bp.GELU(), bp.GELU("tanh"), bp.ReLU(6.0),
    bp.ThresholdedReLU(1.0), bp.ThresholdedReLU(-2.0, 3.0), bp.SELU(), bp.CELU(2.0),
    bp.Softplus(2.0), bp.LogSigmoid(), bp.SiLU(0.5), bp.Mish(), bp.Softsign(), bp.Tanhshrink(), bp.HardSigmoid(),
    bp.HardSwish(), bp.Hardtanh(), bp.Softshrink(), bp.Hardshrink(),
]  # fmt: skip


def backends() -> list[Backend]:
    return [CPU(), device()]


def computed(be: Backend, f: Any, *inputs: Any, dtype: str = "float32") -> np.ndarray:
    """The formula of arrays, as a step computes it."""
    arrays = [be.to_device(np.asarray(a, dtype)) for a in inputs]
    with be.active():
        out = be.zeros(np.broadcast_shapes(*(a.shape for a in arrays)), dtype)
        return np.array(be.to_host(be.apply(f, *arrays, out=out)))


def limits(layer: Any) -> tuple[list[float], list[float]]:
    """What mathematics says of y and dy/dx at -∞ and ∞."""
    name, given = type(layer).__name__, vars(layer)
    low = {"LeakyReLU": -INF if given.get("slope") else 0.0, "ThresholdedReLU": given.get("value")}
    low |= dict.fromkeys(("Tanh", "Softsign", "Hardtanh"), -1.0)
    low |= dict.fromkeys(("ELU", "SELU", "CELU"), -given.get("alpha", 0.0) * given.get("scale", 1.0))
    low |= dict.fromkeys(("LogSigmoid", "Tanhshrink", "Softshrink", "Hardshrink"), -INF)
    high = dict.fromkeys(("Sigmoid", "Tanh", "Softsign", "HardSigmoid", "Hardtanh"), 1.0) | {"LogSigmoid": 0.0}
    high |= {"ReLU": given.get("max_value") or INF}
    ends = [low.get(name, 0.0), high.get(name, INF)]
    first = given.get("slope", 1.0) if name == "LeakyReLU" else 1.0
    return ends, [first if ends[0] == -INF else 0.0, given.get("scale", 1.0) if ends[1] == INF else 0.0]


@pytest.mark.parametrize("layer", ACTIVATIONS, ids=repr)
def test_activations_and_their_derivatives(layer: Any) -> None:
    x = np.array(POINTS, "float32")
    for be in backends():
        y = computed(be, layer.f, x)
        slope = computed(be, layer.df, x, y, np.ones_like(x))
        y64 = computed(be, layer.f, x, dtype="float64")
        slope64 = computed(be, layer.df, x, y64, np.ones_like(x), dtype="float64")
        assert np.isfinite(slope).all() and np.isfinite(y64[np.isfinite(x)]).all(), (slope, y64)
        with np.errstate(over="ignore"):  # SELU's scale is above 1
            np.testing.assert_allclose(y, y64.astype("float32"), rtol=3e-6, atol=1e-37)
        np.testing.assert_allclose(slope, slope64.astype("float32"), rtol=3e-6, atol=2e-7)  # of 1 - y near 1
        ends, slopes = limits(layer)
        at = computed(be, layer.f, [-INF, INF])
        np.testing.assert_array_equal(at, np.array(ends, "float32"))
        np.testing.assert_array_equal(computed(be, layer.df, [-INF, INF], at, [1.0, 1.0]), np.array(slopes, "float32"))


def test_the_limits_change_no_ordinary_number(rng: np.random.Generator) -> None:
    """SiLU and GELU as they are in textbooks, to the bit."""

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    for dtype in ("float32", "float64"):
        x = np.concatenate([rng.normal(size=500), rng.normal(size=500) * 30, [-2000.0, 2000.0, 1e6, -1e6]]).astype(
            dtype
        )
        dy = rng.normal(size=x.shape).astype(dtype)
        with np.errstate(over="ignore"):
            s = sigmoid(x)
            y = x * s
            np.testing.assert_array_equal(computed(CPU(), bp.SiLU().f, x, dtype=dtype), y)
            got = computed(CPU(), bp.SiLU().df, x, y, dy, dtype=dtype)
            np.testing.assert_array_equal(got, dy * (s + y * (1 - s)))
            a = 2.0 * (2.0 / np.pi) ** 0.5
            a, b = np.dtype(dtype).type(a), np.dtype(dtype).type(0.044715 * a)
            s = sigmoid(x * (a + b * (x * x)))
            np.testing.assert_array_equal(computed(CPU(), bp.GELU("tanh").f, x, dtype=dtype), x * s)


SURE = [(-INF, 0.0, 0.0), (INF, 1.0, 0.0), (-INF, 1.0, INF), (INF, 0.0, INF), (INF, 0.5, INF), (-INF, 0.5, INF)]


@pytest.mark.parametrize(("z", "t", "loss"), [*SURE, (1e38, 1.0, 0.0), (-1e38, 0.0, 0.0), (-1e38, 1.0, 1e38)])
def test_binary_cross_entropy_of_sure_answers(z: float, t: float, loss: float) -> None:
    for be in backends():
        for dtype in ("float32", "float64"):
            assert computed(be, bp.BinaryCrossEntropy().l, [z], [t], dtype=dtype)[0] == np.dtype(dtype).type(loss)
            slope = computed(be, bp.BinaryCrossEntropy().dl, [z], [t], dtype=dtype)[0]
            assert slope == (1.0 if z > 0 else 0.0) - t


def test_binary_cross_entropy_has_the_bits_of_its_textbook_formula(rng: np.random.Generator) -> None:
    """Soft targets too, close to 0 and 1."""
    for dtype in ("float32", "float64"):
        z = (rng.normal(size=4000) * np.logspace(-8, 8, 4000)).astype(dtype)
        one = np.ones(1000, dtype)
        t = np.concatenate([rng.uniform(size=1000), one, one - np.finfo(dtype).epsneg, rng.uniform(0, 1e-7, 1000)])
        t = t.astype(dtype)
        want = np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z)))
        np.testing.assert_array_equal(computed(CPU(), bp.BinaryCrossEntropy().l, z, t, dtype=dtype), want)


@pytest.mark.parametrize(
    ("z", "t", "loss", "slope"),
    [(-INF, 0.0, 0.0, 0.0), (-INF, 2.0, INF, -2.0), (INF, 0.0, INF, INF), (INF, 3.0, INF, INF), (-1e38, 0.0, 0.0, 0.0)],
)
def test_poisson(z: float, t: float, loss: float, slope: float) -> None:
    for be in backends():
        assert computed(be, bp.Poisson().l, [z], [t])[0] == loss
        assert computed(be, bp.Poisson().dl, [z], [t])[0] == slope


def test_poisson_has_the_bits_of_its_textbook_formula(rng: np.random.Generator) -> None:
    for dtype in ("float32", "float64"):
        z, t = rng.normal(size=500).astype(dtype) * 5, rng.poisson(2.0, 500).astype(dtype)
        want = np.exp(z) - t + t * (np.log(np.maximum(t, 1e-30)) - z)
        np.testing.assert_array_equal(computed(CPU(), bp.Poisson().l, z, t, dtype=dtype), want)


@pytest.mark.parametrize("loss", [bp.Huber(), bp.Huber(0.1), bp.MeanAbsoluteError()], ids=repr)
def test_other_losses_of_numbers(loss: Any) -> None:
    for be in backends():
        slope = computed(be, loss.dl, POINTS, np.zeros(len(POINTS)))
        assert np.isfinite(slope).all()
        value = computed(be, loss.l, POINTS, np.zeros(len(POINTS)))
        np.testing.assert_array_equal(np.isfinite(value), np.isfinite(POINTS))


class Masked(bp.Layer):
    """Sets the last of three outputs to -∞, as a user masks a class."""

    MASK = np.array([0.0, 0.0, -INF], "float32")

    def plan(self, x: Any) -> bp.Plan:
        return bp.Plan(output=x, arrays={"y": x}, constants={"hidden": self.MASK})

    def forward(self, ws: Any, x: Any) -> Any:
        return ws.xp.add(x, ws.hidden, out=ws.y)

    def backward(self, ws: Any, dy: Any) -> Any:
        return dy


def masked_loss(backend: Any, targets: Any, loss: bp.Loss) -> tuple[float, dict[str, np.ndarray]]:
    net = bp.Network(bp.Sequential(bp.Dense(3, weight_initializer=bp.Zeros()), Masked()), 2, device=backend)
    return net.loss_and_gradients(loss, [[1.0, 2.0]], targets)


def test_a_masked_class_leaves_a_finite_loss() -> None:
    """Two classes of one probability are left: log 2, and a gradient of ±½ in them and 0 in the masked one."""
    for backend in ("cpu", device()):
        for targets in ([0], [[1.0, 0.0, 0.0]]):
            for training in (True, False):
                net = bp.Network(bp.Sequential(bp.Dense(3, weight_initializer=bp.Zeros()), Masked()), 2, device=backend)
                value, gradients = net.loss_and_gradients(
                    bp.SoftmaxCrossEntropy(), [[1.0, 2.0]], targets, training=training
                )
                assert value == pytest.approx(np.log(2.0), rel=1e-6)
                np.testing.assert_allclose(gradients["0.b"], [-0.5, 0.5, 0.0], rtol=1e-6)


def test_a_target_on_the_masked_class_and_smoothing_have_an_infinite_loss() -> None:
    """As in PyTorch; the gradients stay finite."""
    for backend in ("cpu", device()):
        for targets, loss in (([2], bp.SoftmaxCrossEntropy()), ([0], bp.SoftmaxCrossEntropy(label_smoothing=0.1))):
            value, gradients = masked_loss(backend, targets, loss)
            assert value == INF and np.isfinite(gradients["0.b"]).all()


def test_rows_with_masked_classes_have_the_loss_of_the_other_classes() -> None:
    """The issue of a mask: 0.3, -∞ and 0.2, where the class of 0.3 is right, by hand: log(1 + e^-0.1)."""
    z = np.array([[0.3, -INF, 0.2], [-INF, 1.0, -INF], [0.5, -1.0, 2.0]])
    t, loss = np.array([0, 1, 2], "int32"), bp.SoftmaxCrossEntropy()
    p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    want = [np.log1p(np.exp(-0.1)), 0.0, np.log(1 + np.exp(-1.5) + np.exp(-3.0))]
    for be in backends():
        context = bp.layers.Context(be, 3, "float32")
        ws = bp.layers.Workspace(loss.plan((3, 3), (3,)), loss, context, "", True, True, True)
        with be.active():
            z_there, t_there = be.to_device(z, "float32"), be.to_device(t)
            losses = np.array(be.to_host(loss.forward(ws, z_there, t_there)))
            dz = np.array(be.to_host(loss.backward(ws, z_there, t_there)))
        np.testing.assert_allclose(losses, want, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(dz, (p - np.eye(3)) / 3, rtol=1e-5, atol=1e-8)


def test_a_network_with_a_mask_trains(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(64, 2)).astype("float32"), (rng.uniform(size=64) > 0.5).astype(int)
    X[:, 0] += 3.0 * y
    net = bp.Network(bp.Sequential(bp.Dense(3), Masked()), 2, device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.05), batch_size=16, on_nonfinite="raise")
    history = trainer.fit(X, y, epochs=30, verbose=False)
    assert history["loss"][-1] < 0.5 * history["loss"][0] and np.isfinite(net.flat).all()


@pytest.mark.parametrize("rows", [1, 32, 33, 255, 256, 300])
def test_evaluate_says_infinite_where_rows_of_weight_0_have_an_infinite_loss_too(rows: int) -> None:
    """Short batches are padded by a row of weight 0 with the same loss, and 0 · ∞ is NaN."""
    X, y = np.ones((rows, 2)), np.zeros(rows, int)
    for backend in ("cpu", device()):
        net = bp.Network(bp.Sequential(bp.Dense(3), Masked()), 2, device=backend)
        for loss in (bp.SoftmaxCrossEntropy(0.1), bp.SoftmaxCrossEntropy(0.1, ignore_index=2)):
            trainer = bp.Trainer(net, loss, bp.SGD(0.1), metrics=["accuracy", "f1"])
            found = [trainer.evaluate(X, y) for _ in range(2)]
            assert found[0] == found[1] and found[0]["loss"] == INF and 0 <= found[0]["accuracy"] <= 1


def test_rows_of_weight_0_count_for_nothing_in_validation(rng: np.random.Generator) -> None:
    X, y, weights = rng.normal(size=(300, 2)), rng.integers(0, 2, 300), np.ones(300)
    y[[3, 290]], weights[[3, 290]] = 2, 0.0  # of the masked class
    for backend in ("cpu", device()):
        net = bp.Network(bp.Sequential(bp.Dense(3), Masked()), 2, device=backend)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.0))
        kept = weights > 0
        history = trainer.fit(X[kept], y[kept], validation_data=(X, y, weights), verbose=False)
        assert history["val_loss"][0] == pytest.approx(trainer.evaluate(X[kept], y[kept])["loss"], rel=1e-5)


def test_evaluate_says_nan_where_outputs_are_nan() -> None:
    net = bp.Network(bp.Dense(1), 2, device="cpu")
    net.parameters["W"][...] = np.nan
    found = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), metrics="mae").evaluate(np.ones((40, 2)), np.ones(40))
    assert np.isnan(list(found.values())).all() and len(found) == 2


@pytest.mark.parametrize("rate", [0.999995, 1 - 2.0**-18, np.nextafter(1.0, 0.0)])
def test_dropout_refuses_a_rate_that_rounds_to_one(rate: float) -> None:
    with pytest.raises(ValueError, match="rounds to 1, which keeps nothing; the highest rate is 65535/65536"):
        bp.Dropout(rate)


@pytest.mark.parametrize("rate", [65535 / 65536, 0.99998])
def test_dropout_takes_the_highest_rate(rate: float) -> None:
    net = bp.Network(bp.Sequential(bp.Dropout(rate), bp.Dense(1)), 4, device="cpu")
    bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).fit(np.ones((8, 4)), np.ones(8), verbose=False)
    assert np.isfinite(net.flat).all()


@pytest.mark.parametrize("rate", ["0.5", None, float("nan"), 1.0, -0.1])
def test_dropout_refuses_what_is_no_rate(rate: Any) -> None:
    with pytest.raises(ValueError, match="Dropout needs rate to be a number, from 0 to below 1, and got"):
        bp.Dropout(rate)
