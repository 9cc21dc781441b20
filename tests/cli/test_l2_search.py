"""`--l2 auto`: two penalties compared on rows of a table that were left out of the training."""

from __future__ import annotations

import csv
import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

import gpubp as bp
from gpubp.cli import l2_search
from gpubp.cli.cross_validation import CrossValidation

pytest.importorskip("pyarrow")

QUICK = ("--hidden=8", "--epochs=4", "--device=cpu")


def write(path: str, rows: int, noise: float, classes: bool = False) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, rows))
    y = np.sin(3 * a) + b * a + noise * rng.normal(size=rows)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "y"])
        writer.writerows(zip(a, b, np.where(y > 0, "yes it is", "no") if classes else y, strict=True))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("t.csv", 250, 0.1)


def document(*arguments: object) -> dict[str, Any]:
    done = run("train", *arguments, "--json=found.json")
    assert done.exit_code == 0, done.output
    return json.loads(Path("found.json").read_text())


def test_the_search_is_the_default_and_its_result_is_printed_and_in_json() -> None:
    done = run("train", "t.csv", "--target=y", *QUICK, "--json=found.json")
    assert done.exit_code == 0, done.output
    told = json.loads(Path("found.json").read_text())
    assert told["l2"] in (20 / 250, 5 / 250)
    found = told["cross_validation"]
    assert (found["rows"], found["of"]) == (150, 250) and [f["l2"] for f in found["losses"]] == [20 / 250, 5 / 250]
    assert "cross-validation on 150 of 250 rows: R² " in done.output
    assert "6 trainings on 200 of 250 rows, which take about 5 times as long" in " ".join(done.stderr.split())
    assert set(found["metrics"]) >= {"R²", "mean_absolute_error", "loss"}


