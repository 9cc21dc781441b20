"""Reading: a network takes weights from PyTorch."""

from __future__ import annotations

from typing import Any

from ...layers import PReLU
from ...layers.bound import BoundLayers
from ..weights.loading import load
from ..weights.naming import Rename, check_landed, renamed
from ..weights.places import places_of
from ..weights.report import WeightsReport
from .grouping import modules_of
from .layouts import Torch
from .source import tensors_of


def load_torch(net: BoundLayers, source: Any, rename: Rename | None = None, strict: bool = False) -> WeightsReport:
    """Write into `net` what fits it of a state dict or a safetensors file of PyTorch.

    source, rename, strict: as for `Network.load_torch`. Raises ModelFileError, before anything is written.

    >>> import numpy as np, gpubp as bp
    >>> net = bp.Network(bp.Dense(2), 3, device="cpu")
    >>> print(load_torch(net, {"weight": np.ones((2, 3)), "bias": np.zeros(2)}))
    taken from PyTorch by name:
      weight, bias -> W, b
    """
    tensors, called, ordered = tensors_of(source)
    names = renamed(tensors, rename, ".", "rename")
    kept = {_own(net, new): tensors[old] for old, new in names.items() if new is not None}
    named = {_own(net, new) for old, new in names.items() if new is not None and new != old}
    left = {old: "rename leaves it out" for old, new in names.items() if new is None}
    places = places_of(net)
    dialect, modules = Torch(), modules_of(kept, named, places)
    check_landed(rename, modules, places, dialect, ".")
    return load(net, dialect, modules, left, called, strict, ordered=ordered)


def _own(net: BoundLayers, name: str) -> str:
    """A name that `rename` gave as gpubp has it, "0.W", as PyTorch has it, "0.weight": the layout stays PyTorch's."""
    path, _, last = name.rpartition(".")
    there = {
        "W": "weight",
        "b": "bias",
        "gamma": "weight",
        "beta": "bias",
        "mean": "running_mean",
        "var": "running_var",
        "count": "num_batches_tracked",
    }
    if name not in net.parameters and name not in net.states:
        return name
    if last == "a" and isinstance(dict(net.layers.walk())[path], PReLU):
        last = "gamma"
    return f"{path}.{there[last]}" if path and last in there else there.get(last, name)
