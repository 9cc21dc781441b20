"""Grouping: the tensors of a state dict by the modules that they belong to, in their order.

A module's tensors have its path in front of their own names, as in "features.0.weight". A recurrent module with
several layers, weight_ih_l0, weight_ih_l1, ..., is several modules here, because gpubp has a layer for each. What has
no name that PyTorch's layers have is a bare parameter of its own, such as positions. Bare parameters stand apart from
the order of modules, because a state dict begins with a module's own parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ...layers.plan import join
from ..weights.modules import Module, Tensor
from ..weights.places import OTHER, Place

RECURRENT = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr|h0|c0)(?:_l(\d{1,6}))?(_reverse)?")
ATTENTION = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias", "bias_k", "bias_v")
SEPARATE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
PLAIN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def modules_of(tensors: Mapping[str, Tensor], named: set[str], places: Sequence[Place]) -> list[Module]:
    """The modules of a state dict.

    tensors: by their names, after renaming. named: those that were renamed. places: of the network, whose own classes
    have names of their own.

    >>> import numpy as np
    >>> state = {n: Tensor(n, (2,), lambda: np.zeros(2)) for n in ("norm.weight", "norm.bias")}
    >>> [(module.path, list(module.tensors)) for module in modules_of(state, set(), [])]
    [('norm', ['weight', 'bias'])]
    """
    own = {place.path: set(place.shapes) for place in places if place.kind == OTHER}
    groups: dict[tuple[str, str], dict[str, Tensor]] = {}
    kinds: dict[tuple[str, str], str] = {}
    renamed: set[tuple[str, str]] = set()
    attention = {path for path, name in map(_split, tensors) if name in ATTENTION[:2] or name in SEPARATE}
    for full, tensor in tensors.items():
        path, name = _split(full)
        if name.startswith("out_proj.") and path not in attention:
            path, name = join(path, "out_proj"), name.removeprefix("out_proj.")
        key, role, kinds_of_key = _role(path, name, own)
        groups.setdefault(key, {})[role] = tensor
        kinds[key] = kinds_of_key
        if full in named:
            renamed.add(key)
    return [
        Module(
            f"{path}[{part}]" if re.fullmatch("l[1-9][0-9]*", part) else path,
            group,
            _kind(group, kinds[path, part]),
            named=(path, part) in renamed,
            series="parameters" if part == "value" else "",  # those of a module come before those of modules inside
            refused=_refused(group, path),
        )
        for (path, part), group in groups.items()
    ]


def _split(full: str) -> tuple[str, str]:
    path, _, name = full.rpartition(".")
    if path == "out_proj" or path.endswith(".out_proj"):
        return path.removesuffix("out_proj").rstrip("."), f"out_proj.{name}"
    return path, name


def _role(path: str, name: str, own: Mapping[str, set[str]]) -> tuple[tuple[str, str], str, str]:
    """((path, part of the module), what the tensor is to it, kind)."""
    if path in own and name in own[path]:
        return (path, "own"), name, OTHER
    if (found := RECURRENT.fullmatch(name)) is not None:
        return (path, f"l{found[2] or 0}"), found[1] + (found[3] or ""), "recurrent"
    if name in ATTENTION or name in SEPARATE:
        return (path, ""), name, "attention"
    if name in PLAIN:
        return (path, ""), name, ""
    return (join(path, name), "value"), "value", "positions"


def _kind(group: Mapping[str, Tensor], kind: str) -> str:
    if kind in ("attention", "positions", OTHER):
        return kind
    if kind == "recurrent" and "weight_ih" in group and "weight_hh" in group:
        (parts, *_), hidden = group["weight_ih"].shape or (0,), (group["weight_hh"].shape or (0,))[-1]
        return {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}.get(parts // max(hidden, 1), "")
    return "batch normalization" if "running_mean" in group else ""


def _refused(group: Mapping[str, Tensor], path: str) -> str:
    if re.search(r"(^|\.)(weight_[gvu]|weight_orig|parametrizations\..*)$", path):
        return "it is a part of a weight; remove weight_norm, and parametrizations, before saving"
    if "weight_hr" in group or "weight_hr_reverse" in group:
        return "an LSTM with proj_size has no layer here"
    if "bias_k" in group or "bias_v" in group:
        return "attention with add_bias_kv has one more key and value than gpubp's"
    if any(name in group for name in SEPARATE):
        return "attention with kdim or vdim reads other sequences than its own, which gpubp's does not"
    return ""
