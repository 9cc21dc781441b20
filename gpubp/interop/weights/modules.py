"""Modules: the layers of another library, each with its tensors, and what a library says of how its tensors lie."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...backends import Shape
from ...errors import ModelFileError
from ...layers.bound import BoundLayers
from .places import Place

HostArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Tensor:
    """An array of another library that has not been read yet.

    name: as the other library calls it. shape. read: gives the numbers.

    >>> Tensor("fc.bias", (2,), lambda: np.zeros(2)).shape
    (2,)
    """

    name: str
    shape: Shape
    read: Callable[[], HostArray]


@dataclass(frozen=True)
class Module:
    """A layer of another library.

    path: its name, or the layer here that `rename` gave it. tensors: by what they are to it, such as "weight". kind: of
    `places.py`, "" where the file does not say. named: whether `rename` gave the path. series: modules of one series
    stand in their order; "" where all do. facts: what the file says of it besides, such as its epsilon. refused: why it
    can't be taken at all.

    >>> Module("fc", {"bias": Tensor("fc.bias", (2,), lambda: np.zeros(2))}).names
    ('fc.bias',)
    """

    path: str
    tensors: Mapping[str, Tensor]
    kind: str = ""
    named: bool = False
    series: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its tensors."""
        return tuple(tensor.name for tensor in self.tensors.values())

    @property
    def title(self) -> str:
        """As messages call it."""
        shown = ", ".join(f"{t.name} {t.shape}" for t in self.tensors.values())
        return f"{self.path} ({shown})" if self.path else shown


class Need(NamedTuple):
    """What a layer here needs of a module's tensor: one of these shapes. maybe: whether the layer does without it.

    >>> Need(((3, 4),)).maybe
    False
    """

    shapes: tuple[Shape, ...]
    maybe: bool = False


Needs = Mapping[str, Need]


class Misfit(NamedTuple):
    """Why a module does not fit a layer. other_kind: whether it is another kind of layer, and not only of other size.

    >>> Misfit("fc.weight has the shape (2, 3)", False).other_kind
    False
    """

    why: str
    other_kind: bool


class Converted(NamedTuple):
    """Arrays for a layer by their names in it, and what the user should know of how they were made.

    >>> Converted({"b": np.zeros(2)}).notes
    ()
    """

    arrays: Mapping[str, HostArray]
    notes: tuple[str, ...] = ()


class Dialect(ABC):
    """How a library names its tensors and lets them lie. library: its name."""

    library: str

    @abstractmethod
    def needs(self, place: Place) -> Sequence[Needs]:
        """The sets of tensors of which a layer can be made, one of which a module must have."""

    @abstractmethod
    def convert(self, place: Place, given: Mapping[str, HostArray], facts: Mapping[str, Any]) -> Converted:
        """The arrays of a layer, from those of a module that fits."""

    def paths(self, place: Place) -> tuple[str, ...]:
        """The names that a module with this layer's weights has where the other library names layers as gpubp does."""
        return (place.path,)

    def notes(self, net: BoundLayers) -> list[str]:
        """What the user should know of the whole network."""
        return []

    def is_clear(self, place: Place) -> bool:
        """Whether the order of a layer's features in this library is known."""
        return not place.unclear

    def fits(self, module: Module, place: Place, needs: Sequence[Needs]) -> bool:
        """Whether a module fits a layer with these needs: quicker than `misfit`, which says why not."""
        if module.refused or module.kind not in ("", place.kind) or not self.is_clear(place):
            return False
        return not needs or any(
            all(role in of and tensor.shape in of[role].shapes for role, tensor in module.tensors.items())
            and all(need.maybe or role in module.tensors for role, need in of.items())
            for of in needs
        )

    def misfit(self, module: Module, place: Place) -> Misfit | None:
        """Why a module does not fit a layer; None if it does."""
        if module.refused:
            return Misfit(module.refused, True)
        if module.kind not in ("", place.kind):
            return Misfit(f"{module.title} belongs to {module.kind}, and layer {place.title} does not", True)
        if not self.is_clear(place):
            return Misfit(f"layer {place.title}: {place.unclear}", False)
        found = [_misfit(module, place, needs) for needs in self.needs(place)]
        return None if not found or None in found else min((f for f in found if f), key=lambda f: f.other_kind)


def _misfit(module: Module, place: Place, needs: Needs) -> Misfit | None:
    missing = [role for role, need in needs.items() if not need.maybe and role not in module.tensors]
    more = [module.tensors[role].name for role in module.tensors if role not in needs]
    if missing:
        return Misfit(f"layer {place.title} needs {' and '.join(missing)}, and {module.title} is all there is", True)
    if more:
        return Misfit(f"layer {place.title} has nothing for {' and '.join(more)}", True)
    for role, tensor in module.tensors.items():
        shapes = needs[role].shapes
        if tensor.shape not in shapes:
            other = all(len(tensor.shape) != len(shape) for shape in shapes)
            wanted = " or ".join(map(str, shapes))
            return Misfit(f"{tensor.name} has the shape {tensor.shape}, and layer {place.title} needs {wanted}", other)
    return None


def summed(first: HostArray, second: HostArray | None) -> HostArray:
    """first + second; where `second` is 0 the very bits of `first`, which a sum of -0.0 and 0.0 would not be.

    >>> summed(np.array([-0.0, 1.0]), np.array([0.0, 2.0])).tolist()
    [-0.0, 3.0]
    """
    if second is None:
        return first
    return np.where(second == 0, first, first + second)


def through(values: HostArray, W: HostArray, b: HostArray) -> HostArray:
    """b + values W, each number rounded once, so that it is the same on every machine: (n,), (n, m) and (m,) give (m,).

    >>> through(np.array([2.0]), np.array([[3.0]]), np.array([1.0])).tolist()
    [7.0]
    """
    if not values.any():
        return b
    columns = W.T.astype(np.float64) * values.astype(np.float64)
    return np.array([math.fsum([one, *column]) for one, column in zip(b.tolist(), columns.tolist(), strict=True)])


def as_floats(name: str, values: HostArray, dtype: Any) -> HostArray:
    """The numbers in the network's type, in C order; ModelFileError where they are not finite in it.

    >>> as_floats("fc.bias", np.array([1, 2]), "float32").dtype
    dtype('float32')
    """
    with np.errstate(over="ignore"):
        made = np.array(values, dtype=dtype, order="C")
    if not np.isfinite(made).all():
        flat = np.isfinite(made).reshape(-1)
        where = int(flat.argmin())
        was = np.asarray(values).reshape(-1)[where]
        raise ModelFileError(f"{name} would hold {was}, which is not finite in {np.dtype(dtype)}, as number {where}")
    return made
