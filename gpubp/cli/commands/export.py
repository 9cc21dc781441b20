"""`gpubp export`: write a saved network for other programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from ...data.row_groups import RowGroups
from ...errors import DataError, ExportError, MissingDependencyError, in_bytes
from ...losses import MeanSquaredError
from ...network.network import Network, load
from ...tables import CellError, Notes, Preparation
from ..arguments import EXPORTED, Place, is_sounds, is_table
from ..command import Command
from ..console import fact, note, say, table
from ..files import check_folder, check_model, check_output, replacing, rows_to_predict
from ..json_output import about, add_fields
from ..large_data import rows_of_file
from ..onnx_check import TOLERANCE, Agreement, OnnxFile, Port, compare, runtime
from ..options import data_folder
from ..random_rows import random_rows
from ..reading_options import Columns, check_columns, named_columns, reading_options
from ..sound_options import check_sounds, sounds_to_predict
from ..table_cells import cells, random_batch
from ..table_options import print_notes, table_for
from ..task import Task

RANDOM, MOST = 100, 10_000  # rows to compare: random ones, and of --check
SHOWN = 40  # inputs


class Rows(NamedTuple):
    """Rows to compare: X as net.predict takes them, and where they come from a table, its record batches."""

    X: Any
    batches: tuple[Any, ...] = ()


@click.command(cls=Command, config=True)
@click.argument("model", metavar="MODEL")
@click.argument("out", metavar="OUT", type=Place(*EXPORTED))
@click.option("--check", metavar="DATA", help="Compare predictions of these rows, and not of random ones.")
@data_folder
@reading_options
@click.option("--as-number", type=Columns(), multiple=True, metavar="COLUMNS", help="The inputs of these take numbers.")
@click.option("--as-text", type=Columns(), multiple=True, metavar="COLUMNS", help="The inputs of these take texts.")
@click.option("--prepared", is_flag=True, help="One input takes the rows of numbers that gpubp makes of the columns.")
def export(model: str, out: str, check: str | None, **options: Any) -> None:
    """Write MODEL, which `gpubp train` saved, as a file that other programs run.

    OUT ends in .onnx, for onnxruntime and browsers. MODEL stays as it is.

    The file is run in onnxruntime, if that is installed, before it is put in its place: predictions must be those of
    gpubp. Exits with 1 if they are not, and then nothing is written. DATA is digits, mnist, or a file as gpubp
    predict takes it, of which at most 10,000 rows are compared.

    Where MODEL was trained on a table, the file has an input for each column, which takes its cells: numbers that are
    written as in a program are given as numbers, and all else as texts, as they stand in the table. A date is a number
    in seconds from 1970 on with --as-number.

    \b
    gpubp export digits.safetensors digits.onnx
    gpubp export houses.safetensors houses.onnx --check houses.csv
    gpubp export houses.safetensors houses.onnx --as-number built,sold
    """
    check_model(model)
    form = _form(out)
    check_output(out, "OUT", not_over=[model, check])
    if check is not None:
        check_folder(check, options["folder"])
        runtime()
    network = load(model, device="cpu")
    task = Task.of(network, model)
    add_fields(model=model, **about(network, task), out=out, form=form, takes=None, gives=None, opset=None, check=None)
    _write_onnx(network, task, model, out, check, options)


def _form(out: str) -> str:
    """The form of a file by its ending."""
    ending = Path(out).suffix.lower()
    if ending not in EXPORTED:
        endings = " or ".join(f"{ending} ({form})" for ending, form in EXPORTED.items())
        raise click.UsageError(f"OUT {out}: the name must end in {endings}")
    return EXPORTED[ending]


def _write_onnx(
    network: Network, task: Task | None, model: str, out: str, check: str | None, options: dict[str, Any]
) -> None:
    columns = _forms_asked(network, model, options)
    known = task or Task(MeanSquaredError(), network.output_shape[-1])
    rows = None if check is None else _rows(known, model, check, options)
    with replacing(out) as path:
        network.to_onnx(path, columns)
        file = OnnxFile.read(path, network)
        found = _compared(file, network, rows, check)
    fact("model", f"{model}{f', {task.describe()}' if task else ''}")
    ports = [("input", port) for port in file.takes[:SHOWN]] + [("output", port) for port in file.gives]
    heads = ["", "name", "type", "shape", "what it is"]
    table(heads, [[what, p.name, p.type, p.told, p.what] for what, p in ports], left=heads)
    if len(file.takes) > SHOWN:
        note(f"and {len(file.takes) - SHOWN} more inputs: --json lists all")
    add_fields(takes=_fields(file.takes), gives=_fields(file.gives), opset=file.opset, bytes=os.path.getsize(out))
    sets = ", ".join(f"{domain} {version}" for domain, version in file.opset.items())
    fact("written", f"{out}, {in_bytes(os.path.getsize(out))}, ONNX with the operations {sets}")
    if found is not None:
        of = "random rows" if check is None else f"rows of {check}"
        near = f"to {found.largest:.0e}" if found.largest else "exactly"
        say(f"agrees with gpubp {near} on {found.rows:,} {of}", "bold green")
    fact("next", f'onnxruntime.InferenceSession("{out}").run(None, {_given(file)})')


def _given(file: OnnxFile) -> str:
    """What a program gives to the inputs, as Python."""
    if file.columns:
        told = file.columns[0]
        value = told["example"] if told["form"] == "number" else repr(told["example"])
        more = ", ..." if len(file.columns) > 1 else ""
        dtype = ", object" if told["form"] == "text" else ""
        return f"{{{told['input']!r}: numpy.array([[{value}]]{dtype}){more}}}"
    given = [f'"{p.name}": {"X" if p.name == "input" else p.name}' for p in file.takes]
    return f"{{{', '.join(given)}}}"


def _fields(ports: list[Port]) -> list[dict[str, Any]]:
    return [{"name": p.name, "type": p.type, "shape": p.shape, "what": p.what} for p in ports]


def _forms_asked(network: Network, model: str, options: dict[str, Any]) -> dict[str, str] | str | None:
    """The forms of the columns that are asked for. Raises UsageError for options that do not go together."""
    words = {"number": options["as_number"], "text": options["as_text"]}
    given = [f"--as-{form}" for form, names in words.items() if names] + ["--prepared"] * options["prepared"]
    prepared = Preparation.of(network)
    if given and prepared is None:
        raise click.UsageError(f"{given[0]} goes with a table, and {model} was not trained on one")
    if options["prepared"] and len(given) > 1:
        raise click.UsageError(f"{given[0]} and --prepared both say what inputs take; leave one out")
    if prepared is None or options["prepared"]:
        return "prepared" if options["prepared"] else None
    asked = {form: named_columns(names, prepared.needed) for form, names in words.items()}
    if twice := sorted(set(asked["number"]) & set(asked["text"])):
        raise click.UsageError(f"--as-number and --as-text both name {twice[0]}")
    return {name: form for form, names in asked.items() for name in names}


def _compared(file: OnnxFile, network: Network, rows: Rows | None, check: str | None) -> Agreement | None:
    """What onnxruntime computes beside gpubp; None, with a note, where that can't be known.

    rows: of --check, None for random ones. Raises ClickException if it differs, or if rows of --check can't be
    compared.
    """
    try:
        found = _compare(file, network, rows or _random(file, network))
    except MissingDependencyError as problem:
        note(f"not compared with gpubp: {problem}")
        return None
    except ExportError as problem:
        told = str(problem).replace(file.path, "it")
        if check is not None:
            raise click.ClickException(f"nothing is written: {told}") from problem
        note(f"not compared with gpubp: {told}")
        return None
    numbers = {"rows": found.rows, "largest": found.largest, "labels": found.labels, "agrees": found.agrees}
    add_fields(check={"data": check, **numbers, "onnxruntime": runtime().__version__})
    if not found.agrees:
        apart = f"numbers differ by {found.largest:.0e} of the largest, and {found.labels:,} labels differ"
        raise click.ClickException(
            f"nothing is written: onnxruntime {runtime().__version__} does not compute what gpubp computes: of "
            f"{found.rows:,} rows, {apart}; first in {found.where}. At most {TOLERANCE:g} is allowed. "
            "net.to_onnx in Python writes the file all the same"
        )
    return found


def _compare(file: OnnxFile, network: Network, rows: Rows) -> Agreement:
    prepared = Preparation.of(network)
    if prepared is None or not file.columns:
        return compare(file, network, rows.X)
    first, parts = 0, []
    for batch in rows.batches:
        parts.append(cells(prepared, file.of_columns("form"), batch, rows.X[first : first + len(batch)]))
        first += len(batch)
    return compare(file, network, rows.X, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _random(file: OnnxFile, network: Network) -> Rows:
    prepared = Preparation.of(network)
    if prepared is None or not file.columns:
        return Rows(random_rows(network, RANDOM))
    batch = random_batch(prepared, file.of_columns("form"), file.of_columns("example"), RANDOM)
    return Rows(prepared.transform(batch), (batch,))


def _rows(task: Task, model: str, data: str, options: dict[str, Any]) -> Rows:
    """The first rows of --check."""
    if task.table is not None or is_table(data):
        return _rows_of_table(task, model, data, options)
    if task.sound is not None or is_sounds(data):
        check_sounds(task, model, (data,))
        X, _ = sounds_to_predict(task, (data,), None)
    else:
        X = rows_of_file(data, None) if data.lower().endswith(".npy") else rows_to_predict(data, options["folder"])
    return Rows((X.read(0) if isinstance(X, RowGroups) else X)[:MOST])


def _rows_of_table(task: Task, model: str, data: str, options: dict[str, Any]) -> Rows:
    found, prepared = table_for(data, task.table, model, options)
    check_columns(found, prepared, model, False)
    notes, batches, parts, count = Notes(), [], [], 0
    try:
        for first, batch in found.batches(prepared.needed):
            batches.append(batch.slice(0, MOST - count))
            parts.append(prepared.transform(batches[-1], first, notes))
            count += len(batches[-1])
            if count >= MOST:
                break
    except CellError as problem:
        raise found.located(problem) from problem
    if not count:
        raise DataError(f"{found.name} has no rows")
    print_notes(notes.found, found, prepared)
    return Rows(np.concatenate(parts), tuple(batches))
