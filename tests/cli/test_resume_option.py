"""`gpubp train` with checkpoints: runs are interrupted in several ways, resumed with one option, and finished once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from command_line import run

import gpubp as bp
from gpubp.cli.defaults import ACTIVATIONS
from gpubp.training.snapshot import checkpoints_in

ROOT = Path(__file__).parents[2]
SETTINGS = ("--hidden=8", "--dropout=0.2", "--batch-norm", "--device=cpu", "--epochs=6", "--early-stopping=3")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with data.npz: 300 points of three classes."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(300, 4))
    np.savez(
        tmp_path / "data.npz", X=X, y=(X[:, 0] > 0).astype(int) + (X[:, 1] > 0), X_test=X[:9], y_test=[0, 1, 2] * 3
    )
    monkeypatch.chdir(tmp_path)


def train(*more: str) -> Result:
    return run("train", "data.npz", *SETTINGS, "--out=m.safetensors", *more)


def test_a_run_and_its_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted in the middle of an epoch, and resumed from elsewhere: the model has the bytes it would have had."""
    assert train().exit_code == 0
    whole = Path("m.safetensors").read_bytes()
    Path("m.safetensors").unlink()
    monkeypatch.setattr(bp.Checkpoint, "on_step_end", stop_at(25))
    done = train("--checkpoint-dir=runs/a", "--checkpoint-every=4")
    assert done.exit_code == 130 and "interrupted after 2 of 6 epochs" in done.stderr
    assert "the checkpoint of step 25 is in runs/a: gpubp train --resume runs/a" in done.stderr
    monkeypatch.undo()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = run("train", "--resume", tmp_path / "runs" / "a")
    assert again.exit_code == 0 and "going on from step 25, after 2 of 6 epochs" in again.stderr, again.output
    assert re.search(r"^ +1 +\d\.\d+", again.output, re.M) and "test accuracy" in again.output
    assert (tmp_path / "m.safetensors").read_bytes() == whole
    finished = run("train", "--resume", tmp_path / "runs" / "a")
    assert finished.exit_code == 0 and f"is finished; the model is {tmp_path / 'm.safetensors'}" in finished.stderr
    assert "epoch" not in finished.output


def test_augmentation_is_resumed_bitwise() -> None:
    draw = np.random.default_rng(0)
    np.savez("data.npz", X=draw.normal(size=(64, 4, 4, 1)), y=np.arange(64) % 2)
    words = ("--model=cnn", "--augment=flip,translate:0.2", "--epochs=2", "--hidden=none", "--device=cpu")
    assert run("train", "data.npz", *words, "--out=whole.safetensors").exit_code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bp.Checkpoint, "on_step_end", stop_at(3))
        begun = run("train", "data.npz", *words, "--out=m.safetensors", "--checkpoint-dir=a", "--checkpoint-every=1")
    assert begun.exit_code == 130, begun.output
    done = run("train", "--resume", "a")
    assert done.exit_code == 0 and "going on from step 3" in done.stderr, done.output
    assert Path("m.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


def test_a_run_whose_gelu_was_the_form_by_tanh_keeps_it() -> None:
    """As gpubp had it before `gelu` was the exact form: the words in run.json are the same."""
    assert train("--activation=gelu-tanh").exit_code == 0
    whole = bp.load("m.safetensors", device="cpu")
    assert bp.GELU("tanh") in whole.layers.children
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ACTIVATIONS, "gelu", ACTIVATIONS["gelu-tanh"])
        patch.setattr(bp.Checkpoint, "on_step_end", stop_at(25))
        assert train("--activation=gelu", "--checkpoint-dir=a", "--checkpoint-every=4").exit_code == 130
    again = run("train", "--resume", "a")
    assert again.exit_code == 0, again.output
    assert bp.load("m.safetensors", device="cpu").sha256() == whole.sha256()
    assert train("--activation=gelu").exit_code == 0
    assert bp.GELU() in bp.load("m.safetensors", device="cpu").layers.children


def stop_at(step: int) -> Any:
    def on_step_end(self: bp.Checkpoint, trainer: bp.Trainer) -> None:
        if trainer.step_count == step:
            trainer.state.signals.received = signal.SIGINT

    return on_step_end


def test_a_run_without_a_checkpoint_starts_again(tmp_path: Path) -> None:
    """Killed after run.json was written and before the first checkpoint."""
    train("--checkpoint-dir=a")
    whole = Path("m.safetensors").read_bytes()
    told = json.loads(Path("a/run.json").read_text())
    for path in Path("a").glob("*.safetensors"):
        path.unlink()
    Path("a/run.json").write_text(json.dumps(told | {"finished": False}))
    done = run("train", "--resume", "a")
    assert done.exit_code == 0 and "going on" not in done.stderr
    assert Path("m.safetensors").read_bytes() == whole


