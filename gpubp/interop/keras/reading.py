"""Reading: a network takes weights from a file of Keras."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...layers.bound import BoundLayers
from ..weights.loading import load
from ..weights.modules import Module
from ..weights.naming import Rename, check_landed, renamed
from ..weights.places import places_of
from ..weights.report import WeightsReport
from .files import read_keras
from .layouts import Keras
from .legacy import is_legacy, modules_of_legacy
from .tree import modules_of_tree


def load_keras(net: BoundLayers, source: Any, rename: Rename | None = None, strict: bool = False) -> WeightsReport:
    """Write into `net` what fits it of a file of Keras.

    source, rename, strict: as for `Network.load_keras`. Raises ModelFileError, before anything is written.

    >>> import gpubp as bp
    >>> load_keras(bp.Network(bp.Dense(2), 3, device="cpu"), "nothing.keras")
    Traceback (most recent call last):
    ...
    gpubp.errors.ModelFileError: there is no file nothing.keras
    """
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"load_keras needs the path of a .keras, .weights.h5 or .h5 file, and got {type(source).__name__}"
        )
    path, dialect = Path(source), Keras()
    with read_keras(path) as (root, model):
        legacy = is_legacy(root)
        modules = modules_of_legacy(root, model, str(path)) if legacy else modules_of_tree(root, model)
        kept, left = _renamed(modules, rename)
        check_landed(rename, kept, places_of(net), dialect, "/")
        return load(net, dialect, kept, left, str(path), strict)


def _renamed(modules: list[Module], rename: Rename | None) -> tuple[list[Module], dict[str, str]]:
    """(modules with their new paths, tensors that are left out -> why)."""
    paths = list(dict.fromkeys(module.path for module in modules))
    names = renamed(paths, rename, "/", "rename")
    kept: list[Module] = []
    left: dict[str, str] = {}
    for module in modules:
        new = names[module.path]
        if new is None:
            left |= dict.fromkeys(module.names, "rename leaves it out")
        else:
            kept.append(replace(module, path=new, named=rename is not None and new != module.path))
    return kept, left
