"""`gpubp train`: train a network and save it."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ...data.row_groups import RowGroups
from ...report.figures import evenly
from ...rounding import number
from ...training.nonfinite import CHOICES
from .. import together
from ..arguments import NAMED
from ..baselines import judge_training
from ..class_weight import class_weight_option
from ..command import BESIDE, Command
from ..console import LINES, fact, note, print_error, say, table
from ..devices import print_device, told_sharing
from ..ensemble import check_ensemble, ensemble_option
from ..evaluation import added_to_loss, evaluate_model, note_of, summary_line
from ..exact_training import METADATA, ExactTraining
from ..files import check_output, check_picture, draw
from ..intervals import keep_errors
from ..json_output import add_fields
from ..l2_search import with_l2
from ..large_data import memory_option, note_need
from ..log_options import check_logs, log_option
from ..options import PATIENCE, Patience, choice, data_folder, device, network_options, training_options
from ..process import FAILED, INTERRUPTED
from ..report_options import Reporting, report_option
from ..run_folder import Every, Run
from ..sound_options import sound_options
from ..table_options import print_columns, stem, table_options
from ..train_job import TrainJob
from ..train_run import fit_job, make_job
from ..writing import save_model, writing


@click.command(cls=Command, config=True)
@click.argument("data", metavar="digits|mnist|FILE|FOLDER", required=False)
@data_folder
@table_options
@sound_options
@memory_option
@network_options
@training_options
@click.option(
    "--early-stopping",
    type=Patience(),
    is_flag=False,
    flag_value=str(PATIENCE),
    metavar="[PATIENCE]",
    help=f"End when so many epochs brought no gain, and keep the best.  [{PATIENCE} without a number]",
)
@class_weight_option
@click.option("--from", "body", metavar="MODEL", help="Begin with its weights, where names and shapes agree.")
@click.option("--freeze", multiple=True, metavar="NAMES", help="Don't train these, as '0.*'; may be given again.")
@ensemble_option
@device
@click.option(
    "--shards",
    type=click.IntRange(1),
    help="Parts of every batch: the same bits on any number of workers and processes.  [default: one for each]",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Threads of a process that share each step.  [default: what suits]"
)
@click.option("--out", metavar="MODEL", help="Where to save.  [default: the data's name, .safetensors, here]")
@click.option("--plot", metavar="CURVES.png", help="Draw the training curves: .png, .svg or .pdf.")
@report_option
@log_option
@choice("--on-nonfinite", CHOICES, "Where the loss overflows.")
@click.option("--checkpoint-dir", metavar="FOLDER", help="Write checkpoints into it, to go on after a crash.")
@click.option("--checkpoint-every", type=Every(), metavar="STEPS|5m", help="How often.  [default: after every epoch]")
@click.option("--resume", metavar="FOLDER", help="Go on with the run in it, with all its settings.")
@click.pass_context
def train(ctx: click.Context, /, data: str | None, resume: str | None, **options: Any) -> int:
    """Train a network on DATA and save it: fully connected, or convolutional on pictures.

    DATA is digits (1,797 handwritten digits, inside scikit-learn), mnist, or an .npz file with the arrays X and y and,
    for a test at the end, X_test and y_test. Whole numbers in y are classes; other numbers are predicted as numbers,
    and then it is for you to scale X and y.

    Or DATA is a table, and --target the column to predict: what the others are is found out and shown, missing values
    are filled in, numbers scaled, texts read word by word, and all this is saved with the network. A table is .csv or
    other text, .parquet, .arrow, .jsonl or .xlsx, a folder of Parquet files, or - for CSV from standard input.

    Or DATA is a folder of sounds, with a folder of .wav files for each class. They become rows of one length, and the
    network begins with a spectrogram, which is saved with it.

    Or DATA is X.npy, and --target the .npy file of y. Tables and .npy files may be larger than memory.

    \b
    gpubp train digits
    gpubp train mnist --data FOLDER --hidden 512,512 --epochs 5
    gpubp train mnist --data FOLDER --model cnn --epochs 3
    gpubp train houses.csv --target price --test-fraction 0.2
    gpubp train reviews.csv --target sentiment
    gpubp train recordings --test-fraction 0.2
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
        return _train(ctx, options | {"data": data})
    typed = [p for p in ctx.command.params if ctx.get_parameter_source(str(p.name)) is ParameterSource.COMMANDLINE]
    typed = [p for p in typed if p.name not in BESIDE]
    if len(typed) > 1:
        others = ", ".join(p.opts[0] if isinstance(p, click.Option) else "DATA" for p in typed if p.name != "resume")
        raise click.UsageError(f"--resume takes every setting from the run; leave out {others}")
    run = Run.read(resume)
    began = train.make_context(ctx.info_name, list(run.arguments), parent=ctx.parent)
    ctx.params = began.params
    values = {name: value for name, value in began.params.items() if name not in ("resume", "checkpoint_dir")}
    values |= {"workers": options["workers"]}
    if run.finished and Path(values["out"]).is_file():
        add_fields(model=values["out"], trained=False)
        note(f"{resume} is finished; the model is {values['out']}")
        return 0
    return _train(began, values | {"checkpoint_dir": resume}, run)


