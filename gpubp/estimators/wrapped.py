"""NetworkClassifier and NetworkRegressor: any gpubp layers as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import replace
from typing import Any

from ..config import as_call
from ..errors import DataError
from ..layers import AlphaDropout, Dense, Dropout, GaussianNoise, Layer, LogSoftmax, Sequential, Softmax, SpatialDropout
from ..network.network import Network
from ..network.probabilities import ending_of
from .base import Estimator
from .kinds import Classifier, Regressor
from .parameters import store_parameters
from .targets import Labels


def head_of(layers: Layer) -> Dense | None:
    """The last layer if it is a Dense, None if not.

    >>> head_of(Sequential(Dense(8), Sequential(Dense(3)))), head_of(Sequential(Dense(8), Dropout(0.5)))
    (Dense(3), None)
    """
    while isinstance(layers, Sequential) and layers.layers:
        layers = layers.layers[-1]
    return layers if isinstance(layers, Dense) else None


def _drawing(layers: Layer) -> Layer | None:
    """The first layer whose loss changes from call to call, as by Dropout; None if there is none."""
    drops = isinstance(layers, Dropout | SpatialDropout | AlphaDropout) and layers.rate > 0
    if drops or isinstance(layers, GaussianNoise) and layers.std > 0:
        return layers
    return next((found for child in layers.children if (found := _drawing(child)) is not None), None)


class Wrapped(Estimator):
    """The base class of both: the given layers, and a last Dense if they lack it."""

    _several_axes = True

    def _with_head(self, outputs: int, what: str) -> Layer:
        layers = self.layers
        if not isinstance(layers, Layer):
            raise ValueError(
                f"layers of {type(self).__name__} are gpubp layers, such as Sequential(Dense(64), ReLU()), and got "
                f"{layers!r}{as_call(layers)}"
            )
        if self.solver == "lbfgs" and (drawing := _drawing(layers)) is not None:
            raise ValueError(
                f"{type(drawing).__name__} does not go with solver='lbfgs': its loss would change from call to call; "
                "use 'adam'"
            )
        head = head_of(layers)
        if head is None:
            return Sequential(*(layers.layers if isinstance(layers, Sequential) else [layers]), Dense(outputs))
        if head.units != outputs:
            raise DataError(
                f"layers end in {head!r}, and {what}: end them in Dense({outputs}), or leave it out, and it is added"
            )
        return layers

    def _layers(self, fitted: bool) -> Layer:
        return self._with_head(self._settle(fitted), self._what())

    def _network(self, row: tuple[int, ...], dtype: Any) -> Network:
        layers = self._layers(False)
        seed = int(self._random_state.randint(2**31 - 1))
        return Network(layers, row, device=self.device, dtype=dtype, seed=seed, numerics=self.numerics)

    @abstractmethod
    def _what(self) -> str:
        """What y has, for messages."""

    @classmethod
    def _layers_of(cls, network: Network) -> dict[str, Any]:
        return {"layers": network.layers}


class NetworkClassifier(Classifier, Wrapped):
    """Any gpubp layers, convolutions included, as a classifier.

    layers: if they don't end in a Dense, one is added with as many units as y needs. Rows of X may have several axes,
    (n, height, width, channels), or layers begin with Reshape. Everything else is as in `MLPClassifier`.

    >>> import gpubp as bp
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> layers = bp.Sequential(bp.Reshape((8, 8, 1)), bp.Conv2D(8, 3), bp.ReLU(), bp.MaxPool2D(), bp.Flatten())
    >>> classifier = NetworkClassifier(layers, learning_rate_init=0.01, tol=0.1, n_iter_no_change=1, random_state=0)
    >>> classifier.fit(X / 16, y).score(X / 16, y) > 0.9
    True
    """

    def __init__(
        self,
        layers: Any,
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
        clip_norm: float | None = None,
        schedule: Any = None,
        callbacks: Any = None,
        device: str = "auto",
        dtype: Any = "auto",
        numerics: str = "ordinary",
    ) -> None:
        store_parameters(self, locals())

    def _settled(self, fitted: bool) -> Labels:
        labels = super()._settled(fitted)
        head = head_of(self.layers) if isinstance(self.layers, Layer) else None
        if labels.kind == "binary" and head is not None and head.units == 2:
            labels = replace(labels, softmax=True)
        return labels

    def _network(self, row: tuple[int, ...], dtype: Any) -> Network:
        if isinstance(self.layers, Layer) and isinstance(end := ending_of(self.layers), Softmax | LogSoftmax):
            warnings.warn(
                f"layers end in {end!r}, and the Dense behind it, which is added, and the loss make a softmax of their "
                f"own: leave {end!r} out; predict_proba gives probabilities",
                UserWarning,
                stacklevel=5,
            )
        return super()._network(row, dtype)

    def _what(self) -> str:
        return f"y has {len(self.classes_)} {'labels' if self._labels.kind == 'multilabel' else 'classes'}"


class NetworkRegressor(Regressor, Wrapped):
    """Any gpubp layers as a regressor.

    layers: if they don't end in a Dense, one is added with as many units as y has columns. Everything else is as in
    `MLPRegressor`.

    >>> import gpubp as bp
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(100, 4, random_state=0)
    >>> layers = bp.Sequential(bp.Dense(16), bp.SiLU())
    >>> regressor = NetworkRegressor(layers, learning_rate_init=0.05, tol=1.0, max_iter=1000, random_state=0)
    >>> regressor.fit(X, y).score(X, y) > 0.99
    True
    """

    def __init__(
        self,
        layers: Any,
        loss: Any = "squared_error",
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
        clip_norm: float | None = None,
        schedule: Any = None,
        callbacks: Any = None,
        device: str = "auto",
        dtype: Any = "auto",
        numerics: str = "ordinary",
    ) -> None:
        store_parameters(self, locals())

    def _what(self) -> str:
        return f"y has {self._columns} column{'s' if self._columns > 1 else ''}"
