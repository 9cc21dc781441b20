"""The memory that each call of a recorded step reads and writes.

Memory is used again within a step, so an address does not name a value. A value is what lies at an address from the
call that writes it to the next call that writes there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..arrays import Array, may_share, span
from ..lowering import traced, type_of
from ..recording import Call, address, parts
from .bfloat16 import Bfloat16
from .nccl import Communicator

if TYPE_CHECKING:
    from .launches import Launches


class Effects(NamedTuple):
    """Arrays that a call may read, that it may write, and of which it writes every number whatever lay there before.

    >>> Effects([], [], []).reads
    []
    """

    reads: list[Array]
    writes: list[Array]
    fills: list[Array]


def effects(call: Call, do: Launches) -> Effects:
    """Those of one call. By convention, what `do`, the array library and messages to other GPUs write is `out`, and all
    of it; of a function that is none of these, every array may be read and written."""
    joined = parts(call)
    if joined != [call]:  # it may fall back on them
        own, mask = [effects(c, do) for c in joined], list(_arrays((call.kwargs["finish"].get("aux"),)))
        return Effects([*mask, *(a for e in own for a in e.reads)], [*mask, *(a for e in own for a in e.writes)], [])
    function, args, kwargs = call
    name = getattr(function, "__name__", "").removeprefix("cupy_")  # as CuPy calls its ufuncs
    everything = list(_arrays((args, tuple(kwargs.values()))))
    if function in (getattr(do.cupy, "copyto", None), getattr(do, "copyto", None)):
        return Effects(
            list(_arrays((args[1:], kwargs.get("where")))), [args[0]], [args[0]] if "where" not in kwargs else []
        )
    of = getattr(function, "__self__", None)
    known = of is do or isinstance(of, Communicator) or function == getattr(do.cupy, name, None)
    if not known or kwargs.get("out") is None:
        return Effects(everything, everything, [])
    if function == do.formula:
        f, *inputs = args
        outs = kwargs["out"]
        several = outs if isinstance(outs, tuple) else (outs,)
        program = traced(f, len(inputs), len(several), dtype=type_of(inputs, several).name)
        args = tuple(inputs[k] for k in program.read())
    written = list(_arrays((kwargs["out"],)))
    others = tuple(value for key, value in kwargs.items() if key != "out")
    changed = list(_arrays((kwargs.get("total"),)))
    return Effects(list(_arrays((args, others))), [*written, *changed], written)


def is_read(a: Array, calls: Sequence[Call | None], do: Launches, after: Call | None = None) -> bool:
    """Whether any of the calls, in this order, reads a number that lies in `a` before the first of them. after: one
    that comes before them, and may read it or write over it."""
    left = [span(a)]
    for filled in _filled(effects(after, do).fills) if after is not None else ():
        left = [part for gap in left for part in _without(gap, filled)]
    for call in (part for joined in calls if joined is not None for part in parts(joined)):
        reads, _, fills = effects(call, do)
        if any(low < high_ and low_ < high for low, high in left for low_, high_ in map(span, reads)):
            return True
        for filled in _filled(fills):
            left = [part for gap in left for part in _without(gap, filled)]
        if not left:
            return False
    return False


def touches(call: Call | None, arrays: Sequence[Array], do: Launches, *, reading: bool = False) -> bool:
    """Whether a call may write any of the arrays; or, with `reading`, read or write them."""
    if call is None:
        return False
    reads, writes, _ = effects(call, do)
    return any(may_share(a, b) for a in (*writes, *(reads if reading else ())) for b in arrays)


def _filled(arrays: Sequence[Array]) -> Iterator[tuple[int, int]]:
    """Stretches of bytes that one call fills by all these: an array without gaps, or several whose numbers lie in each
    other's gaps and leave none, as the pixels under the taps of a pooling."""
    apart = []
    for a in arrays:
        if a.flags.c_contiguous:
            yield span(a)
        else:
            apart.append(a)
    if apart:
        whole = min(span(a)[0] for a in apart), max(span(a)[1] for a in apart)
        if sum(a.size * a.dtype.itemsize for a in apart) == whole[1] - whole[0]:
            yield whole


def _without(one: tuple[int, int], other: tuple[int, int]) -> list[tuple[int, int]]:
    """What is left of a stretch of bytes without another."""
    left = [(one[0], min(one[1], other[0])), (max(one[0], other[1]), one[1])]
    return [(low, high) for low, high in left if low < high]


def _arrays(values: Any) -> Iterator[Array]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _arrays(value)
        elif isinstance(value, Bfloat16):
            yield value.bits
        elif address(value):
            yield value
