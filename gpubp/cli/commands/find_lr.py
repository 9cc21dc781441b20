"""`gpubp find-lr`: which learning rate to begin with."""

from __future__ import annotations

import shlex
from typing import Any

import click

from ...analysis.diagnostics import find_learning_rate
from ..command import Command
from ..console import fact, say
from ..defaults import Pace
from ..files import check_output, replacing
from ..json_output import tell
from ..options import data_folder, device, network_options
from ..table_options import load_task, table_options
from .train import make, mistakes

__all__ = ["find_lr"]


@click.command("find-lr", cls=Command, config=True)
@click.argument("data", metavar="digits|mnist|FILE")
@data_folder
@table_options
@network_options
@device
@click.option("--plot", metavar="SWEEP.png", help="Draw loss against learning rate: .png, .svg or .pdf.")
def find_lr(data: str, folder: str | None, plot: str | None, device: str, **options: Any) -> None:
    """Train a hundred steps with a learning rate that rises from 0.000001 to 10, and say where the loss falls fastest.

    Takes the options of `gpubp train` that make the network. Nothing is saved.

    \b
    gpubp find-lr digits
    gpubp find-lr mnist --data FOLDER --model cnn --plot sweep.png
    """
    check_output(plot, "--plot", (".png", ".svg", ".pdf"), not_over=[data])
    if plot:
        from ...analysis.plots import require_matplotlib

        require_matplotlib()
    dataset, task = load_task(data, folder, options)
    pace = Pace.of(len(dataset.X), 0.0, options["batch_size"], 1)
    y = task.targets(dataset.y)
    with mistakes():
        _, trainer = make(dataset, task, pace, device, options | {"lr": None, "schedule": "constant"})
    found = find_learning_rate(trainer, dataset.X, y)
    tell(data=data, suggestion=found.suggestion, rates=found.rates, losses=found.losses, plot=plot)
    say(f"suggested learning rate {found.suggestion:.2g}", "bold green")
    if plot:
        with replacing(plot) as path:
            found.plot(path)
        fact("plot", plot)
    target = f" --target {shlex.quote(options['target'])}" if options["target"] else ""
    fact("next", f"gpubp train {data}{target} --lr {found.suggestion:.2g}")
