"""Initializers: initial values of parameters.

With fan_in and fan_out the number of values that meet in one output and that one input reaches, a layer keeps the
variance of what flows forward if Var W = 1/fan_in (LeCun, Bottou, Orr, Müller 1998), of forward and backward alike
if Var W = 2/(fan_in + fan_out) (Glorot, Bengio 2010), and after a ReLU, which drops half, if Var W = 2/fan_in
(He, Zhang, Ren, Sun 2015). A uniform distribution on [-a, a] has variance a²/3.

Values are drawn by NumPy in float64 and then rounded, so that one seed gives the same weights on every device, and
rounded ones of the same in every precision. In exact numerics they are drawn by `ExactGenerator`, and are other ones.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .backends import Shape
from .backends.order import exact_sum
from .config import Configurable, NotNegative
from .formula.host import is_exact_here

Values = np.ndarray[Any, np.dtype[np.float64]]


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of weights (..., inputs, outputs), the axes before these being those of a patch.

    >>> fans((784, 10)), fans((3, 3, 16, 32))
    ((784, 10), (144, 288))
    """
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    patch = math.prod(shape[:-2])
    return patch * shape[-2], patch * shape[-1]


class Initializer(Configurable, ABC):
    """Draws the first values of a parameter. Write your own as a class with this one method.

    exact: whether in exact numerics the values have the same bits on every machine. There rng has the methods random,
    uniform and normal alone, see `ExactGenerator`; what else `draw` computes is + - * / √.

    >>> import numpy as np
    >>> GlorotUniform().draw(np.random.default_rng(0), (2, 1)).shape
    (2, 1)
    """

    exact: ClassVar[bool] = False

    @abstractmethod
    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """Values of `shape` in float64, from `rng`."""


@dataclass(frozen=True, repr=False)
class Zeros(Initializer):
    """All zero.

    >>> import numpy as np
    >>> Zeros().draw(np.random.default_rng(0), (2,))
    array([0., 0.])
    """

    exact = True

    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """Zeros."""
        return np.zeros(shape)


@dataclass(frozen=True, repr=False)
class Constant(Initializer):
    """All `value`.

    >>> import numpy as np
    >>> Constant(2.0).draw(np.random.default_rng(0), (2,))
    array([2., 2.])
    """

    exact = True
    value: float = 0.0

    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """The one value, everywhere."""
        return np.full(shape, float(self.value))


@dataclass(frozen=True, repr=False)
class Normal(Initializer):
    """Normal, with the given standard deviation and mean (Keras's defaults).

    >>> import numpy as np
    >>> Normal(std=0.1).draw(np.random.default_rng(0), (3, 4)).shape
    (3, 4)
    """

    exact = True
    std: NotNegative = 0.05
    mean: float = 0.0

    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """Normal values."""
        return rng.normal(self.mean, self.std, shape)


@dataclass(frozen=True, repr=False)
class Uniform(Initializer):
    """Uniform on [low, high) (Keras's defaults).

    >>> import numpy as np
    >>> bool(abs(Uniform(-1, 1).draw(np.random.default_rng(0), (50,))).max() <= 1)
    True
    """

    exact = True
    low: float = -0.05
    high: float = 0.05

    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """Uniform values."""
        return rng.uniform(self.low, self.high, shape)


@dataclass(frozen=True, repr=False)
class GlorotUniform(Initializer):
    """Uniform, with Var W = 2/(fan_in + fan_out) (Glorot and Bengio 2010).

    >>> import numpy as np
    >>> GlorotUniform().draw(np.random.default_rng(0), (3, 4)).shape
    (3, 4)
    """

    exact = True

    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """Uniform on [-a, a], a²/3 being the variance."""
        a = math.sqrt(3 * (2 / sum(fans(shape))))
        return rng.uniform(-a, a, shape)


