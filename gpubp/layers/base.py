"""Layer (the formulas), Plan (the arrays that they need) and Workspace (these arrays).

A layer is a formula and its hyper-parameters. It holds no array: `plan` says which arrays the formula needs for
one input shape, and `forward` and `backward` find them in the workspace `ws` that they are given. So one layer
can be used by several threads at once, a network's memory is known before its first step, and the addresses that a
recorded step needs never change.

    class Scale(Layer):                              # y = a x
        def plan(self, x):
            return Plan(output=x, parameters={"a": Parameter(x[1:], Constant(1.0))},
                        arrays={"y": x, "product": x, "dx": x})

        def forward(self, ws, x):
            ws.x = x                                 # da will need it
            return ws.xp.multiply(x, ws.a, out=ws.y)         # (1)  y = a x

        def backward(self, ws, dy):
            ws.xp.multiply(dy, ws.x, out=ws.product)
            ws.xp.sum(ws.product, axis=0, out=ws.da)         # (2)  da = Σ_B dy x
            return ws.xp.multiply(dy, ws.a, out=ws.dx)       # (3)  dx = dy a

The rules: write the workspace, read the arguments, assign the gradients, and leave y as forward made it. `backward` may
be written as two methods instead, `parameter_gradients` with (2) and `input_gradient` with (3); then each runs only
where its results are used.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..backends import Array, Backend, Shape, may_share
from ..backends.process import OfOneProcess
from ..config import Configurable
from ..errors import ResultError, ShapeError
from ..initializers import Initializer
from .context import Context
from .results import check_shape, noted, returned


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

    def __post_init__(self) -> None:
        check_shape("the output", self.output)
        object.__setattr__(self, "output", tuple(map(int, self.output)))  # NumPy's numbers would be printed as such
        declared = (self.parameters, self.states, self.all_arrays(2**19), self.constants)
        for kind, names in zip(("parameter", "state", "array", "constant"), declared, strict=True):
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

    def numbers(self, piece: int = 2**19) -> int:
        """How many numbers the arrays hold, those of the inner layers included; by default with a CPU's pieces."""
        return sum(math.prod(_shape(a)) for _, plan in self.walk() for a in plan.all_arrays(piece).values())


def join(path: str, name: str) -> str:
    """ "0" and "W" give "0.W"."""
    return f"{path}.{name}" if path else name


Look = Callable[["Layer", Any, str, "int | None"], None]