def _train(ctx: click.Context, options: dict[str, Any], run: Run | None = None) -> int:
    """Check the files, make the job, announce it and run it. run: the run that is resumed."""
    options["out"] = options["out"] or f"{stem(options['data'])}.safetensors"
    reporting = _check_outputs(options)
    job = make_job(ctx, options, run)
    shared = told_sharing(job.trainer, together.count(), together.hosts())
    if together.leads():
        _announce(job, options["device"], shared)
    job = with_l2(job, options["l2"])
    if job.run is not None and job.trainer.resume(job.run.folder, missing_ok=True) is not None:
        steps, epochs = job.trainer.step_count, job.trainer.epoch
        note(f"going on from step {steps:,}, after {epochs} of {job.pace.epochs} epochs")
    return _run(job, reporting)


def _check_outputs(options: dict[str, Any]) -> Reporting:
    """Refuse, before any work, what could not be written or drawn after it."""
    check_ensemble(options)
    data, out, plot, log = (options[name] for name in ("data", "out", "plot", "log"))
    target = options["target"] if data.lower().endswith(".npy") else None
    source = [
        file for file in (None if data in NAMED else data, options["test"], options["validation"], target) if file
    ]
    check_output(out, "--out", not_over=source)
    check_picture(plot, "--plot", not_over=[out, *source])
    check_logs(log, not_over=[out, plot, *source])
    reporting = Reporting(options["report"], [out, plot, *log, *source])
    if options["checkpoint_every"] is not None and options["checkpoint_dir"] is None:
        raise click.UsageError("--checkpoint-every goes with --checkpoint-dir, which says where")
    return reporting


def _run(job: TrainJob, reporting: Reporting) -> int:
    """Train, save at once, and only then report. Returns the exit code."""
    reporting.begin(job.trainer)
    start = time.perf_counter()
    job, code = fit_job(job, reporting.callbacks)
    spent = time.perf_counter() - start
    if not together.goes_on_alone():
        return code
    history, network = job.trainer.history, job.trainer.network
    older = Path(job.out).exists()
    network.metadata |= {"epochs": history.epochs, "seed": job.trainer.seed}
    network.metadata["validation_rows"] = len(job.dataset.X) - job.pace.rows
    if job.exact:
        network.metadata[METADATA] = ExactTraining.of(job, train, finished=not code).config()
    saved = save_model(network, job.out, None if job.run is None else job.run.folder)
    if job.run is not None and not code and saved.problem is None:
        job.run.finished = True
        with writing(Path(job.run.folder) / "run.json"):
            job.run.write()
    _print_training(job, code)
    say(f"trained in {spent:.1f} s")
    add_fields(**job.fields(), model=saved.path, seconds=spent, plot=job.plot, report=reporting.path)
    if saved.problem is not None:
        print_error(saved.problem, FAILED)
    if code not in (0, INTERRUPTED):  # whoever sends SIGTERM may not wait for long
        return code
    judging = job.judging()
    whole = not keep_errors(job, judging) or saved.again(network)
    found = _test(job)
    judge_training(job, judging)
    size = f"{os.path.getsize(saved.path) / 1024:,.0f} KB"
    fact("model", f"{saved.path}, {size}{', in place of an older file' if older and saved.problem is None else ''}")
    if job.exact:
        fact("sha256", network.sha256())
    if job.plot and history.epochs:
        from ...analysis.plots.curves import plot_history

        title = f"{job.dataset.name}, {network.device}{f', {job.members.words}' if job.members else ''}"
        draw("curves", job.plot, partial(plot_history, history, title=title, note=note_of(job).text))
    with writing(reporting.path or ""):
        reporting.write(job, spent, found)
    rows, judged = (job.data, job.data) if job.data in NAMED else ("FILE.npz", job.data)
    if job.is_npy:
        rows, judged = "NEW.npy", "NEW.npy --target NEW_y.npy"
    elif job.task.table is not None:
        rows, judged = "NEW.csv --out predictions.csv", "NEW.csv"
    elif job.task.sound is not None:
        rows, judged = "NEW.wav", "NEW_FOLDER"
    fact("next", f"gpubp predict {saved.path} {rows}    or    gpubp evaluate {saved.path} {judged}")
    return code or (0 if whole and saved.problem is None else FAILED)


