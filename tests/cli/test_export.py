"""`gpubp export`: files that are written, what is printed of them, and the comparison with onnxruntime."""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import CPU, run
from test_full_disk import files_up_to

import gpubp as bp
from gpubp.cli import onnx_check
from gpubp.cli.random_rows import random_rows
from gpubp.tables import NumberColumn, Preparation, TableTarget
from gpubp.tables.formats import NumberFormat
from waves import folder_of_tones

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.usefixtures("empty_folder")


def outputs(path: str, *inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = {port.name: a for port, a in zip(session.get_inputs(), inputs, strict=True)}
    return dict(zip(names, session.run(names, given), strict=True))


def saved(layers: bp.Layer, shape: Any, metadata: dict[str, Any] | None = None, dtype: str = "float32") -> bp.Network:
    net = bp.Network(layers, shape, device="cpu", dtype=dtype, seed=3)
    net.metadata = metadata or {}
    net.save("m.safetensors")
    return net


@pytest.fixture
def trained(points: Path) -> Path:
    """The data that points.safetensors is trained on."""
    assert run("train", points, "--epochs=5", "--hidden=8", *CPU, "--out=points.safetensors").exit_code == 0
    return points


def test_a_classifier_is_written_and_compared(trained: Path) -> None:
    before = Path("points.safetensors").read_bytes()
    done = run("export", "points.safetensors", "points.onnx", "--check", trained)
    assert done.exit_code == 0 and done.stderr == "", done.output
    for words in ("(batch, 3)", "label", "probabilities", "ai.onnx 20", "agrees with gpubp to", "50 rows of"):
        assert words in done.stdout, done.stdout
    assert 'next     onnxruntime.InferenceSession("points.onnx").run(None, {"input": X})' in done.stdout
    with np.load(trained) as data:
        X = data["X_test"].astype(np.float32)
    p = outputs("points.onnx", X)["probabilities"]
    told = json.loads(run("predict", "points.safetensors", trained, "--json", *CPU).stdout)
    assert np.abs(p[:, 0] + p[:, 1] - 1).max() < 1e-6 and len(told["probabilities"]) == 150
    assert Path("points.safetensors").read_bytes() == before and sorted(p.name for p in Path().glob("*")) == [
        "points.npz",
        "points.onnx",
        "points.safetensors",
    ]


def test_the_document(trained: Path) -> None:
    found = json.loads(run("export", "points.safetensors", "points.onnx", "--json").stdout)
    assert found["form"] == "ONNX" and found["bytes"] == Path("points.onnx").stat().st_size
    assert found["takes"][0] | {"what": ""} == {
        "name": "input",
        "type": "float32",
        "shape": ["batch", 3],
        "what": "",
    }
    assert {port["name"]: port["type"] for port in found["gives"]} == {"label": "int64", "probabilities": "float32"}
    assert found["opset"]["ai.onnx"] == 20
    check = found["check"]
    assert check["agrees"] and check["data"] is None and check["rows"] == 100 and check["labels"] == 0
    assert 0 <= check["largest"] < 1e-5 and check["onnxruntime"] == onnxruntime.__version__


NETWORKS = {
    "numbers": (bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2)), 3, {}),
    "words": (bp.Sequential(bp.Embedding(50, 4), bp.Flatten(), bp.Dense(2)), (6,), {}),
    "names": (bp.Dense(3), 4, {"task": "classes", "names": ["ä", "b", "ζ"]}),
    "labels": (bp.Dense(3), 4, {"task": "labels"}),
    "one class": (bp.Dense(1), 4, {"task": "classes"}),
    "lengths": (bp.Sequential(bp.GRU(4), bp.Dense(2)), (None, 3), {"task": "classes"}),
    "steps": (bp.Sequential(bp.GRU(4, return_sequences=True), bp.Dense(2)), (None, 3), {"task": "classes"}),
}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_networks_of_many_kinds_agree(kind: str, dtype: str) -> None:
    net = saved(*NETWORKS[kind], dtype)
    done = run("export", "m.safetensors", "m.onnx")
    if net.has_lengths and dtype == "float64":  # onnxruntime has GRU in float32 alone
        assert done.exit_code == 0 and "not compared with gpubp: onnxruntime" in done.stderr
        done = run("export", "m.safetensors", "m.onnx", "--float32")
    assert done.exit_code == 0 and "agrees with gpubp" in done.stdout, done.output


