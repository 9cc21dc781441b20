"""`gpubp search`: try settings of `gpubp train`, and keep those that are better on rows that no trial has seen."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ...endings import is_stream
from ...report.judgement import FIELDS
from ...training.pruning import require_optuna
from ..arguments import NAMED, is_sounds, is_table
from ..baselines import judge_training
from ..class_weight import class_weight_option
from ..command import Command
from ..console import fact, note, print_error, say
from ..devices import print_device
from ..evaluation import evaluate_model, summary_line
from ..files import check_output, check_picture
from ..intervals import keep_errors
from ..json_output import add_fields
from ..large_data import memory_option
from ..options import data_folder, device, network_options, training_options
from ..process import FAILED, INTERRUPTED, raise_on_interrupt
from ..run_folder import arguments_of
from ..search import processes
from ..search.finish import Outcome, finish, holds_out_rows
from ..search.judging import METRICS, check_metric, rises
from ..search.loop import Search, Tried, check_trials, tried
from ..search.pictures import check_search_pictures, draw_search
from ..search.results import Progress, fields, print_outcome
from ..search.rows import SHARE, check_rows, digest_of_job, folds_of, with_test_rows
from ..search.space import SEARCHED, Space
from ..search.study import check_place, open_study, quiet
from ..search.timeout import Timeout
from ..search.training import TrialRunner
from ..sound_options import sound_options
from ..table_options import print_columns, stem, table_options
from ..train_job import TrainJob
from ..train_run import make_job
from ..writing import save_model

# What `make_job` takes and a search has not: it has no early stopping, because the number of epochs is searched.
NOT_SEARCHED: dict[str, Any] = {
    **dict.fromkeys(("early_stopping", "body", "ensemble", "checkpoint_dir", "checkpoint_every", "resume")),
    "freeze": (),
    "log": (),
    "on_nonfinite": "raise",
}
BESIDE = (
    *("trials", "timeout", "parallel", "study", "out", "plot", "report", "device", "memory", "folder"),
    *("data", "test", "validation", "target"),  # whose rows are in the digest
)  # options that say nothing of what a score means
JUDGED = ("trained", "test", "judged_by", *FIELDS)  # fields of a training that stand beside the others


@click.command(cls=Command, config=True)
@click.argument("data", metavar="digits|mnist|FILE|FOLDER")
@data_folder
@table_options
@sound_options
@memory_option
@network_options
@training_options
@class_weight_option
@click.option(
    "--trials", type=click.IntRange(1), default=50, show_default=True, help="Settings to try, of all processes."
)
@click.option("--timeout", type=Timeout(), metavar="TIME", help="End after this time, as 90s, 10m or 1h30m.")
@click.option(
    "--metric",
    type=click.Choice(list(METRICS)),
    default="loss",
    show_default=True,
    help="What is compared, without penalties and label smoothing.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that search at once, each with one thread.",
)
@click.option(
    "--study",
    metavar="FILE|URL",
    help="Keep the trials in it, to go on later, or to search on several machines at once.",
)
@device
@click.option("--out", metavar="MODEL", help="Where to save.  [default: the data's name, .safetensors, here]")
@click.option("--plot", metavar="TRIALS.png", help="Draw the trials: .png, .svg or .pdf.")
@click.option("--report", metavar="REPORT.html", help="Write a page about the search: trials, settings, gain.")
@click.pass_context
def search(ctx: click.Context, /, data: str, **options: Any) -> int:
    """Search settings that train a better network than `gpubp train` does by itself, and save it.

    Widths and depths, the activation, dropout, the learning rate, the penalty, batch sizes and the number of epochs are
    searched by Optuna; what you give as an option is not. The first trial is what `gpubp train` would do. Trials are
    judged by folds of the rows, and bad ones are given up early. At the end the best settings and the default are
    trained on all rows but the test rows, and compared on these: the default is kept if the gain may be chance.

    DATA is as for gpubp train. Of a table, --test-fraction is 0.2 where there is no --test.

    \b
    gpubp search houses.csv --target price --trials 50 --timeout 10m
    gpubp search houses.csv --target price --hidden 64 --parallel 4
    gpubp search digits --metric accuracy --plot trials.png
    gpubp search houses.csv --target price --study houses.log

    Type the last line again to go on, also on other machines at the same time. Ctrl-C ends the trial under way; the
    best so far is trained on all rows and saved.
    """
    require_optuna()
    options |= NOT_SEARCHED | {"data": data, "out": options["out"] or f"{stem(data)}.safetensors"}
    start = time.monotonic()
    watched = processes.parent() is not None
    with quiet(), _only_errors(watched):
        _check(options)
        job = _job(ctx, options)
        space = _space(ctx, job)
        folds, told = folds_of(job)
        runner = TrialRunner(job, folds, options["metric"])
        if not watched:
            _announce(job, space, told)
        raise_on_interrupt()
        deadline = start + options["timeout"].seconds if options["timeout"] else math.inf
        with _place(options) as place, _storage_errors(place):
            study = open_study(place, _fingerprint(ctx, job, space, options), rises(options["metric"]), options["seed"])
            of = Search(study, space, runner, options["trials"], deadline, still=_watched if watched else lambda: True)
            if watched:
                return _run_trials(of)
            ended = _search(ctx, of, place, options)
            trials = tried(study)
        return _end(ctx, job, space, trials, options, ended, time.monotonic() - start)


def _search(ctx: click.Context, of: Search, place: str | None, options: dict[str, Any]) -> str:
    """Run the trials in this process or in several, with a line for each; returns why they ended."""
    metric, at_once = options["metric"], options["parallel"]
    progress = Progress(of.space, metric, len(of.runner.job.y), options["batch_size"], of.trials, of.deadline, at_once)
    before = [trial for trial in tried(of.study) if trial.is_whole]
    check_trials(before, of.space, place)
    if before:
        note(f"going on with {len(before)} trials of {options['study']}")
    if at_once == 1:
        of.tell = progress.tell
        return of.run()
    several = processes.Processes(_arguments(ctx, place, of.deadline), at_once)
    several.begin()
    ended = several.watch(of.study, progress.tell)
    enough = sum(trial.is_whole for trial in tried(of.study)) >= of.trials
    return ended if enough or ended == "interrupt" else "time"


@contextlib.contextmanager
def _storage_errors(place: str | None) -> Iterator[None]:
    """Turn an error of the study's database, or of a file that another program has changed, into a ClickException."""
    try:
        yield
    except require_optuna().exceptions.OptunaError as problem:
        reason = str(problem).partition("\n")[0]
        raise click.ClickException(f"--study {place} can't be used any more: {reason}; nothing is saved") from problem


