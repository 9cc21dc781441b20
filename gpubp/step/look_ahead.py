"""The learning rates and scalars of the next steps, checked.

They are computed for many steps at once. A schedule may know its own steps only, and training may end before a step
that it has no rate for. So what is wrong with a step is an error when that step is the next one, and before it the end
of what is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..config import is_own
from ..layers.results import noted
from ..optimizers import Numbers, Optimizer
from ..schedules import Schedule


def learning_rates(optimizer: Optimizer, first: int, most: int) -> Numbers:
    """η of the steps from `first` on, `most` at most; it ends before a step whose rate can't be had.

    Raises what the optimizer's `rate` raises for the first step.

    >>> import gpubp as bp
    >>> class Listed(bp.Schedule):
    ...     def __call__(self, t):
    ...         return (0.3, 0.2, 0.1)[t]
    >>> learning_rates(bp.SGD(Listed()), 2, 256).tolist()
    [0.2, 0.1]
    """
    if not isinstance(optimizer.learning_rate, Schedule) and type(optimizer).rate is Optimizer.rate:
        return np.full(most, optimizer.rate(first), np.float64)
    rates: list[float] = []
    for t in range(first, first + most):
        try:
            rates.append(optimizer.rate(t))
        except Exception:
            if not rates:
                raise
            break
    return np.array(rates, np.float64)


def scalars_of(optimizer: Optimizer, t: Numbers, eta: Numbers, names: Sequence[str] | None = None) -> dict[str, Any]:
    """What the optimizer's `step_scalars` gives for the steps t.

    names: those that it gave before. Raises TypeError or ValueError if it is not a dictionary, name -> array (steps,),
    of these names.

    >>> import gpubp as bp
    >>> scalars_of(bp.SGD(), np.ones(2), np.array([0.2, 0.1]))["eta"].tolist()
    [0.2, 0.1]
    """
    where = f"{type(optimizer).__name__}.step_scalars"
    with noted(optimizer, where):
        given = optimizer.step_scalars(t, eta)
    if not isinstance(given, dict):
        hint = "; is a return missing?" if given is None else ""
        raise TypeError(f"{where} must return a dictionary, name -> array (steps,), and gave {given!r:.200}{hint}")
    if names is not None and set(given) != set(names):
        raise ValueError(f"{where} gave {', '.join(names)} for one step and {', '.join(given)} for others")
    for name, a in given.items():
        if not isinstance(a, np.ndarray) or a.shape != t.shape or a.dtype.kind not in "iuf":
            raise ValueError(
                f"{where} must return for each name an array of numbers (steps,), as t and eta are, and gave "
                f"{a!r:.200} for {name!r}"
            )
    return given


def finite_steps(optimizer: Optimizer, h: np.ndarray[Any, Any], first: int, names: Sequence[str]) -> int:
    """For how many steps, from `first` on, the scalars h (steps, names) are finite; ValueError if for none.

    >>> import gpubp as bp
    >>> finite_steps(bp.SGD(), np.array([[1.0], [np.nan]]), 1, ["eta"])
    1
    """
    finite = np.isfinite(h).all(axis=1)
    count = len(h) if finite.all() else int(finite.argmin())
    if not count:
        rate, most = optimizer.rate(first), float(np.finfo(h.dtype).max)
        if rate > most:
            by = f", by {optimizer.learning_rate!r}" if isinstance(optimizer.learning_rate, Schedule) else ""
            raise ValueError(
                f"the learning rate of step {first} is {rate:g}{by}, and the largest number in {h.dtype} is "
                f"{most:.2g}; lower it"
            )
        bad = ((name, value) for name, value in zip(names, h[0], strict=True) if not np.isfinite(value))
        shown = ", ".join(f"{name} = {value}" for name, value in bad)
        mend = f"mend {type(optimizer).__name__}.step_scalars, or " if is_own(type(optimizer)) else ""
        raise ValueError(
            f"step {first} would compute with {shown} in {h.dtype}, which must be finite: {mend}lower the learning rate"
        )
    return count
