"""Kinds: which layer here a class of Keras is, by its name, and what its arrays are, by their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...backends import Shape
from ..weights.modules import Module
from ..weights.places import CONVOLUTIONS
from .described import Described, without_number

KINDS = {
    "dense": "dense",
    "conv2d": "convolution of images",
    "depthwise_conv2d": "convolution of images",
    "separable_conv2d": "convolution of images",
    "conv1d": "convolution over time",
    "conv3d": "convolution of volumes",
    "conv1d_transpose": "transposed convolution over time",
    "conv2d_transpose": "transposed convolution of images",
    "conv3d_transpose": "transposed convolution of volumes",
    "batch_normalization": "batch normalization",
    "layer_normalization": "layer normalization",
    "group_normalization": "group normalization",
    "rms_normalization": "RMS normalization",
    "embedding": "embedding",
    "p_re_lu": "PReLU",
    "prelu": "PReLU",
    "simple_rnn": "SimpleRNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "multi_head_attention": "attention",
}
STRANGE = (  # classes of Keras that no layer here is
    "separable_conv1d depthwise_conv1d "
    "einsum_dense rnn conv_lstm1d conv_lstm2d conv_lstm3d unit_normalization "
    "spectral_normalization normalization group_query_attention grouped_query_attention "
    "additive_attention attention reversible_embedding locally_connected1d locally_connected2d stft_spectrogram "
    "discretization"
).split()
GATE_IN_FRONT = "a GRU with reset_after=False has its reset gate in front of the product, and gpubp's GRU behind it"


def kind_of(group: str, name: str, layer: Described | None) -> tuple[str, str]:
    """(kind, class in snake case) of a layer: its class says so, or the name of its group, or its own name; "" if not.

    >>> kind_of("dense_2", "", None), kind_of("fc1", "dense_4", None), kind_of("p_re_lu", "", None)
    (('dense', 'dense'), ('dense', 'dense'), ('PReLU', 'p_re_lu'))
    """
    if layer is not None and layer.cls:
        snake = layer.snake
        return (KINDS.get(snake, snake), snake) if snake in KINDS or snake in STRANGE else ("", snake)
    for called in (group, name):
        base = without_number(called)[0]
        if base in KINDS or base in STRANGE:
            return KINDS.get(base, base), base
    return "", ""


def roles_of(kind: str, snake: str, shapes: Sequence[Shape], layer: Described | None) -> tuple[list[str], str]:
    """(what each of a layer's arrays is to it, "") by their order in the file, or ([], why that can't be said).

    >>> roles_of("batch normalization", "batch_normalization", [(3,)] * 4, None)
    (['gamma', 'beta', 'moving_mean', 'moving_variance'], '')
    """
    arguments: Mapping[str, Any] = {} if layer is None else layer.arguments
    count, scale, center = len(shapes), arguments.get("scale"), arguments.get("center")
    if kind == "RMS normalization":
        return (["gamma"], "") if count == 1 else ([], "it has other arrays than a scale")
    if kind in ("batch normalization", "layer normalization", "group normalization"):
        moving = ["moving_mean", "moving_variance"] if kind == "batch normalization" else []
        roles = [*(["gamma"] if scale else []), *(["beta"] if center else []), *moving]
        if scale is None or center is None:
            roles = [*([] if count == len(moving) else ["gamma", "beta"]), *moving]
        if arguments.get("rms_scaling"):
            return [], "a normalization with rms_scaling takes no mean away, and gpubp's does"
        return (roles, "") if len(roles) == count else ([], "the file does not say whether it has a gamma or a beta")
    if kind == "embedding":
        return (["embeddings"], "") if count == 1 else ([], "an Embedding of several arrays, as of a quantized one")
    if kind == "PReLU":
        return (["alpha"], "") if count == 1 else ([], "it has other arrays than the slopes of a PReLU")
    if snake == "separable_conv2d":
        return ["depthwise_kernel", "pointwise_kernel", "bias"][:count], ""
    if kind == "dense" or kind in CONVOLUTIONS:
        kernel = "depthwise_kernel" if snake == "depthwise_conv2d" else "kernel"
        return ([kernel, "bias"][:count], "") if count <= 2 else ([], "it has more arrays than a kernel and a bias")
    if kind in ("SimpleRNN", "LSTM", "GRU"):
        if count not in (2, 3):
            return [], "it has other arrays than kernel, recurrent_kernel and bias"
        if kind == "GRU" and (arguments.get("reset_after") is False or (count == 3 and len(shapes[2]) == 1)):
            return [], GATE_IN_FRONT
        return ["kernel", "recurrent_kernel", "bias"][:count], ""
    if kind:
        return [], f"gpubp has no layer for {snake}"
    return _guessed(shapes)


def _guessed(shapes: Sequence[Shape]) -> tuple[list[str], str]:
    """By shapes alone, for layers whose class nothing says."""
    ranks = [len(shape) for shape in shapes]
    if ranks in ([2, 1], [3, 1], [4, 1], [5, 1]) and shapes[0][-1] == shapes[1][0]:
        return ["kernel", "bias"], ""
    if ranks == [1, 1, 1, 1] and len(set(shapes)) == 1:
        return ["gamma", "beta", "moving_mean", "moving_variance"], ""
    return [], "nothing in the file says what kind of layer it belongs to"


def refused_by(kind: str, layer: Described | None) -> str:
    """Why a layer's arguments make it another function than gpubp's; "" if they don't.

    >>> refused_by("LSTM", Described("lstm", "LSTM", {"activation": "relu"}, ()))
    "its activation is relu, and that of gpubp's LSTM is tanh"
    """
    if layer is None:
        return ""
    wanted: dict[str, Any] = {}
    if kind == "attention":
        wanted = {"use_gate": False, "sliding_window": None, "output_shape": None}
    elif kind in ("SimpleRNN", "LSTM", "GRU"):
        wanted = {"activation": "tanh"} | ({} if kind == "SimpleRNN" else {"recurrent_activation": "sigmoid"})
    for name, value in wanted.items():
        given = layer.arguments.get(name, value)
        if given != value:
            return f"its {name} is {str(given)[:60]}, and that of gpubp's {kind} is {value}"
    return ""


def separated(module: Module) -> list[Module]:
    """A SeparableConv2D as two convolutions: of each channel, and of the channels of each pixel.

    >>> [m.path for m in separated(Module("conv", {}))]
    ['conv', 'conv[pointwise]']
    """
    first = {role: t for role, t in module.tensors.items() if role == "depthwise_kernel"}
    second = {"kernel" if role == "pointwise_kernel" else role: t for role, t in module.tensors.items()}
    second.pop("depthwise_kernel", None)
    return [replace(module, tensors=first), replace(module, path=f"{module.path}[pointwise]", tensors=second)]


def facts_of(layer: Described | None) -> dict[str, Any]:
    """The arguments of a layer that the user should know of, where they are what they should be.

    >>> facts_of(Described("norm", "LayerNormalization", {"epsilon": 0.001, "axis": -1}, ()))
    {'epsilon': 0.001}
    """
    if layer is None:
        return {}
    found, told = {}, {"epsilon": float, "go_backwards": bool, "merge_mode": str, "mask_zero": bool, "groups": int}
    for name, kind in told.items():
        if isinstance(layer.arguments.get(name), kind):
            found[name] = layer.arguments[name]
    if layer.arguments.get("data_format") == "channels_first":
        found["channels_first"] = True
    return found
