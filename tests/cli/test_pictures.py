"""`gpubp evaluate` draws mistakes, decision boundaries and histograms, and refuses early what can't be drawn."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import gpubp as bp
from gpubp.cli.app import app
from gpubp.cli.table_plane import TablePlane
from gpubp.cli.task import Task

pytest.importorskip("sklearn")
pytestmark = pytest.mark.usefixtures("empty_folder")
PNG = b"\x89PNG\r\n\x1a\n"


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--device", "cpu"])


def save(layers: bp.Layer, inputs: int, loss: bp.Loss | None = None, **metadata: object) -> bp.Network:
    """A model that reads off its answers: its last outputs are its first inputs."""
    net = bp.Network(layers, inputs, device="cpu")
    net.parameters["W"][...] = np.eye(*net.parameters["W"].shape)
    net.metadata = {"loss": loss.config(), **metadata} if loss else {}
    net.save("m.safetensors")
    return net


def test_both_pictures_of_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    drawn = {}
    for name in ("plot_confusion_matrix", "plot_misclassified"):

        def draw(*args: object, _name: str = name, _plot: object = getattr(bp, name), **more: object) -> object:
            drawn[_name] = _plot(*args, **more)  # type: ignore[operator]
            return drawn[_name]

        monkeypatch.setattr(f"gpubp.analysis.plots.classes.{name}", draw)
    trained = CliRunner().invoke(app, ["train", "digits", "--epochs", "2", "--hidden", "16", "--device", "cpu"])
    assert trained.exit_code == 0, trained.output
    done = evaluate("digits.safetensors", "digits", "--confusion", "c.png", "--misclassified", "m.PNG")
    assert done.exit_code == 0, done.output
    assert "drawn    c.png" in done.output and "drawn    m.PNG" in done.output
    assert Path("c.png").read_bytes()[:8] == PNG == Path("m.PNG").read_bytes()[:8]
    right = int(drawn["plot_confusion_matrix"].axes[0].get_title().split()[0])
    assert f"test accuracy {right / 360:.4f}" in done.output
    assert drawn["plot_misclassified"].get_suptitle().endswith(f"{360 - right} mistakes in 360 rows, the surest first")
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_classes_have_the_names_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    save(bp.Dense(2), 4, bp.SoftmaxCrossEntropy(), classes=[3, 7])
    np.savez("rows.npz", X=np.eye(4)[[0, 1]], y=[3, 3])
    done = evaluate("m.safetensors", "rows.npz", "--misclassified", "wrong.svg", "--confusion", "c.svg")
    assert done.exit_code == 0, done.output
    assert all(words in Path("wrong.svg").read_text() for words in ("<!-- true 3 -->", "<!-- predicted 7, 0.731 -->"))
    assert "<!-- 7 -->" in Path("c.svg").read_text()


def test_a_confusion_matrix_of_yes_or_no() -> None:
    pytest.importorskip("matplotlib")
    save(bp.Dense(1), 4, bp.BinaryCrossEntropy())
    np.savez("rows.npz", X=np.eye(4), y=[1.0, 0, 1, 0])
    done = evaluate("m.safetensors", "rows.npz", "--confusion", "c.svg")
    assert done.exit_code == 0, done.output
    assert "<!-- 3 of 4 rows right -->" in Path("c.svg").read_text()


def test_nothing_is_drawn_without_mistakes() -> None:
    pytest.importorskip("matplotlib")
    save(bp.Dense(2), 4, bp.SoftmaxCrossEntropy())
    np.savez("rows.npz", X=np.eye(4)[:2], y=[0, 1])
    done = evaluate("m.safetensors", "rows.npz", "--misclassified", "wrong.png")
    assert done.exit_code == 0 and "no row is mistaken: there is nothing to draw into wrong.png" in done.output
    assert "accuracy 1.0000" in done.output and not Path("wrong.png").exists()


def drawn(path: str) -> str:
    """The texts of an SVG file, which matplotlib has as comments beside their outlines."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", Path(path).read_text(), re.S))


