"""Backend: the interface that the CPU backend and the CUDA backend implement.

NumPy and CuPy spell most of array computing alike, and where they do, code calls `backend.xp` and nothing else
is needed. The methods here are what is left: the things in which the two libraries, or the two kinds of
machine, really differ. Each says why it exists.

A backend object is cheap and belongs to one workspace: two threads never share one, and so never share a
record or a scratch buffer. `another()` gives a second stream of work on the same device.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ..formula import Program
from .arrays import Array, Shape
from .lowering import Place, form_of, lower, traced, type_of
from .recording import Call
from .sums import Sums


class Backend(Sums):
    """One stream of work on one device.

    name: the device as a user spells it, "cpu" or "cuda:0".
    xp: the array module. While a step is recorded it notes what is called and refuses what can't be repeated.
    warmup: how often a step must run before it can be captured; 0 in both backends.
    precision: in which products are computed, "float32" (as all else), "tf32" or "bfloat16".
    autotune: whether a GPU times its library's kernels for each product and takes the fastest.
    numerics: "ordinary", or "exact", which has the same bits on every machine (`order.py`).
    block: on how many numbers a formula of several passes works at a time: a CPU is faster on what stays in its cache,
    a GPU on all at once.
    piece: of about how many numbers the matrices of patches are that convolutions make and multiply at a time.
    outputs: how many arrays one call of a formula writes at best.
    tiles: of how many rows the tiles are in which a network predicts; a row has the same bits in each.
    evaluated: at most so many rows are evaluated at once.
    independent_rows: whether a row of a product must have the same bits at every place and among any number of rows,
    which a CPU's BLAS does not give. pool: the threads that may share such a product, a ThreadPoolExecutor.

    >>> from gpubp.backends import get_backend
    >>> be = get_backend("cpu")
    >>> be.name, be.xp.add(1, 2).item()
    ('cpu', 3)
    """

    name: str
    precision: str = "float32"
    autotune: bool = False
    numerics: str = "ordinary"
    warmup: int
    block: int
    piece: int
    outputs: int
    tiles: tuple[int, ...] = (128,)
    evaluated: int = 256
    independent_rows: bool = False
    pool: Any = None

    def __init__(self) -> None:
        self._constants: dict[tuple[float, Any], Any] = {}
        self._scratch: dict[int | str, Array] = {}
        self._calls: list[Call] | None = None  # of the step that is being recorded

    # -- arrays -----------------------------------------------------------------------------------------------

    @abstractmethod
    def empty(self, shape: Shape, dtype: Any) -> Array:
        """A new array aligned for the device's vector unit: NumPy promises 16 bytes, SIMD wants 64."""

    def zeros(self, shape: Shape, dtype: Any) -> Array:
        """A new array of zeros."""
        a = self.empty(shape, dtype)
        a[...] = 0
        return a

    @abstractmethod
    def _make_constant(self, value: float, dtype: Any) -> Any: ...

    def constant(self, value: float, dtype: Any) -> Any:
        """A number as an operand: NumPy is fastest with a 0-d array, CuPy takes scalars into the kernel."""
        key = (value, np.dtype(dtype))
        if key not in self._constants:
            self._constants[key] = self._make_constant(value, dtype)
        return self._constants[key]

    @abstractmethod
    def owns(self, a: Any) -> bool:
        """Whether `a` is an array of this backend's library, and so needs no copy to be computed with."""

    @abstractmethod
    def to_device(self, a: Any, dtype: Any = None) -> Array:
        """`a` (NumPy, CuPy, DLPack, `__array__`, lists) as an array of this device, copied only if need be."""

    @abstractmethod
    def to_host(self, a: Array) -> np.ndarray[Any, Any]:
        """The array as NumPy's; it waits for the device."""

    @abstractmethod
    def stage(self, out: Array, source: Array, rows: Any = None) -> None:
        """out[i] = source[rows[i]], or source itself: puts a batch, from host or device, into its fixed place."""

    @abstractmethod
    def put(self, out: Array, values: Any) -> None:
        """out[...] = values, a few numbers from the host, such as the learning rate of the coming step."""

    @abstractmethod
    def keeps_on_device(self, size: int) -> bool:
        """Whether data of `size` bytes should be copied to the device for as long as they are trained on: from a GPU's
        own memory a step takes its batch by itself, and the host sends row numbers only."""

    @abstractmethod
    def gather(self, source: Array, rows: Array, out: Array) -> Array:
        """out[i] = source[rows[i]], both on the device and in the step: `take` differs in what it allocates.

        Nothing checks that rows[i] is from 0 to len(source) - 1: a layer checks numbers of X in `check_data`."""

    def next_batch(
        self, sources: tuple[Array, Array], places: tuple[Array, Array], ahead: tuple[Array, ...], count: Array
    ) -> None:
        """What a step begins with where its data are on the device: places = sources[its rows], of inputs and targets,
        numbers = table[k], and k + 1 into count, with k = count[0]. ahead: order (steps * rows,) int64, the rows of the
        steps to come; table (steps, n) and numbers (n,) of bytes; if given, the same of floats. Here it is a few calls;
        a device that can do it in one overrides this."""
        order, *given = ahead
        mine = self.scratch("rows of a step", (1, len(places[0])), np.int64)
        self.gather(order.reshape(-1, mine.size), count, mine)
        for source, place in zip(sources, places, strict=True):
            self.gather(source, mine.reshape(-1), place)
        for table, numbers in zip(given[::2], given[1::2], strict=True):
            self.gather(table, count, numbers.reshape(1, -1))
        self.xp.add(count, 1, out=count)

    @abstractmethod
    def arithmetic(self) -> dict[str, str]:
        """What decides how numbers are rounded, by name: libraries, their versions and kernels."""

    @property
    def recording(self) -> bool:
        """Whether a step is being recorded."""
        return self._calls is not None

    @property
    def noted(self) -> Sequence[Call]:
        """The calls of the step that is being recorded, so far."""
        return self._calls or ()

    @abstractmethod
    def time(self, calls: Sequence[Call], rounds: int) -> list[float]:
        """Make the calls, round after round, and say how many seconds each takes, the median over the rounds: by the
        host's clock on a CPU, by events on a GPU, where the host is ahead of the work."""

    # -- computing --------------------------------------------------------------------------------------------

    @abstractmethod
    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call now and, while a step is recorded, again at every replay. For functions outside `xp`."""

    @abstractmethod
    def gemm(self, a: Array, b: Array, out: Array, exact: bool = False) -> Array:
        """out = a b, matrices. The libraries' own have different fast paths, and CuPy's can't be captured. exact: for
        products that are sums over rows, whatever `precision` the others have."""

    def gemm_over_rows(self, a: Array, b: Array, out: Array, rows: int) -> Array:
        """out = aᵀ b, a sum over the rows of the batch, of which each has len(a) / rows lines in a and b. Exact
        numerics sums in an order that goes by the rows, so that several workers give the same bits.

        >>> import numpy as np
        >>> from gpubp.backends import get_backend
        >>> x, dy, dW = np.ones((6, 2)), np.ones((6, 1)), np.empty((2, 1))
        >>> get_backend("cpu").gemm_over_rows(x, dy, out=dW, rows=6).tolist()
        [[6.0], [6.0]]
        """
        return self.gemm(a.T, b, out=out)

    @abstractmethod
    def batched_gemm(self, a: Array, b: Array, out: Array) -> Array:
        """out[..., :, :] = a[..., :, :] b[..., :, :], for stacks of matrices with the same leading axes, which may be
        views, such as transposed ones and the heads in (B, T, H, d); out shares no number with a and b.

        >>> import numpy as np
        >>> from gpubp.backends import get_backend
        >>> a, b, c = np.ones((3, 1, 2)), np.ones((3, 2, 1)), np.empty((3, 1, 1))
        >>> get_backend("cpu").batched_gemm(a, b, out=c).ravel()
        array([2., 2., 2.])
        """

    @abstractmethod
    def dot(self, a: Array, b: Array, out: Array, total: Array | None = None) -> Array:
        """out = Σᵢ aᵢ bᵢ of two vectors into a 0-d array, and total += out in float64: BLAS on the CPU, a reduction on
        the GPU."""

    def add_row(self, a: Array, row: Array, out: Array) -> Array:
        """out = a + row, to every row of a matrix: on the CPU short rows are slow as they are."""
        self.xp.add(a, row, out=out)
        return out

    def _max_last(self, a: Array, out: Array) -> None:
        self.xp.max(a, axis=-1, keepdims=True, out=out)

    def piece_for(self, workers: int) -> int:
        """`piece`, or another number where so many workers share a step; always the same for one backend."""
        return self.piece

    @abstractmethod
    def random_mask(self, out: Array, threshold: int, key: tuple[int, int], step: Array, first: int = 0) -> Array:
        """out[i] = whether number first + i is kept at step `step[0]`: see `philox.py`. NumPy's and CuPy's own
        generators never agree, and their state could not be replayed."""

    @abstractmethod
    def random_uniform(self, out: Array, key: tuple[int, int], step: Array, first: int = 0) -> Array:
        """out[i] = number first + i of step `step[0]`, from 0 to below 1; 8 divides first. Counted as masks are."""

    @abstractmethod
    def patches(self, x: Array, out: Array, stride: Shape, padding: Shape, dilation: Shape | None = None) -> Array:
        """out (B, h, w, kh, kw, C) = what lies under windows on images x (B, H, W, C), 0 outside, see `cpu/patches.py`:
        strided copies on the CPU, one kernel on a GPU. The other arguments have a number for each axis of space."""

    @abstractmethod
    def sample(self, x: Array, theta: Array, out: Array) -> Array:
        """out = pictures x (B, H, W, C) seen through affine maps θ (B, 6), see `cpu/sampling.py`: gathers on the CPU,
        one kernel on a GPU."""

    @abstractmethod
    def sample_adjoint(self, dy: Array, theta: Array, out: Array) -> Array:
        """out = ∂/∂x of Σ dy · sample(x, θ), in a fixed order: libraries have atomics for it, or nothing."""

    @abstractmethod
    def scatter_rows(self, a: Array, rows: Array, out: Array, rows_of_batch: int | None = None) -> Array:
        """out[k] = Σ of a[i] over all i with rows[i] = k, in the order of i: CuPy's own adds in any order. rows are not
        checked, see `gather`. rows_of_batch: exact numerics sums by them, see `cpu/exact/scattering.py`."""

    @abstractmethod
    def write_at(self, places: Array, count: Array, a: Array) -> None:
        """places[k + j, i] = a[i, j] with k = count[()], at most so that all fit; both contiguous. count: 0-d float64,
        counted on the device, where NumPy's index is a number of the host."""

    def apply(self, f: Callable[..., Any], *inputs: Array, out: Any) -> Any:
        """out = f(*inputs), elementwise with broadcasting, by a formula (see `gpubp.formula`).

        out: one array, or as many as `f` returns. An output may be one of the inputs. Here the formula runs as one
        ufunc call an operation; a device that can do it in one pass overrides this.

        >>> import numpy as np
        >>> from gpubp.backends import get_backend
        >>> x, y = np.array([1.0, 2.0]), np.empty(2)
        >>> get_backend("cpu").apply(lambda x: x * x + 1.0, x, out=y)
        array([2., 5.])
        """
        outs = out if isinstance(out, tuple) else (out,)
        dtype = type_of(inputs, outs)
        self._compute(traced(f, len(inputs), len(outs), self.numerics, dtype.name), inputs, outs, dtype)
        return out

    def _compute(self, program: Program, inputs: Sequence[Array], outs: Sequence[Array], dtype: Any) -> None:
        """outs = the program's outputs, one call an operation. dtype: of its constants and intermediate numbers."""
        lowered = lower(program, *form_of(inputs, outs))

        scratch: dict[Place, Array] = {}  # one object a place: CuPy copies an input that overlaps the output

        def array(place: Place) -> Any:
            match place.kind:
                case "input":
                    return inputs[place.number]
                case "out":
                    return outs[place.number]
                case "constant":
                    return self.constant(place.value, dtype)
            if place not in scratch:
                scratch[place] = self.scratch(place.number, place.shape, np.bool_ if place.is_bool else dtype)
            return scratch[place]

        for operation, operands, target in lowered:
            if operation == "copy":
                self.xp.copyto(array(target), array(operands[0]))
            elif operation == "row_sum":
                self.sum_last(array(operands[0]), out=array(target))
            elif operation == "row_max":
                self._max_last(array(operands[0]), array(target))
            else:
                self._operate(getattr(self._library, operation), [array(o) for o in operands], array(target))

    def _operate(self, ufunc: Any, operands: list[Any], out: Array) -> None:
        """One operation of a formula."""
        self.run(ufunc, *operands, out=out)

    @property
    @abstractmethod
    def _library(self) -> Any:
        """The array module itself, without recording."""

    reuses_memory = True  # whether arrays that are never needed at once should lie in one place
    places = 2  # that such arrays take turns in

    def scratch(self, slot: int | str, shape: Shape, dtype: Any) -> Array:
        """Memory for values that die within one formula; all of this stream share it. Numbered slots are `apply`'s."""
        dtype = np.dtype(dtype)
        count = math.prod(shape)
        held = self._scratch.get(slot)
        if held is None or held.size < count * dtype.itemsize:
            held = self._scratch[slot] = self.empty((max(count * dtype.itemsize, 64),), np.uint8)
        return held[: count * dtype.itemsize].view(dtype).reshape(shape)

    def forget_scratch(self) -> None:
        """Free scratch memory. What a record uses is freed with the record."""
        self._scratch.clear()

    def check_finite(
        self, total: Array, loss: Array | None, alive: Array, bad: Array, good: Array, latch: bool
    ) -> None:
        """alive = total + loss is finite (and alive, with `latch`), bad = not alive, good += alive; all 0-d. A GPU must
        not read them; a CPU is quicker with Python's numbers."""
        xp = self.xp
        if loss is not None:
            xp.add(total, loss, out=total)
        if latch:
            xp.isfinite(total, out=bad)
            xp.logical_and(alive, bad, out=alive)
        else:
            xp.isfinite(total, out=alive)
        xp.logical_not(alive, out=bad)
        xp.add(good, alive, out=good)

    def run_if(
        self, alive: Array, bad: Array, update: Callable[[], Any], changes: Sequence[Array], kept: dict[Any, Array]
    ) -> None:
        """`update()`, which changes the arrays `changes`, if alive[()]. A graph has no branches: there everything is
        computed, and put back under a mask. kept: memory for that, filled at the first call."""
        kept.update({id(a): self.empty(a.shape, a.dtype) for a in changes if id(a) not in kept})
        places = [kept[id(a)] for a in changes]
        for a, place in zip(changes, places, strict=True):
            self.xp.copyto(place, a)
        update()
        for a, place in zip(changes, places, strict=True):
            self.xp.copyto(a, place, where=bad)

    # -- steps ------------------------------------------------------------------------------------------------

    @abstractmethod
    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """Run `step`, noting what it does, and return a function that does the same again.

        On the CPU that is a flat list of calls, which takes the layers' Python out of the loop; on a GPU one
        CUDA graph.
        """

    @abstractmethod
    def active(self) -> AbstractContextManager[Any]:
        """Everything that computes runs inside `with backend.active():`, for the device and stream on a GPU, and
        on the CPU so that overflow is as silent as it is there: the loss tells of it."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all that was asked of the device is done; on the CPU it always is."""

    @abstractmethod
    def memory(self) -> tuple[int, int]:
        """(free, total) bytes of the device's memory."""

    @abstractmethod
    def another(self) -> Backend:
        """A second stream of work on the same device, for another workspace or thread."""

    @abstractmethod
    def __reduce__(self) -> Any:
        """A pickle holds the device, the precision and autotune, and gives a new stream of work."""

    def __copy__(self) -> Backend:
        return self.another()

    def __deepcopy__(self, memo: Any) -> Backend:
        return self.another()