def test_raw_outputs(trained: Path) -> None:
    done = run("export", "points.safetensors", "raw.onnx", "--raw", "--check", trained)
    assert done.exit_code == 0 and "agrees with gpubp" in done.stdout, done.output
    with np.load(trained) as data:
        X = data["X"].astype(np.float32)
    found = outputs("raw.onnx", X)
    assert list(found) == ["output"]
    expected = bp.load("points.safetensors", device="cpu").predict(X)
    assert np.abs(found["output"] - expected).max() < 1e-5


def test_rows_to_check_may_be_an_array() -> None:
    net = saved(bp.Dense(2), 4)
    np.save("rows.npy", random_rows(net, 23))
    done = run("export", "m.safetensors", "m.onnx", "--check", "rows.npy")
    assert done.exit_code == 0 and "on 23 rows of rows.npy" in done.stdout
    np.save("wide.npy", np.zeros((3, 5)))
    done = run("export", "m.safetensors", "new.onnx", "--check", "wide.npy")
    assert done.exit_code == 2 and "rows of shape (5,)" in done.stderr and not Path("new.onnx").exists()


def test_at_most_ten_thousand_rows_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubp.cli.onnx_rows.MOST", 5)
    net = saved(bp.Dense(2), 4)
    np.save("rows.npy", random_rows(net, 23))
    assert "on 5 rows of rows.npy" in run("export", "m.safetensors", "m.onnx", "--check", "rows.npy").stdout


