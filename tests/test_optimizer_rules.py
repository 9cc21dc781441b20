"""Rules against PyTorch's and slow readings; maximize; what decays by name; the first values of moments."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp import model_file
from gpubp.config import Configurable, from_config
from gpubp.formula.host import host_numerics

X, Y = np.eye(4) + 0.5, np.linspace(-1.0, 1.0, 4)
NUMERICS = ["ordinary", "exact"] if importlib.util.find_spec("numba") else ["ordinary"]


def trainer(optimizer: bp.Optimizer, layers: bp.Layer | None = None, **settings: Any) -> bp.Trainer:
    net = bp.Network(layers or bp.Dense(1), 4, device="cpu", dtype="float64", seed=3)
    return bp.Trainer(net, bp.MeanSquaredError(), optimizer, batch_size=2, **settings)


TORCH: list[tuple[bp.Optimizer, Callable[[Any, Any], Any]]] = [
    (bp.SGD(0.1, maximize=True), lambda o, p: o.SGD(p, lr=0.1, maximize=True)),
    (
        bp.SGD(0.1, momentum=0.9, dampening=0.5, maximize=True, weight_decay=0.0),
        lambda o, p: o.SGD(p, lr=0.1, momentum=0.9, dampening=0.5, maximize=True),
    ),
    (bp.RMSprop(0.1, momentum=0.9), lambda o, p: o.RMSprop(p, lr=0.1, alpha=0.9, momentum=0.9)),
    (bp.RMSprop(0.1, centered=True), lambda o, p: o.RMSprop(p, lr=0.1, alpha=0.9, centered=True)),
    (
        bp.Adagrad(0.1, initial_accumulator_value=0.5, maximize=True),
        lambda o, p: o.Adagrad(p, lr=0.1, initial_accumulator_value=0.5, maximize=True),
    ),
    (bp.Adagrad(bp.InverseTimeDecay(0.1, 0.5, 1)), lambda o, p: o.Adagrad(p, lr=0.1, lr_decay=0.5)),
    (bp.Adadelta(), lambda o, p: o.Adadelta(p, lr=1.0)),
    (bp.Adamax(maximize=True), lambda o, p: o.Adamax(p, maximize=True)),
    (bp.NAdam(momentum_decay=0.3), lambda o, p: o.NAdam(p, momentum_decay=0.3)),
    (bp.NAdam(0.1, beta_1=0.0, beta_2=0.5), lambda o, p: o.NAdam(p, lr=0.1, betas=(0.0, 0.5))),
    (
        bp.AdamW(0.1, weight_decay=0.3, decayed="*", maximize=True),
        lambda o, p: o.AdamW(p, lr=0.1, weight_decay=0.3, maximize=True),
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), TORCH, ids=lambda x: repr(x) if isinstance(x, bp.Optimizer) else "")
def test_ten_steps_are_pytorchs(ours: bp.Optimizer, theirs: Callable[[Any, Any], Any]) -> None:
    torch = pytest.importorskip("torch")
    t = trainer(ours)
    W, b = (torch.tensor(t.network.parameters[name].copy(), requires_grad=True) for name in ("W", "b"))
    other = theirs(torch.optim, [W, b])
    for _ in range(10):
        other.zero_grad()
        ((torch.tensor(X) @ W + b - torch.tensor(Y[:, None])) ** 2).mean().backward()
        other.step()
        t.step(X, Y)
    for name, a in (("W", W), ("b", b)):
        np.testing.assert_allclose(t.network.parameters[name], a.detach().numpy(), rtol=1e-8)


def test_lion_is_the_published_algorithm() -> None:
    t = trainer(bp.Lion(0.01, beta_1=0.7, beta_2=0.9, weight_decay=0.5, decayed="*"))
    theta, m = np.append(t.network.parameters["W"], t.network.parameters["b"]), np.zeros(5)
    A = np.hstack([X, np.ones((4, 1))])
    for _ in range(6):
        g = 2 * A.T @ (A @ theta - Y) / 4
        theta = theta - 0.01 * (np.sign(0.7 * m + 0.3 * g) + 0.5 * theta)
        m = 0.9 * m + 0.1 * g
        t.step(X, Y)
    np.testing.assert_allclose(np.append(t.network.parameters["W"], t.network.parameters["b"]), theta, rtol=1e-12)


def test_the_products_of_nadam_are_those_of_all_steps_so_far() -> None:
    """The same at whatever step a training goes on, and cheap after many."""
    nadam, product, slow = bp.NAdam(beta_1=0.97, momentum_decay=0.01), 1.0, []
    for t in range(1, 3001):
        product *= 0.97 * (1.0 - 0.5 * 0.96 ** (t * 0.01))
        after = 0.97 * (1.0 - 0.5 * 0.96 ** ((t + 1) * 0.01))
        root = math.sqrt(1.0 - 0.999**t)
        slow.append((root * (1.0 - after_of(t)) / (1.0 - product), root * after / (1.0 - product * after)))
    for numerics in ("ordinary", "exact"):
        with host_numerics(numerics):
            whole = nadam.step_scalars(np.arange(1.0, 3001.0), np.ones(3000))
            np.testing.assert_allclose(np.transpose([whole["alpha"], whole["alpha_m"]]), slow, rtol=1e-11)
            for first in (1, 2, 255, 900, 1400, 2744):
                part = nadam.step_scalars(np.arange(float(first), first + 256.0), np.ones(256))
                for name, a in part.items():
                    assert a.tobytes() == whole[name][first - 1 : first + 255].tobytes(), (first, name)
    far = bp.NAdam(beta_1=0.999).step_scalars(np.array([1e9, 1e9 + 1]), np.ones(2))
    assert np.isfinite([*far.values()]).all() and far["alpha"][0] == pytest.approx(0.001)


def after_of(t: int) -> float:
    return 0.97 * (1.0 - 0.5 * 0.96 ** (t * 0.01))  # type: ignore[no-any-return]


def test_a_centered_root_of_rounding_is_no_nan() -> None:
    """Of equal gradients v - m² tends to 0, and rounding gives less."""
    rule, theta, v, m = bp.RMSprop(rho=0.5, centered=True).rule, np.float32(0), np.float32(0), np.float32(0)
    below = 0
    for _ in range(60):
        theta, v, m = (np.float32(a) for a in rule(theta, np.float32(0.3), v, m, np.float32(1e-9)))
        below += int(v - m * m < 0)
        assert np.isfinite(theta)
    assert below, "else this tests nothing"


@pytest.mark.parametrize("numerics", NUMERICS)
def test_maximize_takes_the_penalty_from_the_loss(numerics: str) -> None:
    """The parameters go up in loss - P: by -g of the loss, and by +∂P/∂θ, as PyTorch's weight_decay does."""
    net = bp.Network(bp.Dense(1), 4, device="cpu", dtype="float64", seed=3, numerics=numerics)
    W, b = net.parameters["W"].copy(), net.parameters["b"].copy()
    t = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1, maximize=True), l1=0.2, l2=0.3)
    residual = X @ W + b - Y[:, None]
    t.step(X, Y)
    penalty = 0.2 * np.abs(W).sum() + 0.15 * (W**2).sum()
    assert t.loss == pytest.approx((residual**2).mean() - penalty, rel=1e-12)
    assert t.evaluate(X, Y)["loss"] > t.loss
    up = W + 0.1 * (X.T @ residual / 2 - 0.2 * np.sign(W) - 0.3 * W)
    np.testing.assert_allclose(net.parameters["W"], up, rtol=1e-12)


