"""PyTorch's module samples, each written with gpubp's layers; see test_conformance.py.

A function takes the module and its inputs, and says which layer it is, with which numbers: then y, dx and every
gradient are compared in float64. Images have their channels last here; a sample without a batch is one row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gpubp as bp
from conformance_runs import NotExpressible, channels_first, channels_last, of_axes, one_or_all

Array = np.ndarray
Named = dict[str, Array]


@dataclass
class Same:
    """What a module is in gpubp.

    weights: each of the layer's parameters, made of the module's by name; also each of its gradients. zeros: parameters
    that the module does not have. states: the module's names of what the layer keeps. rows: x as the layer takes it;
    back: y as the module gives it.
    """

    layer: bp.Layer
    weights: dict[str, Callable[[Named], Array]] = field(default_factory=dict)
    zeros: tuple[str, ...] = ()
    states: dict[str, str] = field(default_factory=dict)
    rows: Callable[[Array], Array] = lambda x: x
    back: Callable[[Array], Array] = lambda y: y


def _of(name: str, *axes: int) -> Callable[[Named], Array]:
    """A parameter, its axes in this order."""
    return lambda named: np.transpose(named[name], axes or None) if axes else named[name]


Expressed = Callable[[Any, tuple[Any, ...]], Same]
MODULES: dict[str, Expressed] = {}


def expresses(*modules: str) -> Callable[[Expressed], Expressed]:
    """Enter a function for these modules."""

    def enter(function: Expressed) -> Expressed:
        MODULES.update({f"nn.{module}": function for module in modules})
        return function

    return enter


def _one_row(layer: bp.Layer, **more: Any) -> Same:
    """The whole input is one row; a single number is a row of one."""
    return Same(layer, rows=lambda x: np.reshape(x, (1, *(np.shape(x) or (1,)))), **more)


def _with_shape(same: Same, shape: tuple[int, ...]) -> Same:
    same.back = lambda y: np.reshape(y, shape)
    return same


ACTIVATIONS: dict[str, Callable[[Any], bp.Layer]] = {
    "nn.ReLU": lambda m: bp.ReLU(),
    "nn.ReLU6": lambda m: bp.ReLU(max_value=6.0),
    "nn.LeakyReLU": lambda m: bp.LeakyReLU(m.negative_slope),
    "nn.ELU": lambda m: bp.ELU(m.alpha),
    "nn.SELU": lambda m: bp.SELU(),
    "nn.CELU": lambda m: bp.CELU(m.alpha),
    "nn.GELU": lambda m: bp.GELU(m.approximate),
    "nn.SiLU": lambda m: bp.SiLU(),
    "nn.Mish": lambda m: bp.Mish(),
    "nn.Sigmoid": lambda m: bp.Sigmoid(),
    "nn.LogSigmoid": lambda m: bp.LogSigmoid(),
    "nn.Tanh": lambda m: bp.Tanh(),
    "nn.Tanhshrink": lambda m: bp.Tanhshrink(),
    "nn.Softsign": lambda m: bp.Softsign(),
    "nn.Hardswish": lambda m: bp.HardSwish(),
    "nn.Hardtanh": lambda m: bp.Hardtanh(m.min_val, m.max_val),
    "nn.Threshold": lambda m: bp.ThresholdedReLU(m.threshold, m.value),
    "nn.Hardshrink": lambda m: bp.Hardshrink(m.lambd),
    "nn.Softshrink": lambda m: bp.Softshrink(m.lambd),
}


def _activation(name: str) -> Expressed:
    return lambda m, inputs: _with_shape(_one_row(ACTIVATIONS[name](m)), np.shape(inputs[0]))


MODULES.update({name: _activation(name) for name in ACTIVATIONS})


@expresses("Softplus")
def softplus(m: Any, inputs: tuple[Any, ...]) -> Same:
    """PyTorch replaces the function by x above a threshold."""
    if m.threshold < 20:
        raise NotExpressible("a softplus that is x above a threshold where it is not")
    return _with_shape(_one_row(bp.Softplus(m.beta)), np.shape(inputs[0]))


@expresses("Softmax", "LogSoftmax", "Softmax2d")
def softmax(m: Any, inputs: tuple[Any, ...]) -> Same:
    """Over one axis of one row."""
    axes = np.ndim(inputs[0])
    if not axes:
        raise NotExpressible("a softmax of a single number without an axis")
    axis = -3 if type(m).__name__ == "Softmax2d" else m.dim
    made = bp.LogSoftmax if type(m).__name__ == "LogSoftmax" else bp.Softmax
    return _with_shape(_one_row(made(axis=axis % axes + 1)), np.shape(inputs[0]))


@expresses("PReLU")
def prelu(m: Any, inputs: tuple[Any, ...]) -> Same:
    """One slope for all, or one a channel."""
    shape = np.shape(inputs[0])
    if m.num_parameters == 1:
        same = _one_row(bp.PReLU("single"), weights={"a": _of("weight")})
        return _with_shape(same, shape)
    return Same(bp.PReLU(), {"a": _of("weight")}, rows=channels_last, back=channels_first)


# -- dense and embedding --------------------------------------------------------------------------------------------


@expresses("Linear")
def linear(m: Any, inputs: tuple[Any, ...]) -> Same:
    """W is (in, out)."""
    weights = {"W": _of("weight", 1, 0)} | ({} if m.bias is None else {"b": _of("bias")})
    layer = bp.Dense(m.out_features, use_bias=m.bias is not None)
    shape = np.shape(inputs[0])[:-1]
    return Same(layer, weights, rows=lambda x: x.reshape(-1, x.shape[-1]), back=lambda y: y.reshape(*shape, -1))


@expresses("Embedding")
def embedding(m: Any, inputs: tuple[Any, ...]) -> Same:
    """A table of vectors."""
    return Same(bp.Embedding(m.num_embeddings, m.embedding_dim), {"W": _of("weight", 0, 1)})


# -- windows --------------------------------------------------------------------------------------------------------


def _axes_of(m: Any) -> int:
    return int(type(m).__name__[-2])


def _images(layer: bp.Layer, axes: int, inputs: tuple[Any, ...], **more: Any) -> Same:
    """Channels last; a sample without a batch is one row."""
    alone = np.ndim(inputs[0]) == axes + 1
    return Same(
        layer,
        rows=lambda x: channels_last(x[None] if alone else x),
        back=lambda y: channels_first(y)[0] if alone else channels_first(y),
        **more,
    )


def _all(value: Any, axes: int) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value] * axes


@expresses("Conv1d", "Conv2d", "Conv3d", "LazyConv1d", "LazyConv2d", "LazyConv3d")
def convolution(m: Any, inputs: tuple[Any, ...]) -> Same:
    """(O, C, ...) becomes (..., C, O)."""
    axes = _axes_of(m)
    padding = m.padding if isinstance(m.padding, str) else one_or_all([(p, p) for p in m.padding])
    layer = of_axes("Conv", axes)(
        m.out_channels, one_or_all(m.kernel_size), stride=one_or_all(m.stride), padding=padding, groups=m.groups,
        use_bias=m.bias is not None, **({"dilation": one_or_all(m.dilation)} if max(m.dilation) > 1 else {}),
    )  # fmt: skip
    weights = {"W": _of("weight", *range(2, axes + 2), 1, 0)} | ({} if m.bias is None else {"b": _of("bias")})
    return _images(layer, axes, inputs, weights=weights)


@expresses(
    "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "LazyConvTranspose1d", "LazyConvTranspose2d",
    "LazyConvTranspose3d",
)  # fmt: skip
def transposed_convolution(m: Any, inputs: tuple[Any, ...]) -> Same:
    """(C, O, ...) becomes (..., O, C)."""
    axes = _axes_of(m)
    if not hasattr(bp, f"Conv{axes}DTranspose"):
        raise NotExpressible(f"there is no Conv{axes}DTranspose")
    layer = getattr(bp, f"Conv{axes}DTranspose")(m.out_channels, one_or_all(m.kernel_size), use_bias=m.bias is not None)
    weights = {"W": _of("weight", *range(2, axes + 2), 1, 0)} | ({} if m.bias is None else {"b": _of("bias")})
    return _images(layer, axes, inputs, weights=weights)


@expresses("MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d")
def pooling(m: Any, inputs: tuple[Any, ...]) -> Same:
    """The average counts the places of padding."""
    axes, name = _axes_of(m), type(m).__name__
    more: dict[str, Any] = {"ceil_mode": True} if m.ceil_mode else {}
    if name.startswith("Avg"):
        more |= {"count_include_pad": True} if m.count_include_pad else {}
        if getattr(m, "divisor_override", None):
            more["divisor_override"] = m.divisor_override
    kernel, stride, padding = (_all(value, axes) for value in (m.kernel_size, m.stride, m.padding))
    layer = of_axes(name[:7], axes)(
        one_or_all(kernel), stride=one_or_all(stride), padding=one_or_all([(p, p) for p in padding]), **more
    )
    return _images(layer, axes, inputs)


@expresses(
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
)  # fmt: skip
def adaptive_pooling(m: Any, inputs: tuple[Any, ...]) -> Same:
    """As many windows as are wanted."""
    axes = _axes_of(m)
    places = np.shape(inputs[0])[-axes:]
    size = [n if wanted is None else wanted for wanted, n in zip(_all(m.output_size, axes), places, strict=True)]
    return _images(of_axes(type(m).__name__[:15], axes)(one_or_all(size)), axes, inputs)


PADDINGS = {"ReflectionPad": "reflect", "ReplicationPad": "edge", "CircularPad": "wrap", "ConstantPad": "constant"}


@expresses(*(f"{name}{axes}d" for name in ("ZeroPad", *PADDINGS) for axes in (1, 2, 3)))
def padding(m: Any, inputs: tuple[Any, ...]) -> Same:
    """PyTorch begins with the last axis."""
    axes, p, name = _axes_of(m), _all(m.padding, 2 * _axes_of(m)), type(m).__name__[:-2]
    pairs = one_or_all([(p[2 * a], p[2 * a + 1]) for a in reversed(range(axes))])
    if name == "ZeroPad":
        return _images(of_axes("ZeroPadding", axes)(pairs), axes, inputs)
    more = {"value": float(m.value)} if name == "ConstantPad" else {}
    return _images(of_axes("Padding", axes)(pairs, PADDINGS[name], **more), axes, inputs)


# -- normalizations -------------------------------------------------------------------------------------------------

_SCALED = {"gamma": _of("weight"), "beta": _of("bias")}


def _scaled(m: Any) -> dict[str, Any]:
    """Which of the layer's parameters are the module's."""
    if m.weight is None:
        return {"weights": {}}
    return {"weights": _SCALED} if m.bias is not None else {"weights": {"gamma": _of("weight")}, "zeros": ("beta",)}


@expresses("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
def batch_norm(m: Any, inputs: tuple[Any, ...]) -> Same:
    """PyTorch's momentum is 1 minus gpubp's."""
    if not len(inputs[0]):
        raise NotExpressible("a batch without rows")
    momentum = None if m.momentum is None else 1.0 - m.momentum
    layer = bp.BatchNorm(momentum, m.eps, affine=m.affine)
    states = {"mean": "running_mean"} if m.track_running_stats else {}
    return Same(layer, states=states, rows=channels_last, back=channels_first, **_scaled(m))


@expresses("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "GroupNorm")
def group_norm(m: Any, inputs: tuple[Any, ...]) -> Same:
    """Over places, and the channels of a group."""
    if type(m).__name__ == "GroupNorm":
        layer: bp.Layer = bp.GroupNorm(m.num_groups, eps=m.eps, affine=m.affine)
        return Same(layer, rows=channels_last, back=channels_first, **_scaled(m))
    return _images(bp.InstanceNorm(eps=m.eps, affine=m.affine), _axes_of(m), inputs, **_scaled(m))


@expresses("LayerNorm", "RMSNorm")
def layer_norm(m: Any, inputs: tuple[Any, ...]) -> Same:
    """Over the last axes."""
    if not len(inputs[0]):
        raise NotExpressible("a batch without rows")
    axes, affine = len(m.normalized_shape), m.weight is not None
    if isinstance(getattr(m, "bias", m), type(m)):  # of RMSNorm there is none
        weights = {"gamma": _of("weight")} if affine else {}
        return Same(bp.RMSNorm(eps=m.eps, axes=axes, affine=affine), weights)
    return Same(bp.LayerNorm(eps=m.eps, axes=axes, affine=affine), **_scaled(m))


# -- recurrent layers -----------------------------------------------------------------------------------------------


KINDS = {"RNN": bp.SimpleRNN, "GRU": bp.GRU, "LSTM": bp.LSTM}


@expresses(*KINDS)
def recurrent(m: Any, inputs: tuple[Any, ...]) -> Same:
    """Layers one above the other, each maybe of two directions side by side; a given state is that of the one row."""
    if getattr(m, "nonlinearity", "tanh") != "tanh":
        raise NotExpressible("a SimpleRNN of another function than tanh")
    if m.proj_size:
        raise NotExpressible("an LSTM whose state is projected to another size")
    layers, weights, zeros = [], {}, []
    given = [] if len(inputs) < 2 else list(inputs[1]) if isinstance(inputs[1], tuple) else [inputs[1]]
    start = "learned" if given else "zeros"
    for i in range(m.num_layers):
        layer = KINDS[m.mode.split("_")[0]](m.hidden_size, return_sequences=True, initial_state=start)
        layers.append(bp.Bidirectional(layer) if m.bidirectional else layer)
        for d in range(1 + m.bidirectional):
            path, suffix = f"{i}.{d}." if m.bidirectional else f"{i}.", f"_l{i}" + "_reverse" * d
            weights |= {f"{path}W": _of(f"weight_ih{suffix}", 1, 0), f"{path}U": _of(f"weight_hh{suffix}", 1, 0)}
            biases = _biases(m, suffix)
            weights |= {path + name: of for name, of in biases.items()}
            zeros += [path + name for name in (["b", "b_U"] if m.mode == "GRU" else ["b"]) if name not in biases]
            number = i * (1 + m.bidirectional) + d
            weights |= {path + f"{name}0": _of(f"{name}0 {number}") for name, _ in zip("hc", given, strict=False)}
    return Same(bp.Sequential(*layers), weights, tuple(zeros), rows=lambda x: x[None], back=lambda y: y[0])


def _biases(m: Any, suffix: str) -> dict[str, Callable[[Named], Array]]:
    """PyTorch has two biases, whose sum counts; in the GRU the second one's last part stands behind the reset gate."""
    if not m.bias:
        return {}
    first, second, n = f"bias_ih{suffix}", f"bias_hh{suffix}", m.hidden_size

    def b(named: Named) -> Array:
        if "gradients" in named:  # of a sum, each has the gradient of the sum
            return named[first]
        behind = np.concatenate([named[second][: 2 * n], np.zeros(n)]) if m.mode == "GRU" else named[second]
        return named[first] + behind

    return {"b": b} | ({"b_U": lambda named: named[second][2 * n :]} if m.mode == "GRU" else {})
