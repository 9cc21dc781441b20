"""`gpubp profile`: where the time of a training step goes."""

from __future__ import annotations

from typing import Any

import click

from ..command import Command
from ..console import line
from ..defaults import Pace
from ..json_output import tell
from ..options import data_folder, device, network_options
from ..table_options import load_task, table_options
from .train import make, mistakes

__all__ = ["profile"]


@click.command(cls=Command, config=True)
@click.argument("data", metavar="[digits|mnist|FILE]", default="digits")
@data_folder
@table_options
@network_options
@device
@click.option("--steps", type=click.IntRange(1), default=50, show_default=True, help="To time.")
def profile(data: str, folder: str | None, device: str, steps: int, **options: Any) -> None:
    """Time every call of a training step, and say what each layer takes, forward and backward, and the update.

    Takes the options of `gpubp train` that make the network. Nothing is saved.

    \b
    gpubp profile
    gpubp profile mnist --data FOLDER --model cnn --device cuda --json where.json
    """
    dataset, task = load_task(data, folder, options)
    pace = Pace.of(len(dataset.X), 0.0, options["batch_size"], 1)
    y = task.targets(dataset.y)
    with mistakes():
        _, trainer = make(dataset, task, pace, device, options | {"lr": None, "schedule": "constant"})
    found = trainer.profile(dataset.X, y, steps=steps)
    line(str(found))
    tell(**found.to_dict())
