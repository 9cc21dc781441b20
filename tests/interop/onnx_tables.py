"""Networks of tables written as ONNX, run by onnxruntime on raw values beside gpubp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.tables import Column, Preparation, TableTarget

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pyarrow = pytest.importorskip("pyarrow")

PRICE = TableTarget("the target", "numbers", mean=5.0, scale=2.0)


class TableSession:
    """A network of random weights for these columns, and its ONNX file."""

    def __init__(
        self,
        folder: Path,
        columns: Sequence[Column],
        forms: Mapping[str, str] | None = None,
        missing: tuple[str, ...] = (),
        net: bp.Network | None = None,
    ) -> None:
        if net is None:
            self.prepared = Preparation(tuple(columns), PRICE, missing=missing)
            first = [layer for layer in [self.prepared.embedding] if layer is not None]
            net = bp.Network(
                bp.Sequential(*first, bp.Dense(4), bp.Tanh(), bp.Dense(1)), self.prepared.width, device="cpu"
            )
            self.prepared.keep_in(net)
        self.net, path = net, folder / "model.onnx"
        self.prepared = Preparation.of(net)
        net.to_onnx(path, columns=forms)
        self.model = onnx.load(path)
        onnx.checker.check_model(self.model, full_check=True)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors that are expected are not printed
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = {c.name: i for c, i in zip(self.prepared.columns, self.session.get_inputs(), strict=True)}

    def feeds(self, values: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """What the session takes, of raw values by column; None is missing."""
        fed = {}
        for column in self.prepared.columns:
            described, given = self.inputs[column.name], values[column.name]
            if described.type == "tensor(string)":
                a: Any = np.array(["" if v is None else v for v in given], object)
            else:
                a = np.array([np.nan if v is None else v for v in given], np.float64)
            fed[described.name] = a.reshape(-1, 1)
        return fed

    def run(self, values: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """The outputs by name."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, self.feeds(values)), strict=True))

    def compare(self, values: Mapping[str, Sequence[Any]], tolerance: float = 1e-5) -> None:
        """Assert that the file predicts what gpubp predicts, for all rows, for the first alone, and for none."""
        for rows in (len(next(iter(values.values()))), 1, 0):
            given = {name: list(column[:rows]) for name, column in values.items()}
            table = pyarrow.table({name: pyarrow.array(column) for name, column in given.items()})
            if rows:
                X = self.prepared.transform(table.combine_chunks().to_batches()[0])
                expected = self.prepared.target.answers(self.net.predict(X))
            else:
                expected = np.zeros(0, self.net.dtype)
            found = self.run(given)["prediction"]
            assert found.shape == expected.shape and found.dtype == expected.dtype
            if rows:
                assert np.abs(found - expected).max() <= tolerance * max(1.0, float(np.abs(expected).max()))

    def refuses(self, values: Mapping[str, Sequence[Any]], message: str) -> None:
        """Assert that gpubp and the file both refuse these rows, the file with this in its message."""
        table = pyarrow.table({name: pyarrow.array(column) for name, column in values.items()})
        with pytest.raises(bp.DataError):
            self.prepared.transform(table.combine_chunks().to_batches()[0])
        with pytest.raises(Exception, match=message):
            self.run(values)


def compare_texts(session: TableSession, texts: Sequence[str], strict: bool = True) -> tuple[int, int]:
    """Assert of a column of texts called x, that the file reads what gpubp reads, and refuses what gpubp refuses.

    strict: whether it must read all that gpubp reads; if not, it may refuse more. Returns how many gpubp reads and
    refuses.
    """
    column = session.prepared.columns[0]
    found = column.written.read(pyarrow.array(texts))
    good = [text for text, bad in zip(texts, found.bad, strict=True) if not bad]
    bad = [text for text, bad in zip(texts, found.bad, strict=True) if bad]
    taken = [text for text in good if strict or reads(session, text)]
    session.compare({"x": taken})
    for text in bad[:25]:
        assert not reads(session, text), text
    return len(good), len(bad)


def reads(session: TableSession, text: str) -> bool:
    """Whether the file takes a text."""
    try:
        session.run({"x": [text]})
    except Exception as problem:
        assert "column x: a value " in str(problem)
        return False
    return True
