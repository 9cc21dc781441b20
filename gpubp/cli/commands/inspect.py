"""`gpubp inspect`: show the contents of a model file."""

from __future__ import annotations

import sys

import click

from ...network.network import load
from ..command import Command
from ..console import fact
from ..exact_training import METADATA, ExactTraining
from ..files import check_model
from ..json_output import about, add_fields, json_wanted
from ..task import Task


@click.command(cls=Command)
@click.argument("model", metavar="MODEL")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Rows of a step.")
def inspect(model: str, batch_size: int) -> None:
    """Show the layers of MODEL with their shapes and parameters, and the memory that training it needs.

    The SHA-256 is that of parameters and running statistics: models with the same one are the same to the last bit.

    \b
    gpubp inspect digits.safetensors
    """
    check_model(model)
    network = load(model, device="cpu")
    task = Task.of(network, model)
    if task is not None:
        fact("predicts", task.describe())
    if task is not None and task.sound is not None:
        fact("takes", f"sounds of {task.sound.told}")
    if METADATA in network.metadata:
        told = ExactTraining.read(network, model)
        fact("exact", f"version {told.version} of exact numerics; gpubp verify {model} trains it again")
    fact("sha256", network.sha256())
    network.summary(batch_size, file=sys.stderr if json_wanted() else None)
    add_fields(
        model=model,
        **about(network, task),
        input_shape=network.input_shape,
        output_shape=network.output_shape,
        layers=[layer._asdict() for layer in network.outline(batch_size)],
        batch_size=batch_size,
        sha256=network.sha256(),
        step_bytes=network.shown_memory(batch_size),
        metadata=network.metadata,
    )
