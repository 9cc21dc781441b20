"""ONNX nodes of activations.

An activation is one node where ONNX has it and onnxruntime computes it in the network's type; else it is written from
its formula. SiLU, GELU and Mish are 0 at -∞, as in gpubp, where x σ(x) alone would be NaN: x is bounded from below
first. ONNX's Shrink and ThresholdedRelu would turn NaN into 0, and Softsign ∞ into NaN.
"""

from __future__ import annotations

import numpy as np

from ...layers import (
    CELU,
    ELU,
    GELU,
    SELU,
    Activation,
    HardSigmoid,
    Hardtanh,
    LeakyReLU,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from .formulas import formula
from .graph import Graph, Value
from .lowering import OF_FORMULAS, lowers

ONE_NODE: dict[type, str] = {Sigmoid: "Sigmoid", Tanh: "Tanh"}
IN_FLOAT32: dict[type, tuple[str, dict[str, str]]] = {  # the node, and its attributes with the arguments that they are
    ELU: ("Elu", {"alpha": "alpha"}),
    SELU: ("Selu", {"alpha": "alpha", "gamma": "scale"}),
    CELU: ("Celu", {"alpha": "alpha"}),
    HardSigmoid: ("HardSigmoid", {"alpha": "slope", "beta": "offset"}),
}
FAR = 1e6  # σ(-FAR) is 0 to the last bit


@lowers(Sigmoid, Tanh)
def one_node(g: Graph, layer: Activation, x: Value, path: str) -> Value:
    """Activations that ONNX has in every type."""
    op = next(op for cls, op in ONE_NODE.items() if isinstance(layer, cls))
    return g.node(op, [x], x.shape, x.channels_first)


@lowers(*IN_FLOAT32)
def in_float32(g: Graph, layer: Activation, x: Value, path: str) -> Value:
    """Activations that onnxruntime computes in float32 alone, and whose attributes are float32 numbers."""
    if g.dtype == np.float64:
        return formula(g, layer.f, x)
    op, arguments = next(found for cls, found in IN_FLOAT32.items() if isinstance(layer, cls))
    attributes = {name: getattr(layer, argument) for name, argument in arguments.items()}
    return g.node(op, [x], x.shape, x.channels_first, **attributes)


@lowers(ReLU)
def relu(g: Graph, layer: ReLU, x: Value, path: str) -> Value:
    """y = max(x, 0), or at most max_value"""
    if layer.max_value is None:
        return g.node("Relu", [x], x.shape, x.channels_first)
    return clip(g, x, 0.0, layer.max_value)


@lowers(Hardtanh)
def hardtanh(g: Graph, layer: Hardtanh, x: Value, path: str) -> Value:
    """y = x between two ends, or on one side of one"""
    if layer.min_value is None or layer.max_value is None:
        return formula(g, layer.f, x)
    return clip(g, x, layer.min_value, layer.max_value)


def clip(g: Graph, x: Value, low: float, high: float) -> Value:
    """x between two numbers, in every type.

    >>> g = Graph({}, np.dtype(np.float32))
    >>> y = clip(g, Value("x", ("batch", 3)), 0.0, 6.0)
    >>> [node.op_type for node in g.nodes]
    ['Clip']
    """
    return g.node("Clip", [x, g.number(low), g.number(high)], x.shape, x.channels_first)


@lowers(LeakyReLU)
def leaky_relu(g: Graph, layer: LeakyReLU, x: Value, path: str) -> Value:
    """y = x, and slope · x below 0; 0 · (-∞) would be NaN."""
    if layer.slope == 0:
        return g.node("Relu", [x], x.shape, x.channels_first)
    if g.dtype == np.float64:
        return formula(g, layer.f, x)
    return g.node("LeakyRelu", [x], x.shape, x.channels_first, alpha=layer.slope)


@lowers(Softplus)
def softplus(g: Graph, layer: Softplus, x: Value, path: str) -> Value:
    """y = log (1 + eˣ)"""
    if g.dtype == np.float64 or layer.beta != 1:
        return formula(g, layer.f, x)
    return g.node("Softplus", [x], x.shape, x.channels_first)


@lowers(SiLU)
def silu(g: Graph, layer: SiLU, x: Value, path: str) -> Value:
    """y = x σ(αx)"""
    if layer.alpha != 1:
        return formula(g, layer.f, x)
    sigma = g.node("Sigmoid", [x], x.shape, x.channels_first)
    return g.node("Mul", [_bounded(g, x), sigma], x.shape, x.channels_first)


@lowers(Mish)
def mish(g: Graph, layer: Mish, x: Value, path: str) -> Value:
    """y = x tanh(log(1 + eˣ))"""
    if g.dtype == np.float64:
        return formula(g, layer.f, x)
    return g.node("Mish", [_bounded(g, x)], x.shape, x.channels_first)


@lowers(GELU)
def gelu(g: Graph, layer: GELU, x: Value, path: str) -> Value:
    """y = x Φ(x), or its form by tanh; onnxruntime rounds the constants to float32."""
    if g.dtype == np.float64:
        return formula(g, layer.f, x)
    return g.node("Gelu", [_bounded(g, x)], x.shape, x.channels_first, approximate=layer.approximate)


@lowers(OF_FORMULAS)
def by_formula(g: Graph, layer: Activation, x: Value, path: str) -> Value:
    """Any activation that is a formula, a user's own too."""
    return formula(g, layer.f, x)


def _bounded(g: Graph, x: Value) -> Value:
    return g.node("Max", [x, g.number(-FAR)], x.shape, x.channels_first)


def log_sigmoid(g: Graph, x: Value) -> Value:
    """log σ(x) = -softplus(-x)

    >>> g = Graph({}, np.dtype(np.float32))
    >>> y = log_sigmoid(g, Value("x", ("batch", 3)))
    >>> [node.op_type for node in g.nodes]
    ['Neg', 'Softplus', 'Neg']
    """

    def negative(of: Value) -> Value:
        return g.node("Neg", [of], of.shape, of.channels_first)

    return negative(softplus(g, Softplus(), negative(x), ""))
