"""Training by the CUDA backend on the strict stand-in for CuPy has the numbers of the CPU."""

import numpy as np
import pytest
from device_training import NoEpilogues, assert_alike, device, of_layer, of_loss, of_optimizer, train

import gpubp as bp
from cases import LAYERS, LOSSES, OPTIMIZERS
from gpubp.backends.cuda.backend import CUDA
from gpubp.errors import DeviceError
from strict import StrictProducts

# -- training: the same numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_layer_trains_as_on_the_cpu(case, rng):
    assert_alike(*of_layer(case, rng))


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_every_loss_trains_as_on_the_cpu(case, rng):
    arguments, weights = of_loss(case, rng)
    assert_alike(*arguments, **weights)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_every_optimizer_trains_as_on_the_cpu(case, rng):
    assert_alike(*of_optimizer(case, rng))


@pytest.mark.parametrize(
    "options",
    [
        dict(clip_norm=0.3),
        dict(clip_value=0.05),
        dict(l1=0.01),
        dict(l2=0.1),
        dict(l1=0.01, l2=0.1, penalty_per_weight=True),
        dict(l1=0.01, l2=0.1, clip_norm=0.5, clip_value=0.1),
        dict(metrics=("accuracy",)),
        dict(metrics=("accuracy",), fit=dict(class_weight="balanced", validation_fraction=0.3)),
        dict(fit=dict(shuffle=False)),
    ],
    ids=repr,
)
def test_every_option_trains_as_on_the_cpu(options, rng):
    layers = bp.Sequential(bp.Dense(5), bp.ReLU(), bp.Dense(3))
    X, y = rng.normal(size=(11, 4)), rng.integers(0, 3, 11)
    assert_alike(layers, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), X, y, **options)


def test_validation_and_early_stopping_are_those_of_the_cpu(rng):
    X, y = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
    Xv, yv = rng.normal(size=(700, 4)), rng.integers(0, 3, 700)  # evaluated in tiles, the last of them captured
    results = []
    for backend in (device(), "cpu"):
        stop = bp.EarlyStopping(patience=2, restore_best=True)
        fit = dict(validation_data=(Xv, yv), callbacks=[stop, bp.ReduceOnPlateau(patience=1)])
        layers = bp.Sequential(bp.Dense(16), bp.ReLU(), bp.Dense(3))
        net, trainer, history = train(
            backend, layers, bp.SoftmaxCrossEntropy(), bp.Adam(0.05), X, y, epochs=12, fit=fit, metrics=("accuracy",)
        )
        results.append((net.predict(X), history, stop.best_epoch, trainer.evaluate(X, y), trainer.loss))
    (one, history, best, evaluated, loss), (other, *rest) = results
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    assert best == rest[1] and len(history["loss"]) == len(rest[0]["loss"]) and 1 < len(history["loss"]) < 12
    for name in history:
        np.testing.assert_allclose(history[name], rest[0][name], rtol=1e-3, err_msg=name)
    assert evaluated == pytest.approx(rest[2], rel=1e-3) and loss == pytest.approx(rest[3], rel=1e-3)


def test_gradients_are_those_of_the_cpu(rng):
    X, y = rng.normal(size=(7, 4)), rng.normal(size=(7, 2))
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2))
    got, want = (
        bp.Network(layers, 4, device=backend, seed=1).loss_and_gradients(bp.Huber(), X, y)
        for backend in (device(), "cpu")
    )
    assert got[0] == pytest.approx(want[0], rel=1e-6)
    for name, gradient in want[1].items():
        assert type(got[1][name]) is np.ndarray
        np.testing.assert_allclose(got[1][name], gradient, rtol=1e-5, atol=1e-7)


def test_a_saved_network_goes_from_device_to_device(tmp_path, rng):
    X, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 2))
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2))
    net, _, _ = train(device(), layers, bp.MeanSquaredError(), bp.SGD(0.1), X, y)
    net.save(tmp_path / "a")
    on_cpu, back = bp.load(tmp_path / "a", device="cpu"), bp.load(tmp_path / "a", device=device())
    assert on_cpu.device == "cpu" and back.device == "cuda:0"
    np.testing.assert_array_equal(back.predict(X), net.predict(X))
    np.testing.assert_allclose(on_cpu.predict(X), net.predict(X), rtol=1e-6, atol=1e-7)


def test_gradcheck_runs_on_the_device():
    assert bp.gradcheck(bp.Sequential(bp.Dense(3), bp.GELU()), (4, 5), device=device())
    for loss in (bp.SoftmaxCrossEntropy(0.1), bp.Huber()):
        assert bp.gradcheck(loss, (4, 3), device=device())


