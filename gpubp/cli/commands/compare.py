"""`gpubp compare`: train the same steps on two backends and compare the numbers."""

from __future__ import annotations

from typing import Any

import click

from ...analysis.parity import BackendComparison, compare_backends
from ...analysis.same_bits import BitsComparison, compare_bits
from ...backends import get_backend
from ...errors import DeviceError
from ..command import Command
from ..console import line, note
from ..defaults import Pace, make_l2, make_layers, make_optimizer
from ..files import check_picture, draw, load_data
from ..json_output import add_fields
from ..options import data_folder, network_options
from ..progress import steps_bar
from ..task import Task
from ..trainer import usage_errors

ALONE, ALONE_EXACT = "cpu,cpu-float64", "cpu,cpu:1-thread"


@click.command(cls=Command, config=True)
@click.argument("data", metavar="[digits|mnist|FILE.npz]", default="digits")
@click.option(
    "--backends",
    metavar="NAME,NAME,...",
    help="cpu, cuda or cuda:N, and behind a dash float64, tf32 or bfloat16; with --exact also cpu:1-thread and "
    "cpu:2-workers.  [default: cpu,cuda]",
)
@click.option("--steps", type=click.IntRange(1), default=20, show_default=True, help="To compare.")
@data_folder
@network_options
@click.option("--plot", metavar="FILE.png", help="Draw the differences by step and layer: .png, .svg or .pdf.")
def compare(data: str, backends: str | None, steps: int, folder: str | None, plot: str | None, **options: Any) -> int:
    """Train the same network on two backends or more, and say layer by layer how far their numbers are apart.

    Weights, batches and random draws are the same bits everywhere. Each step begins with the parameters of the first
    backend, so that a layer's differences are its own. Exits with 0 if rounding explains them all, and else with 1.

    With --exact each backend trains by itself, and all numbers must have the same bits.

    \b
    gpubp compare                              CPU and GPU, on handwritten digits
    gpubp compare --backends cpu,cpu-float64   what float32 costs, without a GPU
    gpubp compare mnist --model cnn --json found.json --plot found.png
    gpubp compare --exact --backends cpu,cuda  the same bits, and their SHA-256
    """
    check_picture(plot, "--plot", not_over=[data])
    if options.pop("dtype") != "float32" or options.pop("precision") != "float32":
        raise click.UsageError("the type of numbers stands in --backends, as in cpu-float64 or cuda-tf32")
    if options.pop("autotune"):
        raise click.UsageError("--autotune changes the last bits, which are what is compared here")
    exact = options.pop("exact")
    if exact and plot:
        raise click.UsageError("--plot draws differences, and --exact finds none or a fault: leave one out")
    dataset = load_data(data, folder)
    alone = ALONE_EXACT if exact else ALONE
    names = [name.strip() for name in backends.split(",") if name.strip()] if backends is not None else _usual(alone)
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise click.UsageError(f"--backends names two different backends or more, and not {backends!r}")
    task = Task.infer(dataset, options["loss"], options["label_smoothing"], options.get("quantile"))
    pace = Pace.of(len(dataset.X), 0.0, options["batch_size"], 1)
    settings: dict[str, Any] = {
        "loss": task.loss,
        "optimizer": make_optimizer(options["optimizer"], None, "constant", steps),
        "backends": names,
        "steps": steps,
        "batch_size": pace.batch_size,
        "seed": options["seed"],
        "clip_norm": options["clip_norm"],
        "l2": make_l2(options["l2"], len(dataset.X), False),
        "l1": options["l1"] or 0.0,
    }
    found: BackendComparison | BitsComparison
    with usage_errors(), steps_bar(steps, "comparing") as after_step:
        layers = make_layers(dataset.input_shape, task.outputs, options)
        both = compare_bits if exact else compare_backends
        found = both(layers, dataset.X, task.targets(dataset.y), **settings, after_step=after_step)
    line(str(found))
    add_fields(**found.to_dict())
    if plot and isinstance(found, BackendComparison):
        draw("plot", plot, found.plot)
    return 0 if found.ok else 1


def _usual(alone: str) -> list[str]:
    try:
        get_backend("cuda")
    except DeviceError as problem:
        note(f"{problem} Comparing {alone} instead.")
        return alone.split(",")
    return ["cpu", "cuda"]
