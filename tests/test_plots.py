"""Pictures: what they show, read from the figure."""

import pytest

import gpubp as bp

pytest.importorskip("matplotlib")

from gpubp.plots import plot_history  # noqa: E402


def test_curves_of_training_and_validation() -> None:
    history = bp.History()
    for epoch in range(4):
        history.append({"loss": 1.0 / (1 + epoch), "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.4})
    loss, accuracy = plot_history(history).axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert loss.lines[0].get_ydata() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert accuracy.get_title() == "accuracy"


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(ValueError, match="no epoch"):
        plot_history(bp.History())
