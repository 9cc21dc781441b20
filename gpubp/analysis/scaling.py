"""Estimates of how long a training step takes that several processes share.

P processes share a step. Each computes the gradients of its b rows. They sum them into slices, of which each process
has one; each updates the parameters of its slice; then every process gets the other slices of the parameters.

    (1)  T(P) = t_rows(b) + t_update/P + t_add + t_send              for P of 2 and more
    (2)  t_add  = (P-1)/P n γ                                        P-1 slices of n/P bytes are added to its own
    (3)  t_send = 2 (P-1)/P n/β + 2 (P-1) α + k ⌈log₂P⌉ α
    (4)  speed-up = T(1)/T(P)         the same batch of B rows:         b = ⌈B/P⌉
    (5)  speed-up = P T(1)/T(P)       the same rows in each process:    b = B, in rows a second
    (6)  efficiency = speed-up / P

n: bytes of the gradients. α: latency, β: bandwidth of a process, each way at once. γ: seconds to add a byte. k: small
sums in a step: loss and metrics; four for each BatchNorm (mean, variance, dbeta, dgamma); the norm that clips; the
penalty; whether the step is finite.

(3) is what sending costs if messages do not disturb each other: slices are sent directly from process to process, P-1
messages for the sum and P-1 for the parameters; a small sum doubles in every round the processes that it contains
(Thakur, Rabenseifner and Gropp 2005; their β is 1/β here). No sending is taken to overlap with computing; a step that
sends a slice while it computes the next one is faster.

T(1) is measured, as one process trains: with as many threads as seem best. t_rows is measured as one of several
processes computes, with one thread or `workers` of them, at each b: a small batch takes more time a row, because a step
has parts that every batch needs, such as writing all weight gradients. t_rows(B)/P would promise too much. What the
model leaves out: processes on one machine share its memory, and the slowest one lets the others wait.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..rounding import decimal_bytes, duration
from ..training.sharing import shards_of
from .links import Link, rate

BUSY = 1.3


@dataclass(frozen=True)
class StepCosts:
    """What a step costs on this machine, and what of it processes would send.

    rows: B of the batch. alone: T(1), seconds of the whole step of one process. computing: (b, parts) -> t_rows,
    seconds of batch, forward, loss and backward of one process of several, which has b rows in so many parts. update:
    t_update. gradient_bytes: n. add: n γ, seconds to add a vector of gradients to another. small_sums: k. device: where
    it ran. threads: of one process. workers: threads of each of several. shards: parts of every batch, None for no
    fixed number. slowed: how many times as long the step took in most turns as in the best one, which counts; above
    `BUSY`, other programs use the machine.

    >>> costs = StepCosts(128, 1.2e-3, {}, 4e-4, 4_000_000, 1e-4, 1, "cpu", shards=8)
    >>> costs.share(2, 128), costs.share(8, 128), costs.share(3, 128)
    ((64, 4), (16, 1), None)
    """

    rows: int
    alone: float
    computing: Mapping[tuple[int, int], float]
    update: float
    gradient_bytes: int
    add: float
    small_sums: int
    device: str
    threads: int = 1
    workers: int = 1
    shards: int | None = None
    slowed: float = 1.0

    def share(self, processes: int, rows: int) -> tuple[int, int] | None:
        """(rows, parts) of each process where several share so many rows; None where they can't share the shards."""
        return share_of(processes, rows, self.workers, self.shards)


