"""`--class-weight`: how much each class counts in the training."""

from __future__ import annotations

import re
from typing import Any

import click
import numpy as np

from ..data.class_weights import check_class_weight
from ..errors import DataError
from ..tables import close_to
from .task import Task

FORM = "balanced, or a weight for each class, such as no=1,yes=20"

class_weight_option = click.option(
    "--class-weight",
    metavar="balanced|CLASS=WEIGHT,...",
    help="How much the rows of each class count; balanced: all classes count the same.",
)


def class_weights(text: str | None, task: Task, t: np.ndarray[Any, Any]) -> dict[int, float] | str | None:
    """The class weights for `Trainer.fit`, by the numbers of the classes; None without any.

    text: what was typed. t: the targets as the loss takes them. Raises UsageError for what does not suit the task.

    >>> from gpubp.losses import SoftmaxCrossEntropy
    >>> task = Task(SoftmaxCrossEntropy(), 2, names=("no", "yes"))
    >>> class_weights("yes=20", task, np.array([0, 1])), class_weights("balanced", task, np.array([0, 1]))
    ({1: 20.0}, 'balanced')
    """
    if text is None:
        return None
    if task.kind == "numbers" or t.size != len(t):
        what = "numbers are predicted" if task.kind == "numbers" else "y has several columns"
        raise click.UsageError(f"--class-weight goes with classes, and here {what}")
    if text.strip().lower() == "balanced":
        return "balanced"
    names = task.output_names
    found: dict[int, float] = {}
    for name, weight in _pairs(text):
        if name not in names:
            known = close_to(name, names) or f"; there are {', '.join(names[:8])}{', ...' * (len(names) > 8)}"
            raise click.UsageError(f"--class-weight names the class {name!r}, which is not there{known}")
        if names.index(name) in found:
            raise click.UsageError(f"--class-weight gives the class {name} a weight twice")
        found[names.index(name)] = weight
    rows = np.bincount(t.reshape(-1).astype(np.int64), minlength=len(names))
    if not sum(found.get(k, 1.0) for k in np.flatnonzero(rows).tolist()) > 0:
        raise click.UsageError("--class-weight leaves every row without weight; give some class a weight above 0")
    return {k: weight for k, weight in found.items() if rows[k]}


def _pairs(text: str) -> list[tuple[str, float]]:
    """The classes and weights in "no=1,yes=20"; a name may hold commas and equals signs."""
    found, place = [], 0
    while place < len(text):
        pair = re.compile(r"(.*?\S)\s*=\s*([^=,]+?)\s*(?:,|$)").match(text, place)
        if pair is None:
            raise click.UsageError(f"--class-weight {text} is not understood; give {FORM}")
        name = pair[1].strip()
        try:
            weight = float(pair[2])
            check_class_weight({name: weight}, np.array([name]))
        except (ValueError, DataError):
            raise click.UsageError(
                f"--class-weight gives the class {name} the weight {pair[2]!r}; weights are numbers, 0 or more"
            ) from None
        found.append((name, weight))
        place = pair.end()
    if not found:
        raise click.UsageError(f"--class-weight is {FORM}")
    return found
