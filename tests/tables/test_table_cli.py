"""Tables on the command line: from a CSV file to predictions, and one line for each mistake."""

from __future__ import annotations

import csv
import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from houses import houses

import gpubp as bp
from gpubp.rounding import number
from gpubp.tables import Preparation

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("rich")
testing = pytest.importorskip("click.testing")

from gpubp.cli.app import app  # noqa: E402

QUICK = ("--hidden=16", "--epochs=3", "--device=cpu")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with houses.csv, and 40 other houses in new.csv."""
    monkeypatch.chdir(tmp_path)
    houses(Path("houses.csv"), rows=400)
    houses(Path("new.csv"), rows=40, seed=7)


def run(*arguments: object) -> Any:
    return testing.CliRunner().invoke(app, [str(a) for a in arguments])


def train(*more: object, data: str = "houses.csv", target: str = "price") -> Any:
    done = run("train", data, f"--target={target}", *QUICK, *more)
    assert done.exit_code == 0, done.output
    return done


def without(path: str, column: str, out: str = "less.csv") -> str:
    with open(path, newline="") as file:
        rows = [{k: v for k, v in row.items() if k != column} for row in csv.DictReader(file)]
    return write(rows, out)


def write(rows: list[dict[str, Any]], out: str) -> str:
    with open(out, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out


def changed(line: int, column: str, value: str, path: str = "new.csv") -> str:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    rows[line - 2][column] = value
    return write(rows, "changed.csv")


# -- two commands -----------------------------------------------------------------------------------------------------


def test_train_and_predict_houses(tmp_path: Path) -> None:
    """Train, shown what the columns are; predict, in the units of the table, what the library predicts, to the bit."""
    houses(Path("houses.csv"))
    options = ("--drop", "dear", "--test-fraction", "0.2", "--l2", "0.01", "--device", "cpu")
    done = run("train", "houses.csv", "--target", "price", *options)
    assert done.exit_code == 0, done.output
    for column, kind in (("area", "number"), ("town", "category"), ("garden", "yes/no"), ("sold", "date")):
        assert re.search(rf"^{column} +{kind} ", done.output, re.M), done.output
    assert re.search("^id +left out .*counts the rows", done.output, re.M)
    assert re.search(r"price as a number; 1,\d\d\d rows to train with, \d+ to test", done.output)
    assert float(re.search(r"test R² (\d\.\d+)", done.output)[1]) > 0.9
    asked = run(
        "predict", "houses.safetensors", without("new.csv", "price"), "--out", "predictions.csv", "--device=cpu"
    )
    assert asked.exit_code == 0 and asked.output == "40 predictions in predictions.csv\n", asked.output
    with open("predictions.csv", newline="") as file:
        said = np.array([row["prediction"] for row in csv.DictReader(file)], np.float32)
    network = bp.load("houses.safetensors", device="cpu")
    prepared = Preparation.of(network)
    assert prepared is not None
    want = prepared.target.answers(network.predict(prepared.arrays("new.csv", target=False)[0]))
    np.testing.assert_array_equal(said, want)
    run("predict", "houses.safetensors", "new.csv", "--out", "predictions.npy", "--device=cpu")
    np.testing.assert_array_equal(np.load("predictions.npy"), want)
    with open("new.csv", newline="") as file:
        truth = np.array([row["price"] for row in csv.DictReader(file)], float)
    judged = run("evaluate", "houses.safetensors", "new.csv", "--device=cpu").output
    assert f"mean absolute error {number(np.abs(want - truth).mean())}," in judged
    r2 = 1 - np.square(want - truth).mean() / truth.var()
    assert f"R² {r2:.4f}" in judged and r2 > 0.7


def test_text_as_classes() -> None:
    done = train("--epochs=30", "--test", "new.csv", target="dear")
    assert "dear as one of 2 classes, dear, fair; 400 rows to train with, 40 to test" in done.output
    accuracy = re.search(r"test accuracy (\d\.\d+)", done.output)[1]
    judged = run("evaluate", "houses.safetensors", "new.csv", "--device=cpu").output
    assert f"accuracy {accuracy}" in judged and re.search(r"^fair +\d+ ", judged, re.M) and float(accuracy) > 0.8
    shown = run("predict", "houses.safetensors", "new.csv", "--out", "-", "--device=cpu").output
    assert re.match(r"row,prediction,probability\n1,(dear|fair),0\.\d{6}\n", shown)
    run("predict", "houses.safetensors", "new.csv", "--out", "p.npz", "--device=cpu")
    with np.load("p.npz") as written:
        assert written["classes"].tolist() == ["dear", "fair"] and set(written["prediction"]) == {"dear", "fair"}
        best = written["probability"].argmax(axis=1)
        assert (written["classes"][best] == written["prediction"]).all()
    assert "dear as one of 2 classes" in run("inspect", "houses.safetensors").output


def test_yes_or_no_is_one_output_with_two_names() -> None:
    train("--loss=binary", "--epochs=20", target="dear")
    network = bp.load("houses.safetensors", device="cpu")
    assert network.output_shape == (1,)
    prepared = Preparation.of(network)
    assert prepared is not None
    z = network.predict(prepared.arrays("new.csv", target=False)[0])[:, 0]
    shown = run("predict", "houses.safetensors", "new.csv", "--out", "-", "--device=cpu").output.splitlines()[1:]
    assert [line.split(",")[1] for line in shown] == ["fair" if one > 0 else "dear" for one in z]
    assert min(float(line.split(",")[2]) for line in shown) >= 0.5
    assert "accuracy" in run("evaluate", "houses.safetensors", "new.csv", "--device=cpu").output
    assert run("evaluate", "houses.safetensors", "new.csv", "--confusion=c.png", "--device=cpu").exit_code == 0


def test_whole_numbers_as_classes_or_numbers() -> None:
    rows = [{"x": i % 7, "z": (i * i) % 11, "y": 3 + i % 3} for i in range(300)]
    write(rows, "t.csv")
    done = train(data="t.csv", target="y")
    assert "y is taken for classes, 3, 4, 5; --loss mse for numbers" in done.stderr
    run("predict", "t.safetensors", "t.csv", "--out", "p.npy", "--device=cpu")
    assert set(np.load("p.npy")) <= {3, 4, 5}
    done = train("--loss=huber", data="t.csv", target="y")
    assert "y as a number" in done.output and "y is taken for numbers; --loss softmax" in done.stderr


@pytest.mark.parametrize("ending", [".parquet", ".tsv", ".csv.gz"])
def test_every_kind_of_file_gives_the_same_network(ending: str) -> None:
    import gzip

    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    train()
    want = bp.load("houses.safetensors", device="cpu").flat.copy()
    if ending == ".parquet":
        parquet.write_table(arrow_csv.read_csv("houses.csv"), "houses.parquet")
    elif ending == ".tsv":
        Path("houses.tsv").write_text(Path("houses.csv").read_text().replace(",", "\t"))
    else:
        Path("houses.csv.gz").write_bytes(gzip.compress(Path("houses.csv").read_bytes()))
    Path("houses.safetensors").unlink()
    train(data=f"houses{ending}")
    np.testing.assert_array_equal(bp.load("houses.safetensors", device="cpu").flat, want)
    assert run("predict", "houses.safetensors", f"houses{ending}", "--device=cpu").exit_code == 0


def test_many_levels_are_embedded() -> None:
    rows = [{"street": f"street {i % 50}", "z": i * 7 % 13, "y": (i % 50) ** 0.5 + i % 2} for i in range(1000)]
    write(rows, "t.csv")
    done = train(data="t.csv", target="y")
    assert "embedded in 8 numbers" in done.output and "EmbedColumns(Embedding(52, 8))" in done.output
    assert run("predict", "t.safetensors", "t.csv", "--device=cpu").exit_code == 0
    assert (
        "next     gpubp train t.csv --target y --lr 0.0" in run("find-lr", "t.csv", "--target=y", "--device=cpu").output
    )
    assert "EmbedColumns" in run("profile", "t.csv", "--target=y", "--steps=2", "--device=cpu").output


def test_options_set_the_kind_of_a_column() -> None:
    write([{"a,b": i % 3, "-c": i % 4 + 0.5, "n": i + 1, "k": i % 5, "y": i % 9 * 0.5} for i in range(100)], "t.csv")
    words = ("--categorical=a,b", "--categorical=k,-c", "--numeric=n")
    output = train(*words, data="t.csv", target="y").output
    assert [re.search(rf"^{name} +(\S+)", output, re.M)[1] for name in ("a,b", "-c", "n", "k")] == [
        "category", "category", "number", "category"
    ]  # fmt: skip
    assert re.search(r"^n +left out .*counts the rows", train("--drop=k", data="t.csv", target="y").output, re.M)


# -- resumed ----------------------------------------------------------------------------------------------------------


def test_a_run_on_a_table_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every option of a table; from another folder; with the bytes of a run that never stopped."""
    words = ("--categorical=built,garden", "--numeric=id", "--drop=dear", "--drop=sold", "--dropout=0.1")
    for test in ("--test=new.csv", "--test-fraction=0.25"):
        train(*words, test, "--out=m.safetensors")
        whole = Path("m.safetensors").read_bytes()
        Path("m.safetensors").unlink()

        def on_step_end(self: bp.Checkpoint, trainer: bp.Trainer) -> None:
            if trainer.step_count == 12:
                trainer.state.signals.received = signal.SIGINT

        folder = f"runs/{test[2:8].strip('=-')}"
        with monkeypatch.context() as patch:
            patch.setattr(bp.Checkpoint, "on_step_end", on_step_end)
            begun = run(
                "train", "houses.csv", "--target=price", *QUICK, *words, test, "--out=m.safetensors",
                f"--checkpoint-dir={folder}", "--checkpoint-every=4",
            )  # fmt: skip
        assert begun.exit_code == 130, begun.output
        told = json.loads(Path(folder, "run.json").read_text())["arguments"]
        assert {"--categorical=built,garden", "--drop=dear", "--drop=sold", "--target=price"} <= set(told)
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "elsewhere")
        again = run("train", "--resume", tmp_path / folder)
        assert again.exit_code == 0 and "going on from step 12" in again.stderr, again.output
        monkeypatch.chdir(tmp_path)
        assert "test R²" in again.output and Path("m.safetensors").read_bytes() == whole


