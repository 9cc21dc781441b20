"""A loss on plain arrays, without a network: the losses of rows and positions, the mean and its gradient.

All of it is computed by the loss's own forward and backward, on the backend of a device:

    (1)  L = Σᵢ wᵢ ℓᵢ / Σᵢ wᵢ nᵢ        ℓᵢ: the loss of a row. nᵢ: how much it counts, 1 unless the loss says otherwise
    (2)  ∂L/∂z, from c = w / Σ w n, the share of each row
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..backends import Array, Backend, Shape, as_numpy, get_backend
from ..backends.order import exact_sum
from ..errors import DataError, ResultError, ShapeError
from ..layers import Context, Workspace
from ..layers.binding import plan_by
from ..layers.results import noted
from .positions import Numbers, PositionWeights, check_by_position, checked_weights, says

EACH = ("row", "position", "number")


class JudgesRows(Protocol):
    """What is asked of a `Loss`, which documents the names."""

    @property
    def has_counts(self) -> bool: ...
    def targets(self, y: Numbers, z: Shape) -> Numbers: ...


def targets_of(loss: JudgesRows, y: Numbers, z: Shape) -> Numbers:
    """What `loss.targets` makes of y for outputs of shape z, checked; ResultError if it is no array of numbers by row.

    >>> import gpubp as bp
    >>> targets_of(bp.MeanSquaredError(), np.array([1.0, 2.0]), (2, 1)).shape
    (2, 1)
    """
    with noted(loss, where := f"{type(loss).__name__}.targets"):
        t: Any = loss.targets(y, z)
    if not isinstance(t, np.ndarray) or t.ndim == 0 or len(t) != z[0] or t.dtype.kind not in "fiub":
        hint = "; is a return missing?" if t is None else ""
        raise ResultError(
            f"{where} must return a NumPy array of numbers with {z[0]} rows, and returned {t!r:.200}{hint}"
        )
    return t


class OnArrays:
    """A loss with its workspace, on outputs and targets that stand in arrays of a device.

    shape: of the outputs z. t: targets as `Loss.targets` gives them. weights: (B,) of rows, or (B, ...) of positions.
    Used while the backend is active.

    z, t: on the device. share: (B,) c on the host, in float64. total: Σ w n.

    >>> import gpubp as bp
    >>> on = OnArrays(bp.MeanSquaredError(), (2, 1), np.zeros((2, 1)), np.ones(2), get_backend("cpu"), "float64")
    >>> on.be.put(on.z, [[1.0], [3.0]])
    >>> on.forward().tolist(), on.backward().tolist()
    ([1.0, 9.0], [[1.0], [3.0]])
    """

    def __init__(
        self,
        loss: JudgesRows,
        shape: Shape,
        t: Numbers,
        weights: Numbers,
        be: Backend,
        dtype: Any,
        *,
        training: bool = True,
        seed: int = 0,
    ) -> None:
        self.be, rows = be, shape[0]
        context = Context(be, rows, dtype, seed)
        self.z, self.t = be.zeros(shape, dtype), be.to_device(t, t.dtype if t.dtype == np.int32 else np.dtype(dtype))
        try:
            plan = plan_by(loss, shape, tuple(t.shape))
        except ShapeError as problem:
            raise problem.of(repr(loss)) from None
        self.ws = Workspace(plan, loss, context, type(loss).__name__, training, True, True)
        self._of_positions: PositionWeights | None = None
        w = weights
        if weights.ndim > 1:
            check_by_position(loss)
            self._of_positions = PositionWeights(be, weights.shape, dtype)
            self._of_positions.mark(be.to_device(weights, np.dtype(dtype)))
            self.ws.judged = self._of_positions.positions
            w = np.ones(rows)
        be.put(context.weights, w)
        self.weights, self._shape = w, shape
        counts = self.ws.run_counts(self.t) if loss.has_counts else None
        if counts is None and self._of_positions is not None:
            counts = self._of_positions.counts
        self.total = float(w.sum() if counts is None else exact_sum(w * be.to_host(counts).astype(np.float64)))
        self.share = w / self.total if self.total else w
        be.put(context.share, self.share)

    def forward(self) -> Array:
        """ℓ (B,), of the numbers in z"""
        return self.ws.run_method("forward", self._shape[:1], self.z, self.t)

    def backward(self) -> Array:
        """∂L/∂z, after forward"""
        dz = self.ws.run_method("backward", self._shape, self.z, self.t)
        return dz if self._of_positions is None else self._of_positions.weigh(dz)


def losses_of(loss: JudgesRows, z: Any, y: Any, each: str, device: str | Backend) -> Numbers:
    """See `Loss.rows`.

    >>> import gpubp as bp
    >>> losses_of(bp.MeanAbsoluteError(), [[1.0, 2.0]], [[0.0, 0.0]], "number", "cpu")
    array([[1., 2.]])
    """
    if each not in EACH:
        raise ValueError(f"each is {', '.join(map(repr, EACH))}, and is {each!r:.80}")
    z, t = _outputs_and_targets(loss, z, y)
    shape = z.shape
    if each == "number" and not getattr(loss, "is_by_formulas", False):
        raise ValueError(f"{loss!r} has one loss a position and none of single outputs; take each='position'")
    if each == "position" and z.ndim > 2:  # each position as a row
        if not says(loss, "by_position", "forward", "backward") or t.shape[: z.ndim - 1] != shape[:-1]:
            raise ValueError(f"{loss!r} does not say that positions have losses of their own; take each='row'")
        t = t.reshape(-1, *t.shape[z.ndim - 1 :])
        z = z.reshape(-1, shape[-1])
    be = get_backend(device)
    with be.active(), np.errstate(all="ignore"):
        on = OnArrays(loss, z.shape, t, np.ones(len(z)), be, z.dtype, training=False)
        be.put(on.z, z)
        made = on.forward()
        found: Numbers = be.to_host(on.ws.e if each == "number" else made).copy()
    return found.reshape(shape[:-1]) if each == "position" else found


def value_and_gradient(
    loss: JudgesRows, z: Any, y: Any, sample_weight: Any, device: str | Backend
) -> tuple[float, Numbers]:
    """See `Loss.value_and_gradient`.

    >>> import gpubp as bp
    >>> value_and_gradient(bp.MeanSquaredError(), [[1.0], [3.0]], [0.0, 0.0], None, "cpu")[0]
    5.0
    """
    z, t = _outputs_and_targets(loss, z, y)
    weights = (
        np.ones(len(z)) if sample_weight is None else checked_weights(_numbers("sample_weight", sample_weight), z.shape)
    )
    be = get_backend(device)
    with be.active(), np.errstate(all="ignore"):
        on = OnArrays(loss, z.shape, t, weights, be, z.dtype)
        be.put(on.z, z)
        losses = be.to_host(on.forward()).astype(np.float64)
        counted = on.weights > 0  # 0 · ∞ is no number
        total = float(exact_sum(on.weights[counted] * losses[counted]))
        return total / on.total if on.total else float("nan"), be.to_host(on.backward()).copy()


def _numbers(name: str, given: Any) -> Numbers:
    """As an array; numbers that stand in it as Python's objects, as in a column of a table, as numbers."""
    try:
        a = as_numpy(given)
        return np.array(a.tolist()) if a.dtype == object else a
    except ValueError:  # lists of lists
        raise DataError(f"{name} has rows of different lengths; every row needs as many numbers") from None


def _outputs_and_targets(loss: JudgesRows, z: Any, y: Any) -> tuple[Numbers, Numbers]:
    """z in its own type, or float64, and the targets of the loss."""
    z, y = _numbers("z", z), _numbers("y", y)
    if z.dtype.kind not in "fiub":
        raise DataError(f"z holds {z.dtype}, and outputs are numbers")
    if z.ndim < 2 or not z.size:
        raise DataError(
            f"z has the shape {z.shape}; outputs are (rows, outputs), or (rows, ..., outputs) with more positions; of "
            "one number a row write z[:, None]"
        )
    if y.ndim == 0 or len(y) != len(z):
        raise DataError(f"z has {len(z)} rows and y {len(y) if y.ndim else 'none'}; each row of z needs its targets")
    z = z.astype(z.dtype if z.dtype in (np.float32, np.float64) else np.float64)
    t = targets_of(loss, y, z.shape)
    if t.dtype == np.int32:
        return z, t
    with np.errstate(over="ignore"):
        found = t.astype(z.dtype)
    beyond = np.isinf(found) & np.isfinite(t)
    if beyond.any():
        raise DataError(f"y holds {t[beyond][0]:g}, which {z.dtype} can't hold, the type of z: give z in float64")
    return z, found
