"""Effects of words: by how much a prediction changes where a word of a row's texts is left out.

    (1) effect = f(x) - f(x without the word)

f is the probability of a class, or the predicted number in the units of the table. A word that comes several times in a
text is left out everywhere in it, and the words behind it move up. Words that are not in the vocabulary are one word. A
network may answer to two words together, so that the effects of a row do not add up to its prediction.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import click
import numpy as np

from ..data.row_groups import RowGroups
from ..network.network import Network
from ..tables import Preparation, TextColumn
from .progress import rows_shown
from .task import Task

Array = np.ndarray[Any, Any]
AT_ONCE, MEMORY = 2048, 32 << 20  # rows with a word less that are predicted together, and their bytes
SHOWN = 5  # words of a row
LOOKED_AT, CHANGED = 300, 20_000  # rows whose words are looked at for all classes; and rows with a word less
FEWEST = 3  # rows that a telling word is in
TELLING = 10  # words of each class


class Effect(NamedTuple):
    """A word of a row, the column of text that it is in, and its effect on the row's prediction."""

    column: str
    word: str
    effect: float


class Telling(NamedTuple):
    """A word, the mean of its effects on the class `name`, or on numbers, and in how many rows it is."""

    name: str
    word: str
    effect: float
    rows: int


class Changed(NamedTuple):
    """A word that was left out: the row, the column, the number of the word, and f before and after for all outputs."""

    row: int
    column: TextColumn
    number: int
    before: Array
    after: Array


def check_why(model: str, task: Task, why: bool, out: str | None) -> None:
    """Raise UsageError for --why where there are no words to explain, or no place for what it says."""
    if why and (task.table is None or not task.table.texts):
        raise click.UsageError(f"--why explains predictions by the words of texts, and {model} reads no text")
    if why and out is not None and out.lower().endswith(".npy"):
        raise click.UsageError(f"--out {out}: .npy holds the predictions alone; with --why, take .csv or .npz")


class Lacking(NamedTuple):
    """A row that lacks one word after the other: the row, the column, the numbers of the words, and (words, width)."""

    row: int
    column: TextColumn
    numbers: Array
    without: Array


