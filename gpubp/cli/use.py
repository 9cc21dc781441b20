"""`gpubp predict` and `gpubp evaluate`: using a network from its file."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..checkpoint import described
from ..config import from_config
from ..datasets import read_npz
from ..errors import DataError
from ..losses import Loss, SoftmaxCrossEntropy
from ..network import Network, load
from ..optimizers import SGD
from ..trainer import Trainer
from .common import check_writable, console, load_data


@click.command(short_help="Predict with a saved network.")
@click.argument("model")
@click.argument("file", metavar="FILE.npz|FILE.npy")
@click.option("--out", metavar="FILE", help="Write predictions to this .csv, .npy or .npz; else print them.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
def predict(model: str, file: str, out: str | None, device: str) -> None:
    """Predict the rows of X in FILE with MODEL, which `gpubp train` saved.

    Classes are given with their probability, by name where the data had names; numbers as they are.

    \b
    gpubp predict digits.safetensors new.npz
    gpubp predict digits.safetensors new.npz --out predictions.csv
    """
    check_writable(out, "--out", (".csv", ".npy", ".npz"))
    network = load(model, device=device)
    z = network.predict(_rows(file))
    columns = _columns(network, z)
    if out is None:
        _write_csv(sys.stdout, columns)
    elif out.endswith(".csv"):
        with open(out, "w", newline="", encoding="utf-8") as target:
            _write_csv(target, columns)
    elif out.endswith(".npy"):
        np.save(out, next(iter(columns.values())) if len(columns) <= 2 else z)
    else:
        np.savez(out, **columns)  # type: ignore[arg-type]
    if out is not None:
        console(stderr=True).print(f"wrote {len(z):,} predictions to {out}")


def _rows(file: str) -> np.ndarray[Any, Any]:
    if not Path(file).is_file():
        raise click.UsageError(f"there is no file {file}")
    if not file.endswith(".npy"):
        return read_npz(file, ["X"])["X"]
    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except (ValueError, OSError, EOFError) as problem:
        raise DataError(f"{file} is no .npy file with numbers in it: {problem}") from problem


def _loss(network: Network, model: str) -> Loss:
    if "loss" not in network.metadata:
        raise DataError(f"{model} does not say which loss it was trained with; models of gpubp train do")
    with described(model):
        loss = from_config(network.metadata["loss"])
        if not isinstance(loss, Loss):
            raise ValueError(f"{loss!r} is no loss")
    return loss


def _columns(network: Network, z: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """What to say of each row, by name."""
    config = network.metadata.get("loss", {})
    if config.get("class") == SoftmaxCrossEntropy.__name__:
        e = np.exp(z - z.max(axis=-1, keepdims=True), dtype=np.float64)
        p = e / e.sum(axis=-1, keepdims=True)
        best = p.argmax(axis=-1)
        names = network.metadata.get("names") or None
        return {"prediction": np.asarray(names)[best] if names else best, "probability": p.max(axis=-1)}
    if config.get("class") == "BinaryCrossEntropy":
        z = 1.0 / (1.0 + np.exp(-z.astype(np.float64)))
    flat = z.reshape(len(z), -1)
    if flat.shape[1] == 1:
        return {"prediction": flat[:, 0]}
    return {f"prediction_{i}": flat[:, i] for i in range(flat.shape[1])}


def _write_csv(target: Any, columns: dict[str, np.ndarray[Any, Any]]) -> None:
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(["row", *columns])
    for i, row in enumerate(zip(*columns.values(), strict=True)):
        writer.writerow([i, *(f"{v:.6g}" if isinstance(v, np.floating) else v for v in row)])


@click.command(short_help="Judge a saved network on data.")
@click.argument("model")
@click.argument("data", metavar="digits|mnist|FILE.npz")
@click.option("--data", "folder", metavar="FOLDER", help="Where MNIST's four IDX files lie; else they are downloaded.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
def evaluate(model: str, data: str, folder: str | None, device: str) -> None:
    """Loss and accuracy (or mean absolute error) of MODEL on DATA: on its test rows, or on all rows where it has none.

    \b
    gpubp evaluate digits.safetensors digits
    """
    network = load(model, device=device)
    loss = _loss(network, model)
    dataset = load_data(data, folder)
    X, y, which = (dataset.X, dataset.y, "all") if dataset.X_test is None else (dataset.X_test, dataset.y_test, "test")
    metrics = "mae" if loss.predicts == "numbers" else "accuracy"
    report = Trainer(network, loss, SGD(), metrics=metrics).evaluate(X, y)
    numbers = "  ".join(f"{name} {value:.4f}" for name, value in report.items())
    console().print(f"{model} on {len(X):,} {which} rows of {dataset.name}, {network.device}: {numbers}")
