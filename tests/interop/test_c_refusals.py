"""What `Network.to_c` refuses, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from c_runs import SMALL

import gpubp as bp
from gpubp.interop.c import write as writing


class Doubled(bp.Dense):
    """A Dense that is none."""

    def forward(self, ws, x):
        return super().forward(ws, x)


class Twice(bp.Layer):
    """A layer of one's own."""

    def plan(self, x):
        return bp.Plan(output=x, arrays={"y": x})

    def forward(self, ws, x):
        return ws.xp.add(x, x, out=ws.y)

    def input_gradient(self, ws, dy):
        return dy


class Hard(bp.ReLU):
    """An activation that is no formula alone."""

    def forward(self, ws, x):
        return super().forward(ws, x)


def test_all_layers_that_cannot_be_written_are_named_at_once(tmp_path: Path) -> None:
    layers = bp.Sequential(Doubled(3), bp.Residual(bp.Sequential(bp.ReLU(), Twice())), Hard(), bp.Dense(2))
    with pytest.raises(bp.ExportError) as error:
        bp.Network(layers, 4, "cpu").to_c(tmp_path / "model.c")
    for words in ('Doubled(3) at "0"', 'Twice() at "1.0.1"', 'Hard() at "2"'):
        assert words in str(error.value)
    assert "ReLU() at" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_rows_of_any_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(bp.ExportError, match=r"rows of any length, \(None, 3\)"):
        bp.Network(bp.GRU(4), (None, 3), "cpu").to_c(tmp_path / "model.c")


@pytest.mark.parametrize("name", ["1a", "_a", "a-b", "é", "a b", "a" * 40, None, 3, "a\n"])
def test_names_that_are_none_in_c_are_refused(name: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name goes before names in C"):
        bp.Network(SMALL, 4, "cpu").to_c(tmp_path / "model.c", name=name)


def test_too_large_a_network_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST_NUMBERS", 66)
    with pytest.raises(bp.ExportError, match="the network has 67 numbers, and a file in C at most 66"):
        bp.Network(SMALL, 4, "cpu").to_c(tmp_path / "model.c")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="model.c"):
        bp.Network(SMALL, 4, "cpu").to_c(tmp_path / "no" / "model.c")
