"""scripts/gpu_publish.py refuses folders of which it can't say what they are, and changes no page then."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import gpu_folder
from gpu_pages import copy_pages, publish, state

pytest.importorskip("matplotlib")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_pages(tmp_path / "checkout")


def dry(folder: Path) -> None:
    text = (folder / "results.jsonl").read_text()
    (folder / "results.jsonl").write_text(text.replace('"name": "found"', '"name": "found", "dry": true'))


def empty(folder: Path) -> None:
    (folder / "results.jsonl").write_text('{"stage": "check", "name": "plan", "stages": ["machine"]}\n')


def nameless(folder: Path) -> None:
    text = (folder / "results.jsonl").read_text().replace(f'"gpu": "{gpu_folder.NAME}', '"gpu": "')
    (folder / "results.jsonl").write_text("".join(x for x in text.splitlines(True) if '"machine"' not in x))
    (folder / "logs.tar.gz").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (dry, "is of a dry run, and a dry run on the stand-in is no measurement"),
        (empty, "has no results: scripts/gpu_check.sh would have left results.jsonl in it"),
        (lambda folder: (folder / "results.jsonl").unlink(), "has no results"),
        (nameless, "nothing in these folders says which GPU it was"),
    ],
    ids=["a dry run", "no results", "no file", "no GPU's name"],
)
def test_refused(spoil: Any, said: str, checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, before = gpu_folder.write(tmp_path / "made"), state(checkout)
    spoil(folder)
    assert publish(checkout, folder) == 2
    told = capsys.readouterr()
    assert said in told.err and not told.out and state(checkout) == before


@pytest.mark.parametrize(("what", "value"), [("NAME", "NVIDIA A000"), ("DRIVER", "111.11")], ids=["GPU", "driver"])
def test_folders_of_different_machines(
    what: str, value: str, checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    first = gpu_folder.write(tmp_path / "first", gpu_folder.FIRST)
    monkeypatch.setattr(gpu_folder, what, value)
    second = gpu_folder.write(tmp_path / "second", gpu_folder.SECOND)
    assert publish(checkout, first, second) == 2
    assert re.search(rf"of different machines: \w+ .* in \S+first, {value} in \S+second", capsys.readouterr().err)


def test_a_page_without_the_heading(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "README.md").write_text("# another page\n")
    before = state(checkout)
    assert publish(checkout, gpu_folder.write(tmp_path / "made")) == 2
    assert 'README.md has no heading "### Speed on sequences"' in capsys.readouterr().err and state(checkout) == before
