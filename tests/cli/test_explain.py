"""`gpubp explain`: of the examples, and of models on rows of arrays, tables, texts and sounds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import CPU, run

import gpubp as bp
from gpubp.explain.examples import EXAMPLES, example
from waves import folder_of_tones

QUICK = ("--hidden=4", "--epochs=1", *CPU)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data and models of several kinds."""
    pytest.importorskip("pyarrow")
    with pytest.MonkeyPatch.context() as patch:
        made = tmp_path_factory.mktemp("explained")
        patch.chdir(made)
        rng = np.random.default_rng(0)
        species, towns = ["Adelie", "Chinstrap", "Gentoo"], ["Oslo", "Rome"]
        lines = [
            f"{4000 + 10 * i},{rng.normal(40, 3):.1f},{species[i % 3] if i != 4 else ''},{i % 2 == 1},{towns[i % 2]}"
            for i in range(60)
        ]
        Path("birds.csv").write_text("\n".join(["mass,length,species,ringed,town", *lines]) + "\n")
        words = [["a good and warm one", "yes"], ["a bad and cold one", "no"]]
        Path("notes.csv").write_text("\n".join(["text,again", *(",".join(words[i % 2]) for i in range(40))]) + "\n")
        X = rng.normal(size=(60, 3))
        np.savez("points.npz", X=X, y=np.where(X[:, 0] > 0, 7, 3), X_test=X[:9] + 1, y_test=[7, 3, 7] * 3)
        np.save("X.npy", X)
        np.save("y.npy", X[:, 0] * 2)
        for data, *options in (
            ("birds.csv", "--target=species"),
            ("birds.csv", "--target=length", "--out=length.safetensors"),
            ("birds.csv", "--target=ringed", "--loss=binary", "--out=ringed.safetensors"),
            ("notes.csv", "--target=again", "--text=text"),
            ("points.npz",),
            ("X.npy", "--target=y.npy"),
        ):
            done = run("train", data, *options, *QUICK)
            assert done.exit_code == 0, done.output
        yield made


