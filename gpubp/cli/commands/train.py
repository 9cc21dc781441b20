"""`gpubp train`: from data to a network in a file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.core import ParameterSource

from ...data.checks import as_targets
from ...data.row_groups import RowGroups
from ...datasets import Dataset
from ...errors import DataError, GpubpError, NonFiniteError
from ...network.network import Network
from ...tables import is_table
from ...training.callbacks import Callback, EarlyStopping
from ...training.checkpoint import Checkpoint
from ...training.history import History
from ...training.nonfinite import CHOICES
from ...training.snapshot import checkpoints_in
from ...training.trainer import Trainer
from ..command import BESIDE, Command
from ..console import every_tenth, fact, note, say, short, table
from ..defaults import SCHEDULES, Pace, make_l2, make_layers, make_optimizer
from ..files import NAMED, check_model, check_output
from ..json_output import about_training, tell
from ..large_data import memory_option, usual_memory
from ..log_options import check_logs, log_option, make_logs
from ..options import PATIENCE, Number, Patience, data_folder, device, network_options
from ..process import listen
from ..progress import progress
from ..report_options import Reporting, report_option
from ..run_folder import Every, Run, spelled
from ..table_options import load_task, stem, table_options, tell_columns
from ..task import Task
from .doctor import tell_device
from .evaluate import judge, verdict

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@click.command(cls=Command, config=True)
@click.argument("data", metavar="digits|mnist|FILE", required=False)
@data_folder
@table_options
@memory_option
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
@report_option
@log_option
@click.option(
    "--on-nonfinite", type=click.Choice(CHOICES), default="raise", show_default=True, help="Where the loss overflows."
)
@click.option("--checkpoint-dir", metavar="FOLDER", help="Write checkpoints into it, to go on after a crash.")
@click.option("--checkpoint-every", type=Every(), metavar="STEPS|5m", help="How often.  [default: after every epoch]")
@click.option("--resume", metavar="FOLDER", help="Go on with the run in it, with all its settings.")
@click.pass_context
def train(ctx: click.Context, /, data: str | None, resume: str | None, **options: Any) -> int:
    """Train a network on DATA and save it: fully connected, or convolutional on pictures.

    DATA is digits (1,797 handwritten digits, inside scikit-learn), mnist, or an .npz file with the arrays X and y and,
    for a test at the end, X_test and y_test. Whole numbers in y are classes; other numbers are predicted as numbers,
    and then it is for you to scale X and y.

    Or DATA is a table, .csv, .tsv or .parquet, and --target the column to predict: what the others are is found out and
    shown, missing values are filled in, numbers scaled, and all this is saved with the network.

    Or DATA is X.npy, and --target the .npy file of y. Tables and .npy files may be larger than memory.

    \b
    gpubp train digits
    gpubp train mnist --data FOLDER --hidden 512,512 --epochs 5
    gpubp train mnist --data FOLDER --model cnn --epochs 3
    gpubp train houses.csv --target price --test-fraction 0.2
    gpubp train X.npy --target y.npy --memory 4GB
    gpubp train houses.npz --loss huber --early-stopping --plot curves.png
    gpubp train digits --report report.html --log log.csv
    gpubp train digits --checkpoint-dir runs/a
    gpubp train --resume runs/a

    Ctrl-C or SIGTERM ends the training after the step under way, and what was learnt so far is saved.
    """
    if resume is None:
        if data is None:
            raise click.MissingParameter(ctx=ctx, param=ctx.command.params[0])
        return _train(data, ctx=ctx, **options)
    typed = [p for p in ctx.command.params if ctx.get_parameter_source(str(p.name)) is ParameterSource.COMMANDLINE]
    typed = [p for p in typed if p.name not in BESIDE]
    if len(typed) > 1:
        others = ", ".join(p.opts[0] if isinstance(p, click.Option) else "DATA" for p in typed if p.name != "resume")
        raise click.UsageError(f"--resume takes every setting from the run; leave out {others}")
    run = Run.read(resume)
    began = train.make_context(ctx.info_name, list(run.arguments), parent=ctx.parent)
    ctx.params = began.params
    values = {name: value for name, value in began.params.items() if name not in ("resume", "checkpoint_dir")}
    if run.finished and Path(values["out"]).is_file():
        tell(model=values["out"], trained=False)
        note(f"{resume} is finished; the model is {values['out']}")
        return 0
    return _train(ctx=began, checkpoint_dir=resume, run=run, **values)


def _train(
    data: str,
    folder: str | None,
    out: str | None,
    plot: str | None,
    log: tuple[str, ...],
    report: str | None,
    device: str,
    body: str | None,
    freeze: tuple[str, ...],
    checkpoint_dir: str | None,
    checkpoint_every: dict[str, Any] | None,
    ctx: click.Context,
    run: Run | None = None,
    **options: Any,
) -> int:
    out = out or f"{stem(data)}.safetensors"
    is_npy = data.lower().endswith(".npy")
    files = (None if data in NAMED else data, options["test"], options["target"] if is_npy else None)
    source = [file for file in files if file]
    check_output(out, "--out", not_over=source)
    check_output(plot, "--plot", (".png", ".svg", ".pdf"), not_over=[out, *source])
    check_logs(log, not_over=[out, plot, *source])
    reporting = Reporting(report, [out, plot, *log, *source])
    if checkpoint_every is not None and checkpoint_dir is None:
        raise click.UsageError("--checkpoint-every goes with --checkpoint-dir, which says where")
    if plot:
        from ...analysis.plots import require_matplotlib

        require_matplotlib()
    if is_table(data) or is_npy:
        options["memory"] = options["memory"] or usual_memory()  # which decides the order, and so is kept for a resume
        ctx.params["memory"] = options["memory"]
    dataset, task = load_task(data, folder, options)
    if options["label_smoothing"] is not None and task.kind != "classes":
        raise click.UsageError("--label-smoothing goes with --loss softmax")
    pace = Pace.of(len(dataset.X), options["validation_fraction"], options["batch_size"], options["epochs"])
    y = task.targets(dataset.y)
    going_on = bool(run and checkpoints_in(run.folder))
    if body is not None and not going_on:
        check_model(body)
    with mistakes():
        network, trainer = make(dataset, task, pace, device, options)
        if body is not None and not going_on:
            note(f"from {body}, {network.load_weights(body)}")
        network.freeze(*freeze)
        if not network.trainable:
            raise click.UsageError(f"--freeze {' '.join(freeze)} leaves nothing to train")
    if dataset.y_test is not None:  # what is wrong with it is better said now than after the training
        t = task.targets(dataset.y_test, "y_test")
        try:
            as_targets(t, task.loss, network.output_shape, len(t), network.dtype)
        except DataError as problem:
            raise DataError(f"in the test part, {problem}") from None
    saving = None
    if checkpoint_dir is not None:
        if run is None:
            values = ctx.params | {"out": out, "checkpoint_dir": None, "memory": options["memory"]}
            run = Run.begin(checkpoint_dir, spelled(ctx.command, values, tuple(_paths(values))))
        saving = Checkpoint(checkpoint_dir, **(checkpoint_every or {}))
    _announce(dataset, task, network, trainer, pace, device)
    if run is not None and trainer.resume(run.folder, missing_ok=True) is not None:
        note(f"going on from step {trainer.step_count:,}, after {trainer.epoch} of {pace.epochs} epochs")
    return _run(
        ctx, data, dataset, task, trainer, pace, y, options["early_stopping"], out, plot, log, reporting, run, saving
    )


def _paths(values: dict[str, Any]) -> Iterator[str]:
    yield from ("folder", "out", "plot", "body", "log", "report", "test")
    if values["data"] not in NAMED:
        yield "data"
    if values["data"].lower().endswith(".npy"):
        yield "target"


def make(dataset: Dataset, task: Task, pace: Pace, device: str, options: dict[str, Any]) -> tuple[Network, Trainer]:
    """The network and its trainer, from the options of `network_options`, "lr" and "schedule"."""
    network = Network(
        make_layers(dataset.input_shape, task.outputs, options, None if task.table is None else task.table.embedding),
        dataset.input_shape,
        device=device,
        dtype=options["dtype"],
        seed=options["seed"],
        precision=options["precision"],
        autotune=options["autotune"],
    )
    trainer = Trainer(
        network,
        task.loss,
        make_optimizer(options["optimizer"], options["lr"], options["schedule"], pace.epochs * pace.steps),
        batch_size=pace.batch_size,
        seed=options["seed"],
        l2=make_l2(options["l2"], pace.rows, task.table is not None),
        clip_norm=options["clip_norm"],
        on_nonfinite=options.get("on_nonfinite"),
        metrics=task.metrics,
    )
    network.metadata = task.metadata()
    return network, trainer


def _run(
    ctx: click.Context,
    data: str,
    dataset: Dataset,
    task: Task,
    trainer: Trainer,
    pace: Pace,
    y: np.ndarray[Any, Any],
    patience: int | None,
    out: str,
    plot: str | None,
    log: tuple[str, ...],
    reporting: Reporting,
    run: Run | None,
    saving: Checkpoint | None,
) -> int:
    """Train, save at once, and only then report."""
    stopping = EarlyStopping(patience=patience) if patience else None
    callbacks: list[Callback] = [progress(pace.epochs, pace.steps)]
    callbacks += [c for c in (stopping, saving, *make_logs(log), *reporting.callbacks) if c is not None]
    reporting.begin(trainer)
    start, code = time.perf_counter(), 0
    listen()
    try:
        trainer.fit(
            dataset.X, y, epochs=pace.epochs, validation_fraction=pace.validation, callbacks=callbacks, verbose=False
        )
    except NonFiniteError as problem:
        raise click.ClickException(
            f"{problem}. Nothing is saved: try a smaller --lr, --clip-norm 1, or numbers near 1 in X and y"
        ) from problem
    except SystemExit as ended:  # by SIGTERM
        code = int(ended.code or 0)
    history = trainer.history
    code = code or (INTERRUPTED if history.interrupted else 0)
    spent = time.perf_counter() - start
    replaced = Path(out).exists()
    network = trainer.network
    network.metadata |= {"epochs": history.epochs, "seed": trainer.seed}
    network.save(out)
    if run is not None and not code:
        run.finished = True
        run.write()
    if history.epochs:
        _table(history)
    if run is not None and code and saving is not None and saving.saved is not None:
        note(f"the checkpoint of step {int(saving.saved.stem[5:]):,} is in {run.folder}: {run.going_on()}")
    if history.interrupted:
        note(f"interrupted after {history.epochs} of {pace.epochs} epochs; what was learnt so far is saved")
    elif stopping and trainer.stop:
        note(f"no gain for {patience} epochs: stopped after epoch {trainer.epoch}, kept epoch {stopping.best_epoch}")
    say(f"trained in {spent:.1f} s")
    tell(
        **about_training(dataset, task, trainer, pace, stopping),
        model=out,
        seconds=spent,
        plot=plot,
        report=reporting.path,
    )
    if code not in (0, INTERRUPTED):  # whoever sends SIGTERM may not wait for long
        return code
    report = None
    if dataset.X_test is not None and dataset.y_test is not None:
        report = judge(network, task, dataset.X_test, task.targets(dataset.y_test, "y_test"))
        tell(test=report)
        say(verdict("test", report), "bold green")
    else:
        judged = (
            "judge by the validation above" if pace.validation else "nothing is known of rows it was not trained with"
        )
        wanted = "the file has no X_test and y_test" if task.table is None else "there is no --test or --test-fraction"
        wanted = "an .npy file has no rows to test with" if data.lower().endswith(".npy") else wanted
        note(f"{wanted}: {judged}")
    fact("model", f"{out}, {os.path.getsize(out) / 1024:,.0f} KB{', in place of an older file' if replaced else ''}")
    if plot and history.epochs:
        _draw(history, plot, f"{dataset.name}, {network.device}")
    reporting.write(ctx, dataset, task, trainer, pace, y, spent, report)
    rows, judged = (data, data) if data in NAMED else ("FILE.npz", data)
    if data.lower().endswith(".npy"):
        rows, judged = "NEW.npy", "NEW.npy --target NEW_y.npy"
    elif task.table is not None:
        rows, judged = "NEW.csv --out predictions.csv", "NEW.csv"
    fact("next", f"gpubp predict {out} {rows}    or    gpubp evaluate {out} {judged}")
    return code


def _announce(dataset: Dataset, task: Task, network: Network, trainer: Trainer, pace: Pace, asked: str) -> None:
    test = "no test rows" if dataset.X_test is None else f"{len(dataset.X_test):,} to test with"
    held = len(dataset.X) - pace.rows
    validation = f", {held:,} to validate with" if held else ""
    shape = " x ".join(map(str, dataset.input_shape))
    count = sum(a.size for a in network.parameters.values())
    tell_device(network, asked)
    rows = f"{pace.rows:,} rows to train with{validation}, {test}"
    if task.table is not None:
        tell_columns(task.table)
    fact("data", f"{dataset.name}: rows of {shape} numbers, {task.describe()}; {rows}")
    fact("network", f"{network.layers!r}, {count:,} parameters")
    epochs = f"{pace.epochs} epochs of {pace.steps:,} steps of {pace.batch_size} rows"
    fact("training", f"{task.loss!r}, {trainer.optimizer!r}, {epochs}")
    some = dataset.X.read(0) if isinstance(dataset.X, RowGroups) else dataset.X
    largest = float(max(abs(float(some.max(initial=0))), abs(float(some.min(initial=0)))))
    if largest > 100 and task.table is None:
        note(f"X reaches {largest:g}; networks learn best from numbers near 1, such as (X - X.mean(0)) / X.std(0)")


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
    from ...analysis.plots import plot_history
    from ..files import replacing

    with replacing(path) as file:
        plot_history(history, file, title=title)
    fact("curves", path)
