"""CrossValidation: what networks gave for rows of a table that they were not trained on."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_parts
from ..errors import ModelFileError

FILE = "cross_validation.npz"  # in the folder of a run
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class CrossValidation:
    """What networks gave for rows that they were not trained on.

    l2: the strength chosen, of the training on all rows. losses: (l2, mean loss on the folds) of each strength. rows:
    numbers of the rows of the data set in the folds, (m,), rising. outputs: of the network that did not see the row,
    (m, outputs). of: rows that were divided into folds. metrics: of `outputs`, as those of a test. digest: of all rows
    of the table and their targets.
    """

    l2: float
    losses: tuple[tuple[float, float], ...]
    rows: Array
    outputs: Array
    of: int
    metrics: dict[str, float]
    digest: str = ""

    @property
    def words(self) -> str:
        """What its metrics are of, as "cross-validation on 360 of 600 rows:"."""
        return f"cross-validation on {len(self.rows):,} of {self.of:,} rows:"

    def fields(self) -> dict[str, Any]:
        """The field of the JSON document."""
        losses = [{"l2": l2, "loss": loss} for l2, loss in self.losses]
        return {"rows": len(self.rows), "of": self.of, "losses": losses, "metrics": self.metrics}

    def save(self, folder: str) -> None:
        """Write it into the folder of a run. Raises OSError if that fails."""
        file = io.BytesIO()
        np.savez(
            file,
            l2=self.l2,
            losses=self.losses,
            rows=self.rows,
            outputs=self.outputs,
            of=self.of,
            metrics=list(self.metrics),
            values=list(self.metrics.values()),
            digest=self.digest,
        )
        write_parts(Path(folder) / FILE, [file.getvalue()])

    @classmethod
    def read(cls, folder: str, count: int, digest: str) -> CrossValidation | None:
        """The one in the folder of a run; None without one, and where it is of another table. Raises ModelFileError.

        count: rows of the data set. digest: of all rows of the table.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            return None
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as told:
                losses = tuple((float(l2), float(loss)) for l2, loss in told["losses"])
                metrics = dict(zip(told["metrics"].tolist(), told["values"].tolist(), strict=True))
                rows, outputs = told["rows"], told["outputs"]
                made = cls(
                    float(told["l2"]), losses, rows, outputs, int(told["of"]), metrics, str(told["digest"].item())
                )
            if made.digest != digest:
                return None
            if rows.dtype.kind != "i" or rows.ndim != 1 or outputs.dtype.kind != "f" or outputs.ndim != 2:
                raise ValueError("it has other arrays")
            if len(rows) != len(outputs) or not len(rows) or not 0 <= rows.min() <= rows.max() < count:
                raise ValueError(f"it is of other rows than these {count:,}")
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as problem:
            raise ModelFileError(f"{path} can't be read as the cross-validation of a run ({problem})") from problem
        return made