def test_a_run_killed_after_its_last_step_saves_the_model(tmp_path: Path) -> None:
    train("--checkpoint-dir=a", "--plot=curves.svg")
    whole = Path("m.safetensors").read_bytes()
    Path("m.safetensors").unlink()
    Path("curves.svg").unlink()
    assert run("train", "--resume", "a").exit_code == 0
    assert Path("m.safetensors").read_bytes() == whole and Path("curves.svg").exists()


def test_the_model_of_from_is_needed_only_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train()
    Path("m.safetensors").rename("body.safetensors")
    body = ("--from=body.safetensors", "--freeze=0.*", "--freeze=1.*")
    train(*body)
    whole = Path("m.safetensors").read_bytes()
    monkeypatch.setattr(bp.Checkpoint, "on_step_end", stop_at(25))
    train(*body, "--checkpoint-dir=a", "--checkpoint-every=9")
    monkeypatch.undo()
    Path(tmp_path / "body.safetensors").unlink()
    assert run("train", "--resume", tmp_path / "a").exit_code == 0
    assert (tmp_path / "m.safetensors").read_bytes() == whole


def test_changed_data_are_refused() -> None:
    train("--checkpoint-dir=a")
    Path("m.safetensors").unlink()
    with np.load("data.npz") as npz:
        np.savez("data.npz", **{name: npz[name] + (name == "X") for name in npz})
    done = run("train", "--resume", "a")
    assert done.exit_code == 2 and "was trained with other data: X, Xv differ" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--resume", "a"), "there is no run in a; gpubp train ... --checkpoint-dir a begins one"),
        (("--resume", "a", "--epochs", "3"), "--resume takes every setting from the run; leave out --epochs"),
        (("data.npz", "--resume", "a"), "leave out DATA"),
        (("data.npz", "--checkpoint-every", "3"), "--checkpoint-every goes with --checkpoint-dir"),
        (("data.npz", "--checkpoint-dir", "a", "--checkpoint-every", "0"), "'0' is no number of steps"),
        (("data.npz", "--checkpoint-dir", "a", "--checkpoint-every", "nanm"), "'nanm' is no number of steps"),
        (("data.npz", "--checkpoint-dir", "data.npz"), "--checkpoint-dir data.npz can't be written to (File exists)"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], words: str) -> None:
    done = run("train", *arguments)
    assert done.exit_code == 2 and words in done.stderr, done.output
    assert os.listdir() == ["data.npz"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"arguments": [1], "finished": 0}', b"\xff", b"[" * 99999])
def test_a_damaged_run(content: bytes) -> None:
    Path("a").mkdir()
    Path("a/run.json").write_bytes(content)
    done = run("train", "--resume", "a")
    assert done.exit_code == 2 and "a/run.json " in done.stderr and "Traceback" not in done.output


def test_a_folder_in_use() -> None:
    train("--checkpoint-dir=a")
    done = train("--checkpoint-dir=a")
    assert done.exit_code == 2 and "holds a training: gpubp train --resume a goes on with it" in done.stderr


def process(*arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job is deaf to it
    return subprocess.Popen(
        [sys.executable, "-m", "gpubp", "train", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=hears,
    )  # fmt: skip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_with_a_checkpoint_and_the_model(number: int, code: int) -> None:
    with process("data.npz", "--epochs=100000", "--device=cpu", "--checkpoint-dir=a", "--out=m.safetensors") as running:
        assert running.stderr is not None and "epoch 1/100000" in running.stderr.readline()
        running.send_signal(number)
        out, err = running.communicate(timeout=300)
    assert running.returncode == code, err
    said = re.search(r"the checkpoint of step ([\d,]+) is in a: gpubp train --resume a\n", err)
    assert said is not None and "Traceback" not in err
    assert int(checkpoints_in("a")[0].stem[5:]) == int(said[1].replace(",", ""))
    assert bp.load("m.safetensors", device="cpu").output_shape == (3,)


def test_killed_at_random_moments_and_resumed() -> None:
    """The short form of scripts/crash_test."""
    command = [sys.executable, ROOT / "scripts" / "crash_test", "--kills", "6", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 resumed, 6 bit-identical, 0 unreadable checkpoints of " in done.stdout
