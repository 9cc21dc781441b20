"""Layouts: how PyTorch names the tensors of each layer and lets them lie, from there and to there.

    layer here        PyTorch                    tensors there
    Dense             Linear                     weight (m, n) = Wᵀ, bias
    Conv2D            Conv2d                     weight (O, C/g, kh, kw): W (kh, kw, C/g, O) = permute(2, 3, 1, 0)
    Conv1D            Conv1d                     weight (O, C/g, k): W (k, C/g, O) = permute(2, 1, 0)
    Conv3D            Conv3d                     weight (O, C/g, kd, kh, kw): W = permute(2, 3, 4, 1, 0)
    Conv2DTranspose   ConvTranspose2d            weight (C, O/g, kh, kw): W (kh, kw, O/g, C) = permute(2, 3, 1, 0)
    BatchNorm         BatchNorm1d, 2d            weight = gamma, bias = beta, running_mean, running_var,
                                                 num_batches_tracked = count
    LayerNorm         LayerNorm                  weight = gamma, bias = beta; of maps (C, H, W) there and (H, W, C) here
    RMSNorm           RMSNorm                    weight = gamma
    GroupNorm         GroupNorm                  weight = gamma, bias = beta
    InstanceNorm      InstanceNorm1d, 2d         weight = gamma, bias = beta
    Embedding         Embedding                  weight = W
    PReLU             PReLU                      weight = a, one axis there
    SimpleRNN, LSTM   RNN, LSTM                  weight_ih = Wᵀ, weight_hh = Uᵀ, b = bias_ih + bias_hh
    GRU               GRU                        as these; b_U is the n of bias_hh, which is not added to b
    MultiHeadAttention  MultiheadAttention       in_proj_weight = WQKVᵀ, in_proj_bias = [bQ 0 0], out_proj as Linear
    PositionalEmbedding  a Parameter, Embedding  P

Behind a Flatten of maps, rows are (C, H, W) there and (H, W, C) here: see `weights/orders.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...layers import BatchNorm, Bidirectional, GroupNorm, InstanceNorm, LayerNorm, Reshape, RMSNorm
from ...layers.bound import BoundLayers, planned_row
from ...layers.plan import join
from ..weights.modules import Converted, Dialect, HostArray, Need, Needs, summed, through
from ..weights.orders import orders_of
from ..weights.places import CONVOLUTIONS, OTHER, RECURRENT, Place

NORMS = ("batch normalization", "layer normalization", "RMS normalization", "group normalization")
TENSORS = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
EPS = 1e-5  # of PyTorch's normalizations


class Torch(Dialect):
    """PyTorch's layers.

    >>> Torch().library
    'PyTorch'
    """

    library = "PyTorch"

    def paths(self, place: Place) -> tuple[str, ...]:
        """The layer's own, and that of its array where the module is a bare array."""
        return (place.path, place.full("P")) if place.kind == "positions" else (place.path,)

    def needs(self, place: Place) -> Sequence[Needs]:
        """Names and shapes of the tensors, without prefix and number of layer."""
        shapes = place.shapes
        if place.kind == OTHER:
            return [{name: Need((shape,)) for name, shape in shapes.items()}]
        if place.kind == "dense" or place.kind in CONVOLUTIONS:
            needs = {"weight": Need(((*shapes["W"][:-3:-1], *shapes["W"][:-2]),))}
            return [needs | ({"bias": Need((shapes["b"],), maybe=True)} if "b" in shapes else {})]
        if place.kind in NORMS:
            return _norm_needs(place)
        if place.kind == "embedding":
            return [{"weight": Need((shapes["W"],))}]
        if place.kind == "PReLU":
            return [{"weight": Need((shapes["a"],))}]
        if place.kind == "positions":
            P = shapes["P"]
            return [{"value": Need((P, (1, *P)))}, {"weight": Need((P,))}]
        if place.kind == "attention":
            n = shapes["WO"][0]
            return [{
                "in_proj_weight": Need(((3 * n, n),)),
                "in_proj_bias": Need(((3 * n,),), maybe=True),
                "out_proj.weight": Need(((n, n),)),
                "out_proj.bias": Need(((n,),), maybe=True),
            }]  # fmt: skip
        needs = {}
        for suffix, inner in _directions(place):
            needs |= _recurrent_needs(
                {n.removeprefix(inner): s for n, s in shapes.items() if n.startswith(inner)}, suffix
            )
        return [needs]

    def convert(self, place: Place, given: Mapping[str, HostArray], facts: Mapping[str, Any]) -> Converted:
        """Transposed, permuted and added, as the module's text says."""
        if place.kind == OTHER:
            return Converted(dict(given))
        if place.kind == "dense":
            return _dense(place, given)
        if place.kind in CONVOLUTIONS:
            w = given["weight"]
            return _with_bias(place, {"W": w.transpose(*range(2, w.ndim), 1, 0)}, given)
        if place.kind in NORMS:
            return _norm(place, given)
        if place.kind == "embedding":
            return Converted({"W": given["weight"]})
        if place.kind == "PReLU":
            a = np.empty_like(given["weight"])
            a[..., _columns(place)] = given["weight"]
            return Converted({"a": a})
        if place.kind == "positions":
            return Converted({"P": next(iter(given.values())).reshape(place.shapes["P"])})
        if place.kind == "attention":
            return _attention(place, given)
        arrays: dict[str, HostArray] = {}
        notes: list[str] = []
        for suffix, inner in _directions(place):
            own = {n.removesuffix(suffix): a for n, a in given.items() if n.endswith("_reverse") == bool(suffix)}
            shapes = {n.removeprefix(inner): s for n, s in place.shapes.items() if n.startswith(inner)}
            made = _recurrent(place.kind, shapes, own)
            arrays |= {inner + name: a for name, a in made.arrays.items()}
            notes += made.notes
        return Converted(arrays, tuple([*dict.fromkeys(notes), *_directions_note(place)]))

    def notes(self, net: BoundLayers) -> list[str]:
        """Of rows, outputs and inputs of a Reshape whose numbers stand in another order there."""
        plan, x = net.plan(1), (1, *planned_row(net.input_shape))
        orders = orders_of(net.layers, plan, x)
        ends, found = orders[""], [f"layer {path}: {of.doubt}" for path, of in orders.items() if of.doubt]
        for path, layer in net.layers.walk():
            if isinstance(layer, Reshape) and not orders[path].inputs.is_clear(math.prod(layer.shape)):
                found.append(f"layer {path}: {layer!r} reads flattened maps, (H, W, C) here and (C, H, W) in PyTorch")
        for called, order, shape in (("rows of X", ends.inputs, x), ("the outputs", ends.outputs, plan.output)):
            if len(shape) == 2 and (order.indices(shape[1]) != np.arange(shape[1])).any():
                found.append(f"{called} are flattened maps, (H, W, C) here and (C, H, W) in PyTorch")
        return found

    def back(self, place: Place, own: Mapping[str, HostArray]) -> dict[str, HostArray]:
        """The tensors of PyTorch's module, by their names in it, from the arrays of a layer."""
        if place.kind == OTHER:
            return dict(own)
        if place.kind == "dense":
            tensors = {"weight": own["W"][_rows(place)][:, _columns(place)].T}
            return tensors | ({"bias": own["b"][_columns(place)]} if "b" in own else {})
        if place.kind in CONVOLUTIONS:
            n = own["W"].ndim - 2
            return {"weight": own["W"].transpose(n + 1, n, *range(n))} | ({"bias": own["b"]} if "b" in own else {})
        if place.kind in NORMS:
            tensors = {
                TENSORS[name]: np.moveaxis(a, -1, 0) if _is_turned(place) else a[..., _columns(place)]
                for name, a in own.items()
                if name in TENSORS
            }
            count = int(own["count"][0]) if "count" in own else 0
            return tensors | ({"num_batches_tracked": np.array(count, np.int64)} if "mean" in own else {})
        if place.kind == "embedding":
            return {"weight": own["W"]}
        if place.kind == "PReLU":
            return {"weight": own["a"][..., _columns(place)]}
        if place.kind == "positions":
            return {"P": own["P"]}
        if place.kind == "attention":
            zeros = np.zeros(2 * len(own["bQ"]), own["bQ"].dtype)
            return {
                "in_proj_weight": own["WQKV"].T,
                "in_proj_bias": np.concatenate([own["bQ"], zeros]),
                "out_proj.weight": own["WO"].T,
                "out_proj.bias": own["bO"],
            }
        tensors = {}
        for suffix, inner in _directions(place):
            tensors |= _recurrent_back(
                {n.removeprefix(inner): a for n, a in own.items() if n.startswith(inner)}, suffix
            )
        return tensors


