"""`gpubp inspect`: what is in a model file."""

from __future__ import annotations

import click

from ..network import load
from .command import Command
from .files import check_model
from .screen import fact
from .task import Task

__all__ = ["inspect"]


@click.command(cls=Command)
@click.argument("model", metavar="MODEL")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Rows of a step.")
def inspect(model: str, batch_size: int) -> None:
    """Show the layers of MODEL with their shapes and parameters, and the memory that training it needs.

    \b
    gpubp inspect digits.safetensors
    """
    check_model(model)
    network = load(model, device="cpu")
    task = Task.of(network, model)
    if task is not None:
        fact("predicts", task.describe())
    network.summary(batch_size)