def _check(options: dict[str, Any]) -> None:
    """Refuse, before any work, what could not be written or run after it."""
    data, out = options["data"], options["out"]
    if is_stream(data):
        raise click.UsageError("a search needs a file: standard input can be read once only")
    if options["l2"] == "auto":
        raise click.UsageError("a search tries penalties by itself: leave out --l2 auto")
    target = options["target"] if data.lower().endswith(".npy") else None
    source = [f for f in (None if data in NAMED else data, options["test"], options["validation"], target) if f]
    check_output(out, "--out", not_over=source)
    check_picture(options["plot"], "--plot", not_over=[out, *source])
    check_search_pictures(options["report"], not_over=[out, options["plot"], *source])
    check_place(options["study"], [out, options["plot"], options["report"], *source])


def _job(ctx: click.Context, options: dict[str, Any]) -> TrainJob:
    """The data and the task, with test rows."""
    data, share = options["data"], options["test_fraction"]
    if (is_table(data) or is_sounds(data)) and not options["test"]:
        options["test_fraction"] = share or SHARE
    job = make_job(ctx, options, None)
    if not (is_table(data) or is_sounds(data)):
        dataset, task = with_test_rows(job.dataset, job.task, share or SHARE, options["seed"])
        y = task.targets(dataset.y)
        maker = replace(job.maker, dataset=dataset, task=task)
        job = replace(job, dataset=dataset, task=task, y=y, maker=maker, pace=maker.pace(len(y)))
    check_metric(options["metric"], job.task)
    check_rows(job)
    return job


def _space(ctx: click.Context, job: TrainJob) -> Space:
    """What is searched: the options that were not typed."""
    usual = (ParameterSource.DEFAULT, None)
    free = tuple(name for name in SEARCHED if ctx.get_parameter_source(name) in usual)
    options = job.maker.options | {"model": job.maker.options["model"] or job.task.usual_model}
    table = job.task.table
    if table is not None and len(table.texts) == len(table.columns) and options["hidden"] is None:
        free = tuple(name for name in free if name not in ("activation", "dropout"))  # there are no hidden layers
    space = Space.of(options, free, table is not None, table is not None and bool(table.texts), len(job.y))
    if not space.names:
        raise click.UsageError(f"every option that is searched was given: leave out one of {', '.join(SEARCHED)}")
    return space


def _announce(job: TrainJob, space: Space, judged: str) -> None:
    """Print what is searched, and by which rows."""
    print_device(job.trainer.network, job.maker.options["device"])
    if job.task.table is not None:
        print_columns(job.task.table)
    tested = len(job.dataset.y_test) if job.dataset.y_test is not None else 0
    fact(
        "data",
        f"{job.dataset.name}: {job.task.describe()}; {len(job.y):,} rows to search with, {tested:,} to test with",
    )
    fact("search", space.told())
    fact("judged", f"by {judged}")
    for column in job.deciding:
        note(column.told())