# -- what is strange, and no error ------------------------------------------------------------------------------------


def test_notes_about_unusual_rows() -> None:
    train()
    for line, column, value, words in (
        (
            9,
            "town",
            "Atlantis",
            "csv, line 9: town is 'Atlantis', which it never was in training; taken as none",
        ),
        (9, "built", "", "changed.csv, line 9: no built is given, as never in training; taken as the mean"),
    ):
        done = run("predict", "houses.safetensors", changed(line, column, value), "--device=cpu")
        assert done.exit_code == 0 and words in done.stderr, done.output
    with open("new.csv", newline="") as file:
        write([{**row, "colour": "red", "key": i} for i, row in enumerate(csv.DictReader(file))], "more.csv")
    done = run("predict", "houses.safetensors", "more.csv", "--device=cpu")
    assert "more.csv has columns that houses.safetensors does not know, which are ignored: colour, key" in done.stderr
    done = train(data=changed(30, "price", "", "houses.csv"))
    assert "changed.csv, line 30: no price is given; left out" in done.stderr
    rows = [{"t": "often" if i % 50 else f"rare {i}", "z": i % 7, "y": i % 13 * 0.1} for i in range(1000)]
    write(rows, "t.csv")
    train(data="t.csv", target="y")
    done = run("evaluate", "t.safetensors", changed(4, "t", "new", "t.csv"), "--device=cpu")
    assert "line 2 and 20 more: t is 'rare 0', which it rarely or never was in training" in done.stderr, done.output


