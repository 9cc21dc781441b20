"""The workloads: a network, a batch, an optimizer and a loss, with first weights and data that all contenders share.

Layers are written as short lists, which any library can be built from, and which go through a pipe as JSON:

    ["dense", 64]  ["conv", 32]  (3 x 3, "same")  ["pool"]  (2 x 2 by maximum)  ["flatten"]  ["relu"]  ["batchnorm"]
    ["dropout", 0.2]

and for sequences

    ["words", n, m]  (n words as m numbers each)  ["lstm", 64]  ["gru", 128]  (the last state)  ["lstm-all", 256]  (all)
    ["block", 4]  (of an encoder, 4 heads)  ["norm"]  (of every row)  ["mean"]  (over time)
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

__all__ = ["CPU", "GPU", "Data", "Job", "Workload", "data_of", "first_weights", "mlp", "orders"]

Array = np.ndarray[Any, Any]
EPS = 1e-5  # of normalizations
GATES = {"lstm": 4, "lstm-all": 4, "gru": 3}
SEQUENCES = {"words", "block", "mean", *GATES}
MOMENTUM = 0.9


@dataclass(frozen=True)
class Workload:
    """A network, its batch, optimizer and loss.

    shape: of one input row; of words if "words" is the first layer. layers: see above. batch: rows a step. optimizer:
    "adam" or "momentum". loss: "softmax" or "mse". rows: of the data. precision: "float32", "tf32" or "bfloat16"
    (products only).
    """

    name: str
    text: str
    shape: tuple[int, ...]
    layers: tuple[tuple[Any, ...], ...]
    batch: int
    optimizer: str = "adam"
    loss: str = "softmax"
    rows: int = 4096
    rate: float = 1e-3
    precision: str = "float32"
    small: bool = False

    @property
    def kinds(self) -> set[str]:
        """The kinds of workload, by which contenders are chosen."""
        kinds = {"images": len(self.shape) == 3, "small": self.small, "sequences": self.sequences}
        return {kind for kind, is_one in kinds.items() if is_one}

    @property
    def sequences(self) -> bool:
        """Whether rows are sequences, of words or of numbers."""
        return any(layer[0] in SEQUENCES for layer in self.layers)

    @property
    def words(self) -> int:
        """How many words there are; 0 if the inputs are numbers."""
        return self.layers[0][1] if self.layers[0][0] == "words" else 0

    @property
    def each(self) -> bool:
        """Whether every time step has a target of its own."""
        return bool(self.words) and not any(layer[0] in ("lstm", "gru", "mean") for layer in self.layers)

    @property
    def outputs(self) -> int:
        """Outputs of a row."""
        return next(layer[1] for layer in reversed(self.layers) if layer[0] == "dense")

    @property
    def chance(self) -> bool:
        """Whether steps draw random numbers."""
        return any(layer[0] == "dropout" and layer[1] for layer in self.layers)

    def plain(self) -> Workload:
        """The same workload without dropout, which each library draws differently."""
        return replace(self, layers=tuple(("dropout", 0.0) if n[0] == "dropout" else n for n in self.layers))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Workload:
        return cls(**told | {"shape": tuple(told["shape"]), "layers": tuple(map(tuple, told["layers"]))})

    def parameters(self) -> list[tuple[str, dict[str, tuple[int, ...]]]]:
        """(layer, shapes of its parameters) for each layer that has any: W (in, out), or (3, 3, in, out)."""
        found: list[tuple[str, dict[str, tuple[int, ...]]]] = []
        for kind, inside, outside, layer in self.walk():
            if kind == "dense":
                found.append((kind, {"W": (inside[-1], outside[-1]), "b": outside[-1:]}))
            elif kind == "conv":
                found.append((kind, {"W": (3, 3, inside[-1], outside[-1]), "b": outside[-1:]}))
            elif kind in ("batchnorm", "norm"):
                found.append((kind, {"gamma": inside[-1:], "beta": inside[-1:]}))
            elif kind == "words":
                found.append((kind, {"W": (layer[1], layer[2])}))
            elif kind in GATES:
                k, m = GATES[kind] * layer[1], layer[1]
                more = {"b_U": (m,)} if kind == "gru" else {}
                found.append((kind, {"W": (inside[-1], k), "U": (m, k), "b": (k,), **more}))
            elif kind == "block":
                n = inside[-1]
                found += [
                    ("norm", {"gamma": (n,), "beta": (n,)}),
                    ("attention", {"WQKV": (n, 3 * n), "WO": (n, n), "bQ": (n,), "bO": (n,)}),
                    ("norm", {"gamma": (n,), "beta": (n,)}),
                    ("dense", {"W": (n, 4 * n), "b": (4 * n,)}),
                    ("dense", {"W": (4 * n, n), "b": (n,)}),
                ]
        return found

    def products(self) -> list[tuple[int, int, int]]:
        """(m, k, n) of every matrix product of a step: forward, dW and, above the lowest layer, dx."""
        found: list[tuple[int, int, int]] = []
        lowest = True

        def product(m: int, k: int, n: int, times: int = 1) -> None:
            found.extend([(m, k, n), (k, m, n)] * times if lowest else [(m, k, n), (k, m, n), (m, n, k)] * times)

        for kind, inside, outside, layer in self.walk():
            rows = self.batch * math.prod(inside[:-1])
            if kind in ("dense", "conv"):
                m = self.batch * math.prod(outside[:-1])
                product(m, 9 * inside[-1] if kind == "conv" else inside[-1], outside[-1])
            elif kind in GATES:
                n, steps = layer[1], inside[0]
                product(rows, inside[-1], GATES[kind] * n)
                found += [(self.batch, n, GATES[kind] * n), (self.batch, GATES[kind] * n, n)] * steps
                found.append((n, rows, GATES[kind] * n))
            elif kind == "block":
                (steps, n), heads = inside, layer[1]
                lowest = False
                for k, m in ((n, 3 * n), (n, n), (n, 4 * n), (4 * n, n)):
                    product(rows, k, m)
                product(steps, n // heads, steps, self.batch * heads)  # S = Q Kᵀ, dQ and dK
                product(steps, steps, n // heads, self.batch * heads)  # O = P V, dP and dV
            lowest = lowest and kind not in ("dense", "conv", "words", *GATES)
        return found

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products of a step."""
        return sum(2 * m * k * n for m, k, n in self.products())

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(math.prod(s) for _, shapes in self.parameters() for s in shapes.values())

    @property
    def bytes(self) -> int:
        """Bytes that an update must move: Adam reads θ, g, m, v and writes θ, m, v; momentum θ, g, v and θ, v."""
        return 4 * self.size * (7 if self.optimizer == "adam" else 5)

    def walk(self) -> Any:
        shape = self.shape
        for layer in self.layers:
            kind, before = layer[0], shape
            if kind in ("dense", "conv", "lstm-all"):
                shape = (*shape[:-1], layer[1])
            elif kind in ("lstm", "gru"):
                shape = (layer[1],)
            elif kind == "words":
                shape = (*shape, layer[2])
            elif kind == "mean":
                shape = shape[1:]
            elif kind == "pool":
                shape = (shape[0] // 2, shape[1] // 2, shape[2])
            elif kind == "flatten":
                shape = (math.prod(shape),)
            yield kind, before, shape, layer

    def flattened(self) -> tuple[int, ...] | None:
        """(height, width, channels) before "flatten": libraries that keep channels first flatten in another order."""
        return next((before for kind, before, _, _ in self.walk() if kind == "flatten"), None)


def mlp(*widths: int, after: tuple[tuple[Any, ...], ...] = (("relu",),)) -> tuple[tuple[Any, ...], ...]:
    """Dense layers with `after` between them.

    >>> mlp(8, 2)
    (('dense', 8), ('relu',), ('dense', 2))
    """
    hidden = [layer for n in widths[:-1] for layer in (("dense", n), *after)]
    return (*hidden, ("dense", widths[-1]))


def _conv(*filters: int, norm: bool = False) -> tuple[tuple[Any, ...], ...]:
    return tuple(x for n in filters for x in (("conv", n), *((("batchnorm",),) if norm else ()), ("relu",)))


CNN = (*_conv(32), ("pool",), *_conv(64), ("pool",), ("flatten",), *mlp(128, 10))
NORMALIZED = (("batchnorm",), ("relu",), ("dropout", 0.2))

W2, W3 = mlp(512, 512, 10), mlp(2048, 2048, 10)
W8 = (*_conv(32, 32, norm=True), ("pool",), *_conv(64, 64, norm=True), ("pool",), ("flatten",), *mlp(128, 10))


def _by_name(*workloads: Workload) -> dict[str, Workload]:
    return {w.name: w for w in workloads}


CPU = _by_name(
    Workload("W1", "64-64-32-10, batch 32, Adam", (64,), mlp(64, 32, 10), 32, small=True),
    Workload("W2", "784-512-512-10, batch 128, Adam", (784,), W2, 128),
    Workload("W3", "784-2048-2048-10, batch 1024, momentum", (784,), W3, 1024, "momentum", rate=1e-2),
    Workload("W4", "1-1-1-1, batch 3, Adam", (1,), mlp(1, 1, 1), 3, loss="mse", small=True),
    Workload("W5", "CNN 32-64-128-10 on 28x28x1, batch 128, Adam", (28, 28, 1), CNN, 128, rows=1024),
    Workload("W6", "W2 with BatchNorm and Dropout", (784,), mlp(512, 512, 10, after=NORMALIZED), 128),
    Workload("W7", "3072-1024-256-100, batch 256, Adam", (3072,), mlp(1024, 256, 100), 256),
    Workload(
        "W8", "CNN 32-32-64-64-128-10 with BatchNorm on 32x32x3, batch 64, momentum", (32, 32, 3), W8, 64, "momentum",
        rows=512, rate=1e-2,
    ),
    Workload(
        "S1", "LSTM 64-10 on 50 steps of 32 numbers, batch 32, Adam", (50, 32), (("lstm", 64), ("dense", 10)), 32,
        rows=1024,
    ),
    Workload(
        "S2", "GRU 128-10 on 100 steps of 32 numbers, batch 64, Adam", (100, 32), (("gru", 128), ("dense", 10)), 64,
        rows=1024,
    ),
    Workload(
        "S3", "LSTM 256 for the next of 64 letters, 64 steps, batch 64, Adam", (64,),
        (("words", 64, 64), ("lstm-all", 256), ("dense", 64)), 64, rows=1024,
    ),
    Workload(
        "S4", "2 encoder blocks of 64 numbers, 4 heads, on 64 steps, batch 32, Adam", (64, 64),
        (("block", 4), ("block", 4), ("norm",), ("mean",), ("dense", 10)), 32, rows=1024,
    ),
)  # fmt: skip

B = Workload("B", "784-2048-2048-10, batch 1024, momentum", (784,), W3, 1024, "momentum", rows=8192, rate=1e-2)
GPU = _by_name(
    Workload("A", "784-512-512-10, batch 128, Adam, float32", (784,), W2, 128, rows=8192),
    replace(B, text=f"{B.text}, float32"),
    replace(B, name="B-tf32", text=f"{B.text}, TF32", precision="tf32"),
    Workload(
        "C", "8 layers of 4096, batch 8192, momentum, bfloat16", (4096,), mlp(*[4096] * 8), 8192, "momentum", "mse",
        rows=16384, precision="bfloat16",
    ),
    Workload("D", "CNN 32-64-128-10 on 28x28x1, batch 256, Adam, float32", (28, 28, 1), CNN, 256),
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """X (rows, *shape) float32, or words; y (rows,) classes, (rows, steps) words, or (rows, outputs) float32."""

    X: Array
    y: Array


@dataclass(frozen=True)
class Job:
    """The arguments of a contender; weights as `first_weights` gives them."""

    workload: Workload
    data: Data
    weights: list[dict[str, Array]]
    device: str = "cpu"
    threads: int = 2
    chunk: int = 50


def data_of(workload: Workload, seed: int = 0) -> Data:
    """Random rows whose targets depend on them, with noise: no parameter ever reaches a gradient of 0."""
    rng = np.random.default_rng([seed, 1])
    if workload.words:
        words = rng.integers(0, workload.words, (workload.rows, workload.shape[0] + 1))
        words[:, 1:] = np.where(
            rng.random(words[:, 1:].shape) < 0.7, (words[:, :-1] + 1) % workload.words, words[:, 1:]
        )
        return Data(words[:, :-1], words[:, 1:])
    X = rng.standard_normal((workload.rows, *workload.shape), np.float32)
    flat, outputs = X.reshape(workload.rows, -1), workload.outputs
    truth = flat[:, :64] @ rng.standard_normal((min(64, flat.shape[1]), outputs), np.float32)
    if workload.loss == "mse":
        y = truth / math.sqrt(min(64, flat.shape[1])) + 0.3 * rng.standard_normal(truth.shape, np.float32)
        return Data(X, y.astype(np.float32))
    y = truth.argmax(axis=1)
    noise = rng.random(len(y)) < 0.3
    return Data(X, np.where(noise, rng.integers(0, outputs, len(y)), y).astype(np.int64))


def first_weights(workload: Workload, seed: int = 0) -> list[dict[str, Array]]:
    """A dictionary for each layer with parameters, float32, random also where libraries begin with 0 and 1."""
    rng = np.random.default_rng([seed, 2])
    found = []
    for kind, shapes in workload.parameters():
        if kind in ("batchnorm", "norm"):
            n = shapes["gamma"]
            found.append({"gamma": rng.uniform(0.8, 1.2, n), "beta": rng.uniform(-0.1, 0.1, n)})
            continue
        if "W" not in shapes or "U" in shapes or kind == "words":
            reach = 1.0 if kind == "words" else 1.0 / math.sqrt(shapes["WO" if "WO" in shapes else "U"][0])
            found.append({name: rng.uniform(-reach, reach, shape) for name, shape in shapes.items()})
            continue
        reach = math.sqrt(6.0 / math.prod(shapes["W"][:-1]))
        W = rng.uniform(-reach, reach, shapes["W"])
        if W.size == 1:
            W = np.abs(W) + 0.5  # a network of single units that are off never learns
        found.append({"W": W, "b": rng.uniform(0.0, 0.1, shapes["b"])})
    return [{name: a.astype(np.float32) for name, a in layer.items()} for layer in found]


def orders(workload: Workload, seed: int = 0) -> Any:
    """Endless row numbers, a batch at a time, epoch after epoch, each in a new order."""
    rng = np.random.default_rng([seed, 3])
    while True:
        order = rng.permutation(workload.rows)
        for start in range(0, workload.rows - workload.batch + 1, workload.batch):
            yield order[start : start + workload.batch]
