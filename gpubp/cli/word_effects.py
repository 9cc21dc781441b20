"""Effects of words: by how much a prediction changes where a word of a row's texts is left out.

    (1) effect = f(x) - f(x without the word)

f is the probability of a class, or the predicted number in the units of the table. A word that comes several times in a
text is left out everywhere in it, and the words behind it move up. Words that are not in the vocabulary are one word. A
network may answer to two words together, so that the effects of a row do not add up to its prediction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import click
import numpy as np

from ..data.row_groups import RowGroups
from ..network.network import Network
from ..tables import Preparation, TextColumn
from .task import Task

Array = np.ndarray[Any, Any]
AT_ONCE = 4096  # rows with a word less that are predicted together
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


def changes(network: Network, task: Task, X: Array, most: int | None = None) -> Iterator[Changed]:
    """Leave out each word of each row of X (n, width) in turn; `most` of them in all."""
    table = task.table
    assert table is not None
    waiting: list[tuple[int, TextColumn, int]] = []
    rows: list[Array] = []
    before = _values(task, network.predict(X)) if len(X) else np.zeros((0, 1))
    for row, column, number in _words(table, X, most):
        place = next(place for each, place in table.places if each is column)
        waiting.append((row, column, number))
        rows.append(_without(X[row], place, number))
        if len(rows) == AT_ONCE:
            yield from _predicted(network, task, waiting, rows, before)
            waiting, rows = [], []
    if rows:
        yield from _predicted(network, task, waiting, rows, before)


def _words(table: Preparation, X: Array, most: int | None) -> Iterator[tuple[int, TextColumn, int]]:
    count = 0
    for row, x in enumerate(X):
        for column, place in table.places:
            if isinstance(column, TextColumn):
                for number in np.unique(x[place]).astype(np.int64).tolist():
                    if number and (most is None or count < most):
                        count += 1
                        yield row, column, number


def _without(x: Array, place: slice, number: int) -> Array:
    """A row without a word; those behind it move up."""
    found, words = x.copy(), x[place]
    kept = words[words != number]
    found[place] = 0
    found[place][: len(kept)] = kept
    return found


def _predicted(
    network: Network, task: Task, waiting: Sequence[tuple[int, TextColumn, int]], rows: Sequence[Array], before: Array
) -> Iterator[Changed]:
    after = _values(task, network.predict(np.stack(rows)))
    for (row, column, number), then in zip(waiting, after, strict=True):
        yield Changed(row, column, number, before[row], then)


def _values(task: Task, z: Array) -> Array:
    """f of outputs z: probabilities (n, K), or numbers (n, 1)."""
    answers = task.answers(z)
    return answers.prediction.reshape(len(z), -1) if answers.probability is None else answers.probability


def word_effects(network: Network, task: Task, X: Any, rows: int | None = None) -> list[list[Effect]]:
    """The effects of the words of each row of X on its prediction, for classes on the predicted one; largest first.

    rows: of the first so many; None for all.
    """
    found: list[list[Effect]] = []
    for part in (X.read(k) for k in range(len(X.sizes))) if isinstance(X, RowGroups) else [np.asarray(X)]:
        part = part if rows is None else part[: rows - len(found)]
        effects: list[list[Effect]] = [[] for _ in range(len(part))]
        for one in changes(network, task, part):
            k = int(one.before.argmax())
            word = one.column.vocabulary.decode([one.number])[0]
            effects[one.row].append(Effect(one.column.name, word, float(one.before[k] - one.after[k])))
        found += [sorted(row, key=lambda e: (-abs(e.effect), e.word)) for row in effects]
        if len(found) == rows:
            break
    return found


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
    for one in changes(network, task, np.asarray(X[rows]), CHANGED):
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
