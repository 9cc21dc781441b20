"""`gpubp export`: write a saved network for other programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from ...data.row_groups import RowGroups
from ...errors import ExportError, MissingDependencyError, in_bytes
from ...network.network import Network, load
from ..arguments import EXPORTED, Place, is_sounds
from ..command import Command
from ..console import fact, note, say, table
from ..files import check_folder, check_model, check_output, replacing, rows_to_predict
from ..json_output import about, add_fields
from ..large_data import rows_of_file
from ..onnx_check import TOLERANCE, Agreement, Port, compare, ports, runtime
from ..options import data_folder
from ..random_rows import random_rows
from ..reading_options import reading_options
from ..sound_options import check_sounds, sounds_to_predict
from ..task import Task

RANDOM, MOST = 100, 10_000  # rows to compare: random ones, and of --check


@click.command(cls=Command, config=True)
@click.argument("model", metavar="MODEL")
@click.argument("out", metavar="OUT", type=Place(*EXPORTED))
@click.option("--check", metavar="DATA", help="Compare predictions of these rows, and not of random ones.")
@data_folder
@reading_options
def export(model: str, out: str, check: str | None, folder: str | None, **reading: Any) -> None:
    """Write MODEL, which `gpubp train` saved, as a file that other programs run.

    OUT ends in .onnx, for onnxruntime and browsers. MODEL stays as it is.

    The file is run in onnxruntime, if that is installed, before it is put in its place: predictions must be those of
    gpubp. Exits with 1 if they are not, and then nothing is written. DATA is digits, mnist, or a file as gpubp
    predict takes it, of which at most 10,000 rows are compared.

    \b
    gpubp export digits.safetensors digits.onnx
    gpubp export digits.safetensors digits.onnx --check digits
    """
    check_model(model)
    form = _form(out)
    check_output(out, "OUT", not_over=[model, check])
    if check is not None:
        check_folder(check, folder)
        runtime()
    network = load(model, device="cpu")
    task = Task.of(network, model)
    add_fields(model=model, **about(network, task), out=out, form=form, takes=None, gives=None, opset=None, check=None)
    write: dict[str, Callable[[], None]] = {
        "ONNX": partial(_write_onnx, network, task, model, out, check, folder),
    }
    write[form]()


def _form(out: str) -> str:
    """The form of a file by its ending."""
    ending = Path(out).suffix.lower()
    if ending not in EXPORTED:
        endings = " or ".join(f"{ending} ({form})" for ending, form in EXPORTED.items())
        raise click.UsageError(f"OUT {out}: the name must end in {endings}")
    return EXPORTED[ending]


def _write_onnx(
    network: Network, task: Task | None, model: str, out: str, check: str | None, folder: str | None
) -> None:
    X = random_rows(network, RANDOM) if check is None else _rows(task, model, check, folder)
    with replacing(out) as file:
        network.to_onnx(file)
        takes, gives, opset = ports(file, network)
        found = _compared(file, network, X, check)
    fact("model", f"{model}{f', {task.describe()}' if task else ''}")
    rows = [[what, p.name, p.type, p.told, p.what] for what, ps in (("input", takes), ("output", gives)) for p in ps]
    table(["", "name", "type", "shape", "what it is"], rows, left=["", "name", "type", "shape", "what it is"])
    add_fields(takes=_fields(takes), gives=_fields(gives), opset=opset, bytes=os.path.getsize(out))
    sets = ", ".join(f"{domain} {version}" for domain, version in opset.items())
    fact("written", f"{out}, {in_bytes(os.path.getsize(out))}, ONNX with the operations {sets}")
    if found is not None:
        of = "random rows" if check is None else f"rows of {check}"
        near = f"to {found.largest:.0e}" if found.largest else "exactly"
        say(f"agrees with gpubp {near} on {found.rows:,} {of}", "bold green")
    given = ", ".join(f'"{p.name}": {"X" if p.name == "input" else p.name}' for p in takes[:3])
    more = ", ..." if len(takes) > 3 else ""
    fact("next", f'onnxruntime.InferenceSession("{out}").run(None, {{{given}{more}}})')


def _fields(ports: list[Port]) -> list[dict[str, Any]]:
    return [{"name": p.name, "type": p.type, "shape": p.shape, "what": p.what} for p in ports]


def _compared(file: Path, network: Network, X: Any, check: str | None) -> Agreement | None:
    """What onnxruntime computes beside gpubp; None, with a note, where that can't be known.

    Raises ClickException if it differs, or if rows of --check can't be compared.
    """
    try:
        found = compare(file, network, X)
    except MissingDependencyError as problem:
        note(f"not compared with gpubp: {problem}")
        return None
    except ExportError as problem:
        told = str(problem).replace(str(file), "it")
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


def _rows(task: Task | None, model: str, data: str, folder: str | None) -> Any:
    """The first rows of --check, as net.predict takes them."""
    if is_sounds(data) or (task is not None and task.sound is not None):
        assert task is not None
        check_sounds(task, model, (data,))
        X, _ = sounds_to_predict(task, (data,), None)
    else:
        X = rows_of_file(data, None) if data.lower().endswith(".npy") else rows_to_predict(data, folder)
    return (X.read(0) if isinstance(X, RowGroups) else X)[:MOST]
