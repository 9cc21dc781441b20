"""Writing: a network's weights as a state dict of PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ExportError
from ...layers.bound import BoundLayers
from ...layers.plan import join
from ..weights.naming import Rename, renamed
from ..weights.places import RECURRENT, places_of
from .layouts import Torch


def to_torch_state(net: BoundLayers, naming: Rename | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """The parameters and running statistics of `net` as PyTorch names them and lets them lie.

    naming: as for `Network.to_torch_state`. Raises ExportError where features stand in an order that PyTorch's modules
    can't have.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(2), bp.ReLU()), 3, device="cpu")
    >>> {name: a.shape for name, a in to_torch_state(net).items()}
    {'0.weight': (2, 3), '0.bias': (2,)}
    """
    dialect, state = Torch(), {}
    net.backend.synchronize()
    for place in places_of(net):
        if place.unclear:
            raise ExportError(f"layer {place.title} can't be written for PyTorch: {place.unclear}")
        arrays = {
            name: net.backend.to_host(net.parameters[full] if full in net.parameters else net.states[full])
            for name in place.shapes
            for full in (place.full(name),)
        }
        for name, a in dialect.back(place, arrays).items():
            name = _numbered(name) if place.kind in RECURRENT else name
            state[join(place.path, name)] = np.array(a, order="C", copy=True)
    names = renamed(state, naming, ".", "naming")
    return {new: state[old] for old, new in names.items() if new is not None}


def _numbered(name: str) -> str:
    """ "weight_ih_reverse" -> "weight_ih_l0_reverse"; first states, which PyTorch does not keep, as they are."""
    if name[:2] in ("h0", "c0"):
        return name
    plain = name.removesuffix("_reverse")
    return f"{plain}_l0{name[len(plain) :]}"
