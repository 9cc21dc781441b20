"""NonFiniteError names the layer whose output, or gradient, is the first that is not finite."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import gpubp as bp


@dataclass(frozen=True, repr=False)
class Scale(bp.Activation):
    """y = factor x, dx = slope dy. 1e60 is beyond float32."""

    factor: float = 1.0
    slope: float = 1.0

    def f(self, x: Any) -> Any:
        return x * self.factor

    def df(self, x: Any, y: Any, dy: Any) -> Any:
        return dy * self.slope


@dataclass(frozen=True, repr=False)
class OwnArray(bp.Layer):
    """The same, in arrays of other names."""

    factor: float = 1.0
    slope: float = 1.0

    def plan(self, x: bp.layers.base.Shape) -> bp.Plan:
        return bp.Plan(output=x, arrays={"result": x, "carried": x})

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return ws.xp.multiply(x, ws.be.constant(self.factor, ws.dtype), out=ws.result)

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return ws.xp.multiply(dy, ws.be.constant(self.slope, ws.dtype), out=ws.carried)


@dataclass(frozen=True, repr=False)
class InPlace(OwnArray):
    """The same, written over its input, which is the output of the layer below."""

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return ws.xp.multiply(x, ws.be.constant(self.factor, ws.dtype), out=x)

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return ws.xp.multiply(dy, ws.be.constant(self.slope, ws.dtype), out=dy)


@dataclass(frozen=True, repr=False)
class OwnComposition(bp.Layer):
    """A composition of the user's own."""

    inner: bp.Layer

    @property
    def children(self) -> tuple[bp.Layer, ...]:
        return (self.inner,)

    def plan(self, x: bp.layers.base.Shape) -> bp.Plan:
        inner = self.inner.plan(x)
        return bp.Plan(output=inner.output, children=[inner])

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return self.inner.forward(ws.children[0], x)

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return self.inner.backward(ws.children[0], dy)


def one() -> bp.Layer:
    return bp.Dense(1, weight_initializer=bp.Constant(1.0))


BLOCKS: list[tuple[Any, str]] = [
    (lambda bad: bad, "1"),
    (lambda bad: bp.Residual(bad), "1.0"),
    (lambda bad: bp.Residual(one(), bad), "1.1"),
    (lambda bad: bp.Residual(bp.Sequential(one(), bad, bp.Flatten())), "1.0.1"),
    (lambda bad: bp.Residual(bp.Residual(bad)), "1.0.0"),
    (lambda bad: bp.Parallel(one(), bad), "1.1"),
    (lambda bad: bp.Parallel(bad, one(), merge="add"), "1.0"),
    (lambda bad: bp.Parallel(one(), bp.Residual(bp.Sequential(one(), bad))), "1.1.0.1"),
    (lambda bad: bp.Sequential(bp.Sequential(bp.Flatten(), bad)), "1.0.1"),
    (lambda bad: OwnComposition(bad), "1.0"),
    (lambda bad: bp.Residual(OwnComposition(bp.Sequential(one(), bad))), "1.0.0.1"),
]


def blamed(*layers: bp.Layer, x: float = 1.0, loss: bp.Loss | None = None, y: Any = None) -> tuple[str, str]:
    """(layer, message) of the error of a step on one row, in which loss and weights are finite before it."""
    net = bp.Network(bp.Sequential(*layers) if len(layers) > 1 else layers[0], 1, device="cpu")
    next(iter(net.parameters.values()))[...] = 1.0 / x
    t = bp.Trainer(net, loss or bp.HalfMeanSquaredError(), bp.SGD(), on_nonfinite="raise")
    before, attributes = net.flat.copy(), [dict(vars(layer)) for _, layer in net.layers.walk()]
    with np.errstate(all="ignore"), pytest.raises(bp.NonFiniteError) as raised:
        t.step([[x]], np.zeros((1, *net.output_shape)) if y is None else y)
    assert np.array_equal(net.flat, before) and t.step_count == 0
    assert attributes == [vars(layer) for _, layer in net.layers.walk()]
    return raised.value.layer, str(raised.value)


@pytest.mark.parametrize("kind", [Scale, OwnArray, InPlace])
@pytest.mark.parametrize(("block", "path"), BLOCKS, ids=[path for _, path in BLOCKS])
def test_the_first_output_that_is_not_finite(block: Any, path: str, kind: Any) -> None:
    layer, text = blamed(one(), block(kind(1e60)), one())
    assert layer == path and f'the output of layer "{path}", {kind.__name__}(' in text


@pytest.mark.parametrize("kind", [Scale, OwnArray, InPlace])
@pytest.mark.parametrize(("block", "path"), BLOCKS, ids=[path for _, path in BLOCKS])
def test_the_first_gradient_that_is_not_finite(block: Any, path: str, kind: Any) -> None:
    layer, text = blamed(one(), block(kind(1.0, 1e60)), one())
    assert layer == path and f'the gradient that layer "{path}", {kind.__name__}(' in text


SUMS = [bp.Residual(Scale()), bp.Parallel(Scale(), Scale(), merge="add"), bp.Residual(bp.Flatten(), Scale())]


