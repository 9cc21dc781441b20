"""Completion of the columns of the table on the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ZshComplete

from gpubp.cli.app import app

pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rooms.csv").write_text("area, town,tax (%),price,id\n1,x,2,3,4\n")
    Path("umlaut.csv").write_bytes("größe,ort\n1,2\n".encode("latin-1"))
    Path("rooms.jsonl").write_text('{"area": 1}\n{"price": 2}\n')
    Path("broken.parquet").write_text("PAR1 and no more")
    Path("y.npy").write_text("")


def offered(line: str) -> list[str]:
    *words, begun = line.split(" ")
    return [item.value for item in ZshComplete(app, {}, "gpubp", "_GPUBP_COMPLETE").get_completions(words, begun)]


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        ("train rooms.csv --target ", ["area", "town", "tax (%)", "price", "id"]),
        ("train rooms.csv --target p", ["price"]),
        ("train --epochs 3 rooms.csv --drop id --numeric a", ["area"]),
        ("train rooms.csv --categorical town,", ["town,area", "town,tax (%)", "town,price", "town,id"]),
        ("train rooms.csv --text t", ["town", "tax (%)"]),
        ("train rooms.csv --drop area,id,p", ["area,id,price"]),
        ("train rooms.csv --no-header --target ", [f"column {i}" for i in range(1, 6)]),
        ("train --encoding latin-1 umlaut.csv --target g", ["größe"]),
        ("train rooms.jsonl --target p", ["price"]),
        ("find-lr rooms.csv --target a", ["area"]),
        ("profile rooms.csv --drop a", ["area"]),
        ("train X.npy --target y", ["y.npy"]),
        ("train umlaut.csv --target g", []),
        ("train broken.parquet --target p", []),
        ("train none.csv --target p", []),
        ("train --drop p", []),
        ("train - --target p", []),
    ],
)
def test_the_columns_of_the_table(line: str, columns: list[str]) -> None:
    assert offered(line) == columns


@pytest.mark.parametrize("line", ["train r", "train rooms.csv --validation r", "predict m.safetensors r"])
def test_tables_of_every_kind_are_offered(line: str) -> None:
    assert offered(line) == ["rooms.csv", "rooms.jsonl"]


def test_the_names_of_long_json_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it would be read."""
    monkeypatch.setattr("gpubp.cli.reading_options.LARGE", 20)
    assert offered("train rooms.jsonl --target p") == []