class Layer(Configurable, ABC):
    """A formula with its derivative and its hyper-parameters: see the module's text for how to write one.

    Compositions, which are layers made of layers, give these as `children`; they call them by
    `ws.children[i].run_forward(x)` and `run_backward(dy)`, which check what they return.
    draws: names of the arrays that hold random draws, which have the same bits on every device.

    >>> import gpubp as bp
    >>> bp.ReLU().plan((32, 10)).output
    (32, 10)
    """

    draws: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def plan(self, x: Shape) -> Plan:
        """What the layer needs for inputs of shape `x`, batch first. Raises ShapeError if it can't work on them."""

    def check_data(self, X: Any, name: str = "X") -> None:
        """Raise DataError if the numbers of X can't be this layer's input; called before any step, for layers that
        `follow_inputs` reaches."""

    def follow_inputs(self, X: Any, look: Look, path: str = "", training: bool = False) -> Any:
        """Follow the network's inputs up to the layers that read them.

        Calls look(layer, X, path, column) of every layer here whose input is X, or the numbers of X in other places;
        column: the only one that it reads, or None. Returns the output if that is made of X's numbers too, and None
        where this layer computes, which most do.
        """
        look(self, X, path, None)
        return None

    @abstractmethod
    def forward(self, ws: Workspace, x: Array) -> Array:
        """The output, written into an array of `ws`. Must not change `x`."""

    def backward(self, ws: Workspace, dy: Array) -> Array | None:
        """From dy = ∂L/∂y: assigns ∂L/∂W to `ws.dW` for each parameter, returns ∂L/∂x. Must not change x, y and `dy`.

        A layer has this method, or the two below, of which this one then calls those whose results are used. Where
        `ws.wants_dx` is false ∂L/∂x is not used, and None may be returned for it; where `ws.trainable` is false the
        parameters' gradients are not.
        """
        if ws.trainable:
            self.parameter_gradients(ws, dy)
        return self.input_gradient(ws, dy) if ws.wants_dx else None

    def parameter_gradients(self, ws: Workspace, dy: Array) -> None:
        """The first half of `backward`: assigns ∂L/∂W to `ws.dW` for each parameter."""
        raise NotImplementedError(f"{type(self).__name__} has no backward(ws, dy) or parameter_gradients(ws, dy)")

    def input_gradient(self, ws: Workspace, dy: Array) -> Array | None:
        """The second half of `backward`: ∂L/∂x."""
        raise NotImplementedError

    @property
    def children(self) -> tuple[Layer, ...]:
        """The inner layers of a composition."""
        return ()

    def walk(self, path: str = "") -> Iterator[tuple[str, Layer]]:
        """(path, layer) of this layer and of all inside, in the order of `Plan.walk`."""
        yield path, self
        for i, child in enumerate(self.children):
            yield from child.walk(f"{path}.{i}" if path else str(i))

    def wanted_by_children(self, wants_dx: bool, trainable: Sequence[bool]) -> list[bool]:
        """For each child, whether its dx is used, given whether this layer's is and which children are trained."""
        return [wants_dx] * len(trainable)


