"""Layer (the formulas) and Workspace (the arrays that they need, which a Plan says).

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..backends import Array, Backend, Shape, may_share
from ..backends.process import OfOneProcess
from ..config import Configurable
from ..errors import ResultError
from .context import Context
from .plan import RESERVED, Buffer, Plan, shape_of
from .results import noted, returned

Look = Callable[["Layer", Any, str, "int | None"], None]


class Layer(Configurable, ABC):
    """A formula with its derivative and its hyper-parameters: see the module's text for how to write one.

    Compositions, which are layers made of layers, give these as `children`; they call them by
    `ws.children[i].run_forward(x)` and `run_backward(dy)`, which check what they return. One whose layers follow each
    other must override `wanted_by_children`, as `Sequential` does: a layer's dx is used where a layer below is trained.
    draws: names of the arrays that hold random draws, which have the same bits on every device. exact: whether all that
    the class computes, by `ws.xp` and `ws.be` alone, has the same bits on every machine in exact numerics; activations
    that are formulas need not say so. exact_workers: whether in exact numerics several workers give the bits of one, as
    they do where every sum over the batch's rows is one of `gemm_over_rows`, `sum_rows` and their like, whose first
    axis is the batch's alone; not where other axes are folded into that.

    >>> import gpubp as bp
    >>> bp.ReLU().plan((32, 10)).output
    (32, 10)
    """

    draws: ClassVar[tuple[str, ...]] = ()
    exact: ClassVar[bool] = False
    exact_workers: ClassVar[bool] = True

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

    @property
    def over_time(self) -> str:
        """What the layer does with the time steps of inputs (B, T, ...), of which some rows have fewer.

        See `layers/time_steps.py`. A layer sets it as a plain attribute, `over_time = "keeps"`.


        "each": every step is computed by itself. "keeps": steps are mixed, by `ws.mask`, and stay T. "ends": one result
        for all steps, by `ws.mask`. "mixes", unless a class says otherwise: steps are mixed as if none were padding.
        """
        return "mixes"

    def masks_of_children(self, ws: Workspace) -> Sequence[Array | None]:
        """For each child, its `ws.mask`: this layer's, or an array of `ws` that this layer's forward writes."""
        return [ws.mask] * len(self.children)


class Workspace(OfOneProcess):
    """Every array that one layer needs for one batch shape, by name.

    be, xp: the backend and its array module. training: whether this is a training step. wants_dx, trainable: see
    Layer.backward. frozen: whether the layer's own parameters stay as they are, or where it has none, its running
    statistics. context: what the whole step shares. path: where the layer stands, as "1.0.2". children: the
    workspaces of inner layers. x: the input, where a layer has kept it for backward. output: of a layer in a chain.
    mask: (B, T), 1 where a row has a time step and 0 at its padding; None where all rows are as long as the input.
    judged: for losses and metrics, the positions that count, see `losses.positions.Positions`; None where all do.
    leaves_out: for metrics, whether the loss leaves out outputs, or counts rows unequally.
    outputs_are: for metrics, what outputs are to the loss, see `losses.outputs`.
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
    frozen: bool
    children: list[Workspace]
    x: Array
    output: Array
    mask: Array | None = None
    judged: Any = None
    leaves_out: bool = False
    outputs_are: str = ""
    word_count: Any = None
    _plan: Plan
    _layer: Any
    _reused: int  # places, so far
    _room: int  # numbers of the largest array that lies in one
    _bound: dict[str, Array]  # parameters, states and collected gradients
    _input_shape: Shape | None = None  # if the composition calls its layers' forward itself

    def __init__(
        self, plan: Plan, layer: Any, context: Context, path: str, training: bool, wants_dx: bool, trainable: bool
    ) -> None:
        self.be, self.xp = context.backend, context.backend.xp
        self.context, self.dtype, self.path = context, context.dtype, path
        self.training, self.wants_dx, self.trainable, self.frozen = training, wants_dx, trainable, not trainable
        self.children = []
        self._plan, self._layer, self._reused, self._room, self._bound = plan, layer, 0, 0, {}

    def bind_array(self, name: str, array: Array) -> None:
        """Use this shared array as ws.name from now on."""
        self._bound[name] = self.__dict__[name] = array

    def run_forward(self, x: Array) -> Array:
        """The layer's output for x, checked; compositions call it for each of their layers."""
        self._input_shape = x.shape
        return self.run_method("forward", self._plan.output, x, also=self._plan.output_types())

    def run_backward(self, dy: Array) -> Array | None:
        """The layer's dx for dy, checked where it is wanted: without it the layers below would never learn."""
        if dy is None:
            raise ResultError(
                f'{self._layer!r} at "{self.path}" needs dy, the dx of the layer above it, and got None; a composition '
                "whose layers follow each other must say by wanted_by_children that this dx is used, as Sequential does"
            )
        hint = (
            "; is a return missing? Layers below it learn from dx; a layer without a derivative by x must stand lowest"
        )
        dx: Array | None = self.run_method("backward", self._input_shape if self.wants_dx else None, dy, hint=hint)
        if dx is None and self.wants_dx:
            raise ResultError(f"{self._place('backward')} must return an array, dx, and returned None{hint}")
        if done := self.context.after_backward.get(self.path):
            self.be.run(done)
        return dx

    def run_counts(self, *arguments: Any) -> Array | None:
        """What `counts` of the loss or metric returns: (B,), of the network's type or bool, or None."""
        shape, also = self.context.weights.shape, (np.dtype(bool),)
        return self.run_method("counts", shape, *arguments, hint=None, also=also)

    def run_method(
        self,
        method: str,
        shape: Shape | None,
        *arguments: Any,
        hint: str | None = "; is a return missing?",
        also: Iterable[Any] = (),
    ) -> Any:
        """What a method of the layer, loss or metric returns; an array of that shape, or anything where it is None.

        Raises ResultError or ShapeError, which name the method, if it returns anything else. hint: added for None; if
        the hint is None, None may be returned. also: types of numbers that the array may have beside the network's.
        """
        of, where = self._layer, self._place(method)
        with noted(of, where):
            given = getattr(of, method)(self, *arguments)
        for name, array in self._bound.items():
            if self.__dict__.get(name) is not array:
                raise ResultError(
                    f"{where} puts another array in the place of ws.{name}, which the optimizer would not see; write "
                    f"into it, by out=ws.{name} or ws.xp.copyto(ws.{name}, a)"
                )
        if shape is None or (given is None and hint is None):
            return given
        return returned(where, given, shape, (self.be, self.dtype), hint or "", also)

    def _place(self, method: str) -> str:
        layer = f' (layer "{self.path}")' if isinstance(self._layer, Layer) and self.path else ""
        return f"{type(self._layer).__name__}.{method}{layer}"

    @property
    def piece(self) -> int:
        """Of about how many numbers the matrices of patches are that are made and multiplied at a time."""
        member = self.context.member
        return self.be.piece_for(1 if member is None else member.team.size)

    def over_workers(self, a: Array) -> Array:
        """Σ of `a` over all workers that share the batch, for what a formula sums over rows; with one, `a` itself.
        `a` must not be written again in the same pass."""
        return a if self.context.member is None else self.context.member.sum(a)

    def reuse_memory(self, i: int, name: str, near: Array) -> None:
        """Let y or dx of child i, of a chain, lie where values are no longer needed: of those that only go from one
        layer to the next, two are needed at a time. near: what the child reads, from another place."""
        child, plans = self.children[i], self._plan.children
        if name in child.__dict__ or not self._may_reuse(i, name):
            return
        if not self._room:
            shared = [p.arrays[n] for k, p in enumerate(plans) for n in p.overwrites if self._may_reuse(k, n)]
            self._room = max(math.prod(shape_of(a)) for a in shared)
        declared = shape_of(plans[i].arrays[name])
        for k in range(self._reused, self._reused + self.be.places):
            place = self.be.scratch(f"{self.path} place {k % self.be.places}", (self._room,), self.dtype)
            if not may_share(place, near):
                setattr(child, name, place[: math.prod(declared)].reshape(declared))
                self._reused = k + 1
                return

    def _may_reuse(self, i: int, name: str) -> bool:
        child, plans = self.children[i], self._plan.children
        if not (self.context.reuses and self.be.reuses_memory and child.training and name in plans[i].overwrites):
            return False
        if isinstance(plans[i].arrays[name], Buffer):
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
        arrays = plan.arrays if name in plan.arrays else plan.all_arrays(self.piece, self.wants_dx)
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


RESERVED.update(dir(Workspace), Workspace.__annotations__)