def _fingerprint(ctx: click.Context, job: TrainJob, space: Space, options: dict[str, Any]) -> dict[str, Any]:
    """What two searches must have in common to share a study: rows, options, and what is searched."""
    command = [p for p in ctx.command.params if p.name not in BESIDE]
    values = {str(p.name): ctx.params.get(str(p.name)) for p in command}
    values["test_fraction"] = options["test_fraction"]
    told = {
        f"--{name.replace('_', '-')}": str(value)
        for name, value in values.items()
        if value is not None and value is not False and value != ()
    }
    bounds = {name: list(bound) for name, bound in space.searched().items()}
    return {"rows": digest_of_job(job), **told, "searched": bounds}


@contextlib.contextmanager
def _place(options: dict[str, Any]) -> Iterator[str | None]:
    """Where the study is: as typed, for several processes at least a temporary file, else None."""
    if options["study"] is not None or options["parallel"] == 1:
        yield options["study"]
        return
    with tempfile.TemporaryDirectory(prefix="gpubp-search-") as folder:
        yield str(Path(folder) / "study.log")


def _arguments(ctx: click.Context, place: str | None, deadline: float) -> list[str]:
    """The arguments of a process of --parallel."""
    usual = (ParameterSource.DEFAULT, None)
    typed = {name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) not in usual}
    left = None if deadline == math.inf else f"{max(1, math.ceil(deadline - time.monotonic()))}s"
    beside = dict.fromkeys(("out", "plot", "report", "parallel"))
    return ["search", *arguments_of(ctx.command, typed | beside | {"study": place, "timeout": left}, ())]


@contextlib.contextmanager
def _only_errors(wanted: bool) -> Iterator[None]:
    """Print nothing in a process of --parallel but an error at its end."""
    if not wanted:
        yield
        return
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing), contextlib.redirect_stdout(nothing):
        yield


def _watched() -> bool:
    return os.getppid() == processes.parent()


def _run_trials(search: Search) -> int:
    """Run the trials of a process of --parallel, with one thread a step."""
    search.runner.job.maker.options["workers"] = 1
    return INTERRUPTED if search.run() == "interrupt" else 0


def _end(
    ctx: click.Context,
    job: TrainJob,
    space: Space,
    trials: list[Tried],
    options: dict[str, Any],
    ended: str,
    spent: float,
) -> int:
    """Train, compare, save and report. Returns the exit code."""
    metric = options["metric"]
    code = INTERRUPTED if ended == "interrupt" else 0
    if not any(trial.state == "finished" for trial in trials):
        why = {"time": "no trial ended in this time: give a longer --timeout", "interrupt": "interrupted"}.get(
            ended, "every trial was given up, because its numbers were not finite"
        )
        return print_error(f"{why}; nothing is saved", code or FAILED)
    if code:
        note("interrupted; the best so far and the default are trained on all rows; Ctrl-C again leaves it out")
    try:
        found = finish(ctx, job, space, trials, metric)
    except KeyboardInterrupt:
        return print_error(
            "interrupted while the best settings were trained on all rows; nothing is saved", INTERRUPTED
        )
    assert found is not None
    print_outcome(found, space, trials, metric, options["batch_size"])
    return _save(found, space, trials, options, ended, spent) or code


def _save(found: Outcome, space: Space, trials: list[Tried], options: dict[str, Any], ended: str, spent: float) -> int:
    kept = found.kept.job
    network = kept.trainer.network
    if found.kept.diverged:
        return print_error("the settings that are kept diverge on all rows; nothing is saved", FAILED)
    saved = save_model(network, options["out"], None)
    training = {name: value for name, value in kept.fields().items() if name not in JUDGED}
    add_fields(
        model=saved.path,
        **fields(found, space, trials, options["metric"], ended),
        training=training,
        seconds=spent,
        plot=options["plot"],
        report=options["report"],
    )
    if saved.problem is not None:
        print_error(saved.problem, FAILED)
    judging = kept.judging()
    whole = not keep_errors(kept, judging) or saved.again(network)
    rows = kept.test_rows()
    assert rows is not None
    tested = evaluate_model(network, kept.task, *rows)
    add_fields(test=tested)
    say(summary_line("test", tested), "bold green")
    judge_training(kept, judging)
    fact("model", f"{saved.path}, {'the best settings' if found.changed else 'the default'}")
    if kept.exact:
        fact("sha256", network.sha256())
    draw_search(found, space, trials, options, spent)
    fact("repeat", kept.command)
    if holds_out_rows(kept):
        note("of arrays gpubp train holds no test rows out: this command trains on all rows")
    return 0 if whole and saved.problem is None else FAILED
