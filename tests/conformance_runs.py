"""What the conformance tests share: one layer with given numbers, and the outcome of many cases of other projects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gpubp as bp
from gpubp.backends import get_backend
from gpubp.flat import FlatArray
from gpubp.layers import Context, Values, bind
from gpubp.layers.binding import plan_of

Numbers = Mapping[str, Any]


class NotExpressible(Exception):
    """gpubp has no layer, loss or argument for a case; the text says which is missing, and why."""


@dataclass
class Outcome:
    """How many cases were equal, and the names of those that were not, with what was wrong or the reason."""

    equal: Counter[str] = field(default_factory=Counter)
    unequal: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)  # of a case, the operator or module that it is about

    def add(self, name: str, kind: str, compare: Callable[[], None]) -> None:
        """Run one case, which raises AssertionError where numbers differ and NotExpressible where it can't be tried."""
        if name in self.kinds:
            name += f" ({sum(other.startswith(name) for other in self.kinds) + 1})"
        self.kinds[name] = kind
        try:
            compare()
        except NotExpressible as reason:
            self.reasons[name] = str(reason)
        except Exception as problem:
            self.unequal[name] = f"{type(problem).__name__}: {problem}"
        else:
            self.equal[kind] += 1

    def print(self) -> None:
        """A table of operators or modules, then the unequal cases, and the reasons why others can't be expressed."""
        total = Counter(self.kinds.values())
        unequal, missing = (Counter(self.kinds[name] for name in names) for names in (self.unequal, self.reasons))
        row = "{:<28}{:>8}{:>10}{:>18}".format
        print("\n" + row("", "equal", "unequal", "not expressible"))
        for kind in sorted(total):
            print(row(kind, self.equal[kind], unequal[kind], missing[kind]))
        print(row("all", self.equal.total(), len(self.unequal), len(self.reasons)))
        for name, why in self.unequal.items():
            print(f"unequal: {name}: {why}")
        print("\nnot expressible:")
        for reason in dict.fromkeys(self.reasons.values()):
            names = [name for name, why in self.reasons.items() if why == reason]
            print(f"{len(names):>4}  {reason}\n      {', '.join(names)}")


def run(
    layer: bp.Layer,
    x: np.ndarray,
    parameters: Numbers | None = None,
    states: Numbers | None = None,
    *,
    dy: np.ndarray | None = None,
    training: bool = False,
    dtype: Any = np.float64,
) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
    """y; and with dy also dx, the gradients and the states behind the step."""
    be, x = get_backend("cpu"), np.ascontiguousarray(x)
    plan = plan_of(layer, x.shape)
    shapes = {name: of.shape for name, of in plan.all_parameters().items()}
    given = dict(parameters or {}), dict(states or {})
    vectors = FlatArray(be, shapes, dtype), FlatArray(be, {n: s.shape for n, s in plan.all_states().items()}, dtype)
    for vector, numbers in zip(vectors, given, strict=True):
        assert set(vector) == set(numbers), f"the layer has {sorted(vector)}, and the case gives {sorted(numbers)}"
        for name, a in numbers.items():
            assert vector[name].shape == np.shape(a), (name, vector[name].shape, np.shape(a))
            vector[name][...] = a
    gradients = FlatArray(be, shapes, dtype)
    context = Context(be, len(x), dtype)
    values = Values(vectors[0], vectors[1], gradients if training else None)
    ws = bind(layer, plan, context, values, training=training, wants_dx=dy is not None)
    with np.errstate(all="ignore"):
        y = ws.run_forward(x if x.dtype.kind in "iu" else x.astype(dtype)).copy()
        dx = None if dy is None else ws.run_backward(dy)
    return y, dx, {**{n: a.copy() for n, a in gradients.items()}, **{n: a.copy() for n, a in vectors[1].items()}}


def channels_last(x: np.ndarray) -> np.ndarray:
    """(B, C, ...) as (B, ..., C)"""
    return np.moveaxis(x, 1, -1)


def channels_first(x: np.ndarray) -> np.ndarray:
    """(B, ..., C) as (B, C, ...)"""
    return np.moveaxis(x, -1, 1)


def of_axes(name: str, axes: int) -> Any:
    """The class of layers for so many axes beside batch and channels, as MaxPool2D."""
    if not 1 <= axes <= 3 or not hasattr(bp, f"{name}{axes}D"):
        raise NotExpressible(f"there is no {name}{axes}D")
    return getattr(bp, f"{name}{axes}D")


def one_or_all(numbers: Sequence[Any]) -> Any:
    """What a layer of one axis takes plainly, and others in a tuple."""
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def close(given: Iterable[Any], wanted: Iterable[Any], rtol: float, atol: float) -> None:
    """Raise AssertionError where a number or a shape differs."""
    for k, (a, b) in enumerate(zip(given, wanted, strict=True)):
        assert np.shape(a) == np.shape(b), f"output {k} has the shape {np.shape(a)}, not {np.shape(b)}"
        np.testing.assert_allclose(a, b, rtol, atol, err_msg=f"output {k}")
