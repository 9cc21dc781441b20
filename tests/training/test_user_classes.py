"""Layers and losses of your own: those that a recorded step would not repeat are refused before training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp


def test_a_call_without_out_raises_a_record_error() -> None:
    class Careless(bp.Layer):
        def plan(self, x: Any) -> bp.Plan:
            return bp.Plan(output=x, arrays={"y": x})

        def forward(self, ws: bp.Workspace, x: Any) -> Any:
            return ws.xp.multiply(x, 2.0)

        def backward(self, ws: bp.Workspace, dy: Any) -> Any:
            return dy

    net = bp.Network(bp.Sequential(bp.Dense(2), Careless()), 3, device="cpu")
    with pytest.raises(bp.RecordError, match="xp.multiply was called without out="):
        bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).step(np.ones((2, 3)), np.ones((2, 2)))


class Doubled(bp.Layer):
    """2 x by an operator, which no recorder sees."""

    def plan(self, x: Any) -> bp.Plan:
        return bp.Plan(output=x, arrays={"y": x})

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return x * 2.0

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return dy * 2.0


class InPlace(Doubled):
    """2 x, added up in place behind the recorder's back."""

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        y = ws.xp.multiply(x, 1.0, out=ws.y)
        y += x
        return y


class Noisy(Doubled):
    """x and a new random number, of which no record knows."""

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return ws.xp.add(x, float(np.random.default_rng().normal()), out=ws.y)

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return dy


class Recordable(Doubled):
    """2 x as it should be."""

    def plan(self, x: Any) -> bp.Plan:
        return bp.Plan(output=x, arrays={"y": x, "dx": x})

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return ws.xp.multiply(x, 2.0, out=ws.y)

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return ws.xp.multiply(dy, 2.0, out=ws.dx)


@pytest.mark.parametrize("careless", [Doubled(), InPlace(), Noisy()], ids=repr)
def test_a_layer_that_can_not_be_recorded_is_refused_before_training(careless: bp.Layer) -> None:
    for layers, place in (
        (bp.Sequential(bp.Dense(2), careless), "1"),
        (bp.Sequential(careless, bp.Dense(2)), "0"),
        (bp.Residual(bp.Sequential(bp.Dense(3), careless)), "0.1"),
    ):
        net = bp.Network(layers, 3, device="cpu")
        before = net.flat.copy()
        trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD())
        X, y = np.arange(12.0).reshape(4, 3), np.ones((4, *net.output_shape))
        with pytest.raises(
            bp.RecordError, match=rf'{type(careless).__name__} at "{place}" .*ws.xp.multiply\(a, b, out='
        ):
            trainer.fit(X, y)
        assert np.array_equal(before, net.flat)
    if not isinstance(careless, Noisy):  # whose differences say already that something is wrong
        with pytest.raises(bp.RecordError, match="would not repeat"):
            bp.gradcheck(careless, (4, 3))


def test_a_loss_that_can_not_be_recorded_is_refused() -> None:
    class Careless(bp.HalfMeanSquaredError):
        def forward(self, ws: bp.Workspace, z: Any, t: Any) -> Any:
            return super().forward(ws, z, t) * 1.0

    net = bp.Network(bp.Dense(2), 3, device="cpu")
    with pytest.raises(bp.RecordError, match="Careless computes"):
        bp.Trainer(net, Careless(), bp.SGD()).step(np.ones((2, 3)), np.ones((2, 2)))


@pytest.mark.filterwarnings("ignore:BatchNorm.* a batch has one row:RuntimeWarning")
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_an_own_layer_that_can_be_recorded_trains(rows: int) -> None:
    net = bp.Network(bp.Sequential(bp.Dense(2), Recordable(), bp.BatchNorm()), 3, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), batch_size=2)
    trainer.fit(np.ones((rows, 3)), np.ones((rows, 2)))
    assert trainer.step_count == -(-rows // 2)
    assert bp.gradcheck(Recordable(), (4, 3))


def test_an_array_missing_from_the_plan_is_named() -> None:
    class Forgetful(bp.Layer):
        def plan(self, x: Any) -> bp.Plan:
            return bp.Plan(output=x, arrays={"y": x})

        def forward(self, ws: bp.Workspace, x: Any) -> Any:
            return ws.xp.multiply(x, x, out=ws.square)

        def backward(self, ws: bp.Workspace, dy: Any) -> Any:
            return dy

    with pytest.raises(AttributeError, match=r'Forgetful\(\) at "1" uses ws.square'):
        bp.Network(bp.Sequential(bp.Dense(2), Forgetful()), 3, device="cpu").predict(np.ones((2, 3)))
