"""Philox, a counter-based random generator: seed, layer and step determine the numbers on every device.

Philox4x64-10 (Salmon, Moraes, Dror and Shaw 2011) turns a counter of four 64-bit words and a key of two into four
random words. With

    key = (seed, layer)        counter = (1 + block, step, 0, 0)        block = 0, 1, 2, ...

the numbers of a layer at a step can be had again at any time, in any order, by any number of threads. NumPy has the
generator built in (its first block has the counter 1); `CUDA_SOURCE` is the same for a GPU, one thread a block.

A mask takes 16 bits an element: of the words, least significant bits first, so 16 elements a block. An element is kept
where its 16 bits, a whole number, are at least `threshold`; no floating-point number takes part, so masks are equal to
the bit. A rate is met to 1/65536; 8 bits would meet 0.1 no closer than 0.1016, and 32 would take twice the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LANES = 1 << 16  # values of an element's bits
FACTORS = 0xD2E7470EE14C6C93, 0xCA5A826395121157  # by which a round multiplies two words of the counter
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B  # what a round adds to the key
AT_ONCE = 2048  # words; what is drawn at once stays small, in memory as in the cache


def threshold_of(rate: float) -> int:
    """The threshold that leaves out a share `rate` of the elements, to 1/65536.

    >>> threshold_of(0.5)
    32768
    """
    return round(rate * LANES)


def fill_mask(
    out: np.ndarray[Any, Any], threshold: int, key: tuple[int, int], step: np.ndarray[Any, Any], first: int = 0
) -> None:
    """out[i] = whether element first + i is kept at step `step[0]`, on the CPU.

    >>> kept = np.empty(6, bool)
    >>> fill_mask(kept, threshold_of(0.5), (0, 7), np.array([3], np.uint64))
    >>> kept.tolist()
    [True, False, False, True, True, True]
    """
    flat, skip = out.reshape(-1), first % 16
    generator = _generator(first // 16, step, key)
    for start in range(0, skip + flat.size, 4 * AT_ONCE):
        part = flat[max(0, start - skip) : start - skip + 4 * AT_ONCE]
        before = skip if start == 0 else 0
        words = generator.random_raw(-(-(before + part.size) // 4)).astype("<u8", copy=False)
        np.greater_equal(words.view("<u2")[before : before + part.size], threshold, out=part)


def fill_uniform(out: np.ndarray[Any, Any], key: tuple[int, int], step: np.ndarray[Any, Any], first: int = 0) -> None:
    """out[i] = number first + i of those of step `step[0]`, from 0 to below 1, on the CPU.

    A block of Philox gives eight, each the upper 24 of 32 bits, so that float32 holds them exactly. 8 divides first.

    >>> drawn = np.empty(3)
    >>> fill_uniform(drawn, (0, 7), np.array([3], np.uint64))
    >>> [round(u, 4) for u in drawn.tolist()]
    [0.0887, 0.8755, 0.6609]
    """
    flat = out.reshape(-1)
    generator = _generator(first // 8, step, key)
    for start in range(0, flat.size, AT_ONCE):
        part = flat[start : start + AT_ONCE]
        words = generator.random_raw(-(-part.size // 2)).astype("<u8", copy=False)
        np.multiply(words.view("<u4")[: part.size] >> 8, 2.0**-24, out=part, casting="unsafe")


def _generator(block: int, step: np.ndarray[Any, Any], key: tuple[int, int]) -> np.random.Philox:
    """As arrays: in a list with a word of 2**63 or more, NumPy rounds all words to float64."""
    counter = np.array([block, int(step[0]), 0, 0], np.uint64)
    return np.random.Philox(counter=counter, key=np.array(key, np.uint64))


_PHILOX = r"""
static __device__ void philox(unsigned long long c0, unsigned long long c1, unsigned long long k0,
                              unsigned long long k1, unsigned long long* words) {
  unsigned long long c2 = 0, c3 = 0;
  for (int round = 0; round < 10; ++round) {
    unsigned long long low0 = FACTOR_0 * c0, high0 = __umul64hi(FACTOR_0, c0);
    unsigned long long low1 = FACTOR_1 * c2, high1 = __umul64hi(FACTOR_1, c2);
    c0 = high1 ^ c1 ^ k0; c1 = low1; c2 = high0 ^ c3 ^ k1; c3 = low0;
    k0 += WEYL_0; k1 += WEYL_1;
  }
  words[0] = c0; words[1] = c1; words[2] = c2; words[3] = c3;
}
"""
for _name, _words in (("FACTOR", FACTORS), ("WEYL", WEYL)):
    for _k, _word in enumerate(_words):
        _PHILOX = _PHILOX.replace(f"{_name}_{_k}", f"0x{_word:X}ull")

UNIFORM_SOURCE = (
    _PHILOX
    + r"""
extern "C" __global__ void philox_uniform(real* out, long long first, long long n, unsigned long long seed,
                                          unsigned long long layer, const unsigned long long* step) {
  for (long long b = blockIdx.x * (long long)blockDim.x + threadIdx.x; 8 * b < n;
       b += (long long)gridDim.x * blockDim.x) {
    unsigned long long words[4];
    philox(first / 8 + b + 1, step[0], seed, layer, words);
    for (int i = 0; i < 8 && 8 * b + i < n; ++i)
      out[8 * b + i] = real((words[i / 2] >> (32 * (i % 2)) & 0xFFFFFFFFull) >> 8) * real(1.0 / 16777216.0);
  }
}
"""
)

CUDA_SOURCE = (
    _PHILOX
    + r"""
extern "C" __global__ void philox_mask(bool* out, long long first, long long n, unsigned int threshold,
                                       unsigned long long seed, unsigned long long layer,
                                       const unsigned long long* step) {
  const long long end = first + n;
  for (long long b = first / 16 + blockIdx.x * (long long)blockDim.x + threadIdx.x; 16 * b < end;
       b += (long long)gridDim.x * blockDim.x) {
    unsigned long long words[4];
    philox(b + 1, step[0], seed, layer, words);
    for (int i = 0; i < 16; ++i)
      if (16 * b + i >= first && 16 * b + i < end)
        out[16 * b + i - first] = ((words[i / 4] >> (16 * (i % 4))) & 0xFFFF) >= threshold;
  }
}
"""
)
