"""Arrays, streams and the little of CuPy that the cublasLt wrapper uses, in the host's memory."""

from types import SimpleNamespace

import numpy as np


class DeviceArray:
    """What the wrapper may see of a CuPy array: shape, strides, dtype, address. The memory is the host's."""

    def __init__(self, memory, device=0, dtype=None):
        self.memory = memory
        self.shape, self.strides = memory.shape, memory.strides
        self.dtype = dtype or memory.dtype
        self.data = SimpleNamespace(ptr=memory.ctypes.data, device_id=device)

    def fill(self, value):
        self.memory.fill(value)

    def view(self, dtype):
        return DeviceArray(self.memory.view(dtype))

    def get(self):
        return self.memory.copy()

    def set(self, values):
        assert values.shape == self.shape and values.dtype == self.memory.dtype
        self.memory[...] = values

    def all(self):
        return DeviceArray(np.asarray(self.memory.all()))

    def __bool__(self):  # a host's read
        return bool(self.memory)


def aligned(shape, dtype, offset=0):
    """An array of zeros that starts `offset` numbers after a multiple of 256 bytes."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    block = np.zeros(count * dtype.itemsize + 512 + offset * dtype.itemsize, np.uint8)
    start = -block.ctypes.data % 256 + offset * dtype.itemsize
    return block[start : start + count * dtype.itemsize].view(dtype).reshape(shape)


class HostStream:
    """A stream whose work is done at once. `waits`: how often the host waited for it."""

    def __init__(self, ptr):
        self.ptr, self.capturing, self.waits = ptr, False, 0

    def is_capturing(self):
        return self.capturing

    def synchronize(self):
        assert not self.capturing
        self.waits += 1


class HostCupy:
    """The little of the CuPy module that the wrapper uses. streams: all that there are, the current one first."""

    def __init__(self, *others):
        self.streams = [HostStream(77), *others]
        by_address = {stream.ptr: stream for stream in self.streams}
        runtime = SimpleNamespace(
            getDevice=lambda: 0,
            runtimeGetVersion=lambda: 12090,
            streamIsCapturing=lambda ptr: by_address[ptr].is_capturing(),
            streamSynchronize=lambda ptr: by_address[ptr].synchronize(),
        )
        self.cuda = SimpleNamespace(runtime=runtime, get_current_stream=lambda: self.streams[0])
        self.allocations = 0

    def empty(self, shape, dtype):
        self.allocations += 1
        return DeviceArray(aligned(shape if isinstance(shape, tuple) else (shape,), dtype))

    def zeros(self, shape, dtype):
        return self.empty(shape, dtype)  # whose memory is 0

    def isnan(self, a):
        return DeviceArray(np.isnan(a.memory))

    def bitwise_and(self, a, b):
        return DeviceArray(np.bitwise_and(a.memory, b))

    def greater(self, a, b):
        return DeviceArray(np.greater(a.memory, b))
