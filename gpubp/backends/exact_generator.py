"""Random numbers with the same bits on every machine: from the raw words of NumPy's generator, by exact numerics.

    uniform    u = ⌊x / 2¹¹⌋ 2⁻⁵³ of a word x of 64 bits: one of 2⁵³ numbers from 0 to below 1
    normal     z₁ = √(-2 log(1 - u₁)) cos(2π u₂),  z₂ = √(-2 log(1 - u₁)) sin(2π u₂)         (Box and Muller 1958)

NumPy's own normal values take logarithms of the C library, and are other ones.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np

from ..errors import ExactError
from ..formula.elementary import cos64, log64, sin64

Values = np.ndarray[Any, np.dtype[np.float64]]


class ExactGenerator:
    """What initializers draw from in exact numerics: three methods of NumPy's `Generator`.

    bits: NumPy's bit generator.

    >>> rng = ExactGenerator(np.random.PCG64(0))
    >>> rng.normal(size=(2, 3)).shape, rng.uniform(-1.0, 1.0, 2).round(3).tolist()
    ((2, 3), [0.213, 0.459])
    """

    def __init__(self, bits: Any) -> None:
        self.bit_generator = bits

    def random(self, size: Any = None) -> Any:
        """Uniform on [0, 1)."""
        words = np.asarray(self.bit_generator.random_raw(_count(size)), np.uint64)
        return _shaped((words >> np.uint64(11)).astype(np.float64) * 2.0**-53, size)

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = None) -> Any:
        """Uniform on [low, high)."""
        return (high - low) * self.random(size) + low

    def normal(self, loc: float = 0.0, scale: float = 1.0, size: Any = None) -> Any:
        """Normal, with mean `loc` and standard deviation `scale`."""
        count = _count(size)
        u = self.random((-(-count // 2), 2))
        radius, angle = np.sqrt(-2.0 * log64(1.0 - u[:, 0])), (2.0 * math.pi) * u[:, 1]
        z = np.stack([radius * cos64(angle), radius * sin64(angle)], axis=1).reshape(-1)[:count]
        return _shaped(scale * z + loc, size)

    def __getattr__(self, name: str) -> NoReturn:
        raise ExactError(
            f'rng.{name} has other bits on other machines, and numerics="exact" has none of that; an initializer draws '
            "by rng.random, rng.uniform and rng.normal"
        )


def _count(size: Any) -> int:
    return 1 if size is None else math.prod(size) if isinstance(size, tuple | list) else int(size)


def _shaped(values: Values, size: Any) -> Any:
    return float(values[0]) if size is None else values.reshape(size)
