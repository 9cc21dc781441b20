"""Layers, losses and optimizers by their names on the command line, and the defaults.

The defaults were chosen on validation parts of digits and MNIST, not on their tests. Adam at 3e-3 falling to 0 as a
cosine, with label smoothing 0.1, was best on both; on digits the smoothing alone is worth a hundredth of accuracy.
Data sets differ only by size: small batches are for small data, and an epoch of few steps needs more epochs.

Tables are small, and networks learn them by heart. An L2 penalty of 20 / rows, which is one and the same prior on the
weights however many rows there are, was best of ten strengths, dropouts and widths on rows held out of seven tables of
330 to 15,000 rows. The best strength follows the noise too, so `l2_search` compares it with 5 / rows. No part of a
table is held out to validate with: with all rows the error on other rows was lower on 8 of 19 tables, and higher on 1.

Texts become the sum of the vectors of their words, divided by the root of their number. Half of the words are left out
in each step where classes are predicted. Outputs are a linear function of it, beside which other columns have hidden
layers: on texts alone these lowered no error. With the root in place of the number itself, the loss on other texts was
lower on all of eleven sets of texts, and the accuracy higher on ten of them. For numbers, a stronger penalty with no
words left out had smaller squared errors on all of four sets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..layers import Dense, Layer, MeanOverTime, Parallel, Sequential, WordColumns
from ..layers.activations import GELU
from ..layers.augmentation import RandomFlip, RandomRotation, RandomTranslation, RandomZoom
from ..layers.named import NAMED_ACTIVATIONS
from ..losses import (
    BinaryCrossEntropy,
    BinaryFocal,
    Focal,
    HalfMeanSquaredError,
    Huber,
    LogCosh,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Quantile,
    SoftmaxCrossEntropy,
)
from ..network.models import cnn, mlp
from ..optimizers import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, NAdam, Optimizer, RMSprop
from ..schedules import CosineDecay, CosineRestarts, LinearDecay, MultiStepDecay, OneCycle, Schedule, Warmup

ACTIVATIONS: dict[str, Layer] = {name.replace("_", "-"): layer for name, layer in NAMED_ACTIVATIONS.items()}


def activation_now(name: str, layers: Layer) -> str:
    """The name now of the activation of a network, whose options may be of a time when `gelu` was its form by tanh.

    >>> activation_now("gelu", GELU("tanh")), activation_now("gelu", GELU())
    ('gelu-tanh', 'gelu')
    """
    return "gelu-tanh" if name == "gelu" and any(layer == GELU("tanh") for _, layer in layers.walk()) else name


# Each with its usual strength.
AUGMENTATIONS: dict[str, tuple[Callable[[float], Layer], float]] = {
    "flip": (lambda strength: RandomFlip("horizontal"), 1.0),
    "translate": (lambda strength: RandomTranslation(strength, strength), 0.1),
    "rotate": (RandomRotation, 0.03),
    "zoom": (RandomZoom, 0.1),
}
LOSSES: dict[str, type[Loss]] = {
    "softmax": SoftmaxCrossEntropy,
    "focal": Focal,
    "binary": BinaryCrossEntropy,
    "binary-focal": BinaryFocal,
    "mse": MeanSquaredError,
    "half-mse": HalfMeanSquaredError,
    "mae": MeanAbsoluteError,
    "huber": Huber,
    "log-cosh": LogCosh,
    "quantile": Quantile,
}
# Each with its learning rate and what else it is given.
OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], float, dict[str, Any]]] = {
    "adam": (Adam, 3e-3, {}),
    "adamw": (AdamW, 3e-3, {}),
    "sgd": (SGD, 0.05, {"momentum": 0.9}),
    "rmsprop": (RMSprop, 1e-3, {}),
    "adagrad": (Adagrad, 0.02, {}),
    "adadelta": (Adadelta, 1.0, {}),
    "adamax": (Adamax, 3e-3, {}),
    "nadam": (NAdam, 3e-3, {}),
    "lion": (Lion, 3e-4, {}),
}
TEXT_MODELS = ("bag", "gru", "encoder")  # which say how texts are read; of a table with texts mlp is the first
SOUND_MODELS = ("cnn", "bag", "mlp")  # which stand above the spectrogram of sounds; cnn is the usual
MODELS = ("mlp", "cnn", *TEXT_MODELS)
SCHEDULES = ("cosine", "one-cycle", "linear", "step", "restarts", "constant")
PRIOR, WEAKER_PRIOR = 20.0, 5.0  # of a table: l2 is one of them / rows; without a search the first
FEW_ROWS = 200  # fewer count as so many, so that l2 does not become too strong to learn anything
SMOOTHING = 0.1  # of labels, in a softmax
STEPS = 2000  # a training has about so many, if that makes 10 to 500 epochs
MORE_STEPS, MORE_STEPS_FROM = 4000, 5000  # of a table of so many rows
MANY_ROWS = 10_000  # from here on batches are of 128 rows, so that an epoch of large data is quick
VALIDATED_FROM = 200  # rows; a tenth of fewer says little


@dataclass(frozen=True)
class Pace:
    """The sizes of a training run: the share held out for validation, the rows trained with, batch size and epochs.

    >>> Pace.of(1437)
    Pace(validation=0.1, rows=1293, batch_size=32, epochs=49)
    >>> Pace.of(60_000, epochs=5)
    Pace(validation=0.1, rows=54000, batch_size=128, epochs=5)
    >>> Pace.of(4)
    Pace(validation=0.0, rows=4, batch_size=4, epochs=500)
    """

    validation: float
    rows: int
    batch_size: int
    epochs: int

    @classmethod
    def of(
        cls,
        rows: int,
        validation: float | None = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        table: bool = False,
    ) -> Pace:
        """The sizes for so many rows, of a table or not; an argument that is None follows from the number of rows."""
        if validation is None:
            validation = 0.1 if rows >= VALIDATED_FROM else 0.0
        if validation:
            rows -= min(max(1, round(validation * rows)), rows - 1)  # as `gpubp.data.checks.split` takes them
        batch_size = min(batch_size or (128 if rows >= MANY_ROWS else 32), rows)
        steps = math.ceil(rows / batch_size)
        wanted = MORE_STEPS if table and rows >= MORE_STEPS_FROM else STEPS
        return cls(validation, rows, batch_size, epochs or min(max(math.ceil(wanted / steps), 10), 500))

    @property
    def steps(self) -> int:
        """The number of steps of an epoch."""
        return math.ceil(self.rows / self.batch_size)


def make_loss(name: str, smoothing: float | None = None, quantile: float | None = None) -> Loss:
    """The loss called `name`; label smoothing is for softmax alone, and a quantile other than the median for that loss.

    >>> make_loss("softmax"), make_loss("huber"), make_loss("quantile", quantile=0.9)
    (SoftmaxCrossEntropy(0.1), Huber(), Quantile(0.9))
    """
    if LOSSES[name] is Quantile and quantile is not None:
        return Quantile(quantile)
    if LOSSES[name] is SoftmaxCrossEntropy:
        return SoftmaxCrossEntropy(SMOOTHING if smoothing is None else smoothing)
    return LOSSES[name]()


def make_l2(l2: float | str | None, rows: int, table: bool, prior: float = PRIOR) -> float:
    """The strength of the penalty; without a number it depends on the rows of a table, and is 0 for other data.

    l2: "auto", which `l2_search` tries, is as None here. prior: l2 times the rows, of which FEW_ROWS are the least.

    >>> make_l2(None, 1000, table=True), make_l2(None, 1000, table=False), make_l2(0.5, 1000, table=True)
    (0.02, 0.0, 0.5)
    """
    if isinstance(l2, float | int):
        return l2
    return prior / max(rows, FEW_ROWS) if table else 0.0


def make_augmentation(word: str) -> Layer:
    """The layer of a word such as "flip" or "translate:0.2". Raises ValueError for any other word.

    >>> make_augmentation("flip"), make_augmentation("translate:0.2")
    (RandomFlip('horizontal'), RandomTranslation(0.2, 0.2))
    """
    name, colon, text = word.partition(":")
    if name not in AUGMENTATIONS:
        raise ValueError(f"there is no {name!r}; there are {', '.join(AUGMENTATIONS)}")
    make, strength = AUGMENTATIONS[name]
    if not colon:
        return make(strength)
    if name == "flip":
        raise ValueError("flip has no strength: a picture is mirrored or not")
    try:
        strength = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not 0 < strength <= 1:
        raise ValueError(f"{text} is no strength for {name}: it is above 0, and 1 is the whole picture, or a full turn")
    return make(strength)


def make_layers(
    input_shape: tuple[int, ...], outputs: int, options: Mapping[str, Any], first: Layer | None = None
) -> Layer:
    """The network of the options "model", "hidden", "activation", "dropout", "batch_norm" and "augment".

    first: a layer that comes before all others, such as the embedding of a table's words. Behind the texts of a table
    there is a linear layer, beside hidden ones if it has other columns; with "hidden" these are all. A Sequential is
    what sounds begin with: it gives a row of vectors, of which a bag takes the mean. "model" may be None for an mlp.

    >>> options = {"model": "mlp", "hidden": (8,), "activation": "tanh", "dropout": None, "batch_norm": True}
    >>> make_layers((2, 2), 3, options | {"augment": ()})
    Sequential(Flatten(), Dense(8), BatchNorm(), Tanh(), Dense(3))
    """
    after = {"activation": ACTIVATIONS[options["activation"]], "batch_norm": options["batch_norm"]}
    hidden, dropout = options["hidden"], options["dropout"]
    augment = [make_augmentation(word) for word in options["augment"]]
    model = options["model"] or "mlp"
    if isinstance(first, Sequential):
        above = make_layers(first.plan((1, *input_shape)).output[1:], outputs, options)
        return Sequential(*first.layers, *(above.layers if isinstance(above, Sequential) else [above]))
    if model == "cnn":
        hidden = (128,) if hidden is None else hidden
        return cnn(outputs, input_shape, hidden=hidden, dropout=dropout or 0.0, augment=augment, **after)
    if model == "bag" and len(input_shape) == 2 and not augment:
        hidden = (128, 128) if hidden is None else hidden
        *below, last = mlp(outputs, hidden, dropout=dropout or 0.0, **after).layers
        return Sequential(*below, MeanOverTime(), last)
    if augment:
        raise ValueError("augmentation moves pictures, which a fully connected network has none of: --model cnn")
    direct = isinstance(first, WordColumns) and hidden is None
    if direct and sum(first.lengths) == input_shape[0]:  # type: ignore[union-attr]
        return Sequential(first, Dense(outputs))  # type: ignore[arg-type]
    hidden = (256, 128) if hidden is None else hidden
    layers = mlp(outputs, hidden, dropout=dropout or 0.0, flatten=len(input_shape) > 1, **after)
    if direct:
        return Sequential(first, Parallel(layers, Dense(outputs), merge="add"))  # type: ignore[arg-type]
    return layers if first is None else Sequential(first, *layers.layers)


def make_schedule(name: str, rate: float, steps: int, warmup: float = 0.0) -> float | Schedule:
    """The learning rate over `steps` steps, in the first part of which, `warmup`, it rises.

    Raises ValueError where the schedule rises by itself.

    >>> make_schedule("cosine", 0.1, 100, warmup=0.1)
    Warmup(CosineDecay(0.1, 90), steps=10)
    """
    if warmup and name == "one-cycle":
        raise ValueError("one-cycle rises by itself; take another --schedule with --warmup")
    rising = min(max(round(warmup * steps), 1), steps - 1) if warmup else 0
    rest = steps - rising
    after: float | Schedule = rate
    if name == "cosine":
        after = CosineDecay(rate, rest)
    elif name == "one-cycle":
        after = OneCycle(rate, rest)
    elif name == "linear":
        after = LinearDecay(rate, rest)
    elif name == "step":  # a tenth after half of the steps, and again after three quarters (He et al. 2015)
        after = MultiStepDecay(rate, tuple(sorted({max(rest // 2, 1), max(3 * rest // 4, 1)})))
    elif name == "restarts":  # descents of one, two and four sevenths of the steps
        after = CosineRestarts(rate, max(math.ceil(rest / 7), 1))
    return Warmup(after, rising) if rising else after


def make_optimizer(name: str, lr: float | None, schedule: str, steps: int, warmup: float = 0.0) -> Optimizer:
    """The optimizer with its schedule over `steps` steps; see `make_schedule`.

    >>> make_optimizer("sgd", None, "constant", steps=100)
    SGD(0.05, momentum=0.9)
    """
    make, usual, more = OPTIMIZERS[name]
    return make(learning_rate=make_schedule(schedule, usual if lr is None else lr, steps, warmup), **more)
