"""Differences between two backends, and whether rounding explains them.

How much rounding explains depends on how many numbers are summed and how far they cancel, which nobody knows before. So
two backends in float32 that differ by more than the tolerance are both compared with float64:

    (1)  d = the first one's distance from float64, d' = the other's
    (2)  a fault if d' > 10 d + 32 ulp

A GPU may have coarser products, TF32 or bfloat16. Then the sign of a number near ReLU's kink differs from float32's in
every step, and d is that of a CPU with such products (`coarse.py`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

# Relative differences that rounding explains: for products of some thousand numbers about a hundred roundings.
TOLERANCES = {("float32", "float32"): 1e-5, ("float64", "float64"): 1e-12, ("float32", "float64"): 1e-4}
FURTHER = 10.0  # times as far from float64 as the first backend, at most; and beside that
ULPS = 32 * 2.0**-23  # of the largest number, which say nothing
EXACT = "cpu-float64"
# what is compared -> how, of all steps' differences, and which of a LayerDifferences
COMPARED: dict[str, tuple[Callable[[Sequence[float]], float], str]] = {
    "outputs": (max, "outputs"), "gradients": (statistics.median, "gradients"),
    "input gradients": (statistics.median, "inputs"),
}  # fmt: skip


class Difference(NamedTuple):
    """How far an array of another backend is from the first one's, in one step.

    absolute: the largest difference. relative: that over the largest absolute number of the first one's.

    >>> Difference.of(np.array([1.0, -4.0]), np.array([1.0, -4.5]))
    Difference(absolute=0.5, relative=0.125)
    """

    absolute: float
    relative: float

    @classmethod
    def of(cls, first: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> Difference:
        """The difference of two arrays of one shape; equal numbers that are not finite have no distance."""
        a, b = np.asarray(first, np.float64), np.asarray(other, np.float64)
        with np.errstate(invalid="ignore"):
            apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        absolute = float(apart.max(initial=0.0))
        if math.isnan(absolute):
            absolute = math.inf
        scale = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
        return cls(absolute, absolute / scale if scale else (0.0 if absolute == 0 else math.inf))


@dataclass(frozen=True)
class LayerDifferences:
    """One layer on another backend: a Difference for every step.

    name: where it stands. layer: what it is. outputs: of its output. inputs: of the gradient that it hands down.
    gradients: of all its parameters' gradients. parameters: of its parameters after the step.
    What a layer does not have is empty.
    """

    name: str
    layer: str
    outputs: tuple[Difference, ...]
    inputs: tuple[Difference, ...]
    gradients: tuple[Difference, ...]
    parameters: tuple[Difference, ...]


class Rounding(NamedTuple):
    """How far two backends in float32 are from float64, where they differ by more than the tolerance.

    layer, what: where. first, other: those of the first backend, or of a CPU with products like the other's, and of the
    other; relative differences from float64, in the largest or in the median step.

    >>> Rounding("0", "outputs", 2e-5, 3e-5).explains, Rounding("0", "outputs", 2e-7, 1e-3).explains
    (True, False)
    """

    layer: str
    what: str
    first: float
    other: float

    @property
    def explains(self) -> bool:
        """(2): whether the other is not clearly further off."""
        return math.isfinite(self.first) and self.other <= FURTHER * self.first + ULPS


@dataclass(frozen=True)
class OtherBackend:
    """A backend against the first one.

    name: as it was asked for. tolerance: on relative differences, by the two types of numbers. layers: lowest first.
    same_batches, same_masks: whether inputs, targets and row weights, and all random draws, have the same bits (inputs
    in the narrower of the two types). losses: of its own free run. drift: of all parameters after each step of the free
    runs. rounding: what float64 says of differences beyond the tolerance, if both are in float32.
    """

    name: str
    tolerance: float
    layers: tuple[LayerDifferences, ...]
    same_batches: bool
    same_masks: bool
    losses: tuple[float, ...]
    drift: tuple[Difference, ...]
    rounding: tuple[Rounding, ...] = ()

    @property
    def faults(self) -> list[str]:
        """Differences that rounding does not explain, one sentence each."""
        found = [] if self.same_batches else ["batches differ"]
        found += [] if self.same_masks else ["random draws differ"]
        explained = {(r.layer, r.what): r.explains for r in self.rounding}
        seen = {(r.layer, r.what): f" ({r.first:.1e} and {r.other:.1e} from float64)" for r in self.rounding}
        for layer, what, text in self.excesses():
            if not explained.get((layer, what), False):
                found.append(text + seen.get((layer, what), ""))
        return found

    def excesses(self) -> Iterator[tuple[str, str, str]]:
        """(layer, what, a sentence) of all differences beyond the tolerance."""
        for layer in self.layers:
            for what, (pick, attribute) in COMPARED.items():
                differences = [d.relative for d in getattr(layer, attribute)]
                if differences and not (found := pick(differences)) <= self.tolerance:
                    step = f"step {differences.index(found) + 1}" if pick is max else "the median step"
                    yield layer.name, what, f'{what} of "{layer.name}", {layer.layer}, differ by {found:.1e} in {step}'
