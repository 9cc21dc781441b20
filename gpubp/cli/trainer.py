"""A network and its trainer, made from the options of the command line."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from ..datasets import Dataset
from ..errors import GpubpError, NonFiniteError
from ..layers import Layer
from ..network.network import Network
from ..training.trainer import Trainer
from .defaults import TEXT_MODELS, Pace, make_l2, make_layers, make_optimizer
from .table_options import load_task
from .task import Task


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn a TypeError or ValueError, by which the library refuses an option, into a UsageError."""
    try:
        yield
    except GpubpError:
        raise
    except (TypeError, ValueError) as problem:
        raise click.UsageError(str(problem)) from problem


@contextmanager
def nonfinite_ends() -> Iterator[None]:
    """Turn a NonFiniteError into a ClickException that says what to try."""
    try:
        yield
    except NonFiniteError as problem:
        raise click.ClickException(
            f"{problem}. Nothing is saved: try a smaller --lr, --clip-norm 1, or numbers near 1 in X and y"
        ) from problem


def make_trainer(dataset: Dataset, task: Task, pace: Pace, device: str, options: dict[str, Any]) -> Trainer:
    """The trainer and its network, by `network_options`, "lr", "schedule", "warmup", "workers" and "shards".

    The last three may be left out.
    """
    check_exact(options | {"device": device})
    options = {**options, "model": options["model"] or task.usual_model}
    network = Network(
        make_layers(dataset.input_shape, task.outputs, options, first_layer(task, options["model"])),
        dataset.input_shape,
        device=device,
        dtype=options["dtype"],
        seed=options["seed"],
        precision=options["precision"],
        autotune=options["autotune"],
        numerics="exact" if options["exact"] else "ordinary",
    )
    network.metadata = task.metadata()
    return Trainer(
        network,
        task.loss,
        make_optimizer(
            options["optimizer"],
            options["lr"],
            options["schedule"],
            pace.epochs * pace.steps,
            options.get("warmup") or 0.0,
        ),
        batch_size=pace.batch_size,
        seed=options["seed"],
        l2=make_l2(options["l2"], pace.rows, task.table is not None),
        l1=options["l1"] or 0.0,
        clip_norm=options["clip_norm"],
        on_nonfinite=options.get("on_nonfinite"),
        metrics=task.metrics,
        workers=options.get("workers"),
        shards=options.get("shards"),
    )


def check_exact(options: Mapping[str, Any]) -> None:
    """Raise UsageError for options that can't go with --exact."""
    if not options["exact"]:
        return
    if options["precision"] != "float32":
        raise click.UsageError(f"--exact computes every product in full, and --precision {options['precision']} rounds")
    if options["autotune"]:
        raise click.UsageError("--exact has the same bits on every machine, and --autotune takes other kernels on each")
    if importlib.util.find_spec("numba") is None and options.get("device", "cpu") in ("cpu", "auto"):
        raise click.UsageError("--exact needs Numba on a CPU: pip install 'gpubp[fast]'")


def first_layer(task: Task, model: str) -> Layer | None:
    """The layer that the network of a table or of sounds begins with; None for numbers, and other data."""
    if task.sound is not None:
        return task.sound.first
    if task.table is None:
        return None
    return task.table.embedding_of(model if model in TEXT_MODELS else TEXT_MODELS[0])


@dataclass(frozen=True)
class TrainerMaker:
    """Makes the trainers of a run, which have the same settings.

    options: those of `make_trainer`, and "freeze", "epochs", "validation" and "validation_fraction". body: a model file
    whose weights they begin with, or None.
    """

    dataset: Dataset
    task: Task
    device: str
    options: dict[str, Any]
    body: str | None = None

    def pace(self, rows: int) -> Pace:
        """The sizes of a training on `rows` rows."""
        options, table = self.options, self.task.table is not None
        share = options["validation_fraction"]
        if options.get("validation") or (share is None and table and not options.get("early_stopping")):
            share = 0.0  # tables are small, and every row counts
        return Pace.of(rows, share, options["batch_size"], options["epochs"], table)

    def make(self, pace: Pace, l2: float | None = None, seed: int | None = None) -> Trainer:
        """A new trainer. l2, seed: in place of those of the options. Raises UsageError."""
        changed = {name: value for name, value in (("l2", l2), ("seed", seed)) if value is not None}
        with usage_errors():
            trainer = make_trainer(self.dataset, self.task, pace, self.device, self.options | changed)
            network = trainer.network
            if self.body is not None:
                network.load_weights(self.body)
            network.freeze(*self.options["freeze"])
            if not network.trainable:
                raise click.UsageError(f"--freeze {' '.join(self.options['freeze'])} leaves nothing to train")
        return trainer


def load_trainer(
    data: str, folder: str | None, device: str, options: dict[str, Any]
) -> tuple[Trainer, Any, np.ndarray[Any, Any]]:
    """(trainer, X, y) for a command that tries steps and saves nothing, with the optimizer's usual learning rate."""
    dataset, task = load_task(data, folder, options)
    pace = Pace.of(len(dataset.X), 0.0, options["batch_size"], 1)
    y = task.targets(dataset.y)
    with usage_errors():
        trainer = make_trainer(dataset, task, pace, device, options | {"lr": None, "schedule": "constant"})
    return trainer, dataset.X, y
