"""Split a formula into compiled loops and NumPy calls, where IEEE 754 does not fix the bits of every operation.

    y = x σ(x) = x / (1 + e⁻ˣ)      pass: v₁ = -x      pass: v₂ = exp v₁      loop: y = x / (1 + v₂)

Sums, products, quotients and square roots have one right result, and a loop of `loops.py` has the bits of NumPy's
passes. NumPy's exp, tanh and log are its own, so they stay passes, and so do sums and maxima of rows. What stands
between them is computed as late as possible, so that few values have to be written to memory:

    (1)  a pass is in stage s if the latest of the loops that it needs is in stage s - 1
    (2)  everything else is in the last stage before it is needed: stage s is its passes, and then one loop
    (3)  what has one number a row, and is read by loops only, is computed by each loop that reads it

The passes work on other memory than without stages. Their bits must not depend on that: see `depends_on_place`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from ...formula import OPERATIONS, Number, Program, Step
from ..arrays import Array, Shape, share
from ..base import Backend
from ..lowering import Form, Place, form_of, lower
from .language import ORDINARY, Language
from .loops import NAMES, Fused, fuse


class Part(NamedTuple):
    """A program on its arrays, and the loop that does it; None where it is done by passes."""

    program: Program
    inputs: Sequence[Array]
    outs: Sequence[Array]
    call: tuple[Fused, tuple[Any, ...]] | None


class Unit(NamedTuple):
    """Some steps of a formula as one program: a pass has one step, a loop has more.

    inputs, outputs: where what it reads and writes stands, "input" and "out" being those of the formula.
    """

    program: Program
    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]


def parts(
    be: Backend,
    name: str,
    program: Program,
    inputs: Sequence[Array],
    outs: Sequence[Array],
    dtype: Any,
    language: Language = ORDINARY,
) -> list[Part]:
    """What a formula is made of on these arrays, in its order: one loop, passes with loops between them where that is
    fewer calls, or passes alone.

    >>> from gpubp.backends import get_backend
    >>> from gpubp.formula import sigmoid, trace
    >>> be, x, y = get_backend("cpu"), np.ones(3), np.ones(3)
    >>> [part.call is not None for part in parts(be, "f", trace(lambda x: x + 2 * sigmoid(x), 1), [x], [y], x.dtype)]
    [False, False, True]
    """
    whole = fuse(name, program, inputs, outs, language)
    found = None if whole else _in_stages(be, name, program, inputs, outs, dtype, language)
    return found or [Part(program, inputs, outs, whole)]


def _in_stages(
    be: Backend,
    name: str,
    program: Program,
    inputs: Sequence[Array],
    outs: Sequence[Array],
    dtype: np.dtype[Any],
    language: Language,
) -> list[Part] | None:
    if dtype.char not in NAMES or not outs[0].size or any(o.dtype not in (dtype, np.bool_) for o in outs):
        return None
    if any(share(one, other) for i, one in enumerate(outs) for other in outs[:i]):
        return None
    form = form_of(inputs, outs)
    kinds = tuple("number" if a.dtype == dtype else "mask" if a.dtype == np.bool_ else "other" for a in inputs)
    units = in_stages(program, form, kinds, language)
    if not units or (len(units) >= len(lower(program, *form)) and not language.pays(program)):
        return None

    def array(place: Place) -> Array:
        if place.kind == "scratch":
            return be.scratch(f"stage {place.number}", place.shape, np.bool_ if place.is_bool else dtype)
        return (inputs if place.kind == "input" else outs)[place.number]

    found: list[Part] = []
    loops, k = sum(_is_loop(unit, language) for unit in units), 0
    for unit in units:
        given, results = [array(place) for place in unit.inputs], [array(place) for place in unit.outputs]
        steps = unit.program.steps
        call = None
        if _is_loop(unit, language):
            k += 1
            call = fuse(f"{name}_{k}of{loops}" if loops > 1 else name, unit.program, given, results, language)
            if call is None and len(steps) > 1:
                return None
        if any(_depends_on_place(step, NAMES[dtype.char], language) for step in steps):
            return None
        found.append(Part(unit.program, given, results, call))
    return found


def _is_loop(unit: Unit, language: Language) -> bool:
    steps = unit.program.steps
    return len(steps) > 1 or language.pays(unit.program)


def _depends_on_place(step: Step, dtype: str, language: Language) -> bool:
    operation, operands = step
    if operation in language.operations or operation == "equal" or OPERATIONS[operation].reduces:
        return False
    numbers = sum(isinstance(o, Number) for o in operands)
    return len(operands) - numbers > 1 or depends_on_place(operation, dtype)  # fmax takes either of 0 and -0


@lru_cache(maxsize=4096)
def in_stages(program: Program, form: Form, kinds: tuple[str, ...], language: Language = ORDINARY) -> tuple[Unit, ...]:
    """The formula as passes and loops in their order; none if it has no loop, or an output that is not computed.

    kinds: of the inputs, "number", "mask", or "other", which no loop reads.

    >>> from gpubp.formula import sigmoid, trace
    >>> form = Form(((8,),), ((8,),), (False,), ((),), (False,))
    >>> for unit in in_stages(trace(lambda x: x * sigmoid(x), 1), form, ("number",)):
    ...     print(*(step.operation for step in unit.program.steps))
    negative
    exp
    add divide multiply
    """
    if any(isinstance(o, Number) or o < program.inputs for o in program.outputs):
        return ()
    groups = _Groups(program, form, kinds, language).in_order()
    has_loops = language.pays(program) or any(len(members) > 1 for members in groups)
    return tuple(_placed(program, form, groups)) if has_loops else ()


class _Groups:
    """Which steps of a formula are computed together. Values are numbered as in the program."""

    def __init__(self, program: Program, form: Form, kinds: tuple[str, ...], language: Language) -> None:
        self.program, self.kinds, self.first, self.language = program, kinds, program.inputs, language
        self.shapes = shapes_of(program, form.input_shapes)
        self.full = max((*self.shapes, *form.out_shapes), key=math.prod)
        self.readers: dict[int, list[int]] = {}  # the steps that are needed, and those that read each value
        needed = {int(o) for o in program.outputs}
        for value in reversed(range(self.first, len(self.shapes))):
            if value in needed:
                for o in dict.fromkeys(self.operands(value)):
                    needed.add(o)
                    self.readers.setdefault(o, []).append(value)
        self.values = [v for v in range(self.first, len(self.shapes)) if v in needed]
        self.in_loops: set[int] = set()
        for value in reversed(self.values):  # (3)
            readers = self.readers.get(value, [])
            inside = value not in program.outputs and readers and self.in_loops.issuperset(readers)
            if self._exact(value) and (self.shapes[value] == self.full or inside):
                self.in_loops.add(value)

    def step(self, value: int) -> Step:
        return self.program.steps[value - self.first]

    def operands(self, value: int) -> list[int]:
        return [o for o in self.step(value).operands if not isinstance(o, Number)]

    def _exact(self, value: int) -> bool:
        """Whether a loop has NumPy's bits of it."""
        operation, operands = self.step(value)
        masks = [not isinstance(o, Number) and self._is_mask(o) for o in operands]
        others = any(self.kinds[o] == "other" for o in self.operands(value) if o < self.first)
        finite = all(math.isfinite(o) for o in operands if isinstance(o, Number))
        return operation in self.language.operations and finite and not others and not all(masks)

    def _is_mask(self, value: int) -> bool:
        return self.program.is_bool[value] or (value < self.first and self.kinds[value] == "mask")

    def in_order(self) -> list[tuple[int, ...]]:
        """The values that are computed together, each time."""
        stage = dict.fromkeys(range(self.first), 0)
        for v in self.values:  # (1)
            behind = v not in self.in_loops
            stage[v] = max((stage[o] + (behind and o in self.in_loops) for o in self.operands(v)), default=0)
        loops = [v for v in self.values if v in self.in_loops and self.shapes[v] == self.full]
        last = max((stage[v] for v in loops), default=0)
        for v in reversed(loops):  # (2)
            readers = self.readers.get(v, [])
            stage[v] = min((stage[r] - (r not in self.in_loops) for r in readers), default=last)
        found: list[tuple[int, ...]] = []
        for s in range(max(stage.values()) + 1):
            found += [(v,) for v in self.values if stage[v] == s and v not in self.in_loops]
            own = {v for v in loops if stage[v] == s}
            for v in reversed(self.values):  # (3)
                if v in self.in_loops and self.shapes[v] != self.full and not own.isdisjoint(self.readers[v]):
                    own.add(v)
            if own:
                found.append(tuple(sorted(own)))
        return found


