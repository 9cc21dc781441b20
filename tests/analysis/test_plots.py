"""Figures: the numbers in them, read from matplotlib's objects, and the files."""

import struct
from pathlib import Path

import pytest

import gpubp as bp

pytest.importorskip("matplotlib")

from gpubp.analysis.plots import plot_history  # noqa: E402


@pytest.fixture
def history() -> bp.History:
    history = bp.History()
    for epoch in range(4):
        history.append({"loss": 1.0 / (1 + epoch), "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.4})
    return history


def test_curves_of_training_and_validation(history: bp.History) -> None:
    loss, accuracy = plot_history(history).axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert loss.lines[0].get_ydata() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert list(loss.lines[0].get_xdata()) == [1, 2, 3, 4]
    assert accuracy.get_title() == "accuracy" and accuracy.lines[1].get_ydata() == pytest.approx([0.4] * 4)


def test_a_loss_over_many_sizes_gets_a_logarithmic_axis() -> None:
    wide, narrow = bp.History(), bp.History()
    for epoch in range(4):
        wide.append({"loss": 10.0**-epoch})
        narrow.append({"loss": 1.0 - 0.1 * epoch})
    assert plot_history(wide).axes[0].get_yscale() == "log"
    assert plot_history(narrow).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(("ending", "start"), [(".png", b"\x89PNG\r\n\x1a\n"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_figures_as_files(history: bp.History, tmp_path: Path, ending: str, start: bytes) -> None:
    path = tmp_path / f"curves{ending}"
    figure = plot_history(history, path, title="digits, cpu")
    assert figure.get_suptitle() == "digits, cpu"
    content = path.read_bytes()
    assert content.startswith(start)
    if ending == ".png":
        width, height = struct.unpack(">II", content[16:24])
        assert 800 <= width <= 1600 and 300 <= height <= 800 and len(content) > 10_000


def test_an_empty_history_is_an_error() -> None:
    with pytest.raises(ValueError, match="no epoch"):
        plot_history(bp.History())
