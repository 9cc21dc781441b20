"""What the methods of own layers, losses, metrics and initializers return is checked before anything is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp

X, Y = np.arange(18.0).reshape(6, 3) / 9.0, np.ones((6, 2))


class Twice(bp.Layer):
    """2 a x, as it should be; subclasses make one mistake each."""

    def plan(self, x: Any) -> bp.Plan:
        a = bp.Parameter(x[1:], bp.Constant(1.0))
        return bp.Plan(output=x, parameters={"a": a}, arrays={"y": x, "dx": x, "product": x})

    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        ws.x = x
        return ws.xp.multiply(x, ws.a, out=ws.y)

    def parameter_gradients(self, ws: bp.Workspace, dy: Any) -> None:
        ws.xp.multiply(dy, ws.x, out=ws.product)
        ws.xp.sum(ws.product, axis=0, out=ws.da)

    def input_gradient(self, ws: bp.Workspace, dy: Any) -> Any:
        return ws.xp.multiply(dy, ws.a, out=ws.dx)


class NoReturn(Twice):
    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        super().forward(ws, x)


class NoDx(Twice):
    def input_gradient(self, ws: bp.Workspace, dy: Any) -> Any:
        super().input_gradient(ws, dy)


class NoDxInBackward(Twice):
    def backward(self, ws: bp.Workspace, dy: Any) -> Any:
        super().backward(ws, dy)


class OtherShape(Twice):
    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return super().forward(ws, x)[:, :1]


class OtherType(Twice):
    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return np.asarray(super().forward(ws, x), "float16")


class OneNumber(Twice):
    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return super().forward(ws, x).mean()


class AList(Twice):
    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        return super().forward(ws, x).tolist()


class OtherDx(Twice):
    def input_gradient(self, ws: bp.Workspace, dy: Any) -> Any:
        return super().input_gradient(ws, dy)[:1]


class OtherPlace(Twice):
    def parameter_gradients(self, ws: bp.Workspace, dy: Any) -> None:
        ws.da = (dy * ws.x).sum(axis=0)


class OtherParameter(Twice):
    def forward(self, ws: bp.Workspace, x: Any) -> Any:
        ws.a = ws.a * 1.0
        return super().forward(ws, x)


FORWARD = [
    (NoReturn(), TypeError, r"NoReturn.forward{} must return a \w+ array of shape \(\d+, 2\) and returned None; is"),
    (OtherShape(), bp.ShapeError, r"OtherShape.forward{} must return .* and returned one of shape \(\d+, 1\)"),
    (OtherType(), TypeError, r"OtherType.forward{} must return .* and returned float16; write into"),
    (OneNumber(), TypeError, r"OneNumber.forward{} must return .* and returned np.float"),
    (AList(), TypeError, r"AList.forward{} must return .* and returned \[\[.* a list; write into an array of the plan"),
    (OtherParameter(), TypeError, "OtherParameter.forward{} puts another array in the place of ws.a, .* out=ws.a"),
]  # fmt: skip
BACKWARD = [
    (NoDx(), TypeError, "NoDx.backward{} must return .* and returned None; is a return missing. Layers below it learn"),
    (NoDxInBackward(), TypeError, "NoDxInBackward.backward{} must return .* and returned None; is a return missing"),
    (OtherDx(), bp.ShapeError, r"OtherDx.backward{} must return .* and returned one of shape \(1, 2\)"),
    (OtherPlace(), TypeError, "OtherPlace.backward{} puts another array in the place of ws.da, .* out=ws.da"),
]
LOOKS = {
    "fit": lambda net: bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).fit(X, Y),
    "step": lambda net: bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).step(X, Y),
    "evaluate": lambda net: bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).evaluate(X, Y),
    "loss_and_gradients": lambda net: net.loss_and_gradients(bp.MeanSquaredError(), X, Y),
    "predict": lambda net: net.predict(X),
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    ("layer", "error", "words"), FORWARD + BACKWARD, ids=lambda v: repr(v) if isinstance(v, bp.Layer) else ""
)
def test_a_layers_mistake_is_named(layer: bp.Layer, error: type[Exception], words: str, look: str) -> None:
    net = bp.Network(bp.Sequential(bp.Dense(2), layer, bp.ReLU()), 3, device="cpu")
    before = net.flat.copy()
    if look == "predict" and (layer, error, words) in BACKWARD:
        assert net.predict(X).shape == (6, 2)
    else:
        with pytest.raises(error, match=words.format(r" \(layer \"1\"\)")):
            LOOKS[look](net)
    assert np.array_equal(net.flat, before)


@pytest.mark.parametrize(("layer", "error", "words"), FORWARD + BACKWARD)
def test_gradcheck_names_it_too(layer: bp.Layer, error: type[Exception], words: str) -> None:
    assert bp.gradcheck(Twice(), (4, 2))
    with pytest.raises(error, match=words.format("")):
        bp.gradcheck(layer, (4, 2))


@pytest.mark.parametrize("around", [bp.Residual, bp.Parallel, lambda layer: bp.Parallel(layer, layer, merge="add")])
def test_a_mistake_inside_compositions_is_named(around: Any) -> None:
    for layer, words in ((NoReturn(), r'NoReturn.forward \(layer "1.0"\)'), (NoDx(), r'NoDx.backward \(layer "1.0"\)')):
        net = bp.Network(bp.Sequential(bp.Dense(2), around(layer)), 3, device="cpu")
        with pytest.raises(TypeError, match=words):
            net.loss_and_gradients(bp.MeanSquaredError(), X, np.ones((6, *net.output_shape)))


def test_a_layer_may_return_no_dx_where_nobody_learns_from_it() -> None:
    net = bp.Network(bp.Sequential(NoDx(), bp.Dense(2)), 3, device="cpu")
    bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).fit(X, Y)
    net = bp.Network(bp.Sequential(bp.Dense(3), NoDx(), bp.Dense(2)), 3, device="cpu")
    net.freeze("0.*", "1.*")
    bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).fit(X, Y)


def test_layers_below_an_embedding_get_the_gradient_0() -> None:
    layers = bp.Sequential(bp.Dense(4), bp.Embedding(9, 2), bp.Flatten(), bp.Dense(2))
    net = bp.Network(layers, 3, device="cpu", seed=1)
    net.parameters["0.W"][...] = 0.0
    gradients = net.loss_and_gradients(bp.MeanSquaredError(), X, Y)[1]
    assert not gradients["0.W"].any() and not gradients["0.b"].any() and gradients["1.W"].any()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (lambda x: None, "Own.plan must return a Plan.* and returned None; is a return missing"),
        (lambda x: x, r"Own.plan must return a Plan.* and returned \(1, 2\)"),
        (lambda x: bp.Plan(output=[x[0], 2.0]), r'Own\(\) at "1" plans the output with the shape \[1, 2.0\]'),
        (lambda x: bp.Plan(output=5), 'Own.. at "1" plans the output with the shape 5'),
        (lambda x: bp.Plan(output=(x[0], 2.0)), r"plans the output with the shape \(1, 2.0\)"),
        (lambda x: bp.Plan(output=(x[0], -1)), r"plans the output with the shape \(1, -1\)"),
        (lambda x: bp.Plan(output=x[1:]), r"plans the output \(2,\) for inputs \(1, 2\); the first axis is"),
        (lambda x: bp.Plan(output=(), arrays={}), r"plans the output \(\) for inputs \(1, 2\)"),
        (lambda x: bp.Plan(output=x, arrays={"y": 3}), "plans the array 'y' with the shape 3"),
        (lambda x: bp.Plan(output=x, arrays={"m": bp.Buffer(3, "bool")}), "plans the array 'm' with the shape 3"),
        (lambda x: bp.Plan(output=x, parameters={"a": (3,)}), r"plans the parameter 'a' as \(3,\); write Parameter"),
        (lambda x: bp.Plan(output=x, states={"a": bp.Parameter(3, bp.Zeros())}), "the state 'a' with the shape 3"),
        (lambda x: bp.Plan(output=x, overwrites=("y",)), "plans to overwrite 'y'; only \"y\" and \"dx\" can be"),
        (lambda x: bp.Plan(output=x, children=[bp.Plan(output=x)]), "plans 1 inner layers and has 0"),
    ],
)  # fmt: skip
def test_a_wrong_plan_is_named_when_the_network_is_made(plan: Any, words: str) -> None:
    class Own(Twice):
        def plan(self, x: Any) -> Any:
            return plan(x)

    with pytest.raises((TypeError, bp.ShapeError), match=words):
        bp.Network(bp.Sequential(bp.Dense(2), Own()), 3, device="cpu")
    with pytest.raises((TypeError, bp.ShapeError), match="plan"):
        bp.gradcheck(Own(), (1, 2))


@pytest.mark.parametrize(
    ("method", "result", "words"),
    [
        (
            "forward",
            lambda r: None,
            r"Own.forward must return a float32 array of shape \(\d,\) and returned None; is a",
        ),
        ("forward", lambda r: r[:1], r"Own.forward must return .* and returned one of shape \(1,\)"),
        ("forward", lambda r: r.mean(), "Own.forward must return .* and returned np.float32"),
        ("backward", lambda r: None, r"Own.backward must return a float32 array of shape \(\d, 2\) and returned None"),
        ("backward", lambda r: r[:, :1], r"Own.backward must return .* and returned one of shape \(\d, 1\)"),
        ("plan", lambda r: None, "Own.plan must return a Plan.* and returned None; is a return missing"),
        (
            "targets",
            lambda r: None,
            "Own.targets must return a NumPy array of numbers with 6 rows, and returned None; is",
        ),
        ("targets", lambda r: r[:2], "Own.targets must return a NumPy array of numbers with 6 rows"),
        ("targets", lambda r: r.astype(str), "Own.targets must return a NumPy array of numbers with 6 rows"),
        ("l", lambda r: None, "Own.l: .*came upon None; is a return missing"),
        ("dl", lambda r: (r, r), "Own.dl gives 2 values, and 1 are needed"),
    ],
)
def test_a_losss_mistake_is_named(method: str, result: Any, words: str) -> None:
    def mistaken(self: Any, *given: Any) -> Any:
        return result(getattr(bp.HalfMeanSquaredError, method)(self, *given))

    mistaken.__code__ = mistaken.__code__.replace(co_name=method)
    mistaken.__name__ = method
    loss = type("Own", (bp.HalfMeanSquaredError,), {"__module__": __name__, method: mistaken})()
    net = bp.Network(bp.Dense(2), 3, device="cpu")
    before = net.flat.copy()
    for look in (lambda: bp.Trainer(net, loss, bp.SGD()).fit(X, Y), lambda: net.loss_and_gradients(loss, X, Y)):
        with pytest.raises((TypeError, bp.ShapeError), match=words):
            look()
    assert np.array_equal(net.flat, before)


class Largest(bp.Metric):
    name = "largest"
    kinds = ("numbers",)

    def plan(self, z: Any, t: Any, predicts: str) -> bp.Plan:
        return bp.Plan(output=(z[0],), arrays={"rows": (z[0],)})

    def rows(self, ws: bp.Workspace, z: Any, t: Any, predicts: str) -> Any:
        return ws.xp.max(z, axis=1, out=ws.rows)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"rows": lambda self, ws, z, t, p: float(z.max())}, r"Own.rows must return .* of shape \(\d,\) and returned"),
        ({"rows": lambda self, ws, z, t, p: z.mean()}, "Own.rows must return .* and returned np.float32"),
        ({"rows": lambda self, ws, z, t, p: None}, "Own.rows must return .* and returned None; is a return missing"),
        ({"rows": lambda self, ws, z, t, p: z}, r"Own.rows must return .* and returned one of shape \(\d, 2\)"),
        ({"plan": lambda self, z, t, p: None}, "Own.plan must return a Plan"),
        ({"plan": lambda self, z, t, p: bp.Plan(output=z[0])}, r"Own\(\) plans the output with the shape 4"),
        ({"name": None}, "the class Own has no name; a metric needs one, such as name ="),
    ],
)
def test_a_metrics_mistake_is_named(own: dict[str, Any], words: str) -> None:
    metric = type("Own", (Largest,), {"__module__": __name__, **own})()
    net = bp.Network(bp.Dense(2), 3, device="cpu")
    before = net.flat.copy()
    with pytest.raises((TypeError, bp.ShapeError), match=words):
        bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), metrics=[metric]).fit(X, Y)
    assert np.array_equal(net.flat, before)
    bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), metrics=Largest()).fit(X, Y)


@pytest.mark.parametrize(
    ("metrics", "words"), [([bp.MeanAbsolute], r"write MeanAbsolute\(...\)"), (3, "one is 3"), ([None], "one is None")]
)
def test_what_is_no_metric_is_refused(metrics: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        bp.Trainer(bp.Network(bp.Dense(2), 3, device="cpu"), bp.MeanSquaredError(), bp.SGD(), metrics=metrics)


@pytest.mark.parametrize("drawn", [None, np.zeros(2), np.full((3, 2), np.nan), "zeros"], ids=repr)
def test_an_initializers_mistake_is_named(drawn: Any) -> None:
    class Own(bp.Initializer):
        def draw(self, rng: Any, shape: Any) -> Any:
            return drawn

    with pytest.raises(ValueError, match=r"Own.draw must return finite numbers of shape \(3, 2\), for W, and returned"):
        bp.Network(bp.Dense(2, weight_initializer=Own()), 3, device="cpu")


class NeverAssigned(Twice):
    def parameter_gradients(self, ws: bp.Workspace, dy: Any) -> None:
        pass


class Added(Twice):
    def parameter_gradients(self, ws: bp.Workspace, dy: Any) -> None:
        ws.xp.multiply(dy, ws.x, out=ws.product)
        ws.xp.add(ws.da, ws.product[0], out=ws.da)


@pytest.mark.parametrize("layer", [NeverAssigned(), Added()], ids=repr)
def test_a_gradient_that_is_not_assigned_is_named(layer: bp.Layer) -> None:
    net = bp.Network(bp.Sequential(bp.Dense(2), layer), 3, device="cpu")
    with pytest.raises(
        TypeError, match=r'backward \(layer "1"\) does not assign every number of ws.da, the gradient of 1.a'
    ):
        bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).fit(X, Y)


@pytest.mark.parametrize("method", ["plan", "forward", "parameter_gradients", "input_gradient"])
def test_an_error_of_ones_own_stays_it_and_says_where(method: str) -> None:
    layer = type("Own", (Twice,), {"__module__": __name__, method: lambda self, *given: 1 / 0})()
    with pytest.raises(ZeroDivisionError) as caught:
        net = bp.Network(bp.Sequential(bp.Dense(2), layer), 3, device="cpu")
        net.loss_and_gradients(bp.MeanSquaredError(), X, Y)
    place = "plan" if method == "plan" else "forward" if method == "forward" else "backward"
    assert any(note.startswith(f"in Own.{place}") for note in caught.value.__notes__)