def share_of(processes: int, rows: int, workers: int, shards: int | None) -> tuple[int, int] | None:
    """See `StepCosts.share`.

    >>> share_of(3, 100, 2, None), share_of(2, 100, 1, 8)           # 6 parts of 17 rows, 8 of 13
    ((34, 2), (52, 4))
    """
    parts = workers if shards is None else shards_of(shards, processes)
    return None if parts is None else (-(-rows // (processes * parts)) * parts, parts)


@dataclass(frozen=True)
class Estimate:
    """A step that P processes share; times in seconds.

    processes: P. rows: b, of each process. computing: t_rows. updating: t_update/P. adding, sending: (2), (3).
    speed_up: (4) or (5). pays_from: the bandwidth, in bytes a second, above which P processes are faster than one; None
    where they are slower with any, because latency and computing alone take as long.
    """

    processes: int
    rows: int
    computing: float
    updating: float
    adding: float
    sending: float
    speed_up: float
    pays_from: float | None

    @property
    def step(self) -> float:
        """(1)"""
        return self.computing + self.updating + self.adding + self.sending

    @property
    def efficiency(self) -> float:
        """(6)"""
        return self.speed_up / self.processes

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return {**asdict(self), "step": self.step, "efficiency": self.efficiency}


def estimate(costs: StepCosts, link: Link, processes: int, same_batch: bool) -> Estimate:
    """(1) to (6) for P processes. same_batch: (4), which needs at least a row for each part; else (5). Raises
    ValueError where the processes can't share the shards.

    >>> costs = StepCosts(128, 1.2e-3, {(128, 1): 8e-4, (64, 1): 5e-4}, 4e-4, 4_000_000, 1e-4, 1, "cpu")
    >>> found = estimate(costs, Link.of("32Gbit", "10us"), 2, same_batch=True)
    >>> found.rows, round(found.sending, 6), round(found.step, 6)       # 4 MB at 4 GB/s, and three latencies
    (64, 0.00103, 0.00178)
    >>> round(found.speed_up, 3), round(found.pays_from / 1e9, 2)       # 4 MB in 1.2 - 0.78 ms
    (0.674, 9.52)
    """
    P, n = processes, costs.gradient_bytes
    share = costs.share(P, costs.rows if same_batch else P * costs.rows)
    if share is None:
        raise ValueError(f"{costs.shards} shards can't be shared by {P} processes")
    rows, _ = share
    part, work = (P - 1) / P, 1 if same_batch else P
    computing, updating, adding = costs.computing[share], costs.update / P, part * costs.add
    waiting = (2 * (P - 1) + costs.small_sums * math.ceil(math.log2(P))) * link.latency
    sent = 2 * part * n
    others = computing + updating + adding + waiting
    left = work * costs.alone - others
    pays_from = None if left <= 0 else sent / left
    sending = waiting + sent / link.bandwidth
    speed_up = work * costs.alone / (others + sent / link.bandwidth)
    return Estimate(P, rows, computing, updating, adding, sending, speed_up, pays_from)


def least_rows(costs: StepCosts, processes: int) -> int:
    """The rows of a batch that P processes divide, with a row for each part.

    >>> least_rows(StepCosts(4, 1e-3, {}, 0.0, 0, 0.0, 0, "cpu", workers=2), 3)
    6
    """
    return costs.shards or processes * costs.workers


@dataclass(frozen=True)
class Scaling:
    """What `estimate_scaling` found; printed, two tables with a sentence below each.

    costs: what was measured. link: the network between the processes. same_batch: estimates where the processes divide
    a batch of as many rows as one has. same_rows: where each process has as many rows as one alone. impossible: numbers
    of processes that can't share the shards.

    >>> costs = StepCosts(128, 1.2e-3, {(128, 1): 8e-4, (64, 1): 5e-4, (32, 1): 4e-4}, 4e-4, 4_000_000, 1e-4, 1, "cpu")
    >>> print(Scaling.of(costs, Link.of("100Gbit", "10us"), (2, 4)))
    one process: a step on 128 rows takes 1.2 ms on cpu by 1 thread
    several: 1 thread in each; an update of 400 µs and 4.0 MB of gradients are shared
    they are joined by 100 Gbit/s (12.5 GB/s) with 10 µs a message; no sending overlaps with computing
    <BLANKLINE>
    the same batch: 128 rows are divided
    processes  rows each     step  speed-up  efficiency  sending    pays from
            1        128   1.2 ms      1.00        100%
            2         64   1.1 ms      1.09         55%   350 µs  76.2 Gbit/s
            4         32  1.14 ms      1.06         26%   560 µs  88.1 Gbit/s
    of these, 2 processes are the fastest: 1.09 times as fast as one
    it stops paying there: 4 processes are slower
    <BLANKLINE>
    the same rows: 128 in each process; speed-up in rows a second
    processes  rows together     step  speed-up  efficiency  sending    pays from
            1            128   1.2 ms      1.00        100%
            2            256   1.4 ms      1.71         86%   350 µs  24.2 Gbit/s
            4            512  1.53 ms      3.13         78%   560 µs  12.8 Gbit/s
    of these, 4 processes are the fastest: 3.13 times as fast as one
    """

    costs: StepCosts
    link: Link
    same_batch: tuple[Estimate, ...]
    same_rows: tuple[Estimate, ...]
    impossible: tuple[int, ...] = ()

    @classmethod
    def of(cls, costs: StepCosts, link: Link, processes: tuple[int, ...]) -> Scaling:
        """Both estimates for each number of processes that can share the shards; the first only where each part has
        a row."""
        possible = [P for P in processes if costs.share(P, costs.rows) is not None]
        divided = tuple(estimate(costs, link, P, True) for P in possible if costs.rows >= least_rows(costs, P))
        same_rows = tuple(estimate(costs, link, P, False) for P in possible)
        return cls(costs, link, divided, same_rows, tuple(P for P in processes if P not in possible))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; times in seconds, bandwidths in bytes a second.

        >>> costs = StepCosts(128, 1.2e-3, {(128, 1): 8e-4, (64, 1): 5e-4}, 4e-4, 4_000_000, 1e-4, 1, "cpu")
        >>> Scaling.of(costs, Link.of("100Gbit", "10us"), (2,)).to_dict()["same_batch"][0]["rows"]
        64
        """
        return {
            "bandwidth": self.link.bandwidth,
            "latency": self.link.latency,
            "rows": self.costs.rows,
            "step": self.costs.alone,
            "update": self.costs.update,
            "gradient_bytes": self.costs.gradient_bytes,
            "small_sums": self.costs.small_sums,
            "shards": self.costs.shards,
            "same_batch": [one.to_dict() for one in self.same_batch],
            "same_rows": [one.to_dict() for one in self.same_rows],
        }

    def __str__(self) -> str:
        costs = self.costs
        each = (
            f"{costs.workers} thread{'s' * (costs.workers > 1)} in each" if costs.device == "cpu" else "a GPU for each"
        )
        by = f" by {costs.threads} thread{'s' * (costs.threads > 1)}" if costs.device == "cpu" else ""
        if costs.shards is not None:
            each = f"{costs.shards} shards of every batch, {each}"
        lines = [
            f"one process: a step on {costs.rows:,} rows takes {duration(costs.alone)} on {costs.device}{by}",
            f"several: {each}; an update of {duration(costs.update)} and {decimal_bytes(costs.gradient_bytes)} of "
            "gradients are shared",
            f"they are joined by {self.link}; no sending overlaps with computing",
        ]
        if costs.slowed > BUSY:
            lines.append(
                f"this machine is busy: most turns took {costs.slowed:.2g} times as long as the best, which counts here"
            )
        if self.same_batch:
            lines += ["", f"the same batch: {costs.rows:,} rows are divided", *self._table(self.same_batch, False)]
            lines += self._words(self.same_batch, True)
        if len(self.same_batch) < len(self.same_rows):
            more = ", ".join(f"{one.processes:,}" for one in self.same_rows[len(self.same_batch) :])
            lines.append(f"{costs.rows:,} rows are too few for {more} processes")
        if self.impossible:
            several = ", ".join(f"{P:,}" for P in self.impossible)
            lines.append(f"{costs.shards} shards can't be shared by {several} processes")
        if self.same_rows:
            lines += ["", f"the same rows: {costs.rows:,} in each process; speed-up in rows a second"]
            lines += [*self._table(self.same_rows, True), *self._words(self.same_rows, False)]
        return "\n".join(lines)

    def _table(self, found: tuple[Estimate, ...], together: bool) -> list[str]:
        rows = self.costs.rows
        head = ("processes", "rows together" if together else "rows each", "step", "speed-up", "efficiency")
        cells = [
            (*head, "sending", "pays from"),
            ("1", f"{rows:,}", duration(self.costs.alone), "1.00", "100%", "", ""),
        ]
        for one in found:
            cells.append(
                (
                    f"{one.processes:,}",
                    f"{one.processes * rows if together else one.rows:,}",
                    duration(one.step),
                    f"{one.speed_up:.2f}",
                    f"{100 * one.efficiency:.0f}%",
                    duration(one.sending),
                    "never" if one.pays_from is None else rate(one.pays_from),
                )
            )
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        return ["  ".join(map(str.rjust, line, widths)).rstrip() for line in cells]

    def _words(self, found: tuple[Estimate, ...], same_batch: bool) -> list[str]:
        """Whether it pays, in a sentence or two."""
        first, best = found[0], max(found, key=lambda one: one.speed_up)
        P, words = first.processes, []
        if first.speed_up <= 1:
            sent = decimal_bytes(2 * (P - 1) / P * self.costs.gradient_bytes)
            slower = "are slower than one" if same_batch else "compute fewer rows a second than one"
            words.append(
                f"{P:,} processes over {rate(self.link.bandwidth)} {slower}: sending {sent} takes "
                f"{duration(first.sending)}, the rest {duration(first.step - first.sending)}, and the whole step of "
                f"one process {duration(self.costs.alone)}"
            )
        if best.speed_up > 1:
            times = f"{best.speed_up:.3g} times as fast as one"
            words.append(f"of these, {best.processes:,} processes are the fastest: {times}")
            if worse := [one for one in found if one.processes > best.processes]:
                words.append(f"it stops paying there: {worse[0].processes:,} processes are slower")
        if never := [f"{one.processes:,}" for one in found if one.pays_from is None]:
            words.append(f"never: with any bandwidth, computing and latency of {', '.join(never)} take longer than one")
        return words
