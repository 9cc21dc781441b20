"""Counted random numbers against the textbook, and the GPU's kernel, built for the host, against both."""

from __future__ import annotations

import numpy as np
import pytest

from gpubp.backends.cuda.formula_source import prelude
from gpubp.backends.philox import CUDA_SOURCE, UNIFORM_SOURCE, fill_mask, fill_uniform, threshold_of
from host_cuda import HostKernel

CASES = [(1, 0, 0, 0), (16, 1, 2, 3), (1000, 12345, 2**32 - 1, 2**40), (40_003, 7, 99, 1)]


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 as in the paper, in Python's whole numbers."""
    word = 2**64 - 1
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(b >> 64) ^ c[1] ^ k[0], b & word, (a >> 64) ^ c[3] ^ k[1], a & word]
        k = [(k[0] + 0x9E3779B97F4A7C15) & word, (k[1] + 0xBB67AE8584CAA73B) & word]
    return c


def mask(n: int, seed: int, layer: int, step: int, threshold: int = 20_000) -> np.ndarray:
    out = np.zeros(n, bool)
    fill_mask(out, threshold, (seed, layer), np.array([step], np.uint64))
    return out


@pytest.mark.parametrize(("n", "seed", "layer", "step"), CASES)
def test_masks_follow_the_textbook(n: int, seed: int, layer: int, step: int) -> None:
    kept = mask(n, seed, layer, step)
    for i in {0, 1, 3, 4, 15, 16, n // 2, n - 1} & set(range(n)):
        word = philox([1 + i // 16, step, 0, 0], [seed, layer])[i % 16 // 4]
        assert kept[i] == ((word >> (16 * (i % 4))) & 0xFFFF >= 20_000)


def test_a_longer_mask_begins_with_the_shorter() -> None:
    assert np.array_equal(mask(50_000, 1, 2, 3)[:777], mask(777, 1, 2, 3))


def test_the_kept_share_matches_the_rate() -> None:
    for rate in (0.001, 0.1, 0.5, 0.999):
        assert 1 - mask(400_000, 5, 6, 7, threshold_of(rate)).mean() == pytest.approx(rate, abs=4e-3)


@pytest.mark.parametrize("blocks", [1, 13])
@pytest.mark.parametrize(("n", "seed", "layer", "step"), CASES)
def test_the_kernel_gives_the_same_bits(n: int, seed: int, layer: int, step: int, blocks: int) -> None:
    out, steps = np.zeros(n + 1, bool), np.array([step], np.uint64)
    numbers = np.int64(0), np.int64(n), np.uint32(20_000), np.uint64(seed), np.uint64(layer)
    arguments = [out.ctypes.data, *numbers, steps.ctypes.data]
    HostKernel(CUDA_SOURCE, "philox_mask")((blocks,), (32,), arguments)
    assert np.array_equal(out[:n], mask(n, seed, layer, step)) and not out[n]


@pytest.mark.parametrize("first", [0, 1, 15, 16, 17, 8192, 8200])
def test_a_part_of_a_mask_equals_that_part_of_the_whole(first: int) -> None:
    whole, part, steps = mask(40_000, 5, 6, 7), np.zeros(20_001, bool), np.array([7], np.uint64)
    fill_mask(part[:-1], 20_000, (5, 6), steps, first)
    assert np.array_equal(part[:-1], whole[first : first + 20_000])
    part[...] = False
    numbers = np.int64(first), np.int64(20_000), np.uint32(20_000), np.uint64(5), np.uint64(6)
    HostKernel(CUDA_SOURCE, "philox_mask")((13,), (32,), [part.ctypes.data, *numbers, steps.ctypes.data])
    assert np.array_equal(part[:-1], whole[first : first + 20_000]) and not part[-1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "first", "step"), [(1, 0, 0), (8, 8, 5), (20_001, 16, 2**33)])
def test_uniform_numbers_follow_the_textbook_on_cpu_and_gpu(n: int, first: int, step: int, dtype: str) -> None:
    out, there, steps = np.zeros(n, dtype), np.zeros(n + 1, dtype), np.array([step], np.uint64)
    fill_uniform(out, (5, 6), steps, first)
    numbers = np.int64(first), np.int64(n), np.uint64(5), np.uint64(6)
    arguments = [there.ctypes.data, *numbers, steps.ctypes.data]
    HostKernel(prelude(dtype) + UNIFORM_SOURCE, "philox_uniform")((3,), (64,), arguments)
    assert np.array_equal(out, there[:n]) and there[n] == 0
    for i in {0, n // 2, n - 1}:
        word = philox([1 + (first + i) // 8, step, 0, 0], [5, 6])[i % 8 // 2]
        assert out[i] == ((word >> (32 * (i % 2))) & 0xFFFFFFFF) // 256 / 2**24
    assert n < 1000 or abs(out.mean() - 0.5) < 0.01
