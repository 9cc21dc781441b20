"""GlobalAveragePool, GlobalMaxPool, and means and maxima over all axes of space."""

from __future__ import annotations

from ...layers import (
    GlobalAvgPool2D,
    GlobalAvgPool3D,
    GlobalMaxPool2D,
    GlobalMaxPool3D,
    Layer,
    MaxOverTime,
    MeanOverTime,
)
from .layout import Layout, flat
from .model import Node
from .reader import Reader, reads
from .refused import Refused
from .values import Data, Value

LAYERS: dict[int, tuple[Layer, Layer]] = {  # by the number of gpubp's axes: of means, and of maxima
    3: (MeanOverTime(), MaxOverTime()),
    4: (GlobalAvgPool2D(), GlobalMaxPool2D()),
    5: (GlobalAvgPool3D(), GlobalMaxPool3D()),
}


@reads("GlobalAveragePool", "GlobalMaxPool")
def pool_all(r: Reader, node: Node) -> Value:
    """One number for each channel."""
    x = r.data(r.needed(node, 0))
    return over_space(r, node, x, list(range(2, len(x.layout.ox))), True, node.op == "GlobalMaxPool")


def over_space(r: Reader, node: Node, x: Data, axes: list[int], kept: bool, largest: bool) -> Data:
    """The mean or the largest numbers over axes of the file's tensor, which are all of space, or the time."""
    parts = [part for n in axes for part in x.layout.ox[n]]
    gp = x.layout.gp
    inner = [axis for axis in gp[1:-1] if not flat([axis]) or set(flat([axis])) <= set(parts)]
    if len(gp) not in LAYERS or len(inner) < len(gp) - 2 or set(flat([gp[-1]])) & set(parts) or not parts:
        raise Refused(
            f"it takes a {'maximum' if largest else 'mean'} over axes {axes}; gpubp has it over all of an image, and "
            "over time steps",
            layout=None,
        )
    if set(flat(inner)) != set(flat([tuple(parts)])):
        raise Refused(f"axes {axes} are not all of an image, and gpubp's layers take all", layout=None)
    ox = tuple(() if n in axes else axis for n, axis in enumerate(x.layout.ox))
    if not kept:
        ox = tuple(axis for n, axis in enumerate(x.layout.ox) if n not in axes)
    layout = Layout((gp[0], gp[-1]), ox, r.batch)
    return r.step(LAYERS[len(gp)][largest], [x], layout)
