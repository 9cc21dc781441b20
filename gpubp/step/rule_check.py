"""What an optimizer of the user's own declares, checked before its first step: its moments and its rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from ..config import real
from ..formula import trace
from ..layers.results import noted
from ..optimizers import Optimizer

# The vectors that a rule gets have no rows: they are all parameters, a worker's part, or one group's.
NO_ROWS = (
    "a rule computes each parameter's number by itself; for the length of all gradients use clip_norm of the Trainer"
)


def names_of_moments(optimizer: Optimizer) -> tuple[str, ...]:
    """The names of an optimizer's moments; a text is one name. Raises TypeError unless they are names, each once.

    A list, the keys of a dict or a NumPy array may hold them too. A set may hold one, because it has no order.

    >>> import gpubp as bp
    >>> names_of_moments(bp.Adam())
    ('m', 'v')
    """
    where = f"{type(optimizer).__name__}.moments"
    with noted(optimizer, where):
        given = optimizer.moments
        spent = isinstance(given, Iterator) and optimizer.moments is given  # the next trainer would find it empty
        listed = isinstance(given, Iterable) and not isinstance(given, Mapping) and not spent
        names: tuple[Any, ...] = (given,) if isinstance(given, str) else tuple(given) if listed else (None,)
    unordered = isinstance(given, set | frozenset) and len(names) > 1
    if unordered or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise TypeError(
            f'{where} must be a tuple of names, each once, such as ("m", "v"), and () without moments; it is '
            f"{given!r:.200}{', and a set has no order' if unordered else ''}"
        )
    return names


def initial_moments(optimizer: Optimizer, names: Iterable[str]) -> dict[str, float]:
    """The moments that are not 0 at first, and what they are. Raises TypeError unless they are finite numbers by name.

    names: those of the moments.

    >>> import gpubp as bp
    >>> initial_moments(bp.Adagrad(initial_accumulator_value=0.5), ["v"])
    {'v': 0.5}
    """
    where = f"{type(optimizer).__name__}.initial_moments"
    with noted(optimizer, where):
        given = optimizer.initial_moments
    finite = isinstance(given, Mapping) and all(isfinite(real(value)) for value in given.values())
    if not finite or not set(given) <= set(names):
        raise TypeError(
            f"{where} must be a dictionary, name of a moment -> finite number, and is {given!r:.200}; the moments are "
            f"{', '.join(names) or 'none'}"
        )
    return {name: real(value) for name, value in given.items() if value}


def check_rule(optimizer: Optimizer, moments: Sequence[str], scalars: Sequence[str]) -> None:
    """Raise FormulaError, which names class and method, if the optimizer's rule is no formula number by number.

    moments, scalars: the names of what the rule gets beside θ and g.

    >>> import gpubp as bp
    >>> check_rule(bp.Adam(), ("m", "v"), ("alpha", "eps_hat"))
    """
    trace(optimizer.rule, 2 + len(moments) + len(scalars), 1 + len(moments), NO_ROWS)
