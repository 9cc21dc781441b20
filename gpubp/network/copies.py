"""Pickles and copies of a network.

A pickle holds the layers, as Python pickles objects, and the arrays as the bytes of a model file: so it can be loaded
where there is no GPU, and a class of your own is imported by its name. Memory, streams and recorded steps stay behind.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import model_file
from ..errors import DeviceError


def packed(network: Any) -> dict[str, Any]:
    """What a pickle holds of a network.

    >>> import gpubp as bp
    >>> sorted(packed(bp.Network(bp.Dense(2), 3, device="cpu")))[:4]
    ['arrays', 'autotune', 'device', 'dtype']
    """
    be = network.backend
    be.synchronize()
    arrays = {name: np.asarray(be.to_host(a)) for name, a in (*network.parameters.items(), *network.states.items())}
    return {
        "layers": network.layers,
        "input_shape": network.input_shape,
        "dtype": str(network.dtype),
        "seed": network.seed,
        "device": network.device,
        "precision": be.precision,
        "autotune": be.autotune,
        "numerics": be.numerics,
        "frozen": sorted(network.frozen),
        "metadata": network.metadata,
        "arrays": model_file.to_bytes({}, arrays),
        "own": own_attributes(network),
    }


def unpack(network: Any, state: Mapping[str, Any]) -> None:
    """Put what a pickle holds into a new network of these layers."""
    network.frozen, network.metadata = set(state["frozen"]), state["metadata"]
    be, arrays = network.backend, model_file.from_bytes(state["arrays"])[1]
    with be.active():
        for name, a in (*network.parameters.items(), *network.states.items()):
            be.put(a, arrays[name])
    vars(network).update(state["own"])


def remade(make: Callable[..., Any], state: Mapping[str, Any]) -> Any:
    """make(device, precision, autotune, numerics) as a pickle says, or on the CPU, with a warning, where its device
    can't be used; in ordinary numerics where exact ones can't be had.

    >>> state = {"device": "cpu", "precision": "float32", "autotune": False}
    >>> remade(lambda *given: given, state)
    ('cpu', 'float32', False, 'ordinary')
    """
    device, numerics = state["device"], state.get("numerics", "ordinary")  # older pickles have none
    given = (device, state["precision"], state["autotune"])
    try:
        return made_for_numerics(lambda of: make(*given, of), numerics, "the pickled network")
    except DeviceError as problem:
        warnings.warn(f"fitted on {device}, goes on here on the CPU: {problem}", UserWarning, stacklevel=3)
    return made_for_numerics(lambda of: make("cpu", "float32", False, of), numerics, "the pickled network")


def made_for_numerics(make: Callable[[str], Any], numerics: str, of: str) -> Any:
    """make(numerics), or make("ordinary"), with a warning, where exact numerics can't be had: predictions need no more.

    of: what the numerics are those of.

    >>> made_for_numerics(lambda numerics: numerics, "exact", "a.safetensors")
    'exact'
    """
    try:
        return make(numerics)
    except DeviceError as problem:
        if numerics == "ordinary":
            raise
        made = make("ordinary")
        warnings.warn(
            f"{of} has exact numerics, and goes on here with ordinary ones, so that predictions may have other last "
            f"bits: {problem}",
            UserWarning,
            stacklevel=4,
        )
        return made


def copy_into(made: Any, network: Any, of: Callable[[Any], Any] = copy.copy) -> None:
    """Copy the numbers of a network into a new one of the same layers on the same device. of: copies other values."""
    network.backend.synchronize()
    with made.backend.active():
        made.flat[...] = network.flat
        made.states.flat[...] = network.states.flat
    made.frozen, made.metadata = set(network.frozen), of(network.metadata)
    vars(made).update({name: of(value) for name, value in own_attributes(network).items()})


def own_attributes(made: Any) -> dict[str, Any]:
    """The attributes that a subclass, or a user, has given a network or trainer beside those its constructor makes."""
    return {name: value for name, value in vars(made).items() if name not in made._made}
