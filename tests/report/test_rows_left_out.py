"""A report of a training whose loss leaves out rows does not count them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_report import Page

import gpubp as bp

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


@pytest.mark.parametrize("ignored", [-100, 2])
def test_rows_that_the_loss_leaves_out_are_not_counted(ignored: int, tmp_path: Path, rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(50, 3)), np.arange(50) % 2
    y[::5] = ignored
    net = bp.Network(bp.Dense(3), 3, device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(ignore_index=ignored), bp.Adam(0.01), metrics=["accuracy", "f1"])
    trainer.fit(X, y, epochs=2)
    bp.write_report(tmp_path / "r.html", trainer, X, y)
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    wrong = int((np.asarray(net.predict(X)).argmax(axis=1) != y)[y != ignored].sum())
    assert f"{wrong} mistakes in 40 rows, the surest first" in page.text
    right = trainer.evaluate(X, y)["accuracy"]
    assert right == pytest.approx(1 - wrong / 40)


def test_a_report_where_no_row_counts(tmp_path: Path) -> None:
    net = bp.Network(bp.Dense(3), 3, device="cpu")
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(ignore_index=-100), bp.Adam(0.01), metrics="f1")
    trainer.fit(np.eye(3), [0, 1, 2])
    bp.write_report(tmp_path / "r.html", trainer, np.eye(3), [-100] * 3)
    assert "mistakes in" not in (tmp_path / "r.html").read_text(encoding="utf-8")
