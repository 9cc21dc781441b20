"""Two networks of docs/exact.md, trained by the rules of that page alone: nothing of gpubp is imported.

NumPy holds arrays and does + - * / and square roots, which IEEE 754 fixes; random numbers are made of Python's whole
numbers. As a program it prints the hashes.
"""

from __future__ import annotations

import hashlib
import math
import re
import zlib
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


def philox(key: tuple[int, int], counter: list[int]) -> list[int]:
    """A block of four words: Philox4x64-10 (Salmon, Moraes, Dror and Shaw 2011)."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        one, two = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = two >> 64 ^ c1 ^ k0, two & LONG, one >> 64 ^ c3 ^ k1, one & LONG
        k0, k1 = k0 + 0x9E3779B97F4A7C15 & LONG, k1 + 0xBB67AE8584CAA73B & LONG
    return [c0, c1, c2, c3]


def mask(layer: str, step: int, shape: tuple[int, int], rate: float) -> Array:
    """1 where a number is kept: 16 bits for each of them, the lowest of a word first."""
    words = [philox((0, zlib.crc32(layer.encode())), [1 + b, step, 0, 0]) for b in range(-(-math.prod(shape) // 16))]
    bits = [word >> 16 * k & 0xFFFF for block in words for word in block for k in range(4)]
    return (np.array(bits[: math.prod(shape)]) >= round(rate * 65536)).reshape(shape).astype(single)


# -- the networks -----------------------------------------------------------------------------------------------------


def u(count: int, start: int = 0) -> Array:
    return np.array([((k + 1) * 2654435761 % (1 << 32) >> 8) / 2.0**24 for k in range(start, start + count)])


def sha256(arrays: dict[str, Array]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        a = arrays[name]
        digest.update(f"{name} {a.dtype} {'x'.join(map(str, a.shape))}\n".encode() + a.astype("<f4").tobytes())
    return digest.hexdigest()


def dense(layer: int, inputs: int, units: int) -> dict[str, Array]:
    """The first values of a layer."""
    a = math.sqrt(3 * (2 / (inputs + units)))
    W = uniform([0, *f"{layer}.W".encode()], a, (inputs, units))
    return {f"{layer}.W": W, f"{layer}.b": np.zeros(units, single)}


class Adam:
    """Adam with the learning rate 0.01 on parameters θ."""

    def __init__(self, theta: dict[str, Array]) -> None:
        self.theta, self.t = theta, 0
        self.m = {name: np.zeros_like(a) for name, a in theta.items()}
        self.v = {name: np.zeros_like(a) for name, a in theta.items()}

    def step(self, g: dict[str, Array]) -> None:
        self.t += 1
        root = math.sqrt(1.0 - by_products(0.999, self.t))
        alpha, eps = single(0.01 * root / (1.0 - by_products(0.9, self.t))), single(1e-8 * root)
        for name, theta in self.theta.items():
            self.m[name] = m = single(0.9) * self.m[name] + single(1.0 - 0.9) * g[name]
            self.v[name] = v = single(0.999) * self.v[name] + single(1.0 - 0.999) * (g[name] * g[name])
            self.theta[name] = theta - alpha * m / (np.sqrt(v) + eps)


def batches(count: int, size: int, epochs: int, weights: Array) -> Iterator[tuple[list[int], Array]]:
    """The rows of each batch, and their shares in its loss."""
    for epoch in range(epochs):
        order = permutation([0, epoch], count)
        for first in range(0, count, size):
            rows = order[first : first + size]
            w = np.zeros(size)
            w[: len(rows)] = weights[rows]
            total = tree([np.array(sum(w[k : k + 64].tolist())) for k in range(0, size, 64)])
            yield rows + [rows[0]] * (size - len(rows)), (w / total).astype(single)[:, None]


def gradient(z: Array, classes: Array, c: Array) -> Array:
    """Of softmax with cross-entropy."""
    e = exp(z - z.max(axis=1, keepdims=True))
    q = (classes[:, None] == np.arange(z.shape[1])).astype(single)
    return (e / row_sum(e) - q) * c


def sum_rows(a: Array, w: Array | None = None) -> Array:
    return product((np.ones((len(a), 1), single) if w is None else w).T, a)[0]


def mlp() -> str:
    """The hash of the network "mlp"."""
    X, y = (2 * u(800) - 1).astype(single).reshape(100, 8), (u(100, 1 << 20) * 4).astype(int)
    adam = Adam(dense(0, 8, 16) | dense(2, 16, 4))
    for rows, c in batches(100, 32, 3, np.ones(100)):
        x, theta = X[rows], adam.theta
        h = tanh(product(x, theta["0.W"]) + theta["0.b"])
        dz = gradient(product(h, theta["2.W"]) + theta["2.b"], y[rows], c)
        dh = product(dz, theta["2.W"].T) * (single(1) - h * h)
        dW = {"0.W": product(x.T, dh), "2.W": product(h.T, dz)}
        adam.step(dW | {"0.b": sum_rows(dh), "2.b": sum_rows(dz)})
    return sha256(adam.theta)


def shared() -> str:
    """The hash of the network "shared": batch normalization, SiLU, dropout, class weights and clipping."""
    X, y = (2 * u(5120) - 1).astype(single).reshape(512, 10), (u(512, 1 << 20) * 5).astype(int)
    weights = (512 / (5 * np.bincount(y)))[y]
    adam = Adam(dense(0, 10, 32) | {"1.gamma": np.ones(32, single), "1.beta": np.zeros(32, single)} | dense(4, 32, 5))
    running = {"1.mean": np.zeros(32, single), "1.var": np.ones(32, single)}
    one, two, far = single(1), single(2), single(1e6)
    for rows, c in batches(512, 256, 3, weights):
        x, theta = X[rows], adam.theta
        a = product(x, theta["0.W"]) + theta["0.b"]
        mean = sum_rows(a, c)
        deviation = a - mean
        var = sum_rows(deviation * deviation, c)
        for name, value in (("1.mean", mean), ("1.var", var)):
            running[name] = single(0.9) * running[name] + single(1.0 - 0.9) * value
        rstd = one / np.sqrt(var + single(1e-5))
        xhat = deviation * rstd
        n = theta["1.gamma"] * xhat + theta["1.beta"]
        s = one / (one + exp(-n))
        silu = np.where(n > -far, n, -far) * s
        kept = mask("3", adam.t + 1, silu.shape, 0.5)
        h = silu * kept * two
        dz = gradient(product(h, theta["4.W"]) + theta["4.b"], y[rows], c)

        dsilu = product(dz, theta["4.W"].T) * kept * two
        dn = dsilu * (s + np.where(silu < far, silu, far) * (one - s))
        dbeta, dgamma = sum_rows(dn), sum_rows(dn * xhat)
        da = (dn - c * (dbeta + xhat * dgamma)) * (theta["1.gamma"] * rstd)
        g = {"0.W": product(x.T, da), "4.W": product(h.T, dz), "0.b": sum_rows(da)}
        g |= {"1.gamma": dgamma, "1.beta": dbeta, "4.b": sum_rows(dz)}
        vector = np.concatenate([np.pad(v.reshape(-1), (0, -v.size % 16)) for v in g.values()])
        norm = np.sqrt(product(vector[None], vector[:, None])[0, 0])
        adam.step({name: v * np.minimum(single(0.25) / norm, one) for name, v in g.items()})
    return sha256(adam.theta | running)


def by_products(a: float, n: int) -> float:
    result, square = 1.0, a
    while n:
        if n & 1:
            result = result * square
        square, n = square * square, n >> 1
    return result


if __name__ == "__main__":
    print(mlp(), shared(), sep="\n")
