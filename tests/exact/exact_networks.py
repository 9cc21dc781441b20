"""Five networks that docs/exact.md has the hashes of, and what anybody needs to train them: their data are formulas.

python tests/exact/exact_networks.py                the SHA-256 of each, as JSON
python tests/exact/exact_networks.py --workers 2    with so many workers
python tests/exact/exact_networks.py --device cuda
python tests/exact/exact_networks.py --device host-cuda     by the kernels of CUDA, built for the host

u(k) = (2654435761 (k + 1) mod 2³²) / 2³², rounded down to 24 bits        numbers in [0, 1)
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

import gpubp as bp

Array = np.ndarray[Any, Any]


def u(*shape: int, start: int = 0) -> Array:
    """u(start), u(start + 1), ... as float32, row after row: every number is exact."""
    k = np.arange(start + 1, start + 1 + int(np.prod(shape)), dtype=np.uint64)
    return (
        ((k * np.uint64(2654435761) % np.uint64(1 << 32) >> np.uint64(8)) / 2.0**24).astype(np.float32).reshape(shape)
    )


def rows(*shape: int) -> Array:
    """Numbers in [-1, 1)."""
    return 2 * u(*shape) - 1


def whole(below: int, *shape: int, start: int = 0) -> Array:
    """Whole numbers ⌊below u(k)⌋."""
    return (u(*shape, start=start).astype(np.float64) * below).astype(np.int32)


def classes(below: int, count: int) -> Array:
    """A class for each row, from other numbers than the rows."""
    return whole(below, count, start=1 << 20)


Options = dict[str, Any]


def mlp(**options: Any) -> tuple[bp.Trainer, Options]:
    """tanh, softmax and Adam; the last batch of an epoch is short."""
    net = bp.Network(bp.Sequential(bp.Dense(16), bp.Tanh(), bp.Dense(4)), input_shape=8, **network(options))
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=32, **options)
    return trainer, {"X": rows(100, 8), "y": classes(4, 100), "epochs": 3}


def cnn(**options: Any) -> tuple[bp.Trainer, Options]:
    """Convolutions, batch normalization, pooling, dropout and augmentation; momentum, and a rate that falls."""
    layers = bp.Sequential(
        bp.RandomFlip("horizontal"), bp.RandomTranslation(0.2, 0.2), bp.Conv2D(4, 3), bp.BatchNorm(), bp.ReLU(),
        bp.MaxPool2D(2), bp.Flatten(), bp.Dropout(0.25), bp.Dense(3),
    )  # fmt: skip
    net = bp.Network(layers, input_shape=(8, 8, 2), **network(options))
    optimizer = bp.SGD(bp.CosineDecay(0.1, 12), momentum=0.9)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(0.1), optimizer, batch_size=16, l2=1e-3, **options)
    return trainer, {"X": rows(60, 8, 8, 2), "y": classes(3, 60), "epochs": 3}


def words(**options: Any) -> tuple[bp.Trainer, Options]:
    """An embedding and a recurrent layer, read to its end; RMSprop and the gradient's norm clipped."""
    layers = bp.Sequential(bp.Embedding(10, 6), bp.GRU(8), bp.Dense(1))
    net = bp.Network(layers, input_shape=(5,), **network(options))
    trainer = bp.Trainer(net, bp.BinaryCrossEntropy(), bp.RMSprop(0.01), batch_size=16, clip_norm=0.1, **options)
    return trainer, {"X": whole(10, 48, 5), "y": classes(2, 48), "epochs": 3}


def numbers(**options: Any) -> tuple[bp.Trainer, Options]:
    """float64, rows with weights, and a rate that rises and falls."""
    layers = bp.Sequential(bp.Dense(12), bp.LayerNorm(), bp.GELU("tanh"), bp.Dense(2))
    net = bp.Network(layers, input_shape=6, dtype="float64", **network(options))
    optimizer = bp.AdamW(bp.OneCycle(0.02, 12), weight_decay=0.01)
    trainer = bp.Trainer(net, bp.Huber(), optimizer, batch_size=20, l1=1e-4, **options)
    X = rows(80, 6)
    return trainer, {"X": X, "y": X[:, :2] * X[:, 2:4], "epochs": 3, "sample_weight": u(80, start=1 << 21)}


def shared(**options: Any) -> tuple[bp.Trainer, Options]:
    """Batches that 2 or 4 workers share, batch normalization, SiLU, dropout, class weights, and a clipped norm."""
    layers = bp.Sequential(bp.Dense(32), bp.BatchNorm(), bp.SiLU(), bp.Dropout(0.5), bp.Dense(5))
    net = bp.Network(layers, input_shape=10, **network(options))
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=256, clip_norm=0.25, **options)
    return trainer, {"X": rows(512, 10), "y": classes(5, 512), "epochs": 3, "class_weight": "balanced"}


def network(options: Options) -> Options:
    """The options of a network, taken out of those of its trainer."""
    return {"device": options.pop("device", "cpu"), "numerics": "exact"}


NETWORKS: dict[str, Callable[..., tuple[bp.Trainer, Options]]] = {
    "mlp": mlp, "cnn": cnn, "words": words, "numbers": numbers, "shared": shared,
}  # fmt: skip


def trained(name: str, **options: Any) -> bp.Trainer:
    """The trainer of a network after its epochs."""
    if options.get("device") == "host-cuda":
        options["device"] = host_cuda()
    trainer, data = NETWORKS[name](**options)
    trainer.fit(**data, verbose=False)
    return trainer


def host_cuda() -> Any:
    """The CUDA backend on the stand-in for CuPy in tests/, which must be on the path."""
    from gpubp.backends.cuda.exact.backend import ExactCUDA
    from strict_exact import exact_cupy

    folder = tempfile.TemporaryDirectory(prefix="gpubp-cubins-")
    atexit.register(folder.cleanup)
    os.environ["CUPY_CACHE_DIR"] = folder.name  # no code of a GPU's is to come among those of one
    return ExactCUDA(exact_cupy())


def hashes(**options: Any) -> dict[str, str]:
    """The SHA-256 of each network, trained."""
    return {name: trained(name, **options).network.sha256() for name in NETWORKS}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    print(json.dumps(hashes(**vars(parser.parse_args()))))
