"""The outputs of ONNX files: labels, probabilities and numbers, of networks, tables and estimators."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime
from onnx_runs import as_trained, outputs_of, session_of

import gpubp as bp
from gpubp.cli.task import Task
from gpubp.interop.onnx_out.graph import Graph, Value
from gpubp.interop.onnx_out.outputs import add_outputs
from gpubp.tables import NumberColumn, Preparation, TableTarget

X = np.random.default_rng(0).normal(size=(37, 4)).astype(np.float32)


def network(outputs: int, **metadata: Any) -> bp.Network:
    net = as_trained(bp.Network(bp.Dense(outputs), 4, device="cpu"))
    net.metadata = metadata
    return net


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z.astype(np.float64) - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("told", "called"),
    [
        ({}, [0, 1, 2]),
        ({"classes": [-5, 0, 7]}, [-5, 0, 7]),
        ({"classes": [-5, 0, 7], "names": ["α", "日本", "🍐"]}, ["α", "日本", "🍐"]),
        ({"names": ["a", "a", "b"]}, ["a", "a", "b"]),
        ({"names": ("", "a", "b c")}, ["", "a", "b c"]),
        ({"names": ["too", "few"]}, [0, 1, 2]),
        ({"classes": [-(2**63), 0, 2**63 - 1]}, [-(2**63), 0, 2**63 - 1]),
        ({"classes": [0, 1, 2**63]}, ["0", "1", str(2**63)]),
        ({"classes": [0, 1.5, 2]}, ["0", "1.5", "2"]),
        ({"classes": np.arange(3) * 2}, [0, 2, 4]),
        ({"classes": [True, False, None]}, ["True", "False", "None"]),
    ],
)
def test_labels_are_the_classes_as_they_are_called(told: dict[str, Any], called: list[Any], tmp_path: Path) -> None:
    net = network(3, task="classes", **told)
    found, z = outputs_of(session_of(net, tmp_path), X), net.predict(X)
    assert found["label"].tolist() == [called[k] for k in z.argmax(axis=1)]
    assert np.abs(found["probabilities"] - softmax(z)).max() < 1e-6


def test_the_label_goes_by_the_outputs_where_probabilities_are_equal(tmp_path: Path) -> None:
    net = bp.Network(bp.Flatten(), 2, device="cpu")
    net.metadata = {"task": "classes"}
    Z = np.array([[1e-9, 2e-9], [30.0, 30.000002], [2e-9, 1e-9]], np.float32)
    assert outputs_of(session_of(net, tmp_path), Z)["label"].tolist() == [1, 1, 0]
    net = bp.Network(bp.Flatten(), 1, device="cpu")
    net.metadata = {"task": "labels", "names": ["no", "yes"]}
    Z = np.array([[1e-12], [0.0], [-1e-12]], np.float32)
    assert outputs_of(session_of(net, tmp_path), Z)["label"].tolist() == ["yes", "no", "no"]


@pytest.mark.parametrize("K", [1, 3])
def test_labels_are_yes_or_no_each(K: int, tmp_path: Path) -> None:
    net = network(K, task="labels")
    found, z = outputs_of(session_of(net, tmp_path), X), net.predict(X)
    assert found["probabilities"].shape == (37, K)
    assert np.abs(found["probabilities"] - 1 / (1 + np.exp(-z.astype(np.float64)))).max() < 1e-6
    assert np.array_equal(found["label"], (z[:, 0] if K == 1 else z) > 0)


def test_outputs_of_more_axes_have_labels_of_more_axes(tmp_path: Path) -> None:
    for task, labels in (("classes", (37, 5)), ("labels", (37, 5, 3))):
        net = as_trained(bp.Network(bp.Dense(3), (5, 4), device="cpu"))
        net.metadata = {"task": task}
        rows = np.random.default_rng(0).normal(size=(37, 5, 4)).astype(np.float32)
        found, z = outputs_of(session_of(net, tmp_path), rows), net.predict(rows)
        assert found["label"].shape == labels and found["probabilities"].shape == z.shape
        assert np.array_equal(found["label"], z.argmax(axis=-1) if task == "classes" else z > 0)


def test_classes_of_pixels_are_on_the_last_axis(tmp_path: Path) -> None:
    net = as_trained(bp.Network(bp.Conv2D(3, 3, padding="same"), (6, 5, 2), device="cpu"))
    net.metadata = {"task": "classes"}
    images = np.random.default_rng(0).normal(size=(7, 6, 5, 2)).astype(np.float32)
    found, z = outputs_of(session_of(net, tmp_path), images), net.predict(images)
    assert np.array_equal(found["label"], z.argmax(axis=-1))
    assert np.abs(found["probabilities"] - softmax(z)).max() < 1e-6


def test_raw_outputs_are_those_of_predict(tmp_path: Path) -> None:
    net = network(3, task="classes", names=["a", "b", "c"])
    session = session_of(net, tmp_path, raw=True)
    assert [output.name for output in session.get_outputs()] == ["output"]
    assert np.abs(outputs_of(session, X)["output"] - net.predict(X)).max() < 1e-5


def test_a_network_that_gives_its_input_has_an_output_of_its_own(tmp_path: Path) -> None:
    net = bp.Network(bp.Dropout(0.5), 4, device="cpu")
    assert np.array_equal(outputs_of(session_of(net, tmp_path), X)["output"], X)


@pytest.mark.parametrize(
    ("target", "loss", "K"),
    [
        (TableTarget("fruit", "classes", classes=("apple", "fig", "pear")), "softmax", 3),
        (TableTarget("size", "classes", classes=(-1, 4, 10)), "softmax", 3),
        (TableTarget("ripe", "classes", classes=("no", "yes")), "binary", 1),
        (TableTarget("ripe", "classes", classes=("no", "yes")), "softmax", 2),
        (TableTarget("year", "classes", classes=(1999, 2000)), "binary", 1),
        (TableTarget("price", "numbers", mean=250_000.0, scale=31_415.9), "mse", 1),
    ],
)
def test_the_target_of_a_table_is_answered_as_gpubp_predict_does(
    target: TableTarget, loss: str, K: int, tmp_path: Path
) -> None:
    task = Task.of_table(Preparation((NumberColumn("weight", 0.0, 1.0),), target), loss)
    g = Graph({}, np.dtype(np.float32))
    outputs = add_outputs(g, Value(g.named("z"), ("batch", K)), task.metadata(), task.table)
    model = g.model([g.tensor("z", np.float32, ("batch", K))], outputs, {}, "target")
    onnx.checker.check_model(model, full_check=True)
    Z = np.random.default_rng(0).normal(0, 8, (37, K)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found, answers = outputs_of(session, Z), task.answers(Z)
    if target.kind == "numbers":
        assert np.array_equal(found["prediction"], answers.prediction)
        return
    assert found["label"].tolist() == answers.prediction.tolist()
    assert np.abs(found["probabilities"] - answers.probability).max() < 1e-6


def test_a_table_that_does_not_fit_the_outputs_is_refused() -> None:
    table = Preparation((NumberColumn("weight", 0.0, 1.0),), TableTarget("fruit", "classes", classes=("apple", "fig")))
    with pytest.raises(bp.ExportError, match=r"outputs of shape \(5,\), and fruit, the target of its table, needs 2"):
        add_outputs(Graph({}, np.dtype(np.float32)), Value("z", ("batch", 5)), {"task": "classes"}, table)


SIGN = np.where(X[:, 0] > 0, "yes", "no")
THREE = np.digitize(X[:, 0], [-0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "y", "more"),
    [
        ("MLPClassifier", SIGN, {}),
        ("MLPClassifier", SIGN == "yes", {}),
        ("MLPClassifier", THREE * 10 - 10, {}),
        ("MLPClassifier", SIGN, {"loss": bp.SoftmaxCrossEntropy(label_smoothing=0.1)}),
        ("MLPClassifier", (X[:, :3] > 0).astype(int), {}),
        ("MLPClassifier", np.full(37, 7), {}),
        ("MLPRegressor", X[:, 0], {}),
        ("MLPRegressor", X[:, :2], {}),
        ("MLPRegressor", np.exp(X[:, 0]), {"loss": "poisson"}),
    ],
)
def test_an_estimator_gives_what_it_predicts(name: str, y: np.ndarray, more: dict[str, Any], tmp_path: Path) -> None:
    """Written by the estimator, and from the file that it saves."""
    estimators = pytest.importorskip("gpubp.estimators")
    made = getattr(estimators, name)(hidden_layer_sizes=(5,), max_iter=3, tol=0.0, random_state=0, device="cpu", **more)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.fit(X, y)
    made.to_onnx(tmp_path / "one.onnx")
    made.save(tmp_path / "saved.safetensors")
    bp.load(tmp_path / "saved.safetensors", device="cpu").to_onnx(tmp_path / "two.onnx")
    for path in (tmp_path / "one.onnx", tmp_path / "two.onnx"):
        onnx.checker.check_model(str(path), full_check=True)
        found = outputs_of(onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]), X)
        if name == "MLPRegressor":
            assert found["prediction"].shape == made.predict(X).shape
            np.testing.assert_allclose(found["prediction"], made.predict(X), rtol=1e-5, atol=1e-6)
            continue
        expected = made.predict(X)
        assert found["label"].tolist() == (expected if expected.dtype.kind in "iU" else expected.astype(str)).tolist()
        np.testing.assert_allclose(found["probabilities"], made.predict_proba(X), atol=1e-6)


def test_a_single_yes_or_no_may_have_two_names() -> None:
    """As a network has that comes from the ONNX file of a classifier of two classes."""
    net = network(1, task="labels", loss=bp.BinaryCrossEntropy().config(), names=["no", "yes"])
    task = Task.of(net, "m.safetensors")
    assert task is not None and task.output_names == ["no", "yes"]
    net.metadata["names"] = ["no", "yes", "perhaps"]
    with pytest.raises(bp.ModelFileError, match="names of its 1 outputs"):
        Task.of(net, "m.safetensors")


def test_an_estimator_without_a_fit_is_refused(tmp_path: Path) -> None:
    estimators, errors = pytest.importorskip("gpubp.estimators"), pytest.importorskip("sklearn.exceptions")
    with pytest.raises(errors.NotFittedError):
        estimators.MLPClassifier().to_onnx(tmp_path / "m.onnx")
