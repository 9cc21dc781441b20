"""HeldStates: restores running statistics after steps whose batch must not change them.

A batch whose weights are all 0 says nothing about any statistic, and a single number nothing about a variance. The host
knows the weights when it loads a batch. So such a step runs like any other, and what it must not change is put back.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ..backends import Array
from ..layers import Workspace
from ..layers.bound import BoundLayers


class HeldStates:
    """The running statistics of one network in the steps of one batch shape.

    ws: of the network in training mode. told: what has been warned of, which all steps of a training share. most: from
    how many rows of a weight above 0 on a batch changes all of them.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(2), bp.BatchNorm()), input_shape=3, device="cpu")
    >>> held = HeldStates(net, net.workspace(rows=4, training=True), set())
    >>> held.names(4), held.names(1), held.names(0)
    ([], ['1.var'], ['1.mean', '1.var'])
    """

    def __init__(self, network: BoundLayers, ws: Workspace, told: set[str]) -> None:
        self._network, self._ws, self._told = network, ws, told
        self._needs = {name: p.rows for name, p in network.plan(ws.context.rows).all_states().items()}
        self.most = max(self._needs.values(), default=0)
        self._kept: dict[str, Array] = {}

    def names(self, rows: int) -> list[str]:
        """The statistics that a batch with `rows` rows of a weight above 0 must not change; none in most steps."""
        if rows >= self.most:
            return []
        return [name for name, needed in self._needs.items() if rows < needed]

    def begin(self, counted: Sequence[int], batch_size: int) -> list[str]:
        """Before the step: the statistics that are to be put back after it, which are copied.

        counted: how many rows have a weight above 0, in each piece of the batch. A batch of several pieces holds its
        statistics within the step, see `PieceStatistics`. batch_size: rows of a piece. Warns, once for each layer, if
        some rows count but too few.
        """
        if min(counted) >= self.most:
            return []
        if least := min((rows for rows in counted if rows), default=0):
            self._warn(self.names(least), batch_size)
        names = self.names(counted[0]) if len(counted) == 1 else []
        be = self._network.backend
        for name in names:
            if name not in self._kept:
                self._kept[name] = be.zeros(self._network.states[name].shape, self._network.dtype)
            be.xp.copyto(self._kept[name], self._network.states[name])
        return names

    def put_back(self, names: list[str]) -> None:
        """After the step: put them back."""
        for name in names:
            self._network.backend.xp.copyto(self._network.states[name], self._kept[name])

    def _warn(self, names: list[str], batch_size: int) -> None:
        moved = {ws.path: ws for ws in self._ws.walk() if not ws.frozen}
        places = dict.fromkeys(name.rpartition(".")[0] for name in names)
        new = [path for path in places if path in moved and path not in self._told]
        if not new:
            return
        self._told.update(new)
        listed = ", ".join(_shown(moved[path]) for path in new)
        few = max(self._needs[name] for name in names)
        if few > 2:
            cause, advice = f"a batch has fewer than {few} rows of a weight above 0", "take larger batches"
        elif batch_size == 1:
            cause, advice = "a batch has one row", "take batches of 2 or more rows"
        else:
            cause = "a batch has one row, or only one of a weight above 0"
            advice = "take a batch_size that leaves no single row (n % batch_size != 1), or leave that row out"
        warnings.warn(
            f"{listed}: {cause}, which says too little about a variance. Such a batch leaves "
            f"{' and '.join(name for name in names if name.rpartition('.')[0] in new)} as it is, and evaluation may "
            f"differ from training; {advice}",
            RuntimeWarning,
            stacklevel=3,
        )


def _shown(ws: Workspace) -> str:
    layer: Any = ws._layer
    return f'{layer!r} at "{ws.path}"' if ws.path else repr(layer)
