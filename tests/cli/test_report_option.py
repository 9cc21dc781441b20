"""`gpubp train --report`: the page has the printed numbers, also after a resume, and an error keeps the model."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from command_line import run
from test_report import Page, values
from test_resume_option import stop_at

import gpubp as bp
from gpubp.rounding import number

SETTINGS = ("--hidden=8", "--device=cpu", "--epochs=6")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with data.npz: 300 points of three classes."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(300, 4))
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    np.savez(tmp_path / "data.npz", X=X[:250], y=y[:250] + 3, X_test=X[250:], y_test=y[250:] + 3)
    np.savez(tmp_path / "line.npz", X=X, y=X @ [1.0, 2.0, 3.0, 4.0])
    np.savez(tmp_path / "few.npz", X=X[:40], y=y[:40])
    monkeypatch.chdir(tmp_path)


def train(*more: str, data: str = "data.npz") -> Result:
    return run("train", data, *SETTINGS, "--out=m.safetensors", "--report=report.html", *more)


def page() -> Page:
    return Page(Path("report.html").read_text(encoding="utf-8"))


def test_the_report_shows_the_printed_numbers() -> None:
    done = train()
    assert done.exit_code == 0 and "report   report.html" in done.output, done.output
    said = re.search(r"test accuracy (\S+), loss (\S+)", done.output)
    assert said is not None
    assert [f"{value:.4f}" for value in values(page())[:2]] == list(said.groups())
    assert "of 50 test rows right" in page().text and "data: 3 classes" in page().text
    assert "The losses by epoch include label smoothing; the loss of an evaluation does not." in page().text
    assert "225" in page().text and "Classes, training rows" in page().text  # rows trained with


def test_the_command_in_the_report_repeats_the_run() -> None:
    train("--seed=3", "--dropout=0.1", "--early-stopping=4")
    model = Path("m.safetensors").read_bytes()
    command = next(text for path, text in page().texts if text.startswith("gpubp train"))
    Path("m.safetensors").unlink()
    assert run(*shlex.split(command)[1:]).exit_code == 0
    assert Path("m.safetensors").read_bytes() == model


def test_the_model_is_the_same_without_it() -> None:
    train()
    model = Path("m.safetensors").read_bytes()
    assert run("train", "data.npz", *SETTINGS, "--out=m.safetensors").exit_code == 0
    assert Path("m.safetensors").read_bytes() == model


def test_without_test_rows_the_validation_or_training_rows_are_evaluated() -> None:
    assert train(data="line.npz").exit_code == 0
    assert re.search(r"off by \S+ on average on 30 validation rows", page().text)
    assert "The losses by epoch" not in page().text
    assert train(data="few.npz").exit_code == 0
    assert "of 40 training rows right" in page().text and "judged by its own rows" in page().text


def tiles() -> dict[str, float]:
    """Name -> number, of those judged by and of those to validate with."""
    names = [text for path, text in page().texts if path.endswith("header div div span")]
    return dict(zip(names, values(page()), strict=True))


@pytest.mark.parametrize("memory", ["1GB", "2KB"], ids=["in memory", "on disk"])
def test_the_rows_to_validate_with_are_those_held_out(memory: str) -> None:
    """In memory and read in groups, other rows are held out; either way the last epoch judged by the same."""
    with np.load("data.npz") as npz:
        np.save("X.npy", npz["X"].astype("f4"))
        np.save("y.npy", npz["y"])
    assert train("--target=y.npy", "--memory", memory, data="X.npy").exit_code == 0
    assert "of 25 validation rows right" in page().text
    assert tiles()["accuracy"] == tiles()["validation accuracy"]


def test_a_table_is_reported_in_its_own_names_and_units() -> None:
    pytest.importorskip("pyarrow")
    draw = np.random.default_rng(0)
    rows = [(k, draw.choice(["Rome", "<b>Oslo"]), draw.integers(1, 9)) for k in range(400)]
    lines = [f"{k},{town},{rooms},{50_000 * rooms + 20_000 * (town == 'Rome') + k / 8}" for k, town, rooms in rows]
    Path("houses.csv").write_text("\n".join(["id,town,rooms,price", *lines]))
    done = train("--target=price", "--test-fraction=0.2", data="houses.csv")
    assert done.exit_code == 0, done.output
    said = re.search(r"test R² (\S+), .*mean absolute error (\S+), loss", done.output)
    assert said is not None
    line = next(text for path, text in page().texts if path.endswith("strong"))
    off, r2 = re.findall(r"off by (\S+) on average .* R² (\S+)", line)[0]
    assert (r2, off) == said.groups()
    assert number(tiles()["mean absolute error"]) == said[2]
    assert {"town", "rooms", "left out"} <= {text for _, text in page().texts}
    assert "houses: price as a number" in page().text
    assert train("--target=town", data="houses.csv").exit_code == 0
    assert "<b>Oslo" in page().text and "Rome" in page().text and not page().all("b")


def test_after_a_resume_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train("--checkpoint-dir=whole")
    whole = page()
    Path("report.html").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bp.Checkpoint, "on_step_end", stop_at(25))
        done = train("--checkpoint-dir=a", "--checkpoint-every=4")
    assert done.exit_code == 130 and "Training was interrupted after 3 epochs." in page().text, done.output
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("train", "--resume", tmp_path / "a").exit_code == 0
    monkeypatch.chdir(tmp_path)
    assert values(page()) == values(whole)
    rows = [[text for _, text in p.cells[: 6 * 5]] for p in (page(), whole)]
    assert rows[0] == rows[1]  # every epoch, those before the resume too
    assert "epoch 6" in page().text and "epoch 1" in page().text  # of the gradient flow


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ("report.pdf", "--report report.pdf: the name must end in .html or .htm"),
        ("no/report.html", "there is no folder no"),
        ("curves.html", "would write over curves.html"),
    ],
)
def test_mistakes_are_reported_before_training(report: str, words: str) -> None:
    out = "curves.html" if report == "curves.html" else "m.safetensors"
    done = run("train", "data.npz", *SETTINGS, "--out", out, "--report", report)
    assert done.exit_code == 2 and words in done.stderr and "epoch" not in done.output, done.output
    assert sorted(os.listdir()) == ["data.npz", "few.npz", "line.npz"]


def test_a_missing_library_is_reported_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    done = train()
    assert done.exit_code == 2 and "a report needs jinja2: pip install 'gpubp[report]'" in done.stderr
    assert "epoch" not in done.output


def test_the_model_is_saved_if_the_report_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gpubp.cli.report_options.write_report", full)
    done = train()
    assert done.exit_code == 1 and "No space left on device" in done.stderr and "test accuracy" in done.output
    assert bp.load("m.safetensors", device="cpu").output_shape == (3,)


def test_a_file_with_a_hostile_name() -> None:
    name = "<img src=x onerror=alert(1)>.npz"
    os.rename("data.npz", name)
    assert train(data=name).exit_code == 0
    assert "<img src=x onerror=alert(1)>: 3 classes" in page().text and not page().all("img")
