"""Layers of one's own, which call the array library in ways that gpubp's layers do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_every_number import check

import gpubp as bp
from gpubp.explain.explanation import explain
from gpubp.explain.memory import locate

Method = Callable[[Any, Any], Any]


def between(forward: Method, backward: Method) -> tuple[Any, ...]:
    """A network with a layer of these methods amid others, and two rows. The layer has scratch arrays m, p, r and t."""

    class Own(bp.Layer):
        def plan(self, x: Any) -> bp.Plan:
            """See `Layer.plan`."""
            return bp.Plan(output=x, arrays={"y": x, "dx": x, "m": x, "t": x, "p": x[1:], "r": x[:1]})

        def forward(self, ws: Any, x: Any) -> Any:
            """See `Layer.forward`."""
            ws.x = x
            forward(ws, x)
            return ws.y

        def backward(self, ws: Any, dy: Any) -> Any:
            """See `Layer.backward`."""
            backward(ws, dy)
            return ws.dx

    net = bp.Network(bp.Sequential(bp.Dense(3), Own(), bp.Dense(2)), 3, device="cpu", dtype="float64", seed=1)
    rng = np.random.default_rng(0)
    return net, rng.normal(size=(2, 3)), rng.normal(size=(2, 2)), bp.HalfMeanSquaredError()


def same(ws: Any, dy: Any) -> None:
    """dx = dy"""
    ws.xp.copyto(ws.dx, dy)


def mirrored(ws: Any, x: Any) -> None:
    """y = (x + 1)², through a view that runs backwards."""
    ws.xp.copyto(ws.y, x)
    turned = ws.y[:, ::-1]
    ws.xp.add(turned, 1.0, out=turned)
    ws.xp.multiply(ws.y, ws.y, out=ws.y)


def mirrored_backward(ws: Any, dy: Any) -> None:
    """dx = 2 (x + 1) dy"""
    ws.xp.add(ws.x, 1.0, out=ws.t)
    ws.xp.multiply(ws.t, 2.0, out=ws.t)
    ws.xp.multiply(ws.t, dy, out=ws.dx)


def halves_by_position(ws: Any, x: Any) -> None:
    """y = x − (the column's sum of what is above 0, and 5), with arguments by position."""
    ws.xp.sum(x, 0, None, ws.p)
    ws.xp.sum(x, 1, out=ws.r)
    ws.xp.subtract(x, ws.p, out=ws.m)
    ws.xp.subtract(ws.m, ws.r[:, None], out=ws.m)
    ws.xp.sum(x, axis=0, out=ws.p, initial=5.0, where=x > 0)
    ws.xp.subtract(ws.m, ws.p, out=ws.y)


def two_results(ws: Any, x: Any) -> None:
    """y is what is behind the point, the second result of `modf`'s mirror `divmod`."""
    ws.xp.divmod(x, 2.0, out=(ws.m, ws.y))


def new_arrays(ws: Any, x: Any) -> None:
    """Results without out=."""
    product = ws.xp.tensordot(x, np.eye(3), 1)
    doubled = ws.xp.multiply(x, 2.0)
    ws.xp.add(product, doubled, out=ws.y)


def beside_the_library(ws: Any, x: Any) -> None:
    """Python's own operators, over what a call has written before."""
    ws.xp.copyto(ws.y, x)
    ws.y *= 3.0


def beside_the_library_backward(ws: Any, dy: Any) -> None:
    """The same in the other direction."""
    ws.dx[...] = dy * 3.0


def sorted_in_place(ws: Any, x: Any) -> None:
    """A method of the array."""
    ws.xp.copyto(ws.y, x)
    ws.y.sort(axis=1)


def running_sum(ws: Any, x: Any) -> None:
    """A function of which no formula is known."""
    ws.xp.cumsum(x, axis=1, out=ws.y)


def running_sum_backward(ws: Any, dy: Any) -> None:
    """From the end to the beginning."""
    ws.xp.cumsum(dy[:, ::-1], axis=1, out=ws.dx[:, ::-1])


def vector_products(ws: Any, x: Any) -> None:
    """A ufunc of whole rows."""
    ws.xp.matmul(x[:, None, :], x[:, :, None], out=ws.t[:, :1, None])
    ws.xp.multiply(x, ws.t[:, :1], out=ws.y)


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        (mirrored, mirrored_backward),
        (halves_by_position, same),
        (two_results, same),
        (new_arrays, same),
        (beside_the_library, beside_the_library_backward),
        (sorted_in_place, same),
        (running_sum, running_sum_backward),
        (vector_products, same),
    ],
)
def test_numbers_are_right(forward: Method, backward: Method) -> None:
    """However a layer computes, its numbers are the step's, and are what their expressions say."""
    net, X, y, loss = between(forward, backward)
    check(net, X, y, loss, explain(net, X, y, loss).content)


def test_what_is_written_without_the_library_says_so() -> None:
    """y[...] = f(x) has no formula that could be shown."""
    net, X, y, loss = between(beside_the_library, beside_the_library_backward)
    told = str(net.explain(X, y, loss))
    assert "written without ws.xp" in told