# -- mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES = [
    (("train", "houses.csv"), "--target says which column of houses.csv to predict; it has id, area, "),
    (("train", "houses.csv", "--target=pirce"), "no column 'pirce' for the target; did you mean price?"),
    (("train", "houses.csv", "--target=price", "--drop=towm"), "no column 'towm' for the drop; did you mean town?"),
    (("train", "houses.csv", "--target=price", "--drop=price"), "'price' is the target, and can't be in drop too"),
    (
        ("train", "houses.csv", "--target=price", "--model=cnn"),
        "--model cnn is for pictures and sounds, and houses.csv is",
    ),
    (("train", "houses.csv", "--target=price", "--loss=softmax"), "the target price holds fractions"),
    (
        ("train", "houses.csv", "--target=dear", "--loss=mse"),
        "line 2: dear holds '....', and a target of numbers needs",
    ),
    (
        ("train", "houses.csv", "--target=town", "--loss=binary"),
        "town has 4 classes, and BinaryCrossEntropy.. tells",
    ),
    (("train", "houses.csv", "--target=country"), "the target country is 'Freedonia' in every row"),
    (("train", "houses.csv", "--target=price", "--test=new.csv", "--test-fraction=0.1"), "leave one out"),
    (("train", "houses.csv", "--target=price", "--test=none.csv"), "there is no file none.csv"),
    (("train", "houses.csv", "--target=price", "--test=bad.csv"), "bad.csv lacks the columns area, town, built"),
    (("train", "houses.csv", "--target=price", "--test-fraction=1e-9"), "leaves nothing on one side"),
    (("train", "houses.csv", "--target=price", "--test-fraction=2"), "2 is not a number above 0 and below 1"),
    (("train", "houses.csv", "--target=price", "--numeric=town"), "line 2: town holds '....', which is no number"),
    (("train", "houses.csv", "--target=price", "--out=houses.csv"), "would write over houses.csv"),
    (("train", "houses.csv", "--target=price", "--test=new.csv", "--out=new.csv"), "would write over new.csv"),
    (("train", "houses.csv", "--target=price", "--label-smoothing=0.1"), "--label-smoothing goes with --loss softmax"),
    (("train", "houses.csv", "--target=price", "--data=."), "--data says where MNIST lies"),
    (("train", "none.csv", "--target=price"), "there is no file none.csv"),
    (("train", "bad.csv", "--target=b"), "bad.csv, line 3: 1 value, and the header names 2 columns"),
    (("train", "digits", "--target=price"), "--target goes with a table: .csv, "),
    (("train", "digits", "--test-fraction=0.1"), "--test-fraction goes with a table"),
    (("find-lr", "digits", "--drop=price"), "--drop goes with a table"),
    (("compare", "houses.csv"), "houses.csv is a table, and this command takes none"),
    (("predict", "m.safetensors", "none.csv"), "there is no file none.csv"),
    (("predict", "m.safetensors", "bad.csv"), "bad.csv lacks the columns area, town, built, garden, sold"),
    (
        ("predict", "m.safetensors", "points.npz"),
        "m.safetensors was trained on a table, and points.npz is none: give",
    ),
    (("predict", "m.safetensors", "digits"), "was trained on a table, and digits is none"),
    (("predict", "plain.safetensors", "new.csv"), "plain.safetensors was not trained on a table, and new.csv is one"),
    (("predict", "new.csv", "m.safetensors"), "new.csv is data; first comes the model"),
    (
        ("predict", "m.safetensors", "typo.csv", "--out=p.csv"),
        "typo.csv, line 17: area holds 'abc', which is no",
    ),
    (("predict", "m.safetensors", "less.csv", "--out=p.csv"), "less.csv lacks the column area"),
    (("evaluate", "m.safetensors", "priceless.csv"), "priceless.csv lacks the column price"),
    (("evaluate", "m.safetensors", "new.csv", "--loss=softmax"), "price is a column of numbers, and Softmax"),
    (("evaluate", "dear.safetensors", "new.csv", "--loss=binary"), "--loss binary needs 1 outputs, and dear.saf"),
    (("evaluate", "plain.safetensors", "new.csv", "--loss=mse"), "was not trained on a table"),
    (("predict", "hostile.safetensors", "new.csv"), "does not say well how its table is prepared"),
    (("evaluate", "other.safetensors", "new.csv"), "price needs 1 outputs, and it has 3"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of MISTAKES, made once."""
    folder = tmp_path_factory.mktemp("mistakes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        houses(Path("houses.csv"), rows=400)
        houses(Path("new.csv"), rows=40, seed=7)
        train("--out=m.safetensors")
        train("--out=dear.safetensors", target="dear")
        without("new.csv", "area")
        without("new.csv", "price", "priceless.csv")
        Path(changed(17, "area", "abc")).rename("typo.csv")
        Path("bad.csv").write_text("a,b\n1,2\n3\n")
        np.savez("points.npz", X=np.eye(3), y=[0, 1, 1])
        bp.Network(bp.Dense(1), 3, device="cpu").save("plain.safetensors")
        network = bp.load("m.safetensors", device="cpu")
        network.metadata["table"]["columns"][0]["scale"] = 0.0
        network.save("hostile.safetensors")
        told = bp.load("m.safetensors", device="cpu")
        other = bp.Network(bp.Dense(3), told.input_shape, device="cpu")
        other.metadata = told.metadata
        other.save("other.safetensors")
    return folder


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda value: " ".join(value)[:70])
def test_a_mistake_is_one_line_and_nothing_is_written(
    arguments: tuple[str, ...], words: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    before = sorted(files.iterdir())
    done = testing.CliRunner().invoke(app, [*arguments, *(["--device=cpu"] if arguments[0] != "compare" else [])])
    assert done.exit_code == 2 and re.search(words, done.stderr), done.output
    complaint = [line for line in done.stderr.splitlines() if line.startswith("gpubp:")]
    assert len(complaint) == 1 and "Traceback" not in done.output
    assert sorted(files.iterdir()) == before


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run("train", "houses.csv", "--target=price", *QUICK)
    assert done.exit_code == 2 and "Reading tables needs pyarrow: pip install 'gpubp[tables]'" in done.stderr
