"""`gpubp find-lr`: suggest a learning rate."""

from __future__ import annotations

import shlex
from typing import Any

import click

from ...analysis.diagnostics import find_learning_rate
from ..command import Command
from ..console import fact, say
from ..files import check_picture, draw
from ..json_output import add_fields
from ..options import data_folder, device, network_options
from ..run_folder import arguments_of
from ..sound_options import OF_SOUNDS, sound_options
from ..table_options import OPTIONS, table_options
from ..trainer import load_trainer


@click.command("find-lr", cls=Command, config=True)
@click.argument("data", metavar="digits|mnist|FILE|FOLDER")
@data_folder
@table_options
@sound_options
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
    check_picture(plot, "--plot", not_over=[data])
    found = find_learning_rate(*load_trainer(data, folder, device, options))
    add_fields(data=data, suggestion=found.suggestion, rates=found.rates, losses=found.losses, plot=plot)
    say(f"suggested learning rate {found.suggestion:.2g}", "bold green")
    if plot:
        draw("plot", plot, found.plot)
    typed = {name: options[name] for name in (*OPTIONS, *OF_SOUNDS) if options.get(name) and name != "target"}
    target = ["--target", options["target"]] if options["target"] else []
    others = arguments_of(click.get_current_context().command, typed, ())
    fact("next", f"{shlex.join(['gpubp', 'train', data, *target, *others])} --lr {found.suggestion:.2g}")