def shapes_of(program: Program, inputs: Sequence[Shape]) -> list[Shape]:
    """The shapes of all values of a program.

    >>> from gpubp.formula import row_sum, trace
    >>> shapes_of(trace(lambda x: x / row_sum(x), 1), [(4, 3)])
    [(4, 3), (4, 1), (4, 3)]
    """
    shapes = list(inputs)
    for operation, operands in program.steps:
        shape = np.broadcast_shapes(*(shapes[o] for o in operands if not isinstance(o, Number)))
        shapes.append((*shape[:-1], 1) if OPERATIONS[operation].reduces else shape)
    return shapes


def _placed(program: Program, form: Form, groups: Sequence[tuple[int, ...]]) -> list[Unit]:
    """The groups with places for what they read and write, in as little memory as will do.

    A value is written to the output that it is; or to one that is written later, if that does not lie with gaps and
    nothing needs what is there any more; or to scratch memory.
    """
    end, outputs = len(groups), [int(o) for o in program.outputs]
    shapes = shapes_of(program, form.input_shapes)
    reads = [_read_by(program, members) for members in groups]
    last = {v: n for n, values in enumerate(reads) for v in values} | dict.fromkeys(outputs, end)
    made = {v: n for n, members in enumerate(groups) for v in members}
    free_from = [max((last.get(i, -1) for i in alias), default=-1) for alias in form.aliases]
    places = {i: Place("input", i) for i in range(program.inputs)}
    holder: dict[Place, int] = {}  # the value that stands at a place
    units, copies, slots = [], [], 0
    for n, (members, read) in enumerate(zip(groups, reads, strict=True)):
        # a number may be written over the one that it is made from, but a row's sum over no number of the row
        dead = n - OPERATIONS[program.steps[members[0] - program.inputs].operation].reduces
        inputs = tuple(places[v] for v in read)
        results: list[int] = []
        targets: list[Place] = []

        def free(place: Place, dead: int = dead, targets: list[Place] = targets) -> bool:
            held = holder.get(place)
            return place not in targets and (held is None or last[held] <= dead)

        for v in (v for v in members if last.get(v, -1) > n):
            fitting = [
                j
                for j, shape in enumerate(form.out_shapes)
                if shape == shapes[v] and form.out_bools[j] == program.is_bool[v] and free_from[j] <= dead
                if free(Place("out", j))
            ]
            own = [j for j in fitting if outputs[j] == v]
            found = [Place("out", j) for j in own]
            if not found:
                later = [j for j in fitting if not form.gaps[j] and n < made[outputs[j]] >= last[v]]
                if any(OPERATIONS[program.steps[outputs[j] - program.inputs].operation].reduces for j in later):
                    later = []
                idle = [
                    p for p in holder if p.kind == "scratch" and (p.shape, p.is_bool) == (shapes[v], program.is_bool[v])
                ]
                idle = [p for p in idle if free(p)]
                if later:
                    found = [Place("out", later[0])]
                elif idle:
                    found = idle[:1]
                else:
                    found, slots = [Place("scratch", slots, shapes[v], program.is_bool[v])], slots + 1
            places[v] = found[0]
            copies += [(v, j) for j in range(len(outputs)) if outputs[j] == v and Place("out", j) not in found]
            for place in found:
                holder[place] = v
            targets += found
            results += [v] * len(found)
        units.append(Unit(_part(program, members, read, results), inputs, tuple(targets)))
    as_it_is = Program(1, (), (0,), (False,))
    return [*units, *(Unit(as_it_is, (places[v],), (Place("out", j),)) for v, j in copies)]


