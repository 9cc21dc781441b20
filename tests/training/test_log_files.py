"""Logs have the numbers of the history, after a resume too, and a log that fails does not end training."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from logged_runs import Crash, X, Y, curves, fit, trainer

import gpubp as bp
from gpubp.training.log_files import LineLog


def rows(path: Path) -> list[dict[str, float]]:
    if path.suffix == ".csv":
        with open(path, newline="") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(params=["csv", "jsonl"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> LineLog:
    kind = bp.CSVLogger if request.param == "csv" else bp.JSONLinesLogger
    return kind(tmp_path / "logs" / f"log.{request.param}")


def test_log_files_have_the_numbers_of_the_history(log: LineLog) -> None:
    one = trainer()
    history = fit(one, log)
    written = rows(log.path)
    assert [row["epoch"] for row in written] == [1, 2, 3, 4, 5] and [row["step"] for row in written] == [
        4,
        8,
        12,
        16,
        20,
    ]
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert [row[name] for row in written] == history[name]  # to the last digit
    assert [row["learning_rate"] for row in written] == [0.01] * 5
    seconds = [row["seconds"] for row in written]
    assert seconds == sorted(seconds) and 0 <= seconds[0] and seconds[-1] < 60


@pytest.mark.parametrize("crash", [1, 3, 6, 14, 17])
def test_after_a_resume_every_epoch_is_logged_once(log: LineLog, tmp_path: Path, crash: int) -> None:
    """A checkpoint every 7 steps, and an epoch has 4: the log is ahead of what is resumed from."""
    with pytest.raises(ZeroDivisionError):
        fit(trainer(), log, bp.Checkpoint(tmp_path / "run", every_steps=7, best=False), Crash(crash))
    half = log.path.read_bytes() + b'{"epoch": 9, "st' if log.path.suffix == ".jsonl" else log.path.read_bytes() + b"9,"
    log.path.write_bytes(half if log.path.stat().st_size else b"")
    again, other = trainer(), type(log)(log.path)
    assert again.resume(tmp_path / "run") is not None
    history = fit(again, other, bp.Checkpoint(tmp_path / "run", every_steps=7, best=False))
    whole = fit(trainer())
    assert history["loss"] == whole["loss"] == [row["loss"] for row in rows(log.path)]
    assert [row["epoch"] for row in rows(log.path)] == [1, 2, 3, 4, 5]
    seconds = [row["seconds"] for row in rows(log.path)]
    assert seconds == sorted(seconds)


def test_a_second_fit_appends_and_another_training_begins_anew(log: LineLog) -> None:
    one = trainer()
    fit(one, log, epochs=2)
    fit(one, log, epochs=3)
    assert [row["epoch"] for row in rows(log.path)] == [1, 2, 3, 4, 5]
    fit(trainer(), log, epochs=2)
    assert [row["epoch"] for row in rows(log.path)] == [1, 2]
    fit(trainer(), type(log)(log.path, append=True), epochs=3)
    assert [row["epoch"] for row in rows(log.path)] == [1, 2, 1, 2, 3]


def test_a_file_that_another_process_begins_anew_stays_a_log(log: LineLog) -> None:
    """A grid search trains in several processes with one file: whoever appends to a new file writes a log."""

    class Other(bp.Callback):
        """Begins the file after the second epoch, as a training of another process would."""

        def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
            if trainer.epoch == 2:
                type(log)(log.path).write([])

    fit(trainer(), log, Other())
    assert [row["epoch"] for row in log.read()] == [2, 3, 4, 5]
    fit(trainer(), type(log)(log.path), epochs=1)
    assert [row["epoch"] for row in log.read()] == [1]


def test_a_resume_cuts_only_the_last_training_of_a_file(log: LineLog, tmp_path: Path) -> None:
    kept = type(log)(log.path, append=True)
    fit(trainer(), kept, epochs=3)
    with pytest.raises(ZeroDivisionError):
        fit(trainer(), kept, bp.Checkpoint(tmp_path / "run", every_steps=50, best=False), Crash(11))
    assert [row["epoch"] for row in rows(log.path)] == [1, 2, 3, 1, 2]
    again = trainer()
    again.resume(tmp_path / "run")  # from before the first step
    fit(again, type(log)(log.path, append=True), epochs=4)
    assert [row["epoch"] for row in rows(log.path)] == [1, 2, 3, 1, 2, 3, 4]


def test_numbers_that_are_not_finite(log: LineLog) -> None:
    one = trainer()
    log.on_train_begin(one)
    log.on_epoch_end(one, {"loss": math.nan, "gain": math.inf})
    text = log.path.read_text()
    assert ("nan,inf" if log.path.suffix == ".csv" else '"loss": null, "gain": null') in text
    assert len(log.read()) == 1


def test_epochs_that_report_more(tmp_path: Path) -> None:
    """Validation from the second fit on: a column more, empty before."""
    one, log = trainer(), bp.CSVLogger(tmp_path / "log.csv")
    one.fit(X, Y, epochs=1, callbacks=[log], verbose=False)
    fit(one, log, epochs=1)
    lines = log.path.read_text().splitlines()
    assert lines[0] == "epoch,step,seconds,learning_rate,loss,accuracy,val_loss,val_accuracy"
    assert lines[1].endswith(",,") and lines[2].count(",") == 7 and ",," not in lines[2]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"price,rooms\n1,2\n", "does not begin with epoch,step,seconds,learning_rate"),
        ("a.csv", b"\x00\xff\xfe", "it has no whole line"),
        ("a.csv", b"epoch,step,seconds,learning_rate,loss\n1,2\n", "line 2 has 2 fields, and the first 5"),
        ("a.csv", b"epoch,step,seconds,learning_rate,loss\nx,2,3,4,5\n", "line 2 has no number where the epoch"),
        ("a.jsonl", b'{"name": "Ann"}\n', "line 1 is no JSON object with epoch"),
        ("a.jsonl", b"[" * 100_000 + b"\n", "line 1 is no JSON object"),
        ("a.jsonl", b"words", "it has no whole line"),
    ],
)
def test_another_file_is_never_overwritten(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    log = (bp.CSVLogger if name.endswith("csv") else bp.JSONLinesLogger)(path)
    one = trainer()
    with pytest.raises(bp.DataError, match=words):
        fit(one, log)
    assert path.read_bytes() == content and one.step_count == 0


def test_a_full_disk_does_not_end_training(log: LineLog) -> None:
    """A real limit of the system: the file may grow by 20 bytes; what stands in it is whole lines."""
    import resource
    import signal

    before, deaf = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    fit(trainer(), log, epochs=1)
    kept = type(log)(log.path, append=True)
    one = trainer()
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size + 20, before[1]))
    try:
        with pytest.warns(
            RuntimeWarning,
            match=r"epoch 1 is not in the log .*log.*, .* B: File too large; the lines before it are kept",
        ) as told:
            history = fit(one, kept, epochs=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, deaf)
    assert history.epochs == 3 and len(told) == 1
    assert len(rows(log.path)) == 1


def test_a_folder_that_can_not_be_written(log: LineLog, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(OSError):
        fit(trainer(), log)


# -- the command line -------------------------------------------------------------------------------------------------


def test_the_command_line_logs_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboardX")
    from command_line import run
    from test_resume_option import stop_at

    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", X=X, y=Y)
    settings = ("--hidden=4", "--epochs=6", "--device=cpu", "--batch-size=16")
    words = (*settings, "--log=log.csv", "--log=log.jsonl", "--log=tb", "--checkpoint-dir=a", "--checkpoint-every=3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bp.Checkpoint, "on_step_end", stop_at(14))
        done = run("train", "data.npz", *words)
    assert done.exit_code == 130, done.output
    assert len(rows(tmp_path / "log.csv")) == 3
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = run("train", "--resume", tmp_path / "a")
    assert done.exit_code == 0 and "going on from step 14" in done.stderr, done.output
    losses = [row["loss"] for row in rows(tmp_path / "log.csv")]
    assert len(losses) == 6 and losses == [row["loss"] for row in rows(tmp_path / "log.jsonl")]
    assert list(curves(tmp_path / "tb" / "training")["loss"].values()) == pytest.approx(losses, rel=1e-6)
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("log.txt", "--log log.txt: name a file that ends in .csv or .jsonl, or a folder"),
        ("data.npz", "--log data.npz: name a file that ends in .csv"),
        ("no/log.csv", "there is no folder no"),
        ("no/tb", "there is no folder no"),
        ("table.csv", "table.csv is no log of CSVLogger's (its first line does not begin with epoch,step"),
    ],
)
def test_invalid_settings(log: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from command_line import run

    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", X=X, y=Y)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    done = run("train", "data.npz", "--log", log)
    assert done.exit_code == 2 and words in done.stderr and "Traceback" not in done.output, done.output
    assert sorted(os.listdir()) == ["data.npz", "table.csv"]
