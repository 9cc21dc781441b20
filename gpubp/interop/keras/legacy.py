"""Legacy: the layers in an HDF5 file of older Keras, `.h5`, in their order.

The group "model_weights", or the root where weights alone were saved, lists its layers in the attribute layer_names.
Each layer's group lists its arrays in weight_names, such as "lstm/lstm_cell/kernel:0", below which they lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...errors import ModelFileError
from ..weights.modules import Module, Tensor
from .described import Described
from .groups import Group, Stored
from .kinds import GATE_IN_FRONT, STRANGE, facts_of, kind_of, refused_by, separated

CELL = re.compile(r"(?:lstm|gru|simple_rnn)_cell(?:_\d+)?")
HEADS = {"query": "query", "key": "key", "value": "value", "attention_output": "output"}
MOVING = {"gamma", "beta", "moving_mean", "moving_variance"}


def is_legacy(root: Group) -> bool:
    """Whether a file is in the older form.

    >>> is_legacy(Group({"model_weights": Group({}, {}, None, 0)}, {}, None, None))
    True
    """
    return "model_weights" in root.groups or bool(root.texts("layer_names"))


def modules_of_legacy(root: Group, model: Described | None, called: str) -> list[Module]:
    """The layers with arrays of a file; ModelFileError where the names it lists are not in it.

    >>> model = Described("m", "Sequential", {}, (Described("a", "ReLU", {}, ()),))
    >>> modules_of_legacy(Group({}, {}, None, 0), model, "m.h5")
    []
    """
    group = root.groups.get("model_weights", root)
    layers = {layer.name: layer for layer in model.inside} if model is not None else {}
    found: list[Module] = []
    for name in layers or dict.fromkeys(group.texts("layer_names")):
        if name in group.groups:
            found += _of_layer(name, group.groups[name], layers.get(name), called)
        elif not layers:
            raise ModelFileError(f"{called} is damaged: it lists the layer {name[:100]!r} and does not have it")
    return found


def _all(layer: Described) -> Iterator[Described]:
    yield layer
    for inner in layer.inside:
        yield from _all(inner)


def _of_layer(name: str, group: Group, layer: Described | None, called: str) -> list[Module]:
    """The modules of a layer: several, if it is a model, in the order of its configuration, or of its weight_names."""
    listed = (
        dict.fromkeys(group.texts("weight_names")) if layer is None else sorted(_arrays(group, ""), key=_kernels_first)
    )
    parts: dict[str, dict[str, Tensor]] = {}
    for full in listed:
        stored = _at(group, full)
        if stored is None:
            raise ModelFileError(f"{called} is damaged: it lists the array {full[:100]!r} and does not have it")
        module, role = _module_and_role(full)
        parts.setdefault(module, {})[role] = Tensor(full.removesuffix(":0"), stored.shape, stored.read)
    inside = {} if layer is None else {inner.name: inner for inner in _all(layer)}
    order = {inner: k for k, inner in enumerate(inside)}
    made: list[Module] = []
    for module in sorted(parts, key=lambda m: order.get(m.rpartition("/")[2], len(order))):
        own = module.rpartition("/")[2] or name
        path = f"{name}/{own}" if len(parts) > 1 else name
        ordered = layer is None or len(parts) == 1 or own in order
        made += _made(path, parts[module], inside.get(own) or layer, own, "" if ordered else path)
    return made


def _kernels_first(full: str) -> tuple[bool, bool]:
    return "recurrent" in full, full.removesuffix(":0").endswith(("bias", "beta", "mean", "variance"))


def _arrays(group: Group, path: str) -> Iterator[str]:
    """The names of all arrays below a group."""
    yield from (path + name for name in group.arrays)
    for name, inner in group.groups.items():
        yield from _arrays(inner, f"{path}{name}/")


def _at(group: Group, full: str) -> Stored | None:
    *way, last = full.split("/")
    for part in way:
        if part not in group.groups:
            return None
        group = group.groups[part]
    return group.arrays.get(last)


def _module_and_role(full: str) -> tuple[str, str]:
    """("encoder/lstm", "forward/kernel") of "encoder/lstm/forward_lstm/lstm_cell/kernel:0"."""
    *way, role = full.removesuffix(":0").split("/")
    if way and way[-1] in HEADS and role in ("kernel", "bias"):
        return "/".join(way[:-1]), f"{HEADS[way[-1]]}/{role}"
    if way and CELL.fullmatch(way[-1]):
        way.pop()
    for direction in ("forward", "backward"):
        if way and way[-1].startswith(f"{direction}_"):
            return "/".join(way[:-1]), f"{direction}/{role}"
    return "/".join(way), role


def _made(path: str, tensors: dict[str, Tensor], layer: Described | None, name: str, series: str) -> list[Module]:
    cls = layer
    if layer is not None and layer.cls in ("Bidirectional", "TimeDistributed") and layer.inside:
        cls = layer.inside[0]
    kind, snake = kind_of("", name, cls)
    roles = set(tensors)
    if snake == "depthwise_conv2d" and "kernel" in tensors:
        tensors = {"depthwise_kernel" if role == "kernel" else role: t for role, t in tensors.items()}
    recurrent = tensors.get("recurrent_kernel") or tensors.get("forward/recurrent_kernel")
    if recurrent is not None and len(recurrent.shape) == 2 and recurrent.shape[0]:
        kind = {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}.get(recurrent.shape[1] // recurrent.shape[0], "")
    elif "query/kernel" in tensors:
        kind = "attention"
    elif roles <= MOVING and roles:
        kind = "batch normalization" if "moving_mean" in roles else kind or "layer normalization"
    why = f"gpubp has no layer for {snake}" if snake in STRANGE else refused_by(kind, cls)
    biases = [t for role, t in tensors.items() if role.endswith("bias") and kind == "GRU"]
    if kind == "GRU" and any(len(bias.shape) == 1 for bias in biases):
        why = GATE_IN_FRONT
    if "pointwise_kernel" in tensors:
        return separated(Module(path, tensors, kind, series=series, facts=facts_of(layer)))
    return [Module(path, tensors, kind, series=series, facts=facts_of(layer) | facts_of(cls), refused=why)]
