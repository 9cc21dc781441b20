"""The network "mlp" of docs/exact.md, trained by the rules of that page alone: nothing of gpubp is imported.

NumPy holds arrays and does + - * / and square roots, which IEEE 754 fixes; random numbers are made of Python's whole
numbers. As a program it prints the hash.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
single, double = np.float32, np.float64
WORD, LONG = (1 << 32) - 1, (1 << 64) - 1

# -- sums -------------------------------------------------------------------------------------------------------------


def fma(a: Array, b: Array, s: Array) -> Array:
    """a b + s of float32 numbers, rounded once. In float64 the product is exact, and the sum is rounded to an odd last
    bit where it is not, so that rounding it again is as rounding once (Boldo and Melquiond 2008)."""
    p, c = a.astype(double) * b.astype(double), s.astype(double)
    t = p + c
    u = t - p
    rest = (p - (t - u)) + (c - u)
    bits = t.view(np.int64)
    even = (bits & 1 == 0) & (rest != 0)
    bits += np.where(even, np.where((rest > 0) == (t > 0), 1, -1), 0)
    return t.astype(single)


def tree(parts: list[Array]) -> Array:
    """Neighbours are added, and again, until one is left."""
    while len(parts) > 1:
        pairs = [a + b for a, b in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + parts[2 * len(pairs) :]
    return parts[0]


def product(a: Array, b: Array) -> Array:
    """Σ_k a_ik b_kj, with one term for each row: blocks of 64 terms, which are groups, and their tree."""
    blocks = []
    for first in range(0, a.shape[1], 64):
        s = np.zeros((len(a), b.shape[1]), single)
        for k in range(first, min(first + 64, a.shape[1])):
            s = fma(np.broadcast_to(a[:, k, None], s.shape), np.broadcast_to(b[k], s.shape), s)
        blocks.append(s)
    return tree(blocks)


def row_sum(a: Array) -> Array:
    return product(a, np.ones((a.shape[1], 1), single))


# -- elementary functions ---------------------------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parents[2] / "docs" / "exact.md"


def constant(name: str) -> list[float]:
    """The numbers of the page's table that have this name."""
    table = PAGE.read_text("utf-8").partition("<!-- constants:")[2]
    found = re.search(rf"^single\.{name} +((?:-?0x\S+\s+)+)", table, re.M)
    assert found is not None
    return [float.fromhex(word) for word in found[1].split()]


EXP, (LOG2_E,), (LN2,) = constant("EXP"), constant("LOG2_E"), constant("LN2")
WHOLE = 1.5 * 2.0**52


def horner(r: Array, coefficients: list[float]) -> Array:
    total = np.full_like(r, coefficients[0])
    for c in coefficients[1:]:
        total = total * r + c
    return total


def power(x: Array) -> tuple[Array, Array, Array]:
    n = (x * LOG2_E + WHOLE) - WHOLE
    r = x - n * LN2
    return r, r * horner(r, EXP), np.ldexp(1.0, n.astype(int))


def exp(x: Array) -> Array:
    x = x.astype(double)
    x = np.where(x < -110.0, -110.0, x)
    x = np.where(x > 90.0, 90.0, x)
    r, _, scale = power(x)
    return (horner(r, [*EXP, 1.0]) * scale).astype(single)


def tanh(x: Array) -> Array:
    a = abs(x.astype(double))
    a = np.where(a > 10.0, 10.0, a)
    _, p, scale = power(a + a)
    p = scale * p + (scale - 1.0)
    return np.copysign(p / (p + 2.0), x).astype(single)


# -- random numbers ---------------------------------------------------------------------------------------------------


def state_of(words: list[int]) -> list[int]:
    """Four words of 64 bits of a seed of several words of 32."""
    constant = 0x43B0D7E5

    def hashed(value: int) -> int:
        nonlocal constant
        value ^= constant
        constant = constant * 0x931E8875 & WORD
        value = value * constant & WORD
        return value ^ value >> 16

    def mixed(x: int, y: int) -> int:
        value = 0xCA01F9DD * x - 0x4973F715 * y & WORD
        return value ^ value >> 16

    pool = [hashed(words[i] if i < len(words) else 0) for i in range(4)]
    for i in range(4):
        for k in range(4):
            if i != k:
                pool[k] = mixed(pool[k], hashed(pool[i]))
    for word in words[4:]:
        for k in range(4):
            pool[k] = mixed(pool[k], hashed(word))
    constant, halves = 0x8B51F9DD, []
    for i in range(8):
        value = pool[i % 4] ^ constant
        constant = constant * 0x58F38DED & WORD
        value = value * constant & WORD
        halves.append(value ^ value >> 16)
    return [halves[i] | halves[i + 1] << 32 for i in range(0, 8, 2)]