def test_what_an_own_layer_returns_is_checked_on_the_device():
    class NoReturn(bp.ReLU):
        def forward(self, ws, x):
            super().forward(ws, x)

    class OnHost(bp.ReLU):
        def forward(self, ws, x):
            return np.zeros(x.shape, "float32")

    for layer, words in ((NoReturn(), "returned None; is a return missing"), (OnHost(), "returned array.* a ndarray")):
        net = bp.Network(bp.Sequential(bp.Dense(2), layer), 3, device=device())
        for look in (lambda: net.predict(np.ones((2, 3))), lambda: bp.gradcheck(layer, (4, 3), device=device())):  # noqa: B023
            with pytest.raises(TypeError, match=f"{type(layer).__name__}.forward.* must return .*(?s:{words})"):
                look()


# -- precision ---------------------------------------------------------------------------------------------------------


def test_casts_to_bfloat16_are_to_the_nearest(cupy, rng):
    """Against the textbook: the two neighbours of a number, and the even one of them where it lies in the middle."""
    be = device(cupy)
    a = np.concatenate([rng.normal(size=1000), [0, -0.0, 1.00390625, 1.01171875, np.inf, -np.inf, np.nan, 3e38]])
    a = a.astype("float32")
    with be.active():
        bits = be.zeros(a.shape, np.uint16)
        be._launches.halve(be.to_device(a), out=bits)
    got = (be.to_host(bits).astype(np.uint32) << 16).view(np.float32)
    low = (a.view(np.uint32) & 0xFFFF0000).view(np.float32)
    high = ((a.view(np.uint32) & 0xFFFF0000) + 0x10000).view(np.float32)
    with np.errstate(all="ignore"):
        middle = np.abs(a - low) == np.abs(high - a)
        even = np.where((low.view(np.uint32) >> 16) % 2 == 0, low, high)
        nearest = np.where(middle, even, np.where(np.abs(a - low) < np.abs(high - a), low, high))
    plain = np.isfinite(a)
    np.testing.assert_array_equal(got[plain], nearest[plain])
    np.testing.assert_array_equal(got[~plain], a[~plain])


@pytest.mark.parametrize("products", [StrictProducts, NoEpilogues], ids=["epilogues", "plain"])
@pytest.mark.parametrize(("precision", "near"), [("tf32", 3e-3), ("bfloat16", 3e-2)])
def test_products_of_less_precision(precision, near, products, cupy, rng):
    X, y = rng.normal(size=(40, 20)), rng.integers(0, 3, 40)
    layers = bp.Sequential(bp.Dense(16), bp.Tanh(), bp.Dense(8, use_bias=False), bp.BatchNorm(), bp.Tanh(), bp.Dense(3))
    results = []
    for backend in (CUDA(cupy, 0, precision, products=products), "cpu"):
        net = bp.Network(layers, 20, device=backend, seed=1)
        loss, gradients = net.loss_and_gradients(bp.SoftmaxCrossEntropy(), X, y)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.05), batch_size=8)
        results.append((loss, gradients, trainer.fit(X, y, epochs=3)["loss"], net.predict(X)))
    (loss, gradients, losses, predicted), (loss_, gradients_, losses_, predicted_) = results
    assert loss == pytest.approx(loss_, rel=near) and loss != loss_
    for name, gradient in gradients.items():
        assert gradient.dtype == "float32"
        assert np.abs(gradient - gradients_[name]).max() <= near * np.abs(gradients_[name]).max(), name
    np.testing.assert_allclose(losses, losses_, rtol=near)
    assert np.abs(predicted - predicted_).max() <= 3 * near * np.abs(predicted_).max()


def test_a_matrix_is_cast_once_a_step(cupy, rng):
    net = bp.Network(bp.mlp(10, (32, 16)), 20, device=CUDA(cupy, 0, "bfloat16", products=StrictProducts))
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=8)
    for _ in range(3):
        trainer.step(rng.normal(size=(8, 20)), rng.integers(0, 10, 8))
    assert np.isfinite(trainer.loss) and cupy.graphs[0].names.count("drelu_bgrad") == 2
    casts = cupy.graphs[0].names.count("to_bfloat16")
    assert casts == 3 + 3 + 3, "three inputs, three weights, three gradients of outputs; each is read two times"


def test_nothing_is_cast_for_a_product_that_a_matrix_with_gaps_leaves_in_float32(cupy, rng):
    be = CUDA(cupy, 0, "bfloat16", products=StrictProducts)
    host = rng.normal(size=(6, 8)).astype("float32"), rng.normal(size=(8, 10)).astype("float32")
    a, b = map(be.to_device, host)
    out = be.zeros((6, 4), "float32")
    with be.active():
        again = be.capture(lambda: be.gemm(a, b[:, 3:7], out=out))
        for _ in range(3):
            again()
    assert cupy.graphs[-1].names == ["gemm"]
    np.testing.assert_allclose(be.to_host(out), host[0] @ host[1][:, 3:7], rtol=1e-5)


