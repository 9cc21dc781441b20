"""History: loss and metrics of each epoch of a `fit`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class History(Mapping[str, list[float]]):
    """The numbers of each epoch of a `fit`: history["loss"], history["val_loss"], ..., one number an epoch.

    interrupted: whether Ctrl-C or SIGTERM ended it.

    >>> history = History()
    >>> history.append({"loss": 0.5})
    >>> history["loss"]
    [0.5]
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}
        self.interrupted = False
        self.epochs = 0

    def append(self, logs: Mapping[str, float]) -> None:
        """Add an epoch. A number that it, or an epoch before it, does not report is NaN."""
        for name, value in logs.items():
            self._columns.setdefault(name, [float("nan")] * self.epochs).append(value)
        self.epochs += 1
        for column in self._columns.values():
            column += [float("nan")] * (self.epochs - len(column))

    def __getitem__(self, name: str) -> list[float]:
        if name not in self._columns:
            raise KeyError(f"the history has no {name!r}; it has {', '.join(self._columns) or 'nothing yet'}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={column[-1]:.4g}" for name, column in self.items())
        return f"History({self.epochs} epochs; last: {last})" if self.epochs else "History(empty)"
