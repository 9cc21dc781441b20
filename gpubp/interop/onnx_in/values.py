"""What a name in an ONNX graph can stand for while the graph is read.

Most nodes are not layers by themselves: MatMul and Add are one Dense, and eight nodes are one GELU. So a node gives a
value that says what is known, and becomes a layer only where the next node needs its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...layers import Layer
from .layout import Axis, Layout
from .sizes import Length

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Const:
    """An array that the file holds, or that follows from it; whole numbers may be Sizes, in an array of objects.

    name: of the tensor, for messages.

    >>> Const(np.zeros(2)).array.shape
    (2,)
    """

    array: Array
    name: str = ""

    def __post_init__(self) -> None:
        if self.array.dtype.kind == "O" and all(isinstance(n, int) for n in self.array.reshape(-1).tolist()):
            object.__setattr__(self, "array", self.array.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Filled:
    """One row of an array, repeated: a constant whose shape may depend on the number of rows. It has no memory.

    array: what is repeated by the rules of broadcasting. shape: of the whole.

    >>> Filled(np.zeros(()), (2, 3)).shape
    (2, 3)
    """

    array: Array
    shape: tuple[Length, ...]


@dataclass(frozen=True, eq=False)
class Data:
    """The output of a step, or the network's input, which is step 0. words: whether the file counts with it.

    >>> Data.__name__
    'Data'
    """

    step: int
    layout: Layout
    words: bool = False


@dataclass(frozen=True, eq=False)
class Term:
    """A function of one number x: an operator with its operands, each a Term, a number, or "x".

    node: the node that it came from. depth: of operators within each other.

    >>> Term("Mul", ("x", Term("Sigmoid", ("x",)))).depth
    2
    """

    op: str
    operands: tuple[Any, ...]
    node: Any = None
    more: tuple[float, ...] = ()

    @property
    def depth(self) -> int:
        """How many operators stand within each other."""
        depth = self.__dict__.get("_depth")
        if depth is None:
            depth = 1 + max((o.depth for o in self.operands if isinstance(o, Term)), default=0)
            object.__setattr__(self, "_depth", depth)
        return int(depth)


@dataclass(frozen=True, eq=False)
class Expr:
    """A function, number by number, of some data: an activation, or a part of one.

    >>> Expr.__name__
    'Expr'
    """

    base: Data
    term: Any

    @property
    def layout(self) -> Layout:
        """As the data's."""
        return self.base.layout


@dataclass(frozen=True, eq=False)
class Linear:
    """factor · (x W + b), of a Dense or a convolution that has not become a step yet.

    make: from units, and whether there is a bias, to the layer. W: its last axis are the units. units: the parts of
    that axis. attention: what is projected, where x W is the end of an attention. groups: of a convolution. nodes:
    that it is made of. made: the step, once there is one, in a list that values share which differ in their layout
    alone. unscaled: the same before numbers were multiplied and added, and what they come to, (before, a, c) of
    a · before + c, because a formula may need both. stored: gives W as the layer has it; None for as it is.

    >>> Linear.__name__
    'Linear'
    """

    x: Data
    make: Callable[[int, bool], Layer]
    W: Array
    units: Axis
    layout: Layout
    nodes: tuple[Any, ...]
    b: Array | None = None
    factor: float = 1.0
    attention: Any = None
    groups: int = 1
    made: list[int] = field(default_factory=list)
    unscaled: tuple[Linear, float, float] | None = None
    stored: Callable[[Array], Array] | None = None


@dataclass(frozen=True, eq=False)
class Later:
    """Data of a step that is made where it is needed, as of the one output of several that is used.

    make: the step. made: its number, once there is one, shared by values which differ in their layout alone.

    >>> Later.__name__
    'Later'
    """

    make: Callable[[Any], Data]
    layout: Layout
    made: list[int] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Joined:
    """Values one after the other along an axis of the file's tensor, with the lengths that they have there.

    made: the data, once they are made, so that what is joined again and again is made once.

    >>> Joined.__name__
    'Joined'
    """

    values: tuple[Any, ...]
    lengths: tuple[Length, ...]
    axis: int
    layout: Layout
    node: Any
    made: list[Data] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Scaled:
    """a x + c, for each of the numbers along `axis`, before a Dense or a convolution.

    axis: parts of the data's axes; none where a and c are one number.

    >>> Scaled.__name__
    'Scaled'
    """

    x: Data
    axis: Axis
    a: Array
    c: Array
    layout: Layout
    nodes: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Statistic:
    """A part of a LayerNorm on its way: "mean", "centered", "squares", "variance", "deviation" or "reciprocal".

    axis: the parts that the mean is over. eps: what was added to the variance. norm: "layer", or "rms" where the
    variance is the mean of x² itself.

    >>> Statistic.__name__
    'Statistic'
    """

    kind: str
    x: Data
    axis: Axis
    layout: Layout
    node: Any
    eps: float = 0.0
    norm: str = "layer"


@dataclass(frozen=True, eq=False)
class Normalized:
    """gamma · (x - mean) / √(var + eps) + beta, which has not become a step yet.

    kind: "layer", with mean and var over the parts `axis`, "rms", the same without the mean, or "group", over places
    and `groups` groups of channels. axis: the parts of gamma and beta, which of "group" are those of the channels.

    >>> Normalized.__name__
    'Normalized'
    """

    x: Data
    axis: Axis
    eps: float
    layout: Layout
    nodes: tuple[Any, ...]
    gamma: Array | None = None
    beta: Array | None = None
    made: list[int] = field(default_factory=list)
    kind: str = "layer"
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Piece:
    """Some of the numbers of data along one axis: those from `start` to below `stop`.

    whole: the data. axis: of its tensor. layout: of the piece. part: of that axis now, none for a single place.

    >>> Piece.__name__
    'Piece'
    """

    whole: Data
    axis: int
    start: int
    stop: int
    layout: Layout
    node: Any
    part: Axis = ()


@dataclass(frozen=True, eq=False)
class Attending:
    """An attention on its way: "scores" Q Kᵀ, "shares" softmax(scores), or "mixed" shares · V.

    Q, K, V: the projections, heads and dims: the parts of their units. factor: of the scores.

    >>> Attending.__name__
    'Attending'
    """

    kind: str
    Q: Linear
    K: Linear
    layout: Layout
    nodes: tuple[Any, ...]
    factor: float = 1.0
    causal: bool = False
    heads: Axis = ()
    V: Linear | None = None


@dataclass(frozen=True, eq=False)
class Padded:
    """Images with zeros around them, which the next convolution takes as its padding.

    >>> Padded.__name__
    'Padded'
    """

    x: Data
    before: tuple[int, ...]
    after: tuple[int, ...]
    layout: Layout
    node: Any


@dataclass(frozen=True, eq=False)
class Ending:
    """Probabilities of data: a layer, but at the end of a network, where the loss computes them.

    kind: "Softmax" or "LogSoftmax". axis: the parts that it is over. made: the step, once there is one.

    >>> Ending.__name__
    'Ending'
    """

    kind: str
    x: Data
    layout: Layout
    node: Any
    axis: Axis
    made: list[int] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Unknown:
    """What nobody knows, because a node before could not be read; that has been noted.

    >>> Unknown().layout is None
    True
    """

    layout: Layout | None = None


Value = (
    Const | Filled | Data | Later | Joined | Expr | Linear | Statistic | Normalized | Piece | Attending | Padded
    | Ending | Scaled | Unknown
)  # fmt: skip