@dataclass(frozen=True, repr=False)
class GlorotNormal(Initializer):
    """Normal, with Var W = 2/(fan_in + fan_out) (Glorot and Bengio 2010); not truncated, as in PyTorch.

    >>> import numpy as np
    >>> GlorotNormal().draw(np.random.default_rng(0), (3, 4)).shape
    (3, 4)
    """

    exact = True

    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """Normal with mean 0."""
        return rng.normal(0.0, math.sqrt(2 / sum(fans(shape))), shape)


@dataclass(frozen=True, repr=False)
class HeUniform(Initializer):
    """Uniform, with Var W = 2/fan_in (He, Zhang, Ren and Sun 2015).

    >>> import numpy as np
    >>> HeUniform().draw(np.random.default_rng(0), (3, 4)).shape
    (3, 4)
    """

    exact = True

    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """Uniform on [-a, a], a²/3 being the variance."""
        a = math.sqrt(3 * (2 / fans(shape)[0]))
        return rng.uniform(-a, a, shape)


@dataclass(frozen=True, repr=False)
class HeNormal(Initializer):
    """Normal, with Var W = 2/fan_in (He, Zhang, Ren and Sun 2015); not truncated, as in PyTorch.

    >>> import numpy as np
    >>> HeNormal().draw(np.random.default_rng(0), (3, 4)).shape
    (3, 4)
    """

    exact = True

    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """Normal with mean 0."""
        return rng.normal(0.0, math.sqrt(2 / fans(shape)[0]), shape)


@dataclass(frozen=True, repr=False)
class LeCunUniform(Initializer):
    """Uniform, with Var W = 1/fan_in (LeCun, Bottou, Orr and Müller 1998).

    >>> import numpy as np
    >>> LeCunUniform().draw(np.random.default_rng(0), (3, 4)).shape
    (3, 4)
    """

    exact = True

    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """Uniform on [-a, a], a²/3 being the variance."""
        a = math.sqrt(3 * (1 / fans(shape)[0]))
        return rng.uniform(-a, a, shape)


@dataclass(frozen=True, repr=False)
class LeCunNormal(Initializer):
    """Normal, with Var W = 1/fan_in (LeCun, Bottou, Orr and Müller 1998); not truncated, as in PyTorch.

    >>> import numpy as np
    >>> LeCunNormal().draw(np.random.default_rng(0), (3, 4)).shape
    (3, 4)
    """

    exact = True

    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """Normal with mean 0."""
        return rng.normal(0.0, math.sqrt(1 / fans(shape)[0]), shape)


@dataclass(frozen=True, repr=False)
class Orthogonal(Initializer):
    """Orthonormal rows or columns, whichever are fewer, times `gain` (Saxe, McClelland, Ganguli 2014).

    >>> import numpy as np
    >>> W = Orthogonal().draw(np.random.default_rng(0), (3, 3))
    >>> bool(np.allclose(W @ W.T, np.eye(3)))
    True
    """

    exact = True
    gain: float = 1.0

    def draw(self, rng: np.random.Generator, shape: Shape) -> Values:
        """Q of the QR factorization of normal values, its signs made unique by R's diagonal."""
        rows, columns = math.prod(shape[:-1]), shape[-1]
        normal = rng.normal(size=(max(rows, columns), min(rows, columns)))
        if is_exact_here():
            q = _orthonormal(normal)
        else:
            q, r = np.linalg.qr(normal)
            q *= np.where(np.diag(r) < 0, -1.0, 1.0)
        return np.ascontiguousarray(self.gain * (q if rows >= columns else q.T)).reshape(shape)


def _orthonormal(a: Values) -> Values:
    """The columns of a, made orthonormal one after the other, twice each (Gram and Schmidt): Q of a = Q R, where R's
    diagonal is positive. Sums are in the order of exact numerics."""
    q = np.zeros(a.shape)
    for j in range(a.shape[1]):
        v = a[:, j]
        for _ in range(2):
            along = exact_sum(q[:, :j] * v[:, None], axis=0)
            v = v - exact_sum(q[:, :j] * along, axis=1)
        q[:, j] = v / math.sqrt(exact_sum(v * v))
    return q
