"""Write torch_onnx_files.zip: small models as torch.onnx writes them, with an input and what PyTorch computes of it.

    pip install torch onnxscript && python tests/interop/make_torch_onnx_files.py

The archive beside this script was made by PyTorch 2.13.0 and onnxscript 0.7.2. "old" is the exporter that traces
(dynamo=False, opset 11 and 17), "new" the one that goes by torch.export (dynamo=True, opset 18).
`test_onnx_in_torch.py` reads it.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two convolutions beside what they get, or beside a convolution of it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Any) -> Any:
        return F.relu(self.body(x) + self.shortcut(x))


class Rows(nn.Module):
    """A convolution, made rows by the shape of its own result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense, self.dropout = nn.Conv2d(3, 4, 3), nn.Linear(48, 5), nn.Dropout(0.3)

    def forward(self, x: Any) -> Any:
        x = F.avg_pool2d(F.silu(self.conv(x)), 2)
        return F.log_softmax(self.dense(self.dropout(x.view(x.size(0), -1))), -1)


class Recurrent(nn.Module):
    """The last states of both directions, or all states."""

    def __init__(self, cell: str, batch_first: bool, both: bool, every: bool) -> None:
        super().__init__()
        self.cell = getattr(nn, cell)(3, 4, 2, batch_first=batch_first, bidirectional=both)
        self.dense, self.every, self.both = nn.Linear(8 if both else 4, 2), every, both

    def forward(self, x: Any) -> Any:
        y, h = self.cell(x)
        if self.every:
            return self.dense(y)
        h = h[0] if isinstance(h, tuple) else h
        return self.dense(torch.cat([h[-2], h[-1]], 1) if self.both else h[-1])


class Encoder(nn.Module):
    """Words, positions, and an encoder of PyTorch's."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(20, 8), nn.Parameter(torch.randn(1, 6, 8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
        self.dense = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.dense(self.encoder(self.words(x) + self.positions).mean(1))


class Causal(nn.Module):
    """An attention written by hand, where no step looks ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: Any) -> Any:
        B, T, n = x.shape
        q, k, v = (f(x).view(B, T, 2, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = (q @ k.transpose(-2, -1)) / 2.0
        scores = scores.masked_fill(torch.tril(torch.ones(T, T)) == 0, float("-inf"))
        return x + self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, n))


def models() -> Iterator[tuple[str, nn.Module, Any]]:
    """Name, model, input; the rows are the first axis, or where the name says so, the second."""
    dense = nn.Sequential(
        nn.Linear(5, 8), nn.GELU("tanh"), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.Linear(8, 6), nn.LayerNorm(6),
        nn.Softplus(), nn.Linear(6, 3), nn.Softmax(-1),
    )  # fmt: skip
    yield "dense", dense, torch.randn(4, 5)
    blocks = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), Block(4, 4, 1), Block(4, 6, 2), nn.AdaptiveAvgPool2d(1))
    yield "residual", nn.Sequential(blocks, nn.Flatten(), nn.Linear(6, 3)), torch.randn(3, 2, 10, 9)
    yield "rows", Rows(), torch.randn(3, 3, 10, 8)
    yield "lstm both", Recurrent("LSTM", True, True, False), torch.randn(3, 5, 3)
    yield "gru rows second", Recurrent("GRU", False, False, True), torch.randn(5, 3, 3)
    yield "encoder", Encoder(), torch.randint(0, 20, (3, 6))
    yield "causal", Causal(), torch.randn(3, 6, 8)


def main() -> None:
    """Write the archive."""
    torch.manual_seed(1)
    with (
        zipfile.ZipFile(
            Path(__file__).with_name("torch_onnx_files.zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=9
        ) as made,
        tempfile.TemporaryDirectory() as folder,
    ):
        for name, net, x in models():
            net.eval()
            for norm in net.modules():
                if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                    norm.running_mean.normal_()
                    norm.running_var.uniform_(0.5, 2.0)
            rows = 1 if "rows second" in name else 0
            with torch.no_grad():
                held = io.BytesIO()
                np.savez(held, x=x.numpy(), y=net(x).numpy())
            made.writestr(f"{name}.npz", held.getvalue())
            for exporter, opset in (("old", 11), ("old", 17), ("new", 18)):
                if opset == 11 and name in ("causal", "encoder"):
                    continue  # which this version can't write
                path = Path(folder) / "model.onnx"
                options: dict[str, Any] = {"dynamic_axes": {"x": {rows: "batch"}}}
                if exporter == "new":
                    options = {"dynamic_shapes": ({rows: torch.export.Dim("batch")},), "external_data": False}
                torch.onnx.export(
                    net, (x,), str(path), opset_version=opset, dynamo=exporter == "new", input_names=["x"], **options
                )
                made.writestr(f"{name}, {exporter} {opset}.onnx", small(path))


def small(path: Path) -> bytes:
    """The file without what only people read, such as stack traces."""
    import onnx

    model = onnx.load(path)
    for value in (*model.graph.node, *model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    for emptied in ("metadata_props", "value_info"):
        model.graph.ClearField(emptied)
    return bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