def test_maximize_is_minimize_of_the_negative_loss() -> None:
    class Negative(bp.PointwiseLoss):
        def l(self, z: Any, t: Any) -> Any:  # noqa: E743
            return -((z - t) * (z - t))

        def dl(self, z: Any, t: Any) -> Any:
            return -2.0 * (z - t)

    found = []
    for loss, maximize in ((bp.MeanSquaredError(), True), (Negative(), False)):
        net = bp.Network(bp.Dense(1), 4, device="cpu", seed=3)
        bp.Trainer(net, loss, bp.Adam(0.1, maximize=maximize), clip_norm=0.5, clip_value=0.1, workers=2).fit(
            X, Y, epochs=3
        )
        found.append(net.flat.tobytes())
    assert found[0] == found[1]


def test_with_maximize_the_best_epoch_has_the_largest_loss() -> None:
    t, stop = trainer(bp.SGD(0.02, maximize=True)), bp.EarlyStopping(patience=3)
    plateau = bp.ReduceOnPlateau("val_loss", patience=9)

    def fall(t: Any, logs: Any) -> None:
        t.network.flat[...] *= 1.0 if t.epoch < 5 else 0.01

    callbacks = [stop, plateau, bp.LambdaCallback(on_epoch_end=fall)]
    history = t.fit(X, Y, epochs=30, validation_data=(X, Y), callbacks=callbacks)
    assert int(np.argmax(history["val_loss"])) == 4 and stop.best_epoch == plateau.best_epoch == 5
    assert history.epochs == 8 and t.evaluate(X, Y)["loss"] == history["val_loss"][4]
    words = r"looks for the steepest fall of a loss, and SGD\(0.1, maximize=True\) makes it large; give it a trainer"
    with pytest.raises(ValueError, match=words):
        bp.find_learning_rate(trainer(bp.SGD(0.1, maximize=True)), X, Y)


