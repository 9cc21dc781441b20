"""CPU and GPU side by side, on data made up here: gpu_parity.py FOLDER; needs NumPy and CuPy alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import gpubp as bp

MODELS: dict[str, tuple[bp.Layer, tuple[int, ...], bp.Optimizer]] = {
    "mlp": (bp.mlp(10, (512, 512)), (784,), bp.Adam()),
    "mlp-all": (bp.mlp(10, (256, 128), batch_norm=True, dropout=0.3), (784,), bp.SGD(0.05, momentum=0.9)),
    "cnn": (bp.cnn(10, (28, 28, 1), batch_norm=True, dropout=0.3), (28, 28, 1), bp.Adam()),
}
BACKENDS = {"float32": ("cpu", "cuda"), "float64": ("cpu-float64", "cuda-float64")}


def main(folder: Path) -> int:
    """Compare every model in both types of numbers; 0 if rounding explains all differences."""
    rng, fine = np.random.default_rng(0), True
    for name, (layers, shape, optimizer) in MODELS.items():
        X, y = rng.normal(size=(512, *shape)), rng.integers(0, 10, 512)
        for dtype, backends in BACKENDS.items():
            found = bp.compare_backends(
                layers, X, y, loss=bp.SoftmaxCrossEntropy(), optimizer=optimizer, backends=backends, batch_size=64
            )
            (folder / f"parity-{name}-{dtype}.json").write_text(json.dumps(found.to_dict()) + "\n", encoding="utf-8")
            print(f"{name}, {dtype}\n\n{found}\n", flush=True)
            fine &= found.ok
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
