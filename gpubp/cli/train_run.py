"""Runs of `gpubp train`: its job is made of its options, and its networks are fitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click
from click.core import ParameterSource

from ..data.checks import as_targets
from ..data.row_groups import RowGroups
from ..endings import is_stream
from ..errors import DataError
from ..losses import Quantile, SoftmaxCrossEntropy
from ..model_file import layers_of
from ..processes import device_of
from ..training.callbacks import Callback
from ..training.checkpoint import Checkpoint
from ..training.monitors import EarlyStopping
from ..training.snapshot import checkpoints_in, read
from . import together
from .arguments import NAMED, is_sounds, is_table
from .baselines import keep_guess
from .class_weight import class_weights
from .console import note
from .defaults import activation_now
from .ensemble import fit_ensemble
from .files import check_model
from .large_data import usual_memory
from .leaks import deciding_columns
from .log_options import make_logs
from .members import Members
from .process import INTERRUPTED, raise_on_interrupt
from .progress import progress
from .report_options import command_of
from .run_folder import Run, arguments_of
from .table_options import load_task, load_validation
from .train_job import TrainJob
from .trainer import TrainerMaker, nonfinite_ends

OF_ONE_START = ("checkpoint_dir", "workers")  # options that a resume does not repeat


def make_job(ctx: click.Context, options: dict[str, Any], run: Run | None) -> TrainJob:
    """Load the data and make the network, its trainer and the folder of the run."""
    data, body, folder = options["data"], options["body"], options["checkpoint_dir"]
    typed = run is None and ctx.get_parameter_source("memory") is not ParameterSource.DEFAULT
    if is_table(data) or is_sounds(data) or data.lower().endswith(".npy"):
        # it decides the order, and so is kept for a resume
        options["memory"] = options["memory"] or usual_memory(options["exact"])
    _check_streams(options)
    device = device_of(together.group(), options["device"])
    if together.count() > 1 and options["shards"] is None and not options["exact"]:
        _choose_shards(ctx, options, device, run)
    dataset, task = load_task(data, options["folder"], options)
    validation = load_validation(dataset, task, options)
    ctx.params["memory"] = options["memory"] if typed or isinstance(dataset.X, RowGroups) else None
    for name, given, of in (("label-smoothing", "softmax", SoftmaxCrossEntropy), ("quantile", "quantile", Quantile)):
        if options.get(name.replace("-", "_")) is not None and type(task.loss) is not of:
            raise click.UsageError(f"--{name} goes with --loss {given}")
    y = task.targets(dataset.y)
    class_weight = class_weights(options["class_weight"], task, y)
    resumed = bool(run and checkpoints_in(run.folder))
    if run is not None and resumed and options["activation"] == "gelu":
        before = layers_of(read(run.folder)[1].config)
        options["activation"] = ctx.params["activation"] = activation_now("gelu", before)
    if body is not None and not resumed:
        check_model(body)
    maker = TrainerMaker(dataset, task, device, options, None if resumed else body)
    pace = maker.pace(len(dataset.X))
    trainer = maker.make(pace)
    network = trainer.network
    if maker.body is not None:
        note(f"from {body}, {network.load_weights(body)}")
    keep_guess(network, task, y)
    if dataset.y_test is not None:  # what is wrong with it is better said now than after the training
        t = task.targets(dataset.y_test, "y_test")
        try:
            as_targets(t, task.loss, network.output_shape, t, network.dtype)
        except DataError as problem:
            raise DataError(f"in the test part, {problem}") from None
    if folder is not None and run is None:
        values = ctx.params | {"out": options["out"], "memory": options["memory"]} | dict.fromkeys(OF_ONE_START)
        run = Run(folder, arguments_of(ctx.command, values, tuple(_paths(values))))
        together.first(run.begin)
    return TrainJob(
        data,
        dataset,
        task,
        pace,
        y,
        maker,
        trainer,
        stopping=EarlyStopping(patience=options["early_stopping"]) if options["early_stopping"] else None,
        out=options["out"],
        plot=options["plot"],
        log=options["log"],
        command=command_of(ctx),
        run=run,
        checkpoint=None if folder is None else Checkpoint(folder, **(options["checkpoint_every"] or {})),
        class_weight=class_weight,
        deciding=deciding_columns(dataset, task, y) if together.leads() else (),
        validation=validation,
        members=Members(options["ensemble"]) if options["ensemble"] else None,
    )


def _choose_shards(ctx: click.Context, options: dict[str, Any], device: str, run: Run | None) -> None:
    """One shard for each worker of each process, and so the run has them, whoever resumes it."""
    if run is not None:
        note(f"the run has no --shards: {together.count()} processes add in another order, so that last bits differ")
        return
    workers = options["workers"] or 1
    options["shards"] = ctx.params["shards"] = together.count() * (workers if device == "cpu" else 1)


def _check_streams(options: dict[str, Any]) -> None:
    """Raise UsageError for data that can be read once only, where they are needed again, or by several processes."""
    streams = [name for name in ("data", "test", "validation") if options[name] and is_stream(options[name])]
    if options["checkpoint_dir"] is not None and "data" in streams:
        raise click.UsageError("--checkpoint-dir needs a file: standard input can't be read again to go on")
    if streams and together.count() > 1:
        raise click.UsageError(
            f"{together.count()} processes need files: each reads the data, and standard input can be read once"
        )


def _paths(values: dict[str, Any]) -> Iterator[str]:
    """The names of the options that are files or folders."""
    yield from ("folder", "out", "plot", "body", "log", "report", "test", "validation")
    if values["data"] not in NAMED:
        yield "data"
    if values["data"].lower().endswith(".npy"):
        yield "target"


def fit_job(job: TrainJob, more: Sequence[Callback] = ()) -> tuple[TrainJob, int]:
    """Train the network of a job, or all of an ensemble; returns the job with what is trained, and the exit code.

    more: callbacks of the first network.
    """
    if job.members is None:
        return job, fit_one(job, more)
    first = job.trainer
    return fit_ensemble(job, lambda one: fit_one(one, more if one.trainer is first else ()))


def fit_one(job: TrainJob, more: Sequence[Callback]) -> int:
    """Train. Returns 0, or the exit code that goes with the signal that ended the training."""
    callbacks: list[Callback] = [progress(job.pace.epochs, job.pace.steps)]
    callbacks += [c for c in (job.stopping, job.checkpoint, *make_logs(job.log), *more) if c is not None]
    raise_on_interrupt()
    try:
        with nonfinite_ends():
            job.trainer.fit(
                **job.data_to_fit(),
                epochs=job.pace.epochs,
                class_weight=job.class_weight,
                callbacks=callbacks,
                verbose=False,
            )
    except SystemExit as ended:  # by SIGTERM
        if ended.code:
            return int(ended.code)
    return INTERRUPTED if job.trainer.history.interrupted else 0
