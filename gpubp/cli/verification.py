"""The training that a model file describes, made again, and what differs between its numbers and those of the file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from .. import __version__
from ..backends import order
from ..endings import STDIN
from ..errors import DataError, ModelFileError
from ..network.fingerprint import same
from ..network.network import Network
from .arguments import NAMED
from .defaults import activation_now
from .exact_training import FILES, ExactTraining, body_sha256, data_sha256, made_with
from .run_folder import arguments_of
from .train_job import TrainJob
from .train_run import make_job

Array = np.ndarray[Any, Any]


class Other(NamedTuple):
    """The first array that differs: its name, how many of its numbers do, of how many, and by how much at most."""

    name: str
    differ: int
    numbers: int
    largest: float


def first_difference(network: Network, arrays: Mapping[str, Array], others: Mapping[str, Array]) -> Other | None:
    """The first array, in the order of the layers, whose bits are not the same in both; None if there is none.

    NaN is the same as any other NaN.

    >>> import gpubp as bp
    >>> net = bp.Network(bp.Dense(2), input_shape=1, device="cpu")
    >>> W, b = np.zeros((1, 2), np.float32), np.zeros(2, np.float32)
    >>> first_difference(net, {"W": W, "b": b}, {"W": W + [[0, 0.5]], "b": b})
    Other(name='W', differ=1, numbers=2, largest=0.5)
    """
    for name in sorted(arrays, key=_place):
        a, b = arrays[name], others[name]
        differ = ~same(a, b)
        if differ.any():
            with np.errstate(invalid="ignore"):
                return Other(name, int(differ.sum()), a.size, float(np.abs(b - a)[differ].max()))
    return None


def _place(name: str) -> list[tuple[bool, int, str]]:
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in name.split(".")]


def told_layer(network: Network, name: str) -> str:
    """The layer of a parameter in words, as "layer 2, Dense(10): W".

    >>> import gpubp as bp
    >>> told_layer(bp.Network(bp.Sequential(bp.Dense(2)), 1, device="cpu"), "0.W")
    'layer 0, Dense(2): W'
    """
    layer, _, array = name.rpartition(".")
    lines = {line.name: line.layer for line in network.outline()}
    return f"layer {layer}, {lines[layer]}: {array}" if layer in lines else name


def check_training(told: ExactTraining, model: str) -> None:
    """Raise ModelFileError where a training can't be repeated here."""
    if told.version != order.VERSION:
        wrote = told.made_with.get("gpubp", "unknown")
        raise ModelFileError(
            f"{model} was trained with version {told.version} of exact numerics, by gpubp {wrote}, and this gpubp has "
            f"version {order.VERSION}, which ends with other bits: pip install 'gpubp=={wrote}'"
        )
    if not told.finished:
        raise ModelFileError(
            f"the training of {model} was interrupted: verify the model that it ends with, which gpubp train --resume "
            "goes on to"
        )


def job_again(
    train: click.Command,
    told: ExactTraining,
    network: Network,
    model: str,
    data: str | None,
    more: Mapping[str, Any],
) -> TrainJob:
    """The job of a training that a model file describes.

    train: the command. network: of the file `model`. data: where the data are, None for the name in the file. more:
    options that change no number. Raises DataError where data, or ModelFileError where layers, are others now.
    """
    try:
        context = train.make_context("train", list(told.arguments))
    except click.UsageError as problem:
        wrote = told.made_with.get("gpubp", "unknown")
        raise ModelFileError(
            f"{model} was trained by gpubp {wrote}, with options that this gpubp {__version__} does not have: "
            f"{problem.format_message()}"
        ) from None
    options = context.params
    given = _data(str(options["data"]), data, model)
    files = (*FILES, "target") if given.lower().endswith(".npy") else FILES
    beside = {name: _beside(options[name], given, model) for name in files if options[name] is not None}
    options |= {"data": given, "out": model, **beside, **more}
    options["activation"] = activation_now(options["activation"], network.layers)
    if told.body and body_sha256(options["body"]) != told.body:
        raise ModelFileError(f"{options['body']} is not the model that the training of {model} began with")
    job = make_job(context, options, None)
    found = data_sha256(job)
    if found != told.data:
        of = "" if given in NAMED else ", or their reading"
        raise DataError(
            f"{given} is not what {model} was trained with: its rows have the SHA-256 {found[:16]}…, and those of the "
            f"training {told.data[:16]}…; the rows{of} are others"
        )
    layers, one = network.layers, job.trainer.network
    layers = layers.children[0] if job.members is not None else layers
    made = (one.layers.config(), job.trainer.optimizer.config(), job.task.loss.config())
    wanted = (layers.config(), told.optimizer and told.optimizer.config(), network.metadata.get("loss"))
    for what, a, b in zip(("layers", "optimizer", "loss"), made, wanted, strict=True):
        if a != b:
            raise ModelFileError(
                f"this gpubp makes another {what} of the options of {model}, which gpubp "
                f"{told.made_with.get('gpubp', '')} was given: {a} and not {b}"
            )
    return job


def _data(name: str, given: str | None, model: str) -> str:
    """Where the data are that were called `name`."""
    if given is not None:
        if given != name and (name in NAMED or given in NAMED):
            raise DataError(f"{model} was trained on {name}, and got {given}")
        return given
    if name == STDIN:
        raise DataError(f"{model} was trained on standard input: gpubp verify {shlex.quote(model)} TABLE")
    if name not in NAMED and not Path(name).exists():
        there = shlex.join(["gpubp", "verify", model, f"FOLDER/{name}"])
        raise DataError(f"{model} was trained on {name}, which is not here: {there}")
    return name


def _beside(name: str, data: str, model: str) -> str:
    """Where a file is that a training had beside its data: there, in this folder, or where the model is."""
    for folder in (Path(data).parent, Path(), Path(model).parent):
        if (folder / name).exists():
            return str(folder / name)
    raise DataError(f"{model} was trained with {name} too, which is neither beside {data} nor here, nor beside {model}")


def versions_told(told: ExactTraining) -> str:
    """In what this machine differs from the one of the training, "" for nothing.

    >>> versions_told(ExactTraining(1, "0" * 64, (), "1" * 64, made_with=made_with()))
    ''
    """
    here = made_with()
    others = {name: there for name, there in told.made_with.items() if here.get(name) != there}
    return ", ".join(f"{name} {there} and here {here.get(name)}" for name, there in others.items())


def chosen(train: click.Command, told: ExactTraining) -> str:
    """The command of a training, without the options that every training has so."""
    usual = arguments_of(train, train.make_context("train", list(told.arguments[:1])).params, ())
    return shlex.join(["gpubp", "train", *told.arguments[:1], *(a for a in told.arguments[1:] if a not in usual)])
