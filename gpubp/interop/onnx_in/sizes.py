"""Size: the length of an axis that the file leaves open, such as the number of rows, in arithmetic of shapes.

A graph computes with its own shapes, as in Reshape(x, [x.shape[0], -1]). Where an axis has any length B, such a
computation is done with B itself: 3 B is a Size with the factor 3, and B + 1 is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MOST_NAMES = 64  # of lengths in one product


class NoSize(ValueError):
    """What comes out of a computation with lengths that are not known is no product of them.

    >>> issubclass(NoSize, ValueError)
    True
    """


@dataclass(frozen=True)
class Size:
    """factor times the product of the lengths that `names` stand for.

    >>> B = Size(1, ("B",))
    >>> 3 * B, (B * 6) // 2, (6 * B) // B, B == -1
    (3·B, 3·B, 6, False)
    """

    factor: int
    names: tuple[str, ...]

    def __repr__(self) -> str:
        return "·".join([str(self.factor)] * (self.factor != 1) + list(self.names))

    def __mul__(self, other: Any) -> Any:
        names = self.names + other.names if isinstance(other, Size) else self.names
        factor = self.factor * (other.factor if isinstance(other, Size) else int(other))
        if len(names) > MOST_NAMES or abs(factor) >= 2**63:  # squares of squares would need all memory
            raise NoSize(f"{self} · {other} is no length of an axis")
        return Size(factor, tuple(sorted(names))) if factor else 0

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        found = divided(self, other)
        if found is None:
            raise NoSize(f"{self} / {other}")
        return found

    __truediv__ = __floordiv__

    def __rfloordiv__(self, other: Any) -> Any:
        raise NoSize(f"{other} / {self}")

    __rtruediv__ = __rfloordiv__

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Size) and other.names == self.names:
            return Size(self.factor + other.factor, self.names)
        if other == 0:
            return self
        raise NoSize(f"{self} + {other}")

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, Size) and other.names == self.names:
            left = self.factor - other.factor
            return Size(left, self.names) if left else 0
        return self + (-1 * other)

    def __rsub__(self, other: Any) -> Any:
        return self * -1 + other

    def __neg__(self) -> Any:
        return self * -1


Length = int | Size


def divided(a: Any, b: Any) -> Any:
    """a / b where that is a whole number or a Size; None where it is neither.

    >>> B = Size(1, ("B",))
    >>> divided(12, 4), divided(12, 5), divided(6 * B, 2 * B), divided(2, B)
    (3, None, 3, None)
    """
    if b == 0:
        return None
    factor, names = (a.factor, list(a.names)) if isinstance(a, Size) else (int(a), [])
    by, without = (b.factor, b.names) if isinstance(b, Size) else (int(b), ())
    for name in without:
        if name not in names:
            return None
        names.remove(name)
    if factor % by:
        return None
    return Size(factor // by, tuple(names)) if names else factor // by
