"""Files of torch.onnx, by both of its exporters: the layers that they become, and PyTorch's numbers.

`make_torch_onnx_files.py` made the files, so that these tests need no PyTorch.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import agree

import gpubp as bp

ARCHIVE = Path(__file__).with_name("torch_onnx_files.zip")
block = bp.Sequential(bp.Conv2D(4, 3, padding=1), bp.ReLU(), bp.Conv2D(4, 3, padding=1))
wider = bp.Sequential(bp.Conv2D(6, 3, stride=2, padding=1), bp.ReLU(), bp.Conv2D(6, 3, padding=1))
LAYERS: dict[str, bp.Layer] = {
    "dense": bp.Sequential(
        bp.Dense(8), bp.GELU("tanh"), bp.BatchNorm(), bp.Dense(6), bp.LayerNorm(), bp.Softplus(), bp.Dense(3)
    ),
    "residual": bp.Sequential(
        bp.Conv2D(4, 3), bp.ReLU(), bp.Residual(block), bp.ReLU(), bp.Residual(wider, bp.Conv2D(6, 1, stride=2)),
        bp.ReLU(), bp.GlobalAvgPool2D(), bp.Dense(3),
    ),
    "rows": bp.Sequential(bp.Conv2D(4, 3), bp.SiLU(), bp.AvgPool2D(2), bp.Flatten(), bp.Dense(5)),
    "lstm both": bp.Sequential(
        bp.Bidirectional(bp.LSTM(4, return_sequences=True)), bp.Bidirectional(bp.LSTM(4)), bp.Dense(2)
    ),
    "gru rows second": bp.Sequential(bp.GRU(4, return_sequences=True), bp.GRU(4, return_sequences=True), bp.Dense(2)),
    "encoder": bp.Sequential(
        bp.Embedding(20, 8), bp.PositionalEmbedding(6),
        bp.Residual(bp.Sequential(bp.LayerNorm(), bp.MultiHeadAttention(2))),
        bp.Residual(bp.Sequential(bp.LayerNorm(), bp.Dense(16), bp.ReLU(), bp.Dense(8))), bp.MeanOverTime(),
        bp.Dense(3),
    ),
    "causal": bp.Sequential(bp.Residual(bp.MultiHeadAttention(2, causal=True))),
}  # fmt: skip


def names() -> Iterator[str]:
    with zipfile.ZipFile(ARCHIVE) as archive:
        yield from (name for name in archive.namelist() if name.endswith(".onnx"))


@pytest.mark.parametrize("name", list(names()))
def test_files_of_torch(tmp_path: Path, name: str) -> None:
    model = name.partition(",")[0]
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extract(name, tmp_path)
        arrays = np.load(io.BytesIO(archive.read(f"{model}.npz")))
    net = bp.from_onnx(tmp_path / name, device="cpu")
    assert repr(net.layers) == repr(LAYERS[model])
    agree(net, arrays["x"], arrays["y"])
    if model == "gru rows second":
        assert net.metadata["imported"]["input_axes"] == [1, 0, 2]
    X = arrays["x"].transpose(net.metadata["imported"]["input_axes"])
    assert np.abs(net.predict(X[:1]) - net.predict(X)[:1]).max() == 0.0  # any number of rows
