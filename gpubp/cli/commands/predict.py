"""`gpubp predict`: predictions of a saved network."""

from __future__ import annotations

from typing import Any

import click

from ...endings import SOUNDS, ending
from ...errors import ShapeError
from ...formula.host import host_numerics
from ...losses import MeanSquaredError
from ...network.network import Network, load
from ..arguments import PLACES, is_sounds, is_table
from ..command import Command
from ..console import LINES, fact, note, say, table
from ..devices import print_device
from ..files import check_folder, check_model, check_output, rows_to_predict
from ..intervals import KeptErrors
from ..json_output import about, add_fields, json_wanted
from ..large_data import memory_option, rows_of_file
from ..options import Number, data_folder, device
from ..prediction_files import Predictions, check_prediction_options, read_ids
from ..reading_options import Columns, reading_options
from ..sound_options import check_sounds, sounds_to_predict
from ..table_options import load_rows, table_for
from ..task import Task
from ..word_effects import Effect, check_why, word_effects


@click.command(cls=Command, config=True)
@click.argument("model", metavar="MODEL")
@click.argument("file", metavar="FILE")
@click.argument("more", metavar="[FILE.wav ...]", nargs=-1, type=PLACES["more"])
@data_folder
@reading_options
@memory_option
@click.option("--out", metavar="FILE", help="Write all predictions: .csv, .npy or .npz; - for CSV on the output.")
@click.option(
    "--id", "ids", type=Columns(), multiple=True, metavar="COLUMNS", help="Begin rows with these columns of the table."
)
@click.option("--probabilities", is_flag=True, help="A column with the probability of each class.")
@click.option(
    "--interval",
    type=Number(open=True, high=1),
    metavar="SHARE",
    help="Add the ends of an interval that holds such a share of rows, as 0.9.",
)
@click.option("--why", is_flag=True, help="Add the words of each row's texts that change its prediction most.")
@device
def predict(
    model: str,
    file: str,
    more: tuple[str, ...],
    folder: str | None,
    memory: int | None,
    out: str | None,
    device: str,
    **options: Any,
) -> None:
    """Predict a row of answers for each row of X in FILE with MODEL, which `gpubp train` saved.

    FILE is an .npz file with X in it, an .npy file, or digits or mnist for their test rows; for a MODEL that was
    trained on a table, another of any kind, or - for CSV from standard input, with or without the column to predict;
    for one that was trained on sounds, .wav files, or folders of them at any depth.
    Without --out the first answers are shown. --why adds the words of a row's texts without which its prediction would
    change most, and by how much. CSV has the number of the row, or the columns of --id, and the class and
    its probability, or the numbers; .npy has the predictions alone; .npz has `row` or `id`, `prediction`, and the
    `probability` of every class.

    \b
    gpubp predict digits.safetensors digits
    gpubp predict digits.safetensors new.npz --out predictions.csv
    gpubp predict houses.safetensors new.csv --id address --interval 0.9
    gpubp predict reviews.safetensors new.csv --why
    gpubp predict recordings.safetensors a.wav b.wav
    """
    check_model(model)
    if out == "-":
        if json_wanted():
            raise click.UsageError("--out - and --json would both print; leave out one of them")
    else:
        check_output(out, "--out", (".csv", ".npy", ".npz"), not_over=[model, file, *more])
    check_folder(file, folder)
    files = (file, *more)
    network = load(model, device=device)
    task = Task.of(network, model) or Task(MeanSquaredError(), network.output_shape[-1])
    level = options["interval"]
    check_prediction_options(out, task, options["ids"], options["probabilities"], level is not None)
    errors = None if level is None else KeptErrors.read(network, model)
    width = None if errors is None else errors.width(level)
    check_why(model, task, options["why"], out)
    X, ids = _rows(task, model, files, folder, memory, options)
    z = network.predict(X)
    if z.ndim != 2:
        raise ShapeError(f"{model} gives outputs of shape {z.shape[1:]} a row; gpubp predict writes rows of numbers")
    with host_numerics(network.numerics):
        answers = task.answers(z)
    why = _why(network, task, X, out) if options["why"] else None
    made = Predictions(task, answers, ids, width, options["probabilities"], why)
    shown = made.columns(LINES)
    add_fields(model=model, data=file, rows=len(made), **about(network, task), out=out)
    add_fields(interval=None if errors is None else {"level": level, "rows": errors.rows, "source": errors.source})
    if errors is not None:
        note(f"intervals of {100 * level:g}%, from the errors of {errors.rows:,} {errors.source}")
    if out is not None:
        made.write(out)
        if out != "-":
            say(f"{len(made):,} predictions in {out}")
        return
    add_fields(**made.fields())
    print_device(network, device)
    fact("data", f"{file}: {len(made):,} rows, {task.describe()}")
    table(list(shown), zip(*shown.values(), strict=True), left=["why"])
    if len(made) > LINES:
        note(f"and {len(made) - LINES:,} more rows: --out predictions.csv writes all, --out - prints them")


def _why(network: Network, task: Task, X: Any, out: str | None) -> list[list[Effect]]:
    """The effects of words; where a table of a few rows is all that is shown, of these."""
    return word_effects(network, task, X, LINES if out is None and not json_wanted() else None)


def _rows(
    task: Task, model: str, files: tuple[str, ...], folder: str | None, memory: int | None, options: dict[str, Any]
) -> tuple[Any, dict[str, list[str]]]:
    """(X, the columns of --id, or of the names of sounds) of `files`, which are one but for sounds."""
    file, *more = files
    if task.sound is not None or any(is_sounds(path) or ending(path, SOUNDS) for path in files):
        check_sounds(task, model, files)
        return sounds_to_predict(task, files, memory)
    if more:
        raise click.UsageError(f"several files go with sounds, and {file} is none; leave out {' '.join(more)}")
    if task.table is not None or is_table(file):
        found, prepared = table_for(file, task.table, model, options)
        ids = read_ids(found, options["ids"]) if options["ids"] else {}
        return load_rows(found, prepared, model, memory=memory)[0], ids
    return rows_of_file(file, memory) if file.lower().endswith(".npy") else rows_to_predict(file, folder), {}
