"""`gpubp export`: files that are written, what is printed of them, and the comparison with onnxruntime."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import CPU, run
from exported import saved
from test_full_disk import files_up_to

import gpubp as bp
from gpubp.cli import onnx_check
from gpubp.cli.random_rows import random_rows
from waves import folder_of_tones

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.usefixtures("empty_folder")


def outputs(path: str, *inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = {port.name: a for port, a in zip(session.get_inputs(), inputs, strict=True)}
    return dict(zip(names, session.run(names, given), strict=True))


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


def test_sounds_are_compared(tmp_path: Path) -> None:
    folder_of_tones(tmp_path / "tones", 8)
    assert run("train", "tones", "--epochs=1", "--model=cnn", *CPU).exit_code == 0
    done = run("export", "tones.safetensors", "tones.onnx", "--check", "tones")
    assert done.exit_code == 0 and "rows of tones" in done.stdout, done.output


class ForeignToOnnx(bp.Dense):
    """A layer that ONNX has nothing for. No other test has a class of its name, by which files find it."""

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
    (("own.safetensors", "m.onnx"), 'ForeignToOnnx(3) at "0"'),
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
    bp.Network(bp.Sequential(ForeignToOnnx(3), bp.Dense(2)), 4, device="cpu").save("own.safetensors")
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
