"""Task: whether a network predicts classes, labels or numbers, and how its outputs are decoded.

Outputs z (n, K) become answers so:

    classes    p = softmax(z), the answer is the class of the largest
    labels     p = σ(z), each output's own answer is whether p > ½
    numbers    the answer is z, or μ + σ z where a table's target was learnt at mean 0 and deviation 1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import __version__
from ..config import ConfigError, from_config
from ..datasets import Dataset
from ..errors import DataError
from ..formula.host import is_exact_here
from ..losses import Loss, SoftmaxCrossEntropy, outputs_are, usual_outputs
from ..metrics import MeanAbsolute, MeanSquared, Metric
from ..model_file import described
from ..network.network import Network
from ..network.probabilities import EXACT, Meaning
from ..tables import METADATA, Preparation
from .defaults import LOSSES, SOUND_MODELS, make_loss
from .held_rows import TrainedRows
from .sound_form import METADATA as SOUND
from .sound_form import SoundForm

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Answers:
    """Predictions of n rows: `prediction` (n,) or (n, outputs), and p (n, K), None for numbers."""

    prediction: Array
    probability: Array | None = None


@dataclass(frozen=True)
class Task:
    """The meaning of the outputs.

    loss: what is minimised; its `predicts` is the kind of task. outputs: how many. classes: what stands in y for
    output k, or None. names: what to call the classes, or None. data: the name of the data set. table: how the rows
    of a table become numbers, and its target; None where the data are numbers. rows: what is known of the rows that
    the network is trained with, or None. sound: the form of the sounds that it takes, None for other data.
    """

    loss: Loss
    outputs: int
    classes: tuple[int, ...] | None = None
    names: tuple[str, ...] | None = None
    data: str = ""
    table: Preparation | None = None
    rows: TrainedRows | None = None
    sound: SoundForm | None = None

    @classmethod
    def of_table(
        cls,
        table: Preparation,
        loss: str | Loss | None,
        smoothing: float | None = None,
        data: str = "",
        quantile: float | None = None,
    ) -> Task:
        """The task of a table's target. Raises DataError if the loss does not suit it."""
        target = table.target
        if loss is None:
            loss = "mse" if target.kind == "numbers" else "softmax"
        made = make_loss(loss, smoothing, quantile) if isinstance(loss, str) else loss
        if (made.predicts == "numbers") != (target.kind == "numbers"):
            raise DataError(f"{target.name} is a column of {target.kind}, and {made!r} is for {made.predicts}")
        if target.kind == "numbers":
            return cls(made, 1, data=data, table=table)
        if made.predicts == "labels" and target.outputs != 2:
            raise DataError(
                f"{target.name} has {target.outputs} classes, and {made!r} tells yes from no: --loss softmax"
            )
        whole = all(isinstance(c, int) for c in target.classes)
        return cls(
            made,
            1 if made.predicts == "labels" else target.outputs,
            target.classes if whole else tuple(range(target.outputs)),
            None if whole else target.classes,
            data,
            table,
        )

    @classmethod
    def infer(
        cls, dataset: Dataset, loss: str | None, smoothing: float | None = None, quantile: float | None = None
    ) -> Task:
        """The task of y by the loss, or by y: whole numbers are classes, columns of 0 and 1 labels, others numbers.

        Raises DataError where y does not fit the loss, or can be read in two ways.
        """
        y = _column(dataset.y)
        name = loss or _guess(y)
        made = make_loss(name, smoothing, quantile)
        if y.ndim > 2:
            raise DataError(f"a row of y has shape {y.shape[1:]}; give it one number, or one row of numbers")
        if made.predicts != "classes" or y.ndim == 2:
            return cls(made, 1 if y.ndim == 1 else y.shape[1], data=dataset.name)
        classes = _classes(y, dataset)
        if loss is None and dataset.names is None and len(classes) > max(20, len(y) // 10):
            raise DataError(
                f"y holds {len(classes):,} different whole numbers in {len(y):,} rows: numbers to predict, or classes? "
                "Say --loss mse or --loss softmax"
            )
        return cls(made, len(classes), classes, dataset.names, dataset.name)

    @classmethod
    def of(cls, network: Network, path: str) -> Task | None:
        """The task in a model file, None if it has none. Raises ModelFileError if the description is wrong."""
        told = network.metadata
        if "loss" not in told:
            return None
        with described(path):
            loss = from_config(told["loss"])
            if not isinstance(loss, Loss):
                raise ConfigError(f"{loss!r} is no loss")
            outputs = network.output_shape[-1]
            rows = from_config(told["trained_rows"], [TrainedRows]) if "trained_rows" in told else None
            if not isinstance(rows, TrainedRows | None):
                raise ConfigError(f"the rows it was trained with are given as {rows!r}")
            table = Preparation.of(network)
            if table is not None:
                made = replace(cls.of_table(table, loss, data=str(told.get("data", ""))), rows=rows)
                if network.output_shape != (made.outputs,):
                    raise ConfigError(f"{table.target.name} needs {made.outputs} outputs, and it has {outputs}")
                return made
            sound = from_config(told[SOUND], [SoundForm]) if SOUND in told else None
            if not isinstance(sound, SoundForm | None) or (sound and network.input_shape != (sound.samples,)):
                raise ConfigError(f"the form of its sounds is given as {sound!r}")
            classes, names = told.get("classes"), told.get("names")
            counts = {outputs, max(outputs, 2) if loss.predicts == "labels" else outputs}  # a single yes or no has two
            for what, values, kind in (("classes", classes, int), ("names", names, str)):
                if values is not None and not (
                    isinstance(values, list) and len(values) in counts and all(isinstance(v, kind) for v in values)
                ):
                    raise ConfigError(f"the {what} of its {outputs} outputs are given as {values!r}")
            return cls(
                loss,
                outputs,
                tuple(classes) if classes is not None else None,
                tuple(names) if names is not None else None,
                str(told.get("data", "")),
                rows=rows,
                sound=sound,
            )

    @property
    def kind(self) -> str:
        """ "classes", "labels" or "numbers"."""
        return self.loss.predicts

    @property
    def metrics(self) -> tuple[str | Metric, ...]:
        """The metrics of an epoch, in the units of y."""
        return ("accuracy",) if self.kind != "numbers" else (MeanAbsolute(self.unit),)

    @property
    def test_metrics(self) -> tuple[str | Metric, ...]:
        """The metrics of the test, in the units of y."""
        return ("accuracy",) if self.kind != "numbers" else (MeanSquared(self.unit), MeanAbsolute(self.unit))

    @property
    def unit(self) -> float:
        """What numbers were divided by before they were learnt."""
        return 1.0 if self.table is None else self.table.target.scale

    @property
    def usual_model(self) -> str:
        """The kind of network, of `defaults.MODELS`, where none is asked for."""
        return "mlp" if self.sound is None else SOUND_MODELS[0]

    def metadata(self) -> dict[str, Any]:
        """The description that a model file holds."""
        return {
            **({} if self.table is None else {METADATA: self.table.config()}),
            "gpubp": __version__,
            "task": self.kind,
            "loss": self.loss.config(),
            "classes": None if self.classes is None else list(self.classes),
            "names": None if self.names is None else list(self.names),
            "data": self.data,
            **({} if self.sound is None else {SOUND: self.sound.config()}),
            **({} if self.rows is None else {"trained_rows": self.rows.config()}),
        }

    def targets(self, y: Array, name: str = "y") -> Array:
        """y as the loss takes it: classes become the numbers of their outputs. A table's targets are so already."""
        y = _column(y)
        if self.table is not None or self.classes is None or y.ndim != 1:
            return y
        known = np.asarray(self.classes)
        k = np.minimum(np.searchsorted(known, y), len(known) - 1)
        strange = np.unique(y[known[k] != y])
        if len(strange):
            raise DataError(f"{name} holds {_few(strange)}, and the network knows the classes {_few(known)}")
        return k

    @property
    def output_names(self) -> list[str]:
        """The names of the classes or labels; a single yes or no has two."""
        return [self.name(k) for k in range(max(self.outputs, 2))]

    def name(self, k: int) -> str:
        """The name of output k."""
        return self.names[k] if self.names else str(self.classes[k]) if self.classes else str(k)

    def named(self, answers: Answers) -> Array | list[str]:
        """The predictions of `answers`, and where the classes have names, these names.

        >>> task = Task(make_loss("softmax"), 2, names=("apple", "pear"))
        >>> task.named(task.answers(np.array([[0.0, 1.0], [1.0, 0.0]])))
        ['pear', 'apple']
        """
        if self.kind != "classes" or self.names is None or answers.probability is None:
            return answers.prediction
        return [self.names[k] for k in answers.probability.argmax(axis=-1).tolist()]

    @property
    def known(self) -> Sequence[Any] | None:
        """The classes by their names, in the order of the probabilities; None for numbers, and labels without names.

        >>> list(Task(make_loss("softmax"), 3).known), Task(make_loss("mse"), 1).known
        ([0, 1, 2], None)
        """
        if self.table is not None and self.table.target.classes:
            return self.table.target.classes
        return (self.names or self.classes or range(self.outputs)) if self.kind == "classes" else None

    def answers(self, z: Array) -> Answers:
        """Decode outputs z (n, outputs), within `host_numerics`."""
        known = np.asarray(self.table.target.classes if self.table else self.classes or range(max(2, z.shape[-1])))
        if self.kind != "numbers":
            meaning = Meaning(self.kind, outputs_are(self.loss), repr(self.loss))
            said = meaning.answers(np, z, 0.5)
            if meaning.are == "scores":
                return Answers(said if self.kind == "labels" and self.table is None else known[said])
            p = meaning.probabilities(EXACT if is_exact_here() else np, z.astype(np.float64))
            if self.kind == "classes":
                return Answers(known[said], p)
            return Answers(said, p) if self.table is None else Answers(known[said], np.concatenate([1 - p, p], axis=1))
        z = usual_outputs(self.loss, z)
        return Answers(_column(z) if self.table is None else self.table.target.answers(z))

    def describe(self) -> str:
        """The task in a few words."""
        if self.table is not None:
            target = self.table.target
            shown = ", ".join(map(str, target.classes[:4])) + (", ..." if target.outputs > 4 else "")
            of = f"one of {target.outputs} classes, {shown}" if target.classes else "a number"
            return f"{target.name} as {of}"
        if self.kind == "numbers":
            return f"{self.outputs} number{'s' if self.outputs > 1 else ''} to predict"
        if self.kind == "labels":
            return "yes or no" if self.outputs == 1 else f"{self.outputs} labels, yes or no each"
        return f"{self.outputs} classes"

    def without_smoothing(self) -> Task:
        """The same task without label smoothing, which belongs to training and not to evaluation."""
        if type(self.loss) is SoftmaxCrossEntropy:
            return replace(self, loss=SoftmaxCrossEntropy())
        return self


def _column(y: Array) -> Array:
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _guess(y: Array) -> str:
    if y.dtype.kind == "f":
        return "mse"
    if y.ndim == 1:
        return "softmax"
    if y.ndim == 2 and ((y == 0) | (y == 1)).all():
        return "softmax" if (y.sum(axis=1) == 1).all() else "binary"
    return "mse"


def _classes(y: Array, dataset: Dataset) -> tuple[int, ...]:
    if dataset.names is not None:
        return tuple(range(len(dataset.names)))
    everything = y if dataset.y_test is None else np.concatenate([y, _column(dataset.y_test)])
    values = np.unique(everything)
    if values.dtype.kind == "f" and not np.array_equal(values, np.floor(values)):
        raise DataError(
            f"y holds {_few(values[values != np.floor(values)])}, and classes are whole numbers; "
            f"for numbers give --loss {', '.join(k for k, v in LOSSES.items() if v.predicts == 'numbers')}"
        )
    if len(values) < 2:
        raise DataError(f"y holds the class {values[0]} and no other: there is nothing to tell apart")
    return tuple(int(value) for value in values)


def _few(values: Array) -> str:
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in values[:6].tolist()]
    return ", ".join(shown) + (", ..." if len(values) > 6 else "")
