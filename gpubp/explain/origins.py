"""Origins: from one number of a watched step back to the numbers that it was computed from.

A number is found by its place in memory. `Watch` has kept which call wrote which places, so the call that wrote a
number last before it was read is the one that made it. What the call says of that number, such as Σₖ a_ik b_kj of a
matrix product, is its expression. Numbers in arrays without a name, which layers use as scratch memory, are written
out until only named numbers are left.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import Array
from ..backends.lowering import traced
from ..formula import OPERATIONS, Number, Program
from .expressions import Constant, Element, Expression, Given, Index, Key, Largest, Operation, Sum, operate, total
from .memory import Place, Source, address, locate, place_of, root
from .names import Names
from .variables import variables_of
from .watch import Event, Frame, Watch, reduction, unseen, within

LONG = 40  # numbers in an expression, from where on it is given a name and a line of its own


class Origins:
    """The expressions of a watched step's numbers.

    names: what the formulas call the numbers.
    """

    def __init__(self, be: Watch, names: Names) -> None:
        self.be, self.names = be, names
        names.source = self.source
        self._made: dict[Any, Expression] = {}
        self._operands: dict[tuple[int, int, int, int], Expression] = {}
        self._sources: dict[tuple[int, int, int], Source | None] = {}
        self._elements: dict[Any, Element] = {}
        self._parts: dict[Any, Element] = {}
        self._numbers: dict[Frame, int] = {}

    def source(self, place: Place) -> Source | None:
        """The last call before `place.before` that wrote the number; None if it was there from the beginning."""
        writers = self.be.writers.get(id(place.whole), ())
        last = bisect_left(writers, place.before)
        key = (id(place.whole), place.address, last)
        if key not in self._sources:
            self._sources[key] = self._found(place, writers[:last])
        return self._sources[key]

    def _found(self, place: Place, writers: Sequence[int]) -> Source | None:
        for number in reversed(writers):
            event = self.be.events[number]
            for k, out in enumerate(event.outs):
                if root(out) is place.whole and (index := locate(out, place.address)) is not None:
                    return Source(event, k, index)
        return None

    def value(self, place: Place) -> float:
        """The number itself, as the step has computed it."""
        source = self.source(place)
        if source is not None:
            return float(source.event.after[source.out][source.at])
        whole, copy = self.be.before.get(id(place.whole), (place.whole, place.whole))
        offset = place.address - address(whole)
        return float(copy.ravel(order="K").view(np.uint8)[offset : offset + place.dtype.itemsize].view(place.dtype)[0])

    def of(self, place: Place, frame: Frame) -> Expression:
        """What computes the number, as the frame's formulas call what it reads."""
        source = self.source(place)
        if source is None:
            return self.operand(place, frame)
        return self._made_by(source, frame)

    def through(self, place: Place, frame: Frame) -> Expression:
        """As `of`, and of the loss's gradient, which the step itself multiplies and sets to 0, all that was done."""
        source = self.source(place)
        if source is None or source.event.frame is not self.be.top:
            return self.of(place, source.event.frame if source is not None and frame is self.be.top else frame)
        made, before = self._made_by(source, self.be.top), place._replace(before=source.event.number)
        if isinstance(made, Constant):
            return made
        if isinstance(made, Operation) and source.event.function.__name__ != "copyto":
            return Operation(made.name, (self.through(before, frame), *made.operands[1:]))
        return self.through(before, frame)  # it is not among those that were set to 0

    def operand(self, place: Place, frame: Frame) -> Expression:
        """The number as an operand of another: by its name, or written out where it has none, or is a copy."""
        writers = self.be.writers.get(id(place.whole), ())
        key = (id(frame), id(place.whole), place.address, bisect_left(writers, place.before))
        if key not in self._operands:
            self._operands[key] = self._operand(place, frame)
        return self._operands[key]

    def _operand(self, place: Place, frame: Frame) -> Expression:
        source = self.source(place)
        copied = None if source is None or source.event.frame.ws is not frame.ws else self._copied(source)
        if copied is not None:
            return copied if isinstance(copied, Constant) else self.operand(copied.place, frame)
        name = self.names.of(frame, place, source)
        if name is not None:
            return self._element(name, place)
        if source is not None and source.event.frame is frame:
            return self._short(self._made_by(source, frame), place, source, frame)
        outer = self.names.elsewhere(place, source)
        if outer is not None:
            return self._element(outer, place)
        if source is None:
            return Constant(self.value(place))
        return self._short(self._made_by(source, source.event.frame), place, source, source.event.frame)

    def _copied(self, source: Source) -> Element | Constant | None:
        """What the call only copies, if that is all it does."""
        if getattr(source.event.function, "__name__", "") not in ("copyto", "stage"):
            return None
        made = self._made_by(source, source.event.frame)
        return made if isinstance(made, Constant) or (isinstance(made, Element) and made.place is not None) else None

    def array(self, a: Array, before: int) -> Array:
        """The numbers of an array as they were before a call, in a new array."""
        whole = root(a)
        later = (self.be.events[n] for n in reversed(self.be.writers.get(id(whole), ())) if n >= before)
        if not any(np.may_share_memory(a, out) for event in later for out in event.outs):
            return a.copy()
        memory = self.be.before[id(whole)][1].reshape(-1).view(np.uint8).copy()
        for number in self.be.writers[id(whole)]:
            if number < before:
                event = self.be.events[number]
                for out, after in zip(event.outs, event.after, strict=True):
                    if root(out) is whole:
                        within(memory, out, whole)[...] = after
        return within(memory, a, whole).copy()

    def _short(self, made: Expression, place: Place, source: Source, frame: Frame) -> Expression:
        """A long expression gets a name, so that nothing is written out more than once."""
        longest = max((o.size for o in made.operands), default=0) if isinstance(made, Sum) else made.size
        if longest <= LONG or isinstance(made, Element):
            return made
        key = (source.event.number, source.out, source.at)
        if key not in self._parts:
            number = self._numbers[frame] = self._numbers.get(frame, 0) + 1
            name = f"part{number}"
            self._parts[key] = Element(name, (), self.value(place), Key(frame.path, name, ()), place, made)
        return self._parts[key]

    def named_part(self, name: str, index: Index, made: Expression, event: Event, frame: Frame) -> Element:
        """What a formula calls by the name of a variable."""
        key = (event.number, name, index)
        if key not in self._parts:
            while self.names.taken(frame, name, (event.number, index)):
                name += "′"
            self._parts[key] = Element(name, index, made.value, Key(frame.path, name, index), None, made)
        return self._parts[key]

    def _element(self, name: tuple[str, Index, Key], place: Place) -> Element:
        value = self.value(place)
        known = (*name, value)
        if known not in self._elements:
            self._elements[known] = Element(name[0], name[1], value, name[2], place)
        return self._elements[known]

    def _made_by(self, source: Source, frame: Frame) -> Expression:
        key = (source.event.number, source.out, source.at, id(frame))
        if key not in self._made:
            self._made[key] = _Call(self, source.event, frame).expression(source.out, source.at)
        return self._made[key]


