"""Finds the layer whose output or gradient is the first that is not finite, in a step that is computed again.

Each result of a layer's `forward` and `backward` is read when the call returns, before a layer that works in place can
overwrite it. A composition returns after the layers inside it. So the first result that is not finite is of the
layer that made it, and of a composition only where its own sum overflows.

An output whose values are finite or -∞ may be meant, as where a layer masks classes. So a later result with NaN or +∞
is named, and the first layer that gives -∞ beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ..backends import Array, Backend
from ..backends.process import ForkSafeLock
from ..layers import Workspace
from ..step.accumulation import Accumulation
from ..step.step import Pass
from ..step.update import Update

LARGE = 1e3  # for weights and inputs, which learn best near 1
_lock = ForkSafeLock()  # a layer may be part of several networks, and train another itself


def first_nonfinite(step: Pass, update: Update) -> tuple[str, str]:
    """Run forward and backward on the batch in place; returns (the layer's path, what is not finite there).

    >>> import gpubp as bp
    >>> from gpubp.step.batch import Batch, TargetShape
    >>> from gpubp.step.step import StepJob
    >>> net = bp.Network(bp.Sequential(bp.Dense(1), bp.ReLU()), input_shape=1, device="cpu")
    >>> net.parameters["0.W"][...] = float("inf")
    >>> batch, update = Batch(net, 1, TargetShape((1,), "float32")), Update(net, bp.SGD())
    >>> step = Pass(StepJob(net, bp.MeanSquaredError()), batch, gradients=update.gradients, training=True)
    >>> batch.load(np.ones((1, 1)), np.ones((1, 1)))
    >>> first_nonfinite(step, update)
    ('0', 'the output of layer "0", Dense(1), is not finite')
    """
    be, loss, gradients = step.be, step.job.loss, update.gradients
    found: list[tuple[str, str]] = []
    masks: list[str] = []  # layers whose outputs are finite or -∞

    def forward(method: Callable[..., Any], ws: Workspace, x: Array) -> Array:
        y = method(ws, x)
        if not found and not _finite(be, y):
            layer = f'layer "{ws.path}", {ws._layer!r},' if ws.path else repr(ws._layer)
            if _finite_or_minus(be, y):
                masks.append(layer)
            else:
                found.append((ws.path, f"the output of {layer} is not finite"))
        return y

    def backward(method: Callable[..., Any], ws: Workspace, dy: Array) -> Array | None:
        if ws is step.ws and not _finite(be, dy):
            found.append(("", f"the gradient of the loss, {loss!r}, is not finite, and the loss is"))
        dx: Array | None = method(ws, dy)
        own = {f"{ws.path}.{name}".removeprefix("."): name for name in ws._plan.parameters}
        wrong = [name for name in own if name in gradients and not _finite(be, gradients[name])]
        if wrong:
            found.append((ws.path, _of_parameter(wrong[-1], ws.path)))
        elif dx is not None and ws.wants_dx and not _finite(be, dx):
            what = f'the gradient that layer "{ws.path}", {ws._layer!r}, hands down is not finite, and the loss is'
            found.append((ws.path, what))
        return dx

    penalty, total = update.whole.penalty_value(), Accumulation(be, [gradients.flat], step.batch.pieces)
    names = [name for name in step.job.network.declared if name in gradients]
    for piece in range(step.batch.pieces):
        step.take(piece)
        with _replaced(step.ws, "forward", forward):
            step.forward(penalty)
        beside = f". The output of {masks[0]} holds -inf" if masks else ""
        if found:
            return found[0][0], found[0][1] + beside
        if not _finite(be, step.sums):
            return "", f"the loss, {loss!r}, is not finite" + (beside or ", and the network's output is")
        with _replaced(step.ws, "backward", backward):
            step.backward()
        wrong = [name for name in names if not _finite(be, gradients[name])]
        if wrong:
            path = wrong[-1].rpartition(".")[0]
            path, what = (*found, (path, _of_parameter(wrong[-1], path)))[0]
            return path, what + beside
        found.clear()
        total.add(piece)
    name = max(names, key=lambda n: _largest(be, gradients[n]))
    path, size = name.rpartition(".")[0], _largest(be, gradients[name])
    return path, f'the gradient of {name}, in layer "{path}", reaches {size:.3g}, whose square is beyond {step.z.dtype}'


def _of_parameter(name: str, path: str) -> str:
    return f'the gradient of {name}, in layer "{path}", is not finite, and the loss is'


@contextmanager
def _replaced(root: Workspace, name: str, by: Callable[..., Any]) -> Iterator[None]:
    """Inside, the method `name` of every layer is by(method, ws, array), for calls with a workspace of `root`."""
    own = {id(ws) for ws in root.walk()}
    layers = {id(ws._layer): ws._layer for ws in root.walk() if hasattr(ws._layer, "__dict__")}.values()

    def call(method: Callable[..., Any], ws: Workspace, a: Array) -> Any:
        return by(method, ws, a) if id(ws) in own else method(ws, a)  # another thread may use the layer too

    with _lock.held():
        before = [(vars(layer), name in vars(layer), getattr(layer, name)) for layer in layers]
        try:
            for attributes, _, method in before:
                attributes[name] = partial(call, method)
            yield
        finally:
            for attributes, own_method, method in before:
                attributes.pop(name, None)
                if own_method:
                    attributes[name] = method


def cause_of(step: Pass, rate: float) -> str:
    """The likely cause, by the size of weights and inputs, and what to do about it. rate: the learning rate."""
    weights = max((_largest(step.be, a) for a in step.job.network.parameters.values()), default=0.0)
    inputs = _largest(step.be, step.x)
    if weights > LARGE:
        return (
            f"The weights reach {weights:.3g}: training has diverged; try a lower learning rate than {rate:.3g}, "
            "a Warmup, or clip_norm=1.0"
        )
    if inputs > LARGE:
        return f"The inputs reach {inputs:.3g}: scale X, as (X - X.mean(0)) / X.std(0)"
    return (
        f"The weights reach {weights:.3g} and the inputs {inputs:.3g}, which is not much: a formula has no value there "
        f"(a logarithm of 0, 0/0), or the learning rate of {rate:.3g} is too high for it"
    )


def _largest(be: Backend, a: Array) -> float:
    """The largest absolute value; not a number if one is none."""
    return float(np.abs(np.asarray(be.to_host(a), np.float64)).max(initial=0.0))


def _finite_or_minus(be: Backend, a: Array) -> bool:
    return bool((be.to_host(a) < np.inf).all())


def _finite(be: Backend, a: Array) -> bool:
    return a.dtype.kind != "f" or bool(np.isfinite(be.to_host(a)).all())
