"""gradcheck tests whether the backward of a layer or of a loss is the derivative of its forward.

Of a loss it is the derivative of the weighted mean over the rows, L = Σᵢ cᵢ ℓᵢ with cᵢ = wᵢ / Σ w. For any direction v

    (1) <∂L/∂z, v> = Σᵢ cᵢ (ℓᵢ(z + h v) - ℓᵢ(z - h v)) / 2h

tells in float64 whether backward is right, once with weights that are all 1 and once with weights that differ, 0 among
them. Of a layer see `layers/gradient_check.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends import OPERATORS, Array, Backend, Shape, as_numpy, get_backend, repeats
from ..config import Count, argument, as_call
from ..errors import DataError, RecordError, ShapeError
from ..layers import Layer
from ..layers.gradient_check import (
    Check,
    GradientMismatch,
    GradientReport,
    check_layer,
    difference,
    relative_error,
    unchanged,
)
from .base import Loss
from .on_arrays import OnArrays, targets_of
from .positions import checked_weights, says

OUTPUTS = (5, 3)  # where a loss is checked without a shape
RANGES = ((0.5, 2.5), (0.1, 0.9))  # of outputs, where the loss of normal ones is not finite


def gradcheck(
    of: Layer | Loss,
    shape: Shape | int | None = None,
    y: Any = None,
    *,
    sample_weight: Any = None,
    lengths: Sequence[int] | None = None,
    training: bool = True,
    tolerance: float = 1e-6,
    directions: int = 3,
    seed: int = 0,
    device: str | Backend = "cpu",
) -> GradientReport:
    """Compare the backward of a layer or a loss with differences of its forward, in float64.

    of: a layer, a composition, a loss; your own too. shape: of a layer's input, or of the outputs that a loss judges,
    batch first; for a loss it may be left out. y: for a loss, targets as a user gives them, for as many rows; drawn at
    random if not given. sample_weight: for a loss, (rows,) or a weight for each position; if not given, the check is
    made with equal weights and with others. lengths: for a layer on inputs (B, T, ...), how many of the T time steps
    each row has: dy is 0 at padding, dx must be 0 there, and what x holds there must change nothing. training: whether
    it runs in training mode. tolerance: the largest relative error that passes. directions: random directions tried for
    each gradient. Parameters are drawn at random, so that none hides behind a 0 or 1. Outputs that a loss judges are
    drawn from a normal distribution; if the loss is not finite there, as that of log z, from 0.5 to 2.5, and else from
    0.1 to 0.9, as probabilities are.

    Returns the error of each gradient: "x" and the parameters' names for a layer, "z" for a loss.
    Raises GradientMismatch naming the gradients that are wrong, or what was overwritten that may only be read,
    ShapeError if the layer can't take the shape or lengths, DataError if the loss can't take y, RecordError if a
    recorded step would not repeat what is computed, TypeError for anything that is no layer and no loss.

    >>> import gpubp as bp
    >>> print(bp.gradcheck(bp.Sequential(bp.Dense(3), bp.Tanh()), (4, 5)))  # doctest: +ELLIPSIS
    dx            relative error ...
    d0.W          relative error ...
    d0.b          relative error ...
    >>> print(bp.gradcheck(bp.SoftmaxCrossEntropy(), (4, 3), [0, 2, 1, 1]))  # doctest: +ELLIPSIS
    dz            relative error ...
    """
    check = Check(training, tolerance, directions, seed, device)
    if isinstance(of, Layer):
        if shape is None or y is not None or sample_weight is not None:
            raise TypeError(
                f"gradcheck of a layer takes the shape of an input and no targets, as gradcheck({of!r}, (4, 5))"
            )
        return check_layer(of, argument("gradcheck", "shape", tuple[Count, ...], shape), check, lengths)
    if lengths is not None:
        raise TypeError(f"gradcheck takes lengths for a layer, and got {of!r:.200}")
    if not isinstance(of, Loss):
        hint = as_call(of)
        if hasattr(of, "input_shape"):  # a network
            hint = f"; give its layers, gradcheck(net.layers, {(4, *of.input_shape)})"
        raise TypeError(
            "gradcheck takes a layer and the shape of its input, as gradcheck(Dense(3), (4, 5)), or a loss with the "
            f"shape of the outputs and targets, as gradcheck(MeanSquaredError(), (4, 3), y); it got {of!r:.200}{hint}"
        )
    outputs = OUTPUTS[:1] if shape is None else argument("gradcheck", "shape", tuple[Count, ...], shape)
    if len(outputs) == 1:
        outputs = (*outputs, of.fits_outputs or OUTPUTS[1])
    return _check_loss(of, outputs, y, sample_weight, check)


def _check_loss(loss: Loss, z: Shape, y: Any, sample_weight: Any, check: Check) -> GradientReport:
    rng = np.random.default_rng(check.seed)
    given = _drawn(loss, z, rng) if y is None else as_numpy(y)
    if given.shape[:1] != z[:1]:
        raise DataError(f"gradcheck needs y with {z[0]} rows, for outputs of shape {z}, and got {y!r:.200}")
    t = targets_of(loss, given, z)
    weights = [np.ones(z[0]), rng.uniform(0.5, 2.0, z[0]) * (np.arange(z[0]) != 1)]
    if len(z) > 2 and says(loss, "by_position", "forward", "backward"):
        weights.append(rng.uniform(0.5, 2.0, z[:-1]) * (rng.uniform(size=z[:-1]) < 0.8))
    if sample_weight is not None:
        weights = [checked_weights(as_numpy(sample_weight), z)]
    return GradientReport({"z": max(_error(loss, z, t, w, check) for w in weights)})


def _error(loss: Loss, shape: Shape, t: np.ndarray[Any, Any], w: np.ndarray[Any, Any], check: Check) -> float:
    be, rng, error = get_backend(check.device), np.random.default_rng(check.seed), 0.0
    with be.active():
        on = OnArrays(loss, shape, t, w, be, np.float64, training=check.training, seed=check.seed)
        z, target = on.z, on.t
        be.put(z, rng.normal(size=shape))
        wanted = be.to_host(target).copy()

        def both() -> list[Array]:
            be.xp.copyto(rows, on.forward())
            return [rows, on.backward()]

        def change() -> None:
            be.put(z, before[::-1].copy())
            be.put(target, wanted[::-1].copy())

        with np.errstate(all="ignore"):
            for low, high in RANGES:  # of log z, and of log (1 - z)
                if not np.isfinite(be.to_host(on.forward())).all():
                    be.put(z, np.random.default_rng(check.seed).uniform(low, high, shape))
            if not np.isfinite(be.to_host(on.forward())).all():
                raise GradientMismatch(
                    f"{loss!r}: the loss is not finite, neither for outputs z from a normal distribution nor for z "
                    "from 0.5 to 2.5 or 0.1 to 0.9; give y for which it is, or mend forward"
                )
        for _ in range(check.directions):
            before, v = be.to_host(z).copy(), rng.normal(size=shape)
            output = on.forward()
            losses = be.to_host(output).copy()
            unchanged(be, f"{loss!r}: forward", z=(z, before), t=(target, wanted))
            given = be.to_host(on.backward()).copy()
            unchanged(be, f"{loss!r}: backward", z=(z, before), t=(target, wanted))
            slope = difference(be.put, lambda: be.to_host(on.forward()).copy(), z, before, v)
            error = max(error, relative_error(on.share, slope, losses, float((given * v).sum())))  # (1)
        if not error <= check.tolerance:
            raise GradientMismatch(
                f"{loss!r}: backward is not the derivative of forward for dz (relative error {error:.1e}){_weighted(w)}"
            )
        rows = be.empty(shape[:1], np.float64)
        if be.name == "cpu" and not repeats(be, both, change):
            raise RecordError(f"{loss!r} computes what a recorded step would not repeat. {OPERATORS}")
    return error


def _weighted(w: np.ndarray[Any, Any]) -> str:
    if w.ndim > 1:
        return (
            " where positions have weights: by_position says that the loss of a row is the mean over its positions, by "
            "row_means"
        )
    return "" if (w == w[0]).all() else " where rows have weights: dz needs the factor ws.context.share"


def _drawn(loss: Loss, z: Shape, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Targets for outputs of shape z."""
    if loss.predicts == "classes":
        return rng.integers(0, z[-1], z[:-1])
    if loss.predicts == "labels":
        return rng.integers(0, 2, z)
    numbers = rng.uniform(0.5, 2.5, z)
    others = [rng.integers(0, 2, z), numbers[..., : z[-1] // 2]]  # as of pairs, and of a mean and a variance each
    return next((y for y in (numbers, *others) if _takes(loss, y, z)), numbers)


def _takes(loss: Loss, y: np.ndarray[Any, Any], z: Shape) -> bool:
    try:
        targets_of(loss, y, z)
    except (DataError, ShapeError):
        return False
    return True