def layers() -> bp.Layer:
    return bp.Sequential(bp.Dense(3), bp.BatchNorm(), bp.Dense(1))


def changed_by(optimizer: bp.Optimizer | None = None, **settings: Any) -> set[str]:
    """Which parameters decay, or are penalized, changes beside a step without."""
    plain, found = {name: value for name, value in settings.items() if name not in ("l1", "l2", "penalized")}, []
    for o, s in ((optimizer or bp.SGD(0.1), settings), (bp.SGD(0.1), plain)):
        t = trainer(o, layers(), **s)
        for name in t.network.parameters:
            t.network.parameters[name][...] = 0.5
        t.step(X, Y)
        found.append({name: a.copy() for name, a in t.network.parameters.items()})
    return {name for name in found[0] if not np.array_equal(found[0][name], found[1][name])}


WEIGHTS, ALL = {"0.W", "2.W"}, {"0.W", "0.b", "1.gamma", "1.beta", "2.W", "2.b"}


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (None, WEIGHTS),
        ("*", ALL),
        ((), set()),
        ("*.b", {"0.b", "2.b"}),
        (("*", "!1.*"), ALL - {"1.gamma", "1.beta"}),
        ("!0.*", {"2.W"}),
        (["!0.*", "0.b"], {"0.b", "2.W"}),
        (("*", "!*", "2.W"), {"2.W"}),
    ],
    ids=lambda given: "" if isinstance(given, set) else repr(given),  # a set has another order in each process
)
def test_what_decays_and_what_is_penalized_by_name(patterns: Any, names: set[str]) -> None:
    optimizer = bp.SGD(0.1, weight_decay=0.3, decayed=patterns)
    assert changed_by(optimizer) == names
    assert changed_by(optimizer, workers=2, on_nonfinite="raise") == names
    assert changed_by(l2=0.3, penalized=patterns) == changed_by(l1=0.3, penalized=patterns) == names
    assert from_config(optimizer.config()).config() == optimizer.config()


def test_factors_go_by_what_decays() -> None:
    """A factor reaches what decays among its names; only where nothing does, all of them."""
    decay, decays = {"0.*": 0.0}, {"1.*": 1.0}
    assert changed_by(bp.SGD(0.1, weight_decay=0.3, decayed="*"), weight_decay_factors=decay) == ALL - {"0.W", "0.b"}
    optimizer = bp.SGD(0.1, weight_decay=0.3, decayed="2.*")
    assert changed_by(optimizer, weight_decay_factors=decays) == {"1.gamma", "1.beta", "2.W", "2.b"}