def broken(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let the file be written from a network with other parameters."""
    write = bp.Network.to_onnx

    def wrong(self: bp.Network, path: Any, **how: Any) -> None:
        other = bp.Network(self.layers, self.input_shape, device="cpu", dtype=self.dtype)
        other.metadata = self.metadata
        for name, array in self.parameters.items():
            other.parameters[name][...] = change(array)
        write(other, path, **how)

    monkeypatch.setattr(bp.Network, "to_onnx", wrong)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a * 1.01, "numbers differ by"),
        (lambda a: a * np.nan, "numbers differ by nan"),
        (lambda a: -a, "labels differ; first in label in row"),
    ],
    ids=["scaled", "nan", "negative"],
)
def test_a_file_that_computes_something_else_is_not_put_in_its_place(
    change: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(bp.Dense(3), 4, {"task": "classes"})
    Path("m.onnx").write_text("old")
    broken(monkeypatch, change)
    done = run("export", "m.safetensors", "m.onnx")
    assert done.exit_code == 1 and done.stdout == "" and done.stderr.count("\n") == 1, done.output
    assert "does not compute what gpubp computes" in done.stderr and words in done.stderr
    assert Path("m.onnx").read_text() == "old" and sorted(p.name for p in Path().iterdir()) == [
        "m.onnx",
        "m.safetensors",
    ]


def test_labels_may_differ_where_two_probabilities_are_nearly_the_same() -> None:
    p = np.array([[0.5, 0.5 + 1e-6], [0.2, 0.8]])
    wrong = onnx_check._wrong_labels(np.array(["a", "a"]), p, ["a", "b"])
    assert wrong.tolist() == [False, True]


def test_without_onnxruntime_a_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    saved(bp.Dense(2), 4)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = run("export", "m.safetensors", "m.onnx")
    assert done.exit_code == 0 and "agrees" not in done.stdout and Path("m.onnx").exists()
    assert "not compared with gpubp: running ONNX files needs onnxruntime: pip install onnxruntime" in done.stderr
    np.save("rows.npy", np.zeros((2, 4)))
    done = run("export", "m.safetensors", "new.onnx", "--check", "rows.npy")
    assert done.exit_code == 2 and "pip install onnxruntime" in done.stderr and not Path("new.onnx").exists()


def test_without_onnx_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    saved(bp.Dense(2), 4)
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = run("export", "m.safetensors", "m.onnx")
    assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.output
    assert "pip install 'gpubp[onnx]'" in done.stderr and not Path("m.onnx").exists()


def test_what_onnxruntime_cannot_run_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    net = saved(bp.Dense(2), 4)
    np.save("rows.npy", random_rows(net, 3))

    def garbage(self: bp.Network, path: Any, **how: Any) -> None:
        value = onnx.helper.make_tensor_value_info
        node = onnx.helper.make_node("Nonsense", ["input"], ["output"], domain="com.example")
        graph = onnx.helper.make_graph(
            [node], "g", [value("input", 1, ["batch", 4])], [value("output", 1, ["batch", 4])]
        )
        onnx.save(onnx.helper.make_model(graph, ir_version=10), path)

    monkeypatch.setattr(bp.Network, "to_onnx", garbage)
    done = run("export", "m.safetensors", "m.onnx")
    assert done.exit_code == 0 and f"not compared with gpubp: onnxruntime {onnxruntime.__version__}" in done.stderr
    done = run("export", "m.safetensors", "new.onnx", "--check", "rows.npy")
    assert done.exit_code == 1 and "nothing is written: onnxruntime" in done.stderr and not Path("new.onnx").exists()


def test_settings_come_from_a_file(trained: Path) -> None:
    assert run("export", "points.safetensors", "a.onnx", "--check", trained, "--save-config=a.toml").exit_code == 0
    Path("a.onnx").unlink()
    done = run("export", "--config=a.toml")
    assert done.exit_code == 0 and Path("a.onnx").exists() and "50 rows of" in done.stdout, done.output


@pytest.fixture
def houses(empty_folder: None) -> bp.Network:
    """houses.csv with columns of several kinds, and houses.safetensors, trained on it."""
    pytest.importorskip("pyarrow")
    draw = np.random.default_rng(1)
    lines = ["address;area;town;garden;built;price;heating"]
    for i in range(300):
        area, town = draw.uniform(30, 200), draw.choice(["Oslo", " Rome", "NA", "New York"])
        built = f"{draw.integers(1, 29):02}.{draw.integers(1, 13):02}.{draw.integers(1950, 2020)}"
        cells = [f"{i:03} Hill Road", f"{area:.1f}" if i % 9 else "", town, draw.choice(["yes", "no"]), built]
        lines.append(
            ";".join([*map(str, cells), f"{4 * area + draw.normal():.1f}", draw.choice(["oil", "wood", "gas"])])
        )
    Path("houses.csv").write_text("\n".join(lines) + "\n")
    words = ("--drop", "address", "--epochs=3", "--hidden=8", *CPU)
    assert run("train", "houses.csv", "--target", "price", *words).exit_code == 0
    return bp.load("houses.safetensors", device="cpu")


def forms(path: str) -> dict[str, str]:
    told = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["columns"]
    return {column["name"]: column["form"] for column in json.loads(told)}


@pytest.mark.usefixtures("houses")
def test_the_raw_cells_of_a_table_are_compared() -> None:
    done = run("export", "houses.safetensors", "houses.onnx", "--check", "houses.csv", "--as-number", "built")
    assert done.exit_code == 0 and "on 300 rows of houses.csv" in done.stdout, done.output
    assert "price in its own units" in done.stdout and "garden" in done.stdout
    assert forms("houses.onnx") == {
        "area": "number",
        "town": "text",
        "garden": "text",
        "built": "number",
        "heating": "text",
    }
    done = run("export", "houses.safetensors", "houses.onnx", "--as-number", "built,garden")
    assert done.exit_code == 0 and "on 100 random rows" in done.stdout and done.stderr == "", done.output
    assert forms("houses.onnx")["garden"] == "number"


@pytest.mark.usefixtures("houses")
def test_a_file_for_prepared_rows() -> None:
    for more in ((), ("--check", "houses.csv")):
        done = run("export", "houses.safetensors", "houses.onnx", "--prepared", *more)
        assert done.exit_code == 0 and "rows of 23 numbers, as" in done.stdout, done.output
        assert "agrees with gpubp" in done.stdout


def test_classes_of_a_table_are_compared(houses: bp.Network) -> None:
    words = ("--drop", "address,built", "--epochs=3", "--hidden=8", *CPU, "--out=heating.safetensors")
    assert run("train", "houses.csv", "--target", "heating", *words).exit_code == 0
    done = run("export", "heating.safetensors", "heating.onnx", "--check", "houses.csv", "--json")
    found = json.loads(done.stdout)
    assert found["check"]["agrees"] and found["check"]["rows"] == 300
    assert [port["name"] for port in found["gives"]] == ["label", "probabilities"]
    assert {port["name"]: port["type"] for port in found["takes"]} == {
        "area": "float64",
        "town": "string",
        "garden": "string",
        "price": "float64",
    }


def typed(folder: Path) -> None:
    """typed.parquet with dates, times and durations that are no texts, and texts.csv with the same as texts."""
    import pyarrow
    from pyarrow import csv, parquet

    draw, n = np.random.default_rng(2), 200
    seconds = {"sold": draw.integers(0, 1_700_000_000, n), "open": draw.integers(0, 86_400, n)}
    stay = draw.integers(0, 1_000_000, n)
    table = pyarrow.table(
        {
            "sold": pyarrow.array(seconds["sold"].tolist(), pyarrow.timestamp("s", tz="Europe/Rome")),
            "open": pyarrow.array(seconds["open"].tolist(), pyarrow.time32("s")),
            "stay": pyarrow.array([None, *stay.tolist()[1:]], pyarrow.duration("s")),
            "vip": pyarrow.array((stay % 2 == 0).tolist()),
            "rooms": pyarrow.array((stay % 5).tolist()),
            "price": pyarrow.array((stay / 1e4 + draw.normal(size=n)).tolist()),
        }
    )
    parquet.write_table(table, folder / "typed.parquet")
    sold = [f"{day[8:10]}.{day[5:7]}.{day[:4]}" for day in map(str, seconds["sold"].astype("datetime64[s]"))]
    csv.write_csv(table.set_column(0, "sold", pyarrow.array(sold)).drop_columns("stay"), folder / "texts.csv")


def test_tables_with_types_are_compared_as_texts_and_as_numbers(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    typed(tmp_path)
    assert run("train", "typed.parquet", "--target=price", "--epochs=2", "--hidden=8", *CPU).exit_code == 0
    for more in ((), ("--as-number", "sold,open,stay,vip"), ("--as-text", "rooms")):
        done = run("export", "typed.safetensors", "typed.onnx", "--check", "typed.parquet", *more)
        assert done.exit_code == 0 and "on 200 rows of typed.parquet" in done.stdout, done.output
        done = run("export", "typed.safetensors", "typed.onnx", *more)
        assert done.exit_code == 0 and "on 100 random rows" in done.stdout and done.stderr == "", done.output


def test_types_of_another_form_than_the_texts_of_the_training_are_told(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    typed(tmp_path)
    words = ("--target=price", "--drop=open", "--epochs=2", "--hidden=8", *CPU)
    assert run("train", "texts.csv", *words).exit_code == 0
    done = run("export", "texts.safetensors", "texts.onnx", "--check", "typed.parquet")
    assert done.exit_code == 2 and "cells of sold are no texts, but each a date" in done.stderr, done.output
    assert "--as-number sold lets it take numbers" in done.stderr and not Path("texts.onnx").exists()
    done = run("export", "texts.safetensors", "texts.onnx", "--check", "typed.parquet", "--as-number", "sold")
    assert done.exit_code == 0 and "on 200 rows of typed.parquet" in done.stdout, done.output


def test_columns_that_random_cells_do_not_suit_are_told() -> None:
    pytest.importorskip("pyarrow")
    written = NumberFormat(",", ".", "€")  # whose example is 1.234,50 €, far beyond the mean here
    prepared = Preparation((NumberColumn("paid", 1e-9, 1e-9, written=written),), TableTarget("price", "numbers"))
    net = bp.Network(bp.Dense(1), prepared.width, device="cpu")
    prepared.keep_in(net)
    net.save("m.safetensors")
    done = run("export", "m.safetensors", "m.onnx")
    assert done.exit_code == 0 and Path("m.onnx").exists(), done.output
    assert "not compared with gpubp: no random cells of paid suit; --check DATA compares real rows" in done.stderr


@pytest.mark.parametrize("model", ["bag", "gru"])
def test_texts_and_numbers_written_for_people_are_compared(model: str) -> None:
    pytest.importorskip("pyarrow")
    draw = np.random.default_rng(3)
    good, bad, other = (words.split() for words in ("great warm clean", "cold loud rude", "the room was a bit very"))
    lines = ["review|paid|mood"]
    for i in range(150):
        words = [*draw.choice(other, draw.integers(3, 9)), *draw.choice(good if i % 2 else bad, 2)]
        text = " ".join(draw.permutation(words)).capitalize() + ("!" if i % 3 else " — 5*")
        lines.append(f"{text}|{draw.uniform(20, 3000):,.2f} €|{'good' if i % 2 else 'bad'}")
    Path("reviews.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("--target=mood", f"--model={model}", "--epochs=1", "--hidden=8", *CPU)
    assert run("train", "reviews.csv", *words).exit_code == 0
    for more in (("--check", "reviews.csv"), ()):
        done = run("export", "reviews.safetensors", "reviews.onnx", *more)
        assert done.exit_code == 0 and "agrees with gpubp" in done.stdout, done.output
    assert forms("reviews.onnx") == {"review": "text", "paid": "text"}


TABLE_MISTAKES = [
    (("houses.safetensors", "--as-number", "build"), "the network sees no column 'build'; did you mean built?"),
    (("houses.safetensors", "--as-number", "town"), "town, a column of kind category, is given as text"),
    (("houses.safetensors", "--as-number", "built", "--as-text", "built"), "--as-number and --as-text both name built"),
    (("houses.safetensors", "--as-number", "built", "--prepared"), "--as-number and --prepared both say"),
    (("houses.safetensors", "--check", "rows.npy"), "was trained on a table, and rows.npy is none"),
    (("houses.safetensors", "--check", "short.csv"), "short.csv lacks the columns"),
    (("houses.safetensors", "--check", "odd.csv"), "odd.csv, line 3: garden holds 'maybe'"),
    (("m.safetensors", "--check", "houses.csv"), "was not trained on"),
    (("m.safetensors", "--prepared"), "--prepared goes with a table, and m.safetensors was not trained on one"),
    (("m.safetensors", "--as-text", "a"), "--as-text goes with a table"),
]


@pytest.mark.usefixtures("houses")
def test_mistakes_with_tables_are_one_line() -> None:
    saved(bp.Dense(2), 4)
    np.save("rows.npy", np.zeros((2, 4)))
    Path("short.csv").write_text("area;town\n3;Oslo\n")
    first, *rest = Path("houses.csv").read_text().splitlines()
    Path("odd.csv").write_text("\n".join([first, rest[0], "x;30.5;Oslo;maybe;01.02.1999;3;oil"]))
    before = sorted(Path().iterdir())
    for (model, *arguments), words in TABLE_MISTAKES:
        done = run("export", model, "new.onnx", *arguments)
        assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.output
        assert words in done.stderr, done.stderr
    assert sorted(Path().iterdir()) == before


def test_sounds_are_compared(tmp_path: Path) -> None:
    folder_of_tones(tmp_path / "tones", 8)
    assert run("train", "tones", "--epochs=1", "--model=cnn", *CPU).exit_code == 0
    done = run("export", "tones.safetensors", "tones.onnx", "--check", "tones")
    assert done.exit_code == 0 and "rows of tones" in done.stdout, done.output


def test_pytorch_reads_the_file() -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    net = saved(bp.Sequential(bp.Dense(6), bp.BatchNorm(), bp.ReLU(), bp.Dense(2)), 4)
    done = run("export", "m.safetensors", "torch.safetensors")
    assert done.exit_code == 0 and re.search(r"^0\.weight +float32 +\(6, 4\)", done.stdout, re.M), done.output
    assert 'module.load_state_dict(safetensors.torch.load_file("torch.safetensors"))' in done.stdout
    nn = torch.nn
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)).eval()
    module.load_state_dict(load_file("torch.safetensors"))
    X = random_rows(net, 20)
    with torch.no_grad():
        assert np.abs(module(torch.from_numpy(X)).numpy() - net.predict(X)).max() < 1e-5


def test_names_of_pytorch_are_chosen() -> None:
    from safetensors.numpy import load_file

    saved(bp.Sequential(bp.Dense(6), bp.ReLU(), bp.Dense(2)), 4)
    done = run("export", "m.safetensors", "t.safetensors", "--naming", "0=fc1, 2=", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["tensors"] == [
        {"name": "fc1.weight", "type": "float32", "shape": [6, 4]},
        {"name": "fc1.bias", "type": "float32", "shape": [6]},
    ]
    assert sorted(load_file("t.safetensors")) == ["fc1.bias", "fc1.weight"]


def test_c_is_written_with_what_it_needs(trained: Path) -> None:
    words = ("export", "points.safetensors", "points.c", "--name", "points", "--probabilities")
    done = run(*words)
    assert done.exit_code == 0 and done.stderr == "", done.output
    for line in (
        "void points_predict(const float *x, float *y)",
        "int points_predict_class(const float *x)",
        "x        3 numbers, one row.",
        "next     cc -std=c99 -O2 -c points.c",
    ):
        assert line in done.stdout, done.stdout
    found = json.loads(run(*words, "--json").stdout)
    assert found["form"] == "C" and found["bytes"] == Path("points.c").stat().st_size and found["takes"] is None
    assert "void points_predict_probabilities(const float *x, float *y)" in found["functions"]
    assert found["needs"]["multiplications"] == 3 * 8 + 8 * 2 and found["needs"]["seconds"] is None


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_class_in_c_is_that_of_gpubp(trained: Path) -> None:
    done = run("export", "points.safetensors", "points.c", "--time")
    assert done.exit_code == 0 and re.search(r"multiplications, [\d.]+ us for a row", done.stdout), done.output
    assert "measured with cc" in done.stderr
    subprocess.run(["cc", "-std=c99", "-O2", "-shared", "-fPIC", "-o", "points.so", "points.c", "-lm"], check=True)
    library = ctypes.CDLL(str(Path("points.so").absolute()))
    with np.load(trained) as data:
        X = np.ascontiguousarray(data["X"], np.float32)
    told = json.loads(run("predict", "points.safetensors", trained, "--json", *CPU).stdout)["predictions"]
    classes = [library.predict_class(x.ctypes.data_as(ctypes.POINTER(ctypes.c_float))) for x in X]
    assert [[3, 7][k] for k in classes] == told


@pytest.mark.usefixtures("houses")
def test_a_c_file_of_a_table_takes_prepared_rows() -> None:
    done = run("export", "houses.safetensors", "houses.c")
    assert done.exit_code == 0 and "x        23 numbers, one row." in done.stdout, done.output
    assert "x has the numbers that gpubp makes of the columns" in done.stderr


C_MISTAKES = [
    (("m.c", "--name", "2x"), "name goes before names in C: a letter, then letters, digits and _"),
    (("m.c", "--probabilities"), "probabilities are those of classes or labels"),
    (("m.c", "--raw"), "--raw goes with ONNX, and m.c is for C"),
    (("m.onnx", "--time"), "--time goes with C, and m.onnx is for ONNX"),
]


@pytest.mark.parametrize(("arguments", "words"), C_MISTAKES, ids=lambda value: str(value)[-30:])
def test_mistakes_with_c(arguments: tuple[str, ...], words: str) -> None:
    saved(bp.Dense(2), 4)
    done = run("export", "m.safetensors", *arguments)
    assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.output
    assert words in done.stderr and [path.name for path in Path().iterdir()] == ["m.safetensors"]


TORCH_MISTAKES = [
    (("m.safetensors",), "OUT m.safetensors would write over m.safetensors"),
    (("./m.safetensors",), "would write over m.safetensors"),
    (("m.pt",), "OUT m.pt: gpubp writes no pickles; PyTorch reads a file that ends in .safetensors"),
    (("t.safetensors", "--naming", "fc1"), "--naming 'fc1' is no list of names, such as 0=fc1,2=fc2"),
    (("t.safetensors", "--naming", "0=a,0=b"), "--naming gives 0 two names"),
    (("t.safetensors", "--naming", "7=a"), "naming has '7', with which no name begins"),
    (("t.safetensors", "--check", "digits"), "--check goes with ONNX, and t.safetensors is for PyTorch"),
    (("t.safetensors", "--data", "x"), "--data goes with ONNX"),
    (("m.onnx", "--naming", "0=a"), "--naming goes with PyTorch, and m.onnx is for ONNX"),
]


@pytest.mark.parametrize(("arguments", "words"), TORCH_MISTAKES, ids=lambda value: str(value)[-30:])
def test_mistakes_with_files_for_pytorch(arguments: tuple[str, ...], words: str) -> None:
    saved(bp.Dense(2), 4)
    before = Path("m.safetensors").read_bytes()
    done = run("export", "m.safetensors", *arguments)
    assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.output
    assert words in done.stderr and [path.name for path in Path().iterdir()] == ["m.safetensors"]
    assert Path("m.safetensors").read_bytes() == before


class Own(bp.Dense):
    """A layer that ONNX has nothing for."""

    def forward(self, ws: Any, x: Any) -> Any:
        return super().forward(ws, x)


MISTAKES = [
    (("m.safetensors",), "Missing argument 'OUT'"),
    (("none.safetensors", "m.onnx"), "there is no file none.safetensors"),
    (("points.npz", "m.onnx"), "points.npz is data; first comes the model"),
    (("m.safetensors", "m.json"), "OUT m.json: the name must end in .onnx (ONNX) or"),
    (("m.safetensors", "m"), "OUT m: the name must end in .onnx (ONNX)"),
    (("m.safetensors", "no/m.onnx"), "there is no folder no; make it first"),
    (("m.safetensors", "folder.onnx"), "folder.onnx is a folder"),
    (("own.safetensors", "m.onnx"), 'Own(3) at "0"'),
    (("m.safetensors", "m.onnx", "--check", "gone.npz"), "there is no file gone.npz"),
    (("m.safetensors", "m.onnx", "--check", "points.npz", "--data", "x"), "--data says where MNIST lies"),
    (("m.safetensors", "m.onnx", "--no-header"), "--no-header says how the rows of --check are read"),
    (
        ("other.onnx", "m.onnx"),
        'is an ONNX file; in Python, bp.from_onnx("other.onnx").save("model.safetensors") makes',
    ),
    (("other.keras", "m.onnx"), "is a file of Keras, from which net.load_keras takes weights"),
    (("other.pt", "m.onnx"), "is a file of PyTorch; saved as safetensors, net.load_torch takes"),
    (("m.safetensors", "m.onnx", "--check", "points.npz"), "the network takes rows of shape (4,)"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda value: str(value)[-30:])
def test_a_mistake_is_one_line_and_nothing_is_written(arguments: tuple[str, ...], words: str, points: Path) -> None:
    saved(bp.Dense(2), 4)
    bp.Network(bp.Sequential(Own(3), bp.Dense(2)), 4, device="cpu").save("own.safetensors")
    Path("folder.onnx").mkdir()
    before = sorted(Path().iterdir())
    done = run("export", *arguments)
    assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.output
    assert words in done.stderr and sorted(Path().iterdir()) == before


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("out", ["m.onnx", "m.c", "torch.safetensors"])
def test_on_a_full_disk_the_older_file_stays(older: bool, out: str) -> None:
    saved(bp.Dense(200), 40)
    if older:
        Path(out).write_text("old")
    before = sorted(Path().iterdir())
    with files_up_to(5000):
        done = run("export", "m.safetensors", out)
    assert done.exit_code == 1 and done.stdout == "" and "Traceback" not in done.output, done.output
    kept = "the older file is there as it was" if older else "no such file was there before"
    assert re.search(rf"{out}, \d[\d.]* KB, can't be written: File too large; {kept}", done.stderr), done.stderr
    assert sorted(Path().iterdir()) == before and (not older or Path(out).read_text() == "old")


def test_the_model_is_never_written_over(tmp_path: Path) -> None:
    saved(bp.Dense(2), 4)
    Path("m.safetensors").rename("m.c")  # a name is no proof of what a file holds
    before = Path("m.c").read_bytes()
    done = run("export", "m.c", "./m.c")
    assert done.exit_code == 2 and "would write over m.c" in done.stderr and Path("m.c").read_bytes() == before


def test_random_rows_of_words_and_lengths() -> None:
    embed = bp.EmbedColumns(bp.Embedding(9, 2), bp.Embedding(5, 2))
    X = random_rows(bp.Network(embed, 4, device="cpu"), 200)
    assert set(X[:, 2]) == set(range(9)) and set(X[:, 3]) == set(range(5)) and X[:, 0].min() < -1
    net = bp.Network(bp.Sequential(bp.GRU(3), bp.Dense(2)), (None, 2), device="cpu")
    rows = random_rows(net, 30)
    assert len(rows) == 30 and len(rows[0]) == 1 and len({len(row) for row in rows}) > 5 and rows[3].shape[1] == 2
    words = random_rows(bp.Network(bp.Sequential(bp.Embedding(6, 3), bp.LastStep()), (None,), device="cpu"), 30)
    assert all(set(row) <= set(range(6)) for row in words)