def _rows(place: Place) -> Any:
    """The places here of the features that come in, in PyTorch's order."""
    return place.inputs.indices(place.shapes["W"][0])


def _columns(place: Place) -> Any:
    """The places here of the features that go out, in PyTorch's order."""
    size = next(place.shapes[name][-1] for name in ("W", "a", "gamma", "mean") if name in place.shapes)
    return place.outputs.indices(size) if size > 1 else np.zeros(1, int)


def _is_turned(place: Place) -> bool:
    """Whether gamma has axes of a map, of which the channels are the first there."""
    return place.first and len(place.shapes.get("gamma", ())) > 1


def _with_bias(place: Place, arrays: dict[str, HostArray], given: Mapping[str, HostArray]) -> Converted:
    if "b" not in place.shapes:
        return Converted(arrays)
    if "bias" in given:
        return Converted(arrays | {"b": given["bias"]})
    return Converted(arrays | {"b": np.zeros(place.shapes["b"])}, ("b is 0, because the module has no bias",))


def _dense(place: Place, given: Mapping[str, HostArray]) -> Converted:
    w, rows, columns = given["weight"].T, _rows(place), _columns(place)
    W = np.empty_like(w)
    W[np.ix_(rows, columns)] = w
    made = _with_bias(place, {"W": W}, given)
    if "bias" in given:
        b = np.empty_like(given["bias"])
        b[columns] = given["bias"]
        made = made._replace(arrays={"W": W, "b": b})
    notes = []
    if (rows != np.arange(len(rows))).any():
        notes.append("the rows of W go from PyTorch's order of a flattened map, (C, H, W), to (H, W, C)")
    if (columns != np.arange(len(columns))).any():
        notes.append("the columns of W, and b, go from PyTorch's order of a flattened map, (C, H, W), to (H, W, C)")
    return made._replace(notes=(*made.notes, *notes))


