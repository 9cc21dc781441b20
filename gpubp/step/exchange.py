"""Exchange: what the processes of a training step send each other.

Every process has all parameters, and updates its own slice of them:

    (1)  g[slice of p] = tree(g₀, g₁, …)[slice of p]      the gradients of all processes, summed by process p
    (2)  θ[slice of p] ← rule(θ, g, moments)              by process p alone, whose moments of the slice are right
    (3)  θ[slice of p] → all other processes

(1) and (3) together send 2 (P - 1)/P of the parameters' bytes from each of P processes, as the best sum over all
processes does, and (2) is divided by P. What (2) writes beside the parameters, moments and a moving average, is
gathered only where somebody reads it.
"""

from __future__ import annotations

from ..backends import Array
from ..flat import FlatArray
from ..processes import Processes, VectorSlices
from .groups import slice_of


class Exchange:
    """(1) and (3) for one update.

    processes: that share it. parts: of one process. parameters: the network's. gradients: of those that are trained,
    in the same order. exact: in exact numerics.

    bounds: where the slices of the processes begin and end in the gradients' vector.
    """

    def __init__(
        self, processes: Processes, parts: int, parameters: FlatArray, gradients: FlatArray, exact: bool
    ) -> None:
        self.processes, self.parts, size = processes, parts, processes.size
        length = len(gradients.flat)
        starts = [slice_of(length, p * parts, parts * size, exact)[0] for p in range(size)]
        self.bounds = [*starts, length]
        among = [0, *(_place(start, gradients, parameters) for start in starts[1:]), len(parameters.flat)]
        self._gradients = processes.slices(gradients.flat, self.bounds)
        self._parameters = processes.slices(parameters.flat, among)
        self._others: dict[int, VectorSlices] = {}

    def sum_gradients(self) -> None:
        """(1)"""
        self._gradients.sum()

    def gather_parameters(self) -> None:
        """(3)"""
        self._parameters.gather()

    def gather(self, vector: Array) -> None:
        """Bring the slices of a moment, or of the average, to every process. All of them call it."""
        if id(vector) not in self._others:
            self._others[id(vector)] = self.processes.slices(vector, self.bounds)  # which keeps the vector alive
        self._others[id(vector)].gather()


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