def words_of(seed: list[int]) -> Iterator[int]:
    """Words of 64 bits: PCG64 (O'Neill 2014)."""
    a, b, c, d = state_of(seed)
    all_bits, times = (1 << 128) - 1, 0x2360ED051FC65DA44385DF649FCCF645
    step = (c << 64 | d) << 1 & all_bits | 1
    state = (step + (a << 64 | b)) * times + step & all_bits
    while True:
        state = state * times + step & all_bits
        value, turn = (state >> 64 ^ state) & LONG, state >> 122
        yield (value >> turn | value << (64 - turn)) & LONG


def uniform(seed: list[int], a: float, shape: tuple[int, int]) -> Array:
    words = words_of(seed)
    u = np.array([(next(words) >> 11) * 2.0**-53 for _ in range(math.prod(shape))])
    return ((a - -a) * u + -a).reshape(shape).astype(single)


def permutation(seed: list[int], count: int) -> list[int]:
    """From the last place on, each is exchanged with one of those up to it."""
    halves = (half for word in words_of(seed) for half in (word & WORD, word >> 32))
    order = list(range(count))
    for i in range(count - 1, 0, -1):
        mask, j = (1 << i.bit_length()) - 1, count
        while j > i:
            j = next(halves) & mask
        order[i], order[j] = order[j], order[i]
    return order


# -- the network ------------------------------------------------------------------------------------------------------


def u(count: int, start: int = 0) -> Array:
    return np.array([((k + 1) * 2654435761 % (1 << 32) >> 8) / 2.0**24 for k in range(start, start + count)])


def sha256(arrays: dict[str, Array]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        a = arrays[name]
        digest.update(f"{name} {a.dtype} {'x'.join(map(str, a.shape))}\n".encode() + a.astype("<f4").tobytes())
    return digest.hexdigest()


def trained() -> str:
    """The hash of the network after 3 epochs of 4 steps."""
    X = (2 * u(800) - 1).astype(single).reshape(100, 8)
    y = (u(100, 1 << 20) * 4).astype(int)
    theta: dict[str, Array] = {}
    for layer, inputs, units in ((0, 8, 16), (2, 16, 4)):
        a = math.sqrt(3 * (2 / (inputs + units)))
        theta[f"{layer}.W"] = uniform([0, *f"{layer}.W".encode()], a, (inputs, units))
        theta[f"{layer}.b"] = np.zeros(units, single)
    m = {name: np.zeros_like(a) for name, a in theta.items()}
    v = {name: np.zeros_like(a) for name, a in theta.items()}
    one, t = np.ones((32, 1), single), 0
    for epoch in range(3):
        order = permutation([0, epoch], 100)
        for first in range(0, 100, 32):
            rows = order[first : first + 32]
            w = np.array([1.0] * len(rows) + [0.0] * (32 - len(rows)))
            rows = rows + [rows[0]] * (32 - len(rows))
            share = (w / len(order[first : first + 32])).astype(single)[:, None]
            x = X[rows]

            h = tanh(product(x, theta["0.W"]) + theta["0.b"])
            z = product(h, theta["2.W"]) + theta["2.b"]
            e = exp(z - z.max(axis=1, keepdims=True))
            q = (y[rows][:, None] == np.arange(4)).astype(single)
            dz = (e / row_sum(e) - q) * share
            dh = product(dz, theta["2.W"].T) * (single(1) - h * h)
            g = {"2.W": product(h.T, dz), "2.b": product(one.T, dz)[0]}
            g |= {"0.W": product(x.T, dh), "0.b": product(one.T, dh)[0]}

            t += 1
            root = math.sqrt(1.0 - by_products(0.999, t))
            alpha, eps = single(0.01 * root / (1.0 - by_products(0.9, t))), single(1e-8 * root)
            for name in theta:
                m[name] = single(0.9) * m[name] + single(1.0 - 0.9) * g[name]
                v[name] = single(0.999) * v[name] + single(1.0 - 0.999) * (g[name] * g[name])
                theta[name] = theta[name] - alpha * m[name] / (np.sqrt(v[name]) + eps)
    return sha256(theta)


def by_products(a: float, n: int) -> float:
    result, square = 1.0, a
    while n:
        if n & 1:
            result = result * square
        square, n = square * square, n >> 1
    return result


if __name__ == "__main__":
    print(trained())
