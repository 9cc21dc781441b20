"""TableTarget: the column to predict, as a loss takes it.

(1)  t = (y - μ) / σ      numbers, in their own units y and as they are learnt; back: y = μ + σ z
(2)  t = k                the number of the class, where y is the k-th
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import Configurable
from . import values
from .columns.base import check_note, check_written, refuse
from .dates import DateFormat, DurationFormat
from .formats import NumberFormat
from .table import CellError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, repr=False)
class TableTarget(Configurable):
    """The column to predict.

    kind: "numbers" or "classes". mean, scale: of numbers, (1). classes: the classes in the order of the outputs, whole
    numbers or texts. written: how numbers are written in text. any_case: whether classes are the same in upper and
    lower case. note: what else the target could be.

    >>> import pyarrow
    >>> TableTarget("fruit", "classes", classes=("apple", "pear")).read(pyarrow.array(["pear", "apple"])).tolist()
    [1, 0]
    """

    name: str
    kind: str
    mean: float = 0.0
    scale: float = 1.0
    classes: tuple[Any, ...] = ()
    written: NumberFormat | DurationFormat | DateFormat = NumberFormat()
    any_case: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"a target has a name, and got {self.name!r}")
        for value in (self.mean, self.scale):
            if not isinstance(value, int | float) or not math.isfinite(value) or not self.scale > 0:
                raise ValueError(f"the target has the mean {self.mean!r} and the scale {self.scale!r}")
        if not isinstance(self.classes, tuple):
            raise ValueError(f"classes are a list, and got {self.classes!r:.100}")
        check_written(self, NumberFormat, DurationFormat, DateFormat)
        check_note(self)
        if not isinstance(self.any_case, bool):
            raise ValueError(f"any_case is true or false, and got {self.any_case!r:.100}")
        kinds = {type(c) for c in self.classes}
        if self.kind not in ("numbers", "classes") or (self.kind == "classes") != bool(self.classes):
            raise ValueError(f"the target is numbers, or classes with their names, and got {self.kind!r}")
        if self.classes and (kinds not in ({int}, {str}) or len(set(self.classes)) != len(self.classes)):
            raise ValueError(f"classes are different texts or different whole numbers, and got {self.classes!r:.100}")

    @property
    def outputs(self) -> int:
        """How many outputs a network needs: one, or one for each class."""
        return max(1, len(self.classes))

    def read(self, array: Any, first: int = 0, missing: bool = False) -> Array:
        """(1) in float64, or (2) in int64, of an Arrow array whose first row is number `first`.

        Raises CellError where nothing stands, or no number, or no class that is known. missing: nothing is no error but
        NaN, or -1.
        """
        text = values.texts(array)
        nothing = np.asarray(text.is_null().to_numpy(zero_copy_only=False), bool)
        if not missing:
            self._refuse(nothing, text, first, "has no value")
        if self.kind == "numbers":
            found = self.written.read(array)
            refuse(self.name, found.bad, text, first, self.written.wrong)
            y: Array = (found.values - self.mean) / self.scale  # (1)
            return y
        import pyarrow
        from pyarrow import compute

        classes = [str(c) for c in self.classes]
        if self.any_case:
            text, classes = compute.utf8_lower(text), [c.lower() for c in classes]
        at = compute.index_in(text, value_set=pyarrow.array(classes))  # (2)
        unknown = np.asarray(at.is_null().to_numpy(zero_copy_only=False), bool) & ~nothing
        known = ", ".join(map(str, self.classes[:6])) + (", ..." if len(self.classes) > 6 else "")
        self._refuse(unknown, text, first, f"holds {{}}, and the classes are {known}")
        return np.asarray(at.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)

    def answers(self, z: Array) -> Array:
        """Decode outputs z (n, outputs) to (n,): y = μ + σ z in their type, or the class of the largest.

        >>> TableTarget("price", "numbers", mean=200.0, scale=50.0).answers(np.array([[0.0], [1.0]])).tolist()
        [200.0, 250.0]
        """
        if self.kind == "classes":
            best: Array = np.asarray(self.classes)[z.argmax(axis=-1)]
            return best
        with np.errstate(over="ignore"):  # what no float32 holds is infinite
            y: Array = (self.mean + self.scale * z.reshape(-1).astype(np.float64)).astype(z.dtype)
        return y

    def _refuse(self, bad: Array, text: Any, first: int, why: str) -> None:
        if bad.any():
            at = int(bad.argmax())
            raise CellError(first + at, self.name, why.replace("{}", repr(values.shown(text, at)), 1))
