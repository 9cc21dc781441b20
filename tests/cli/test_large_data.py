"""The command line on data larger than memory: .npy files and tables, in memory and read from disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from command_line import run
from test_resume_option import stop_at

import gpubp as bp
from gpubp.cli import large_data
from gpubp.cli.large_data import Size, usual_memory

N = 2000
WORDS = ("--epochs=3", "--hidden=8", "--device=cpu", "--out=m.safetensors")
LITTLE = "--memory=24KB"  # of 62 KB and more


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """X.npy and y.npy; houses.csv, and the same as houses.parquet in small groups."""
    from pyarrow import csv, parquet

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TMPDIR", raising=False)
    X = np.random.default_rng(0).normal(size=(N, 8)).astype("float32")
    np.save("X.npy", X)
    np.save("y.npy", (X[:, 0] > 0).astype(int) + (X[:, 1] > 1))
    lines = ["rooms,town,age,price"]
    for i, row in enumerate(X[:, :3].tolist()):
        rooms = "" if i % 50 == 3 else f"{row[0]:.4f}"
        price = "" if i == 77 else f"{2 * row[0] + (row[1] > 0) * 3:.4f}"
        lines.append(f"{rooms},{'Ulm' if row[1] > 0 else 'Hof'},{row[2]:.3f},{price}")
    Path("houses.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    parquet.write_table(csv.read_csv("houses.csv"), "houses.parquet", row_group_size=50)
    return X


def in_order(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    """From now on, rows in memory are trained on in the order that they would be read in from disk."""
    fit = bp.Trainer.fit

    def ordered(self: bp.Trainer, X: Any, y: Any, **options: Any) -> bp.History:
        rows = large_data.blocks(Path("none"), len(X), X.shape[1:], np.dtype("float32"), 0, memory, "X")
        training, held, mask = rows.split(options.pop("validation_fraction"), self.seed)
        order = lambda epoch, n: np.asarray(training.order(self.seed, epoch))  # noqa: E731
        options["validation_data"] = X[mask], y[mask]
        return fit(self, X[~mask], y[~mask], shuffle=order, **options)

    monkeypatch.setattr(bp.Trainer, "fit", ordered)


def test_a_large_array_is_read_from_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("train", "X.npy", "--target=y.npy", LITTLE, *WORDS)
    assert done.exit_code == 0, done.output
    assert "X.npy, 62.5 KB, is read from disk as it is needed, 24.0 KB at a time (--memory)" in done.stderr
    assert "X: rows of 8 numbers, 3 classes; 1,800 rows to train with, 200 to validate with" in done.stdout
    assert "gpubp evaluate m.safetensors NEW.npy --target NEW_y.npy" in done.stdout
    streamed = bp.load("m.safetensors", device="cpu").flat.copy()
    in_order(monkeypatch, 24 << 10)
    done = run("train", "X.npy", "--target=y.npy", *WORDS)
    assert done.exit_code == 0 and "disk" not in done.stderr
    assert np.array_equal(streamed, bp.load("m.safetensors", device="cpu").flat)


def test_predict_and_evaluate_read_from_disk() -> None:
    assert run("train", "X.npy", "--target=y.npy", *WORDS).exit_code == 0
    found = []
    for more in ((), (LITTLE,)):
        judged = run("evaluate", "m.safetensors", "X.npy", "--target=y.npy", "--device=cpu", *more)
        assert judged.exit_code == 0, judged.output
        predicted = run("predict", "m.safetensors", "X.npy", "--out=p.npy", "--device=cpu", *more)
        assert predicted.exit_code == 0 and ("disk" in predicted.stderr) == bool(more)
        found.append((judged.stdout, np.load("p.npy").tolist()))
    assert found[0] == found[1]


@pytest.mark.parametrize("table", ["houses.csv", "houses.parquet"])
def test_a_large_table_gives_the_same_rows(table: str) -> None:
    """What is known of its columns, the strange rows, the test part: only the order of the batches is another."""
    told = []
    for more in ((), (LITTLE,)):
        done = run("train", table, "--target=price", "--test-fraction=0.2", *more, *WORDS)
        assert done.exit_code == 0, done.output
        network = bp.load("m.safetensors", device="cpu")
        r2 = float(done.stdout.split("test R² ")[1].split(",")[0])
        assert r2 > 0.5 and "no price is given; left out" in done.stderr
        data = next(line for line in done.stdout.splitlines() if line.startswith("data "))
        told.append((network.metadata["table"], data))
    assert told[0] == told[1]
    how = "is prepared once, as" if table.endswith(".csv") else "is read from disk as it is needed"
    assert f"{table} {how}" in done.stderr
    found = []
    for more in ((), (LITTLE,)):
        predicted = run("predict", "m.safetensors", table, "--out=p.csv", "--device=cpu", *more)
        judged = run("evaluate", "m.safetensors", table, "--device=cpu", *more)
        assert predicted.exit_code == judged.exit_code == 0
        found.append((Path("p.csv").read_text(encoding="utf-8"), judged.stdout))
    assert found[0] == found[1]
    assert not list(Path().glob(".houses*"))


def test_large_groups_of_a_table_are_prepared_once() -> None:
    from pyarrow import parquet

    parquet.write_table(parquet.read_table("houses.parquet"), "one.parquet")
    done = run("train", "one.parquet", "--target=price", LITTLE, *WORDS)
    assert done.exit_code == 0 and "one.parquet is prepared once, as" in done.stderr
    assert not list(Path().glob(".one*"))


@pytest.mark.parametrize("data", [("X.npy", "--target=y.npy"), ("houses.csv", "--target=price")], ids=str)
def test_a_resumed_run_on_disk_is_bitwise_identical(data: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the memory that is free would decide otherwise by then."""
    monkeypatch.setattr(large_data, "usual_memory", lambda exact=False: 24 << 10)
    monkeypatch.setattr("gpubp.cli.train_run.usual_memory", lambda exact=False: 24 << 10)
    assert run("train", *data, *WORDS[:-1], "--out=whole.safetensors").exit_code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bp.Checkpoint, "on_step_end", stop_at(70))
        begun = run("train", *data, *WORDS, "--checkpoint-dir=a", "--checkpoint-every=1")
    assert begun.exit_code == 130, begun.output
    assert "--memory=24576" in json.loads(Path("a/run.json").read_text(encoding="utf-8"))["arguments"]
    monkeypatch.setattr("gpubp.cli.train_run.usual_memory", lambda exact=False: 1 << 30)
    monkeypatch.chdir("a")
    done = run("train", "--resume", ".")
    assert done.exit_code == 0 and "going on from step 70" in done.stderr, done.output
    assert Path("../m.safetensors").read_bytes() == Path("../whole.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("X.npy",), "--target says in which .npy file y lies"),
        (("X.npy", "--target=price"), "--target price: for X.npy it is an .npy file with y"),
        (("X.npy", "--target=z.npy"), "there is no file z.npy"),
        (("Z.npy", "--target=y.npy"), "there is no file Z.npy"),
        (("y.npy", "--target=y.npy"), r"y.npy has shape (2000,); (rows, features) is expected"),
        (("X.npy", "--target=short.npy"), "X.npy has 2,000 rows and short.npy 1,990; each row of X needs its one y"),
        (("bad.npy", "--target=y.npy", LITTLE), "X holds nan in row 1234; drop such rows"),
        (("bad.csv", "--target=price", LITTLE), "bad.csv, line 1900: rooms holds 'many', which is no number"),
        (("X.npy", "--target=y.npy", "--out=y.npy"), "--out y.npy would write over y.npy"),
        (("X.npy", "--target=y.npy", "--drop=a"), "--drop goes with a table"),
        (("digits", LITTLE), "--memory goes with .npy files and tables"),
        (("X.npy", "--target=y.npy", "--memory=lots"), "'lots' is no size, such as 512MB or 4GB"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_mistakes_are_one_line(words: tuple[str, ...], told: str, files: np.ndarray) -> None:
    np.save("short.npy", np.load("y.npy")[10:])
    files[1234, 5] = np.nan
    np.save("bad.npy", files)
    lines = Path("houses.csv").read_text(encoding="utf-8").splitlines()
    lines[1899] = "many,Ulm,1.0,2.0"
    Path("bad.csv").write_text("\n".join(lines), encoding="utf-8")
    done = run("train", *words, *(() if "--out=y.npy" in words else WORDS[-1:]), *WORDS[:-1])
    assert done.exit_code in (1, 2) and told in " ".join(done.stderr.split()), done.output
    assert "Traceback" not in done.output and not Path("m.safetensors").exists()
    assert not list(Path().glob(".*"))


def test_a_full_disk_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        free = 5

    monkeypatch.setattr(large_data.shutil, "disk_usage", lambda folder: Full)
    done = run("train", "houses.csv", "--target=price", LITTLE, *WORDS)
    assert done.exit_code == 1 and "of disk to be prepared" in done.stderr and "$TMPDIR says where" in done.stderr


def test_the_place_of_temporary_rows_may_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "room").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "room"))
    done = run("train", "houses.csv", "--target=price", LITTLE, *WORDS)
    assert done.exit_code == 0 and f"as {tmp_path / 'room'}" in done.stderr and not list((tmp_path / "room").iterdir())


def test_size_option_parses_units() -> None:
    sizes = [Size().convert(text, None, None) for text in ("1", "2KB", "1.5k", "3MB", "4 GB", "1T", 7)]
    assert sizes == [1, 2048, 1536, 3 << 20, 4 << 30, 1 << 40, 7]
    assert usual_memory() > 1 << 20


def test_a_report_evaluates_the_rows_that_were_held_out() -> None:
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    done = run("train", "X.npy", "--target=y.npy", LITTLE, "--report=r.html", *WORDS)
    assert done.exit_code == 0, done.output
    page = " ".join(re.sub("<[^>]+>", " ", Path("r.html").read_text(encoding="utf-8")).split())
    shown = next(line for line in done.stdout.splitlines() if line.startswith("    3")).split()[-1]
    assert f"accuracy {shown} validation rows" in page and "training 1,800 8 float32" in page