class _Call:
    """What one call says of the numbers that it writes."""

    def __init__(self, origins: Origins, event: Event, frame: Frame) -> None:
        self.origins, self.event, self.frame = origins, event, frame

    def read(self, a: Any, index: Index) -> Expression:
        """The number of an operand at `index`; of what is no array, itself."""
        if not isinstance(a, np.ndarray):
            return Constant(float(a))
        return self.origins.operand(place_of(a, index, self.event.number), self.frame)

    def spread(self, a: Any, shape: tuple[int, ...], index: Index) -> Expression:
        """The number that an operand has at `index` once it is broadcast to `shape`."""
        if not isinstance(a, np.ndarray):
            return Constant(float(a))
        behind = index[len(shape) - a.ndim :]
        return self.read(a, tuple(i if n > 1 else 0 for i, n in zip(behind, a.shape, strict=True)))

    def expression(self, out: int, index: Index) -> Expression:
        event, shape = self.event, self.event.outs[out].shape
        function, args = event.function, event.args
        name = getattr(function, "__name__", "")
        if self._is_formula():
            program = traced(function, len(args), len(event.outs))
            return _Formula(self, program, index).output(out)
        if isinstance(function, np.ufunc) and function.signature is None:
            return self._ufunc(function, args[: function.nin], event.kwargs, shape, out, index)
        owner = getattr(function, "__self__", None)
        if isinstance(owner, np.ufunc) and name == "reduce":
            return self._reduced(owner, index, **reduction(args, event.kwargs))
        if name in ("dot", "matmul"):
            return self._product(args[0], args[1], index)
        if name == "copyto":
            where = event.kwargs.get("where", True)
            if where is not True and not self._holds(where, shape, index):
                return self._unchanged(out, index)
            return self.spread(args[1], shape, index)
        if name == "stage":
            rows = event.chosen[2] if len(args) > 2 and args[2] is not None else None
            return self.read(args[1], index if rows is None else (int(rows[index[0]]), *index[1:]))
        if name == "scatter":
            rows = np.flatnonzero(event.chosen[1].reshape(-1) == index[0])
            flat = args[0]
            return total([Constant(0.0), *(self.read(flat, (int(i), *index[1:])) for i in rows)])
        value = float(event.after[out][index])
        if function is unseen:
            return Given("written without ws.xp", value)
        if name.startswith("fill_"):
            return Given("drawn at random", value)
        if name in ("sample", "adjoint"):
            return Given("between four pixels", value)
        return Given(f"by {name.strip('_') or 'a function'}", value)

    def _is_formula(self) -> bool:
        function = self.event.function
        return (
            "out" in self.event.kwargs
            and callable(function)
            and not isinstance(function, np.ufunc)
            and (getattr(function, "__module__", "") or "").split(".")[0] != "numpy"
            and not isinstance(getattr(function, "__self__", None), np.ufunc)
        )

    def _holds(self, where: Any, shape: tuple[int, ...], index: Index) -> bool:
        return bool(self.spread(where, shape, index).value) if isinstance(where, np.ndarray) else bool(where)

    def _unchanged(self, out: int, index: Index) -> Expression:
        return self.read(self.event.outs[out], index)

    def _ufunc(
        self, ufunc: Any, operands: Any, kwargs: dict[str, Any], shape: tuple[int, ...], out: int, index: Index
    ) -> Expression:
        where = kwargs.get("where", True)
        if where is not True and not self._holds(where, shape, index):
            return self._unchanged(out, index)
        read = [self.spread(a, shape, index) for a in operands]
        return _operate(ufunc.__name__, read, float(self.event.after[out][index]))

    def _reduced(
        self, ufunc: Any, index: Index, array: Any, axis: Any = 0, keepdims: Any = False, where: Any = True,
        initial: Any = None, **_: Any,
    ) -> Expression:  # fmt: skip
        a = np.asarray(array)
        axes = (
            range(a.ndim)
            if axis is None
            else sorted(k % a.ndim for k in (axis if isinstance(axis, tuple) else (axis,)))
        )
        kept = [k for k in range(a.ndim) if k not in axes]
        at = [0] * a.ndim
        for k, i in zip(range(a.ndim) if keepdims else kept, index, strict=True):
            at[k] = i
        read: list[Expression] = [] if initial is None else [Constant(float(initial))]
        for inner in np.ndindex(*(a.shape[k] for k in axes)):
            for k, i in zip(axes, inner, strict=True):
                at[k] = i
            if where is True or self._holds(where, a.shape, tuple(at)):
                read.append(self.read(a, tuple(at)))
        if ufunc is np.add:
            return total(read)
        if ufunc is np.maximum and read:
            return Largest(read)
        return Given(f"by {ufunc.__name__}.reduce", float(self.event.after[0][index]), read)

    def _product(self, a: Array, b: Array, index: Index) -> Expression:
        """Σₖ a_ik b_kj"""
        if a.ndim > 1:
            stack, i = index[: max(a.ndim, b.ndim) - 2], index[max(a.ndim, b.ndim) - 2 :][:1]
        else:
            stack, i = (), ()
        j = index[-1:] if b.ndim > 1 else ()

        def of(m: Array, *last: int) -> Expression:
            lead = stack[len(stack) - (m.ndim - 2) :] if m.ndim > 2 else ()
            return self.read(m, (*(s if n > 1 else 0 for s, n in zip(lead, m.shape, strict=False)), *last))

        terms = [operate("multiply", [of(a, *i, k), of(b, k, *j)]) for k in range(a.shape[-1])]
        return total(terms)


