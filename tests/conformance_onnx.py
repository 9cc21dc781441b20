"""ONNX's node cases of layers and optimizers, each written with gpubp's own; see test_conformance.py.

A function takes a case and returns what gpubp gives for its outputs. What only moves axes is done here: images have
their channels last, and where an operator works over the axis that is gpubp's batch, the case is one row of a batch of
one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import gpubp as bp
from conformance_runs import NotExpressible, channels_first, channels_last, run

Array = np.ndarray


@dataclass
class Case:
    """One node: its attributes, its inputs (None for one that is left out) and the wanted outputs."""

    name: str
    operator: str
    given: dict[str, Any]
    inputs: list[Any]
    wanted: list[Any]
    has: list[bool]  # of all the operator's outputs, which the case asks for
    tolerance: tuple[float, float]  # relative and absolute, as ONNX's own backends are tested

    def get(self, name: str, otherwise: Any = None) -> Any:
        """An attribute."""
        value = self.given.get(name, otherwise)
        return value.decode() if isinstance(value, bytes) else value

    def input(self, k: int) -> Any:
        """An input, or None."""
        return self.inputs[k] if k < len(self.inputs) else None

    @property
    def dtype(self) -> Any:
        """Of the computation: half precision is computed in float32."""
        return np.float64 if self.inputs[0].dtype == np.float64 else np.float32


Expressed = Callable[[Case], Sequence[Any]]
OPERATORS: dict[str, Expressed] = {}
BY_PRODUCTS = {  # outputs that layers do not have: they are not compared
    "LayerNormalization": {1: "the means", 2: "1/√(var + eps)"},
    "MaxPool": {1: "the places of the largest numbers"},
    "Dropout": {1: "the mask"},
    "LSTM": {2: "the last cell state"},
    "SoftmaxCrossEntropyLoss": {1: "the log-probabilities"},
}


def expresses(*operators: str) -> Callable[[Expressed], Expressed]:
    """Enter a function for these operators."""

    def enter(function: Expressed) -> Expressed:
        OPERATORS.update(dict.fromkeys(operators, function))
        return function

    return enter


def of_one_row(case: Case, layer: bp.Layer, x: Array, parameters: Any = None) -> Array:
    """y for the whole input as one row of a batch."""
    return run(layer, x[None], parameters, dtype=case.dtype)[0][0]


# -- activations ----------------------------------------------------------------------------------------------------

ACTIVATIONS: dict[str, Callable[[Case], bp.Layer]] = {
    "Relu": lambda c: bp.ReLU(),
    "LeakyRelu": lambda c: bp.LeakyReLU(c.get("alpha", 0.01)),
    "Elu": lambda c: bp.ELU(c.get("alpha", 1.0)),
    "Celu": lambda c: bp.CELU(c.get("alpha", 1.0)),
    "Sigmoid": lambda c: bp.Sigmoid(),
    "Tanh": lambda c: bp.Tanh(),
    "Softplus": lambda c: bp.Softplus(),
    "Softsign": lambda c: bp.Softsign(),
    "HardSigmoid": lambda c: bp.HardSigmoid(c.get("alpha", 0.2), c.get("beta", 0.5)),
    "HardSwish": lambda c: bp.HardSwish(),
    "Selu": lambda c: bp.SELU(c.get("alpha", 1.6732632423543772), c.get("gamma", 1.0507009873554805)),
    "Swish": lambda c: bp.SiLU(c.get("alpha", 1.0)),
    "ThresholdedRelu": lambda c: bp.ThresholdedReLU(c.get("alpha", 1.0)),
    "Mish": lambda c: bp.Mish(),
    "Gelu": lambda c: bp.GELU(c.get("approximate", "none")),
    "Softmax": lambda c: bp.Softmax(axis=c.get("axis", -1) + (c.get("axis", -1) >= 0)),
    "LogSoftmax": lambda c: bp.LogSoftmax(axis=c.get("axis", -1) + (c.get("axis", -1) >= 0)),
}


@expresses(*ACTIVATIONS)
def activation(case: Case) -> list[Any]:
    """A layer without parameters, on one row."""
    return [of_one_row(case, ACTIVATIONS[case.operator](case), case.inputs[0])]


@expresses("Shrink")
def shrink(case: Case) -> list[Any]:
    """Towards 0 by as much as the threshold, or not at all."""
    threshold, bias = case.get("lambd", 0.5), case.get("bias", 0.0)
    if bias not in (0.0, threshold):
        raise NotExpressible("a shrink by another number than its threshold")
    layer = bp.Softshrink(threshold) if bias else bp.Hardshrink(threshold)
    return [of_one_row(case, layer, case.inputs[0])]


@expresses("Clip")
def clip(case: Case) -> list[Any]:
    """Between two numbers, either of which may be missing."""
    x, low, high = case.inputs[0], case.input(1), case.input(2)
    if x.dtype.kind != "f":
        raise NotExpressible("whole numbers, which nothing is learned from")
    most = float(np.finfo(np.float32).max)
    low, high = (-most if low is None else float(low)), (most if high is None else float(high))
    if low > high:
        raise NotExpressible("a least number above the largest")
    return [of_one_row(case, bp.Hardtanh(low, high), x)]


@expresses("PRelu")
def prelu(case: Case) -> list[Any]:
    """One slope, or one for each number of the last axes."""
    x, slope = case.inputs
    slopes = np.broadcast_to(slope, x.shape)
    return [of_one_row(case, bp.PReLU("each"), x, {"a": slopes})]


# -- dense and shapes -----------------------------------------------------------------------------------------------


@expresses("Gemm")
def gemm(case: Case) -> list[Any]:
    """y = α A B + β C: Dense with α B and β C."""
    a, b, c = case.inputs[0], case.inputs[1], case.input(2)
    x, W = (a.T if case.get("transA") else a), case.get("alpha", 1.0) * (b.T if case.get("transB") else b)
    if c is None:
        return [run(bp.Dense(W.shape[1], use_bias=False), x, {"W": W}, dtype=case.dtype)[0]]
    if c.ndim == 2 and len(c) > 1:
        raise NotExpressible("a bias that differs from row to row")
    bias = np.broadcast_to(case.get("beta", 1.0) * c, (1, W.shape[1]))[0]
    return [run(bp.Dense(W.shape[1]), x, {"W": W, "b": bias}, dtype=case.dtype)[0]]


@expresses("MatMul")
def matmul(case: Case) -> list[Any]:
    """Rows times a matrix."""
    a, W = case.inputs
    if W.ndim > 2:
        raise NotExpressible("a product of two batches of matrices, none of which is a layer's weights")
    column = W if W.ndim == 2 else W[:, None]
    y = of_one_row(case, bp.Dense(column.shape[1], use_bias=False), a, {"W": column})
    return [y if W.ndim == 2 else y[..., 0]]


@expresses("Flatten", "Reshape")
def reshape(case: Case) -> list[Any]:
    """The whole input as one row."""
    x = case.inputs[0]
    if case.operator == "Flatten":
        axis = case.get("axis", 1) % (x.ndim + (case.get("axis", 1) >= 0) * 99)
        shape = math.prod(x.shape[:axis]), math.prod(x.shape[axis:])
    else:
        shape = tuple(int(n) for n in case.inputs[1])
        if not case.get("allowzero"):
            shape = tuple(x.shape[k] if n == 0 else n for k, n in enumerate(shape))
        if -1 in shape:
            shape = tuple(x.size // -math.prod(shape) if n == -1 else n for n in shape)
    if x.size == 0:
        raise NotExpressible("rows without numbers")
    return [of_one_row(case, bp.Reshape(shape), x)]


@expresses("Gather")
def gather(case: Case) -> list[Any]:
    """Rows of a table by their numbers: an Embedding of the axis in question."""
    data, indices = case.inputs
    if indices.min() < 0:
        raise NotExpressible("words that are counted from the end")
    table = np.moveaxis(data, case.get("axis", 0), 0)
    layer = bp.Embedding(len(table), math.prod(table.shape[1:]))
    y = of_one_row(case, layer, indices, {"W": table.reshape(len(table), -1)})
    y = y.reshape(indices.shape + table.shape[1:])
    axes = tuple(range(indices.ndim))
    return [np.moveaxis(y, axes, tuple(case.get("axis", 0) % data.ndim + k for k in axes))]


@expresses("Dropout")
def dropout(case: Case) -> list[Any]:
    """In evaluation, or with nothing to drop."""
    x, ratio, training = case.inputs[0], case.input(1), case.input(2)
    rate = float(case.get("ratio", 0.5) if ratio is None else ratio)
    if training is not None and training and rate:
        raise NotExpressible("the draws of NumPy's generator: gpubp's are counted, and the same on every device")
    return [run(bp.Dropout(rate), x, training=bool(training is not None and training), dtype=case.dtype)[0]]


# -- normalizations -------------------------------------------------------------------------------------------------


def _gamma_beta(case: Case) -> dict[str, Array]:
    return {"gamma": case.inputs[1]} | ({} if case.input(2) is None else {"beta": case.inputs[2]})


@expresses("BatchNormalization")
def batch_normalization(case: Case) -> list[Any]:
    """By the running statistics, or by the batch's with those behind the step."""
    x, gamma, beta, mean, var = case.inputs
    training = bool(case.get("training_mode", 0))
    layer = bp.BatchNorm(case.get("momentum", 0.9), case.get("epsilon", 1e-5))
    numbers = {"gamma": gamma, "beta": beta}, {"mean": mean, "var": var}
    y, _, after = run(layer, channels_last(x), *numbers, training=training, dtype=case.dtype)
    return [channels_first(y)] + ([after["mean"], after["var"]] if training else [])


