"""Adam's largest mean square (amsgrad); optimizers of your own: `step_scalars`, and its former name `numbers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.config import Configurable


@pytest.mark.parametrize("name", ["step_scalars", "numbers"])
@pytest.mark.parametrize("calls", ["step_scalars", "numbers"])
def test_an_own_optimizer_may_use_the_former_name(name: str, calls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))

    def halved(self: bp.Optimizer, t: Any, eta: Any) -> dict[str, Any]:
        return getattr(super(Own, self), calls)(t, 0.5 * eta)  # type: ignore[no-any-return]

    Own = type("Own", (bp.Adam,), {name: halved})
    X, y, found = np.eye(4), np.ones(4), []
    for optimizer in (Own(0.1), bp.Adam(0.05)):
        net = bp.Network(bp.Dense(1), 4, device="cpu")
        bp.Trainer(net, bp.MeanSquaredError(), optimizer).fit(X, y, epochs=3)
        found.append(net.flat.tobytes())
    assert found[0] == found[1]


def test_the_former_name_may_come_from_a_mixin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))

    class Halved:
        def numbers(self, t: Any, eta: Any) -> dict[str, Any]:
            return super().numbers(t, 0.5 * eta)  # type: ignore[misc, no-any-return]

    class Own(Halved, bp.Adam):
        pass

    t, eta = np.array([1.0]), np.array([0.1])
    assert Own().step_scalars(t, eta) == Own().numbers(t, eta) == bp.Adam().step_scalars(t, 0.5 * eta)


@pytest.mark.parametrize("make", [bp.Adam, bp.AdamW])
def test_amsgrad_is_the_published_algorithm_in_pytorchs_form(make: type[bp.Adam], rng: np.random.Generator) -> None:
    """torch.optim.Adam written out: the largest mean square before its bias correction, eps after the root."""
    beta_1, beta_2, eps, lr, decay = 0.8, 0.6, 1e-3, 0.1, 0.05
    optimizer = make(lr, beta_1=beta_1, beta_2=beta_2, eps=eps, weight_decay=decay, amsgrad=True)
    net = bp.Network(bp.Dense(2, use_bias=False), 3, device="cpu", dtype="float64")
    trainer = bp.Trainer(net, bp.HalfMeanSquaredError(), optimizer)
    theta = net.parameters["W"].copy()
    m, v, vmax, held = np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2)), 0
    for t in range(1, 13):
        X, y = rng.normal(size=(4, 3)) * (5.0 if t % 4 == 1 else 0.2), rng.normal(size=(4, 2))
        trainer.step(X, y)
        g = X.T @ (X @ theta - y) / (4 * 2)
        theta = theta * (1 - lr * decay)
        m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2
        vmax = np.maximum(vmax, v)
        held += int((vmax > v).sum())
        theta = theta - lr / (1 - beta_1**t) * m / (np.sqrt(vmax) / np.sqrt(1 - beta_2**t) + eps)
        np.testing.assert_allclose(net.parameters["W"], theta, rtol=1e-12, atol=1e-14)
    assert held > 20, "the largest one was often an earlier one"
    np.testing.assert_allclose(trainer.update.moments["vmax"]["W"], vmax, rtol=1e-12)


def test_without_amsgrad_there_are_two_moments() -> None:
    assert bp.Adam().moments == bp.AdamW().moments == ("m", "v")
    assert bp.Adam(amsgrad=True).moments == ("m", "v", "vmax")
    assert repr(bp.Adam(0.1, amsgrad=True)) == "Adam(0.1, amsgrad=True)"


@pytest.mark.parametrize("given", ["yes", 1, None])
def test_amsgrad_is_true_or_false(given: Any) -> None:
    with pytest.raises(ValueError, match="Adam needs amsgrad to be True or False, and got"):
        bp.Adam(amsgrad=given)


def own(**declared: Any) -> bp.Optimizer:
    return type("Own", (bp.SGD,), declared)(0.1)  # type: ignore[no-any-return]


@pytest.fixture
def few_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))


@pytest.mark.usefixtures("few_classes")
@pytest.mark.parametrize(
    "moments", [None, 3, (1, 2), ("m", "m"), {"m": 0}, [b"m"], iter(["m"])], ids=lambda m: repr(m).split(" object")[0]
)
def test_moments_are_names(moments: Any) -> None:
    net = bp.Network(bp.Dense(1), 3, device="cpu")
    with pytest.raises(TypeError, match=r"Own.moments must be a tuple of names, each once, such as .*; it is "):
        bp.Trainer(net, bp.MeanSquaredError(), own(moments=moments))


@pytest.mark.usefixtures("few_classes")
@pytest.mark.parametrize("kind", [list, dict.fromkeys, np.array, iter], ids=["list", "keys", "array", "generator"])
def test_moments_come_in_any_form_with_an_order(kind: Any) -> None:
    def moments(self: bp.Optimizer) -> Any:
        names = kind(["m", "a"])
        return names.keys() if isinstance(names, dict) else names

    def rule(self: Any, theta: Any, g: Any, m: Any, a: Any, eta: Any) -> Any:
        return theta - eta * g, g, 2.0 * g

    optimizer = own(moments=property(moments), rule=rule)
    for _ in range(2):
        trainer = bp.Trainer(bp.Network(bp.Dense(1), 3, device="cpu"), bp.MeanSquaredError(), optimizer)
        trainer.fit(np.eye(3), np.ones(3))
        assert list(trainer.update.moments) == ["m", "a"]
        assert np.array_equal(trainer.update.moments["a"].flat, 2.0 * trainer.update.moments["m"].flat)


@pytest.mark.usefixtures("few_classes")
@pytest.mark.parametrize("kind", [set, frozenset])
def test_a_set_of_moments_has_no_order(kind: Any) -> None:
    net = bp.Network(bp.Dense(1), 3, device="cpu")
    with pytest.raises(TypeError, match=r"Own.moments must be a tuple of names.*it is .*, and a set has no order"):
        bp.Trainer(net, bp.MeanSquaredError(), own(moments=kind(["m", "v"])))


@pytest.mark.usefixtures("few_classes")
def test_one_moment_may_be_a_text(tmp_path: Path) -> None:
    def rule(self: Any, theta: Any, g: Any, velocity: Any, eta: Any) -> Any:
        velocity = 0.5 * velocity + g
        return theta - eta * velocity, velocity

    found = []
    for moments in ("velocity", ("velocity",), ["velocity"], {"velocity"}):
        net = bp.Network(bp.Dense(1), 3, device="cpu")
        trainer = bp.Trainer(net, bp.MeanSquaredError(), own(moments=moments, rule=rule))
        trainer.fit(np.eye(3), np.ones(3), epochs=2)
        assert list(trainer.update.moments) == ["velocity"]
        trainer.save(tmp_path / "a.safetensors")
        trainer.resume(tmp_path / "a.safetensors")
        trainer.fit(np.eye(3), np.ones(3), epochs=2)
        found.append(net.flat.tobytes())
    assert len(set(found)) == 1


@pytest.mark.usefixtures("few_classes")
@pytest.mark.parametrize("method", ["moments", "step_scalars"])
def test_an_error_of_its_own_says_where(method: str) -> None:
    def wrong(self: Any, *given: Any) -> Any:
        return 1 / 0

    net = bp.Network(bp.Dense(1), 3, device="cpu")
    with pytest.raises(ZeroDivisionError) as caught:
        bp.Trainer(net, bp.MeanSquaredError(), own(**{method: property(wrong) if method == "moments" else wrong}))
    assert caught.value.__notes__ == [f"in Own.{method}, of Own(0.1)"]