def _norm_needs(place: Place) -> list[Needs]:
    shapes, batch = place.shapes, place.kind == "batch normalization"
    needs = {}
    for name, tensor in TENSORS.items():
        if name in shapes:
            one = (shapes[name][-1], *shapes[name][:-1]) if _is_turned(place) else shapes[name]
            needs[tensor] = Need((one,), maybe=name == "beta" or batch and name == "gamma")
    return [needs | ({"num_batches_tracked": Need(((),), maybe=True)} if batch else {})]


def _norm(place: Place, given: Mapping[str, HostArray]) -> Converted:
    columns, arrays = _columns(place), {}
    for name in [name for name in place.shapes if name in TENSORS]:
        there = given.get(TENSORS[name])
        if there is None:
            arrays[name] = np.full(place.shapes[name], float(name == "gamma"))
        elif _is_turned(place):
            arrays[name] = np.moveaxis(there, 0, -1)
        else:
            arrays[name] = np.empty_like(there)
            arrays[name][..., columns] = there
    absent = [name for name in arrays if TENSORS[name] not in given]
    notes = [f"{' and '.join(absent)}: 1 and 0, because the module has none"] if absent else []
    if "count" in place.shapes:
        arrays["count"] = np.reshape(given.get("num_batches_tracked", np.zeros(())), (1,)).astype(np.float64)
    plain = float(np.finfo(np.float32).eps) if isinstance(place.layer, RMSNorm) else EPS
    kinds = BatchNorm | LayerNorm | RMSNorm | GroupNorm | InstanceNorm
    eps = place.layer.eps if isinstance(place.layer, kinds) else plain
    if eps != plain:
        notes.append(f"eps is {eps:g} here, and {plain:g} in PyTorch where nothing else was asked for")
    return Converted(arrays, tuple(notes))


