"""ONNX nodes of activations.

An activation is one node where ONNX has it and onnxruntime computes it in the network's type; else it is written from
its formula. SiLU and GELU are 0 at -∞, as in gpubp, where x σ(x) alone would be NaN: x is bounded from below first.
"""

from __future__ import annotations

import numpy as np

from ...layers import ELU, GELU, Activation, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from .formulas import formula
from .graph import Graph, Value
from .lowering import OF_FORMULAS, lowers

ONE_NODE: dict[type, str] = {Sigmoid: "Sigmoid", Tanh: "Tanh", ReLU: "Relu"}
FAR = 1e6  # σ(-FAR) is 0 to the last bit


@lowers(Sigmoid, Tanh, ReLU)
def one_node(g: Graph, layer: Activation, x: Value, path: str) -> Value:
    """Activations that ONNX has in every type."""
    op = next(op for cls, op in ONE_NODE.items() if isinstance(layer, cls))
    return g.node(op, [x], x.shape, x.channels_first)


@lowers(LeakyReLU)
def leaky_relu(g: Graph, layer: LeakyReLU, x: Value, path: str) -> Value:
    """y = x, and slope · x below 0; 0 · (-∞) would be NaN."""
    if layer.slope == 0:
        return g.node("Relu", [x], x.shape, x.channels_first)
    if g.dtype == np.float64:
        return formula(g, layer.f, x)
    return g.node("LeakyRelu", [x], x.shape, x.channels_first, alpha=layer.slope)


@lowers(ELU)
def elu(g: Graph, layer: ELU, x: Value, path: str) -> Value:
    """y = x, and α (eˣ - 1) below 0"""
    if g.dtype == np.float64:
        return formula(g, layer.f, x)
    return g.node("Elu", [x], x.shape, x.channels_first, alpha=layer.alpha)


@lowers(Softplus)
def softplus(g: Graph, layer: Softplus, x: Value, path: str) -> Value:
    """y = log (1 + eˣ)"""
    if g.dtype == np.float64:
        return formula(g, layer.f, x)
    return g.node("Softplus", [x], x.shape, x.channels_first)


@lowers(SiLU)
def silu(g: Graph, layer: SiLU, x: Value, path: str) -> Value:
    """y = x σ(x)"""
    sigma = g.node("Sigmoid", [x], x.shape, x.channels_first)
    return g.node("Mul", [_bounded(g, x), sigma], x.shape, x.channels_first)


@lowers(GELU)
def gelu(g: Graph, layer: GELU, x: Value, path: str) -> Value:
    """y = x (1 + tanh u)/2,  u = √(2/π) (x + 0.044715 x³); onnxruntime rounds the constants to float32."""
    if g.dtype == np.float64:
        return formula(g, layer.f, x)
    return g.node("Gelu", [_bounded(g, x)], x.shape, x.channels_first, approximate="tanh")


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
