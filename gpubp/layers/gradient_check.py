"""The gradient check of layers: whether a layer's backward is the derivative of its forward.

For a function with Jacobian J, `backward` computes Jᵀ dy. For any directions v and dy

    (1) <dy, J v> = <Jᵀ dy, v>
    (2) J v ≈ (f(a + h v) - f(a - h v)) / 2h          central differences, error O(h²) + O(ε/h)

so one number on each side, in float64, compares the whole of backward with forward alone. Where the sides differ, they
are compared again with a smaller h, because a steep softmax bends within the larger one. It is done for x and for
every parameter a by itself, so that a failure names its place. x, y and dy must be as they were when `backward` has
run, because others read them too. Where rows have lengths, dy is 0 at padding, dx must be 0 there, and other numbers
there must change nothing. On the CPU the layer is recorded too, and replayed: a step that trains it will do
the same (`backends/record_check.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import OPERATORS, Array, Backend, Shape, get_backend, repeats
from ..config import Count, CountOrZero, NotNegative, keep_plain
from ..errors import GpubpError, RecordError, ShapeError
from ..flat import FlatArray
from .base import Layer
from .binding import Values, bind, plan_of
from .context import Context
from .time_steps import mixing

EPS = float(np.finfo(np.float64).eps)
H = 1e-5  # step of the differences: h² and ε/h are then alike, 1e-10 and 2e-11
SMALLER = H / 16  # the second step, for what is too steep for the first


class GradientMismatch(GpubpError, AssertionError):
    """A backward is not the derivative of its forward, or overwrites what it may only read; the message says which.

    >>> issubclass(GradientMismatch, AssertionError)
    True
    """


@dataclass(frozen=True)
class GradientReport:
    """The relative error of each gradient: name -> error, "x" for the input. True in an `if`.

    >>> import gpubp as bp
    >>> report = bp.gradcheck(bp.Dense(3), (4, 5))
    >>> sorted(report.errors), max(report.errors.values()) < 1e-7
    (['W', 'b', 'x'], True)
    """

    errors: Mapping[str, float]

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return "\n".join(f"d{name:<12} relative error {error:.1e}" for name, error in self.errors.items())


@dataclass(frozen=True)
class Check:
    """How gradients are checked: see `gradcheck` in `losses/gradient_check.py`.

    >>> Check().directions
    3
    """

    training: bool = True
    tolerance: NotNegative = 1e-6
    directions: Count = 3
    seed: CountOrZero = 0
    device: str | Backend = "cpu"

    def __post_init__(self) -> None:
        keep_plain(self, of="gradcheck")


def check_layer(layer: Layer, input_shape: Shape, check: Check, lengths: Sequence[int] | None = None) -> GradientReport:
    """Compare a layer's backward with differences of its forward, in float64, for x and every parameter.

    lengths: of the rows, whose inputs are (B, T, ...), in time steps; None where all have T.

    Raises GradientMismatch, ShapeError and RecordError as `gradcheck` does.

    >>> import gpubp as bp
    >>> sorted(check_layer(bp.Dense(3), (4, 5), Check()).errors)
    ['W', 'b', 'x']
    """
    training, seed = check.training, check.seed
    be = get_backend(check.device)
    rng = np.random.default_rng(seed)
    steps = None if lengths is None else _Steps(layer, input_shape, lengths)
    try:
        plan = plan_of(layer, tuple(input_shape))
    except ShapeError as problem:
        raise problem.of(repr(layer)) from None
    shapes = {n: p.shape for n, p in plan.all_parameters().items()}
    states = {n: p for n, p in plan.all_states().items()}
    with be.active():
        parameters = FlatArray(be, shapes, np.float64)
        gradients = FlatArray(be, shapes, np.float64)
        kept = FlatArray(be, {n: p.shape for n, p in states.items()}, np.float64)
        mask = None if steps is None else be.to_device(steps.mask, np.float64)
        context = Context(be, int(input_shape[0]), np.float64, seed, mask=mask)
        ws = bind(layer, plan, context, Values(parameters, kept, gradients), training=training, wants_dx=True)
        places: dict[str, Array] = {"x": be.empty(tuple(input_shape), np.float64), **parameters}
        for name, place in places.items():
            be.put(place, rng.normal(size=place.shape) * (1.0 if name == "x" else 0.7) + (name != "x") * 0.1)
        for name, p in states.items():
            be.put(kept[name], p.initializer.draw(rng, p.shape) + rng.uniform(0.1, 0.5, p.shape))
        first_states = be.to_host(kept.flat).copy()

        def forward() -> Array:
            be.put(kept.flat, first_states)
            return ws.run_forward(places["x"])

        errors = dict.fromkeys(places, 0.0)
        for _ in range(check.directions):
            dy, x = rng.normal(size=plan.output), be.to_host(places["x"]).copy()
            dy = dy if steps is None else steps.of_output(dy)
            output, direction = forward(), be.to_device(dy.copy(), np.float64)
            y = be.to_host(output).copy()
            unchanged(be, f"{layer!r}: forward", x=(places["x"], x))
            dx = ws.run_backward(direction)
            unchanged(be, f"{layer!r}: backward", x=(places["x"], x), y=(output, y), dy=(direction, dy))
            given = {n: be.to_host(g).copy() for n, g in (("x", dx), *gradients.items())}
            for name, place in places.items():
                v = rng.normal(size=place.shape)
                a, right = be.to_host(place).copy(), float((given[name] * v).sum())
                for h in (H, SMALLER):
                    slope = difference(be.put, lambda: be.to_host(forward()).copy(), place, a, v, h)
                    error = relative_error(dy, slope, y, right, h)
                    if error <= check.tolerance:
                        break
                errors[name] = max(errors[name], error)
            if steps is not None:
                be.put(places["x"], steps.with_other_padding(x, rng))
                other = {"y": be.to_host(forward()).copy(), "x": be.to_host(ws.run_backward(direction)).copy()}
                other |= {n: be.to_host(g).copy() for n, g in gradients.items()}
                steps.check({"y": y, **given}, other)
                be.put(places["x"], x)

        def both() -> list[Array]:
            be.xp.copyto(y_before, forward())
            return [y_before, ws.run_backward(direction), gradients.flat]

        def change() -> None:
            for place, value in others.items():
                be.put(places[place], value)
            be.put(direction, dy)

        direction, y_before = (be.to_device(rng.normal(size=plan.output), np.float64) for _ in range(2))
        others = {
            name: 0.75 * be.to_host(place) if name != "x" else place[::-1].copy() for name, place in places.items()
        }
        recordable = be.name != "cpu" or repeats(be, both, change)
    wrong = {name: error for name, error in errors.items() if not error <= check.tolerance}
    if wrong:
        listed = ", ".join(f"d{name} (relative error {error:.1e})" for name, error in wrong.items())
        raise GradientMismatch(f"{layer!r}: backward is not the derivative of forward for {listed}")
    if not recordable:
        raise RecordError(f"{layer!r} computes what a recorded step would not repeat. {OPERATORS}")
    return GradientReport(errors)


class _Steps:
    """The time steps and the padding of rows of these lengths."""

    def __init__(self, layer: Layer, shape: Shape, lengths: Sequence[int]) -> None:
        self.layer, given = layer, np.asarray(lengths)
        if len(shape) < 2 or given.shape != (shape[0],) or given.dtype.kind not in "iu":
            raise ValueError(
                f"gradcheck needs lengths to be a whole number for each row of inputs (rows, time steps, ...) and got "
                f"{lengths!r:.200} for the shape {tuple(shape)}"
            )
        if given.min() < 0 or given.max() > shape[1]:
            raise ValueError(f"gradcheck needs lengths from 0 to {shape[1]}, the time steps of {shape}, got {lengths}")
        if (found := mixing(layer)) is not None:
            path, inner = found
            raise ShapeError(
                "mixes time steps as if none were padding, and can't take lengths; a layer that goes by ws.mask says "
                'over_time = "keeps" or "ends", and one that computes each step by itself says "each"',
                path,
                repr(inner),
            )
        self.mask = (np.arange(shape[1]) < given[:, None]).astype(np.float64)
        self.padding = self.mask == 0

    def of_output(self, dy: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """dy, 0 at padding if the output has time steps."""
        if self.layer.over_time == "ends":
            return dy
        if dy.shape[:2] != self.mask.shape:
            raise ShapeError(
                f"must keep the time steps, as over_time = {self.layer.over_time!r} says, and gives outputs of shape "
                f"{dy.shape} for {self.mask.shape[1]} steps",
                layer=repr(self.layer),
            )
        return np.where(self.padding.reshape(*self.mask.shape, *[1] * (dy.ndim - 2)), 0.0, dy)

    def with_other_padding(self, x: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
        """x with other numbers at padding."""
        other = x.copy()
        other[self.padding] = rng.normal(size=other[self.padding].shape)
        return other

    def check(self, given: Mapping[str, np.ndarray[Any, Any]], other: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Raise GradientMismatch if padding counts: y, dx (as "x") and the gradients, for one padding and another."""
        if given["x"][self.padding].any():
            raise GradientMismatch(f"{self.layer!r}: backward gives a dx that is not 0 at padding; multiply by ws.mask")
        for name, a in given.items():
            b = other[name]
            if name == "y" and self.layer.over_time != "ends":
                if not np.isfinite(a).all():
                    raise GradientMismatch(f"{self.layer!r}: forward gives outputs at padding that are not finite")
                a, b = a[~self.padding], b[~self.padding]
            if not np.array_equal(a, b):
                shown = name if name == "y" else f"d{name}"
                raise GradientMismatch(f"{self.layer!r}: {shown} depends on what x holds at padding; use ws.mask")


