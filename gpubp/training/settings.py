"""Settings: the checked options of a trainer, besides network, loss and optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..config import real, whole
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
    ValueError: batch_size is a whole number of rows, 1 or more, or None for all rows; got 0
    """

    batch_size: int | None = 32
    seed: int = 0
    clip_norm: float | None = None
    clip_value: float | None = None
    l1: float = 0.0
    l2: float = 0.0
    metrics: Sequence[str | Metric] | str = ()
    learning_rate_factors: Mapping[str, float] | None = None
    penalty_per_weight: bool = False
    workers: int | None = None
    on_nonfinite: str | None = None
    weight_decay_factors: Mapping[str, float] | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.batch_size is not None and whole(self.batch_size) is None:
            raise ValueError(
                f"batch_size is a whole number of rows, 1 or more, or None for all rows; got {self.batch_size!r}"
            )
        for name, limit in (("clip_norm", self.clip_norm), ("clip_value", self.clip_value)):
            if limit is not None and not real(limit) > 0:
                raise ValueError(f"{name} must be above 0, or None, and is {limit!r}")
        for name, strength in (("l1", self.l1), ("l2", self.l2)):
            if not real(strength) >= 0:
                raise ValueError(f"{name} must be 0 or more and is {strength!r}")
        if whole(self.seed, least=0) is None:
            raise ValueError(f"a seed is a whole number, 0 or more, and got {self.seed!r}")
        if self.workers is not None and whole(self.workers) is None:
            raise ValueError(f"workers is a whole number, 1 or more, or None, and got {self.workers!r}")
        if whole(self.accumulate) is None:
            raise ValueError(f"accumulate is a whole number of batches, 1 or more, and got {self.accumulate!r}")
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
            factors=_copied(self.learning_rate_factors),
            decay_factors=_copied(self.weight_decay_factors),
            guarded=self.on_nonfinite is not None,
            latch=self.on_nonfinite in ("raise", "rollback"),
        )
        return partial(Update, network, optimizer, settings)


def _copied(factors: Any) -> Any:
    return dict(factors) if isinstance(factors, Mapping) else factors or {}