def _attention(place: Place, given: Mapping[str, HostArray]) -> Converted:
    n = place.shapes["bQ"][0]
    WO, notes = given["out_proj.weight"].T, []
    biases = given.get("in_proj_bias", np.zeros(3 * n))
    if biases[n : 2 * n].any():
        notes.append("the bias of the keys is left out: the softmax takes it out again")
    if biases[2 * n :].any():
        notes.append("the bias of the values goes through WO into bO, which is the same function")
    bO = through(biases[2 * n :], WO, given.get("out_proj.bias", np.zeros(n)))
    return Converted({"WQKV": given["in_proj_weight"].T, "WO": WO, "bQ": biases[:n], "bO": bO}, tuple(notes))


def _directions(place: Place) -> list[tuple[str, str]]:
    """(suffix there, prefix here) of each direction."""
    if place.directions is None:
        return [("", "")]
    return [("", join(place.directions[0], "")), ("_reverse", join(place.directions[1], ""))]


def _directions_note(place: Place) -> list[str]:
    if isinstance(place.layer, Bidirectional) and place.layer.layer.reverse:
        return ["the half of the output that reads backward comes first here, and last in PyTorch"]
    if place.kind in RECURRENT and getattr(place.layer, "reverse", False):
        return [
            "this layer reads from the last step to the first, and PyTorch's from the first: reverse the steps there"
        ]
    return []


def _recurrent_needs(shapes: Mapping[str, Any], suffix: str) -> dict[str, Need]:
    one = (shapes["W"][1],)
    needs = {"weight_ih": Need((shapes["W"][::-1],)), "weight_hh": Need((shapes["U"][::-1],))}
    needs |= {"bias_ih": Need((one,), maybe=True), "bias_hh": Need((one,), maybe=True)}
    needs |= {name: Need((shapes[name],), maybe=True) for name in ("h0", "c0") if name in shapes}
    return {name + suffix: need for name, need in needs.items()}


def _recurrent(kind: str, shapes: Mapping[str, Any], given: Mapping[str, HostArray]) -> Converted:
    arrays = {"W": given["weight_ih"].T, "U": given["weight_hh"].T}
    zeros, notes = np.zeros(shapes["b"]), []
    first, second = given.get("bias_ih", zeros), given.get("bias_hh", zeros)
    if kind == "GRU":
        m = len(zeros) // 3
        arrays["b_U"], behind = second[2 * m :], np.arange(3 * m) >= 2 * m
        second = np.where(behind, 0, second)
    arrays["b"] = summed(first, second)
    for name in ("h0", "c0"):
        if name in shapes:
            arrays[name] = given.get(name, np.zeros(shapes[name]))
            if name not in given:
                notes.append(f"{name} is 0, as where PyTorch's layer is given no first state")
    if "bias_ih" not in given:
        notes.append("the biases are 0, because the module has none")
    return Converted(arrays, tuple(notes))


def _recurrent_back(own: Mapping[str, HostArray], suffix: str) -> dict[str, HostArray]:
    second = np.zeros_like(own["b"])
    if "b_U" in own:
        second[-len(own["b_U"]) :] = own["b_U"]
    tensors = {"weight_ih": own["W"].T, "weight_hh": own["U"].T, "bias_ih": own["b"], "bias_hh": second}
    tensors |= {name: own[name] for name in ("h0", "c0") if name in own}
    return {name + suffix: a for name, a in tensors.items()}
