"""WeightsReport: which weights of another library were taken, and which not, with the reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Taken:
    """A layer that got its weights.

    layer: its path here. names: of its parameters and running statistics here. tensors: of the other library, of which
    they were made. by: "name", "order", or "shape and number". notes: what was converted beyond the usual transposing.

    >>> print(Taken("0", ("0.W", "0.b"), ("fc.weight", "fc.bias"), "order"))
    fc.weight, fc.bias -> 0.W, 0.b
    """

    layer: str
    names: tuple[str, ...]
    tensors: tuple[str, ...]
    by: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        line = f"{', '.join(self.tensors)} -> {', '.join(self.names)}"
        return line + "".join(f"\n    {note}" for note in self.notes)


@dataclass(frozen=True)
class WeightsReport:
    """What of another library's weights a network took.

    library: which. taken: the layers that got weights, in their order. missing: path of a layer that got none -> why.
    unused: name of a tensor that was not used -> why. notes: of the whole network.

    >>> print(WeightsReport("PyTorch", (Taken("0", ("0.W",), ("fc.weight",), "name"),), {"2": "there is none"}, {}))
    taken from PyTorch by name:
      fc.weight -> 0.W
    left as they were:
      2: there is none
    """

    library: str
    taken: tuple[Taken, ...]
    missing: Mapping[str, str]
    unused: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every layer with parameters got its weights, and every tensor was used."""
        return not self.missing and not self.unused

    def __str__(self) -> str:
        lines: list[str] = []
        for by in ("name", "order", "shape and number"):
            lines += _section(f"taken from {self.library} by {by}", [str(one) for one in self.taken if one.by == by])
        lines += _section("left as they were", [_line(name, why) for name, why in self.missing.items()])
        lines += _section("not used", [_line(name, why) for name, why in _by_reason(self.unused)])
        return "\n".join([*lines, *_section("to know", self.notes)])


def _line(name: str, why: str) -> str:
    return f"{name}: {why}" if name else why


def _by_reason(reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names that share a reason in one line."""
    names: dict[str, list[str]] = {}
    for name, why in reasons.items():
        names.setdefault(why, []).append(name)
    return [(", ".join(of), why) for why, of in names.items()]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in lines)] if lines else []
