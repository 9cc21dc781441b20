"""Branches of a CUDA graph: weight gradients on a second stream, in parallel with input gradients.

In the backward pass a layer makes dW = xᵀ dy and dx = dy Wᵀ. The next layer needs dx at once, and dW nobody before the
update. Small products do not fill a GPU, so in a graph dW stands on a branch of its own:

    main   ... dy ─┬─ dx ─ ... ─ dx' ─┬─ ... ─┬─ update
    side           └─ dW ─────────────┴─ dW' ─┘

A call waits for what it depends on and for nothing else: for the last call that wrote what it reads or writes, and for
the last that read what it writes. Only products go to the side, and the sum of the rows' losses, which no other call of
a step waits for: they use no memory but their own and their stream's. The numbers are those of one stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..arrays import span
from ..recording import Call
from .effects import effects

if TYPE_CHECKING:
    from .launches import Launches

Spans = list[tuple[int, int]]


class Turn(NamedTuple):
    """One call of a step. aside: whether it runs on the side. after: the last call of the side that it waits for.

    >>> Turn(Call(max, (1, 2), {})).aside
    False
    """

    call: Call
    aside: bool = False
    after: int | None = None


def turns(calls: Sequence[Call], do: Launches) -> list[Turn]:
    """The calls, with those that may run beside others put aside. Calls of the main stream come in their order."""
    touched = [_Touched.of(call, do) for call in calls]
    asides = [i for i, call in enumerate(calls) if do.may_stand_aside(call) and _has_company(i, calls, touched, do)]
    made: list[Turn] = []
    waiting: list[int] = []  # calls put aside that the main stream has not waited for
    for i, call in enumerate(calls):
        if i in asides:
            made.append(Turn(call, True))
            waiting.append(i)
            continue
        needed = [k for k in waiting if touched[k].meets(touched[i])]
        made.append(Turn(call, False, max(needed, default=None)))
        if needed:
            waiting = [k for k in waiting if k > max(needed)]
    return made


def _has_company(i: int, calls: Sequence[Call], touched: list[_Touched], do: Launches) -> bool:
    """Whether another product comes before the first call that has to wait for this one."""
    for k in range(i + 1, len(calls)):
        if touched[i].meets(touched[k]):
            return False
        if do.is_product(calls[k]):
            return True
    return False


class _Touched(NamedTuple):
    """The stretches of memory that a call reads and writes."""

    reads: Spans
    writes: Spans

    @classmethod
    def of(cls, call: Call, do: Launches) -> _Touched:
        found = effects(call, do)
        return cls([span(a) for a in found.reads], [span(a) for a in found.writes])

    def meets(self, other: _Touched) -> bool:
        """Whether one of the two calls has to wait for the other."""
        return _overlap(self.writes, other.reads + other.writes) or _overlap(self.reads, other.writes)


def _overlap(some: Spans, others: Spans) -> bool:
    return any(low < high_ and low_ < high for low, high in some for low_, high_ in others)


class Branches:
    """A recorded step, launched on two streams; to be captured.

    calls: of the step. cuda: of the CuPy module. main, side: the streams.
    """

    def __init__(self, calls: Sequence[Call], do: Launches, cuda: Any, main: Any, side: Any) -> None:
        self.turns = turns(calls, do)
        self._do, self._cuda, self._main, self._side = do, cuda, main, side
        if self.forks:
            do.reserve(side, [turn.call for turn in self.turns if turn.aside])

    @property
    def forks(self) -> bool:
        """Whether anything runs on the side."""
        return any(turn.aside for turn in self.turns)

    def __call__(self) -> None:
        """All calls, in an order that the streams keep by waiting for each other."""
        done: dict[int, Any] = {}
        last = None
        for i, (call, aside, after) in enumerate(self.turns):
            if aside:
                self._side.wait_event(self._mark(self._main))
                with self._do.on(self._side):
                    call.function(*call.args, **call.kwargs)
                done[i] = last = self._mark(self._side)
            else:
                if after is not None:
                    self._main.wait_event(done[after])
                call.function(*call.args, **call.kwargs)
        if last is not None:
            self._main.wait_event(last)

    def _mark(self, stream: Any) -> Any:
        event = self._cuda.Event(disable_timing=True)
        event.record(stream)
        return event