class _Formula:
    """An elementwise formula at one index of its outputs."""

    def __init__(self, call: _Call, program: Program, index: Index) -> None:
        self.call, self.program, self.index = call, program, index
        self._known: dict[Any, Expression] = {}
        shapes: list[tuple[int, ...]] = [getattr(a, "shape", ()) for a in call.event.args]
        for step in program.steps:
            of = np.broadcast_shapes(*(shapes[o] for o in step.operands if isinstance(o, int)))
            shapes.append((*of[:-1], 1) if OPERATIONS[step.operation].reduces else of)
        self._shapes = shapes
        reads = [o for step in program.steps for o in step.operands]
        self._names = {
            number: name
            for number, name in variables_of(call.event.function, program).items()
            if number >= program.inputs and number not in program.outputs and reads.count(number) > 1
        }

    def output(self, out: int) -> Expression:
        """What computes one of its outputs."""
        operand = self.program.outputs[out]
        if not isinstance(operand, int):
            return Constant(float(operand))
        return self._computed(operand, self._at(operand, self.index))

    def _at(self, operand: int, index: Index) -> Index:
        """The index of a value that is broadcast, at an index of what it is broadcast to."""
        own = self._shapes[operand]
        behind = index[len(index) - len(own) :]
        return tuple(i if n > 1 else 0 for i, n in zip(behind, own, strict=True))

    def _value(self, operand: int | Number, index: Index) -> Expression:
        if not isinstance(operand, int):
            return Constant(float(operand))
        at = self._at(operand, index)
        key = (operand, at)
        if key not in self._known:
            self._known[key] = self._named(operand, at)
        return self._known[key]

    def _named(self, operand: int, at: Index) -> Expression:
        """The value by its name, if it is an output, or a variable that is read more than once."""
        event, origins = self.call.event, self.call.origins
        if operand >= self.program.inputs and operand in self.program.outputs:
            a = event.outs[self.program.outputs.index(operand)]
            if a.shape == self._shapes[operand]:
                given = origins.operand(place_of(a, at, event.number + 1), self.call.frame)
                if isinstance(given, Element):
                    return given
        found, name = self._computed(operand, at), self._names.get(operand)
        if name is None or isinstance(found, Element | Constant):
            return found
        return origins.named_part(name, at, found, event, self.call.frame)

    def _computed(self, operand: int, at: Index) -> Expression:
        if operand < self.program.inputs:
            return self.call.read(self.call.event.args[operand], at)
        step = self.program.steps[operand - self.program.inputs]
        if OPERATIONS[step.operation].reduces:
            of = self._shapes[step.operands[0]] if isinstance(step.operands[0], int) else ()
            read = [self._value(step.operands[0], (*at[:-1], j)) for j in range(of[-1])]
            return total(read) if step.operation == "row_sum" else Largest(read)
        return operate(step.operation, [self._value(o, at) for o in step.operands])


def _operate(name: str, read: list[Expression], value: float) -> Expression:
    try:
        if name == "square":
            return operate("multiply", [read[0], read[0]])
        if name == "reciprocal":
            return operate("divide", [Constant(1.0), read[0]])
        if name == "power" and isinstance(read[1], Constant) and read[1].value in (2.0, 3.0):
            squared = operate("multiply", [read[0], read[0]])
            return squared if read[1].value == 2.0 else operate("multiply", [squared, read[0]])
        return operate(name, read)
    except ValueError:
        return Given(f"by {name}", value, read)
