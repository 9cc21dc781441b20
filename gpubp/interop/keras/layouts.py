"""Layouts: how Keras names the arrays of each layer and lets them lie.

layer here          Keras                   arrays there
Dense               Dense                   kernel = W, bias = b
Conv2D, Conv1D      Conv2D, Conv1D          kernel = W, bias = b
Conv3D              Conv3D                  kernel = W, bias = b
Conv2DTranspose     Conv2DTranspose         kernel (kh, kw, O, C) = W, bias = b; 1D and 3D too
Conv2D(groups=C)    DepthwiseConv2D         kernel (kh, kw, C, k), W (kh, kw, 1, C k)
BatchNorm           BatchNormalization      gamma, beta, moving_mean = mean, moving_variance = var
LayerNorm           LayerNormalization      gamma, beta
RMSNorm             RMSNormalization        scale = gamma
GroupNorm           GroupNormalization      gamma, beta; InstanceNorm where each channel is a group
Embedding           Embedding               embeddings = W
PReLU               PReLU                   alpha = a, with 1 for each axis that shares slopes
SimpleRNN, LSTM     SimpleRNN, LSTM         kernel = W, recurrent_kernel = U, bias = b
GRU                 GRU                     parts z, r, h there and r, z, n here; bias (2, 3m): the second row is added
                                            to b but for its last part, which is b_U
MultiHeadAttention  MultiHeadAttention      kernels (n, h, d) side by side = WQKV, output (h, d, n) = WO
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...layers import (
    BatchNorm,
    Bidirectional,
    Conv2D,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    MultiHeadAttention,
    RMSNorm,
)
from ...layers.plan import join
from ..weights.modules import Converted, Dialect, HostArray, Need, Needs, summed, through
from ..weights.places import CONVOLUTIONS, OTHER, RECURRENT, Place

EPSILON = 1e-3  # of Keras's normalizations where nothing else is asked for
NORMS = ("batch normalization", "layer normalization", "RMS normalization", "group normalization")
ARRAYS = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "var": "moving_variance"}
ATTENTION = ("query", "key", "value", "output")


class Keras(Dialect):
    """Keras's layers.

    >>> Keras().library
    'Keras'
    """

    library = "Keras"

    def paths(self, place: Place) -> tuple[str, ...]:
        """That of the layer alone."""
        return (place.path,)

    def needs(self, place: Place) -> Sequence[Needs]:
        """Names and shapes of the arrays, without the layer's name."""
        shapes = place.shapes
        if place.kind in (OTHER, "positions"):
            return [{"embeddings": Need((shapes["P"],))}] if place.kind == "positions" else [{"none": Need(())}]
        if place.kind == "dense" or place.kind in CONVOLUTIONS:
            bias = {"bias": Need((shapes["b"],), maybe=True)} if "b" in shapes else {}
            needs = [{"kernel": Need((shapes["W"],)), **bias}]
            if isinstance(place.layer, Conv2D) and shapes["W"][2] == 1:
                kh, kw, _, O = shapes["W"]
                needs.append(
                    {"depthwise_kernel": Need(((kh, kw, place.layer.groups, O // place.layer.groups),)), **bias}
                )
            return needs
        if place.kind in NORMS:
            return [{
                there: Need((shapes[name],), maybe=name in ("gamma", "beta"))
                for name, there in ARRAYS.items()
                if name in shapes
            }]  # fmt: skip
        if place.kind == "embedding":
            return [{"embeddings": Need((shapes["W"],))}]
        if place.kind == "PReLU":
            ones = ((1,) * k for k in range(4))
            return [{"alpha": Need(tuple((*one, *shapes["a"]) for one in ones))}]
        if place.kind == "attention":
            return [_attention_needs(place)]
        found: dict[str, Need] = {}
        for direction, inner in _directions(place):
            own = {n.removeprefix(inner): s for n, s in shapes.items() if n.startswith(inner)}
            bias_shape = (2, *own["b"]) if place.kind == "GRU" else own["b"]
            found |= {direction + "kernel": Need((own["W"],)), direction + "recurrent_kernel": Need((own["U"],))}
            found |= {direction + "bias": Need((bias_shape,), maybe=True)}
        return [found]

    def is_clear(self, place: Place) -> bool:
        """Always: Keras has gpubp's order."""
        return True

    def convert(self, place: Place, given: Mapping[str, HostArray], facts: Mapping[str, Any]) -> Converted:
        """Put in gpubp's order, as the module's text says."""
        notes = list(_notes(place, facts))
        if place.kind == "dense" or place.kind in CONVOLUTIONS:
            arrays = {
                "W": given["kernel"] if "kernel" in given else given["depthwise_kernel"].reshape(place.shapes["W"])
            }
            if "b" in place.shapes:
                arrays["b"] = given.get("bias", np.zeros(place.shapes["b"]))
                notes += [] if "bias" in given else ["b is 0, because the layer has no bias"]
        elif place.kind in NORMS:
            plain = {name: np.full(shape, float(name == "gamma")) for name, shape in place.shapes.items()}
            arrays = {name: given.get(ARRAYS.get(name, ""), plain[name]) for name in place.shapes}
            absent = [name for name in ("gamma", "beta") if name in place.shapes and name not in given]
            notes += [f"{' and '.join(absent)}: 1 for gamma, 0 for beta, because the layer has none"] if absent else []
        elif place.kind == "PReLU":
            arrays = {"a": given["alpha"].reshape(place.shapes["a"])}
        elif place.kind == "attention":
            made = _attention(place, given)
            arrays, notes = dict(made.arrays), [*notes, *made.notes]
        elif place.kind in RECURRENT:
            arrays = {}
            for direction, inner in _directions(place):
                own = {n.removeprefix(direction): a for n, a in given.items() if n.startswith(direction)}
                shapes = {n.removeprefix(inner): s for n, s in place.shapes.items() if n.startswith(inner)}
                arrays |= {inner + name: a for name, a in _recurrent(place.kind, shapes, own).items()}
            if not any("bias" in name for name in given):
                notes.append("the biases are 0, because the layer has none")
        else:
            arrays = {"P" if place.kind == "positions" else "W": given["embeddings"]}
        return Converted(arrays, tuple(notes))


def _directions(place: Place) -> list[tuple[str, str]]:
    """(prefix there, prefix here) of each direction."""
    if place.directions is None:
        return [("", "")]
    return [("forward/", join(place.directions[0], "")), ("backward/", join(place.directions[1], ""))]


def _attention_needs(place: Place) -> Needs:
    n = place.shapes["WO"][0]
    h = place.layer.heads if isinstance(place.layer, MultiHeadAttention) else 1
    needs = {}
    for part in ATTENTION:
        last = part == "output"
        needs[f"{part}/kernel"] = Need(((h, n // h, n) if last else (n, h, n // h),))
        needs[f"{part}/bias"] = Need(((n,) if last else (h, n // h),), maybe=True)
    return needs


def _attention(place: Place, given: Mapping[str, HostArray]) -> Converted:
    n = place.shapes["WO"][0]
    kernels = [given[f"{part}/kernel"].reshape(n, n) for part in ATTENTION]
    bQ, bK, bV, bO = (given.get(f"{part}/bias", np.zeros(n)).reshape(n) for part in ATTENTION)
    notes = ["the bias of the keys is left out: the softmax takes it out again"] if bK.any() else []
    notes += ["the bias of the values goes through WO into bO, which is the same function"] if bV.any() else []
    arrays = {
        "WQKV": np.concatenate(kernels[:3], axis=1),
        "WO": kernels[3],
        "bQ": bQ,
        "bO": through(bV, kernels[3], bO),
    }
    return Converted(arrays, tuple(notes))


def _recurrent(kind: str, shapes: Mapping[str, Any], given: Mapping[str, HostArray]) -> dict[str, HostArray]:
    arrays = {"W": given["kernel"], "U": given["recurrent_kernel"]}
    bias = given.get("bias", np.zeros(shapes["b"] if kind != "GRU" else (2, *shapes["b"])))
    if kind == "GRU":
        arrays = {name: _reset_first(a) for name, a in arrays.items()}
        first, second = _reset_first(bias)
        m = len(first) // 3
        arrays["b_U"] = second[2 * m :]
        bias = summed(first, np.where(np.arange(3 * m) >= 2 * m, 0, second))
    arrays["b"] = bias
    return arrays | {name: np.zeros(shapes[name]) for name in ("h0", "c0") if name in shapes}


def _reset_first(a: HostArray) -> HostArray:
    """The parts z, r, h of the last axis as r, z, h."""
    z, r, h = np.split(a, 3, axis=-1)
    return np.concatenate([r, z, h], axis=-1)


def _notes(place: Place, facts: Mapping[str, Any]) -> list[str]:
    """What the two layers compute differently, as far as the file says."""
    notes = []
    if isinstance(place.layer, GroupNorm | InstanceNorm) and (groups := facts.get("groups")) is not None:
        channels = place.shapes["gamma"][-1]
        own = place.layer.groups if isinstance(place.layer, GroupNorm) else channels
        if own != (channels if groups == -1 else groups):
            notes.append(f"groups is {groups} in Keras, and {own} here")
    if isinstance(place.layer, BatchNorm | LayerNorm | RMSNorm | GroupNorm | InstanceNorm):
        eps, plain = place.layer.eps, 1e-6 if isinstance(place.layer, RMSNorm) else EPSILON
        epsilon = facts.get("epsilon")
        if epsilon is None and eps != plain:
            notes.append(
                f"the file does not say Keras's epsilon, {plain:g} where nothing else was asked for; here eps={eps:g}"
            )
        elif epsilon is not None and epsilon != eps:
            notes.append(
                f"epsilon is {epsilon:g} in Keras, and eps={eps:g} here; {type(place.layer).__name__}(eps={epsilon:g})"
            )
            notes[-1] += " predicts as Keras does"
    reverse = getattr(place.layer, "reverse", None)
    if "go_backwards" in facts and reverse is not None and facts["go_backwards"] != reverse:
        notes.append(f"go_backwards is {facts['go_backwards']} in Keras, and reverse={reverse} here")
    if isinstance(place.layer, Bidirectional):
        if place.layer.layer.reverse:
            notes.append("the half of the output that reads backward comes first here, and last in Keras")
        if facts.get("merge_mode", "concat") != "concat":
            notes.append(
                f"merge_mode is {str(facts['merge_mode'])[:40]!r} in Keras; here the two halves stand side by side"
            )
    if facts.get("mask_zero"):
        notes.append(
            "mask_zero is True in Keras, which leaves words 0 out; here rows have lengths, or WordColumns does so"
        )
    if facts.get("channels_first"):
        notes.append("Keras had channels first, so that rows behind a Flatten of maps stand in another order there")
    return notes
