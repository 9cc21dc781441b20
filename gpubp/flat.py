"""FlatArray: many named arrays in one contiguous vector.

An optimizer step, a norm, a checkpoint or a sum over workers is then one operation on one contiguous vector,
whatever the number of layers, while a layer reads and writes its own part through a shaped view.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import partialmethod
from typing import Any

import numpy as np

from .backends import Array, Backend, Shape, as_numpy
from .errors import GpubpError

ALIGNMENT = 64  # bytes; each view starts where vector loads and the GPU's wide copies want it


class FlatArray(Mapping[str, Array]):
    """One contiguous 1-D array read through named, shaped views.

    backend: where the memory is. shapes: name -> shape. dtype: of all of them. order: the names in the order in which
    they lie in memory, that of `shapes` by default. called: what errors call it, such as "net.parameters".

    Names and arrays stay as they are, because layers, steps and optimizers hold on to them; numbers are written into
    the arrays, by `a[name][...] = numbers`. Everything else that would change it raises TypeError with that advice, and
    a name that is not there raises KeyError with those that are.

    Between views lie up to 64 bytes of padding. It is zero and stays zero: every operation on the whole vector that
    gpubp does maps zeros to zeros.

    >>> from gpubp.backends import get_backend
    >>> a = FlatArray(get_backend("cpu"), {"W": (2, 3), "b": (3,)}, "float32")
    >>> a["b"][...] = 1
    >>> a.flat.sum().item(), list(a), a["W"].shape
    (3.0, ['W', 'b'], (2, 3))
    """

    def __init__(
        self,
        backend: Backend,
        shapes: Mapping[str, Shape],
        dtype: Any,
        order: Iterable[str] | None = None,
        called: str = "arrays",
    ) -> None:
        self.called = called
        self.dtype = np.dtype(dtype)
        self._unit = unit = max(1, ALIGNMENT // self.dtype.itemsize)
        self.offsets: dict[str, int] = {}
        end = 0
        for name in order if order is not None else shapes:
            self.offsets[name] = end
            end += -(-math.prod(shapes[name]) // unit) * unit
        self._flat = backend.zeros((end,), self.dtype)
        self._shapes = dict(shapes)
        self._views = self.views(self._flat)

    @property
    def flat(self) -> Array:
        """All of them as one vector."""
        return self._flat

    @flat.setter
    def flat(self, given: Any) -> None:
        if given is not self._flat:  # which it is after `a.flat *= 2`
            raise TypeError(
                "the vector can't be replaced, because its views would stay the old one's; write a.flat[...] = x"
            )

    def views(self, flat: Any) -> dict[str, Any]:
        """The names and shapes over another vector of this length, such as a copy of `flat` on the host."""
        return {
            name: flat[self.offsets[name] : self.offsets[name] + math.prod(shape)].reshape(shape)
            for name, shape in self._shapes.items()
        }

    def like(self, backend: Backend) -> FlatArray:
        """Zeros with the same names in the same places.

        >>> from gpubp.backends import get_backend
        >>> a = FlatArray(get_backend("cpu"), {"W": (2, 3), "b": (3,)}, "float32", order=("b", "W"))
        >>> a.like(get_backend("cpu")).offsets == a.offsets
        True
        """
        shapes = {name: tuple(view.shape) for name, view in self.items()}
        order = sorted(self.offsets, key=lambda name: self.offsets[name])
        return FlatArray(backend, shapes, self.dtype, order, self.called)

    def __getstate__(self) -> dict[str, Any]:
        """For pickles, which hold host memory."""
        return vars(self) | {"_flat": as_numpy(self.flat), "_views": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._views = self.views(self.flat)  # of the copy's own vector

    def __deepcopy__(self, memo: Any) -> FlatArray:
        """On the same device."""
        made = FlatArray.__new__(FlatArray)
        made.__setstate__(vars(self) | {"_flat": self.flat.copy()})
        return made

    __copy__ = partialmethod(__deepcopy__, None)

    def __getitem__(self, name: str) -> Array:
        try:
            return self._views[name]
        except (KeyError, TypeError):
            raise UnknownName(self.called, name, self._views) from None

    def __contains__(self, name: object) -> bool:
        return name in self._views

    def get(self, name: str, default: Any = None) -> Any:
        """The array, or `default` where there is none of this name."""
        return self._views.get(name, default)

    def __setitem__(self, name: str, given: Any) -> None:
        if given is not self[name]:  # which it is after `a["W"] *= 2`
            raise TypeError(
                f"{self._spelled(name)} can't be replaced; write numbers into it: {self._spelled(name)}[...] = a"
            )

    def __delitem__(self, name: str) -> None:
        self[name]
        raise TypeError(f"{self._spelled(name)} can't be deleted; {self._spelled(name)}[...] = 0 writes zeros into it")

    def update(self, *given: Any, **named: Any) -> None:
        """Raises TypeError, as `pop`, `popitem`, `clear`, `setdefault` and |= do."""
        raise TypeError(
            f"in {self.called} nothing can be added, replaced or deleted; write numbers into each array: "
            f"for name, a in given.items(): {self.called}[name][...] = a"
        )

    pop = popitem = clear = setdefault = __ior__ = update

    def _spelled(self, name: str) -> str:
        return f'{self.called}["{name}"]'

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __repr__(self) -> str:
        return f"FlatArray({', '.join(f'{k}: {tuple(v.shape)}' for k, v in self.items())})"

    def runs(self, names: Iterable[str]) -> list[tuple[str, slice]]:
        """The slices of `flat` that hold exactly the views called `names`, neighbours in one, each with its first name.

        >>> from gpubp.backends import get_backend
        >>> a = FlatArray(get_backend("cpu"), {"a": (16,), "b": (9,), "c": (16,)}, "float32")
        >>> a.runs({"a", "b"})
        [('a', slice(0, 32, None))]
        >>> a.runs({"a", "c"})
        [('a', slice(0, 16, None)), ('c', slice(32, 48, None))]
        """
        runs: list[tuple[str, slice]] = []
        for name in sorted(names, key=lambda n: self.offsets[n]):
            start = self.offsets[name]
            end = start + -(-math.prod(self._views[name].shape) // self._unit) * self._unit
            if runs and runs[-1][1].stop == start:
                runs[-1] = (runs[-1][0], slice(runs[-1][1].start, end))
            else:
                runs.append((name, slice(start, end)))
        return runs


class UnknownName(GpubpError, KeyError):
    """There is no array of this name; the message has the names that are nearest, and some of the others.

    >>> print(UnknownName("net.parameters", "0.w", ["0.W", "0.b"]))
    net.parameters has no '0.w'; did you mean '0.W'? It has 0.W, 0.b
    """

    def __init__(self, of: str, name: Any, known: Iterable[str]) -> None:
        known, word = list(known), str(name).lower()
        near = [n for n in known if word in (n.lower(), n.rpartition(".")[2].lower())][:3]  # "W" for "0.W"
        near = near or difflib.get_close_matches(str(name), known, 3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
        more = f" and {len(known) - 20} more" if len(known) > 20 else ""
        self.message = f"{of} has no {name!r}{hint} It has {', '.join(known[:20]) or 'none'}{more}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a pattern such as "0.*" or "*.b" means; ValueError if there are none.

    >>> matching("0.*", ["0.W", "0.b", "2.W"])
    ['0.W', '0.b']
    """
    names = list(names)
    found = fnmatch.filter(names, pattern)
    if not found:
        raise ValueError(f"no parameter is called {pattern!r}; there are {', '.join(names) or 'none'}")
    return found