def changes(
    network: Network, task: Task, X: Array, most: int | None = None, done: Callable[[int], None] | None = None
) -> Iterator[Changed]:
    """Leave out each word of each row of X (n, width) in turn; `most` of them in all. done: is told how many rows are.

    Rows with a word less are predicted together, those of several rows too.
    """
    assert task.table is not None
    at_once = max(1, min(AT_ONCE, MEMORY // (4 * task.table.width)))
    before = _values(task, network.predict(X)) if len(X) else np.zeros((0, 1))
    waiting: list[Lacking] = []
    for one in _lacking(task.table, X, at_once, most):
        waiting.append(one)
        if sum(len(each.numbers) for each in waiting) >= at_once:
            yield from _predicted(network, task, waiting, before)
            waiting = []
            if done is not None:
                done(one.row)
    if waiting:
        yield from _predicted(network, task, waiting, before)
    if done is not None:
        done(len(X))


def _lacking(table: Preparation, X: Array, at_once: int, most: int | None) -> Iterator[Lacking]:
    """`at_once` words of a row at most."""
    left = sys.maxsize if most is None else most
    for row, x in enumerate(X):
        for column, place in table.places:
            if isinstance(column, TextColumn):
                numbers = np.unique(x[place])
                numbers = numbers[numbers > 0][:left]
                left -= len(numbers)
                for k in range(0, len(numbers), at_once):
                    part = numbers[k : k + at_once]
                    yield Lacking(row, column, part, without_each(x, place, part))


def without_each(x: Array, place: slice, numbers: Array) -> Array:
    """A row x (width,) without one word after the other, (words, width); those behind a word move up.

    >>> without_each(np.array([0.5, 7, 9, 7, 0]), slice(1, 5), np.array([7, 9])).tolist()
    [[0.5, 9.0, 0.0, 0.0, 0.0], [0.5, 7.0, 7.0, 0.0, 0.0]]
    """
    found = np.repeat(x[None], len(numbers), axis=0)
    gone = x[place] == numbers[:, None]
    order = np.argsort(gone, axis=1, kind="stable")  # what is left out comes last
    found[:, place] = np.where(np.take_along_axis(gone, order, axis=1), 0, x[place][order])
    return found


def _predicted(network: Network, task: Task, waiting: Sequence[Lacking], before: Array) -> Iterator[Changed]:
    after = iter(_values(task, network.predict(np.concatenate([one.without for one in waiting]))))
    for one in waiting:
        for number in one.numbers:
            yield Changed(one.row, one.column, int(number), before[one.row], next(after))


def _values(task: Task, z: Array) -> Array:
    """f of outputs z: probabilities (n, K), or numbers (n, 1)."""
    answers = task.answers(z)
    return answers.prediction.reshape(len(z), -1) if answers.probability is None else answers.probability


def word_effects(network: Network, task: Task, X: Any, rows: int | None = None) -> list[list[Effect]]:
    """The effects of the words of each row of X on its prediction, for classes on the predicted one; largest first.

    rows: of the first so many; None for all. The progress is shown.
    """
    wanted = len(X) if rows is None else min(rows, len(X))
    assert task.table is not None
    words = {text.name: text.vocabulary.decode(range(1, len(text.vocabulary))) for text in task.table.texts}
    found: list[list[Effect]] = []
    with rows_shown(wanted, "words left out") as done:
        for part in (X.read(k) for k in range(len(X.sizes))) if isinstance(X, RowGroups) else [np.asarray(X)]:
            part = part[: wanted - len(found)]
            effects: list[list[Effect]] = [[] for _ in range(len(part))]
            for one in changes(network, task, part, done=partial(_done_after, len(found), done)):
                k = int(one.before.argmax())
                word = words[one.column.name][one.number - 1]
                effects[one.row].append(Effect(one.column.name, word, float(one.before[k] - one.after[k])))
            found += [sorted(row, key=lambda e: (-abs(e.effect), e.word)) for row in effects]
            if len(found) == wanted:
                break
    return found


def _done_after(before: int, done: Callable[[int], None], rows: int) -> None:
    done(before + rows)


def told(effects: Sequence[Effect], columns: int, numbers: bool) -> str:
    """The words of a row with the largest effects. columns: of text, which are named if they are several.

    >>> told([Effect("review", "great", 0.3012), Effect("review", "but", -0.05)], 1, False)
    'great +0.30, but -0.05'
    """
    shown = []
    for column, word, effect in effects[:SHOWN]:
        size = f"{effect:+.3g}" if numbers else f"{effect:+.2f}"
        shown.append(f"{f'{column}: ' if columns > 1 else ''}{word} {size}")
    return ", ".join(shown)


def telling_words(network: Network, task: Task, X: Any) -> list[Telling]:
    """The words with the largest mean effects: for each class those that speak for it, for numbers those that raise and
    those that lower them. Of many rows some are looked at, spread evenly."""
    rows = np.unique(np.linspace(0, len(X) - 1, min(len(X), LOOKED_AT)).astype(np.int64))
    sums: dict[tuple[str, int], Array] = {}
    counts: dict[tuple[str, int], int] = {}
    columns: dict[str, TextColumn] = {}
    with rows_shown(len(rows), "telling words") as done:
        for one in changes(network, task, np.asarray(X[rows]), CHANGED, done):
            key = (one.column.name, one.number)
            columns[one.column.name] = one.column
            sums[key] = sums.get(key, 0.0) + (one.before - one.after)
            counts[key] = counts.get(key, 0) + 1
    means = {key: total / counts[key] for key, total in sums.items() if counts[key] >= FEWEST and key[1] > 1}
    several = len(columns) > 1
    found = []
    for name, k, sign in _ways(task):
        ordered = sorted(means, key=lambda key: (-sign * float(means[key][k]), key))
        for key in ordered[:TELLING]:
            effect = float(means[key][k])
            if sign * effect > 0:
                word = columns[key[0]].vocabulary.decode([key[1]])[0]
                found.append(Telling(name, f"{key[0]}: {word}" if several else word, effect, counts[key]))
    return found


def _ways(task: Task) -> list[tuple[str, int, int]]:
    """What words may speak for: a name, an output, and the sign of the effect."""
    if task.kind == "numbers":
        return [("higher", 0, 1), ("lower", 0, -1)]
    return [(name, k, 1) for k, name in enumerate(task.output_names)]
