"""BoundLayers: layers with their parameters on one device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..backends import Array, Backend, Shape
from ..backends.exactness import require_exact
from ..config import Count, CountOrZero, argument, as_call
from ..errors import DataError, ShapeError
from ..flat import FlatArray, matching
from ..formula.host import host_numerics
from .base import Layer, Workspace
from .binding import Values, bind, initial_values, plan_of
from .context import Context
from .embedding import Embedding
from .one_thread import OneThread
from .plan import Buffer, Parameter, Plan, bytes_of, join
from .time_steps import FEWEST, bucket, check_lengths, check_mixing
from .words import WordCount, WordError

Row = tuple[Any, ...]  # the shape of a row, None standing for time steps of any number
InputCheck = Callable[[Any, str, int], None]  # of rows of X, what messages call X, and the number of the first row


class BoundLayers:
    """Layers with their parameters and running statistics, in one piece of memory each.

    layers: a layer, mostly a Sequential. input_shape: of one row, (n,) or n; (None, n), or (None,) for words, for rows
    of different lengths. backend: the device. dtype: "float32" or "float64". seed: of the first parameters, which are
    the same on every device.

    parameters, states: name -> array on the device. declared: name -> the parameter as its layer declares it.
    frozen: names of parameters that training leaves as they are, and of running statistics of layers without any.
    freezable: all names that can be frozen. output_shape: of one row. has_lengths: whether rows
    have different lengths. one_thread: what training and evaluation hold, see `OneThread`. computes_dx: whether
    backward computes the gradient of the network's inputs too.

    Raises ShapeError where layers don't fit each other, or mix time steps of rows of different lengths, ExactError for
    layers that are not exact on a backend that is.

    >>> from gpubp import Dense
    >>> from gpubp.backends import get_backend
    >>> bound = BoundLayers(Dense(8), 4, get_backend("cpu"))
    >>> bound.parameters["W"].shape, bound.output_shape
    ((4, 8), (8,))
    """

    computes_dx = False

    def __init__(
        self, layers: Layer, input_shape: Row | int, backend: Backend, dtype: Any = "float32", seed: int = 0
    ) -> None:
        if not isinstance(layers, Layer):
            raise TypeError(
                f"a network is made of a layer, such as Sequential(...), and not of {layers!r}{as_call(layers)}"
            )
        self.layers, self.backend = layers, backend
        self.input_shape = row_shape(input_shape, lengths=True)
        if not self.input_shape:
            raise ValueError("Network needs an input_shape of one axis or more and got (); rows of one number have 1")
        self.has_lengths = self.input_shape[0] is None
        self.dtype = float_type(dtype)
        self.seed = argument("Network", "seed", CountOrZero, seed)
        if backend.numerics == "exact":
            for path, inner in layers.walk():
                require_exact(inner, f' at "{path}"' if path else "")
        self.frozen: set[str] = set()
        self.one_thread = OneThread()
        if self.has_lengths:
            check_mixing(layers)
        plan = self.plan(1)
        self.output_shape: Row = plan.output[1:]
        if self.has_lengths:
            try:
                check_lengths(layers, plan, self.of_steps(bucket(FEWEST + 1)).plan(1))
            except ShapeError as problem:
                raise problem.of(repr(layers)) from None
            if layers.over_time != "ends":
                self.output_shape = (None, *self.output_shape[1:])
        self.declared: dict[str, Parameter] = plan.all_parameters()
        alone = [join(path, n) for path, inner in plan.walk() if not inner.parameters for n in inner.states]
        self.freezable = [*self.declared, *alone]
        self._reading = {training: self._readers(training) for training in (False, True)}
        declared_states = plan.all_states()
        shapes, state_shapes = ({n: p.shape for n, p in d.items()} for d in (self.declared, declared_states))
        self._parameters = FlatArray(backend, shapes, self.dtype, self._memory_order(), "net.parameters")
        self._states = FlatArray(backend, state_shapes, self.dtype, called="net.states")
        with backend.active():
            for name, array in (*self._parameters.items(), *self._states.items()):
                declared = self.declared.get(name) or declared_states[name]
                backend.put(array, initial_values(name, declared, self.seed, self.dtype, backend.numerics))

    def _memory_order(self) -> list[str]:
        """Parameters that decay lie before the others, so that decay and penalties take one slice."""
        return sorted(self.declared, key=lambda name: not self.declared[name].decay)

    def _readers(self, training: bool) -> dict[str, Layer]:
        """The layers whose input is X, or its numbers in other places, by their paths."""
        found: dict[str, Layer] = {}
        row = np.broadcast_to(np.zeros((), self.dtype), (1, *planned_row(self.input_shape)))  # takes no memory
        self.layers.follow_inputs(row, lambda layer, X, path, column: found.update({path: layer}), "", training)
        return found

    @property
    def input_check(self) -> InputCheck | None:
        """What raises DataError if rows are no input of the layers that read them; None if no layer cares."""
        readers = self._reading[False].values()
        return self._check_inputs if any(type(r).check_data is not Layer.check_data for r in readers) else None

    def _check_inputs(self, X: Any, name: str, first: int) -> None:
        def look(layer: Layer, a: Any, path: str, column: int | None) -> None:
            called = name
            if column is not None:
                called = f"column {column} of {name if a is X else f'the rearranged {name}'}"
                a = a[:, column]
            try:
                layer.check_data(a, called)
            except WordError as problem:
                raise problem.but(path=path, row=problem.row + first) from None
            exact = 1 << np.finfo(self.dtype).nmant + 1
            if isinstance(layer, Embedding) and layer.vocabulary > exact and a.max() >= exact:
                raise DataError(
                    f"{called} holds {int(a.max())}, and {self.dtype} holds whole numbers exactly below {exact} only"
                    + ('; make the network with dtype="float64"' if self.dtype == np.float32 else "")
                )

        self.layers.follow_inputs(X, look)

    @property
    def device(self) -> str:
        """Where it computes: "cpu" or "cuda:0"."""
        return self.backend.name

    @property
    def parameters(self) -> FlatArray:
        """Name -> array on the device; `net.parameters["0.W"][...] = a` assigns."""
        return self._parameters

    @parameters.setter
    def parameters(self, given: Any) -> None:
        self._keep("parameters", given is self._parameters)

    @property
    def states(self) -> FlatArray:
        """Name -> running statistic on the device."""
        return self._states

    @states.setter
    def states(self, given: Any) -> None:
        self._keep("states", given is self._states)

    @property
    def flat(self) -> Array:
        """All parameters as one vector."""
        return self._parameters.flat

    @flat.setter
    def flat(self, given: Any) -> None:
        self._keep("flat", given is self._parameters.flat)  # after `net.flat *= 2`

    def _keep(self, name: str, same: bool) -> None:
        if not same:
            write = "net.flat[...] = a" if name == "flat" else f"for n, a in given.items(): net.{name}[n][...] = a"
            raise AttributeError(
                f"net.{name} can't be replaced, because the layers compute with its arrays; write into them: {write}"
            )

    @property
    def trainable(self) -> list[str]:
        """Names of the parameters that are trained, in memory order: all but the frozen."""
        return [name for name in self._memory_order() if name not in self.frozen]

    def runs(self, names: Iterable[str]) -> list[tuple[str, slice]]:
        """The slices of `flat` that hold the parameters called `names`, each with its first name."""
        return self._parameters.runs(names)

    def freeze(self, *patterns: str) -> None:
        """Keep parameters as they are in training. They take no optimizer memory, and backward stops below the lowest
        layer that is trained.

        patterns: of names, "0.*" for all of layer 0. A layer that has running statistics and no parameters, as
        BatchNorm(affine=False), is frozen by the names of these. Raises ValueError if a pattern matches nothing.

        >>> import gpubp as bp
        >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(3)), input_shape=4, device="cpu")
        >>> net.freeze("0.*")
        >>> net.trainable
        ['2.W', '2.b']
        """
        with self.one_thread.during("freeze"):
            self.frozen |= {name for pattern in patterns for name in matching(pattern, self.freezable)}

    def unfreeze(self, *patterns: str) -> None:
        """Train parameters again; all of them without a pattern.

        >>> import gpubp as bp
        >>> net = bp.Network(bp.Dense(8), input_shape=4, device="cpu")
        >>> net.freeze("*")
        >>> net.unfreeze("b")
        >>> net.trainable
        ['b']
        """
        with self.one_thread.during("unfreeze"):
            self.frozen -= {name for pattern in patterns or ("*",) for name in matching(pattern, self.freezable)}

    def of_steps(self, steps: int) -> BoundLayers:
        """These layers for batches of so many time steps, over the same parameters, where rows have lengths.

        >>> import gpubp as bp
        >>> net = bp.Network(bp.Dense(2), (None, 3), device="cpu")
        >>> net.of_steps(16).plan(4).output, net.output_shape
        ((4, 16, 2), (None, 2))
        """
        made = object.__new__(BoundLayers)
        vars(made).update(vars(self))
        made.input_shape = (steps, *self.input_shape[1:])
        made.output_shape = made.plan(1).output[1:]
        return made

    def plan(self, rows: int) -> Plan:
        """What the layers need for batches of `rows` rows; of `FEWEST` time steps, where rows have lengths."""
        rows = argument("Network", "rows", CountOrZero, rows)
        try:
            with host_numerics(self.backend.numerics):
                return plan_of(self.layers, (rows, *planned_row(self.input_shape)))
        except ShapeError as problem:
            raise problem.of(repr(self.layers)) from None

    def workspace(
        self,
        rows: int,
        *,
        training: bool = False,
        gradients: Mapping[str, Array] | None = None,
        context: Context | None = None,
    ) -> Workspace:
        """A workspace for batches of `rows` rows, over these parameters."""
        context = context or Context(self.backend, rows, self.dtype)
        values = Values(self._parameters, self.states, gradients, self.frozen)
        ws = bind(self.layers, self.plan(rows), context, values, training=training, wants_dx=self.computes_dx)
        for inner in ws.walk():
            if isinstance(inner._layer, Embedding) and inner.path not in self._reading[training]:
                words = inner._plan.arrays.get("rows")
                if isinstance(words, Buffer):  # what `Embedding.forward` reads the words into
                    inner.word_count = WordCount(inner, inner._layer, words.shape)
        return ws

    def step_memory(self, rows: int, piece: int | None = None) -> int:
        """Bytes of arrays that a training step on `rows` rows needs, beside parameters, gradients and moments.

        piece: as of a backend; None for this one's.

        >>> import gpubp as bp
        >>> bp.Network(bp.Dense(8), input_shape=(4,), device="cpu").step_memory(32)
        1536
        """
        plans = (plan for _, plan in self.plan(rows).walk())
        return sum(bytes_of(plan.all_arrays(piece or self.backend.piece), self.dtype) for plan in plans)


def row_shape(given: Any, of: str = "Network", lengths: bool = False) -> Row:
    """The shape of one row from a shape or a number; ValueError if it is none. of: whose argument it is.

    lengths: whether its first number may be None, for rows of different lengths.

    >>> row_shape(784), row_shape([28, 28]), row_shape((None, 3), lengths=True)
    ((784,), (28, 28), (None, 3))
    """
    if lengths and isinstance(given, tuple | list) and any(n is None for n in given):
        if given[0] is not None or sum(n is None for n in given) > 1:
            raise ValueError(
                f"{of} needs None first in input_shape and nowhere else, as in (None, 3): it stands for the number of "
                f"time steps, which differs from row to row; got {tuple(given)}"
            )
        return (None, *argument(of, "input_shape behind None", tuple[Count, ...], tuple(given[1:])))
    shape: Shape = argument(of, "input_shape", tuple[Count, ...], given)
    return shape


def planned_row(row: Row) -> Shape:
    """The shape of a row with which a plan is made: of `FEWEST` time steps, where rows have lengths.

    >>> planned_row((None, 3)), planned_row((4,))
    ((8, 3), (4,))
    """
    return (FEWEST, *row[1:]) if row[:1] == (None,) else row


def float_type(given: Any) -> np.dtype[Any]:
    """The type of numbers that a network computes in; ValueError if it is not float32 or float64.

    >>> float_type("float32")
    dtype('float32')
    """
    for dtype in ("float32", "float64"):
        if isinstance(given, str | type | np.dtype) and given in (dtype, np.dtype(dtype), np.dtype(dtype).type):
            return np.dtype(dtype)
    raise ValueError(f'a network computes in "float32" or "float64" and not in {given!r}')