def test_unknown_precisions_are_refused():
    with pytest.raises(DeviceError, match="no precision 'half'; there are float32, tf32, bfloat16"):
        bp.Network(bp.Dense(1), 1, device="cpu", precision="half")
    with pytest.raises(DeviceError, match='precision "tf32" is for GPUs'):
        bp.Network(bp.Dense(1), 1, device="cpu", precision="tf32")


def test_another_stream_has_the_same_precision(cupy):
    assert CUDA(cupy, 0, "tf32").another().precision == "tf32"


def test_autotune_goes_from_the_network_to_the_library_of_products(cupy):
    made = []

    def products(cupy, **options):
        made.append(options)
        return StrictProducts(cupy)

    for on in (False, True):
        backend = CUDA(cupy, products=products)
        net = bp.Network(bp.Dense(2), 3, device=backend, autotune=on)
        net.predict(np.zeros((4, 3)))
        assert net.backend.autotune is net.backend.another().autotune is on
        assert bp.Network(bp.Dense(2), 3, device=net.backend).backend.autotune is on
        assert net.backend.arithmetic().get("autotune") == ("on" if on else None)
    assert made == [{}, {"autotune": True}]
    with pytest.raises(DeviceError, match="autotune is for GPUs"):
        bp.Network(bp.Dense(2), 3, device="cpu", autotune=True)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


class TestCheckpointsAndNonFiniteSteps:
    """Checkpoints and numbers that go wrong, as on the CPU."""

    LAYERS = bp.Sequential(bp.Dense(6, use_bias=False), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.2), bp.Dense(3))

    def trainer(self, backend, choice=None):
        net = bp.Network(self.LAYERS, 5, device=backend, seed=3)
        return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=4, seed=5, on_nonfinite=choice)

    def bits(self, trainer):
        host, net = trainer.backend.to_host, trainer.network
        arrays = (net.flat, net.states.flat, *(m.flat for m in trainer.update.moments.values()))
        return [host(a).tobytes() for a in arrays], trainer.step_count, dict(trainer.history)

    def test_from_every_step_it_ends_with_the_same_bits(self, rng, tmp_path):
        X, y = rng.normal(size=(10, 5)), rng.integers(0, 3, 10)
        fit = {"epochs": 3, "callbacks": [bp.EarlyStopping(patience=2), bp.Checkpoint(tmp_path, every_steps=1, keep=9)]}
        whole = self.trainer(device())
        whole.fit(X, y, **fit)
        for path in sorted(tmp_path.glob("step-*")):
            again = self.trainer(device())
            again.resume(path)
            again.fit(X, y, epochs=3, callbacks=[bp.EarlyStopping(patience=2)])
            assert self.bits(again) == self.bits(whole)

    @pytest.mark.parametrize("choice", ["raise", "skip", "rollback"])
    def test_the_nonfinite_check_does_not_change_finite_training(self, choice, rng):
        X, y = rng.normal(size=(10, 5)), rng.integers(0, 3, 10)
        watched, plain = self.trainer(device(), choice), self.trainer(device())
        for trainer in (watched, plain):
            trainer.fit(X, y, epochs=4)
        assert self.bits(watched) == self.bits(plain)

    def test_a_bad_step_changes_nothing_and_is_raised(self, rng):
        X, y = rng.normal(size=(40, 5)), rng.integers(0, 3, 40)
        X[17] = 3e38
        trainer, plain = self.trainer(device(), "raise"), self.trainer(device())
        with pytest.raises(bp.NonFiniteError, match='step 5: the output of layer "0"') as raised:
            trainer.fit(X, y, shuffle=False)
        assert raised.value.step == 5 and trainer.step_count == 4
        plain.fit(X[:16], y[:16], shuffle=False)
        assert self.bits(trainer)[:2] == self.bits(plain)[:2]

    def test_a_bad_step_is_skipped(self, rng):
        """Within the graph, and no other step with it."""
        X, y = rng.normal(size=(40, 5)), rng.integers(0, 3, 40)
        X[17] = 3e38
        skipped = self.trainer(device(), "skip")
        with pytest.warns(RuntimeWarning, match="1 step of epoch 1 had"):
            skipped.fit(X, y, shuffle=False)
        cpu = self.trainer("cpu", "skip")
        with pytest.warns(RuntimeWarning, match="1 step of epoch 1 had"):
            cpu.fit(X, y, shuffle=False)
        host = skipped.backend.to_host
        np.testing.assert_allclose(host(skipped.network.flat), cpu.network.flat, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(host(skipped.network.states.flat), cpu.network.states.flat, rtol=2e-4, atol=2e-5)
        assert skipped.history["loss"] == pytest.approx(cpu.history["loss"], rel=1e-4)
