"""Tables of every kind on the command line: the same network from each; --encoding, --no-header, --validation, "-"."""

from __future__ import annotations

import csv
import datetime
import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from houses import houses

import gpubp as bp
from gpubp.rounding import number

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("rich")
testing = pytest.importorskip("click.testing")

from gpubp.cli.app import app  # noqa: E402

QUICK = ("--hidden=8", "--epochs=2", "--device=cpu", "--drop=dear")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with 240 houses in houses.csv and 40 others in new.csv."""
    monkeypatch.chdir(tmp_path)
    houses(Path("houses.csv"), rows=240)
    houses(Path("new.csv"), rows=40, seed=7)


def run(*arguments: object, input: str | bytes | None = None) -> Any:
    return testing.CliRunner().invoke(app, [str(a) for a in arguments], input=input)


def train(*more: object, data: str = "houses.csv", target: str = "price", **options: Any) -> Any:
    done = run("train", data, f"--target={target}", *QUICK, *more, **options)
    assert done.exit_code == 0, done.output
    return done


def weights(path: str = "houses.safetensors") -> np.ndarray[Any, Any]:
    return np.array(bp.load(path, device="cpu").flat)


def refused(words: str, *arguments: object, **options: Any) -> None:
    before = sorted(Path().iterdir())
    done = run(*arguments, **options)
    assert done.exit_code == 2 and re.search(words, done.stderr), done.output
    complaint = [line for line in done.stderr.splitlines() if line.startswith("gpubp:")]
    assert len(complaint) == 1 and "Traceback" not in done.output and sorted(Path().iterdir()) == before


def records() -> list[dict[str, str]]:
    with open("houses.csv", newline="") as file:
        return list(csv.DictReader(file))


# -- every kind of file -----------------------------------------------------------------------------------------------


def write_as(ending: str) -> str:
    """houses.csv in another format; the name of the new file or folder."""
    path, text = f"houses{ending}", Path("houses.csv").read_text()
    typed = pyarrow.csv.read_csv("houses.csv")
    if ending == ".jsonl":
        lines = [{k: v for k, v in row.items() if v != ""} for row in records()]
        Path(path).write_text("".join(json.dumps(line) + "\n" for line in lines))
    elif ending == ".csv.zst":
        with pyarrow.CompressedOutputStream(path, "zstd") as target:
            target.write(text.encode())
    elif ending == ".txt":
        rows = [[field or "NA" for field in row.values()] for row in records()]
        Path(path).write_text("".join("   ".join(row) + "\n" for row in [list(records()[0]), *rows]))
    elif ending == ".feather":
        pyarrow.feather.write_feather(typed, path)
    elif ending == ".xlsx":
        book = pytest.importorskip("openpyxl").Workbook()
        for row in [typed.column_names, *(list(row.values()) for row in typed.to_pylist())]:
            book.active.append(row)
        book.save(path)
    elif ending == "":
        for k in range(3):
            Path(f"houses/part={k}").mkdir(parents=True)
            pyarrow.parquet.write_table(typed.slice(80 * k, 80), f"houses/part={k}/0.parquet")
        Path("houses/_SUCCESS").write_text("")
    return path


@pytest.mark.parametrize("ending", [".csv.zst", ".jsonl", ".txt", ".feather", ".xlsx", ""])
def test_every_kind_of_file_gives_the_same_network(ending: str) -> None:
    import pyarrow.csv
    import pyarrow.feather
    import pyarrow.parquet  # noqa: F401

    train("--test-fraction=0.2")
    want = weights()
    Path("houses.safetensors").unlink()
    path = write_as(ending)
    train("--test-fraction=0.2", *(["--drop=part"] if ending == "" else []), data=path)
    np.testing.assert_array_equal(weights(), want)
    run("predict", "houses.safetensors", "houses.csv", "--out=a.npy", "--device=cpu")
    done = run("predict", "houses.safetensors", path, "--out=b.npy", "--device=cpu")
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(np.load("a.npy"), np.load("b.npy"))
    assert "R²" in run("evaluate", "houses.safetensors", path, "--device=cpu").output
    Path("houses.csv").rename("other.csv")
    train("--memory=4KB", "--test-fraction=0.2", "--out=large.safetensors", data=path)
    assert sorted(p.name for p in Path().glob(".*")) == []


def test_partitions_are_columns() -> None:
    write_as("")
    output = train(data="houses", target="price").output
    assert re.search(r"^part +category", output, re.M) or re.search(r"^part +number", output, re.M), output


def test_the_columns_of_a_parquet_file_may_have_another_order() -> None:
    import pyarrow.csv
    import pyarrow.parquet

    train()
    table = pyarrow.csv.read_csv("new.csv")
    names = [f" {name} " for name in reversed(table.column_names)]
    table = table.select(list(reversed(table.column_names))).rename_columns(names)
    pyarrow.parquet.write_table(table, "turned.parquet", row_group_size=4)
    for path in ("new.csv", "turned.parquet"):
        done = run("predict", "houses.safetensors", path, f"--out={path}.npy", "--device=cpu", "--memory=2KB")
        assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(np.load("new.csv.npy"), np.load("turned.parquet.npy"))


def test_other_sheets_are_named_in_a_note() -> None:
    book = pytest.importorskip("openpyxl").Workbook()
    for row in [["a", "day", "y"], *([i % 7, datetime.date(2024, 1, 1 + i % 28), i % 9 * 0.5] for i in range(60))]:
        book.active.append(row)
    book.create_sheet("prices").append([1])
    book.save("t.xlsx")
    done = run("train", "t.xlsx", "--target=y", *QUICK[:3])
    assert done.exit_code == 0 and "t.xlsx: the sheet Sheet is read, and not prices" in done.stderr
    assert re.search(r"^day +date", done.output, re.M)


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    text = Path("houses.csv").read_text()
    train("--test-fraction=0.2")
    done = train("--test-fraction=0.2", data="-", input=text)
    assert "stdin: rows of" in done.output and "stdin.safetensors" in done.output
    np.testing.assert_array_equal(weights("stdin.safetensors"), weights())
    new = Path("new.csv").read_text()
    piped = run("predict", "stdin.safetensors", "-", "--out", "-", "--device=cpu", input=new)
    asked = run("predict", "houses.safetensors", "new.csv", "--out", "-", "--device=cpu")
    assert piped.stdout == asked.stdout and piped.exit_code == 0
    named = run("predict", "stdin.safetensors", "-", "--id=id,town", "--out", "-", "--device=cpu", input=new)
    assert named.stdout.startswith("id,town,prediction\n1,"), named.output
    judged = run("evaluate", "stdin.safetensors", "-", "--device=cpu", input=new)
    assert "R²" in judged.output and not list((tmp_path / "temporary").iterdir())
    train("--memory=4KB", data="-", input=text)
    assert not list((tmp_path / "temporary").iterdir())
    refused("standard input is empty", "predict", "stdin.safetensors", "-", "--device=cpu", input="")
    refused("standard input, line 2: area holds 'abc'", "predict", "stdin.safetensors", "-", "--device=cpu",
            input=re.sub(r"(?m)^1,[^,]*", "1,abc", new))  # fmt: skip
    refused("can't be read again", "train", "-", "--target=price", *QUICK, "--checkpoint-dir=runs", input=text)
    refused("can be read once only", "train", "-", "--target=price", *QUICK, "--test=-", input=text)


# -- encodings and headers --------------------------------------------------------------------------------------------


def test_an_encoding_is_said() -> None:
    text = Path("houses.csv").read_text().replace("Oslo", "Malmö").replace("area", "fläche")
    Path("t.csv").write_bytes(text.encode("cp1252"))
    refused("t.csv, line 1: not UTF-8 text; say what it is, as --encoding cp1252", "train", "t.csv", "--target=price")
    done = train("--encoding=cp1252", "--test=t.csv", data="t.csv")
    assert "fläche" in done.output and "Malmö" in json.dumps(bp.load("t.safetensors").metadata, ensure_ascii=False)
    for command in ("predict", "evaluate"):
        assert run(command, "t.safetensors", "t.csv", "--encoding=latin-1", "--device=cpu").exit_code == 0
        refused("not UTF-8 text", command, "t.safetensors", "t.csv", "--device=cpu")
    Path("u.csv").write_bytes(text.encode("utf-16"))
    assert run("predict", "t.safetensors", "u.csv", "--device=cpu").exit_code == 0
    refused("'klingon' is no text encoding; names are utf-8", "train", "t.csv", "--target=y", "--encoding=klingon")
    refused("--encoding goes with a table", "train", "digits", "--encoding=cp1252")


@pytest.fixture
def headless() -> None:
    """rows.csv and new.csv: x, z, town and y, without a header; with.csv: rows.csv with one."""
    lines = [f"{i % 7 + 0.5},{i % 11},{'Rome' if i % 3 else 'Oslo'},{i % 7 * 2 + i % 11 * 0.5}\n" for i in range(240)]
    Path("rows.csv").write_text("".join(lines))
    Path("with.csv").write_text("x,z,town,y\n" + "".join(lines))
    Path("new.csv").write_text("".join(lines[:20]))


def train_headless(*more: object) -> Any:
    done = run("train", "rows.csv", "--target=column 4", "--no-header", *QUICK[:3], *more)
    assert done.exit_code == 0, done.output
    return done


def test_a_model_remembers_that_there_was_no_header(headless: None) -> None:
    done = train_headless("--test-fraction=0.2", "--validation=new.csv")
    assert "rows.csv" not in done.stderr and re.search(r"^column 3 +category", done.output, re.M)
    for more in ((), ("--no-header",)):
        done = run("predict", "rows.safetensors", "new.csv", "--out=p.npy", *more, "--device=cpu")
        assert done.exit_code == 0 and len(np.load("p.npy")) == 20, done.output
    assert "R²" in run("evaluate", "rows.safetensors", "new.csv", "--device=cpu").output
    refused(
        "with.csv, line 1: column 1 holds 'x', which is no number; if this line names the columns, delete it",
        *("predict", "rows.safetensors", "with.csv", "--device=cpu"),
    )
    Path("less.csv").write_text("0.5,3,Rome\n1.5,4,Oslo\n")
    assert run("predict", "rows.safetensors", "less.csv", "--device=cpu").exit_code == 0
    Path("more.csv").write_text("0.5,3,Rome,2,7\n")
    refused("more.csv has 5 columns, and 4 are expected", "predict", "rows.safetensors", "more.csv", "--device=cpu")


def test_a_column_less_does_not_shift_the_others(headless: None) -> None:
    """Where the target is the first column, a file without it would be read one column off."""
    assert run("train", "rows.csv", "--target=column 1", "--no-header", "--drop=column 4", *QUICK[:3]).exit_code == 0
    Path("less.csv").write_text("3,Rome,1.5\n4,Oslo,2.5\n")
    refused("less.csv has 3 columns, and 4 are expected", "predict", "rows.safetensors", "less.csv", "--device=cpu")


def test_a_header_that_looks_like_values_is_told(headless: None) -> None:
    refused("--target says which column", "train", "rows.csv", "--device=cpu")
    done = run("train", "rows.csv", "--target=0.0", *QUICK[:3])
    assert done.exit_code == 0, done.output
    words = "rows.csv: its first line looks like values and not like names: 0.5, 0, Oslo, 0.0; --no-header says"
    assert words in re.sub(r"\s+", " ", done.stderr)
    Path("twice.csv").write_text("1.5,1.5,3\n2,3,4\n")
    refused("called 1.5: its first line looks like values .* --no-header says", "train", "twice.csv", "--target=3")
    assert run("train", "with.csv", "--target=y", *QUICK[:3]).exit_code == 0
    refused(
        r"new.csv lacks the columns .*; its first line looks like values and not like names \(0.5, 0, Oslo, 0.0\)",
        *("predict", "with.safetensors", "new.csv", "--device=cpu"),
    )
    refused(
        "with.safetensors was trained on a table with a header, and finds columns by their names",
        *("predict", "with.safetensors", "new.csv", "--no-header", "--device=cpu"),
    )
    refused("--no-header goes with a table", "train", "digits", "--no-header")
    refused(
        "with.csv, line 1: column 4 holds 'y', .* if this line names the columns, delete",
        "train",
        "with.csv",
        "--no-header",
        "--target=column 4",
    )


def test_names_are_trimmed() -> None:
    text = Path("houses.csv").read_text()
    header, _, rows = text.partition("\n")
    Path("blank.csv").write_text(header.replace(",", " , ") + "\n" + rows.replace(",", ", "))
    train()
    train(data="blank.csv", target=" price")
    np.testing.assert_array_equal(weights("blank.safetensors"), weights())
    for path in ("new.csv", "blank.csv"):
        assert run("evaluate", "blank.safetensors", path, "--device=cpu").exit_code == 0


def test_models_with_spaces_in_their_names_still_predict() -> None:
    """As versions before saved them."""
    train()
    network = bp.load("houses.safetensors", device="cpu")
    told = json.loads(json.dumps(network.metadata["table"]).replace('"area"', '" area"').replace('"price"', '"price "'))
    network.metadata["table"] = told
    network.save("old.safetensors")
    done = run("predict", "old.safetensors", "new.csv", "--out=old.npy", "--device=cpu")
    assert done.exit_code == 0, done.output
    run("predict", "houses.safetensors", "new.csv", "--out=now.npy", "--device=cpu")
    np.testing.assert_array_equal(np.load("old.npy"), np.load("now.npy"))


# -- validation -------------------------------------------------------------------------------------------------------


def test_validation_with_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = train("--validation=new.csv", "--test=new.csv", "--early-stopping", "--json=found.json")
    assert "240 rows to train with, 40 to validate with, 40 to test" in done.output
    told = json.loads(Path("found.json").read_text())
    assert told["data"]["validation_rows"] == 40 and told["data"]["rows"] == 240 and told["history"]["val_loss"]
    want = told["history"]["val_mean_absolute_error"][-1]
    assert f"mean absolute error {number(want)}" in done.output
    train("--validation=new.csv", "--test=new.csv", "--early-stopping", "--memory=4KB", "--out=large.safetensors")
    done = train("--validation=new.csv")
    assert "judge by the validation above" in done.stderr

    def on_step_end(self: bp.Checkpoint, trainer: bp.Trainer) -> None:
        if trainer.step_count == 5:
            trainer.state.signals.received = signal.SIGINT

    whole = Path("houses.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(bp.Checkpoint, "on_step_end", on_step_end)
        words = ("--validation=new.csv", "--checkpoint-dir=runs", "--checkpoint-every=2")
        assert run("train", "houses.csv", "--target=price", *QUICK, *words).exit_code == 130
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = run("train", "--resume", tmp_path / "runs")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "houses.safetensors").read_bytes() == whole


def test_mistakes_with_validation() -> None:
    begin = ("train", "houses.csv", "--target=price", *QUICK)
    refused("both say what to validate with", *begin, "--validation=new.csv", "--validation-fraction=0.1")
    refused("there is no file none.csv", *begin, "--validation=none.csv")
    refused("x.xls is no table: give .*save it as .xlsx or .csv", *begin, "--validation=x.xls")
    refused("would write over new.csv", *begin, "--validation=new.csv", "--out=new.csv")
    refused("--validation goes with a table", "train", "digits", "--validation=new.csv")
    Path("less.csv").write_text("a,b\n1,2\n")
    refused("less.csv lacks the columns", *begin, "--validation=less.csv")


# -- what can't be read -----------------------------------------------------------------------------------------------


def test_what_can_not_be_read_says_what_can() -> None:
    for name, words in (
        ("t.xls", "t.xls can't be read; open it in the program that made it, and save it as .xlsx or .csv"),
        ("t.json", "if each of its lines is an object, call it t.jsonl"),
        ("t.zip", "unpack it first"),
    ):
        Path(name).write_text("")
        refused(words, "train", name, "--target=price")
    train()
    refused("was trained on a table, and t.xls is none: give .*; open it", "predict", "houses.safetensors", "t.xls")
    Path("empty").mkdir()
    refused(
        "empty is a folder with neither Parquet files nor folders of .wav files in it",
        "train",
        "empty",
        "--target=price",
    )
    refused("--encoding", "predict", "houses.safetensors", "new.parquet", "--encoding=x-none")


def test_a_folder_called_digits_does_not_hide_the_data_set() -> None:
    import pyarrow.parquet

    Path("digits").mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), "digits/0.parquet")
    refused("--target goes with a table", "train", "digits", "--target=a")
    shutil.rmtree("digits")
