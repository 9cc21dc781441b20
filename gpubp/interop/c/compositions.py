"""Calls of layers made of layers: sums, columns side by side, and averages."""

from __future__ import annotations

import math

from ...layers import Bidirectional, Ensemble, Parallel, Residual, Sequential
from ...layers.plan import join
from .code import Code, Part, Value
from .lowering import lower, lowers


@lowers(Sequential)
def sequential(code: Code, layer: Sequential, x: Value, path: str, keep: bool) -> Value:
    """One layer after the other."""
    y = x
    for i, child in enumerate(layer.layers):
        y = lower(code, child, y, join(path, str(i)), keep and y.number == x.number)
    return y


@lowers(Residual)
def residual(code: Code, layer: Residual, x: Value, path: str, keep: bool) -> Value:
    """y = body(x) + shortcut(x)"""
    body = lower(code, layer.body, x, join(path, "0"), keep=True)
    s = x
    if layer.shortcut is not None:
        s = lower(code, layer.shortcut, x, join(path, "1"), keep or body.number == x.number)
    code.comment(f"{path}: the sum of both ways" if path else "The sum of both ways")
    y = code.own(body, keep=body.number == x.number)
    code.call("add", s, y, y.size)
    return y


@lowers(Parallel, Bidirectional)
def parallel(code: Code, layer: Parallel, x: Value, path: str, keep: bool) -> Value:
    """The branches side by side on the last axis, or their sum."""
    if layer.merge == "add":
        return _sum(code, layer.branches, x, path, keep)
    shapes = [branch.plan((1, *x.shape)).output[1:] for branch in layer.branches]
    width = sum(shape[-1] for shape in shapes)
    y = code.new((*shapes[0][:-1], width))
    start, last = 0, len(layer.branches) - 1
    for i, (branch, shape) in enumerate(zip(layer.branches, shapes, strict=True)):
        part = lower(code, branch, x, join(path, str(i)), keep or i < last)
        code.call("put_columns", part, Part(y, start), math.prod(shape[:-1]), shape[-1], width)
        start += shape[-1]
    return y


@lowers(Ensemble)
def ensemble(code: Code, layer: Ensemble, x: Value, path: str, keep: bool) -> Value:
    """The mean of the members' outputs, of their probabilities, or of their yes and no: see `layers/ensemble.py`."""
    share, last = 1.0 / len(layer.members), len(layer.members) - 1
    if layer.average == "numbers":
        y = _sum(code, layer.members, x, path, keep)
        code.call("scale", y, share, y.size)
        return y
    yes = no = x
    for i, member in enumerate(layer.members):
        z = lower(code, member, x, join(path, str(i)), keep or i < last)
        if layer.average == "classes":
            logs = code.own(z, keep=z.number == x.number and (keep or i < last))
            code.call("log_softmax", logs, math.prod(logs.shape[:-1]), logs.shape[-1], 1)
            yes = logs if i == 0 else _add_logs(code, logs, yes)
            continue
        of = [code.new(z.shape) for _ in range(2)]
        for logs, sign in zip(of, (1.0, -1.0), strict=True):
            code.call("log_sigmoid", z, logs, sign, z.size)
        yes, no = of if i == 0 else (_add_logs(code, of[0], yes), _add_logs(code, of[1], no))
    if layer.average == "classes":
        code.call("shift", yes, math.log(share), yes.size)
    else:
        code.call("subtract", no, yes, yes.size)
    return yes


def _sum(code: Code, layers: tuple[object, ...], x: Value, path: str, keep: bool) -> Value:
    """The sum of the outputs of layers on the same input."""
    last = len(layers) - 1
    total = x
    for i, layer in enumerate(layers):
        part = lower(code, layer, x, join(path, str(i)), keep or i < last)  # type: ignore[arg-type]
        if i == 0:
            total = code.own(part, keep=part.number == x.number and (keep or i < last))
        else:
            code.call("add", part, total, total.size)
    return total


def _add_logs(code: Code, logs: Value, total: Value) -> Value:
    code.call("add_logs", logs, total, total.size)
    return total