def unchanged(be: Backend, method: str, **arrays: tuple[Array, np.ndarray[Any, Any]]) -> None:
    """Raise GradientMismatch if a method has changed an array that it may only read, by name: (array, as it was)."""
    for name, (array, before) in arrays.items():
        if be.to_host(array).tobytes() != before.tobytes():
            raise GradientMismatch(
                f"{method} changes {name}, which others read too; declare another array in plan() and write into that "
                "one"
            )


def relative_error(dy: Any, slope: Any, y: Any, right: float, h: float = H) -> float:
    """How far the two sides of (1) are apart, beyond rounding: slope = J v by (2), right = <Jᵀ dy, v>; y is the output.

    >>> relative_error(np.ones(2), np.ones(2), np.zeros(2), right=1.0)
    0.5
    """
    left = float((dy * slope).sum())
    scale = math.sqrt(float((dy * dy).sum()) * float((slope * slope).sum()))
    scale = max(scale / math.sqrt(max(1, dy.size)), abs(left), abs(right), 1e-300)
    noise = 4 * EPS * float(np.linalg.norm(dy) * np.linalg.norm(y)) / h  # of (2), by rounding
    return max(0.0, abs(left - right) - noise) / scale if math.isfinite(left + right) else math.inf


def difference(
    put: Callable[[Array, Any], None], forward: Callable[[], Any], place: Array, a: Any, v: Any, h: float = H
) -> np.ndarray[Any, Any]:
    """J v by (2)"""
    put(place, a + h * v)
    above = forward()
    put(place, a - h * v)
    below = forward()
    put(place, a)
    slope: np.ndarray[Any, Any] = (above - below) / (2 * h)
    return slope
