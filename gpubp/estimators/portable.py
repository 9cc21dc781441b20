"""A fitted estimator without its device: what is pickled, and what a safetensors file holds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..config import Configurable, as_plain, from_config
from ..errors import DeviceError
from ..network import Network
from ..trainer import Trainer

__all__ = ["from_plain", "pack_network", "pack_trainer", "resume", "to_plain", "unpack_network"]


def pack_network(network: Network) -> dict[str, Any]:
    """Layers, numbers in host memory, and the device's name.

    >>> import gpubp as bp
    >>> sorted(pack_network(bp.Network(bp.Dense(2), 3, device="cpu")))[:3]
    ['arrays', 'device', 'dtype']
    """
    network.backend.synchronize()
    both = {**network.parameters, **network.states}
    return {
        "layers": network.layers,
        "input_shape": network.input_shape,
        "dtype": str(network.dtype),
        "seed": network.seed,
        "device": network.device,
        "frozen": sorted(network.frozen),
        "metadata": dict(network.metadata),
        "arrays": {name: np.array(network.backend.to_host(a)) for name, a in both.items()},
    }


def unpack_network(packed: Mapping[str, Any]) -> Network:
    """The network again, on its device; on the CPU, with a warning, where there is no such device."""
    arguments = (packed["layers"], packed["input_shape"])
    options = {"dtype": packed["dtype"], "seed": packed["seed"]}
    try:
        network = Network(*arguments, device=packed["device"], **options)
    except DeviceError as problem:
        warnings.warn(f"fitted on {packed['device']}, goes on here on the CPU: {problem}", UserWarning, stacklevel=3)
        network = Network(*arguments, device="cpu", **options)
    network.frozen, network.metadata = set(packed["frozen"]), dict(packed["metadata"])
    with network.backend.active():
        for name, values in packed["arrays"].items():
            network.backend.put(network.parameters.get(name, network.states.get(name)), values)
    return network


def pack_trainer(trainer: Trainer) -> dict[str, Any]:
    """What an optimizer keeps from step to step, in host memory."""
    update = trainer.update
    moments = {name: np.array(trainer.backend.to_host(moment.flat)) for name, moment in update.moments.items()}
    return {"optimizer": trainer.optimizer, "seed": trainer.seed, "t": update.t, "factor": update.factor, "moments": moments}


def resume(trainer: Trainer, packed: Mapping[str, Any]) -> None:
    """Put a packed trainer's steps and moments into a new one."""
    trainer.update.t, trainer.update.factor = packed["t"], packed["factor"]
    with trainer.backend.active():
        for name, values in packed["moments"].items():
            trainer.backend.put(trainer.update.moments[name].flat, values)


def to_plain(value: Any) -> Any:
    """What JSON can hold for a parameter or a fitted attribute, numbers that are not finite among them.

    >>> from_plain(to_plain({"tol": float("inf"), "sizes": (64, 32), "classes": np.array(["a", "b"])}))
    {'tol': inf, 'sizes': (64, 32), 'classes': array(['a', 'b'], dtype='<U1')}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    if isinstance(value, np.ndarray):
        kind = "object" if value.dtype.kind == "O" else value.dtype.str
        return {"array": [to_plain(v) for v in value.tolist()], "dtype": kind}
    if isinstance(value, type | np.dtype):
        return str(np.dtype(value))
    if isinstance(value, Configurable):
        return {"object": as_plain(value)}
    if isinstance(value, tuple | list):
        return {"tuple" if isinstance(value, tuple) else "list": [to_plain(v) for v in value]}
    if isinstance(value, Mapping):
        return {"pairs": [[to_plain(k), to_plain(v)] for k, v in value.items()]}
    return as_plain(value)


def from_plain(plain: Any) -> Any:
    """What `to_plain` was given."""
    if not isinstance(plain, dict):
        return plain
    (kind, value), *more = plain.items()
    match kind:
        case "number":
            return float(value)
        case "array":
            return np.array([from_plain(v) for v in value], dtype=np.dtype(dict(more)["dtype"]))
        case "object":
            return from_config(value)
        case "tuple":
            return tuple(from_plain(v) for v in value)
        case "list":
            return [from_plain(v) for v in value]
        case "pairs":
            return {from_plain(k): from_plain(v) for k, v in value}
    raise ValueError(f"{plain!r} is no description of a value")