def _read_by(program: Program, members: Sequence[int]) -> list[int]:
    """The values that some steps read of others."""
    operands = [o for v in members for o in program.steps[v - program.inputs].operands if not isinstance(o, Number)]
    return [o for o in dict.fromkeys(operands) if o not in members]


def _part(program: Program, members: Sequence[int], read: Sequence[int], results: Sequence[int]) -> Program:
    """Some steps of a program as one of their own. read, results: the values that it takes and gives."""
    number = {v: k for k, v in enumerate((*read, *members))}
    steps = [program.steps[v - program.inputs] for v in members]
    renumbered = [
        Step(operation, tuple(o if isinstance(o, Number) else number[o] for o in operands))
        for operation, operands in steps
    ]
    is_bool = tuple(program.is_bool[v] for v in (*read, *members))
    return Program(len(read), tuple(renumbered), tuple(number[v] for v in results), is_bool)


@lru_cache(maxsize=256)
def depends_on_place(operation: str, dtype: str) -> bool:
    """Whether the bits of one of NumPy's functions depend on where in memory its numbers stand: within longer rows or
    at their end, with gaps, or where the result is written. Found by trying, once in a process; of a function of two
    operands, such as `fmax`, with a single number for one of them.

    >>> depends_on_place("exp", "float32") in (True, False)
    True
    """
    f: Any = getattr(np, operation)
    rng = np.random.default_rng(0)
    x = (rng.normal(size=400) * 10.0 ** rng.integers(-4, 3, 400)).astype(dtype)
    x[::5] = rng.choice([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, 88.0, -104.0], x[::5].shape)
    ways = [(0, n, 0, 1, 1) for n in range(1, 18)] + [(n, 2 * n + 1, n % 7, 1, 1) for n in range(3, 150, 8)]
    ways += [(0, 400, 1, 1, 1), (0, 400, 3, 2, 1), (5, 390, 0, 1, 2), (0, 77, 2, 3, 3)]

    def differs(do: Callable[..., Any], first: int, end: int, before: int, step: int, out_step: int) -> bool:
        wanted = do(x)[first:end]
        moved = np.zeros(before + step * (end - first), dtype)[before::step]
        moved[...] = x[first:end]
        out = np.zeros(before + out_step * (end - first), dtype)[before::out_step]
        return not do(moved, out=out).tobytes() == do(moved, out=moved).tobytes() == wanted.tobytes()

    tried: list[Callable[..., Any]] = [f]
    if f.nin == 2:
        numbers = [np.array(c, dtype) for c in (0.0, -0.0, 1.0)]
        tried = [g for c in numbers for g in (partial(f, c), lambda x, c=c, **out: f(x, c, **out))]
    with np.errstate(all="ignore"):
        return any(differs(do, *way) for do in tried for way in ways)