@expresses("LayerNormalization", "RMSNormalization")
def layer_normalization(case: Case) -> list[Any]:
    """Over the last axes of one row."""
    x = case.inputs[0]
    axes = -case.get("axis", -1) if case.get("axis", -1) < 0 else x.ndim - case.get("axis", -1)
    made = bp.LayerNorm if case.operator == "LayerNormalization" else bp.RMSNorm
    return [of_one_row(case, made(eps=case.get("epsilon", 1e-5), axes=axes), x, _gamma_beta(case))]


@expresses("GroupNormalization", "InstanceNormalization")
def group_normalization(case: Case) -> list[Any]:
    """Over places, and the channels of a group."""
    eps = case.get("epsilon", 1e-5)
    if case.operator == "InstanceNormalization":
        layer = bp.InstanceNorm(eps=eps)
    else:
        layer = bp.GroupNorm(case.get("num_groups"), eps=eps)
    return [channels_first(run(layer, channels_last(case.inputs[0]), _gamma_beta(case), dtype=case.dtype)[0])]


# -- recurrent layers -----------------------------------------------------------------------------------------------

RECURRENT = {"RNN": (bp.SimpleRNN, [0]), "GRU": (bp.GRU, [1, 0, 2]), "LSTM": (bp.LSTM, [0, 2, 3, 1])}


