"""Requests to the cublasLt wrapper on host memory, good ones and bad ones."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cublaslt_host import DeviceArray, HostStream, aligned
from numpy.lib.stride_tricks import as_strided

from gpubp.backends.cuda.cublaslt import load_library

STREAM = HostStream(77)


def installed():
    """Where pip has put cuBLAS, and for which CUDA; skips if nowhere."""
    for name, cuda in (("nvidia.cublas", 12), ("nvidia.cu13", 13)):
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            continue
        for folder in spec.submodule_search_locations if spec else ():
            if (Path(folder) / "include/cublasLt.h").exists():
                return Path(folder), cuda
    pytest.skip("cuBLAS is not installed (pip install nvidia-cublas-cu12): no real descriptors, no header")


def real_library():
    return load_library(installed()[1])


def whole(rng, *shape, dtype="f4", offset=0):
    """Small whole numbers, of which every sum is exact in any order and dtype."""
    array = aligned(shape, dtype, offset)
    array[...] = rng.integers(-3, 4, shape)
    return array


def on_device(*arrays):
    return [DeviceArray(a) for a in arrays]


def call(lt, a, b, out, **kw):
    extras = {k: DeviceArray(v) if isinstance(v, np.ndarray) else v for k, v in kw.items()}
    lt.gemm(*on_device(a, b, out), stream=STREAM, **extras)
    return out


class BFloat16:
    """A dtype by its name and size, as ml_dtypes registers one."""

    itemsize = 2

    def __str__(self):
        return "bfloat16"


def request_with(rng, **changes):
    """A good request for relu_aux_bias, and with `changes` a bad one."""
    good = {
        "a": whole(rng, 4, 5),
        "b": whole(rng, 5, 3),
        "out": aligned((4, 3), "f4"),
        "bias": whole(rng, 3),
        "aux": aligned((4, 16), "u1"),
        "epilogue": "relu_aux_bias",
        "stream": STREAM,
    }
    request = good | {k: v(good) if callable(v) else v for k, v in changes.items()}
    return {k: DeviceArray(v) if isinstance(v, np.ndarray) else v for k, v in request.items()}


PLAIN = {"epilogue": None, "bias": None, "aux": None}
BAD = {
    "numpy array": ({"a": lambda g: SimpleNamespace(ndarray=g["a"])}, "takes CuPy arrays"),
    "no stream": ({"stream": None}, "a CuPy stream"),
    "no b": ({"b": None}, "all of a, b and out"),
    "no memory": ({"b": lambda g: with_pointer(g["b"], 0)}, "address is 0"),
    "other device": ({"b": lambda g: DeviceArray(g["b"], device=1)}, "b is on device 1"),
    "3-D": ({"a": lambda g: aligned((4, 5, 1), "f4")}, r"a \(4, 5, 1\) times b \(5, 3\)"),
    "4-D": ({"a": lambda g: aligned((1, 1, 4, 5), "f4")}, "a must be a matrix .* or a stack"),
    "no rows": ({"a": aligned((0, 5), "f4")}, "a must be a matrix"),
    "inner sizes": ({"b": aligned((6, 3), "f4")}, r"a \(4, 5\) times b \(6, 3\)"),
    "outer sizes": ({"out": aligned((4, 2), "f4")}, r"into out \(4, 2\)"),
    "two dtypes": ({"b": aligned((5, 3), "f8")}, "b float64"),
    "integers": ({"a": aligned((4, 5), "i4"), "b": aligned((5, 3), "i4")}, "must be both float32"),
    "narrow output": ({"out": aligned((4, 3), "f2")}, "out float16"),
    "every other column": ({"a": aligned((4, 10), "f4")[:, ::2]}, "a .* must lie row by row"),
    "backward": ({"b": aligned((5, 3), "f4")[::-1]}, "b .* must lie row by row"),
    "broadcast": ({"b": np.broadcast_to(aligned((3,), "f4"), (5, 3))}, "b .* must lie row by row"),
    "overlapping rows": ({"a": as_strided(aligned((9,), "f4"), (4, 5), (4, 4))}, "a .* must lie row by row"),
    "stride of half a number": ({"a": as_strided(aligned((99,), "f4"), (4, 5), (22, 4))}, "a .* must lie"),
    "transposed output": ({"out": aligned((3, 4), "f4").T}, "out .* is a transposed view"),
    "odd address": ({"a": lambda g: with_pointer(g["a"], g["a"].ctypes.data + 2)}, "must start at multiples"),
    "unknown epilogue": ({"epilogue": "softmax"}, "no epilogue 'softmax', but None, bias"),
    "unknown compute": ({"compute": "bfloat16"}, "'float32' or 'tf32', not 'bfloat16'"),
    "accumulate": ({"accumulate": True}, "not with 'relu_aux_bias'"),
    "bias missing": ({"bias": None}, "needs bias"),
    "bias too many": ({"epilogue": None, "aux": None}, "has no bias"),
    "aux missing": ({"aux": None}, "needs aux"),
    "gradient too many": ({"bias_gradient": aligned((3,), "f4")}, "has no bias_gradient"),
    "bias length": ({"bias": aligned((4,), "f4")}, r"bias must be float32 \(3,\); it is float32 \(4,\)"),
    "bias dtype": ({"bias": aligned((3,), "f8")}, r"bias must be float32 \(3,\); it is float64"),
    "bias strided": ({"bias": aligned((6,), "f4")[::2]}, "bias .* must be contiguous"),
    "bias alignment": ({"bias": aligned((3,), "f4", offset=2)}, "bias must start at .* 16 divides; 8"),
    "aux shape": ({"aux": aligned((4, 15), "u1")}, r"aux must be uint8 \(4, 16\)"),
    "aux transposed": ({"aux": aligned((16, 4), "u1").T}, "aux .* must be contiguous"),
    "K = 1": (
        PLAIN
        | {"a": aligned((4, 1), "f4"), "b": aligned((1, 3), "f4")}
        | {"epilogue": "bgrada", "bias_gradient": aligned((3,), "f4")},
        "no 'bgrada' for an inner size of 1",
    ),
    "out over a": (PLAIN | {"a": lambda g: g["out"][:, :2], "b": aligned((2, 3), "f4")}, "out shares memory"),
    "out into b": ({"out": lambda g: with_pointer(g["out"], g["b"].ctypes.data + 56)}, "out shares memory"),
    "gradient over a": (
        PLAIN | {"epilogue": "bgrada", "bias_gradient": lambda g: g["a"].reshape(-1)[4:7]},
        "bias_gradient shares memory with a",
    ),
    "out over bias": ({"bias": lambda g: g["out"][0]}, "out shares memory with bias"),
    "aux over b": ({"aux": lambda g: as_bytes(g["b"])}, "aux shares memory with b"),
    "2³¹ numbers": (
        PLAIN | {"a": lambda g: as_large(2**16, 2**15), "b": lambda g: as_large(2**15, 3)},
        "spans 2³¹ numbers",
    ),
}  # fmt: skip


def with_pointer(array, pointer):
    shown = DeviceArray(array)
    shown.data.ptr = pointer
    return shown


def as_bytes(array):
    shown = DeviceArray(aligned((4, 16), "u1"))
    shown.data.ptr = array.ctypes.data
    return shown


def as_large(rows, cols):
    shown = DeviceArray(aligned((1, 1), "f4"))
    shown.shape, shown.strides = (rows, cols), (4 * cols, 4)
    return shown
