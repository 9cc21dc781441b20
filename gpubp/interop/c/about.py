"""What the comment of the file says of x and y, from a network's shapes and metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...losses import numbers_told, told_outputs
from ...tables import NumberColumn, Preparation
from .code import Shape
from .words import comment_lines, plain, quoted

TASKS = {
    "classes": "the {} of the classes; the largest is that of the class which is predicted",
    "labels": "the {} of yes; above {} where yes is predicted",
}


def about(x: Shape, y: Shape, metadata: Mapping[str, Any], table: Preparation | None, words: bool) -> Iterator[str]:
    """The lines on x and y, which are rows of these shapes.

    table: how rows are made from a table, if they are. words: whether some layer reads numbers of words.

    >>> print(*about((4,), (2,), {"task": "classes", "names": ["no", "yes"]}, None, False), sep="\\n")
    x: 4 numbers, one row.
    y: 2 numbers, the logits of the classes; the largest is that of the class which is predicted.
    Classes: 0 "no", 1 "yes".
    """
    yield f"x: {_numbers(x)}, one row."
    if words:
        yield "Numbers of x that are numbers of words must be words of the network; others are read as word 0."
    if table is not None:
        yield from _columns(table)
    task = task_of(metadata)
    are = _told(task, metadata) if task in TASKS else numbers_told(metadata)
    yield f"y: {_numbers(y)}{f', {are}' if are else ''}."
    if table is not None and table.target.kind == "numbers":
        yield f"{plain(table.target.name)} = {table.target.mean!r} + {table.target.scale!r} y[0]"
    classes = class_names(metadata, table, y[-1]) if task == "classes" else []
    if task == "labels" and table is not None:
        classes = table.target.classes  # no and yes
    if classes:
        told = [f"{i} {quoted(name)}" for i, name in enumerate(classes)]
        yield from comment_lines(["Classes:", *(f"{word}," for word in told[:-1]), f"{told[-1]}."])


def _told(task: str, metadata: Mapping[str, Any]) -> str:
    are = told_outputs(metadata)
    return TASKS[task].format(are, "0.5" if are == "probabilities" else "0")


def task_of(metadata: Mapping[str, Any]) -> str:
    """What the outputs stand for, as `gpubp train` and trainers say it: "classes", "labels", "numbers"; "" if unknown.

    >>> task_of({"task": "classes"}), task_of({"task": ["classes"]})
    ('classes', '')
    """
    task = metadata.get("task")
    return task if isinstance(task, str) else ""


def class_names(metadata: Mapping[str, Any], table: Preparation | None, outputs: int) -> Sequence[Any]:
    """The names of the classes in the order of the outputs; none where they aren't known.

    >>> class_names({"classes": [3, 5]}, None, 2)
    [3, 5]
    """
    if table is not None:
        return table.target.classes
    for name in ("names", "classes"):
        known = metadata.get(name)
        if isinstance(known, list | tuple) and len(known) == outputs:
            return known
    return []


def _numbers(shape: Shape) -> str:
    if len(shape) < 2:
        return "1 number" if shape == (1,) else f"{shape[0] if shape else 1} numbers"
    sizes = " x ".join(map(str, shape))
    count = 1
    for n in shape:
        count *= n
    return f"{count} numbers, {sizes} with the last axis innermost"


def _columns(table: Preparation) -> Iterator[str]:
    yield "The numbers of x are made of the columns of a table, which is not done here:"
    for column, place in table.places:
        names = [plain(name) for name in column.outputs]
        if isinstance(column, NumberColumn) and not column.log and not column.edges:
            names[0] = f"({names[0]} - {column.mean!r}) / {column.scale!r}"
        first = place.start
        if column.embedded or len(names) != column.width:
            yield f"    x[{first}] to x[{place.stop - 1}]: {plain(column.name)}, {plain(column.describe())}"
            continue
        yield from (f"    x[{first + i}]: {name}" for i, name in enumerate(names))
