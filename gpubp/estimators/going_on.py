"""Warm starts: training continues with the network of the last fit, also with changed parameters of the estimator.

Layers without parameters, such as activations and dropout, may be other ones; device and type of numbers too. Then a
new network gets the parameters of the old one, in the order of the layers. A change that needs other parameters is an
error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..config import same
from ..layers import GELU, BatchNorm, Dense, Layer, Sequential
from ..network.network import Network
from ..training.trainer import Trainer

OF_NETWORK = ("hidden_layer_sizes", "activation", "batch_norm", "layers", "loss", "device", "dtype", "numerics")


def noted(estimator: Any) -> dict[str, Any]:
    """The parameters that decide what network an estimator has.

    >>> from types import SimpleNamespace
    >>> noted(SimpleNamespace(get_params=lambda deep: {"device": "cpu", "tol": 0.1}))
    {'device': 'cpu'}
    """
    return {name: value for name, value in estimator.get_params(deep=False).items() if name in OF_NETWORK}


def carried(network: Network, layers: Layer, device: str, dtype: Any, numerics: str = "ordinary") -> Network | None:
    """A network of `layers` with the parameters and running statistics of another; None where it needs others.

    >>> import gpubp as bp
    >>> old = bp.Network(bp.Sequential(bp.Dense(8), bp.Dense(3)), 4, device="cpu")
    >>> new = carried(old, bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(3)), "cpu", "float64")
    >>> new.dtype, bool((new.parameters["2.W"] == old.parameters["1.W"]).all())
    (dtype('float64'), True)
    >>> carried(old, bp.Sequential(bp.Dense(9), bp.Dense(3)), "cpu", "float32") is None
    True
    """
    new = Network(layers, network.input_shape, device=device, dtype=dtype, seed=network.seed, numerics=numerics)
    both = ((network.parameters, new.parameters), (network.states, new.states))
    if any(_shapes(old) != _shapes(here) for old, here in both):
        return None
    network.backend.synchronize()
    with new.backend.active():
        for old, here in both:
            for a, b in zip(old.values(), here.values(), strict=True):
                new.backend.put(b, np.asarray(network.backend.to_host(a)).astype(new.dtype))
    names = dict(zip(network.freezable, new.freezable, strict=True))
    new.frozen, new.metadata = {names[name] for name in network.frozen}, dict(network.metadata)
    return new


def _shapes(arrays: Any) -> list[tuple[str, Any]]:
    return [(name.rpartition(".")[2], tuple(a.shape)) for name, a in arrays.items()]


def go_on(estimator: Any, layers: Layer, dtype: Any) -> None:
    """Give a fitted estimator the network that its parameters ask for now, with what it has learnt.

    layers: that they ask for. dtype: of numbers, None for that of the network. Raises ValueError for a parameter that
    would need another network.
    """
    network, before = estimator.network_, estimator.__dict__.get("_as_fitted", {})
    if before.get("activation") == getattr(estimator, "activation", None):
        layers = _with_forms_of(layers, network.layers)
    moved = "device" in before and before["device"] != estimator.device
    dtype = network.dtype if dtype is None else np.dtype(dtype)
    numerics = before.get("numerics", network.numerics)
    lost = estimator.numerics == "exact" and network.numerics != "exact"  # where it was unpickled, which predicts alone
    other = lost or numerics != estimator.numerics
    if same(layers, network.layers) and not moved and not other and dtype == network.dtype:
        return
    numerics = estimator.numerics if other or moved else network.numerics
    new = carried(network, layers, estimator.device if moved else network.device, dtype, numerics)
    if new is None:
        raise changed(estimator, *_culprit(estimator, layers))
    if isinstance(estimator._trainer, dict):
        estimator._trainer = estimator._unpacked(estimator._trainer, network)  # its arrays are like that network's
    estimator.network_ = new


def _with_forms_of(layers: Layer, old: Layer) -> Layer:
    """The layers with each GELU of the network so far, which may be of a time when "gelu" was its form by tanh."""
    before = [layer for layer in old.children if isinstance(layer, GELU)]
    if not before or len(before) != sum(isinstance(layer, GELU) for layer in layers.children):
        return layers
    return Sequential(*(before.pop(0) if isinstance(layer, GELU) else layer for layer in layers.children))


def changed(estimator: Any, name: str, was: Any) -> ValueError:
    """The error for a parameter whose new value the network of the last fit can't have."""
    was = estimator.__dict__.get("_as_fitted", {}).get(name, was)
    return ValueError(
        f"{name} of {type(estimator).__name__} was {was!r} in the last fit and is {getattr(estimator, name)!r} now; "
        "warm_start and partial_fit go on with the network of the last fit, which can't have the new value: give "
        f"{name}={was!r} again, or begin anew, with fit and warm_start=False"
    )


def _culprit(estimator: Any, layers: Layer) -> tuple[str, Any]:
    """(name of the parameter that changed what parameters the network needs, its value before)."""
    old = estimator.network_.layers
    if hasattr(estimator, "layers"):
        return "layers", old
    for name, what in (("hidden_layer_sizes", _sizes), ("batch_norm", _has_norm)):
        if what(old) != what(layers):
            return name, what(old)
    return "activation", [layer for layer in old.children if not isinstance(layer, Dense)]


def _sizes(layers: Layer) -> tuple[int, ...]:
    return tuple(layer.units for layer in layers.children if isinstance(layer, Dense))[:-1]


def _has_norm(layers: Layer) -> bool:
    return any(isinstance(layer, BatchNorm) for layer in layers.children)


def carry_steps(trainer: Trainer, before: Trainer, *, keep_factor: bool) -> None:
    """Let a trainer go on with the steps and moments of another one, of the same parameters in the same order.

    keep_factor: whether its factor of the learning rate stays too.
    """
    new, old = trainer.update, before.update
    new.t = old.t
    if keep_factor:
        new.factor = old.factor
    names = dict(zip(before.network.declared, trainer.network.declared, strict=True))
    before.backend.synchronize()
    with trainer.backend.active():
        for moment, values in old.moments.items():
            for name, a in values.items():
                if names[name] in new.moments.get(moment, ()):
                    place = new.moments[moment][names[name]]
                    trainer.backend.put(place, np.asarray(before.backend.to_host(a)).astype(new.dtype))
