"""Names: what the formulas of a layer call a number, and which number of the step it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..backends import Array
from ..layers import Workspace
from .expressions import Index, Key
from .memory import Place, Source, locate, root
from .watch import Frame

UPDATE = "update"  # the path of what belongs to no layer and not to the loss

Name = tuple[str, Index, Key]
ByMemory = dict[int, list[tuple[str, Array]]]  # the number of the memory -> names and arrays in it
FORWARD = {"forward": ("x",), "backward": ("dy",)}
OF_LOSS = {"forward": ("z", "t"), "backward": ("z", "t"), "counts": ("t",)}
NEW = ".new"  # behind the name of a number that replaces one of the same name: a running mean, an updated weight
AGAIN = "′"  # behind the name of an array that backward writes again, as forward's a and backward's a′
GREEK = {"eta": "η", "alpha": "α", "alpha_m": "α_m", "eps_hat": "ε̂"}
HIDDEN = {"output", "input"}  # other names of what x and y are


class Names:
    """The names of numbers, frame by frame.

    given: name -> array of what the step was given: x, t, the row weights w and their shares c.
    parameters: full name -> array.
    """

    def __init__(self, given: dict[str, Array], parameters: dict[str, Array]) -> None:
        self._given, self._parameters = given, parameters
        self.source: Callable[[Place], Source | None] = lambda place: None  # of the step's memory; `Origins` sets it
        self._parts: dict[tuple[str, str, Index], Any] = {}
        # of a step that is done, so that no array is added any more
        self._of_frames: dict[Frame, ByMemory] = {}
        self._of_workspaces: dict[int, ByMemory] = {}
        self._common: ByMemory | None = None

    def of(self, frame: Frame, place: Place, source: Source | None) -> Name | None:
        """What the frame's formulas call the number, if it has a name there, and keeps its value to the end."""
        if frame.path == UPDATE:
            made_here = source is not None and source.event.frame is frame
            key = None if made_here and not self._stays(frame, place, source) else self.key(place, source)
            return None if key is None else (self.letter_of_update(key), key.at, key)
        for letter, a in self._arrays(frame).get(id(place.whole), ()):
            if a.dtype == place.dtype and (index := locate(a, place.address)) is not None:
                if source is not None and source.event.frame.within(frame) and not self._stays(frame, place, source):
                    return None
                if source is None and self._is_constant(frame, letter, a):
                    return None
                key = self.key(place, source) or Key(frame.path, letter, index)
                again = AGAIN * (key.path == frame.path and key.array == letter + AGAIN)
                return letter + again, index, key
        return None

    def _is_constant(self, frame: Frame, letter: str, a: Array) -> bool:
        """Whether an array of a layer was there before the step and is no parameter: a constant of its formulas."""
        ws = frame.ws
        if ws is None or ws.__dict__.get(letter) is not a:
            return False
        return letter not in ws._plan.parameters and letter not in ws._plan.states and letter not in self._given

    def _stays(self, frame: Frame, place: Place, source: Source | None) -> bool:
        last = self.source(place._replace(before=frame.last))
        return last is not None and source is not None and last.event.number == source.event.number

    def taken(self, frame: Frame, name: str, of: tuple[int, Index]) -> bool:
        """Whether a name and index stand for another number of the frame; if not, they stand for `of` from now on."""
        if any(letter == name for arrays in self._arrays(frame).values() for letter, _ in arrays):
            return True
        return bool(self._parts.setdefault((frame.path, name, of[1]), of) != of)

    def elsewhere(self, place: Place, source: Source | None) -> Name | None:
        """The number by its full name, in a frame that is not its own."""
        key = self.key(place, source)
        return None if key is None else (f"{key.path}.{key.array}" if key.path else key.array, key.at, key)

    def key(self, place: Place, source: Source | None) -> Key | None:
        """Which number of the step it is; None for one without a name."""
        if source is not None:
            frame: Frame | None = source.event.frame
            while frame is not None:
                for letter, a in self._of_workspace(frame.ws).get(id(place.whole), ()):
                    if (index := locate(a, place.address)) is not None:
                        if not self._stays(frame, place, source):
                            return None  # the layer itself writes over it
                        is_state = frame.ws is not None and letter in frame.ws._plan.states
                        again = AGAIN * (not is_state and self.source(place._replace(before=frame.first)) is not None)
                        return Key(frame.path, letter + NEW * is_state + again, index)
                frame = frame.outer
        if self._common is None:
            self._common = by_memory((*self._given.items(), *self._parameters.items()))
        for name, a in self._common.get(id(place.whole), ()):
            if (index := locate(a, place.address)) is not None:
                path, _, letter = name.rpartition(".")
                return Key(path, letter + NEW * (source is not None and source.event.frame.path == UPDATE), index)
        return None

    def letter_of_update(self, key: Key) -> str:
        """What update rules call a number: θ for a parameter, g for its gradient, m or v for a moment, η for a rate."""
        array = key.array.removesuffix(NEW)
        name = f"{key.path}.{array}" if key.path else array
        if name in self._parameters:
            return "θ"
        if array[:1] == "d" and (f"{key.path}.{array[1:]}" if key.path else array[1:]) in self._parameters:
            return "g"
        return GREEK.get(array, array)

    def _arrays(self, frame: Frame) -> ByMemory:
        """The arrays of a frame by the names of its formulas: arguments, its own, and what the step was given."""
        if frame not in self._of_frames:
            letters = (OF_LOSS if frame.path == "loss" else FORWARD).get(frame.method, ())
            found = [*zip(letters, frame.arguments, strict=False), *self.own(frame.ws)]
            if frame.ws is not None and "x" in frame.ws.__dict__:
                found.append(("x", frame.ws.x))
            found += [(name, a) for name, a in self._given.items() if name not in ("x", "t")]
            self._of_frames[frame] = by_memory((name, a) for name, a in found if isinstance(a, np.ndarray))
        return self._of_frames[frame]

    def _of_workspace(self, ws: Workspace | None) -> ByMemory:
        if id(ws) not in self._of_workspaces:
            self._of_workspaces[id(ws)] = by_memory(self.own(ws))
        return self._of_workspaces[id(ws)]

    def own(self, ws: Workspace | None) -> Iterator[tuple[str, Array]]:
        """The arrays of a workspace that are its own, by the names of its formulas."""
        if ws is None:
            return
        for name, a in ws.__dict__.items():
            if isinstance(a, np.ndarray) and name not in HIDDEN and name != "x" and not name.startswith("_"):
                yield name, a


def by_memory(named: Iterable[tuple[str, Array]]) -> ByMemory:
    """The arrays by the memory in which they lie.

    >>> a = np.zeros((2, 3))
    >>> [name for name, _ in by_memory([("a", a), ("b", a[0])])[id(a)]]
    ['a', 'b']
    """
    found: ByMemory = {}
    for name, a in named:
        found.setdefault(id(root(a)), []).append((name, a))
    return found
