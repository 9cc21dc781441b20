"""The kernel that makes a ReLU and the mask of its derivative, built for the host, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import gpubp as bp
from gpubp.backends.cuda import kernels, launches
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.own_masks import rectify_arguments, rectify_source
from strict import StrictProducts, strict_cupy


@pytest.fixture(scope="module")
def be() -> CUDA:
    return CUDA(strict_cupy(), products=StrictProducts)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 8), (4, 130), (3, 136), (700, 384)], ids=str)
@pytest.mark.parametrize("offset", [0, 1])
def test_a_relu_and_its_mask(
    be: CUDA, shape: tuple[int, int], offset: int, dtype: str, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the bits of NumPy and of the formula; one round and more, at addresses that 16 divides and others."""
    monkeypatch.setattr(kernels, "MOST_BLOCKS", 2)
    monkeypatch.setattr(launches, "rectify_source", lambda _: rectify_source(wide))
    given = rectify_arguments
    index = np.uint64 if wide else np.uint32
    monkeypatch.setattr(
        launches, "rectify_arguments", lambda *a: (wide, tuple(map(index, given(*a)[1][:3])) + given(*a)[1][3:])
    )
    rng, (m, n) = np.random.default_rng(0), shape
    host = np.resize(np.concatenate([[0.0, -0.0, np.nan, np.inf, -np.inf, -1.0], rng.normal(size=601)]), shape)
    host = host.astype(dtype)
    with be.active():
        places = [be.to_device(np.full(m * n + offset + 9, 7, dtype)) for _ in range(2)]
        z, y = (a[offset : offset + m * n].reshape(shape) for a in places)
        z[...] = be.to_device(host)
        mask = be.to_device(np.full((m, -(-n // 128) * 16), 255, np.uint8))
        plain = be.zeros(shape, dtype)
        be.apply(bp.ReLU().f, z, out=plain)
        for out in (y, z):
            be._launches.rectify(z, out, mask)
            found = be.to_host(out)
            assert found.tobytes() == be.to_host(plain).tobytes()
            np.testing.assert_array_equal(found, np.maximum(host, 0))
            bits = np.unpackbits(be.to_host(mask), axis=1, bitorder="little")
            np.testing.assert_array_equal(bits[:, :n], found > 0)
            assert not bits[:, n:].any()
    assert all((be.to_host(a)[offset + m * n :] == 7).all() for a in places)


def test_masks_of_large_arrays_are_indexed_by_64_bits(be: CUDA) -> None:
    """Also if only the mask is large, of many short rows."""
    row, bits = be.zeros((1, 1), "float32"), be.zeros((1, 16), "uint8")
    for rows, wide in ((2**27, True), (2**26, False)):
        z, mask = (be.cupy.broadcast_to(a, (rows, a.shape[1])) for a in (row, bits))
        found, arguments = rectify_arguments(z, z, mask)
        assert found is wide and int(arguments[0]) == 16 * rows and arguments[0].itemsize == (8 if wide else 4)
    assert "unsigned int of_index" in rectify_source(False) and "unsigned long long of_index" in rectify_source(True)
