"""Exchange: what the processes of a training step send each other.

Every process has all parameters, and updates its own slice of them:

    (1)  g[slice of p] = tree(g₀, g₁, …)[slice of p]      the gradients of all processes, summed by process p
    (2)  θ[slice of p] ← rule(θ, g, moments)              by process p alone, whose moments of the slice are right
    (3)  θ[slice of p] → all other processes

(1) and (3) together send 2 (P - 1)/P of the parameters' bytes from each of P processes, as the best sum over all
processes does, and (2) is divided by P. What (2) writes beside the parameters, moments and a moving average, is
gathered only where somebody reads it.

The layers of a chain are done with their gradients one after the other, the last layer first. So large gradients are
sent in buckets, each as soon as the backward pass is done with it, while the layers below are still being computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..backends import Array
from ..flat import FlatArray
from ..processes import Processes, VectorSlices
from .groups import slice_of

BUCKET = 1 << 18  # bytes that are worth messages of their own


class Exchange:
    """(1) and (3) for one update.

    processes: that share it. parts: of one process. parameters: the network's. gradients: of those that are trained,
    in the same order. exact: in exact numerics. chain: the names of the parameters of each layer of a chain, in the
    order of the forward pass; nothing for other networks.

    bounds: where the slices of the processes begin and end in the gradients' vector. ready: what to call when the
    backward pass is done with a layer of the chain, by its number; empty where nothing is sent before the end.
    """

    def __init__(
        self,
        processes: Processes,
        parts: int,
        parameters: FlatArray,
        gradients: FlatArray,
        exact: bool,
        chain: Sequence[Sequence[str]] = (),
    ) -> None:
        self.processes, self.parts, size = processes, parts, processes.size
        length = len(gradients.flat)
        starts = [slice_of(length, p * parts, parts * size, exact)[0] for p in range(size)]
        self.bounds = [*starts, length]
        among = [0, *(_place(start, gradients, parameters) for start in starts[1:]), len(parameters.flat)]
        self._buckets: list[VectorSlices] = []
        self.ready: dict[int, Callable[[], None]] = {}
        cuts = [0]
        for layer, of_layer in sorted(buckets(gradients, chain), key=lambda bucket: bucket[1].start):
            self._add_bucket(gradients.flat, cuts[-1], of_layer.start)
            made = self._add_bucket(gradients.flat, of_layer.start, of_layer.stop)
            if made is not None:
                self.ready[layer] = made.start
            cuts.append(of_layer.stop)
        self._add_bucket(gradients.flat, cuts[-1], length)
        self._parameters = processes.slices(parameters.flat, among)
        self._others: dict[int, VectorSlices] = {}

    def _add_bucket(self, vector: Array, low: int, high: int) -> VectorSlices | None:
        """The part of every slice that lies between two places of the vector; None for an empty part."""
        if low == high:
            return None
        within = [min(max(bound, low), high) - low for bound in self.bounds]
        made = self.processes.slices(vector[low:high], within)
        self._buckets.append(made)
        return made

    def sum_gradients(self) -> None:
        """(1), of what has not been sent before, too."""
        for bucket in self._buckets:
            bucket.start()
        for bucket in self._buckets:
            bucket.sum()

    def gather_parameters(self) -> None:
        """(3)"""
        self._parameters.gather()

    def gather(self, vector: Array) -> None:
        """Bring the slices of a moment, or of the average, to every process. All of them call it."""
        if id(vector) not in self._others:
            self._others[id(vector)] = self.processes.slices(vector, self.bounds)  # which keeps the vector alive
        self._others[id(vector)].gather()

    def forget(self, vector: Array) -> None:
        """Let go of a vector that is not gathered any more."""
        self._others.pop(id(vector), None)


def buckets(gradients: FlatArray, chain: Sequence[Sequence[str]], least: int = BUCKET) -> list[tuple[int, slice]]:
    """(layer of the chain, a run of the gradients' vector) of the buckets that are whole when the backward pass is done
    with that layer. What is in no bucket is sent at the end: all that the first layer and small parameters have.

    >>> from gpubp.backends import get_backend
    >>> shapes = {"0.W": (64,), "1.W": (64,), "2.W": (64,), "0.b": (16,)}
    >>> gradients = FlatArray(get_backend("cpu"), shapes, "float32")
    >>> buckets(gradients, [["0.W", "0.b"], ["1.W"], ["2.W"]], least=256)
    [(2, slice(128, 192, None)), (1, slice(64, 128, None))]
    """
    found: list[tuple[int, slice]] = []
    pending: slice | None = None
    for layer in range(len(chain) - 1, 0, -1):
        runs = [run for _, run in gradients.runs([name for name in chain[layer] if name in gradients])]
        if not runs:
            continue
        largest = max(runs, key=lambda run: run.stop - run.start)
        adjacent = pending is not None and largest.stop == pending.start
        pending = slice(largest.start, pending.stop) if pending is not None and adjacent else largest
        if (pending.stop - pending.start) * gradients.dtype.itemsize >= least:
            found.append((layer, pending))
            pending = None
    return found


def _place(start: int, of: FlatArray, among: FlatArray) -> int:
    """Where in the vector `among`, which has more parameters in the same order, a slice begins that begins at `start`
    in the vector `of`.

    >>> from gpubp.backends import get_backend
    >>> shapes = {"a": (16,), "b": (16,), "c": (16,)}
    >>> all_of_them = FlatArray(get_backend("cpu"), shapes, "float32")
    >>> _place(20, FlatArray(get_backend("cpu"), {"b": (16,), "c": (16,)}, "float32"), all_of_them)
    36
    """
    name = max((n for n, offset in of.offsets.items() if offset <= start), key=lambda n: of.offsets[n])
    return among.offsets[name] + start - of.offsets[name]
