"""Layers, initial weights and optimizer from the parameters of an estimator.

First weights are scikit-learn's, number by number: for each Dense layer, W and then b uniform on ±√(6/(n + m)) of n
inputs and m outputs, ±√(2/(n + m)) around logistic units (Glorot and Bengio 2010), from one `RandomState`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..config import whole
from ..layers import BatchNorm, Dense, Dropout, Layer, Sequential
from ..layers.activations import Sigmoid
from ..layers.named import NAMED_ACTIVATIONS
from ..network.network import Network
from ..optimizers import Adagrad, Adamax, AdamW, Lion, NAdam, Optimizer, RMSprop
from .rules import ScikitAdam, ScikitSGD

ACTIVATIONS: dict[str, Layer | None] = {
    "identity": None,
    "logistic": Sigmoid(),  # scikit-learn's word
    **{name: layer for name, layer in NAMED_ACTIVATIONS.items() if name != "sigmoid"},
}
SOLVERS = ("lbfgs", "sgd", "adam", "adamw", "adamax", "nadam", "lion", "rmsprop", "adagrad")


def activations_of(activation: Any, hidden: int) -> list[Layer | None]:
    """The activation after each of `hidden` layers, from one name or layer, or one for each; None for none.

    >>> activations_of("relu", 2), activations_of(["tanh", "identity"], 2)
    ([ReLU(), ReLU()], [Tanh(), None])
    """
    each = list(activation) if isinstance(activation, list | tuple) else [activation] * hidden
    if len(each) != hidden:
        raise ValueError(
            f"activation has {len(each)} entries for {hidden} hidden layers; give one for each, or one name"
        )
    found: list[Layer | None] = []
    for one in each:
        if isinstance(one, Layer):
            found.append(one)
        elif isinstance(one, str) and one in ACTIVATIONS:
            found.append(ACTIVATIONS[one])
        else:
            raise ValueError(
                f"activation is one of {', '.join(ACTIVATIONS)}, a gpubp layer such as LeakyReLU(0.3), or a list of "
                f"these, and one is {one!r}"
            )
    return found


def sizes_of(hidden_layer_sizes: Any) -> list[int]:
    """Units of each hidden layer, from a number or several.

    >>> sizes_of(100), sizes_of((64, 32)), sizes_of(()), sizes_of(np.array(5))
    ([100], [64, 32], [], [5])
    """
    one = isinstance(hidden_layer_sizes, str) or getattr(hidden_layer_sizes, "ndim", 1) == 0
    several = isinstance(hidden_layer_sizes, Iterable) and not one
    sizes = [whole(size) for size in (hidden_layer_sizes if several else [hidden_layer_sizes])]
    if None in sizes:
        raise ValueError(
            f"hidden_layer_sizes must be > 0, whole numbers of units, as (100,) or (64, 32); got {hidden_layer_sizes!r}"
        )
    return [size for size in sizes if size is not None]


def mlp_layers(
    sizes: Sequence[int], activations: Sequence[Layer | None], outputs: int, dropout: float, batch_norm: bool
) -> Sequential:
    """Dense, BatchNorm, activation, Dropout for each hidden layer, then Dense(outputs).

    >>> from gpubp import ReLU
    >>> mlp_layers([8], [ReLU()], 3, 0.1, False)
    Sequential(Dense(8), ReLU(), Dropout(0.1), Dense(3))
    """
    layers: list[Layer] = []
    for units, activation in zip(sizes, activations, strict=True):
        layers.append(Dense(units))
        layers += [BatchNorm()] if batch_norm else []
        layers += [activation] if activation is not None else []
        layers += [Dropout(dropout)] if dropout else []
    return Sequential(*layers, Dense(outputs))


def dense_names(network: Network) -> list[str]:
    """The prefixes of the Dense layers' parameters, first to last: "0.", "2.", ...

    >>> from gpubp import ReLU
    >>> dense_names(Network(mlp_layers([8], [ReLU()], 3, 0.0, False), 4, device="cpu"))
    ['0.', '2.']
    """
    return [f"{i}." for i, layer in enumerate(network.layers.children) if isinstance(layer, Dense)]


def draw_weights(network: Network, activations: Sequence[Layer | None], random_state: np.random.RandomState) -> None:
    """First weights of an MLP, drawn as scikit-learn draws them."""
    factors = [2.0 if isinstance(activation, Sigmoid) else 6.0 for activation in activations] or [6.0]
    with network.backend.active():
        for prefix, factor in zip(dense_names(network), [*factors, factors[-1]][: len(activations) + 1], strict=True):
            W, b = network.parameters[prefix + "W"], network.parameters[prefix + "b"]
            bound = math.sqrt(factor / sum(W.shape))
            for parameter in (W, b):
                network.backend.put(parameter, random_state.uniform(-bound, bound, parameter.shape))


def optimizer_of(estimator: Any) -> Optimizer:
    """The optimizer that `solver`, `learning_rate_init`, `schedule` and the other parameters describe."""
    solver = estimator.solver
    if isinstance(solver, Optimizer):
        return solver
    rate = estimator.schedule if estimator.schedule is not None else float(estimator.learning_rate_init)
    betas: dict[str, Any] = dict(
        beta_1=float(estimator.beta_1), beta_2=float(estimator.beta_2), eps=float(estimator.epsilon)
    )
    made: dict[str, Callable[[], Optimizer]] = {
        "sgd": lambda: ScikitSGD(rate, float(estimator.momentum), bool(estimator.nesterovs_momentum)),
        "adam": lambda: ScikitAdam(rate, **betas),
        "adamw": lambda: AdamW(rate, **betas),
        "adamax": lambda: Adamax(rate, **betas),
        "nadam": lambda: NAdam(rate, **betas),
        "lion": lambda: Lion(rate),
        "rmsprop": lambda: RMSprop(rate),
        "adagrad": lambda: Adagrad(rate),
    }
    return made[solver]()
