"""Epilogues: a matrix product and the calls after it in a record become one call of cublasLt.

A layer says one thing at a time, y = x W, y += b, then ReLU; the list of a whole step shows what follows what and who
reads what, and so here, and not in the layers, products are joined with what is done to them:

    (1)  y = a b,  y += bias                      one product with the epilogue "bias"
    (2)  (1),  r = max(y, 0)                      "relu_bias", if nobody else reads y
    (3)  dW = xᵀ dy,  db = Σ dy                   "bgrada"
    (4)  dx = dy Wᵀ,  dz = dx [r > 0],  Σ dz      "drelu_bgrad", with the mask kept by (2), if nobody else reads dx
    (5)  (1),  r = max(y, 0)                      where (2) can't keep the mask that (4) needs: "bias", and gpubp's own
                                                  kernel, which makes r and the mask (`own_masks.py`)

Joined is what cublasLt says that it has on this device. Each joined call keeps the calls it stands for, and makes those
where the product fails all the same. The numbers are those of the calls, rounded at the same places; but where r is 0,
(4) gives 0 for dx = NaN or ∞ too, where the calls give NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ...formula import Program, maximum, trace
from ..arrays import Array, may_share
from ..lowering import traced
from ..recording import Call, address
from .cublaslt_layouts import CublasLtUnavailable, aux_shape
from .effects import effects, is_read, touches

if TYPE_CHECKING:
    from .launches import Launches

RELU = trace(lambda x: maximum(x, 0.0), 1)
RELU_GRADIENT = trace(lambda x, y, dy: dy * (y > 0.0), 3)


def fuse(calls: list[Call], do: Launches, zeros: Callable[..., Array]) -> list[Call]:
    """The same step in fewer calls; `zeros` makes the arrays that masks need."""
    return _Fusion(calls, do, zeros).fused() if do.epilogues else calls


class _Fusion:
    """A list of calls that gets shorter. Where two became one, the second place holds None."""

    def __init__(self, calls: list[Call], do: Launches, zeros: Callable[..., Array]) -> None:
        self.calls: list[Call | None] = list(calls)
        self.do, self.zeros = do, zeros

    def fused(self) -> list[Call]:
        self.calls = list(self.cast_once())
        for join in (self.biased, self.with_relu, self.through_relu, self.with_bias_gradient):
            for i, (call, after) in enumerate(zip(self.calls, self.calls[1:], strict=False)):
                if call is self.calls[i] and call is not None and after is not None:
                    product = join(i, call, after)
                    if product is not None:
                        self.calls[i : i + 2] = [product.call(), None]
            self.calls = [call for call in self.calls if call is not None]
        return [call for call in self.calls if call is not None]

    def cast_once(self) -> Iterator[Call]:
        """A matrix is cast to bfloat16 once, however many products read it until it is written again."""
        cast: dict[tuple[int, int], Array] = {}
        for call in self.calls:
            assert call is not None
            if call.function == self.do.halve:
                (a,) = call.args
                if (address(a), a.size) not in cast:
                    cast[address(a), a.size] = a
                    yield call
                continue
            yield call
            written = effects(call, self.do).writes
            cast = {key: a for key, a in cast.items() if not any(may_share(a, w) for w in written)}

    def biased(self, i: int, call: Call, after: Call) -> _Product | None:
        """(1)"""
        if call.function != self.do.product or after.function != self.do.cupy.add or list(after.kwargs) != ["out"]:
            return None
        out, (y, bias) = call.kwargs["out"], after.args
        if not (_same(y, out) and _same(after.kwargs["out"], out)):
            return None
        if getattr(bias, "shape", None) != out.shape[1:] or bias.dtype != out.dtype:
            return None
        return self.offered(_Product(self.do, call, out, [call, after], {"bias": bias, "epilogue": "bias"}))

    def with_relu(self, i: int, call: Call, after: Call) -> _Product | None:
        """(2)"""
        biased = _joined(call)
        if biased is None or self.program(after) != RELU:
            return None
        x, r = after.args[1], after.kwargs["out"]
        if not _same(x, biased.out) or not _like(r, biased.out) or self.outlives(biased.out, i):
            return None
        finish = {"bias": biased.finish["bias"], "epilogue": "relu_bias"}
        out = r.reshape(biased.out.shape)
        return self.offered(_Product(self.do, biased.plain[0], out, [*biased.plain, after], finish))

    def through_relu(self, i: int, call: Call, after: Call) -> _Product | None:
        """(4)"""
        if call.function != self.do.product or self.program(after) != RELU_GRADIENT:
            return None
        _, _, r, dx = after.args
        out, dz = call.kwargs["out"], after.kwargs["out"]
        if not _same(dx, out) or not _like(dz, out) or self.outlives(out, i):
            return None
        at = self.rectified(r, i)
        if at is None:
            return None
        for masked in (self.masked, self.own_masked):
            forward = masked(at)
            if forward is None or out.shape != forward.out.shape:  # a mask has rows of its own
                continue
            joined = self.with_mask_of(forward, i, call, after)
            if joined is not None:
                self.put(forward, at)
                return joined
        return None

    def with_mask_of(self, forward: _Product, i: int, call: Call, after: Call) -> _Product | None:
        """(4), by the mask that (2) or (5) keeps."""
        out, dz = call.kwargs["out"], after.kwargs["out"]
        finish = {"epilogue": "drelu", "aux": forward.finish["aux"]}
        k = self.sum_of(dz, i)
        if k is not None:
            summing = self.calls[k]
            assert summing is not None
            both = finish | {"epilogue": "drelu_bgrad", "bias_gradient": summing.kwargs["out"]}
            joined = _Product(self.do, call, dz.reshape(out.shape), [call, after, summing], both, forward)
            if self.offered(joined) is not None:
                self.calls[k] = None
                return joined
        return self.offered(_Product(self.do, call, dz.reshape(out.shape), [call, after], finish, forward))

    def with_bias_gradient(self, i: int, call: Call, after: Call) -> _Product | None:
        """(3)"""
        if call.function != self.do.product or not self.sums(after, call.args[1]):
            return None
        finish = {"epilogue": "bgrada", "bias_gradient": after.kwargs["out"]}
        return self.offered(_Product(self.do, call, call.kwargs["out"], [call, after], finish))

    def offered(self, product: _Product) -> _Product | None:
        """The product, if cublasLt has it."""
        own = {"own_mask": True} if isinstance(product.mask, _OwnMask) else {}
        return None if self.do.why_not(*product.operands, product.out, **product.finish, **own) else product

    def rectified(self, r: Array, i: int) -> int | None:
        """The call of a ReLU, or of a product with one, whose result still lies in r at call i."""
        for k in reversed(range(i)):
            call = self.calls[k]
            product = _joined(call)
            if product is not None and product.rectifies and _same(product.out, r):
                return k
            if product is None and call is not None and self.program(call) == RELU and _same(call.kwargs["out"], r):
                return k
            if touches(call, [r], self.do):
                return None
        return None

    def masked(self, at: int) -> _Product | None:
        """Call `at`, if it is a product that keeps a mask, or that could."""
        product = _joined(self.calls[at])
        if product is None or "aux" in product.finish:
            return product
        out = product.out
        finish = product.finish | {"epilogue": "relu_aux_bias"}
        finish["aux"] = self.zeros(*aux_shape("relu_aux_bias", out.shape, out.dtype))
        return self.offered(_Product(self.do, product.plain[0], out, product.plain, finish))

    def own_masked(self, at: int) -> _Product | None:
        """(5), of call `at` and the one before, or of what call `at` stands for; if it keeps no mask yet."""
        product = _joined(self.calls[at])
        if product is not None:
            plain, bias = product.plain, product.finish["bias"]
        else:
            biased, relu = _joined(self.calls[at - 1]) if at else None, self.calls[at]
            assert relu is not None
            if biased is None or biased.finish["epilogue"] != "bias" or biased.rectifies:
                return None
            if not _same(relu.args[1], biased.out):
                return None
            plain, bias = [*biased.plain, relu], biased.finish["bias"]
        z, r = plain[0].kwargs["out"], plain[-1].kwargs["out"]
        apart = _same(r, z) or not may_share(r, z)
        if not apart or not _like(r, z) or str(z.dtype) not in ("float32", "float64"):
            return None
        if product is not None and "aux" in product.finish:
            return None
        finish = {"epilogue": "bias", "bias": bias, "aux": self.zeros(*aux_shape("relu_aux_bias", z.shape, z.dtype))}
        return _OwnMask(self.do, plain[0], r.reshape(z.shape), plain, finish)

    def put(self, forward: _Product, at: int) -> None:
        """A product that keeps a mask in the place of call `at`, and of the one before if it stands for that too."""
        before = self.calls[at]
        if _joined(before) is None:
            self.calls[at - 1 : at + 1] = [forward.call(), None]
        elif _joined(before) is not forward:
            self.calls[at] = forward.call()

    def sum_of(self, dz: Array, i: int) -> int | None:
        """Where the rows of dz, made by calls i and i + 1, are summed, if that may be done at once."""
        for k in range(i + 2, len(self.calls)):
            call = self.calls[k]
            if call is not None and self.sums(call, dz):
                db = call.kwargs["out"]
                between = self.calls[i + 2 : k]
                return None if any(touches(c, [db], self.do, reading=True) for c in between) else k
            if touches(call, [dz], self.do):
                return None
        return None

    def sums(self, call: Call, a: Array) -> bool:
        """Whether a call sums the rows of `a`."""
        return call.function == self.do.sum_rows and _same(call.args[0], a)

    def program(self, call: Call) -> Program | None:
        """The program of a formula's call with one output."""
        if call.function != self.do.formula or isinstance(call.kwargs["out"], tuple):
            return None
        f, *inputs = call.args
        return traced(f, len(inputs), 1)

    def outlives(self, y: Array, i: int) -> bool:
        """Whether anybody but call i + 1 reads what call i has left in y, in this step or the next."""
        return is_read(y, [*self.calls[i + 2 :], *self.calls[:i]], self.do, after=self.calls[i + 1])


