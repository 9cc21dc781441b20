"""Translation of a formula into ufunc calls that need little memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..formula import OPERATIONS, Program, trace
from ..formula.host import host_numerics, written_for
from .arrays import Array, Shape, share


class Place(NamedTuple):
    """Where an operand of a lowered formula stands."""

    kind: str  # "input", "out", "scratch" or "constant"
    number: int = 0
    shape: Shape = ()
    is_bool: bool = False
    value: float = 0.0


@lru_cache(maxsize=4096)
def traced(
    f: Callable[..., Any], inputs: int, outs: int, numerics: str = "ordinary", dtype: str = "float64"
) -> Program:
    """The program of a formula, which gives `outs` values; see `trace`. numerics: what functions of constants are in.
    dtype: of its numbers; of float64, a formula is as its page has it.

    >>> [step.operation for step in traced(lambda x, y: x * y + 1.0, 2, 1).steps]
    ['multiply', 'add']
    """
    with host_numerics(numerics), written_for(dtype):
        return trace(f, inputs, outs)


class Form(NamedTuple):
    """The shapes of a formula's arrays, which outputs are masks, for each output the inputs in whose memory it is, and
    which outputs lie with gaps, as some columns of a matrix do."""

    input_shapes: tuple[Shape, ...]
    out_shapes: tuple[Shape, ...]
    out_bools: tuple[bool, ...]
    aliases: tuple[tuple[int, ...], ...]
    gaps: tuple[bool, ...]


def form_of(inputs: Sequence[Array], outs: Sequence[Array]) -> Form:
    """What `lower` needs to know of a formula's arrays.

    >>> x = np.zeros((2, 3))
    >>> form_of([x, x[0]], [x]).aliases
    ((0, 1),)
    """
    return Form(
        tuple(a.shape for a in inputs),
        tuple(o.shape for o in outs),
        tuple(o.dtype.kind == "b" for o in outs),
        tuple(tuple(j for j, a in enumerate(inputs) if a is o or share(a, o)) for o in outs),
        tuple(not o.flags.c_contiguous for o in outs),
    )


def type_of(inputs: Sequence[Array], outs: Sequence[Array]) -> Any:
    """The type of a formula's constants and intermediate numbers.

    >>> type_of([np.zeros(3, "int32"), np.zeros(3, "float32")], [np.zeros(3, bool)])
    dtype('float32')
    """
    return next((a.dtype for a in (*outs, *inputs) if a.dtype.kind == "f"), inputs[0].dtype)


@lru_cache(maxsize=4096)
def lower(
    program: Program,
    input_shapes: tuple[Shape, ...],
    out_shapes: tuple[Shape, ...],
    out_bools: tuple[bool, ...],
    aliases: tuple[tuple[int, ...], ...],
    gaps: tuple[bool, ...],
) -> list[tuple[str, list[Place], Place]]:
    """Turn a program into calls, giving every intermediate value a place with as little memory as possible.

    A value may stand in an output's buffer from the moment that nothing reads an input sharing that buffer any
    more; so the chain of operations that leads to an output mostly runs in place there. If the output lies with gaps,
    only its last operation does: NumPy takes two to five times as long there, because it begins anew at every row.
    """
    inputs, end = program.inputs, len(program.steps)
    last = program.last_reads()
    final = [o - inputs if isinstance(o, int) and o >= inputs else -1 for o in program.outputs]
    for o in program.outputs:
        if isinstance(o, int) and o < inputs:
            last[o] = end
    free_from = [max((last[i] for i in alias), default=-1) for alias in aliases]
    shapes: list[Shape] = list(input_shapes)
    for step in program.steps:
        shape = np.broadcast_shapes(*(shapes[o] for o in step.operands if isinstance(o, int)))
        shapes.append((*shape[:-1], 1) if OPERATIONS[step.operation].reduces else shape)

    places: list[Place] = [Place("input", i) for i in range(inputs)]
    holder: list[int | None] = [None] * len(out_shapes)  # the live value in each output's buffer
    idle: list[Place] = []
    slots = 0
    calls: list[tuple[str, list[Place], Place]] = []
    copies: list[tuple[str, list[Place], Place]] = []

    def place_of(operand: int | float) -> Place:
        return places[operand] if isinstance(operand, int) else Place("constant", value=operand)

    for k, step in enumerate(program.steps):
        value = inputs + k
        operands = [place_of(o) for o in step.operands]
        # a number may overwrite the one it is made from, but a row's sum no number of the row
        reduces = OPERATIONS[step.operation].reduces
        dead = k - 1 if reduces else k
        done = [o for o in dict.fromkeys(step.operands) if isinstance(o, int) and last[o] == k]
        spare = [places[o] for o in done if places[o].kind == "scratch"]
        if dead == k:
            idle += spare
        like = [
            j
            for j in range(len(final))
            if free_from[j] <= dead and shapes[value] == out_shapes[j] and program.is_bool[value] == out_bools[j]
        ]
        direct = next((j for j in like if final[j] == k and not (reduces and gaps[j])), None)
        if direct is None and k not in final:
            inside = [j for j in like if not gaps[j] and last[value] <= final[j]]
            direct = next((j for j in inside if (held := holder[j]) is None or last[held] <= dead), None)
        if direct is not None:
            target = Place("out", direct)
            holder[direct] = value
        else:
            fits = (p for p in idle if p.shape == shapes[value] and p.is_bool == program.is_bool[value])
            found = next(fits, None)
            if found is None:
                target = Place("scratch", slots, shapes[value], program.is_bool[value])
                slots += 1
            else:
                idle.remove(found)
                target = found
        if dead < k:
            idle += spare
        if k in final:
            last[value] = end  # it stays where it is until it has been copied to every output it is for
        places.append(target)
        calls.append((step.operation, operands, target))
    for j, o in enumerate(program.outputs):
        source = place_of(o)
        if source == Place("out", j):
            continue
        if source.kind == "input" and any(o in alias for i, alias in enumerate(aliases) if i != j):
            aside = Place("scratch", slots, shapes[source.number], out_bools[j])  # outputs may exchange inputs
            slots += 1
            calls.append(("copy", [source], aside))
            source = aside
        copies.append(("copy", [source], Place("out", j)))
    return calls + copies
