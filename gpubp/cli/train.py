"""`gpubp train`: from data to a network in a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..callbacks import Callback, EarlyStopping, ProgressBar, stderr_is_terminal
from ..datasets import Dataset
from ..layers import ELU, GELU, Dense, Flatten, Layer, LeakyReLU, ReLU, Sequential, Sigmoid, SiLU, Softplus, Tanh
from ..losses import Loss
from ..network import Network
from ..optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from ..schedules import CosineDecay, Schedule
from ..trainer import History, Trainer
from .common import LOSSES, check_writable, choose_loss, console, load_data, outputs_for

ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU, "leaky-relu": LeakyReLU, "elu": ELU, "gelu": GELU, "silu": SiLU, "softplus": Softplus,
    "sigmoid": Sigmoid, "tanh": Tanh,
}  # fmt: skip
OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": Adam, "adamw": AdamW, "sgd": SGD, "rmsprop": RMSprop, "adagrad": Adagrad
}  # fmt: skip
LEARNING_RATES = {"adam": 1e-3, "adamw": 1e-3, "sgd": 0.05, "rmsprop": 1e-3, "adagrad": 0.01}
STEPS = 2000  # by default a training has about so many steps, in 5 to 100 epochs


class Widths(click.ParamType[tuple[int, ...]]):
    """Numbers of units, as "128,64"."""

    name = "widths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers; none for an empty text."""
        if isinstance(value, tuple):
            return value
        try:
            widths = tuple(int(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            widths = (0,)
        if any(width < 1 for width in widths):
            self.fail(f"{value!r} is not a list of whole numbers of units, such as 128,64", param, ctx)
        return widths


@click.command(short_help="Train a network and save it.")
@click.argument("data", metavar="digits|mnist|FILE.npz")
@click.option("--data", "folder", metavar="FOLDER", help="Where MNIST's four IDX files lie; else they are downloaded.")
@click.option("--hidden", type=Widths(), default="256,128", show_default=True, help="Units of the hidden layers.")
@click.option("--activation", type=click.Choice(list(ACTIVATIONS)), default="relu", show_default=True)
@click.option("--loss", "loss_name", type=click.Choice(list(LOSSES)), help="Default: softmax for classes, else mse.")
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="adam", show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Learning rate at first; falls to 0 as a cosine.")
@click.option("--constant-lr", is_flag=True, help="Keep the learning rate as it is.")
@click.option("--epochs", type=click.IntRange(1), help=f"Default: about {STEPS:,} steps, 5 to 100 epochs.")
@click.option("--batch-size", type=click.IntRange(1), help="Rows a step. Default: 32, or 128 from 20,000 rows on.")
@click.option("--l2", type=click.FloatRange(0), default=0.0, help="Penalty ½ l2 Σ W².")
@click.option("--clip-norm", type=click.FloatRange(0, min_open=True), help="Largest norm of all gradients together.")
@click.option("--validation-fraction", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True)
@click.option("--early-stopping", type=click.IntRange(1), metavar="PATIENCE", help="Epochs to wait for a gain.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights and batch order.")
@click.option("--out", metavar="MODEL", help="Where to save. Default: the data's name with .safetensors, here.")
@click.option("--plot", metavar="CURVE.png", help="Draw the training curves into this file.")
def train(
    data: str,
    folder: str | None,
    hidden: tuple[int, ...],
    activation: str,
    loss_name: str | None,
    optimizer: str,
    lr: float | None,
    constant_lr: bool,
    epochs: int | None,
    batch_size: int | None,
    l2: float,
    clip_norm: float | None,
    validation_fraction: float,
    early_stopping: int | None,
    device: str,
    dtype: str,
    seed: int,
    out: str | None,
    plot: str | None,
) -> int:
    """Train a fully connected network on DATA and save it.

    DATA is digits (1,797 handwritten digits, inside scikit-learn), mnist, or an .npz file with the arrays X and y and,
    for a test at the end, X_test and y_test. Whole numbers in y are classes; other numbers are predicted as numbers.

    \b
    gpubp train digits
    gpubp train mnist --data folder --hidden 512,512 --epochs 5
    gpubp train houses.npz --loss huber --validation-fraction 0.2 --early-stopping 10 --plot curve.png
    """
    out = out or f"{Path(data).stem}.safetensors"
    check_writable(out, "--out")
    check_writable(plot, "--plot", (".png", ".svg", ".pdf"))
    if plot:
        from ..plots import require_matplotlib

        require_matplotlib()
    dataset = load_data(data, folder)
    loss = choose_loss(loss_name, dataset.y)
    classes = loss.predicts == "classes"
    network = Network(
        _layers(dataset, hidden, ACTIVATIONS[activation], outputs_for(loss, dataset.y)),
        dataset.input_shape,
        device=device,
        dtype=dtype,
        seed=seed,
    )
    rows = len(dataset.X) - round(validation_fraction * len(dataset.X))
    batch_size = batch_size or (128 if rows >= 20_000 else 32)
    steps = -(-rows // batch_size)
    epochs = epochs or min(100, max(5, -(-STEPS // steps)))
    rate: float | Schedule = lr if lr is not None else LEARNING_RATES[optimizer]
    if not constant_lr and isinstance(rate, float):
        rate = CosineDecay(rate, steps=epochs * steps)
    trainer = Trainer(
        network,
        loss,
        OPTIMIZERS[optimizer](learning_rate=rate),  # type: ignore[call-arg]
        batch_size=batch_size,
        seed=seed,
        l2=l2,
        clip_norm=clip_norm,
        metrics=_metrics(loss),
    )
    _announce(dataset, network, classes)
    callbacks: list[Callback] = [ProgressBar(epochs, steps) if stderr_is_terminal() else _Lines(epochs)]
    if early_stopping:
        callbacks.append(EarlyStopping(patience=early_stopping))
    history = trainer.fit(
        dataset.X,
        dataset.y,
        epochs=epochs,
        validation_fraction=validation_fraction,
        callbacks=callbacks,
        verbose=False,
    )
    _table(history)
    if history.interrupted:
        console(stderr=True).print(f"interrupted after {history.epochs} whole epochs; saving what was learnt")
    if dataset.X_test is not None:
        report = trainer.evaluate(dataset.X_test, dataset.y_test)
        console().print("[bold]" + "  ".join(f"test {name} {value:.4f}" for name, value in report.items()) + "[/bold]")
    network.metadata = {"data": data, "loss": loss.config(), "names": list(dataset.names or ())}
    network.save(out)
    console().print(f"saved to {out}; next: gpubp predict {out} FILE.npz, or gpubp evaluate {out} {data}")
    if plot:
        from ..plots import plot_history

        plot_history(history, plot)
        console().print(f"drew the training curves into {plot}")
    return 130 if history.interrupted else 0


def _layers(dataset: Dataset, hidden: tuple[int, ...], activation: type[Layer], outputs: int) -> Layer:
    layers: list[Layer] = [Flatten()] if len(dataset.input_shape) > 1 else []
    for units in hidden:
        layers += [Dense(units), activation()]
    return Sequential(*layers, Dense(outputs))


def _metrics(loss: Loss) -> tuple[str, ...]:
    return ("mae",) if loss.predicts == "numbers" else ("accuracy",)


def _announce(dataset: Dataset, network: Network, classes: bool) -> None:
    kinds = f", {network.output_shape[0]} classes" if classes else ""
    test = "" if dataset.X_test is None else f", {len(dataset.X_test):,} to test on"
    shape = "x".join(map(str, dataset.input_shape))
    print_line = console().print
    print_line(f"device  {network.device}, {network.dtype}")
    print_line(f"data    {dataset.name}: {len(dataset.X):,} rows of {shape} numbers{kinds}{test}")
    count = sum(a.size for a in network.parameters.values())
    print_line(f"network {network.layers!r}, {count:,} parameters", markup=False)


class _Lines(Callback):
    """A plain line now and then, where output goes to a file."""

    def __init__(self, epochs: int) -> None:
        self.every = max(1, epochs // 10)

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        if trainer.epoch % self.every == 0:
            numbers = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
            print(f"epoch {trainer.epoch}  {numbers}", file=sys.stderr, flush=True)


def _table(history: History) -> None:
    from rich.table import Table

    if not history.epochs:
        return
    table = Table("epoch", *history, box=None, header_style="bold", pad_edge=False)
    for epoch in np.unique(np.linspace(1, history.epochs, min(10, history.epochs)).round().astype(int)):
        table.add_row(str(epoch), *(f"{column[epoch - 1]:.4f}" for column in history.values()))
    console().print(table)
