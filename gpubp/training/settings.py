"""Settings: the checked options of a trainer, besides network, loss and optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..config import Count, CountOrZero, NotNegative, Positive, keep_plain, real, whole
from ..data.row_groups import check_fraction
from ..layers.bound import BoundLayers
from ..metrics import Metric
from ..optimizers import Optimizer
from ..step.penalties import Clip, Penalty
from ..step.update import Update, UpdateSettings
from .nonfinite import CHOICES


@dataclass(frozen=True)
class Settings:
    """The settings of one trainer, as `Trainer` documents them. Raises ValueError for one that can't be.

    >>> Settings(batch_size=0)
    Traceback (most recent call last):
    ...
    ValueError: Trainer needs batch_size to be a whole number, 1 or more, or None, and got 0
    """

    batch_size: Count | None = 32
    seed: CountOrZero = 0
    clip_norm: Positive | None = None
    clip_value: Positive | None = None
    l1: NotNegative = 0.0
    l2: NotNegative = 0.0
    metrics: Sequence[str | Metric] | str = ()
    learning_rate_factors: Mapping[str, NotNegative] | None = None
    penalty_per_weight: bool = False
    workers: Count | None = None
    on_nonfinite: str | None = None
    weight_decay_factors: Mapping[str, NotNegative] | None = None
    accumulate: Count = 1
    shards: Count | None = None
    penalized: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("clip_norm", "clip_value"):
            if real(getattr(self, name)) == math.inf:  # which clips nothing
                object.__setattr__(self, name, None)
        keep_plain(self, of="Trainer")
        if self.batch_size is None and self.accumulate != 1:
            raise ValueError(
                f"batch_size=None takes all rows in one batch, so that there are no {self.accumulate} to accumulate; "
                "give batch_size the number of rows that are computed at a time"
            )
        if self.on_nonfinite is not None and self.on_nonfinite not in CHOICES:
            raise ValueError(f'on_nonfinite is "raise", "skip", "rollback" or None, and got {self.on_nonfinite!r}')

    @property
    def most_rows(self) -> int | None:
        """How many rows a step computes at a time; None for all."""
        return None if self.accumulate == 1 or self.batch_size is None else int(self.batch_size)

    def updates(self, network: BoundLayers, optimizer: Optimizer) -> Callable[[], Update]:
        """A function that makes an update of the network's parameters, of no step done."""
        settings = UpdateSettings(
            Clip(self.clip_norm, self.clip_value),
            Penalty(float(self.l1), float(self.l2), bool(self.penalty_per_weight)),
            factors=self.learning_rate_factors or {},
            decay_factors=self.weight_decay_factors or {},
            guarded=self.on_nonfinite is not None,
            latch=self.on_nonfinite in ("raise", "rollback"),
            penalized=self.penalized,
        )
        return partial(Update, network, optimizer, settings)


def check_fit(shuffle: Any, validation_fraction: Any, verbose: Any) -> None:
    """Raise ValueError, DataError for the fraction, for an argument of `fit`, data and epochs apart, that can't be.

    >>> check_fit(shuffle="no", validation_fraction=0.0, verbose=None)
    Traceback (most recent call last):
    ...
    ValueError: shuffle is True, False, or a function of (epoch, rows), and got 'no'
    """
    if not (isinstance(shuffle, bool | np.bool_) or callable(shuffle)):
        raise ValueError(f"shuffle is True, False, or a function of (epoch, rows), and got {shuffle!r}")
    if validation_fraction is not None and real(validation_fraction) != 0:
        check_fraction(validation_fraction)
    if not (verbose is None or isinstance(verbose, bool | np.bool_) or whole(verbose, least=0) is not None):
        raise ValueError(f"verbose is True, False, a whole number, or None, and got {verbose!r}")
