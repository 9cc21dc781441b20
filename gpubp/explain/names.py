"""Names: what the formulas of a layer call a number, and which number of the step it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..backends import Array
from ..layers import Workspace
from .expressions import Index, Key
from .memory import Place, Source, locate, root
from .watch import Frame

UPDATE = "update"  # the path of what belongs to no layer and not to the loss

Name = tuple[str, Index, Key]
FORWARD = {"forward": ("x",), "backward": ("dy",)}
OF_LOSS = {"forward": ("z", "t"), "backward": ("z", "t"), "counts": ("t",)}
NEW = ".new"  # behind the name of a number that replaces one of the same name: a running mean, an updated weight
GREEK = {"eta": "η", "alpha": "α", "eps_hat": "ε̂"}
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

    def of(self, frame: Frame, place: Place, source: Source | None) -> Name | None:
        """What the frame's formulas call the number, if it has a name there, and keeps its value to the end."""
        if frame.path == UPDATE:
            key = self.key(place, source)
            return None if key is None else (self.letter_of_update(key), key.at, key)
        for letter, a in self._arrays(frame):
            if root(a) is place.whole and a.dtype == place.dtype and (index := locate(a, place.address)) is not None:
                if source is not None and source.event.frame.within(frame) and not self._stays(frame, place, source):
                    return None
                if source is None and self._is_constant(frame, letter, a):
                    return None
                return letter, index, self.key(place, source) or Key(frame.path, letter, index)
        return None

    def _is_constant(self, frame: Frame, letter: str, a: Array) -> bool:
        """Whether an array of a layer was there before the step and is no parameter: a constant of its formulas."""
        ws = frame.ws
        if ws is None or ws.__dict__.get(letter) is not a:
            return False
        return letter not in ws._plan.parameters and letter not in ws._plan.states and letter not in self._given

    def _stays(self, frame: Frame, place: Place, source: Source) -> bool:
        last = self.source(place._replace(before=frame.last))
        return last is not None and last.event.number == source.event.number

    def taken(self, frame: Frame, name: str, of: tuple[int, Index]) -> bool:
        """Whether a name and index stand for another number of the frame; if not, they stand for `of` from now on."""
        if any(letter == name for letter, _ in self._arrays(frame)):
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
                for letter, a in self.own(frame.ws):
                    if root(a) is place.whole and (index := locate(a, place.address)) is not None:
                        is_state = frame.ws is not None and letter in frame.ws._plan.states
                        return Key(frame.path, letter + NEW * is_state, index)
                frame = frame.outer
        for name, a in (*self._given.items(), *self._parameters.items()):
            if root(a) is place.whole and (index := locate(a, place.address)) is not None:
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

    def _arrays(self, frame: Frame) -> Iterator[tuple[str, Array]]:
        letters = (OF_LOSS if frame.path == "loss" else FORWARD).get(frame.method, ())
        yield from ((n, a) for n, a in zip(letters, frame.arguments, strict=False) if isinstance(a, np.ndarray))
        yield from self.own(frame.ws)
        ws = frame.ws
        if ws is not None and "x" in ws.__dict__ and isinstance(ws.x, np.ndarray):
            yield "x", ws.x
        for name, a in self._given.items():
            if name not in ("x", "t"):
                yield name, a

    def own(self, ws: Workspace | None) -> Iterator[tuple[str, Array]]:
        """The arrays of a workspace that are its own, by the names of its formulas."""
        if ws is None:
            return
        for name, a in ws.__dict__.items():
            if isinstance(a, np.ndarray) and name not in HIDDEN and name != "x" and not name.startswith("_"):
                yield name, a
