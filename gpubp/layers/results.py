"""Checks of what the methods of layers, losses and metrics return, where they are called.

They are called when a step is recorded, and not when its record is replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..backends import Array, Backend, Shape
from ..config import is_own, whole
from ..errors import ResultError, ShapeError
from ..formula import FormulaError


def returned(
    where: str,
    given: Any,
    shape: Shape,
    kind: tuple[Backend, np.dtype[Any]],
    hint: str = "; is a return missing?",
    also: Iterable[Any] = (),
) -> Array:
    """`given`, what a method has returned; ResultError or ShapeError if it is no such array of the device.

    where: the method. shape: what it must have. kind: device and type of numbers. hint: added where it is None. also:
    further types of numbers that it may have.

    >>> from gpubp.backends import get_backend
    >>> returned("Scale.forward", None, (4, 3), (get_backend("cpu"), np.dtype("float32")))
    Traceback (most recent call last):
    ...
    gpubp.errors.ResultError: Scale.forward must return a float32 array of shape (4, 3) and returned None; ...
    """
    be, dtype = kind
    if be.owns(given) and given.shape == shape and given.dtype == dtype:
        return given
    must = f"{where} must return a {dtype} array of shape {shape} and returned"
    if given is None:
        raise ResultError(f"{must} None{hint}")
    if not be.owns(given):
        what = type(given).__name__
        raise ResultError(
            f"{must} {given!r:.80}, a {what}; write into an array of the plan, by out=, and return that one"
        )
    if given.shape != shape:
        raise ShapeError(f"{must} one of shape {given.shape}")
    if any(given.dtype == other for other in also):
        return given
    raise ResultError(
        f"{must} {given.dtype}; write into an array of the plan, by out=, which has the network's type, and return it"
    )


def check_shape(what: str, shape: Any) -> None:
    """Raise ShapeError if a plan declares something with a shape that is none.

    >>> check_shape("the output", (32, 10))
    """
    if not isinstance(shape, tuple | list) or any(whole(n, 0) is None for n in shape):
        raise ShapeError(
            f"plans {what} with the shape {shape!r:.80}; in a plan a shape is a tuple of whole numbers, "
            "batch first for what has a row for each row of x, as in Plan(output=(x[0], 10))"
        )


@contextmanager
def noted(thing: object, where: str) -> Iterator[None]:
    """Errors that come out of a user's own class get a note that says of which method."""
    try:
        yield
    except Exception as problem:
        if is_own(type(thing)) and not isinstance(problem, FormulaError):  # which has its place already
            problem.add_note(f"in {where}, of {thing!r}")
        raise
