"""`gpubp profile`: time a training step layer by layer, and estimate it for several processes."""

from __future__ import annotations

from typing import Any

import click

from ...analysis.step_costs import estimate_scaling
from ..command import Command
from ..console import line
from ..json_output import add_fields
from ..options import data_folder, device, network_options
from ..scaling_options import link_of, scaling_options
from ..sound_options import sound_options
from ..table_options import table_options
from ..trainer import load_trainer


@click.command(cls=Command, config=True)
@click.argument("data", metavar="[digits|mnist|FILE|FOLDER]", default="digits")
@data_folder
@table_options
@sound_options
@network_options
@device
@click.option(
    "--workers", type=click.IntRange(1), help="Threads that share a step; of each process.  [default: what suits; 1]"
)
@click.option("--shards", type=click.IntRange(1), help="Parts of every batch, as of `gpubp train`.")
@click.option("--steps", type=click.IntRange(1), default=50, show_default=True, help="To time.")
@scaling_options
def profile(data: str, folder: str | None, device: str, steps: int, **options: Any) -> None:
    """Time every call of a training step, and say what each layer takes, forward and backward, and the update.

    Takes the options of `gpubp train` that make the network. Nothing is saved. With --processes it also says, from
    the step on this machine and from what processes would send, whether several are faster than one.

    \b
    gpubp profile
    gpubp profile mnist --data FOLDER --model cnn --device cuda --json where.json
    gpubp profile digits --processes 8 --bandwidth 25Gbit --latency 20us
    """
    link = link_of(options)
    trainer, X, y = load_trainer(data, folder, device, options)
    found = trainer.profile(X, y, steps=steps)
    line(str(found))
    add_fields(**found.to_dict())
    if options["processes"]:
        scaling = estimate_scaling(trainer, X, y, processes=options["processes"], steps=steps, **link)
        line(f"\n{scaling}")
        add_fields(scaling=scaling.to_dict())
