"""The drawing of a network: units and weights of small ones, layers of others; made without matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...backends import get_backend
from ...config import instance
from ...data.checks import as_inputs, as_targets
from ...data.sequences import Sequences
from ...losses import HalfMeanSquaredError, Loss
from ...network.network import Network
from ...network.purpose import told_loss
from .figures import Place

if TYPE_CHECKING:
    from ...explain.drawings.drawing import Drawing

ROWS = 64  # of X, that are computed


def plot_network(
    network: Network,
    X: Any = None,
    y: Any = None,
    loss: Loss | None = None,
    training: bool = True,
    path: Place = None,
) -> Drawing:
    """Draw a network: of a small one every unit and every weight, of others a box for each layer.

    A network is small if it has up to 8 layers of up to 8 units, all of them Dense, activations, Dropout or BatchNorm.
    A weight is a line, wide where |weight| is large, and dashed where it is negative. With X, circles show the
    activations of the first row, in blue, and boxes mean |activation| over the rows. With y they show ∂L/∂ of them too,
    in red, and lines ∂L/∂ weight. A number tells its formula when a pointer rests on it.

    network: a Network. X, y: rows to look at, as `Network.loss_and_gradients` takes them; of more than 64 the first 64
    are computed, as one batch. Without X the structure and the weights are drawn. loss: L; by default what the network
    tells that it was trained with. training: whether layers such as Dropout and BatchNorm act as in training. path: an
    .svg file to draw into, or None. Needs no matplotlib.

    Returns the drawing, which notebooks show; its `svg` is text, and `save(path)` writes it. Raises ValueError for a
    path that does not end in .svg, and where X, y and loss don't go together; DataError where the data don't fit.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Sequential(bp.Dense(2), bp.Tanh(), bp.Dense(1)), input_shape=2, device="cpu")
    >>> drawing = plot_network(net, [[1.0, 2.0]], [3.0], bp.HalfMeanSquaredError())
    >>> drawing.svg.count("<circle")
    9
    """
    from ...explain.drawings.diagram import diagram_of_network
    from ...explain.drawings.drawing import Drawing, check_file, draw

    check_file(path)
    instance("plot_network", "network", Network, network)
    if loss is not None:
        instance("plot_network", "loss", Loss, loss)
    if y is None and loss is not None:
        raise ValueError("a loss is of X and y: give y too, or leave the loss out")
    if X is None:
        if y is not None:
            raise ValueError("y belongs to rows of X: give X too, or leave y out")
        drawing = Drawing(draw(diagram_of_network(network)))
    else:
        drawing = Drawing(_drawn(network, X, y, loss, training))
    if path is not None:
        drawing.save(path)
    return drawing


def _drawn(network: Network, X: Any, y: Any, loss: Loss | None, training: bool) -> str:
    """The drawing of a step on the first rows, as SVG."""
    from ...explain.drawings.diagram import diagram_of_step
    from ...explain.drawings.drawing import draw
    from ...explain.watched import Watched

    X = as_inputs(X, network.input_shape, get_backend("cpu"), network.dtype, check=network.input_check)
    rows = min(len(X), ROWS)
    some = X[:rows] if isinstance(X, Sequences) else X.take(np.arange(rows), axis=0)
    if y is None:
        t = as_targets(
            np.zeros((len(X), *network.output_shape)), HalfMeanSquaredError(), network.output_shape, X, network.dtype
        )
        step = Watched(network, some, t[:rows], HalfMeanSquaredError(), training=training)
        return draw(diagram_of_step(step).without_gradients())
    loss = loss or told_loss(network)
    if loss is None:
        raise ValueError("gradients are of a loss, and the network tells none: give loss, such as MeanSquaredError()")
    t = as_targets(y, loss, network.output_shape, X, network.dtype)
    return draw(diagram_of_step(Watched(network, some, t[:rows], loss, training=training)))
