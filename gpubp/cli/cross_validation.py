"""CrossValidation: what networks gave for rows of a table that they were not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CrossValidation:
    """What networks gave for rows that they were not trained on.

    l2: the strength chosen, of the training on all rows. losses: (l2, mean loss on the folds) of each strength. rows:
    numbers of the rows of the data set in the folds, (m,), rising. outputs: of the network that did not see the row,
    (m, outputs). of: rows that were divided into folds. metrics: of `outputs`, as those of a test.
    """

    l2: float
    losses: tuple[tuple[float, float], ...]
    rows: Array
    outputs: Array
    of: int
    metrics: dict[str, float]

    @property
    def words(self) -> str:
        """What its metrics are of, as "cross-validation on 360 of 600 rows:"."""
        return f"cross-validation on {len(self.rows):,} of {self.of:,} rows:"

    def fields(self) -> dict[str, Any]:
        """The field of the JSON document."""
        losses = [{"l2": l2, "loss": loss} for l2, loss in self.losses]
        return {"rows": len(self.rows), "of": self.of, "losses": losses, "metrics": self.metrics}