@pytest.mark.parametrize("block", SUMS, ids=str)
def test_a_sum_of_finite_outputs_or_gradients(block: bp.Layer) -> None:
    """2e38 and 2 · 1.2e38 are finite in float32, and twice that is not."""
    layer, text = blamed(one(), Scale(2e38), block, one())
    assert layer == "2" and f'the output of layer "2", {block!r}, is not finite' in text
    layer, text = blamed(one(), block, Scale(1.0, 1.2e38), one())
    assert layer == "1" and f'the gradient that layer "1", {block!r}, hands down' in text


def test_a_composition_at_the_top() -> None:
    assert blamed(bp.Residual(bp.Sequential(one(), Scale(1e60)), one()), x=1.0)[0] == "0.1"


@pytest.mark.parametrize("times", [2, 3])
def test_one_layer_at_several_places(times: int) -> None:
    layer = Scale(2e38 ** (1 / (times - 0.5)))
    assert blamed(one(), *[layer] * times)[0] == str(times)
    layer = Scale(1.0, layer.factor)
    assert blamed(one(), *[layer] * times)[0] == "1"


def test_a_parameters_gradient() -> None:
    """dW = x dy is beyond float32, and both factors are not."""
    layer, text = blamed(one(), Scale(1.0, 1e20), x=1e20)
    assert layer == "0" and 'the gradient of 0.W, in layer "0", is not finite, and the loss is' in text
    layer, text = blamed(one(), bp.Parallel(one(), bp.Sequential(Scale(1e20), one(), Scale(1e-20, 1e20))))
    assert layer == "1.1.1" and 'the gradient of 1.1.1.W, in layer "1.1.1"' in text


def test_a_gradient_whose_square_is_beyond_the_type() -> None:
    layer, text = blamed(one(), Scale(1.0, 1e30))
    assert layer == "0" and 'in layer "0", reaches 1e+30, whose square is beyond float32' in text


def test_the_gradient_of_the_loss() -> None:
    class Steep(bp.PointwiseLoss):
        """A loss whose slope is beyond float32."""

        predicts = "numbers"

        def l(self, z: Any, t: Any) -> Any:  # noqa: E743
            return (z - t) * 1.0

        def dl(self, z: Any, t: Any) -> Any:
            return (z - t) * 1e60

    layer, text = blamed(one(), bp.Residual(Scale()), loss=Steep())
    assert layer == "" and "the gradient of the loss, Steep(), is not finite, and the loss is" in text


@dataclass(frozen=True, repr=False)
class Masked(bp.Layer):
    """Sets outputs to -∞, as a user masks classes."""

    places: tuple[int, ...] = (0,)

    def plan(self, x: bp.layers.base.Shape) -> bp.Plan:
        mask = np.zeros(x[-1], "float32")
        mask[list(self.places)] = -np.inf
        return bp.Plan(output=x, arrays={"y": x}, constants={"hidden": mask})

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return ws.xp.add(x, ws.hidden, out=ws.y)

    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        return dy


def test_a_mask_is_not_blamed_for_what_comes_after_it() -> None:
    masked, beside = Masked(), '. The output of layer "1", Masked(), holds -inf.'
    layer, text = blamed(bp.Dense(3), masked, loss=bp.SoftmaxCrossEntropy(0.1), y=[1])
    assert layer == "" and "the loss, SoftmaxCrossEntropy(0.1), is not finite" + beside in text
    zeros = bp.Dense(3, weight_initializer=bp.Zeros())  # 0 · ∞ is NaN
    layer, text = blamed(bp.Dense(3), masked, zeros)
    assert layer == "2" and f'the output of layer "2", {zeros!r}, is not finite' + beside in text


def test_a_mask_of_all_classes_leaves_no_finite_loss() -> None:
    layer, text = blamed(bp.Dense(2), Masked((0, 1)), loss=bp.SoftmaxCrossEntropy(), y=[0])
    assert layer == "" and "is not finite. The output of layer" in text


def test_calls_of_another_network_are_left_alone() -> None:
    """As by a thread that predicts meanwhile with a network that shares a layer."""
    shared = Scale(1e60)
    other = bp.Network(shared, 1, device="cpu")

    @dataclass(frozen=True, repr=False)
    class PredictsMeanwhile(Scale):
        def forward(self, ws: bp.Workspace, x: Any) -> Any:
            assert not np.isfinite(shared.forward(other.workspace(1), x)).any()
            return super().forward(ws, x)

    assert blamed(one(), PredictsMeanwhile(), shared)[0] == "2"


def test_methods_of_a_single_layer_stay() -> None:
    """Methods that were assigned to the layer itself, and not to its class."""
    layer = Scale(1e60)
    for name in ("forward", "backward"):
        object.__setattr__(layer, name, getattr(Scale(1.0, 1e60 if name == "backward" else 1.0), name))
    assert blamed(one(), layer, one())[0] == "1"


def test_a_layer_may_train_a_network_that_fails_itself() -> None:
    @dataclass(frozen=True, repr=False)
    class Trains(Scale):
        def forward(self, ws: bp.Workspace, x: Any) -> Any:
            assert blamed(one(), Scale(1e60))[0] == "1"
            return super().forward(ws, x)

    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(blamed(one(), Trains(1e60), one())[0]), daemon=True)
    thread.start()
    thread.join(60)
    assert found == ["1"]
