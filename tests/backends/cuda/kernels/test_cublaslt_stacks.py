"""Stacks of matrices by cublasLt's strided batches, against the column-major model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cublaslt_calls import STREAM, call, whole
from cublaslt_host import DeviceArray, HostCupy, aligned
from cublaslt_model import SHAPES, Model
from numpy.lib.stride_tricks import as_strided

from gpubp.backends.cuda.cublaslt import CublasLt
from gpubp.backends.cuda.cublaslt_layouts import CublasLtUnavailable
from gpubp.backends.cuda.stacks import at_equal_distances

Array = Any


def stack(rng: np.random.Generator, how: str, count: int, rows: int, columns: int, dtype: str = "f4") -> Array:
    """(count, rows, columns) as it may lie: matrix behind matrix, each transposed, of one head, or as heads of one
    row of a batch, which lie side by side."""
    if how == "turned":
        return whole(rng, count, columns, rows, dtype=dtype).transpose(0, 2, 1)
    if how == "one head":
        return whole(rng, count, rows, 3, columns, dtype=dtype)[:, :, 1]
    if how == "side by side":
        return whole(rng, rows, count + 1, columns, dtype=dtype)[:, 1:].transpose(1, 0, 2)
    return whole(rng, count, rows, columns, dtype=dtype)


LIES = ["dense", "turned", "one head", "side by side"]


@pytest.mark.parametrize("of_out", ["dense", "one head", "side by side"])
@pytest.mark.parametrize("of_b", LIES)
@pytest.mark.parametrize("of_a", LIES)
def test_stacks_are_read_and_written_where_they_lie(
    lt: CublasLt, rng: np.random.Generator, of_a: str, of_b: str, of_out: str
) -> None:
    for count, (m, k, n) in ((1, (3, 2, 4)), (5, (3, 2, 4)), (3, (1, 4, 1)), (2, (7, 1, 3)), (4, (1, 1, 1))):
        a, b, out = stack(rng, of_a, count, m, k), stack(rng, of_b, count, k, n), stack(rng, of_out, count, m, n)
        frame = out.base
        before, inside = frame.copy(), out.copy()
        np.testing.assert_array_equal(call(lt, a, b, out), np.matmul(a, b))
        out[...] = inside
        np.testing.assert_array_equal(frame, before)  # nothing beside out was touched


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_stacks_of_every_type(lt: CublasLt, rng: np.random.Generator, shape: tuple[int, int, int], dtype: str) -> None:
    m, k, n = shape
    a, b, out = (whole(rng, 3, *s, dtype=dtype) for s in ((m, k), (k, n), (m, n)))
    np.testing.assert_array_equal(call(lt, a, b, out), np.matmul(a, b))


def test_one_matrix_may_be_a_factor_of_all(lt: CublasLt, rng: np.random.Generator) -> None:
    a, b, out = np.broadcast_to(whole(rng, 3, 4), (5, 3, 4)), whole(rng, 5, 4, 2), whole(rng, 5, 3, 2)
    np.testing.assert_array_equal(call(lt, a, b, out), np.matmul(a, b))


def test_the_library_is_told_how_all_matrices_of_a_stack_are_aligned(rng: np.random.Generator) -> None:
    model = Model()
    lt = CublasLt(HostCupy(), 1 << 16, library=model)
    call(lt, whole(rng, 3, 4, 8), whole(rng, 3, 8, 4), whole(rng, 3, 4, 4))
    assert (model.preference.MIN_ALIGNMENT_B_BYTES, model.preference.MIN_ALIGNMENT_D_BYTES) == (128, 64)
    call(lt, whole(rng, 3, 5, 3), whole(rng, 3, 3, 4), whole(rng, 3, 5, 4))
    assert (model.preference.MIN_ALIGNMENT_B_BYTES, model.preference.MIN_ALIGNMENT_A_BYTES) == (4, 16)
    assert model.log.count("cublasLtMatmul") == 2, "a stack is one call"


BAD: dict[str, tuple[Callable[..., dict[str, Any]], str]] = {
    "counts": (lambda g: {"b": aligned((2, 4, 2), "f4")}, r"a \(3, 5, 4\) times b \(2, 4, 2\)"),
    "a stack into one": (lambda g: {"out": aligned((5, 2), "f4")}, r"into out \(5, 2\)"),
    "epilogue": (lambda g: {"epilogue": "bias", "bias": aligned((2,), "f4")}, "stacks have no epilogue, and 'bias'"),
    "out overlaps": (lambda g: {"out": as_strided(aligned((99,), "f4"), (3, 5, 2), (32, 8, 4))}, "share no number"),
    "out again and again": (lambda g: {"out": np.broadcast_to(aligned((5, 2), "f4"), (3, 5, 2))}, "share no number"),
    "out interleaves": (lambda g: {"out": as_strided(aligned((99,), "f4"), (3, 5, 2), (4, 24, 4))}, "share no number"),
    "backward": (lambda g: {"a": aligned((3, 5, 4), "f4")[::-1]}, "by whole numbers"),
    "no matrices": (lambda g: {"a": aligned((0, 5, 4), "f4")}, "at least one row"),
    "out over a": (lambda g: {"out": g["a"][:, :, :2]}, "out shares memory with a"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_stacks_are_refused(lt: CublasLt, rng: np.random.Generator, name: str) -> None:
    changes, words = BAD[name]
    good = {"a": whole(rng, 3, 5, 4), "b": whole(rng, 3, 4, 2), "out": aligned((3, 5, 2), "f4")}
    request = {k: DeviceArray(v) if isinstance(v, np.ndarray) else v for k, v in (good | changes(good)).items()}
    with pytest.raises(CublasLtUnavailable, match=words):
        lt.gemm(**request, stream=STREAM)
    np.testing.assert_array_equal(call(lt, *good.values()), np.matmul(good["a"], good["b"]))


def test_the_shorter_axis_is_gone_through(rng: np.random.Generator) -> None:
    """Attention of 7 rows and 3 heads: 3 calls of 7, which make every product; one call where all lies dense."""
    B, T, H, d = 7, 4, 3, 2
    q, k = (whole(rng, B, T, H, d).transpose(0, 2, 1, 3) for _ in range(2))
    s = whole(rng, B, H, T, T)
    parts = list(at_equal_distances(q, k.swapaxes(-1, -2), s))
    assert [out.shape for _, _, out in parts] == [(B, T, T)] * H
    for a, b, out in parts:
        np.matmul(a, b, out=out)
    np.testing.assert_array_equal(s, np.matmul(q, k.swapaxes(-1, -2)))
    assert [out.shape for _, _, out in at_equal_distances(q[:2], k[:2].swapaxes(-1, -2), s[:2])] == [(H, T, T)] * 2
    assert [out.shape for _, _, out in at_equal_distances(s, s, s)] == [(B * H, T, T)]
    assert [out.shape for _, _, out in at_equal_distances(s[0], s[0], s[0])] == [(H, T, T)]
    assert [out.shape for _, _, out in at_equal_distances(q[:1], q[:1], q[:1])] == [(H, T, d)]
    assert all(np.shares_memory(out, s) for _, _, out in at_equal_distances(s, s, s))
