"""ReportContent: the arguments of `write_report` as one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from ..analysis.diagnostics import GradientFlow
from ..backends import Shape
from ..training.trainer import Trainer
from .judgement import Guess
from .words import LossNote


@dataclass(frozen=True)
class FoundRows:
    """Rows as their user knows them.

    places: what says where each is, as "line 17". columns, values: as they stand there; empty if X itself is shown.

    >>> FoundRows(["line 17"], ["town"], [["Oslo"]]).places
    ['line 17']
    """

    places: Sequence[str]
    columns: Sequence[str] = ()
    values: Sequence[Sequence[str]] = ()


class ReportOptions(TypedDict, total=False):
    """The keywords of `write_report`, each of which may be left out."""

    rows: str
    evaluation: Mapping[str, float] | None
    class_names: Sequence[Any] | None
    feature_names: Sequence[Any] | None
    data: Mapping[str, tuple[Any, Any]] | None
    columns: Sequence[Mapping[str, Any]]
    units: tuple[float, float]
    flow: GradientFlow | None
    seconds: float | None
    steps: int | None
    title: str
    command: str
    notes: Sequence[str]
    image_shape: Shape | None
    guess: Guess | None
    loss_note: LossNote
    look_up: Callable[[Any], FoundRows] | None
    telling: Sequence[tuple[str, str, float, int]]


@dataclass(frozen=True)
class ReportContent:
    """A trainer, the rows (X, y) that it is evaluated on, and the keywords of `write_report` with their defaults.

    >>> import gpubp as bp
    >>> trainer = bp.Trainer(bp.Network(bp.Dense(1), 2, device="cpu"), bp.MeanSquaredError(), bp.SGD())
    >>> list(ReportContent(trainer, [[0, 1]], [1], rows="test rows").parts)
    ['test rows']
    """

    trainer: Trainer
    X: Any
    y: Any
    rows: str = "rows"
    evaluation: Mapping[str, float] | None = None
    class_names: Sequence[Any] | None = None
    feature_names: Sequence[Any] | None = None
    data: Mapping[str, tuple[Any, Any]] | None = None
    columns: Sequence[Mapping[str, Any]] = ()
    units: tuple[float, float] = (0.0, 1.0)
    flow: GradientFlow | None = None
    seconds: float | None = None
    steps: int | None = None
    title: str = ""
    command: str = ""
    notes: Sequence[str] = ()
    image_shape: Shape | None = None
    guess: Guess | None = None
    loss_note: LossNote = LossNote()
    look_up: Callable[[Any], FoundRows] | None = None
    telling: Sequence[tuple[str, str, float, int]] = ()

    @property
    def parts(self) -> Mapping[str, tuple[Any, Any]]:
        """Each part of the data, (X, y) by its name, the one trained with first."""
        return self.data or {self.rows: (self.X, self.y)}
