"""Types of option values with clear error messages, and options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import click

from .defaults import ACTIVATIONS, LOSSES, MODELS, OPTIMIZERS, SCHEDULES, make_augmentation

PATIENCE = 10  # epochs, where --early-stopping has no number


class Widths(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """Units of each hidden layer, as "128,64"; "none" or an empty text for no hidden layer.

    >>> Widths().convert("128, 64", None, None), Widths().convert("none", None, None)
    ((128, 64), ())
    """

    name = "widths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers."""
        if isinstance(value, tuple):
            return value
        if value in ("none", ""):
            return ()
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is no list of numbers of units, such as 128,64, and not none", param, ctx)
        return tuple(map(int, parts))


class Number(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A finite number x with low <= x < high, or low < x if `open`.

    >>> Number(low=0, open=True).convert("1e-3", None, None)
    0.001
    """

    name = "number"

    def __init__(self, low: float = 0.0, high: float = math.inf, open: bool = False) -> None:
        self.low, self.high, self.open = low, high, open

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. NaN is refused."""
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not (self.low < number if self.open else self.low <= number) or not number < self.high:
            above = f"{'above' if self.open else 'from'} {self.low:g}"
            below = f" and below {self.high:g}" if self.high < math.inf else ""
            self.fail(f"{value} is not a number {above}{below}", param, ctx)
        return number


class Strength(Number):
    """A finite number, 0 or above, or "auto".

    >>> Strength().convert("0.01", None, None), Strength().convert("auto", None, None)
    (0.01, 'auto')
    """

    name = "strength"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or "auto"."""
        return value if value == "auto" else super().convert(value, param, ctx)


class Augmentations(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Augmentations of pictures, as "flip,translate:0.2"; "none" or an empty text for none.

    >>> Augmentations().convert("flip, translate:0.2", None, None), Augmentations().convert("none", None, None)
    (('flip', 'translate:0.2'), ())
    """

    name = "augmentations"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The words, each of which `defaults.make_augmentation` accepts."""
        if isinstance(value, tuple):
            return value
        words = () if value in ("none", "") else tuple(part.strip() for part in str(value).split(","))
        for word in words:
            try:
                make_augmentation(word)
            except ValueError as problem:
                self.fail(str(problem), param, ctx)
        return words


class Patience(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """The patience of --early-stopping. It may be left out, and then the next word may be taken for it by mistake."""

    name = "patience"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        text = str(value)
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            self.fail(
                f"{text!r} is not a whole number of epochs; write --early-stopping={PATIENCE}, or put it last",
                param,
                ctx,
            )
        return int(text)


device = click.option(
    "--device", default="auto", show_default=True, metavar="NAME", help="cpu, cuda, cuda:N, or auto: a GPU if any."
)


data_folder = click.option(
    "--data",
    "folder",
    metavar="FOLDER",
    help="Where MNIST's four IDX files lie; else $GPUBP_MNIST, else they are downloaded.",
)


def several(*options: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that adds several options to a command, in this order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        return reduce(lambda command, option: option(command), reversed(options), command)

    return add


def choice(name: str, words: Sequence[str], help: str) -> Callable[..., Any]:
    """An option that takes one of `words`, by default the first."""
    return click.option(name, type=click.Choice(words), default=words[0], show_default=True, help=help)


# What makes a network and its trainer, the learning rate left out.
network_options = several(
    click.option(
        "--model",
        type=click.Choice(MODELS),
        help="Fully connected, convolutional, or how texts and sounds are read.  [default: mlp; of sounds cnn]",
    ),
    click.option(
        "--hidden",
        type=Widths(),
        metavar="N,N,...",
        help="Units of each hidden layer, or none.  [default: 256,128; cnn 128; bag 128,128]",
    ),
    choice("--activation", list(ACTIVATIONS), "After each hidden layer."),
    click.option("--dropout", type=Number(high=1), metavar="RATE", help="Of numbers left out.  [default: 0]"),
    click.option(
        "--augment",
        type=Augmentations(),
        default=(),
        metavar="NAME,...",
        help="Change pictures in training: flip, translate, rotate, zoom, each maybe with a strength, translate:0.2.",
    ),
    click.option("--batch-norm", is_flag=True, help="Normalize after each hidden layer."),
    click.option(
        "--loss", type=click.Choice(list(LOSSES)), help="Default: by y, softmax for classes, mse for numbers."
    ),
    click.option(
        "--label-smoothing", type=Number(high=1), metavar="SHARE", help="Of the softmax loss.  [default: 0.1]"
    ),
    click.option(
        "--quantile",
        type=Number(high=1, open=True),
        metavar="SHARE",
        help="Of the quantile loss: the share of targets below the predictions.  [default: 0.5]",
    ),
    choice("--optimizer", list(OPTIMIZERS), "How a step changes the weights."),
    click.option("--batch-size", type=click.IntRange(1), help="Rows a step.  [default: 32; 128 from 10,000 rows on]"),
    click.option(
        "--l2",
        type=Strength(),
        metavar="STRENGTH|auto",
        help="Penalty ½ l2 Σ W²; auto tries two on a table.  [default: 0; of a table auto, or 20 / rows]",
    ),
    click.option(
        "--l1", type=Number(), metavar="STRENGTH", help="Penalty l1 Σ |W|, which makes weights 0.  [default: 0]"
    ),
    click.option("--clip-norm", type=Number(open=True), metavar="NORM", help="Largest norm of all gradients together."),
    choice("--dtype", ["float32", "float64"], "Of all numbers."),
    choice("--precision", ["float32", "tf32", "bfloat16"], "Of matrix products on a GPU."),
    click.option(
        "--autotune",
        is_flag=True,
        help="Time a GPU's kernels for each product and take the fastest; another run may end with other last bits.",
    ),
    click.option(
        "--exact",
        is_flag=True,
        help="The same bits on every machine, and their SHA-256; takes about half as long again.",
    ),
    click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, batches and validation."
    ),
)

# How it is trained, and what is held out to validate with.
training_options = several(
    click.option("--lr", type=Number(open=True), metavar="RATE", help="Learning rate.  [default: 0.003 for Adam]"),
    choice("--schedule", SCHEDULES, "How the rate falls."),
    click.option(
        "--warmup",
        type=Number(high=1),
        metavar="SHARE",
        help="Of the steps, in which the rate rises first.  [default: 0]",
    ),
    click.option("--epochs", type=click.IntRange(1), help="Passes over the data.  [default: by rows, 10 to 500]"),
    click.option(
        "--validation-fraction",
        type=Number(high=1),
        metavar="SHARE",
        help="Of the rows, held out to validate with.  [default: 0.1 from 200 rows on; of a table 0]",
    ),
    click.option("--validation", metavar="TABLE", help="Or validate with these rows."),
)
