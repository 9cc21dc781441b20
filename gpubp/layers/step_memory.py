"""What the layers of a network hold in a training step on a GPU, from their plans alone."""

from __future__ import annotations

import math

from .base import Layer
from .bound import BoundLayers
from .composition import Sequential
from .dense import Dense
from .plan import Buffer, Plan, bytes_of, join, shape_of


def step_bytes(network: BoundLayers, rows: int, reuses: bool = True) -> int:
    """Bytes of arrays that a training step on `rows` rows makes on a GPU, beside parameters, gradients and moments.

    It leaves out of `step_memory` what is not made: gradients that nobody uses, as that of the network's inputs,
    memory of which only a CPU's backend has need, and what lies in the place of what is no longer read.
    reuses: whether arrays do so, as they do where no probe looks at them.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Dense(2)), input_shape=4, device="cpu")
    >>> net.step_memory(32), step_bytes(net, 32)
    (4864, 3328)
    """
    count = _Count(network, reuses)
    return count.of(network.layers, network.plan(rows), "", network.computes_dx, True) + count.aside


class _Count:
    """aside: bytes of the memory that all normalizations, PReLU and such share, of the most numbers of one of them."""

    def __init__(self, network: BoundLayers, reuses: bool) -> None:
        self._trained, self._dtype = frozenset(network.trainable), network.dtype
        self._piece = network.backend.piece_for(1)
        self.aside = 0
        self._places = network.backend.places if reuses and network.backend.reuses_memory else 0

    def of(
        self,
        layer: Layer,
        plan: Plan,
        path: str,
        wants_dx: bool,
        goes_back: bool,
        elsewhere: frozenset[str] = frozenset(),
    ) -> int:
        """Bytes of a layer and all inside. goes_back: whether `backward` is called. elsewhere: arrays that lie in the
        place of others."""
        made = plan.all_arrays(self._piece, wants_dx and goes_back)
        own_backward = goes_back and type(layer).backward is not Layer.backward  # which may write its dx in any case
        unused = set() if wants_dx or own_backward else {"dx"}
        held = {n: a for n, a in made.items() if n.isidentifier() and n not in unused | elsewhere}
        if (plan.parameters or plan.states) and not isinstance(layer, Dense) and plan.pieces is None:
            self.aside = max(self.aside, *(bytes_of({n: a}, self._dtype) for n, a in made.items()))
        return bytes_of(held, self._dtype) + self._inside(layer, plan, path, wants_dx, goes_back)

    def _inside(self, layer: Layer, plan: Plan, path: str, wants_dx: bool, goes_back: bool) -> int:
        places = [join(path, str(i)) for i in range(len(plan.children))]
        trained = [
            any(join(place, name) in self._trained for name in inner.all_parameters())
            for place, inner in zip(places, plan.children, strict=True)
        ]
        wanted = layer.wanted_by_children(wants_dx, trained)
        chain = type(layer).forward is Sequential.forward and type(layer).backward is Sequential.backward
        size, shared = 0, list[int]()
        for i, (child, inner, place) in enumerate(zip(layer.children, plan.children, places, strict=True)):
            back = goes_back and (wanted[i] or trained[i] or not chain)
            elsewhere = self._elsewhere(plan, i, wanted[i] and back) if chain else frozenset()
            shared += [math.prod(shape_of(inner.arrays[name])) for name in elsewhere]
            size += self.of(child, inner, place, wanted[i], back, elsewhere)
        return size + min(self._places, len(shared)) * max(shared, default=0) * self._dtype.itemsize

    def _elsewhere(self, plan: Plan, i: int, dx: bool) -> frozenset[str]:
        """Which of y and dx of child i of a chain lie in the place of others, as `Workspace.reuse_memory` has it."""
        here, behind = plan.children[i], plan.children[i + 1 : i + 2]
        y = any("x" not in inner.reads for inner in behind) and "y" not in here.reads
        found = {name for name, is_shared in (("y", y), ("dx", dx)) if is_shared and name in here.overwrites}
        return frozenset(n for n in found if self._places and not isinstance(here.arrays[n], Buffer))
