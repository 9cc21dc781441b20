"""Explanations by `gpubp explain`: of a small example, or of a model on rows of the user's data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ..errors import GpubpError
from ..explain.build import WRITTEN
from ..explain.examples import example
from ..explain.explanation import Explanation, explain_example
from ..explain.forms.printing import Printer
from ..explain.labels import with_labels
from ..network.network import Network, load
from ..optimizers import Optimizer
from .defaults import make_optimizer
from .evaluation import task_of
from .explained_rows import explained_rows
from .files import check_folder, check_model
from .json_output import about
from .prediction_files import Predictions
from .task import Task

OF_DATA = ("row", "loss", "data", "target", "memory", "encoding", "no-header")  # options; an example has its own
NAMES = {"row": "rows", "data": "folder", "no-header": "no_header"}  # of values, where they differ from the options


@dataclass(frozen=True)
class Explained:
    """An explanation, and what it is of. rows: the numbers of the rows of the data; of an example, of its own."""

    explanation: Explanation
    network: Network
    task: Task
    rows: tuple[int, ...]

    def fields(self) -> dict[str, Any]:
        """The fields of the JSON document."""
        content, exercise, printer = self.explanation.content, self.explanation.exercise, Printer()
        sections = [section for section in content.sections if section.kind != "answers"]
        numbers = [
            {
                "name": str(line.key),
                "gradient_of": None if line.gradient_of is None else str(line.gradient_of),
                "formula": None if line.expression is None else printer.names(line.expression),
                "value": None if exercise.blank(line.key) is not None else line.value,
                "blank": exercise.blank(line.key),
                "label": line.label or None,
            }
            for section in sections
            for line in section.lines
        ]
        answers = [{"blank": f"({a.number})", "name": str(a.line.key), "value": a.value} for a in exercise.answers]
        about_it = about(self.network, self.task)
        return {"row": self.rows, **about_it, "L": content.loss, "numbers": numbers, "answers": answers}


def of_example(name: str, options: Mapping[str, Any]) -> Explained:
    """The explanation of an example. Raises UsageError for options that go with the user's own data."""
    for option in OF_DATA:
        if options[NAMES.get(option, option)]:
            raise click.UsageError(f"--{option} goes with MODEL and DATA, and --example {name} has its own")
    one = example(name)
    with _mistakes(options):
        made = explain_example(
            name, _optimizer(options), options["of"], options["written"], **_blanks(options), steps=options["steps"]
        )
    task = Task(one.loss, one.bound().output_shape[-1], names=one.classes or None)
    return Explained(made, one.network(Network), task, tuple(range(1, len(one.X) + 1)))


def of_model(model: str, data: str, options: Mapping[str, Any]) -> Explained:
    """The explanation of a model on rows of the user's data."""
    check_model(model)
    check_folder(data, options["folder"])
    network = load(model, device="cpu")
    task = task_of(network, model, options["loss"])
    numbers = tuple(dict.fromkeys(row for some in options["rows"] or ((1,),) for row in some))
    rows = explained_rows(data, task, model, numbers, options)
    if options["steps"] > 1 and options["optimizer"] is None:
        raise click.UsageError("--draw-steps are steps of training; give --optimizer too, as --optimizer sgd")
    with _mistakes(options):
        made = network.explain(
            rows.X,
            rows.t,
            loss=task.loss,
            optimizer=_optimizer(options),
            of=options["of"],
            training=not options["evaluation"],
            written=options["written"] or WRITTEN,
            steps=options["steps"],
        )
    content = with_labels(made.content, rows.labels, _outputs(task))
    several = len(numbers) > 1
    notes = [f"x[{i}] is {place}." for i, place in enumerate(rows.places)] if several else []
    notes += _predictions(network, task, rows.X)
    title = f"{Path(model).name}: a step on {f'{len(numbers)} rows' if several else rows.places[0]}"
    content = replace(content, title=title, notes=(*notes, *content.notes))
    return Explained(Explanation(content, draw=made.draw, **_blanks(options)), network, task, numbers)


def _optimizer(options: Mapping[str, Any]) -> Optimizer | None:
    name = options["optimizer"]
    return None if name is None else make_optimizer(name, options["lr"], "constant", 1)


def _blanks(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"blanks": options["blanks"] or 0.0, "seed": options["seed"] or 0}


@contextmanager
def _mistakes(options: Mapping[str, Any]) -> Iterator[None]:
    """Raise UsageError for what `explain` refuses, such as a number that is not in the network."""
    try:
        yield
    except GpubpError:
        raise
    except ValueError as problem:
        of = options["of"]
        raise click.UsageError(str(problem).replace(f"of={of!r}", f"--of {of}")) from problem


def _outputs(task: Task) -> list[str]:
    """What the outputs mean, where their places do not say it."""
    if task.kind == "classes":
        names = [task.name(k) for k in range(task.outputs)]
        return [] if names == [str(k) for k in range(task.outputs)] else [f"output for the class {n}" for n in names]
    if task.table is None:
        return []
    target = task.table.target
    if task.kind == "labels":
        return [f"output for {target.name}: above 0 means {target.classes[1]}"]
    return [f"output for {target.name}, standardized"]


def _predictions(network: Network, task: Task, X: Any) -> list[str]:
    """What the model predicts for the rows, in sentences."""
    z = network.predict(X)
    if z.ndim != 2:
        return []
    columns = Predictions(task, task.answers(z)).columns()
    answers, shares = ([values for n, values in columns.items() if n.startswith(w)] for w in ("predict", "probab"))
    told = []
    for i in range(len(z)):
        answer, share = (", ".join(values[i] for values in some) for some in (answers, shares))
        subject = "The model predicts" if len(z) == 1 else f"For x[{i}], the model predicts"
        told.append(f"{subject} {answer}{f' with probability {share}' if share else ''}.")
    return told
