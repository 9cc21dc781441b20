"""The allowed values of an estimator's parameters, checked by `fit`, as scikit-learn requires."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..backends import Backend
from ..backends.select import NUMERICS
from ..config import as_call, real, whole
from ..losses import HalfMeanSquaredError, Huber, Loss, MeanAbsoluteError, Poisson, outputs_are
from ..optimizers import Optimizer
from ..schedules import Schedule
from ..training.callbacks import checked
from .building import SOLVERS

REGRESSION_LOSSES = {
    "squared_error": HalfMeanSquaredError(),
    "absolute_error": MeanAbsoluteError(),
    "huber": Huber(),
    "poisson": Poisson(),
}
# What outputs of a last Dense are not, and what to use instead.
NOT_LINEAR = {
    "probabilities": "loss='log_loss', which has softmax or σ in it",
    "log-probabilities": "loss='log_loss', which has softmax in it",
    "means": "Poisson(), which takes logarithms",
    "means and log-variances": "a gpubp.Network with two outputs for each column of y, and a gpubp.Trainer",
}


def _number(low: float, high: float = math.inf, ends: str = "[]") -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        number = math.nan if isinstance(value, bool | np.bool_) else real(value)
        above = number >= low if ends[0] == "[" else number > low
        below = number <= high if ends[1] == "]" else number < high
        return above and below

    return fits


def _flag(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _counted(value: Any) -> bool:
    return whole(value) is not None


def _names(*names: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in names


def _seedlike(value: Any) -> bool:
    seed = whole(value, least=0)
    return value is None or isinstance(value, np.random.RandomState) or (seed is not None and seed < 2**32)


def _or(kind: type | None, fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (value is None if kind is None else isinstance(value, kind)) or fits(value)


# name -> (whether a value fits, what fits in words)
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "solver": (_or(Optimizer, _names(*SOLVERS)), f"one of {', '.join(SOLVERS)}, or a gpubp Optimizer"),
    "alpha": (_number(0), "a number of 0 or more"),
    "batch_size": (_or(str, _counted), "'auto', or a whole number of rows from 1"),
    "learning_rate": (_names("constant", "invscaling", "adaptive"), "'constant', 'invscaling' or 'adaptive'"),
    "learning_rate_init": (_number(0, ends="(]"), "a number above 0"),
    "power_t": (_number(0), "a number of 0 or more"),
    "max_iter": (_counted, "a whole number from 1"),
    "shuffle": (_flag, "True or False"),
    "random_state": (_seedlike, "None, a whole number from 0 to below 2³², or a numpy.random.RandomState"),
    "tol": (_number(0), "a number of 0 or more"),
    "verbose": (_or(bool, lambda v: whole(v, least=0) is not None), "True, False, or a whole number"),
    "warm_start": (_flag, "True or False"),
    "momentum": (_number(0, 1), "a number from 0 to 1"),
    "nesterovs_momentum": (_flag, "True or False"),
    "early_stopping": (_flag, "True or False"),
    "validation_fraction": (_number(0, 1, "[)"), "a number from 0 to below 1"),
    "beta_1": (_number(0, 1, "[)"), "a number from 0 to below 1"),
    "beta_2": (_number(0, 1, "[)"), "a number from 0 to below 1"),
    "epsilon": (_number(0, ends="(]"), "a number above 0"),
    "n_iter_no_change": (lambda v: _counted(v) or v == math.inf, "a whole number from 1, or numpy.inf"),
    "max_fun": (_counted, "a whole number from 1"),
    "dropout": (_number(0, 1, "[)"), "a number from 0 to below 1"),
    "batch_norm": (_flag, "True or False"),
    "clip_norm": (_or(None, _number(0, ends="(]")), "None, or a number above 0"),
    "schedule": (_or(None, lambda v: isinstance(v, Schedule)), "None, or a gpubp Schedule, as CosineDecay(0.01, 1000)"),
    "device": (_or(Backend, lambda v: isinstance(v, str)), "'cpu', 'cuda', 'cuda:1' or 'auto'"),
    "dtype": (
        lambda v: isinstance(v, str | type | np.dtype) and v in ("auto", "float32", "float64", np.float32, np.float64),
        "'auto' (that of X), 'float32' or 'float64'",
    ),
    "numerics": (lambda v: isinstance(v, str) and v in NUMERICS, "'ordinary' or 'exact'"),
}  # fmt: skip


def store_parameters(estimator: Any, given: Mapping[str, Any]) -> None:
    """Set each argument of `__init__`, given as its `locals()`, as the attribute of its name, as scikit-learn requires.

    >>> from types import SimpleNamespace
    >>> estimator = SimpleNamespace()
    >>> store_parameters(estimator, {"self": estimator, "alpha": 0.1})
    >>> estimator
    namespace(alpha=0.1)
    """
    for name, value in given.items():
        if name != "self":
            setattr(estimator, name, value)


def check_parameters(estimator: Any) -> None:
    """Raise ValueError for the first parameter with a value that is not allowed.

    >>> from types import SimpleNamespace
    >>> check_parameters(SimpleNamespace(get_params=lambda deep: {"alpha": -1}, callbacks=None, solver="sgd"))
    Traceback (most recent call last):
    ...
    ValueError: alpha of SimpleNamespace is a number of 0 or more, and got -1
    """
    given = estimator.get_params(deep=False)
    name = type(estimator).__name__
    for parameter, value in given.items():
        fits, words = RULES.get(parameter, (None, ""))
        if fits is not None and not _fits(fits, value):
            raise ValueError(f"{parameter} of {name} is {words}, and got {value!r}")
    if isinstance(given.get("batch_size"), str) and given["batch_size"] != "auto":
        raise ValueError(
            f"batch_size of {name} is 'auto', or a whole number of rows from 1, and got {given['batch_size']!r}"
        )
    checked(() if given.get("callbacks") is None else given["callbacks"])
    if "loss" in given:
        _check_loss(given["loss"], name)
    if given.get("solver") == "lbfgs":
        for parameter, why in (
            ("dropout", "its loss would change from call to call"),
            ("schedule", "it has no learning rate"),
            ("clip_norm", "it searches along its own directions"),
            ("callbacks", "it takes no steps that they could look at"),
        ):
            if given.get(parameter):
                raise ValueError(f"{parameter} does not go with solver='lbfgs': {why}; use solver='adam'")
        if given.get("numerics") == "exact":
            raise ValueError(
                "numerics='exact' does not go with solver='lbfgs': SciPy's sums have other bits on other machines; use "
                "solver='adam'"
            )


def _fits(fits: Callable[[Any], bool], value: Any) -> bool:
    """Whether a value fits; those that can't be compared, such as arrays, do not."""
    try:
        return bool(fits(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _check_loss(loss: Any, name: str) -> None:
    names = tuple(REGRESSION_LOSSES) if "Regressor" in name else ("log_loss",)
    if not isinstance(loss, Loss) and not (isinstance(loss, str) and loss in names):
        raise ValueError(
            f"loss of {name} is one of {', '.join(names)}, or a gpubp Loss, and got {loss!r}{as_call(loss)}"
        )
    kind = outputs_are(loss) if isinstance(loss, Loss) else ""
    if kind in NOT_LINEAR:
        raise ValueError(
            f"{loss!r} takes outputs that are {kind}, and {name} ends in a Dense, whose outputs are any numbers: use "
            f"{NOT_LINEAR[kind]}"
        )
