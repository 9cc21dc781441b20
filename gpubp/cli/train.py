"""`gpubp train`: from data to a network in a file."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..callbacks import Callback, EarlyStopping
from ..data import as_targets
from ..datasets import Dataset
from ..errors import DataError, GpubpError
from ..history import History
from ..network import Network
from ..trainer import Trainer
from .doctor import tell_device
from .evaluate import judge, verdict
from .files import NAMED, check_model, check_output, load_data
from .options import PATIENCE, Number, Patience, data_folder, device, network_options
from .recipe import SCHEDULES, Pace, make_layers, make_optimizer
from .screen import every_tenth, fact, note, progress, say, short, table
from .task import Task


@click.command(short_help="Train a network and save it.")
@click.argument("data", metavar="digits|mnist|FILE.npz")
@data_folder
@network_options
@click.option("--lr", type=Number(open=True), metavar="RATE", help="Learning rate.  [default: 0.003 for Adam]")
@click.option(
    "--schedule", type=click.Choice(SCHEDULES), default="cosine", show_default=True, help="How the rate falls."
)
@click.option("--epochs", type=click.IntRange(1), help="Passes over the data.  [default: by rows, 10 to 500]")
@click.option(
    "--validation-fraction",
    type=Number(high=1),
    metavar="SHARE",
    help="Of the rows, held out to validate with.  [default: 0.1 from 200 rows on]",
)
@click.option(
    "--early-stopping",
    type=Patience(),
    is_flag=False,
    flag_value=str(PATIENCE),
    metavar="[PATIENCE]",
    help=f"End when so many epochs brought no gain, and keep the best.  [{PATIENCE} without a number]",
)
@click.option("--from", "body", metavar="MODEL", help="Begin with its weights, where names and shapes agree.")
@click.option("--freeze", multiple=True, metavar="NAMES", help="Don't train these, as '0.*'; may be given again.")
@device
@click.option("--out", metavar="MODEL", help="Where to save.  [default: the data's name, .safetensors, here]")
@click.option("--plot", metavar="CURVES.png", help="Draw the training curves: .png, .svg or .pdf.")
def train(
    data: str,
    folder: str | None,
    out: str | None,
    plot: str | None,
    device: str,
    body: str | None,
    freeze: tuple[str, ...],
    **options: Any,
) -> int:
    """Train a network on DATA and save it: fully connected, or convolutional on pictures.

    DATA is digits (1,797 handwritten digits, inside scikit-learn), mnist, or an .npz file with the arrays X and y and,
    for a test at the end, X_test and y_test. Whole numbers in y are classes; other numbers are predicted as numbers,
    and then it is for you to scale X and y.

    \b
    gpubp train digits
    gpubp train mnist --data FOLDER --hidden 512,512 --epochs 5
    gpubp train mnist --data FOLDER --model cnn --epochs 3
    gpubp train houses.npz --loss huber --early-stopping --plot curves.png

    Ctrl-C ends the training, and what was learnt so far is saved.
    """
    out = out or f"{Path(data).stem}.safetensors"
    source = [] if data in NAMED else [data]
    check_output(out, "--out", not_over=source)
    check_output(plot, "--plot", (".png", ".svg", ".pdf"), not_over=[out, *source])
    if plot:
        from ..plots import require_matplotlib

        require_matplotlib()
    dataset = load_data(data, folder)
    task = Task.infer(dataset, options["loss"], options["label_smoothing"])
    if options["label_smoothing"] is not None and task.kind != "classes":
        raise click.UsageError("--label-smoothing goes with --loss softmax")
    pace = Pace.of(len(dataset.X), options["validation_fraction"], options["batch_size"], options["epochs"])
    y = task.targets(dataset.y)
    if body is not None:
        check_model(body)
    with mistakes():
        network, trainer = make(dataset, task, pace, device, options)
        if body is not None:
            note(f"from {body}, {network.load_weights(body)}")
        network.freeze(*freeze)
    if dataset.y_test is not None:  # what is wrong with it is better said now than after the training
        t = task.targets(dataset.y_test, "y_test")
        try:
            as_targets(t, task.loss, network.output_shape, len(t), network.dtype)
        except DataError as problem:
            raise DataError(f"in the test part, {problem}") from None
    _announce(dataset, task, network, trainer, pace, device)
    return _run(data, dataset, task, trainer, pace, y, options["early_stopping"], out, plot)


def make(dataset: Dataset, task: Task, pace: Pace, device: str, options: dict[str, Any]) -> tuple[Network, Trainer]:
    """The network and its trainer, from the options of `network_options`, "lr" and "schedule"."""
    network = Network(
        make_layers(dataset.input_shape, task.outputs, options),
        dataset.input_shape,
        device=device,
        dtype=options["dtype"],
        seed=options["seed"],
    )
    trainer = Trainer(
        network,
        task.loss,
        make_optimizer(options["optimizer"], options["lr"], options["schedule"], pace.epochs * pace.steps),
        batch_size=pace.batch_size,
        seed=options["seed"],
        l2=options["l2"],
        clip_norm=options["clip_norm"],
        metrics=task.metrics,
    )
    network.metadata = task.metadata()
    return network, trainer


def _run(
    data: str,
    dataset: Dataset,
    task: Task,
    trainer: Trainer,
    pace: Pace,
    y: np.ndarray[Any, Any],
    patience: int | None,
    out: str,
    plot: str | None,
) -> int:
    """Train, save at once, and only then report."""
    stopping = EarlyStopping(patience=patience) if patience else None
    callbacks: list[Callback] = [progress(pace.epochs, pace.steps), _Diverged()]
    callbacks += [stopping] if stopping else []
    start = time.perf_counter()
    history = trainer.fit(
        dataset.X, y, epochs=pace.epochs, validation_fraction=pace.validation, callbacks=callbacks, verbose=False
    )
    spent = time.perf_counter() - start
    replaced = Path(out).exists()
    network = trainer.network
    network.metadata |= {"epochs": history.epochs, "seed": trainer.seed}
    network.save(out)
    if history.epochs:
        _table(history)
    if history.interrupted:
        note(f"interrupted after {history.epochs} of {pace.epochs} epochs; what was learnt so far is saved")
    elif stopping and trainer.stop:
        note(f"no gain for {patience} epochs: stopped after epoch {trainer.epoch}, kept epoch {stopping.best_epoch}")
    say(f"trained in {spent:.1f} s")
    if dataset.X_test is not None and dataset.y_test is not None:
        report = judge(network, task, dataset.X_test, task.targets(dataset.y_test, "y_test"))
        say(verdict("test", report), "bold green")
    else:
        judged = (
            "judge by the validation above" if pace.validation else "nothing is known of rows it was not trained with"
        )
        note(f"the file has no X_test and y_test: {judged}")
    fact("model", f"{out}, {os.path.getsize(out) / 1024:,.0f} KB{', in place of an older file' if replaced else ''}")
    if plot and history.epochs:
        _draw(history, plot, f"{dataset.name}, {network.device}")
    where = data if data in NAMED else "FILE.npz"
    fact("next", f"gpubp predict {out} {where}    or    gpubp evaluate {out} {data}")
    return 130 if history.interrupted else 0


def _announce(dataset: Dataset, task: Task, network: Network, trainer: Trainer, pace: Pace, asked: str) -> None:
    test = "no test rows" if dataset.X_test is None else f"{len(dataset.X_test):,} to test with"
    held = len(dataset.X) - pace.rows
    validation = f", {held:,} to validate with" if held else ""
    shape = " x ".join(map(str, dataset.input_shape))
    count = sum(a.size for a in network.parameters.values())
    tell_device(network, asked)
    rows = f"{pace.rows:,} rows to train with{validation}, {test}"
    fact("data", f"{dataset.name}: rows of {shape} numbers, {task.describe()}; {rows}")
    fact("network", f"{network.layers!r}, {count:,} parameters")
    epochs = f"{pace.epochs} epochs of {pace.steps:,} steps of {pace.batch_size} rows"
    fact("training", f"{task.loss!r}, {trainer.optimizer!r}, {epochs}")
    largest = float(max(abs(float(dataset.X.max())), abs(float(dataset.X.min()))))
    if largest > 100:
        note(f"X reaches {largest:g}; networks learn best from numbers near 1, such as (X - X.mean(0)) / X.std(0)")


class _Diverged(Callback):
    """Ends a training whose loss is no number any more."""

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        if not math.isfinite(logs["loss"]):
            raise click.ClickException(
                f"the loss is {logs['loss']} in epoch {trainer.epoch}, so nothing is saved: try a smaller --lr, "
                "--clip-norm 1, or numbers near 1 in X and y"
            )


@contextmanager
def mistakes() -> Iterator[None]:
    """What the library refuses of the options is a mistake of the user's."""
    try:
        yield
    except GpubpError:
        raise
    except (TypeError, ValueError) as problem:
        raise click.UsageError(str(problem)) from problem


def _table(history: History) -> None:
    rows = [[str(n), *(short(column[n - 1]) for column in history.values())] for n in every_tenth(history.epochs)]
    table(["epoch", *(name.replace("val_", "validation ").replace("_", " ") for name in history)], rows)


def _draw(history: History, path: str, title: str) -> None:
    from ..plots import plot_history
    from .files import replacing

    with replacing(path) as file:
        plot_history(history, file, title=title)
    fact("curves", path)