def said(*arguments: object) -> str:
    done = run("explain", *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def told(*arguments: object) -> dict[str, Any]:
    found = json.loads(said(*arguments, "--json"))
    assert isinstance(found, dict)
    return found


# -- examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example(name: str, tmp_path: Path) -> None:
    one = example(name)
    text = said("--example", name)
    assert text.startswith(one.title) and "\nupdate" in text
    assert re.sub(r"\s+", " ", one.look) in re.sub(r"\s+", " ", text)
    for ending in (".html", ".md", ".tex", ".txt"):
        path = tmp_path / f"page{ending}"
        done = said("--example", name, "--out", path)
        assert done == f"title    {one.title}\nwritten  {path}\n"
        assert path.stat().st_size > 2000
    assert (tmp_path / "page.txt").read_text() == text


def test_chain_has_the_numbers_of_the_essay() -> None:
    text = said("--example", "chain")
    for number in ("L = 3847", "= −984", "= −1968", "= −656"):
        assert number in text


def test_an_exercise_with_its_answers() -> None:
    text = said("--example", "neuron", "--blanks", "0.3", "--seed", "1")
    questions, _, answers = text.partition("\nAnswers\n")
    assert "(1)" in questions and answers.count("\n  (") >= 2
    assert text != said("--example", "neuron", "--blanks=0.3", "--seed=2")
    assert text == said("--example", "neuron", "--blanks=0.3", "--seed=1")


def test_steps_of_training(tmp_path: Path) -> None:
    said("--example", "xor", "--draw-steps=3", "--out", tmp_path / "xor.html")
    page = (tmp_path / "xor.html").read_text(encoding="utf-8")
    losses = [float(found) for found in re.findall(r"<label[^>]*>\d: L = ([\d.]+)<", page)]
    assert len(losses) == 3 and losses[0] > losses[1] > losses[2]


def test_an_optimizer_of_ones_own() -> None:
    assert "update, Adam(0.1)" in said("--example", "neuron", "--optimizer=adam", "--lr=0.1")
    assert "update, SGD(0.5)" in said("--example", "neuron")


def test_json_has_every_number() -> None:
    found = told("--example", "chain", "--blanks=0.2", "--of=0.W[0,0]")
    net, one = example("chain").network(bp.Network), example("chain")
    loss, gradients = net.loss_and_gradients(one.loss, one.X, one.y)
    assert (found["L"], found["row"], found["example"], found["of"]) == (loss, [1, 2, 3], "chain", "0.W[0,0]")
    numbers = {line["gradient_of"]: line for line in found["numbers"] if not line["name"].startswith("∂")}
    answers = {line["blank"]: line["value"] for line in found["answers"]}
    assert len(answers) >= 5
    for name, gradient in gradients.items():
        line = numbers[f"{name}[0,0]"]
        value = answers[line["blank"]] if line["blank"] else line["value"]
        assert value == pytest.approx(gradient.item(), rel=1e-12)
        assert line["formula"].count("dy[") == 3


# -- models and data --------------------------------------------------------------------------------------------------


def test_a_row_of_a_table() -> None:
    text = said("birds.safetensors", "birds.csv", "--row", "3", "--written=64")
    assert text.startswith("birds.safetensors: a step on line 4 of birds.csv\n")
    assert re.search(r"\nThe model predicts (Adelie|Chinstrap|Gentoo) with probability 0\.\d+\.\n", text)
    assert re.search(r"x\[0,0\] = −1\.\d+ +mass: 4020, standardized\n", text)
    assert re.search(r"x\[0,\d+\] = 1 +town = Oslo \(town: Oslo\)\n", text)
    assert re.search(r"t\[0\] = 2 +species: Gentoo\n", text)
    assert re.search(r"  y\[0,2\] = .*\n(.*\n)*?.*output for the class Gentoo\n", text)


def test_labels_stand_with_gradients_too() -> None:
    lines = told("birds.safetensors", "birds.csv", "--row=3", "--written=64")["numbers"]
    labels = {line["gradient_of"]: line["label"] for line in lines if line["gradient_of"]}
    assert labels["x[0,0]"] == "mass: 4020, standardized"
    assert labels["2.y[0,0]"] == "output for the class Adelie"


def test_several_rows_in_the_order_that_is_asked_for() -> None:
    for words in (["--row=7,3"], ["--row=7", "--row", "3"], ["--row=7,3", "--row=7"]):
        found = told("birds.safetensors", "birds.csv", *words)
        assert found["row"] == [7, 3]
        labels = {line["name"]: line["label"] for line in found["numbers"]}
        assert (labels["t[0]"], labels["t[1]"]) == ("species: Adelie", "species: Gentoo")
    text = said("birds.safetensors", "birds.csv", "--row=7,3")
    assert "x[0] is line 8 of birds.csv.\nx[1] is line 4 of birds.csv.\n" in text
    assert "\nFor x[1], the model predicts " in text


def test_numbers_of_a_table() -> None:
    text = said("length.safetensors", "birds.csv", "--optimizer=sgd")
    assert re.search(r"t\[0(,0)?\] = −?[\d.]+ +length: \d\d\.\d, standardized\n", text)
    assert "output for length, standardized" in text and "MeanSquaredError" in text
    assert re.search(r"\nThe model predicts \d\d\.\d+\.\n", text)


def test_yes_or_no_of_a_table() -> None:
    text = said("ringed.safetensors", "birds.csv", "--row=2")
    assert "ringed: True" in text and "output for ringed: above 0 means True" in text


def test_words_of_a_text() -> None:
    text = said("notes.safetensors", "notes.csv", "--row=2", "--written=40")
    assert re.search(r"x\[0,1\] = \d+ +text word 2: bad\n", text)
    assert "again: no" in text


def test_test_rows_of_arrays_and_their_classes() -> None:
    """Row 2 of the test rows, as gpubp predict numbers them."""
    found = told("points.safetensors", "points.npz", "--row=2")
    with np.load("points.npz") as data:
        row = data["X_test"][1]
    numbers = {line["name"]: line for line in found["numbers"]}
    assert [numbers[f"x[0,{j}]"]["value"] for j in range(3)] == pytest.approx(row, rel=1e-6)
    assert (numbers["t[0]"]["value"], numbers["t[0]"]["label"]) == (0, "the class 3")
    assert "a step on row 2 of the test rows of points" in said("points.safetensors", "points.npz", "--row=2")
    net = bp.load("points.safetensors", device="cpu")
    assert found["L"] == net.loss_and_gradients(bp.SoftmaxCrossEntropy(0.1), row[None], [0])[0]


def test_arrays_in_files_of_their_own() -> None:
    found = told("X.safetensors", "X.npy", "--target=y.npy", "--row=5", "--loss=mae")
    assert found["loss"] == "MeanAbsoluteError()"
    value = next(line["value"] for line in found["numbers"] if line["name"].startswith("t["))
    assert value == pytest.approx(2 * np.load("X.npy")[4, 0], rel=1e-6)


def test_digits() -> None:
    assert run("train", "digits", *QUICK).exit_code == 0
    text = said("digits.safetensors", "digits", "--row=3", "--of=0.W[10,1]")
    assert "the chain rule of 0.W[10,1]" in text and "the test rows of digits" in text
    assert "output for" not in text, "a class that is called by its number needs no label"


def test_sounds(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    folder_of_tones(tmp_path / "tones", 4)
    model = tmp_path / "tones.safetensors"
    done = run("train", tmp_path / "tones", "--epochs=1", f"--out={model}", "--model=mlp", *QUICK)
    assert done.exit_code == 0, done.output
    text = said(model, tmp_path / "tones", "--row=2")
    assert "MelSpectrogram" in text and "output for the class" in text


def test_layers_in_evaluation() -> None:
    assert run("train", "points.npz", "--dropout=0.5", "--out=drop.safetensors", *QUICK).exit_code == 0
    with np.load("points.npz") as data:
        X = data["X_test"][:1]
    z = bp.load("drop.safetensors", device="cpu").predict(X)[0].tolist()
    found = [told("drop.safetensors", "points.npz", *words)["numbers"] for words in ([], ["--evaluation"])]
    outputs = [{line["name"]: line["value"] for line in lines} for lines in found]
    names = [f"3.y[0,{k}]" for k in (0, 1)]
    assert [outputs[1][name] for name in names] == pytest.approx(z, rel=1e-6)
    assert [outputs[0][name] for name in names] != pytest.approx(z, rel=1e-6)


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("birds.csv", "--row=5"),
            "birds.csv, line 6: no species is given, and without it there is no loss",
        ),
        (("birds.csv", "--row=61"), "there is no row 61 in birds.csv: there are 60, and the first is row 1"),
        (("notes.csv",), "notes.csv lacks the columns "),
        (("points.npz",), "birds.safetensors was trained on a table, and points.npz is none"),
        (("birds.csv", "--row=three"), "'three' is no row, such as 3, and no list of rows, such as 3,7"),
        (("birds.csv", "--of=x[0,999]"), "--of x[0,999]: x has the shape (1, "),
        (("birds.csv", "--draw-steps=2", "--out=page.html"), "give --optimizer too, as --optimizer sgd"),
        (("birds.csv", "--draw-steps=2", "--optimizer=sgd"), "give --out too, as --out page.html"),
    ],
)
def test_mistakes_with_a_table(words: tuple[str, ...], message: str) -> None:
    done = run("explain", "birds.safetensors", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.startswith("gpubp: ")


def test_a_value_that_cannot_be_used() -> None:
    Path("bad.csv").write_text(Path("birds.csv").read_text().replace("4010,", "heavy,", 1))
    done = run("explain", "birds.safetensors", "bad.csv", "--row=2")
    assert done.exit_code == 2 and "bad.csv, line 3: mass holds 'heavy'" in done.stderr
    assert run("explain", "birds.safetensors", "bad.csv", "--row=1").exit_code == 0, "row 2 is not read"
