"""Members: the networks of an ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Members:
    """The networks of an ensemble: how many were asked for, and the seed and the epochs of each that is in it."""

    wanted: int
    seeds: tuple[int, ...] = ()
    epochs: tuple[int, ...] = ()

    def fields(self) -> dict[str, Any]:
        """The field of the JSON document."""
        return {"networks": len(self.seeds), "seeds": self.seeds, "epochs": self.epochs}

    @property
    def words(self) -> str:
        """What the numbers by epoch are, as "mean of 5 networks"."""
        return f"mean of {len(self.seeds)} networks"
