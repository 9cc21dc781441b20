"""Memory addresses as pointers, in functions that Numba compiles; needs Numba."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

WORD, BYTE = ir.IntType(64), ir.IntType(8)
NUMBERS = {"f": ir.FloatType(), "d": ir.DoubleType(), "?": BYTE}


def primitive(result: Any, operands: int, emit: Any) -> Any:
    """A function of so many words for compiled code, which is what emit(builder, words) writes there.

    >>> primitive(types.int64, 2, lambda b, x, y: b.add(x, y)) is None
    False
    """

    def code(context: Any, b: Any, signature: Any, args: Any) -> Any:
        value = emit(b, *args)
        return context.get_dummy_value() if result is types.void else value

    def typed(*arguments: Any) -> Any:
        return result(*[types.int64] * operands), code

    names = ", ".join(f"a{k}" for k in range(operands))  # Numba counts them
    return intrinsic(eval(f"lambda typing, {names}: typed({names})", {"typed": typed}))


def as_pointer(b: Any, address: Any, kind: Any) -> Any:
    """What a builder writes to take an address as that of a value of this kind.

    >>> block = ir.Function(ir.Module(), ir.FunctionType(WORD, []), "f").append_basic_block()
    >>> as_pointer(ir.IRBuilder(block), WORD(64), BYTE).type.is_pointer
    True
    """
    return b.inttoptr(address, kind.as_pointer())


def _pointer(kind: Any, memory: Any) -> Any:
    """An address as a pointer to numbers of this type, for `numba.carray`."""
    return primitive(types.CPointer(kind), 1, lambda b, address: as_pointer(b, address, memory))


@intrinsic  # type: ignore[untyped-decorator]
def bits(typing: Any, x: Any) -> Any:
    """A float64 number as the int64 with its bits."""
    return types.int64(types.float64), lambda context, b, signature, args: b.bitcast(args[0], WORD)


@intrinsic  # type: ignore[untyped-decorator]
def number(typing: Any, n: Any) -> Any:
    """The float64 number that has the bits of an int64."""
    return types.float64(types.int64), lambda context, b, signature, args: b.bitcast(args[0], NUMBERS["d"])


def _upper(b: Any, x: Any, y: Any) -> Any:
    wide = ir.IntType(128)
    return b.trunc(b.lshr(b.mul(b.zext(x, wide), b.zext(y, wide)), wide(64)), WORD)


upper = primitive(types.int64, 2, _upper)  # 64 bits of the product of two words without a sign
at_float32, at_float64 = _pointer(types.float32, NUMBERS["f"]), _pointer(types.float64, NUMBERS["d"])
at_int64, at_mask = _pointer(types.int64, WORD), _pointer(types.boolean, BYTE)
at_uint16, at_uint32 = _pointer(types.uint16, ir.IntType(16)), _pointer(types.uint32, ir.IntType(32))