def _announce(job: TrainJob, asked: str, shared: str) -> None:
    """Print data, network and settings before the first step. asked: the device, as it was typed. shared: by what."""
    dataset, pace, network = job.dataset, job.pace, job.trainer.network
    test = "no test rows" if dataset.X_test is None else f"{len(dataset.X_test):,} to test with"
    held = job.validation_rows
    validation = f", {held:,} to validate with" if held else ""
    shape = " x ".join(map(str, dataset.input_shape))
    count = sum(a.size for a in network.parameters.values())
    print_device(network, asked)
    rows = f"{pace.rows:,} rows to train with{validation}, {test}"
    if job.task.table is not None:
        print_columns(job.task.table)
    form = job.task.sound
    what = f"rows of {shape} numbers" if form is None else f"sounds of {form.told}"
    fact("data", f"{dataset.name}: {what}, {job.task.describe()}; {rows}")
    times = f", {job.members.wanted} times" if job.members else ""
    fact("network", f"{network.layers!r}, {count:,} parameters{times}")
    epochs = f"{pace.epochs} epochs of {pace.steps:,} steps of {pace.batch_size} rows"
    fact("training", f"{job.task.loss!r}, {job.trainer.optimizer!r}, {epochs}")
    if shared:
        fact("shared", shared)
    less = "a smaller --batch-size, or fewer or smaller layers"
    note_need(
        job.trainer, pace.batch_size, less if form is None else "shorter --seconds, a lower --rate, or --model bag"
    )
    some = dataset.X.read(0) if isinstance(dataset.X, RowGroups) else dataset.X
    for column in job.deciding:
        note(column.told())
    largest = float(max(abs(float(some.max(initial=0))), abs(float(some.min(initial=0)))))
    if largest > 100 and job.task.table is None:
        note(f"X reaches {largest:g}; networks learn best from numbers near 1, such as (X - X.mean(0)) / X.std(0)")


def _print_training(job: TrainJob, code: int) -> None:
    """Print the numbers by epoch, and why the training ended before its last epoch."""
    history, stopping = job.trainer.history, job.stopping
    if history.epochs:
        rows = [[str(k + 1), *(number(c[k]) for c in history.values())] for k in evenly(history.epochs, LINES)]
        told = note_of(job)
        table(["epoch", *map(told.mark, history)], rows, f"* {told.text}" if told.text else "")
    if job.run is not None and code and job.checkpoint is not None and job.checkpoint.saved is not None:
        step = int(job.checkpoint.saved.stem[5:])
        note(f"the checkpoint of step {step:,} is in {job.run.folder}: {job.run.resume_command()}")
    if history.interrupted and job.members is None:
        note(f"interrupted after {history.epochs} of {job.pace.epochs} epochs; what was learnt so far is saved")
    elif stopping and job.trainer.stop:
        epochs = f"stopped after epoch {job.trainer.epoch}, kept epoch {stopping.best_epoch}"
        note(f"no gain for {stopping.patience} epochs: {epochs}")


def _test(job: TrainJob) -> dict[str, float] | None:
    """Evaluate the test rows; None, with a note, where there are none."""
    rows = job.test_rows()
    if rows is not None:
        found = evaluate_model(job.trainer.network, job.task, *rows)
        add_fields(test=found)
        say(summary_line("test", found, added_to_loss(job)), "bold green")
        return found
    above = "validation" if job.validation_rows else "cross-validation" if job.cross_validation else None
    judged = f"judge by the {above} above" if above else "nothing is known of rows it was not trained with"
    files = job.task.table is not None or job.task.sound is not None
    wanted = "there is no --test or --test-fraction" if files else "the file has no X_test and y_test"
    note(f"{'an .npy file has no rows to test with' if job.is_npy else wanted}: {judged}")
    return None