def test_boundary_and_histograms_of_two_columns() -> None:
    pytest.importorskip("matplotlib")
    X = np.random.default_rng(0).normal(size=(600, 2))
    np.savez("points.npz", X=X[:300], y=np.where(X[:300, 0] > 0, 7, 3), X_test=X[300:], y_test=np.full(300, 7))
    arguments = ["train", "points.npz", "--epochs", "2", "--hidden", "8", "--device", "cpu"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    done = evaluate("points.safetensors", "points.npz", "--boundary", "b.svg", "--histograms", "h.svg")
    assert done.exit_code == 0 and "drawn    b.svg" in done.output and "drawn    h.svg" in done.output, done.output
    right = round(300 * float(re.findall(r"accuracy ([\d.]+)", done.output)[0]))
    assert f"{right} of 300 rows right" in drawn("b.svg")
    assert drawn("b.svg").endswith("\n3\n7")  # the legend
    assert "256 rows, SoftmaxCrossEntropy(" in drawn("h.svg") and "0  Dense(8" in drawn("h.svg")


def table_of_two(target: str, gap: bool = False) -> str:
    """A table of two columns of numbers, of which one is skewed and written with a comma; what its target is."""
    rng = np.random.default_rng(0)
    area, age = rng.lognormal(4, 1, 300), rng.uniform(0, 90, 300)
    y = area - age if target == "price" else np.where(area > 2 * age, "large", "old")
    numbers = [
        ["" if gap and k % 20 == 0 else f"{a:.3f}".replace(".", ",") for k, a in enumerate(area)],
        age.round(3),
        y,
    ]
    lines = [";".join(map(str, row)) for row in zip(*numbers, strict=True)]
    Path("houses.csv").write_text("\n".join([f"area;age;{target}", *lines]))
    arguments = ["train", "houses.csv", "--target", target, "--decimal", ",", "--epochs", "3", "--device", "cpu"]
    Path("houses.csv").write_text(Path("houses.csv").read_text().replace(".", ","))
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return "houses.safetensors"


@pytest.mark.parametrize(("target", "gap"), [("price", False), ("kind", True)])
def test_boundary_of_a_table_is_in_its_units(target: str, gap: bool) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("pyarrow")
    model = table_of_two(target, gap)
    done = evaluate(model, "houses.csv", "--all", "--boundary", "b.svg", "--histograms", "h.svg")
    assert done.exit_code == 0, done.output
    assert "256 rows, " in drawn("h.svg") and "\narea\n" in drawn("b.svg") and "\nage\n" in drawn("b.svg")
    told = "root mean square of the errors" if target == "price" else f"of {285 if gap else 300} rows right"
    assert told in drawn("b.svg")
    made = CliRunner().invoke(app, ["predict", model, "houses.csv", "--out", "p.npz", "--device", "cpu"])
    assert made.exit_code == 0, made.output
    net = bp.load(model, device="cpu")
    task = Task.of(net, model)
    assert task is not None and task.table is not None
    plane = TablePlane(net, task)
    rows = [line.replace(",", ".").split(";") for line in Path("houses.csv").read_text().splitlines()[1:]]
    kept = np.array([bool(row[0]) for row in rows])
    values = np.array([[float(row[0]), float(row[1])] for row in rows if row[0]])
    predicted = np.load("p.npz")["prediction"][kept]
    assert (
        plane.predict(values).tolist() == pytest.approx(predicted.tolist(), rel=1e-4)
        if target == "price"
        else (plane.predict(values).tolist() == predicted.tolist())
    )
    X, t, _ = task.table.arrays("houses.csv")
    assert t is not None
    points, y = plane.rows(X, t)
    assert points == pytest.approx(values, rel=1e-4)
    shown = [row[2] for row in rows if row[0]]
    assert y.tolist() == (pytest.approx([float(v) for v in shown], rel=1e-4, abs=0.01) if target == "price" else shown)


def test_other_tables_have_no_boundary() -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("pyarrow")
    rows = [f"{k % 7},{'yes' if k % 3 else 'no'},{k}" for k in range(100)]
    Path("houses.csv").write_text("\n".join(["rooms,garden,price", *rows]))
    arguments = ["train", "houses.csv", "--target", "price", "--epochs", "1", "--device", "cpu"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    refused = evaluate("houses.safetensors", "houses.csv", "--boundary", "b.svg")
    assert refused.exit_code == 2 and not refused.stdout and not Path("b.svg").exists()
    assert "two columns of numbers, and houses.safetensors takes rooms (number), garden (yes/no)" in refused.stderr


@pytest.mark.parametrize(
    ("inputs", "loss", "arguments", "words"),
    [
        (4, bp.MeanSquaredError(), ("--confusion", "c.png"), "draws mistaken classes, and m.safetensors has 2 numbers"),
        (4, bp.MeanSquaredError(), ("--misclassified", "c.png"), "--misclassified draws mistaken classes"),
        (5, bp.SoftmaxCrossEntropy(), ("--misclassified", "c.png"), "rows of 5 numbers are no square pictures"),
        (4, bp.SoftmaxCrossEntropy(), ("--confusion", "c.txt"), "must end in .png or .svg or .pdf"),
        (4, bp.SoftmaxCrossEntropy(), ("--confusion", "no/c.png"), "there is no folder no"),
        (4, bp.SoftmaxCrossEntropy(), ("--confusion", "c.png", "--misclassified", "c.png"), "would write over c.png"),
        (4, bp.SoftmaxCrossEntropy(), ("--boundary", "c.png"), "two inputs, and this network takes rows of shape (4,)"),
        (2, bp.MeanSquaredError(), ("--boundary", "c.png"), "gives 2 numbers, and a picture shows one"),
        (2, bp.BinaryCrossEntropy(), ("--boundary", "c.png"), "gives 2 labels"),
        (4, bp.SoftmaxCrossEntropy(), ("--histograms", "c.txt"), "must end in .png or .svg or .pdf"),
        (4, bp.SoftmaxCrossEntropy(), ("--boundary", "c.png", "--histograms", "c.png"), "would write over c.png"),
    ],
)
def test_what_cannot_be_drawn_is_refused_first(
    inputs: int, loss: bp.Loss, arguments: tuple[str, ...], words: str
) -> None:
    pytest.importorskip("matplotlib")
    save(bp.Dense(2), inputs, loss)
    np.savez("rows.npz", X=np.eye(inputs), y=np.eye(inputs, 2))
    done = evaluate("m.safetensors", "rows.npz", *arguments)
    assert done.exit_code == 2 and words in done.stderr and not done.stdout, done.output
    assert not Path("c.png").exists()


def test_without_matplotlib_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    save(bp.Dense(2), 4, bp.SoftmaxCrossEntropy())
    np.savez("rows.npz", X=np.eye(4), y=[0, 1, 0, 1])
    for option in ("--confusion", "--misclassified", "--boundary", "--histograms"):
        done = evaluate("m.safetensors", "rows.npz", option, "c.png")
        assert done.exit_code == 2 and "pip install 'gpubp[plot]'" in done.stderr and not done.stdout
