"""Estimator: the base class of all estimators. It trains a network on data in scikit-learn's form.

The batch order is scikit-learn's too: each epoch shuffles the order of the last one, with the `RandomState` that drew
the first weights. So with the same `random_state` training takes scikit-learn's own way, up to rounding.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..backends import Array, as_numpy
from ..config import same, whole
from ..data.feed import Feed
from ..data.weights import row_weights
from ..errors import DataError
from ..layers import Layer
from ..losses import Loss
from ..network.network import Network
from ..optimizers import Optimizer
from ..training.trainer import Trainer
from .building import optimizer_of
from .epochs import EpochRules
from .going_on import carry_steps, go_on, noted
from .inputs import on_gpu, rows, rows_and_targets
from .lbfgs import Objective, minimize
from .parameters import check_parameters
from .portable import Portable, pack_trainer, resume
from .splitting import rows_before_split, split_rows


class Estimator(Portable, ABC):
    """A network as a scikit-learn estimator.

    network_: the trained Network. device_: where it computes. learning_rate_: of the next step.
    """

    _several_axes = False  # whether rows may have more than one
    _numeric = False  # whether y holds numbers
    _settings: Mapping[str, Any] = {}

    # -- what the subclasses say --------------------------------------------------------------------------------

    @abstractmethod
    def _network(self, row: tuple[int, ...], dtype: Any) -> Network:
        """A new network for rows of that shape, from `self._random_state`."""

    @abstractmethod
    def _layers(self, fitted: bool) -> Layer:
        """The layers that the parameters and y ask for. fitted: of a network that has been trained already."""

    @abstractmethod
    def _settle(self, fitted: bool) -> int:
        """How many outputs y and the loss need; raises ValueError if a fitted network has others."""

    @abstractmethod
    def _take_targets(self, y: Any, first: bool, incremental: bool, classes: Any) -> None:
        """Note the labels or the columns of y; raise ValueError if y does not fit an earlier y."""

    @abstractmethod
    def _targets(self, y: Any) -> np.ndarray[Any, Any]:
        """y as the loss takes it."""

    @abstractmethod
    def _loss(self) -> Loss:
        """The loss, for the outputs there are."""

    @abstractmethod
    def _decode(self, z: Array) -> Array:
        """Predictions from the network's outputs."""

    @abstractmethod
    def _out_activation(self) -> str:
        """The function from outputs to predictions: "softmax", "logistic", "identity" or "exp"."""

    @abstractmethod
    def _score_of(self, y: Any, predicted: Any, sample_weight: Any) -> float:
        """The score of predictions on the host."""

    def _check_class_weight(self, incremental: bool) -> None:
        """Raise ValueError for class weights that can't be."""

    def _weigh(self, y: Any, weights: Any) -> Any:
        """The weights of rows to train on, with those of their classes."""
        return weights

    # -- fitting ------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None, validation_data: Any = None) -> Self:
        """Train on X (n, features) and y.

        X: NumPy, CuPy, pandas, polars, pyarrow or a SciPy sparse matrix. sample_weight: (n,), 0 or more, also of rows
        that `early_stopping` holds out. validation_data: (Xv, yv) or (Xv, yv, weights), judged after every epoch;
        `early_stopping` goes by it. Class weights are of rows trained on alone.
        Raises ValueError for parameters or data that can't be used, before anything is trained. With `warm_start` the
        network of the last fit goes on; a parameter that it can't have any more is a ValueError that names it.
        """
        return self._fit(X, y, sample_weight, validation_data=validation_data)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        validation_data: Any = None,
        incremental: bool = False,
        classes: Any = None,
    ) -> Self:
        check_parameters(self)
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: it sees no epoch's end")
        fitted = hasattr(self, "network_")
        first = not fitted or not (self.warm_start or incremental)
        X, y = rows_and_targets(self, X, y, reset=first)
        self._take_targets(y, first, incremental, classes)
        weights = row_weights(X.shape[0], sample_weight)
        self._check_class_weight(incremental)
        validation = self._validation(validation_data)
        seed = whole(self.random_state, 0)  # also of an array without axes, which scikit-learn does not take
        self._random_state = check_random_state(self.random_state if seed is None else seed)
        if validation is not None and self.solver == "lbfgs":
            raise ValueError("validation_data does not go with solver='lbfgs', which has no epochs; use solver='adam'")
        try:
            if first:
                self._start(X)
            else:
                go_on(self, self._layers(True), self._dtype_to_go_on(X))
                self.out_activation_ = self._out_activation()
            self._as_fitted = noted(self)
            self._train(X, y, weights, validation, incremental)
        except BaseException:
            if first:
                self.__dict__.pop("network_", None)  # it has learnt nothing
            raise
        return self

    def _train(self, X: Any, y: Any, weights: Any, validation: Any, incremental: bool) -> None:
        if self.solver == "lbfgs":
            self._fit_lbfgs(X, y, self._weigh(y, weights))
        else:
            self._fit_steps(X, y, weights, validation, incremental)
        finite = self.network_.backend.xp.isfinite(self.network_.flat)
        if not bool(as_numpy(finite).all()):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed: scale X, as sklearn.preprocessing.StandardScaler does, or lower learning_rate_init"
            )

    def _start(self, X: Any) -> None:
        """Make a new network, and reset all attributes that `fit` fills."""
        dtype = _float_of(X) if self._auto_dtype else np.dtype(self.dtype)
        given = self.__dict__.pop("_given", {})
        self.network_ = self._network(tuple(X.shape[1:]), dtype)
        for name, arrays in given.items():
            setattr(self, name, arrays)
        self._trainer: Any = None
        self.n_iter_ = self.t_ = 0
        self.n_outputs_ = int(math.prod(self.network_.output_shape))
        self.out_activation_ = self._out_activation()
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] | None = None
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self.best_loss_: float | None = math.inf
        self._no_improvement_count = 0

    @property
    def _auto_dtype(self) -> bool:
        return isinstance(self.dtype, str) and self.dtype == "auto"

    def _dtype_to_go_on(self, X: Any) -> Any:
        """The type that `dtype` asks for; None for that of the network, which "auto" took from the first X."""
        if not self._auto_dtype:
            return self.dtype
        was = self.__dict__.get("_as_fitted", {}).get("dtype", "auto")
        return None if isinstance(was, str) and was == "auto" else _float_of(X)

    def _fit_lbfgs(self, X: Any, y: Any, weights: Any) -> None:
        objective = Objective(self.network_, self._loss(), X, self._targets(y), weights, float(self.alpha))

        def look(value: float) -> None:
            self.loss_curve_.append(value)
            if self.verbose:
                print(f"Iteration {len(self.loss_curve_)}, loss = {value:.8f}")

        with self.network_.one_thread.during("fit"):
            self.loss_, self.n_iter_, why = minimize(
                objective, max_iter=int(self.max_iter), max_fun=int(self.max_fun), tol=float(self.tol), look=look
            )
        self.best_loss_ = self.loss_
        if why:
            warnings.warn(
                f"lbfgs ended after {self.n_iter_} iterations without having converged ({why}); raise max_iter or "
                "max_fun, or scale X",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _fit_steps(self, X: Any, y: Any, weights: Any, validation: Any, incremental: bool) -> None:
        split = None
        if self.early_stopping and validation is None:
            targets = self._targets(y)
            Feed.of(self.network_, self._loss(), X, targets)  # so that errors name the rows as they were given
            stratify = targets.reshape(-1, 1).astype(bool) if self._stratifies() else None
            X, y, weights, validation, split = split_rows(self, X, y, weights, stratify)
        weights = self._weigh(y, weights)
        trainer = self._ready_trainer(self._batch_rows(X.shape[0]), incremental)
        if validation is not None:
            self.validation_scores_ = self.validation_scores_ or []
            self.validation_loss_curve_ = self.validation_loss_curve_ or []
            if self.best_validation_score_ is None:
                self.best_validation_score_ = -math.inf
        if self.early_stopping:
            self.best_loss_ = None
        elif self.best_loss_ is None:
            self.best_loss_ = math.inf
        self.n_iter_ = 0
        score = None if validation is None else (lambda: self._score_rows(*validation))
        judged = None if validation is None else (validation[0], self._targets(validation[1]), *validation[2:])
        with rows_before_split(split):
            history = trainer.fit(
                X,
                self._targets(y),
                epochs=1 if incremental else int(self.max_iter),
                shuffle=self._order(),
                sample_weight=weights,
                validation_data=judged if judged is None or judged[2] is not None else judged[:2],
                callbacks=[EpochRules(self, X.shape[0], score), *_listed(self.callbacks)],
                verbose=False,
            )
        if not incremental:
            self._trainer = pack_trainer(trainer)  # without its batches, and the data that it keeps on a GPU
        if history.interrupted:
            warnings.warn("Training interrupted by user; what was learnt so far stays.", UserWarning, stacklevel=5)
        elif not incremental and self.n_iter_ == self.max_iter and not trainer.stop:
            warnings.warn(
                f"after max_iter={self.max_iter} epochs the loss still improved by more than tol={self.tol}; raise "
                "max_iter to let it converge",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _batch_rows(self, n: int) -> int:
        if isinstance(self.batch_size, str):
            return min(200, n)
        if self.batch_size > n:
            warnings.warn(
                f"batch_size={self.batch_size} is larger than the {n} rows, and is cut to them",
                UserWarning,
                stacklevel=6,
            )
        return min(int(self.batch_size), n)

    def _ready_trainer(self, rows: int, incremental: bool) -> Trainer:
        """The trainer of the last `partial_fit`, if there is one and nothing has changed; else a new one."""
        before = self._trainer if incremental else None
        now = dict(
            optimizer=optimizer_of(self), loss=self._loss(), alpha=float(self.alpha), clip_norm=self.clip_norm,
            learning_rate=self.learning_rate, rate=(self.learning_rate_init, self.schedule),
            random_state=self.random_state, frozen=frozenset(self.network_.frozen),
        )  # fmt: skip
        if isinstance(before, dict):
            before = self._unpacked(before, self.network_)
        stays = {name: before is not None and same(self._settings.get(name), value) for name, value in now.items()}
        if before is not None and before.network is self.network_ and all(stays.values()):
            before.batch_size = rows
            self._trainer = before
            return before
        seed = before.seed if before is not None and stays["random_state"] else self._seed()
        trainer = self._new_trainer(self.network_, now["optimizer"], rows, seed)
        if before is not None and type(before.optimizer) is type(trainer.optimizer):
            keep = stays["learning_rate"] and (stays["rate"] or self.learning_rate == "invscaling")
            carry_steps(trainer, before, keep_factor=keep)
        self._trainer, self._settings = trainer, now
        return trainer

    def _new_trainer(self, network: Network, optimizer: Optimizer, rows: int, seed: int) -> Trainer:
        return Trainer(
            network, self._loss(), optimizer,
            batch_size=rows, seed=seed, clip_norm=self.clip_norm, l2=float(self.alpha), penalty_per_weight=True,
            communicator=None,  # whoever searches among estimators gives each process its own
        )  # fmt: skip

    def _unpacked(self, packed: dict[str, Any], network: Network) -> Trainer:
        """The trainer that was packed, of a network that may have been frozen or unfrozen since."""
        frozen = network.frozen
        network.frozen = set(self._settings.get("frozen", frozen))
        try:
            trainer = self._new_trainer(network, packed["optimizer"], 1, packed["seed"])
            resume(trainer, packed)
        finally:
            network.frozen = frozen
        return trainer

    def _seed(self) -> int:
        """The seed of random layers. Without such layers nothing is drawn, as in scikit-learn."""
        return int(self._random_state.randint(2**31 - 1)) if self._draws() else 0

    def _draws(self) -> bool:
        return True

    def _order(self) -> Any:
        if not self.shuffle:
            return False
        kept: list[Any] = []

        def order(epoch: int, n: int) -> Any:
            last = kept.pop() if kept else np.arange(n)
            swaps = np.arange(n)
            self._random_state.shuffle(swaps)
            kept.append(last[swaps])
            return kept[0]

        return order

    def _score_of_checked(self, y: Any, predicted: Any, weights: Any) -> float:
        return self._score_of(y, predicted, weights)

    # -- rows for training and for validation -------------------------------------------------------------------

    def _stratifies(self) -> bool:
        return False

    def _validation(self, data: Any) -> Any:
        if data is None:
            return None
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            raise DataError("validation_data is (X, y) or (X, y, sample_weight)")
        try:
            X, y = rows_and_targets(self, data[0], data[1], reset=False)
            weights = row_weights(X.shape[0], data[2] if len(data) == 3 else None)
        except ValueError as problem:
            raise DataError(f"in validation_data, {problem}") from None
        self._known(y, "validation_data")
        return X, y, weights

    def _known(self, y: Any, where: str) -> None:
        """Raise ValueError if y has labels that are not of the classes."""

    def _score_rows(self, X: Any, y: Any, weights: Any) -> float:
        predicted = as_numpy(self._decode(self.network_.predict(X)))
        if predicted.dtype.kind == "f" and not np.isfinite(predicted).all():
            return float("nan")
        return float(self._score_of_checked(y, predicted, weights))

    # -- predicting ---------------------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self)
        return self.network_.predict(rows(self, X))

    def predict(self, X: Any) -> Any:
        """Predictions for X (n, features); a CuPy array if X is one and the network computes on the GPU."""
        return self._decode(self._outputs(X))

    def _score(self, X: Any, y: Any, sample_weight: Any) -> float:
        weights = None if sample_weight is None else as_numpy(sample_weight)
        return self._score_of(as_numpy(y) if on_gpu(y) else y, as_numpy(self.predict(X)), weights)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = self._several_axes
        return tags

    @property
    def device_(self) -> str:
        """Where the network computes: "cpu" or "cuda:0"."""
        return self.network_.device


def _float_of(X: Any) -> Any:
    return np.float32 if X.dtype == np.float32 else np.float64


def _listed(callbacks: Any) -> list[Any]:
    return list(callbacks) if isinstance(callbacks, tuple | list) else [] if callbacks is None else [callbacks]
