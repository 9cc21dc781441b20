"""`gpubp predict`: predictions of a saved network."""

from __future__ import annotations

import click

from ...errors import ShapeError
from ...losses import MeanSquaredError
from ...network.network import load
from ...tables import is_table
from ..command import Command
from ..console import LINES, fact, note, say, table
from ..devices import print_device
from ..files import check_folder, check_model, check_output, columns, rows_to_predict, write_predictions
from ..json_output import about, add_fields, json_wanted
from ..large_data import memory_option, rows_of_file
from ..options import data_folder, device
from ..table_options import load_rows
from ..task import Task


@click.command(cls=Command, config=True)
@click.argument("model", metavar="MODEL")
@click.argument("file", metavar="FILE")
@data_folder
@memory_option
@click.option("--out", metavar="FILE", help="Write all predictions: .csv, .npy or .npz; - for CSV on the output.")
@device
def predict(model: str, file: str, folder: str | None, memory: int | None, out: str | None, device: str) -> None:
    """Predict a row of answers for each row of X in FILE with MODEL, which `gpubp train` saved.

    FILE is an .npz file with X in it, an .npy file, or digits or mnist for their test rows; for a MODEL that was
    trained on a table, another: .csv, .tsv or .parquet, with or without the column to predict. Without --out the first
    answers are shown. CSV has the class and its probability, or the numbers; .npy has the predictions alone; .npz has
    `prediction` and the `probability` of every class.

    \b
    gpubp predict digits.safetensors digits
    gpubp predict digits.safetensors new.npz --out predictions.csv
    gpubp predict houses.safetensors new.csv --out predictions.csv
    """
    check_model(model)
    if out == "-":
        if json_wanted():
            raise click.UsageError("--out - and --json would both print; leave out one of them")
    else:
        check_output(out, "--out", (".csv", ".npy", ".npz"), not_over=[model, file])
    check_folder(file, folder)
    network = load(model, device=device)
    task = Task.of(network, model) or Task(MeanSquaredError(), network.output_shape[-1])
    if task.table is not None or is_table(file):
        X, _ = load_rows(file, task.table, model, memory=memory)
    elif file.lower().endswith(".npy"):
        X = rows_of_file(file, memory)
    else:
        X = rows_to_predict(file, folder)
    z = network.predict(X)
    if z.ndim != 2:
        raise ShapeError(f"{model} gives outputs of shape {z.shape[1:]} a row; gpubp predict writes rows of numbers")
    answers = task.answers(z)
    add_fields(model=model, data=file, rows=len(z), **about(network, task), out=out)
    if out is not None:
        write_predictions(out, task, answers)
        if out != "-":
            say(f"{len(z):,} predictions in {out}")
        return
    add_fields(predictions=task.named(answers), probabilities=answers.probability)
    print_device(network, device)
    fact("data", f"{file}: {len(z):,} rows, {task.describe()}")
    shown = columns(task, answers)
    lines = [[str(i), *row] for i, row in enumerate(zip(*(c[:LINES] for c in shown.values()), strict=True))]
    table(["row", *shown], lines)
    if len(z) > LINES:
        note(f"and {len(z) - LINES:,} more rows: --out predictions.csv writes all, --out - prints them")