def test_a_long_search_says_beforehand_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time of its second epoch; each of the six trainings has as many steps as the one on all rows."""
    times = iter(range(100, 10_000, 20))
    monkeypatch.setattr("gpubp.cli.l2_search.monotonic", lambda: next(times))
    write("long.csv", 640, 0.1)
    done = run("train", "long.csv", "--target=y", "--hidden=4", "--device=cpu", "--batch-size=640", "--epochs=4")
    told = " ".join(done.stderr.split())
    assert "by the time of an epoch, the search takes 8 min and the training after it 80.0 s; --l2 0.03" in told
    assert told.count("by the time of an epoch") == 1 and "which take about 6 times as long" in told
    monkeypatch.setattr("gpubp.cli.l2_search.LONG", 500)
    done = run("train", "long.csv", "--target=y", "--hidden=4", "--device=cpu", "--batch-size=640", "--epochs=4")
    assert "by the time of an epoch" not in done.stderr


def test_two_runs_give_the_same_bits() -> None:
    for name in ("a", "b"):
        assert run("train", "t.csv", "--target=y", *QUICK, "--l2=auto", f"--out={name}.safetensors").exit_code == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def test_the_weaker_penalty_is_taken_where_it_is_better_and_not_elsewhere() -> None:
    options = ("--target=y", "--hidden=32", "--epochs=60", "--device=cpu")
    write("exact.csv", 200, 0.0)
    write("noise.csv", 200, 5.0)
    by = "the loss on rows left out by more than 5%: "
    for data, l2, why in (
        ("exact", 5, f"0.025 lowers {by}"),
        ("noise", 20, f"0.1 is kept, because 0.025 does not lower {by}"),
    ):
        done = run("train", f"{data}.csv", *options, "--json=found.json")
        found = json.loads(Path("found.json").read_text())
        assert found["l2"] == l2 / 200 and f"l2 {why}" in " ".join(done.output.split())


def test_the_network_is_the_one_that_the_chosen_number_gives() -> None:
    told = document("t.csv", "--target=y", *QUICK, "--out=a.safetensors")
    again = document("t.csv", "--target=y", *QUICK, f"--l2={told['l2']}", "--out=b.safetensors")
    assert again["cross_validation"] is None
    a, b = (bp.load(f"{name}.safetensors", device="cpu") for name in "ab")
    assert np.array_equal(a.flat, b.flat)


@pytest.mark.parametrize("options", [(), ("--validation-fraction=0.2",), ("--early-stopping=2",)])
def test_rows_are_judged_by_networks_that_did_not_see_them(
    options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[Any] = []
    kept: list[CrossValidation] = []
    fit, search = bp.Trainer.fit, l2_search._search

    def noted(self: bp.Trainer, X: Any, y: Any, **rest: Any) -> Any:
        fitted.append((self, X))
        return fit(self, X, y, **rest)

    def keep(job: Any, after_epoch: Any) -> Any:
        kept.append(search(job, after_epoch))
        kept.append(job)
        return kept[0]

    monkeypatch.setattr(bp.Trainer, "fit", noted)
    monkeypatch.setattr(l2_search, "_search", keep)
    assert run("train", "t.csv", "--target=y", *QUICK, *options).exit_code == 0
    found, job = kept[0], kept[1]
    chosen = [pair for pair in fitted[:6] if pair[0].settings["l2"] == min(fitted[0][0].settings["l2"], 0.1)]
    if found.l2 != found.losses[0][0]:
        chosen = fitted[3:6]
    assert len(chosen[:3]) == 3 and len(found.rows) == len(set(found.rows.tolist()))
    for row, z in zip(found.rows, found.outputs, strict=True):
        x = job.dataset.X[row]
        without = [trainer for trainer, X in chosen[:3] if not (X == x).all(axis=1).any()]
        assert any(np.array_equal(trainer.network.predict(x[None])[0], z) for trainer in without)


def test_classes_are_judged_by_accuracy() -> None:
    write("c.csv", 250, 0.1, classes=True)
    found = document("c.csv", "--target=y", *QUICK)["cross_validation"]
    assert 0.4 < found["metrics"]["accuracy"] <= 1


def test_where_the_search_does_not_apply_the_penalty_is_20_by_the_rows() -> None:
    write("few.csv", 100, 0.1)
    told = document("few.csv", "--target=y", *QUICK)
    assert (told["l2"], told["cross_validation"]) == (0.1, None)
    told = document("t.csv", "--target=y", *QUICK, "--memory=2KB")
    assert (told["l2"], told["cross_validation"]) == (20 / 250, None)
    said = run("train", "t.csv", "--target=y", *QUICK, "--memory=2KB", "--l2=auto")
    assert said.exit_code == 0 and "--l2 auto is left out, because the rows are larger than memory" in said.output
    asked = document("few.csv", "--target=y", *QUICK, "--l2=auto")["cross_validation"]["losses"]
    assert [tried["l2"] for tried in asked] == [20 / 200, 5 / 200]  # fewer rows count as 200
    write("fewer.csv", 15, 0.1)
    said = run("train", "fewer.csv", "--target=y", *QUICK, "--l2=auto")
    assert said.exit_code == 0 and "the rows are 15, and it needs 20" in " ".join(said.output.split())


def test_data_that_are_no_table_have_no_search() -> None:
    np.savez("a.npz", X=np.random.default_rng(0).normal(size=(300, 3)), y=np.arange(300) % 2)
    assert document("a.npz", *QUICK)["cross_validation"] is None
    said = run("train", "a.npz", *QUICK, "--l2=auto")
    assert said.exit_code == 2 and "--l2 auto is for tables; give a number, such as --l2 0.001" in said.output


@pytest.mark.parametrize("command", ["find-lr", "profile"])
def test_commands_that_try_steps_take_20_by_the_rows(command: str) -> None:
    assert run(command, "t.csv", "--target=y", "--hidden=8", "--l2=auto", "--device=cpu").exit_code == 0


def test_ctrl_c_in_the_search_saves_nothing_and_a_run_begins_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = document("t.csv", "--target=y", *QUICK, "--out=whole.safetensors")
    fit = bp.Trainer.fit

    def interrupted(self: bp.Trainer, *data: Any, **rest: Any) -> Any:
        def stop(trainer: Any, logs: Any) -> None:
            trainer.state.signals.received = signal.SIGINT

        rest["callbacks"] = [*rest["callbacks"], bp.LambdaCallback(on_epoch_end=stop)]
        return fit(self, *data, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(bp.Trainer, "fit", interrupted)
        begun = run("train", "t.csv", "--target=y", *QUICK, "--checkpoint-dir=runs/a", "--out=m.safetensors")
    assert begun.exit_code == 130 and "nothing is saved" in begun.output and not Path("m.safetensors").exists()
    assert run("train", "--resume=runs/a").exit_code == 0
    assert Path("m.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()
    assert whole["l2"] in (20 / 250, 5 / 250)


def test_a_resumed_run_does_not_search_again_and_ends_with_the_same_file(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = document("t.csv", "--target=y", *QUICK, "--out=whole.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(bp.Checkpoint, "on_step_end", stop)
        begun = run("train", "t.csv", "--target=y", *QUICK, "--l2=auto", *CHECKPOINTS)
    assert begun.exit_code == 130, begun.output
    assert "--l2=auto" in json.loads(Path("runs/a/run.json").read_text())["arguments"]
    again = run("train", "--resume=runs/a", "--json=found.json")
    assert again.exit_code == 0 and "6 trainings" not in again.stderr
    assert json.loads(Path("found.json").read_text())["cross_validation"] == whole["cross_validation"]
    assert Path("t.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


def test_the_command_in_the_report_of_a_resumed_run_has_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jinja2")
    with monkeypatch.context() as patch:
        patch.setattr(bp.Checkpoint, "on_step_end", stop)
        run("train", "t.csv", "--target=y", *QUICK, "--report=r.html", *CHECKPOINTS)
    assert run("train", "--resume=runs/a").exit_code == 0
    assert "--l2" not in re.search(r"gpubp train[^<]*", Path("r.html").read_text(encoding="utf-8"))[0]


def test_a_run_whose_table_changed_searches_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(bp.Checkpoint, "on_train_begin", lambda *given: 1 / 0)
        assert isinstance(run("train", "t.csv", "--target=y", *QUICK, *CHECKPOINTS).exception, ZeroDivisionError)
    lines = Path("t.csv").read_text().splitlines()
    Path("t.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    again = run("train", "--resume=runs/a")
    assert again.exit_code == 0 and "6 trainings" in again.stderr


CHECKPOINTS = ("--checkpoint-dir=runs/a", "--checkpoint-every=5")


def stop(self: bp.Checkpoint, trainer: bp.Trainer) -> None:
    if trainer.step_count == 10:
        trainer.state.signals.received = signal.SIGINT


@pytest.mark.parametrize("wrong", [b"", b"PK\x03\x04 and no more", "rows", "outputs"])
def test_a_damaged_search_of_a_run_is_one_line(wrong: bytes | str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(bp.Checkpoint, "on_step_end", stop)
        run("train", "t.csv", "--target=y", *QUICK, *CHECKPOINTS)
    path = Path("runs/a/cross_validation.npz")
    if isinstance(wrong, bytes):
        path.write_bytes(wrong)
    else:
        arrays = dict(np.load(path))
        np.savez(path, **arrays | {wrong: arrays[wrong] + 1000 if wrong == "rows" else arrays[wrong][1:]})
    said = run("train", "--resume=runs/a")
    assert said.exit_code == 2 and "can't be read as the cross-validation of a run" in said.output
    assert "Traceback" not in said.output


def test_a_word_that_is_no_number_is_refused() -> None:
    said = run("train", "t.csv", "--target=y", "--l2=automatic")
    assert said.exit_code == 2 and "'automatic' is not a number" in said.output
