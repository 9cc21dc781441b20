"""Figures: the numbers in them, read from matplotlib's objects, and the files."""

import io
import struct
from pathlib import Path
from typing import Any

import pytest

import gpubp as bp

pytest.importorskip("matplotlib")

from gpubp.analysis.plots.curves import plot_history  # noqa: E402


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


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("curves.txt", r"ends in .png, .svg or .pdf, and path is 'curves.txt'"),
        ("none/a.png", "there is no folder 'none'"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_first(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By every figure, before its data are looked at."""
    monkeypatch.chdir(Path(__file__).parent)
    nothing: Any = None
    for draw in (
        lambda: bp.plot_history(nothing, name),
        lambda: bp.plot_gradient_flow(nothing, nothing, name),
        lambda: bp.plot_learning_rates(nothing, nothing, path=name),
        lambda: bp.plot_comparison(nothing, name),
        lambda: bp.plot_confusion_matrix(nothing, nothing, nothing, path=name),
        lambda: bp.plot_misclassified(nothing, nothing, nothing, path=name),
    ):
        with pytest.raises(ValueError, match=words):
            draw()


def test_a_picture_can_be_drawn_into_an_open_file(history: bp.History) -> None:
    file = io.BytesIO()
    plot_history(history, file)  # type: ignore[arg-type]
    assert file.getvalue().startswith(b"\x89PNG")
