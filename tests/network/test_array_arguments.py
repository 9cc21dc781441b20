"""Layers, losses, metrics and schedules of one's own whose arguments are arrays."""

from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.config import Configurable, same


class WithMask(bp.Layer):
    mask: Any

    def plan(self, x: Any) -> bp.Plan:
        return bp.Plan(output=x, arrays={"y": x, "dx": x}, constants={"k": np.asarray(self.mask, "float32")})

    def forward(self, ws: Any, x: Any) -> Any:
        return ws.xp.multiply(x, ws.k, out=ws.y)

    def backward(self, ws: Any, dy: Any) -> Any:
        return ws.xp.multiply(dy, ws.k, out=ws.dx)


class PlainMask(WithMask):
    def __init__(self, mask: Any = None) -> None:
        self.mask = mask


@dataclass(frozen=True)
class FieldMask(WithMask):
    mask: Any = None


@dataclass(frozen=True, repr=False)
class MadeMask(WithMask):
    mask: Any = field(default_factory=lambda: np.ones(3))


class WeightedError(bp.MeanSquaredError):
    def __init__(self, weights: Any = None) -> None:
        self.weights = weights


@dataclass(frozen=True, repr=False)
class NearError(bp.MeanSquared):
    name = "near"
    limits: Any = None


LAYERS = [PlainMask, FieldMask, MadeMask]


def layers(of: Any, mask: Any = (1.0, 0.0, 2.0)) -> bp.Layer:
    return bp.Sequential(of(np.array(mask)), bp.Dense(2))


@pytest.mark.parametrize("of", LAYERS)
def test_a_network_of_such_layers_trains_and_is_saved_copied_and_resumed(of: Any, tmp_path: Path) -> None:
    X, y = np.eye(3), np.ones((3, 2))

    def trainer(mask: Any = (1.0, 0.0, 2.0)) -> bp.Trainer:
        net = bp.Network(layers(of, mask), 3, device="cpu")
        return bp.Trainer(net, WeightedError(np.ones(2)), bp.SGD(0.1), metrics=[NearError(limits=np.ones(2))])

    first = trainer()
    first.fit(X, y, epochs=2)
    assert "array([1., 0., 2.])" in repr(first.network)
    first.network.save(tmp_path / "net.safetensors")
    first.save(tmp_path / "training.safetensors")
    assert bp.gradcheck(first.network.layers, (4, 3)) and bp.gradcheck(WeightedError(np.ones(2)))
    others = [bp.load(tmp_path / "net.safetensors", device="cpu"), copy.deepcopy(first.network)]
    others += [pickle.loads(pickle.dumps(first.network)), copy.deepcopy(first).network]  # noqa: S301
    others += [bp.Trainer.load(tmp_path / "training.safetensors", device="cpu").network]
    again = trainer()
    again.resume(tmp_path / "training.safetensors")
    for net in (*others, again.network):
        assert net.predict(X).tobytes() == first.network.predict(X).tobytes()
    with pytest.raises(bp.ModelFileError, match="the layers: "):
        trainer((1.0, 1.0, 2.0)).resume(tmp_path / "training.safetensors")


@pytest.mark.parametrize("of", LAYERS)
def test_the_printed_form_omits_a_default_array(of: Any) -> None:
    default = of().mask
    assert repr(of(np.array([1.0, 0.0]))).replace("mask=", "") == f"{of.__name__}(array([1., 0.]))"
    assert of is FieldMask or repr(of(default)) == f"{of.__name__}({'' if default is None else repr(default)})"


@pytest.mark.parametrize(
    ("one", "two", "equal"),
    [
        (np.ones(2), np.ones(2), True), (np.ones(2), np.zeros(2), False), (np.ones(2), np.ones(3), False),
        (np.ones(2), None, False), (None, np.ones(1), False), (np.ones(0), np.ones(0), True), (np.ones(0), None, False),
        ([np.ones(2)], [np.ones(2)], True), ((np.ones(2), "a"), (np.ones(2), "b"), False),
        ({"a": np.ones(2)}, {"a": np.ones(2)}, True), (3, np.float64(3.0), True), (0.0, False, True),
        (PlainMask(np.ones(2)), PlainMask(np.ones(2)), True), (FieldMask(np.ones(2)), FieldMask(np.ones(2)), True),
        (PlainMask(np.ones(2)), FieldMask(np.ones(2)), False), (FieldMask(np.ones(2)), FieldMask(np.zeros(2)), False),
        (bp.Dense(3), bp.Dense(3), True), (bp.Dense(3), bp.Dense(4), False), (bp.Dense(3), None, False),
        (PlainMask({1}), PlainMask({1}), True), (PlainMask({1}), PlainMask({2}), False),
        (layers(PlainMask), layers(PlainMask), True), (layers(MadeMask), layers(PlainMask), False),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_the_same(one: Any, two: Any, equal: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(one, two) is same(two, one) is equal
    assert same(one, one)


def test_classes_of_one_name_are_different(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a class that a notebook defines again."""
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))

    def made() -> Any:
        @dataclass(frozen=True, repr=False)
        class Again(bp.MeanSquared):
            name = "again"

        return Again()

    one, two = made(), made()
    assert same(one, copy.copy(one)) and not same(one, two) and not same([one], [two])
    assert not same(bp.Sequential(PlainMask(one)), bp.Sequential(PlainMask(two)))
    with pytest.raises(ValueError, match="two metrics have the name 'again'"):
        bp.Trainer(bp.Network(bp.Dense(1), 3, device="cpu"), bp.MeanSquaredError(), bp.SGD(), metrics=[one, two])


def test_a_layer_that_keeps_no_argument_is_the_same_as_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))

    class Other(WithMask):
        def __init__(self, mask: Any) -> None:
            self._mask = mask

    one = Other(np.ones(2))
    assert same(one, one) and not same(one, Other(np.ones(2))) and repr(one) == "Other(None)"
