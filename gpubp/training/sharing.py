"""Sharing: who computes which rows of a step: threads of this process, shards of a fixed number, several processes.

workers     threads, as many as seem best; the bits go by their number
shards      the batch has a fixed number of parts, whoever computes them; the bits don't go by workers or processes
processes   each computes as many parts as the others; without shards there are as many parts as workers in all
exact       in exact numerics any number of workers and processes gives the same bits, if each has blocks of 64 rows
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..backends.cpu.blas_threads import blas_threads
from ..layers.bound import BoundLayers
from ..processes import Processes
from ..step.workers import Team, exact_workers
from .lanes import Lanes

log = logging.getLogger("gpubp")


class Sharing:
    """How the steps of one network are shared.

    workers: threads of a process, None for as many as seem best. shards: parts of every batch, None for no fixed
    number. processes: those that train the network together, None for this one alone. resumed_workers: how many shared
    the steps of a training that was resumed, 0 if none was. begun: whether the processes have one network, that of
    process 0. settings: of the trainer, which must be the same in all processes.

    Raises ValueError where the processes can't share the shards equally, each a part of the tree that sums them, or
    where one GPU would have to compute several shards.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(1), 2, device="cpu")
    >>> sharing = Sharing(net, workers=2, shards=4)
    >>> sharing.room(30), sharing.team(32, lambda: 1).parts
    (32, 4)
    """

    def __init__(
        self,
        network: BoundLayers,
        workers: int | None = None,
        shards: int | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.network, self.workers, self.shards, self.processes = network, workers, shards, processes
        self.resumed_workers, self.begun = 0, False
        self.settings: dict[str, Any] = {}
        self._told: set[str] = set()
        on_gpu = network.backend.name != "cpu" and network.backend.numerics == "ordinary"
        if shards is not None and on_gpu and shards != (1 if processes is None else processes.size):
            raise ValueError(
                f"on GPUs each process computes one shard, so that {shards} shards need {shards} processes with a GPU "
                'each; take another number, device="cpu", or numerics="exact", which needs no shards'
            )
        if shards is not None and processes is not None and shards_of(shards, processes.size) is None:
            possible = [str(n) for n in range(1, shards + 1) if shards_of(shards, n) is not None]
            raise ValueError(
                f"{shards} shards can't be shared by {processes.size} processes: start {' or '.join(possible)}, or "
                f"take another number of shards, such as {processes.size * -(-shards // processes.size)}"
            )

    @property
    def fixed(self) -> bool:
        """Whether every batch has the same number of parts, padded if need be: with shards, or several processes."""
        return self.network.backend.numerics == "ordinary" and (self.shards or self.processes) is not None

    @property
    def parts(self) -> int:
        """The parts of a batch, where it is `fixed`."""
        if not self.fixed:
            return 1
        if self.network.backend.name != "cpu":  # which computes one part at a time
            return 1 if self.processes is None else self.processes.size
        if self.shards is not None:
            return self.shards
        return (1 if self.processes is None else self.processes.size) * (self.workers or 1)

    @property
    def shares_evaluations(self) -> bool:
        """Whether threads or processes share the batches of evaluations, which then have the same bits for any of
        them: with shards, or several processes."""
        on_cpu = self.network.backend.name == "cpu"
        return (self.fixed and on_cpu) or self.processes is not None

    def lanes(self, batches: int) -> Lanes:
        """Who evaluates which of so many batches."""
        on_cpu = self.network.backend.name == "cpu"
        threads = min(self._threads(batches), batches) if on_cpu else 1
        return Lanes(max(threads, 1), self.processes)

    def _threads(self, most: int) -> int:
        """The parts that this process computes at a time, of so many."""
        return self.workers or (min(blas_threads(), most) if self.processes is None else 1)

    def room(self, rows: int, pieces: int = 1) -> int:
        """How many rows a batch has room for, so that `rows` rows fit and each of its pieces has equal parts."""
        unit = pieces * self.parts
        return -(-rows // unit) * unit

    def place(self, team: Team) -> tuple[int, int]:
        """(p, P) of `Batch`: which of how many parts of the batch this process has."""
        return (0, 1) if team.processes is None else (team.processes.rank, team.processes.size)

    def team(self, rows: int, advice: Callable[[], int], alone: bool = False) -> Team:
        """A new team for steps that compute `rows` rows at a time, as `room` gives them.

        advice: the number of workers that seems best. alone: one part and no other process, for steps that somebody
        looks into.
        """
        exact, on_cpu = self.network.backend.numerics == "exact", self.network.backend.name == "cpu"
        if alone or (not on_cpu and self.processes is None):
            return Team(1, ordered=exact or self.fixed, one_thread=self.fixed)
        if exact:
            return self._exact_team(rows, advice)
        if not self.fixed:
            workers = self.workers or self.resumed_workers or advice()
            return Team(1 if rows % workers else workers)
        own = self.parts // (1 if self.processes is None else self.processes.size)
        team = Team(own, self._threads(own), self.processes, ordered=True, one_thread=True)
        self._tell(_described(team, self.shards))
        return team

    def _exact_team(self, rows: int, advice: Callable[[], int]) -> Team:
        """As many workers and processes as the tree over the rows allows; one, and this process alone, at worst."""
        P = 1 if self.processes is None else self.processes.size
        own = self.workers if self.network.backend.name == "cpu" else 1
        wished = P * (own or (advice() if P == 1 else 1))
        alone = [f'{layer!r} at "{path}"' for path, layer in self.network.layers.walk() if not layer.exact_workers]
        parts = 1 if alone else exact_workers(rows, wished)
        while parts > 1 and (parts % P or exact_workers(rows, parts) != parts):
            parts -= 1
        if parts != wished:
            unit = "part" if P > 1 else "worker"
            why = f"{rows} rows can't be shared by {wished} so that each has 64, 128, 256, ... of them"
            if alone:
                why = f"{alone[0]} sums over the rows one after the other"
            each = "; every process computes all rows" if P > 1 and parts == 1 else ""
            self._tell(f"exact numerics: {parts} {unit}{'s' * (parts > 1)} of {wished}: {why}{each}")
        if parts < P:
            return Team(1, ordered=True)
        return Team(parts // P, None, self.processes, ordered=True)

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            log.info(text)


def shards_of(shards: int, processes: int) -> int | None:
    """How many shards each process has, a power of two, so that they are a part of the tree; None where it can't be.

    >>> shards_of(8, 4), shards_of(12, 3), shards_of(6, 2), shards_of(6, 1)
    (2, 4, None, 6)
    """
    if processes == 1:
        return shards
    own = shards // processes
    return own if own * processes == shards and own & (own - 1) == 0 else None


def _described(team: Team, shards: int | None) -> str:
    """What is chosen, for the log."""
    P = 1 if team.processes is None else team.processes.size
    who = f"{P} process{'es' * (P > 1)}, {team.workers} at a time in each" if P > 1 else f"{team.workers} at a time"
    if shards is not None:
        return f"every batch has {shards} shards: {who}; the bits don't go by processes and workers"
    return f"every batch has {team.size} parts: {who}; shards={team.size} gives these bits on any number of them"
