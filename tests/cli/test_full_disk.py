"""Files that can't be written: what is said, what is kept, and where the model goes."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

import gpubp as bp
from gpubp import atomic

WORDS = ("--hidden=8", "--epochs=2", "--device=cpu", "--out=disk/m.safetensors")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: Path) -> None:
    """points.npz, a folder called disk, and a model in m.safetensors."""
    monkeypatch.chdir(tmp_path)
    Path("disk").mkdir()
    assert run("train", "points.npz", *WORDS[:3], "--out=m.safetensors").exit_code == 0


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes: the system writes that much, and then refuses.

    Python keeps no compiled modules meanwhile: it would keep the beginning of one, and could not read it later.
    """
    before, deaf = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = kept
        signal.signal(signal.SIGXFSZ, deaf)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Folders, by name, in which the disk is full; at first disk alone."""
    names, write = {"disk"}, atomic._write_all

    def fails(handle: int, content: memoryview, path: Path) -> None:
        if names & {part.name for part in path.absolute().parents}:
            os.write(handle, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(handle, content, path)

    monkeypatch.setattr(atomic, "_write_all", fails)
    return names


OUTPUTS = [
    ("predict", ("m.safetensors", "points.npz", "--out=disk/old.csv"), 500),
    ("predict", ("m.safetensors", "points.npz", "--out=disk/old.npy"), 500),
    ("predict", ("m.safetensors", "points.npz", "--out=disk/old.npz"), 500),
    ("predict", ("m.safetensors", "points.npz", "--json=disk/old.json"), 500),
    ("inspect", ("m.safetensors", "--json=disk/old.json"), 100),
    ("explain", ("m.safetensors", "points.npz", "--out=disk/old.html"), 500),
    ("predict", ("m.safetensors", "points.npz", "--save-config=disk/old.toml"), 50),
    ("evaluate", ("m.safetensors", "points.npz", "--confusion=disk/old.png"), 500),
    ("find-lr", ("points.npz", "--plot=disk/old.svg"), 500),
]


@pytest.mark.parametrize(("command", "words", "limit"), OUTPUTS, ids=lambda value: str(value)[-22:-3])
def test_the_message_names_the_file_and_its_size_and_the_older_file_stays(
    command: str, words: tuple[str, ...], limit: int
) -> None:
    old = words[-1].partition("=")[2]
    for older in (True, False):
        Path(old).unlink(missing_ok=True)
        if older:
            Path(old).write_text("old")
        with files_up_to(limit):
            done = run(command, *words, *([] if command in ("inspect", "explain") else ["--device=cpu"]))
        assert done.exit_code == 1 and "Traceback" not in done.output, done.output
        line = next(line for line in done.stderr.splitlines() if line.startswith("gpubp:"))
        size = r", \d[\d.]* K?B, can't be written: File too large;"
        if old.endswith(("png", "svg")):  # whose sizes are not known before they are drawn
            size = f" can't be written: File too large( after {limit} B)?;"
        assert re.match(f"gpubp: {old}{size} ", line), line
        assert ("the older file is there as it was" in line) == older
        assert os.listdir("disk") == ([Path(old).name] if older else [])
        assert not older or Path(old).read_text() == "old"


@pytest.mark.parametrize("option", ["--report=disk/r.html", "--plot=disk/c.svg", "--json=disk/f.json"])
def test_the_model_is_saved_before_what_fails_and_it_is_said(option: str) -> None:
    for library in ("jinja2", "matplotlib"):
        pytest.importorskip(library)
    Path("disk/m.safetensors").write_bytes(b"")
    with files_up_to(5000 if "json" not in option else os.path.getsize("m.safetensors") + 500):
        done = run("train", "points.npz", *WORDS, option, "--epochs=100")
    path = option.partition("=")[2]
    assert done.exit_code == 1 and "test accuracy" in done.output, done.output
    assert f"gpubp: {path}" in done.stderr and "The model is saved as disk/m.safetensors" in done.stderr
    assert bp.load("disk/m.safetensors", device="cpu").output_shape == (2,)
    assert os.listdir("disk") == ["m.safetensors"]


def model_of(done: Any) -> str:
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and found["test"]["accuracy"] >= 0
    return str(found["model"])


def test_a_model_that_can_not_be_written_goes_to_the_temporary_folder(
    full: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    Path("disk/m.safetensors").write_text("an older model")
    done = run("train", "points.npz", *WORDS, "--json")
    place = model_of(done)
    assert Path(place).parents[1] == tmp_path / "temporary" and Path(place).name == "m.safetensors"
    size = f"{os.path.getsize(place) / 1024:.1f} KB"
    assert f"gpubp: disk/m.safetensors, {size}, can't be written: No space left on device (" in done.stderr
    assert (
        "free in" in done.stderr and f"the older file is there as it was. The model is saved as {place}" in done.stderr
    )
    assert Path("disk/m.safetensors").read_text() == "an older model" and os.listdir("disk") == ["m.safetensors"]
    assert f"model    {place}" in done.stderr and f"gpubp predict {place}" in done.stderr
    assert run("evaluate", place, "points.npz", "--device=cpu").exit_code == 0


def test_with_a_folder_of_the_run_it_goes_there_and_a_resume_saves_it_as_asked(full: set[str]) -> None:
    done = run("train", "points.npz", *WORDS, "--checkpoint-dir=runs/a", "--json")
    assert model_of(done) == "runs/a/model.safetensors"
    assert "gpubp train --resume runs/a saves it as disk/m.safetensors" in done.stderr
    here = bp.load("runs/a/model.safetensors", device="cpu")
    full.clear()
    again = run("train", "--resume=runs/a")
    assert again.exit_code == 0, again.output
    assert np.array_equal(bp.load("disk/m.safetensors", device="cpu").flat, here.flat)
    assert "is finished" in run("train", "--resume=runs/a").stderr


def test_a_model_that_can_be_written_nowhere(full: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    done = run("train", "points.npz", *WORDS)
    assert done.exit_code == 1 and done.stderr.splitlines()[-1].startswith("gpubp: disk/m.safetensors, "), done.output
    assert "; no such file was there before, and none is now; it can't be saved in " in done.stderr
    assert os.listdir("disk") == []


def test_a_table_of_numbers_is_saved_without_errors_if_the_second_writing_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    np.savez("line.npz", X=np.eye(40), y=np.arange(40.0) + 0.5, X_test=np.eye(40), y_test=np.arange(40.0))
    save, calls = bp.Network.save, []

    def once(self: bp.Network, path: Any) -> None:
        calls.append(path)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, path)

    monkeypatch.setattr(bp.Network, "save", once)
    done = run("train", "line.npz", *WORDS)
    assert done.exit_code == 1 and "It is whole, but for the errors of gpubp predict --interval" in done.stderr
    assert "test R" in done.output or "test mean" in done.output
    assert len(calls) == 2
    assert run("evaluate", "disk/m.safetensors", "line.npz", "--device=cpu").exit_code == 0


def test_prepared_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setenv("TMPDIR", "disk")
    Path("t.csv").write_text("a,b,y\n" + "".join(f"{i % 7},{i % 11}.5,{i % 13}.25\n" for i in range(2000)))
    with files_up_to(9000):
        done = run("train", "t.csv", "--target=y", "--memory=8KB", *WORDS)
    assert (
        done.exit_code == 1 and ", with the prepared rows, can't be written: File too large after 8.8 KB" in done.stderr
    )
    assert "It is removed; $TMPDIR says where there is room" in done.stderr and os.listdir("disk") == []


def test_checkpoints_and_logs_that_can_not_be_written_end_nothing_but_their_first() -> None:
    with files_up_to(1000):
        done = run("train", "points.npz", *WORDS, "--checkpoint-dir=disk/runs")
    assert done.exit_code == 1 and "epoch 1" not in done.output, done.output
    assert re.search(r"gpubp: disk/runs/step-0+.safetensors, .* KB, can't be written: File too large;", done.stderr)
    with files_up_to(100):
        done = run("train", "points.npz", *WORDS, "--log=disk/log.csv")
    assert done.exit_code == 1 and "The model" not in done.stderr, done.output


def test_the_error_of_the_library_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with files_up_to(100), pytest.raises(OSError) as caught:
        atomic.write_parts(path, [b"x" * 80, b"y" * 300_000, b"z" * 90])
    assert (caught.value.filename, caught.value.errno) == (str(path), errno.EFBIG)
    assert caught.value.size == 300_170  # type: ignore[attr-defined]
    assert not list(tmp_path.glob(".a*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a stream that is always full")
@pytest.mark.parametrize("words", [("--out=-",), ("--json",)])
def test_an_output_stream_that_is_full(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "gpubp", "predict", "m.safetensors", "points.npz", "--device=cpu", *words]
    with open("/dev/full", "w") as nowhere:
        done = subprocess.run(command, stdout=nowhere, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "No space left on device" in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("gpubp: ")