def test_squares_and_means_are_formulas(rng: np.random.Generator) -> None:
    """x² and x³ by `square` and `power` have factors in the chain rule as products have."""

    def cubed(ws: Any, x: Any) -> None:
        ws.xp.power(x, 3, out=ws.y)

    def cubed_backward(ws: Any, dy: Any) -> None:
        ws.xp.square(ws.x, out=ws.t)
        ws.xp.multiply(ws.t, 3.0, out=ws.t)
        ws.xp.multiply(ws.t, dy, out=ws.dx)

    net, X, y, loss = between(cubed, cubed_backward)
    content = explain(net, X, y, loss).content
    check(net, X, y, loss, content)
    gradients = [line for line in content.lines() if line.key.path == "1" and line.name == "dx"]
    assert len(gradients) == 6 and all(len(line.factors) == 1 for line in gradients)


def test_views_that_run_in_both_directions() -> None:
    """A number is found in an array of which one axis runs backwards."""
    a = np.zeros((2, 3, 4))
    start = a.__array_interface__["data"][0]
    for view in (a[:, ::-1], a[::-1, :, ::-2], a[:, 1:, ::-1].transpose(2, 0, 1), a[::-1, ::-1, ::-1]):
        for index in np.ndindex(*view.shape):
            offset = view.__array_interface__["data"][0] + sum(i * s for i, s in zip(index, view.strides, strict=True))
            assert locate(view, offset) == index
        found = {locate(view, start + 8 * k) for k in range(a.size)}
        assert len(found - {None}) == view.size


class Half(bp.Layer):
    """y = x + f(x) / 2, with one array for both steps of it, forward and backward."""

    def __init__(self, body: bp.Layer) -> None:
        object.__setattr__(self, "body", body)

    @property
    def children(self) -> tuple[bp.Layer, ...]:
        """The body."""
        return (self.body,)  # type: ignore[attr-defined]

    def plan(self, x: Any) -> bp.Plan:
        """See `Layer.plan`."""
        return bp.Plan(output=x, arrays={"y": x, "dx": x}, children=[self.children[0].plan(x)])

    def forward(self, ws: Any, x: Any) -> Any:
        """See `Layer.forward`."""
        ws.xp.multiply(ws.children[0].run_forward(x), 0.5, out=ws.y)
        return ws.xp.add(x, ws.y, out=ws.y)

    def backward(self, ws: Any, dy: Any) -> Any:
        """See `Layer.backward`."""
        ws.xp.multiply(dy, 0.5, out=ws.dx)
        return ws.xp.add(dy, ws.children[0].run_backward(ws.dx), out=ws.dx)


@pytest.mark.parametrize("body", [bp.Dense(3), bp.Tanh(), Half(bp.Dense(3))], ids=str)
def test_a_composition_that_writes_over_what_it_has_handed_on(body: bp.Layer, rng: np.random.Generator) -> None:
    """What the body has read from the array is another number than what stands there in the end."""
    net = bp.Network(bp.Sequential(bp.Dense(3), Half(body), bp.Dense(2)), 3, device="cpu", dtype="float64", seed=1)
    X, y, loss = rng.normal(size=(2, 3)), rng.normal(size=(2, 2)), bp.HalfMeanSquaredError()
    check(net, X, y, loss, explain(net, X, y, loss).content)


def test_a_loss_in_which_no_number_counts() -> None:
    """It is 0 / 0."""
    net = bp.Network(bp.Dense(3), 2, device="cpu")
    content = explain(net, [[1.0, 2.0], [0.5, 1.0]], [-1, -1], bp.SoftmaxCrossEntropy(ignore_index=-1)).content
    line = next(line for line in content.lines() if line.called == "L")
    assert line.expression is not None and np.isnan(line.value) and np.isnan(line.expression.value)


def test_constants_whose_columns_lie_behind_each_other_are_read_by_column(rng: np.random.Generator) -> None:
    """Memory is read in its own order, and not row by row."""

    class Turned(bp.Layer):
        """y = x ⊙ C, C being an array in Fortran's order."""

        def plan(self, x: tuple[int, ...]) -> bp.Plan:
            return bp.Plan(output=x, arrays={"y": x, "dx": x})

        def forward(self, ws: Any, x: Any) -> Any:
            ws.C = np.asfortranarray(np.arange(1.0, 7.0).reshape(2, 3))
            return ws.xp.multiply(x, ws.C, out=ws.y)

        def backward(self, ws: Any, dy: Any) -> Any:
            return ws.xp.multiply(dy, ws.C, out=ws.dx)

    net = bp.Network(bp.Sequential(bp.Dense(3), Turned()), 2, device="cpu", dtype="float64")
    X, y, loss = rng.normal(size=(2, 2)), rng.normal(size=(2, 3)), bp.MeanSquaredError()
    check(net, X, y, loss, explain(net, X, y, loss).content)
