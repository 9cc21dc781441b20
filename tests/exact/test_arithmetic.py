"""A processor that is set to compute otherwise than IEEE 754 has it."""

from __future__ import annotations

import platform
from typing import Any

import pytest

pytest.importorskip("numba")

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

import gpubp as bp
from gpubp.backends.cpu.exact.arithmetic import check_arithmetic
from gpubp.errors import ExactError

USUAL = 0x1F80  # of the register MXCSR: all exceptions masked, to the nearest number, subnormal numbers kept


@intrinsic
def _load(typing: Any, word: Any) -> Any:
    def code(context: Any, b: Any, signature: Any, args: Any) -> Any:
        place = b.alloca(ir.IntType(32))
        b.store(b.trunc(args[0], ir.IntType(32)), place)
        pointer = ir.IntType(8).as_pointer()
        load = b.module.declare_intrinsic("llvm.x86.sse.ldmxcsr", (), ir.FunctionType(ir.VoidType(), [pointer]))
        b.call(load, [b.bitcast(place, pointer)])
        return context.get_dummy_value()

    return types.void(types.int64), code


@njit
def set_to(word: int) -> None:
    _load(word)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have other registers")
@pytest.mark.parametrize(
    "word, told",
    [(0x8000, "subnormal"), (0x40, "subnormal"), (0x2000, "nearest"), (0x4000, "nearest"), (0x6000, "nearest")],
    ids=["results flushed", "operands flushed", "down", "up", "to zero"],
)
def test_it_is_an_error(word: int, told: str) -> None:
    net = bp.Network(bp.Dense(1), 2, device="cpu", numerics="exact")
    check_arithmetic()
    set_to(USUAL | word)
    try:
        with pytest.raises(ExactError, match=told):
            net.predict([[1.0, 2.0]])
    finally:
        set_to(USUAL)
    net.predict([[1.0, 2.0]])