@pytest.mark.parametrize("numerics", NUMERICS)
def test_the_penalty_of_chosen_parameters_is_in_the_loss(numerics: str) -> None:
    found = []
    for l2 in (0.0, 0.4):
        net = bp.Network(layers(), 4, device="cpu", dtype="float64", seed=3, numerics=numerics)
        net.parameters["1.beta"][...] = [1.0, 2.0, 3.0]
        t = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1), l1=l2, l2=l2, penalized=("1.beta", "2.W"))
        t.step(X, Y)
        found.append(t.loss)
        if not l2:
            start = bp.Network(layers(), 4, device="cpu", dtype="float64", seed=3, numerics=numerics).parameters["2.W"]
    expected = 0.4 * (6.0 + np.abs(start).sum()) + 0.2 * (14.0 + (start**2).sum())
    assert found[1] - found[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: bp.SGD(dampening=0.5), ValueError, "SGD with dampening needs a momentum above 0 and nesterov=False"),
        (lambda: bp.SGD(momentum=0.9, nesterov=True, dampening=0.5), ValueError, "SGD with dampening"),
        (lambda: bp.SGD(maximize="yes"), ValueError, "SGD needs maximize to be True or False"),
        (lambda: bp.Adam(decayed=3), ValueError, "Adam needs decayed to be text, or a tuple of them, or None"),
        (lambda: bp.RMSprop(momentum=1.0), ValueError, "RMSprop needs momentum to be a number, from 0 to below 1"),
        (lambda: bp.Adagrad(initial_accumulator_value=-1), ValueError, "needs initial_accumulator_value to be a numb"),
        (lambda: bp.NAdam(momentum_decay=-1), ValueError, "NAdam needs momentum_decay to be a number, 0 or more"),
        (lambda: trainer(bp.SGD(decayed="9.*")), ValueError, r"decayed='9.\*': no parameter is called '9.\*'; there"),
        (lambda: trainer(bp.SGD(decayed="!c")), ValueError, "decayed='!c': no parameter is called 'c'; there are W, b"),
        (lambda: trainer(bp.SGD(), l2=1.0, penalized="V"), ValueError, "penalized='V': no parameter is called 'V'"),
        (lambda: trainer(bp.SGD(), penalized=3), ValueError, "Trainer needs penalized to be text, or a tuple of them"),
    ],
)
def test_wrong_options_are_refused(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_an_accumulator_goes_on_from_a_checkpoint_and_begins_for_what_is_unfrozen(tmp_path: Path) -> None:
    optimizer = bp.Adagrad(0.1, initial_accumulator_value=0.5)
    whole, first, second = (trainer(optimizer, layers()) for _ in range(3))
    whole.network.freeze("0.*")
    first.network.freeze("0.*")
    whole.fit(X, Y, epochs=4)
    first.fit(X, Y, epochs=2)
    first.save(tmp_path / "a.safetensors")
    second.resume(tmp_path / "a.safetensors")
    second.fit(X, Y, epochs=2)
    assert np.array_equal(whole.network.flat, second.network.flat)
    assert (second.update.moments["v"]["2.W"] > 0.5).all()
    second.network.unfreeze("0.*")
    second.renew()
    assert all((v == 0.5).all() for v in second.update.moments["v"].values())


def test_checkpoints_without_the_new_options_go_on(tmp_path: Path) -> None:
    """They have the meaning that they had."""
    path = tmp_path / "a.safetensors"
    old = trainer(bp.RMSprop(0.1), l2=0.1)
    old.fit(X, Y)
    config, arrays = old.snapshot()
    for name in ("centered", "momentum", "maximize", "decayed"):
        del config["training"]["optimizer"][name]
    del config["training"]["settings"]["penalized"]
    model_file.write(path, config, arrays)
    trainer(bp.RMSprop(0.1), l2=0.1).resume(path)
    assert bp.Trainer.load(path, device="cpu").optimizer.config() == bp.RMSprop(0.1).config()
    with pytest.raises(bp.ModelFileError, match=r"RMSprop\(0.1\) there, RMSprop\(0.1, momentum=0.5\) here"):
        trainer(bp.RMSprop(0.1, momentum=0.5), l2=0.1).resume(path)
    with pytest.raises(bp.ModelFileError, match="penalized: None there, '[*]' here"):
        trainer(bp.RMSprop(0.1), l2=0.1, penalized="*").resume(path)


@pytest.mark.parametrize("given", [None, {"w": 1.0}, {"v": math.nan}, {"v": "1"}, [("v", 1.0)]], ids=repr)
def test_first_values_of_ones_own_moments(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))

    def rule(self: Any, theta: Any, g: Any, v: Any, eta: Any) -> Any:
        return theta - eta * v * g, 0.5 * v

    def own(given: Any) -> bp.Optimizer:
        declared = {"moments": ("v",), "rule": rule, "initial_moments": given}
        return type("Own", (bp.SGD,), declared)(0.1)  # type: ignore[no-any-return]

    with pytest.raises(TypeError, match=r"Own.initial_moments must be a dictionary, name of a moment -> finite number"):
        trainer(own(given))
    for numerics in NUMERICS:
        net = bp.Network(bp.Dense(1), 4, device="cpu", numerics=numerics)
        t = bp.Trainer(net, bp.MeanSquaredError(), own({"v": 8.0}))
        t.fit(X, Y, epochs=3)
        assert (t.update.moments["v"]["W"] == 1.0).all()