class Workspace(OfOneProcess):
    """Every array that one layer needs for one batch shape, by name.

    be, xp: the backend and its array module. training: whether this is a training step. wants_dx, trainable: see
    Layer.backward. context: what the whole step shares. path: where the layer stands, as "1.0.2". children: the
    workspaces of inner layers. x: the input, where a layer has kept it for backward. output: of a layer in a chain.
    word_count: the check of an Embedding's computed numbers, None for all other layers.

    Parameters, states, arrays and constants of the plan are attributes, `ws.W`; a parameter's gradient is `ws.dW`.
    Arrays are made when a formula first touches them, so a workspace that only predicts has no backward arrays.
    The names of the attributes and methods here are reserved: a plan that declares one is refused.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(2), input_shape=(3,), device="cpu")
    >>> net.workspace(rows=4).y.shape
    (4, 2)
    """

    be: Backend
    xp: Any
    context: Context
    dtype: np.dtype[Any]
    path: str
    training: bool
    wants_dx: bool
    trainable: bool
    children: list[Workspace]
    x: Array
    output: Array
    word_count: Any = None
    _plan: Plan
    _layer: Any
    _reused: int  # places, so far
    _bound: dict[str, Array]  # parameters, states and collected gradients
    _input_shape: Shape

    def __init__(
        self, plan: Plan, layer: Any, context: Context, path: str, training: bool, wants_dx: bool, trainable: bool
    ) -> None:
        self.be, self.xp = context.backend, context.backend.xp
        self.context, self.dtype, self.path = context, context.dtype, path
        self.training, self.wants_dx, self.trainable = training, wants_dx, trainable
        self.children = []
        self._plan, self._layer, self._reused, self._bound = plan, layer, 0, {}

    def bind_array(self, name: str, array: Array) -> None:
        """Use this shared array as ws.name from now on."""
        self._bound[name] = self.__dict__[name] = array

    def run_forward(self, x: Array) -> Array:
        """The layer's output for x, checked; compositions call it for each of their layers."""
        self._input_shape = x.shape
        return self.run_method("forward", self._plan.output, x)

    def run_backward(self, dy: Array) -> Array | None:
        """The layer's dx for dy, checked where it is wanted: without it the layers below would never learn."""
        hint = " Layers below it learn from dx; a layer without a derivative by x must stand lowest"
        return self.run_method("backward", self._input_shape if self.wants_dx else None, dy, hint=hint)

    def run_method(self, method: str, shape: Shape | None, *arguments: Any, hint: str = "") -> Any:
        """What a method of the layer, loss or metric returns; an array of that shape, or anything where it is None.

        Raises ResultError or ShapeError, which name the method, if it returns anything else. hint: added for None.
        """
        of = self._layer
        layer = f' (layer "{self.path}")' if isinstance(of, Layer) and self.path else ""
        where = f"{type(of).__name__}.{method}{layer}"
        with noted(of, where):
            given = getattr(of, method)(self, *arguments)
        for name, array in self._bound.items():
            if self.__dict__.get(name) is not array:
                raise ResultError(
                    f"{where} puts another array in the place of ws.{name}, which the optimizer would not see; write "
                    f"into it, by out=ws.{name} or ws.xp.copyto(ws.{name}, a)"
                )
        if shape is None:
            return given
        return returned(where, given, shape, (self.be, self.dtype), hint)

    def over_workers(self, a: Array) -> Array:
        """Σ of `a` over all workers that share the batch, for what a formula sums over rows; with one, `a` itself.
        `a` must not be written again in the same pass."""
        return a if self.context.member is None else self.context.member.sum(a)

    def reuse_memory(self, i: int, name: str, near: Array) -> None:
        """Let y or dx of child i, of a chain, lie where values are no longer needed: of those that only go from one
        layer to the next, two are needed at a time. near: what the child reads, from another place."""
        child, plans = self.children[i], self._plan.children
        declared = plans[i].arrays.get(name)
        if not self._may_reuse(i, name) or name in child.__dict__ or declared is None or isinstance(declared, Buffer):
            return
        room = max(math.prod(_shape(p.arrays[n])) for p in plans for n in p.overwrites)
        for k in range(self._reused, self._reused + self.be.places):
            place = self.be.scratch(f"{self.path} place {k % self.be.places}", (room,), self.dtype)
            if not may_share(place, near):
                setattr(child, name, place[: math.prod(declared)].reshape(declared))
                self._reused = k + 1
                return

    def _may_reuse(self, i: int, name: str) -> bool:
        child, plans = self.children[i], self._plan.children
        if not (self.context.reuses and self.be.reuses_memory and child.training and name in plans[i].overwrites):
            return False
        if name == "dx":
            return child.wants_dx
        return i + 1 < len(plans) and "y" not in plans[i].reads and "x" not in plans[i + 1].reads

    def walk(self) -> Iterator[Workspace]:
        """This workspace and all inside."""
        yield self
        for child in self.children:
            yield from child.walk()

    if TYPE_CHECKING:  # a formula may keep anything it likes

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        plan: Plan = self.__dict__["_plan"]
        arrays = plan.arrays if name in plan.arrays else plan.all_arrays(self.be.piece, self.wants_dx)
        if name in arrays:
            declared = arrays[name]
            shape, dtype = declared if isinstance(declared, Buffer) else (declared, self.dtype)
        elif name[:1] == "d" and name[1:] in plan.parameters:  # a gradient that nobody collects
            shape, dtype = plan.parameters[name[1:]].shape, self.dtype
        elif name in plan.constants:
            self.__dict__[name] = constant = self.be.to_device(plan.constants[name])
            return constant
        else:
            known = ", ".join([*plan.parameters, *plan.states, *arrays, *plan.constants]) or "none"
            raise AttributeError(
                f'{self._layer!r} at "{self.path}" uses ws.{name}, and its plan does not declare it (it has {known})'
            )
        array = self.be.zeros(shape, dtype)
        self.__dict__[name] = array
        return array


RESERVED = frozenset({*dir(Workspace), *Workspace.__annotations__})


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
        check_shape(f"the {kind} {name!r}", declared.shape if kind != "array" else _shape(declared))


def _shape(declared: Shape | Buffer) -> Shape:
    return declared.shape if isinstance(declared, Buffer) else declared
