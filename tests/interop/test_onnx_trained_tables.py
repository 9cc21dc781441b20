"""Tables that the command line has trained on, as ONNX files that take their rows as they stand in the CSV file."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("pyarrow")
pytest.importorskip("rich")
testing = pytest.importorskip("click.testing")

sys.path.insert(0, str(Path(__file__).parent.parent / "tables"))

from houses import houses  # noqa: E402
from onnx_tables import TableSession  # noqa: E402
from tweets import tweets  # noqa: E402

import gpubp as bp  # noqa: E402
from gpubp.cli.app import app  # noqa: E402
from gpubp.tables import Preparation  # noqa: E402


def trained(data: Path, target: str, *more: str) -> bp.Network:
    model = data.with_suffix(".safetensors")
    given = [
        "train",
        data,
        f"--target={target}",
        f"--out={model}",
        "--l2=0.001",
        "--hidden=8",
        "--epochs=1",
        "--device=cpu",
        *more,
    ]
    done = testing.CliRunner().invoke(app, [str(word) for word in given])
    assert done.exit_code == 0, done.output
    return bp.load(model, device="cpu")


def values_of(session: TableSession, data: Path, delimiter: str = ",") -> dict[str, list[Any]]:
    """The rows of a CSV file as the file takes them: its texts, and numbers where it takes numbers."""
    with open(data, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    found: dict[str, list[Any]] = {}
    for column in session.prepared.columns:
        cells = [row[column.name] for row in rows]
        if session.inputs[column.name].type == "tensor(double)":
            found[column.name] = [float(cell) if cell else None for cell in cells]
        else:
            found[column.name] = cells
    return found


def compare(net: bp.Network, folder: Path, data: Path, delimiter: str = ",") -> None:
    """Assert that the file says of all rows what gpubp says."""
    session = TableSession(folder, (), net=net)
    prepared = session.prepared
    z = net.predict(prepared.arrays(data, target=False)[0])
    found = session.run(values_of(session, data, delimiter))
    if prepared.target.kind == "numbers":
        expected = prepared.target.answers(z)
        assert np.abs(found["prediction"] - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    else:
        p = np.exp(z - z.max(axis=1, keepdims=True))
        assert found["label"].tolist() == prepared.target.answers(z).tolist()
        assert np.abs(found["probabilities"] - p / p.sum(axis=1, keepdims=True)).max() <= 1e-5


@pytest.mark.parametrize("target", ["price", "dear"])
def test_houses(target: str, tmp_path: Path) -> None:
    net = trained(houses(tmp_path / "houses.csv", rows=300), target)
    compare(net, tmp_path, houses(tmp_path / "new.csv", rows=40, seed=7))


@pytest.mark.parametrize("texts", ["mlp", "gru"])
def test_tweets(texts: str, tmp_path: Path) -> None:
    net = trained(tweets(tmp_path / "tweets.csv", rows=200), "sentiment", f"--model={texts}")
    assert Preparation.of(net).texts
    compare(net, tmp_path, tweets(tmp_path / "new.csv", rows=40, seed=7))


def test_a_table_in_the_spelling_of_another_country(tmp_path: Path) -> None:
    rng, data = np.random.default_rng(0), tmp_path / "sales.csv"
    lines = ["Verkauft am;Preis;Rabatt;Straße;Dauer;Mehrwert:0;Ergebnis"]
    for i in range(200):
        a, b, c = rng.integers(1, 28), rng.integers(1, 12), rng.integers(0, 100)
        price = f"{rng.integers(1, 99)}.{rng.integers(0, 999):03},50 €" if i % 17 else ""
        name = f"Weg {rng.integers(40)}"
        lines.append(f"{a}.{b}.2024;{price};{c},5%;{name};{c}:30;{['ja', 'nein'][c % 2]};{a + b},25")
    data.write_text("\n".join(lines), encoding="utf-8")
    net = trained(data, "Ergebnis")
    compare(net, tmp_path, data, ";")
