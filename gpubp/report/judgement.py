"""Judgement: how good answers are beside a guess, which gives every row the same answer.

The guess is learnt from the rows trained with: the most frequent class, each label's most frequent answer, or the mean.

    (1)  b = rows right where the guess is wrong        c = rows wrong where the guess is right
    (2)  b - c > 1.645 √(b + c)                         McNemar's test, one-sided, at 5%
    (3)  balanced accuracy = mean over the classes of their recall        as scikit-learn's balanced_accuracy_score
    (4)  d = (y - g)² - (y - ŷ)²                        for numbers: by how much the guess g is worse in each row
    (5)  Σd > 1.645 √Σ(d - d̄)²                          the same test for the mean of d
    (6)  balanced accuracy > 1 / K + 1.645 √(Σ max(q(1 - q), r(1 - r)) / n) / K
                                                        over the K classes: q = share of the answers, r = recall,
                                                        n = rows of the class
    (7)  R² > 1.645² / n                                as chance exceeds it in one case of twenty: R² <= r², and r √n
                                                        is about normal where r is the correlation of unrelated numbers

A network whose accuracy is not above the guess is of use where its balanced accuracy is above that of any guess, which
is 1 / K. It finds rare classes, at the price of mistakes in the frequent ones. In (6), q(1 - q) / n is the variance of
a recall where answers and classes are unrelated, and r(1 - r) / n the one that it seems to have. The larger one is
taken, so that few rows of a class, or few answers of it, are not taken for certain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..rounding import metric, number

Array = np.ndarray[Any, Any]
SURE = 1.645  # standard deviations that chance exceeds in one case of twenty
FIELDS = ("guess", "better_than_guess", "balanced_accuracy", "rarest_class")  # of a JSON document
LITTLE = 0.1  # of what the guess leaves: numbers explained so far are tested for chance


@dataclass(frozen=True)
class Guess:
    """What the rows trained with say without their inputs.

    values: for kind "classes" the rows of each class, for "labels" the share of yes of each label, for "numbers" the
    mean of each output, as the loss takes them.

    >>> Guess.of("classes", np.array([0, 1, 1]), 2)
    Guess(kind='classes', values=(1.0, 2.0))
    """

    kind: str
    values: tuple[float, ...]

    @classmethod
    def of(cls, kind: str, t: Any, outputs: int) -> Guess:
        """The guess that targets t give: classes (n,) or one 1 a row (n, classes), labels or numbers (n, outputs).

        Classes below 0 and labels that are NaN do not count.
        """
        t = np.asarray(t)
        if kind == "classes" and t.size == len(t):
            t = t.reshape(-1)
            found = np.bincount(t[t >= 0].astype(np.int64), minlength=outputs)
        elif kind == "classes":
            found = t.sum(axis=0, dtype=np.float64)
        elif kind == "labels":
            known = ~np.isnan(t := t.reshape(len(t), -1).astype(np.float64))
            found = np.where(known, t, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        else:
            found = t.reshape(len(t), -1).mean(axis=0, dtype=np.float64)
        return cls(kind, tuple(map(float, found)))

    @classmethod
    def from_config(cls, told: Any, kind: str, outputs: int) -> Guess:
        """The guess in a model file. Raises ValueError if it is none of this kind for so many outputs.

        >>> Guess.from_config([1, 2], "classes", 2).config()
        [1.0, 2.0]
        """
        fits = isinstance(told, list) and len(told) == outputs
        if not fits or not all(type(v) in (int, float) and math.isfinite(v) for v in told):
            raise ValueError(f"the guess of its {outputs} outputs is given as {told!r:.100}")
        return cls(kind, tuple(map(float, told)))

    def config(self) -> list[float]:
        """What a model file holds."""
        return list(self.values)


@dataclass(frozen=True)
class Rarest:
    """The rarest class, as the guess has learnt: its name, the judged rows of it and how many of them are found."""

    name: str
    rows: int
    found: int


@dataclass(frozen=True)
class Judgement:
    """Answers beside a guess.

    answer: what the guess always answers, in words. guess: its metrics. better: whether the answers are better, None
    where that may be chance. skill: the share of what the guess leaves. balanced_accuracy, rarest: of classes.
    classes: how many there are in the judged rows.

    >>> judge("classes", np.array([0, 0, 1]), np.array([[1.0, 0.0]] * 3), ["no", "yes"]).line
    'No better than always answering no (the most frequent class).'
    """

    answer: str
    guess: Mapping[str, float]
    better: bool | None
    skill: float
    rows: int
    balanced_accuracy: float | None = None
    rarest: Rarest | None = None
    classes: int = 0

    @property
    def finds_classes(self) -> bool:
        """Whether more rows would be right by the guess, and yet the answers tell the classes apart."""
        return bool(self.better) and self.skill <= 0

    @property
    def one_class(self) -> bool:
        """Whether all rows are of one class, so that nothing can be said."""
        return self.rarest is not None and self.rarest.rows == self.rows

    @property
    def line(self) -> str:
        """A sentence where the answers are not clearly better than the guess, or in balance only; "" if they are."""
        if self.one_class and self.rarest is not None:
            return f"All rows are of the class {self.rarest.name}: they do not show whether classes are told apart."
        if self.skill <= 0 and self.better is not False:
            more = f"Always {self.answer} would be right on at least as many rows, but find no row of another class"
            return f"{more}." if self.better else f"{more}; on {self.rows:,} rows the difference may be chance."
        if self.better:
            return ""
        if self.better is None:
            few = "row" if self.rows == 1 else "rows"
            return f"Better than always {self.answer}, but on {self.rows:,} {few} the difference may be chance."
        return f"No better than always {self.answer}."

    @property
    def missed(self) -> str:
        """A sentence where no row of the rarest class is found and it is much rarer than others; "" otherwise."""
        rarest = self.rarest
        if rarest is None or rarest.found or rarest.rows * self.classes > 0.5 * self.rows:
            return ""
        rows = f"None of the {rarest.rows:,} rows" if rarest.rows > 1 else "The only row"
        return f"{rows} of {rarest.name}, the rarest class, is {'not ' * (rarest.rows == 1)}found."

    def fields(self) -> dict[str, Any]:
        """The fields of a JSON document."""
        rarest = self.rarest
        return {
            "guess": {"answer": self.answer, **self.guess},
            "better_than_guess": self.better,
            "balanced_accuracy": self.balanced_accuracy,
            "rarest_class": None
            if rarest is None
            else {"class": rarest.name, "rows": rarest.rows, "recall": rarest.found / rarest.rows},
        }

    def told(self) -> dict[str, str]:
        """The lines that stand beside the result, by their names."""
        found = ", ".join(f"{name.replace('_', ' ')} {metric(name, value)}" for name, value in self.guess.items())
        lines = {"guess": f"{found}, by always {self.answer}"}
        if self.balanced_accuracy is not None and self.rarest is not None:
            rarest = self.rarest
            lines["classes"] = (
                f"balanced accuracy {number(self.balanced_accuracy)}; rarest class {rarest.name}: {rarest.found:,} of "
                f"{rarest.rows:,} rows found, recall {number(rarest.found / rarest.rows)}"
            )
        return lines


def judge(
    kind: str, t: Any, z: Any, names: Sequence[str] = (), guess: Guess | None = None, unit: float = 1.0
) -> Judgement | None:
    """Judge outputs z (n, K) for the targets t by what a guess would do; None where no row counts.

    kind: "classes", "labels" or "numbers". names: of classes. guess: what the rows trained with say; by default what
    the judged rows say themselves. unit: of numbers, by which errors are multiplied.

    >>> t = np.array([0.0, 2.0])
    >>> found = judge("numbers", t, np.array([[0.5], [1.5]]))
    >>> found.better, round(found.skill, 4), found.guess["mean_absolute_error"]
    (True, 0.75, 1.0)
    """
    t, z = np.asarray(t), np.asarray(z)
    z = z.reshape(len(z), -1)
    if kind == "labels" and z.shape[1] == 1:  # a yes or no is one of two classes
        share = None if guess is None else guess.values[0]
        counts = None if share is None else Guess("classes", (1 - share, share))
        return _classes(t.reshape(-1).astype(np.int64), (z[:, 0] > 0).astype(np.int64), 2, names, counts)
    if kind == "classes":
        classes = t.reshape(-1).astype(np.int64) if t.size == len(t) else t.argmax(axis=1)
        return _classes(classes, z.argmax(axis=1), z.shape[1], names, guess)
    if not len(t):
        return None
    t = t.reshape(z.shape)
    if kind == "labels":
        return _labels(t > 0.5, z > 0, guess)
    return _numbers(t.astype(np.float64), z.astype(np.float64), guess, unit)


def _classes(truth: Array, said: Array, many: int, names: Sequence[str], guess: Guess | None) -> Judgement | None:
    said, truth = said[truth >= 0], truth[truth >= 0]
    if not len(truth):
        return None
    counts = np.bincount(truth, minlength=many)
    known = counts if guess is None else np.asarray(guess.values)
    most = int(known.argmax())
    name = names[most] if most < len(names) else str(most)
    right, guessed = truth == said, truth == most
    there = np.flatnonzero(counts)
    found = np.bincount(truth[right], minlength=many)
    recall = found[there] / counts[there]
    balanced = float(recall.mean())  # (3)
    accuracy, share = float(right.mean()), float(guessed.mean())
    better, skill = _better(right, guessed), (accuracy - share) / (1 - share) if share < 1 else math.nan
    chance = 1 / len(there)
    if not better and len(there) > 1:
        often = np.bincount(said, minlength=many)[there] / len(said)
        variance = np.maximum(often * (1 - often), recall * (1 - recall)) / counts[there]  # (6)
        noise = math.sqrt(float(variance.sum())) / len(there)
        if balanced > chance:
            better = True if balanced > chance + SURE * noise else None
    rarest = int(there[known[there].argmin()])
    return Judgement(
        f"answering {name} (the most frequent class)",
        {"accuracy": share},
        better,
        skill,
        len(truth),
        balanced,
        Rarest(names[rarest] if rarest < len(names) else str(rarest), int(counts[rarest]), int(found[rarest])),
        len(there),
    )


def _labels(truth: Array, said: Array, guess: Guess | None) -> Judgement:
    often = truth.mean(axis=0) if guess is None else np.asarray(guess.values)
    right, guessed = truth == said, truth == (often > 0.5)
    share = float(guessed.mean())
    skill = (float(right.mean()) - share) / (1 - share) if share < 1 else math.nan
    answer = "giving each label's most frequent answer"
    return Judgement(answer, {"accuracy": share}, _better(right, guessed), skill, len(truth))


def _better(right: Array, guessed: Array) -> bool | None:
    """(1) and (2): None where the answers are right more often, and that may be chance."""
    b, c = int((right & ~guessed).sum()), int((guessed & ~right).sum())  # (1)
    if b <= c:
        return False
    return True if b - c > SURE * math.sqrt(b + c) else None  # (2)


def _numbers(truth: Array, said: Array, guess: Guess | None, unit: float) -> Judgement:
    mean = truth.mean(axis=0) if guess is None else np.asarray(guess.values)
    with np.errstate(all="ignore"):
        off, error = (truth - mean) ** 2, (truth - said) ** 2
        d = off.sum(axis=1) - error.sum(axis=1)  # (4)
        skill = float(explained(truth, said).mean())
        of_guess = float(explained(truth, np.broadcast_to(mean, truth.shape)).mean())
        sure = bool(d.sum() > SURE * math.sqrt(float(((d - d.mean()) ** 2).sum())))  # (5)
    guessed = {"R²": of_guess} if truth.shape[1] == 1 and math.isfinite(of_guess) else {}
    guessed["mean_squared_error"] = float(off.mean()) * unit**2
    guessed["mean_absolute_error"] = float(np.abs(truth - mean).mean()) * unit
    better: bool | None = bool(d.sum() > 0) and not skill <= 0
    if better and not skill > max(LITTLE, SURE**2 / len(truth)) and not sure:  # (7)
        better = None
    return Judgement("answering the mean", guessed, better, skill, len(truth))


def explained(truth: Array, said: Array) -> Array:
    """R² = 1 - Σ(y - ŷ)² / Σ(y - ȳ)² of each output, (outputs,); not a number where y is constant.

    >>> explained(np.array([[0.0], [2.0]]), np.array([[0.0], [2.0]]))
    array([1.])
    """
    truth, said = truth.astype(np.float64), said.astype(np.float64)
    total = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    left = ((truth - said) ** 2).sum(axis=0)
    with np.errstate(all="ignore"):
        return np.where(total > 0, 1 - left / total, np.nan)
