"""MLPClassifier and MLPRegressor: scikit-learn's parameters, defaults and attributes, and further parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..layers import Layer
from ..network.network import Network
from .base import Estimator
from .building import activations_of, dense_names, draw_weights, mlp_layers, sizes_of
from .kinds import Classifier, Regressor
from .parameters import store_parameters


class _Arrays(list[Any]):
    """Copies, or views, of a network's parameters; what is assigned to an entry goes into the network."""

    def __init__(self, network: Network, names: list[str]) -> None:
        super().__init__(network.backend.to_host(network.parameters[name]) for name in names)
        self._network, self._names = network, names

    def __setitem__(self, i: Any, values: Any) -> None:
        name = self._names[i]
        parameter = self._network.parameters[name]
        if np.shape(values) != tuple(parameter.shape):
            raise ValueError(f"{name} has the shape {tuple(parameter.shape)}, and got {np.shape(values)}")
        with self._network.backend.active():
            self._network.backend.put(parameter, np.asarray(values))
        super().__setitem__(i, self._network.backend.to_host(parameter))

    def __reduce__(self) -> Any:
        return list, ([np.array(a) for a in self],)


class MLP(Estimator):
    """The base class of both: layers from sizes, and weights by scikit-learn's names.

    coefs_: W of each layer. intercepts_: b of each layer. On the CPU these are the network's own memory; assigning to
    an entry changes the network on every device. n_layers_: layers of units, inputs and outputs included.
    """

    def _layers(self, fitted: bool) -> Layer:
        sizes = sizes_of(self.hidden_layer_sizes)
        activations = activations_of(self.activation, len(sizes))
        return mlp_layers(sizes, activations, self._settle(fitted), float(self.dropout), bool(self.batch_norm))

    def _network(self, row: tuple[int, ...], dtype: Any) -> Network:
        network = Network(self._layers(False), row, device=self.device, dtype=dtype, numerics=self.numerics)
        hidden = len(sizes_of(self.hidden_layer_sizes))
        draw_weights(network, activations_of(self.activation, hidden), self._random_state)
        self.n_layers_ = hidden + 2
        return network

    def _draws(self) -> bool:
        return bool(self.dropout)

    def _arrays(self, name: str) -> Any:
        if "network_" in self.__dict__:
            return _Arrays(self.network_, [prefix + name for prefix in dense_names(self.network_)])
        given = self.__dict__.get("_given", {})
        attribute = "coefs_" if name == "W" else "intercepts_"
        if attribute not in given:
            raise AttributeError(f"{type(self).__name__} has no {attribute} before it is fitted")
        return given[attribute]

    def _assign(self, attribute: str, name: str, values: Any) -> None:
        if "network_" not in self.__dict__:  # kept for the network to come
            self.__dict__.setdefault("_given", {})[attribute] = values
            return
        arrays = self._arrays(name)
        if len(values) != len(arrays):
            raise ValueError(f"{attribute} needs {len(arrays)} arrays, one a layer, and got {len(values)}")
        for i, value in enumerate(values):
            arrays[i] = value

    @property
    def coefs_(self) -> Any:
        """W (inputs, units) of each layer."""
        return self._arrays("W")

    @coefs_.setter
    def coefs_(self, values: Any) -> None:
        self._assign("coefs_", "W", values)

    @property
    def intercepts_(self) -> Any:
        """b (units,) of each layer."""
        return self._arrays("b")

    @intercepts_.setter
    def intercepts_(self, values: Any) -> None:
        self._assign("intercepts_", "b", values)


class MLPClassifier(Classifier, MLP):
    """A fully connected network that tells classes apart: scikit-learn's `MLPClassifier` with more in it.

    As there: hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t,
    max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping,
    validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun; with the same `random_state` training
    takes the same way, up to rounding. Beyond it:

    activation: also "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "gelu_tanh", "silu", "mish", "hard_swish",
    "softplus", "softsign", "hard_sigmoid", "hardtanh", "prelu", a gpubp layer, or a list, one a hidden layer.
    solver: also "adamw", "adamax", "nadam", "lion", "rmsprop", "adagrad" or a gpubp Optimizer, which has its own
    learning rate. beta_1, beta_2, epsilon: of "adam", "adamw", "adamax" and "nadam".
    loss: "log_loss", or a gpubp Loss such as SoftmaxCrossEntropy(label_smoothing=0.1).
    class_weight: class -> weight, or "balanced", of rows trained on. dropout: rate after each hidden layer.
    batch_norm: before each activation. clip_norm: largest norm of the gradients. schedule: a gpubp Schedule for the
    learning rate. callbacks: gpubp Callbacks. device: "cpu", "cuda", "cuda:1" or "auto". dtype: "float32", "float64" or
    "auto", that of X. numerics: "exact" trains to the same bits on every machine, as `Network` says.

    Fitted: classes_, coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_, validation_loss_curve_,
    best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_,
    network_, device_, learning_rate_.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier((8,), solver="lbfgs", alpha=1.0, max_iter=1000, random_state=0, device="cpu")
    >>> classifier.fit(X, y).score(X, y) > 0.95, classifier.predict_proba(X[:2]).shape
    (True, (2, 3))
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        class_weight: Any = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        clip_norm: float | None = None,
        schedule: Any = None,
        callbacks: Any = None,
        device: str = "auto",
        dtype: Any = "auto",
        numerics: str = "ordinary",
    ) -> None:
        store_parameters(self, locals())


class MLPRegressor(Regressor, MLP):
    """A fully connected network that predicts numbers: scikit-learn's `MLPRegressor` with more in it.

    As there, and beyond it, what `MLPClassifier` says, without class_weight.

    loss: "squared_error", "poisson", and also "absolute_error", "huber", or a gpubp Loss such as Huber(2.0). Over
    several outputs it is a sum: the gradient is scikit-learn's, and `loss_` is what it is the gradient of.

    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", random_state=0, device="cpu").fit(X, y)
    >>> regressor.score(X, y) > 0.5, regressor.predict(X[:2]).shape
    (True, (2,))
    """

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        batch_norm: bool = False,
        clip_norm: float | None = None,
        schedule: Any = None,
        callbacks: Any = None,
        device: str = "auto",
        dtype: Any = "auto",
        numerics: str = "ordinary",
    ) -> None:
        store_parameters(self, locals())
