"""Check of compiled code against the recorded calls that it replaces, bit for bit, in one replay.

NumPy, its BLAS or Numba may be built otherwise than those known here. So before compiled code takes over a record, one
replay is done both ways, stretch by stretch, where a stretch is what lies between two calls that stay Python's:

    (1)  each part must leave the bits that its call leaves, in all arrays of the call, from the memory that it finds
    (2)  all parts together must leave the bits that the calls leave, in all arrays of the stretch

(1) finds the call, also where later calls write over its result; (2) finds what writes beyond its own arrays. The
memory is then as the calls leave it. Copies are held meanwhile, of LIMIT bytes or of one call's arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..recording import Call, Record, replay_if
from .loops import Fused

LIMIT = 2**26  # bytes; of longer stretches one part is compared after the other

Array = np.ndarray[Any, Any]


def first_difference(calls: Sequence[Call], parts: Sequence[Call]) -> tuple[str, bool]:
    """Replay the calls once; the first whose part leaves other bits, in words, "" if there is none; and whether all
    parts were compared: what stands within `replay_if` is not, where its flag is false.

    parts: what is to take the place of each call, or the call itself.

    >>> x = np.ones(2)
    >>> calls, parts = ([Call(f, (x, x, x), {})] for f in (np.add, np.subtract))
    >>> first_difference(calls, parts), x.tolist()
    (('call 1 of 1, add(a0, a0, a0)', True), [2.0, 2.0])
    """
    found, complete = "", True
    for first, end in _blocks(calls, parts):
        call, part = calls[first], parts[first]
        if found or part is call:
            _do(calls[first:end])
        elif part.function is replay_if:
            if done := bool(call.args[0][()]):
                found, done = first_difference(call.args[1].calls, part.args[1].calls)
            complete &= done
        else:
            place = _difference(calls[first:end], parts[first:end])
            if place is not None:
                k, together = first + place[0], place[1]
                found = f"call {k + 1}{f' to {end}' if together else ''} of {len(calls)}, {Record([calls[k]])}"
            complete &= all(bool(c.args[0][()]) for c in calls[first:end] if c.function is replay_if)
    return found, complete


def _blocks(calls: Sequence[Call], parts: Sequence[Call]) -> Iterator[tuple[int, int]]:
    """(first, end) of stretches, or of pieces of them on which (1) and (2) are done together; of other calls alone."""
    first, size = 0, 0
    alone = [part is call or part.function is replay_if for call, part in zip(calls, parts, strict=True)]
    for k, call in enumerate(calls):
        more = sum(a.nbytes for a in _arrays([call]))
        if k > first and (alone[k] or alone[first] or size + more > LIMIT):
            yield first, k
            first, size = k, 0
        size += more
    if calls:
        yield first, len(calls)


def _difference(calls: Sequence[Call], parts: Sequence[Call]) -> tuple[int, bool] | None:
    """(number of the first call that differs, whether that is found of all together only); the calls are done."""
    if len(calls) == 1:
        return None if _same(calls, parts) else (0, False)
    before = _Memory(calls)
    pairs = enumerate(zip(calls, parts, strict=True))
    k = next((k for k, (call, part) in pairs if not _same([call], [part])), None)
    before.restore()
    if k is not None:
        _do(calls)
        return k, False
    return None if _same(calls, parts) else (0, True)


def _same(calls: Sequence[Call], parts: Sequence[Call]) -> bool:
    """Do the calls; whether the parts leave the same bits."""
    before = _Memory(calls)
    _do(parts)
    after = _Memory(calls)
    before.restore()
    _do(calls)
    return after.is_now()


class _Memory:
    """The bytes of the arrays that some calls read or write, at one moment.

    What several threads read is not written to by `restore`, unless it has changed.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        distinct = {(a.ctypes.data, a.shape, a.strides, a.dtype): a for a in _arrays(calls)}
        self._held = [(a, a.tobytes()) for a in distinct.values()]
        self._dying = list(_dying(calls))

    def restore(self) -> None:
        for a, held in self._held:
            if a.flags.writeable and a.tobytes() != held:
                a[...] = np.frombuffer(held, a.dtype).reshape(a.shape)

    def is_now(self) -> bool:
        """Whether the bits are the same now, but for values that die within a formula, and for which of its many bit
        patterns a NaN has: a compiler may exchange the operands of a sum, which keeps the first one's."""
        changed = [a for a, held in self._held if a.tobytes() != held and not _same_numbers(a, held)]
        return all(any(np.may_share_memory(a, b) for b in self._dying) for a in changed)


def _same_numbers(a: Array, held: bytes) -> bool:
    if a.dtype.kind != "f":
        return False
    words, now, before = f"u{a.itemsize}", np.ravel(a), np.frombuffer(held, a.dtype)
    alike = now.view(words) == before.view(words)
    return bool(np.all(alike | (np.isnan(now) & np.isnan(before))))


def _do(calls: Iterable[Call]) -> None:
    for function, args, kwargs in calls:
        function(*args, **kwargs)


def _arrays(calls: Iterable[Call]) -> Iterator[Array]:
    """What calls read and write; of a formula's passes what the formula does."""
    for function, args, kwargs in calls:
        if function is replay_if:
            yield np.asarray(args[0])
            yield from _arrays(args[1].calls)
        for given in (*args, *kwargs.values()):
            a = np.asarray(given) if isinstance(given, memoryview) else given
            if isinstance(a, np.ndarray) and a.size:
                yield a[(*(slice(None if step else 1) for step in a.strides), ...)]  # what is repeated once


def _dying(calls: Iterable[Call]) -> Iterator[Array]:
    """What the passes of formulas write and their loops don't: values that die within the formula."""
    for function, args, _ in calls:
        if function is replay_if:
            yield from _dying(args[1].calls)
        elif isinstance(function, Fused):
            passes = _arrays(function.passes)
            yield from (a for a in passes if not any(np.may_share_memory(a, given) for given in args))
