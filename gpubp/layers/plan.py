"""Plan: the arrays that a layer, loss or metric needs for one input shape, with their names and shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..backends import Shape
from ..errors import ShapeError
from ..initializers import Initializer
from .results import check_shape

RESERVED: set[str] = set()  # the names that the workspace has for itself, which `base.py` adds


class Parameter(NamedTuple):
    """A parameter or a running statistic that a layer declares.

    shape; initializer: its first values; decay: whether weight decay and the L1 and L2 penalties reach it (biases
    and normalization parameters stay out). rows: of a running statistic, how many rows of a batch must have a weight
    above 0 for the batch to change it; a variance needs 2 numbers.

    >>> from gpubp.initializers import Zeros
    >>> Parameter((3,), Zeros(), decay=False).shape
    (3,)
    """

    shape: Shape
    initializer: Initializer
    decay: bool = True
    rows: int = 1


class Buffer(NamedTuple):
    """An array of another type than the network's, such as a mask.

    >>> Buffer((32, 10), "bool").dtype
    'bool'
    """

    shape: Shape
    dtype: str


@dataclass(frozen=True)
class Plan:
    """The shapes of everything that a layer needs for one input shape.

    output: shape of the result, batch first. parameters: trained. states: kept with the parameters and not trained.
    arrays: name -> shape, or Buffer, of everything else the formulas write. constants: arrays that no step changes.
    children: the plans of inner layers. pieces: (piece, wants_dx) -> further arrays, for layers that work through a
    batch piece by piece: `Backend.piece` says how many numbers a device takes at a time, and memory only backward needs
    is for workspaces that want dx. Raises ShapeError for shapes that are no tuples of whole numbers, for names that the
    workspace has for itself, see `Workspace`, and for a parameter, gradient (dW), state or constant that has the name
    of another.

    Where memory is reused, others may lie in the place of what nobody reads any more. overwrites: those of "y" and "dx"
    of which forward and backward write every number, so that they need not be zero before. reads: those of the input
    "x" and the output "y" that backward reads.

    in_turn: the parameters with which a product is made for every step of time, one after the other.

    >>> Plan(output=(32, 10), arrays={"y": (32, 10)}).numbers()
    320
    """

    output: Shape
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    states: Mapping[str, Parameter] = field(default_factory=dict)
    arrays: Mapping[str, Shape | Buffer] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    children: Sequence[Plan] = ()
    overwrites: Sequence[str] = ()
    reads: Sequence[str] = ("x", "y")
    pieces: Callable[[int, bool], Mapping[str, Shape]] | None = None
    in_turn: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_shape("the output", self.output)
        object.__setattr__(self, "output", tuple(map(int, self.output)))  # NumPy's numbers would be printed as such
        for kept in ("parameters", "states", "arrays"):
            named = getattr(self, kept)
            if any(isinstance(shape_of(of), list) for of in named.values()):
                object.__setattr__(self, kept, {name: _with_tuple(of) for name, of in named.items()})
        kinds = (self.parameters, self.states, self.all_arrays(2**19), self.constants)
        for kind, names in zip(("parameter", "state", "array", "constant"), kinds, strict=True):
            for name, of in names.items():
                _check_name(kind, name)
                _check_declared(kind, name, of)
        if wrong := [name for name in self.overwrites if name not in ("y", "dx") or name not in self.arrays]:
            raise ShapeError(f'plans to overwrite {wrong[0]!r}; only "y" and "dx" can be, declared as arrays')
        single = [*self.parameters, *self.states, *self.constants, *(f"d{name}" for name in self.parameters)]
        if twice := [name for name in single if single.count(name) > 1]:
            raise ShapeError(f"declares {twice[0]!r} twice; parameters, gradients, states and constants have one each")

    def walk(self, path: str = "") -> Iterator[tuple[str, Plan]]:
        """This plan and all plans inside, each with its path: "", "0", "0.1", ..."""
        yield path, self
        for i, child in enumerate(self.children):
            yield from child.walk(join(path, str(i)))

    def all_parameters(self) -> dict[str, Parameter]:
        """Every parameter by its full name, such as "0.W"."""
        return {join(path, name): p for path, plan in self.walk() for name, p in plan.parameters.items()}

    def all_states(self) -> dict[str, Parameter]:
        """Every running statistic by its full name."""
        return {join(path, name): p for path, plan in self.walk() for name, p in plan.states.items()}

    def all_arrays(self, piece: int, wants_dx: bool = True) -> Mapping[str, Shape | Buffer]:
        """The arrays, those of one piece included."""
        return self.arrays if self.pieces is None else {**self.arrays, **self.pieces(piece, wants_dx)}

    def output_types(self) -> Iterator[Any]:
        """The types of numbers, beside the network's, that the output may have: those of arrays of its shape."""
        return (np.dtype(a.dtype) for a in self.arrays.values() if isinstance(a, Buffer) and a.shape == self.output)

    def numbers(self, piece: int = 2**19) -> int:
        """How many numbers the arrays hold, those of the inner layers included; by default with a CPU's pieces."""
        return sum(math.prod(shape_of(a)) for _, plan in self.walk() for a in plan.all_arrays(piece).values())


def join(path: str, name: str) -> str:
    """ "0" and "W" give "0.W"."""
    return f"{path}.{name}" if path else name


def _check_name(kind: str, name: str) -> None:
    """A plan's names become attributes of the workspace, and so does a parameter's gradient."""
    if name in RESERVED or (kind == "parameter" and f"d{name}" in RESERVED):
        reserved = {*RESERVED, *(n[1:] for n in RESERVED if n[0] == "d" and kind == "parameter")}
        hint = "" if name in RESERVED else f", for the gradient ws.d{name}"
        shown = ", ".join(sorted(n for n in reserved if n[0] != "_"))
        raise ShapeError(
            f"declares the {kind} {name!r}, a name that the workspace has for itself{hint}; reserved are {shown}"
        )
    if "." in str(name) and kind in ("parameter", "state"):
        raise ShapeError(
            f"declares the {kind} {name!r}; dots are for the places of layers, as in 0.W: take another name"
        )


def _check_declared(kind: str, name: str, declared: Any) -> None:
    if kind in ("parameter", "state") and not isinstance(declared, Parameter):
        raise ShapeError(f"plans the {kind} {name!r} as {declared!r:.80}; write Parameter(shape, initializer)")
    if kind != "constant":
        check_shape(f"the {kind} {name!r}", declared.shape if kind != "array" else shape_of(declared))


def shape_of(declared: Any) -> Shape:
    """The shape of what a plan declares.

    >>> shape_of((3, 4)), shape_of(Buffer((3,), "bool"))
    ((3, 4), (3,))
    """
    shape: Shape = declared.shape if isinstance(declared, Buffer | Parameter) else declared
    return shape


def bytes_of(arrays: Mapping[str, Shape | Buffer], dtype: Any) -> int:
    """Bytes of arrays of a plan. dtype: of those that are no Buffer.

    >>> bytes_of({"y": (3, 4), "mask": Buffer((3, 4), "bool")}, "float32")
    60
    """
    kinds = (a if isinstance(a, Buffer) else Buffer(a, dtype) for a in arrays.values())
    return sum(math.prod(a.shape) * np.dtype(a.dtype).itemsize for a in kinds)


def _with_tuple(declared: Any) -> Any:
    shape: Any = shape_of(declared)
    shape = tuple(shape) if isinstance(shape, list) else shape
    return declared._replace(shape=shape) if isinstance(declared, Buffer | Parameter) else shape