@expresses(*RECURRENT)
def recurrent(case: Case) -> list[Any]:
    """One direction, or two side by side; ONNX has the parts in another order."""
    made, order = RECURRENT[case.operator]
    x, W, R, B = case.inputs[0], case.inputs[1], case.inputs[2], case.input(3)
    first = case.get("layout", 0) == 1
    if case.input(7) is not None:
        raise NotExpressible("peepholes, from the cell state to the gates")
    if any(state is not None and state.any() for state in case.inputs[5:7]):
        raise NotExpressible("a state of each row before its first step")
    rows, m, k = (x if first else x.swapaxes(0, 1)), case.get("hidden_size"), len(order)
    if case.operator == "GRU" and not case.get("linear_before_reset", 0) and rows.shape[1] > 1:
        raise NotExpressible("a reset gate before the product with the state, which takes a second product a step")
    both = case.get("direction") == "bidirectional"
    directions = ["forward", "reverse"] if both else [case.get("direction", "forward")]
    states, last = [], []
    for d, direction in enumerate(directions):
        parts = [a.reshape(k, m, -1)[order].reshape(k * m, -1).T for a in (W[d], R[d])]
        bias = np.zeros((2, k, m)) if B is None else B[d].reshape(2, k, m)[:, order]
        p = {"W": parts[0], "U": parts[1], "b": bias.sum(axis=0).reshape(-1)}
        p |= {"b_U": np.zeros(m)} if case.operator == "GRU" else {}  # of one step the state before is 0
        layer = made(m, return_sequences=True, reverse=direction == "reverse")
        y = run(layer, rows, p, dtype=case.dtype)[0]
        states.append(y)
        last.append(y[:, 0 if direction == "reverse" else -1])
    Y, H = np.stack(states, axis=2), np.stack(last, axis=1)  # (B, T, d, m), (B, d, m)
    return [Y, H] if first else [Y.transpose(1, 2, 0, 3), H.swapaxes(0, 1)]


@expresses("Attention")
def attention(case: Case) -> list[Any]:
    """MultiHeadAttention makes queries, keys and values of one input, by its own weights."""
    raise NotExpressible("queries, keys and values that are given apart, of other numbers of steps")


# -- optimizers -----------------------------------------------------------------------------------------------------


def _optimized(case: Case, optimizer: bp.Optimizer, *numbers: Any) -> list[Any]:
    """The rule on each group of θ, g and its vectors, with the gradient of ½ λ θ²."""
    moments, given = len(optimizer.moments), case.inputs[2:]
    count = len(given) // (2 + moments)
    after = []
    for k in range(count):
        theta, g, *kept = given[k::count]
        after.append(optimizer.rule(theta, g + case.get("norm_coefficient", 0.0) * theta, *kept, *numbers))
    return [after[k][n] for n in range(1 + moments) for k in range(count)]


@expresses("Adagrad")
def adagrad(case: Case) -> list[Any]:
    """With a rate that falls as 1/(1 + decay t)."""
    R, T = case.inputs[:2]
    eta = bp.InverseTimeDecay(float(R), case.get("decay_factor", 0.0), 1)(int(T))
    return _optimized(case, bp.Adagrad(eps=case.get("epsilon")), eta)


@expresses("Adam")
def adam(case: Case) -> list[Any]:
    """At step 0, where ONNX corrects nothing."""
    R, T = case.inputs[:2]
    if T > 0:
        raise NotExpressible("ε behind the uncorrected root, as in Keras")
    optimizer = bp.Adam(beta_1=case.get("alpha"), beta_2=case.get("beta"), eps=case.get("epsilon"))
    return _optimized(case, optimizer, float(R), case.get("epsilon"))


@expresses("Momentum")
def momentum(case: Case) -> list[Any]:
    """v ← α v + β g, β being 1 at step 0."""
    R, T = case.inputs[:2]
    beta, nesterov = (case.get("beta") if T > 0 else 1.0), case.get("mode") == "nesterov"
    optimizer = bp.SGD(momentum=case.get("alpha"), nesterov=nesterov, dampening=1.0 - beta)
    return _optimized(case, optimizer, float(R))