class _Product:
    """A product with an epilogue, and the calls it stands for.

    of: the product as it was asked for. mask: the product (2) or (5) whose mask this one needs; where that one has made
    none, this can't be had either.
    """

    def __init__(
        self,
        do: Launches,
        of: Call,
        out: Array,
        plain: list[Call],
        finish: dict[str, Any],
        mask: _Product | None = None,
    ) -> None:
        self.do, self.operands, self.out, self.plain, self.finish = do, of.args, out, plain, finish
        finish["compute"] = of.kwargs["compute"]
        self.mask, self.possible = mask, True

    @property
    def rectifies(self) -> bool:
        """Whether it is (2) or (5): out = max(a b + bias, 0)."""
        return str(self.finish["epilogue"]).startswith("relu")

    def call(self) -> Call:
        """It, as a call of the list."""
        return Call(self.product, self.operands, {"out": self.out, "finish": self.finish})

    def product(self, a: Array, b: Array, out: Array, finish: dict[str, Any]) -> None:
        """The product and all that belongs to it."""
        if self.possible and (self.mask is None or self.mask.possible):
            try:
                self.make(a, b, out, finish)
                return
            except CublasLtUnavailable:
                self.possible = False
        for function, args, kwargs in self.plain:
            function(*args, **kwargs)

    def make(self, a: Array, b: Array, out: Array, finish: dict[str, Any]) -> None:
        """By cublasLt; CublasLtUnavailable where it can't."""
        self.do.product(a, b, out, **finish)


class _OwnMask(_Product):
    """(5): z = a b + bias, and then out = max(z, 0) and its mask."""

    rectifies = True

    def make(self, a: Array, b: Array, out: Array, finish: dict[str, Any]) -> None:
        z = self.plain[0].kwargs["out"]
        self.do.product(a, b, z, epilogue="bias", bias=finish["bias"], compute=finish["compute"])
        self.do.rectify(z, out, finish["aux"])


def _joined(call: Call | None) -> _Product | None:
    """The product that a call is, if others were joined to it."""
    product = getattr(getattr(call, "function", None), "__self__", None)
    return product if isinstance(product, _Product) else None


def _same(a: Any, b: Any) -> bool:
    """Whether two arrays are the same numbers in the same order."""
    return bool(address(a)) and address(a) == address(b) and _like(a, b)


def _like(a: Array, b: Array) -> bool:
    return bool(a.size == b.size and a.dtype == b.dtype and a.flags.c_contiguous and b.flags.c_contiguous)
