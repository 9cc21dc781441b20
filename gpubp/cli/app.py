"""The group of commands; each stands in a file of its own."""

from __future__ import annotations

import click

from .. import __version__
from .doctor import doctor
from .train import train
from .use import evaluate, predict

__all__ = ["app"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="gpubp")
def app() -> None:
    """Train neural networks by backpropagation that one can read, on a CPU or a CUDA GPU.

    \b
    gpubp train digits                               watch a network learn handwritten digits
    gpubp evaluate digits.safetensors digits         judge it again
    gpubp predict digits.safetensors new.npz         use it
    gpubp doctor                                     what works on this machine
    """


for command in (train, predict, evaluate, doctor):
    app.add_command(command)
