"""A network that was trained says what it was trained for, in its file and in checkpoints."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp

X = np.random.default_rng(0).normal(size=(60, 4))
LOSSES = {
    "classes": (bp.SoftmaxCrossEntropy(label_smoothing=0.1), np.arange(60) % 3),
    "labels": (bp.BinaryCrossEntropy(), (X[:, :3] > 0).astype(int)),
    "numbers": (bp.Huber(2.0), X[:, :3]),
}


def trained(loss: bp.Loss, y: Any, **fit: Any) -> bp.Network:
    net = bp.Network(bp.Dense(3), 4, device="cpu")
    bp.Trainer(net, loss, bp.SGD()).fit(X, y, verbose=False, **fit)
    return net


@pytest.mark.parametrize("task", LOSSES)
def test_it_is_told_after_a_fit_and_after_a_step(task: str) -> None:
    loss, y = LOSSES[task]
    stepped = bp.Network(bp.Dense(3), 4, device="cpu")
    bp.Trainer(stepped, loss, bp.SGD()).step(X, y)
    for net in (trained(loss, y), stepped):
        assert (net.metadata["task"], net.metadata["loss"]) == (task, loss.config())


def test_an_evaluation_tells_nothing() -> None:
    net = bp.Network(bp.Dense(3), 4, device="cpu")
    bp.Trainer(net, bp.MeanSquaredError(), bp.SGD()).evaluate(X, X[:, :3])
    assert net.metadata == {}


def test_a_checkpoint_and_a_loaded_file_keep_it(tmp_path: Path) -> None:
    loss, y = LOSSES["classes"]
    net = trained(loss, y, callbacks=[bp.Checkpoint(tmp_path)])
    for path in tmp_path.glob("*.safetensors"):
        assert bp.load(path, device="cpu").metadata == net.metadata
    net.save(tmp_path / "a.safetensors")
    again = bp.load(tmp_path / "a.safetensors", device="cpu")
    again.save(tmp_path / "b.safetensors")
    assert bp.load(tmp_path / "b.safetensors", device="cpu").metadata == net.metadata


@pytest.mark.parametrize("own", [{"loss": "mine"}, {"task": "prices"}, {"loss": bp.Poisson().config(), "classes": [1]}])
def test_what_is_there_is_not_overwritten(own: dict[str, Any]) -> None:
    loss, y = LOSSES["classes"]
    net = bp.Network(bp.Dense(3), 4, device="cpu")
    net.metadata = dict(own)
    bp.Trainer(net, loss, bp.SGD()).fit(X, y, verbose=False)
    assert net.metadata == own


def test_another_trainer_replaces_what_a_trainer_told() -> None:
    net = trained(*LOSSES["classes"])
    net.metadata["names"] = ["a", "b", "c"]
    loss, y = LOSSES["numbers"]
    bp.Trainer(net, loss, bp.SGD()).fit(X, y, verbose=False)
    assert (net.metadata["task"], net.metadata["names"]) == ("numbers", ["a", "b", "c"])


def test_a_loss_of_the_users_own_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpubp.config import Configurable

    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))

    class Quartic(bp.PointwiseLoss):
        predicts = "numbers"

        def l(self, z: Any, y: Any) -> Any:  # noqa: E743
            return (z - y) * (z - y) * (z - y) * (z - y)

        def dl(self, z: Any, y: Any) -> Any:
            return 4 * (z - y) * (z - y) * (z - y)

    net = trained(*LOSSES["classes"])
    bp.Trainer(net, Quartic(), bp.SGD(0.001)).fit(X, X[:, :3], verbose=False)
    assert net.metadata == {}


class TestOnTheCommandLine:
    """`gpubp evaluate` and `gpubp predict` need no more than the file."""

    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("rich")
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize("task", LOSSES)
    def test_evaluate_and_predict(self, task: str) -> None:
        from command_line import run

        loss, y = LOSSES[task]
        np.savez("data.npz", X=X, y=y)
        net = trained(loss, y)
        net.save("m.safetensors")
        judged = run("evaluate", "m.safetensors", "data.npz", "--device=cpu")
        assert judged.exit_code == 0 and repr(net.layers) == "Dense(3)", judged.output
        assert ("accuracy" in judged.output) == (task != "numbers")
        assert run("predict", "m.safetensors", "data.npz", "--out=p.npy", "--device=cpu").exit_code == 0
        z = net.predict(X)
        wanted = {"classes": z.argmax(axis=1), "labels": z > 0, "numbers": z}[task]
        assert np.array_equal(np.load("p.npy"), wanted)

    @pytest.mark.parametrize("names", [["ape", "bee", "cow"], [3, 5, 9]])
    def test_an_estimator_saves_its_classes(self, names: list[Any]) -> None:
        pytest.importorskip("sklearn")
        from command_line import run

        from gpubp.estimators import MLPClassifier

        made = MLPClassifier((8,), max_iter=50, tol=1.0, random_state=0).fit(X, np.array(names)[np.arange(60) % 3])
        made.save("m.safetensors")
        np.save("X.npy", X)
        done = run("predict", "m.safetensors", "X.npy", "--out=p.csv", "--device=cpu")
        assert done.exit_code == 0, done.output
        said = [line.split(",")[1] for line in Path("p.csv").read_text().splitlines()[1:]]
        assert said == [str(name) for name in made.predict(X)]
        assert np.array_equal(MLPClassifier.load("m.safetensors").predict(X), made.predict(X))

    @pytest.mark.parametrize(
        ("loss", "last", "y", "wanted"),
        [
            (bp.BinaryCrossEntropyOfProbabilities(), bp.Sigmoid(), X[:, :2] > 0, lambda z: z > 0.5),
            (bp.Hinge(), bp.Tanh(), X[:, :2] > 0, lambda z: z > 0),
            (bp.CrossEntropyOfProbabilities(), bp.Softmax(), np.arange(60) % 2, lambda z: z.argmax(axis=1)),
            (bp.MultiMargin(), bp.Tanh(), np.arange(60) % 2, lambda z: z.argmax(axis=1)),
            (bp.GaussianNLL(), bp.Tanh(), X[:, :1], lambda z: z[:, 0]),
            (bp.Quantile((0.1, 0.9)), bp.Tanh(), X[:, 0], lambda z: z),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, bp.Loss) else "",
    )
    def test_outputs_that_are_no_logits(self, loss: bp.Loss, last: bp.Layer, y: Any, wanted: Any) -> None:
        """Answers are right, metrics those of a trainer, and exported files give the outputs or the probabilities."""
        from command_line import run

        y = np.asarray(y) * 1 if loss.predicts != "numbers" else y
        np.savez("data.npz", X=X, y=y)
        net = bp.Network(bp.Sequential(bp.Dense(2), last), 4, device="cpu")
        trainer = bp.Trainer(net, loss, bp.SGD(), metrics="mae" if loss.predicts == "numbers" else "accuracy")
        trainer.fit(X, y, verbose=False)
        net.save("m.safetensors")
        assert run("predict", "m.safetensors", "data.npz", "--out=p.npy", "--device=cpu").exit_code == 0
        np.testing.assert_allclose(np.load("p.npy"), wanted(net.predict(X)), rtol=1e-6)
        judged = run("evaluate", "m.safetensors", "data.npz", "--device=cpu", "--json")
        metric = "mean_absolute_error" if loss.predicts == "numbers" else "accuracy"
        assert judged.exit_code == 0, judged.output
        found = json.loads(judged.stdout)["metrics"]
        assert found[metric] == pytest.approx(trainer.evaluate(X, y)[metric], rel=1e-6)
        shown = run("predict", "m.safetensors", "data.npz", "--out=p.csv", "--device=cpu")
        has_probabilities = "probability" in Path("p.csv").read_text(encoding="utf-8")
        kind = bp.losses.outputs_are(loss)
        assert shown.exit_code == 0 and has_probabilities == (kind == "probabilities")
        explained = run("explain", "m.safetensors", "data.npz", "--row=1")
        assert explained.exit_code == 0, explained.output
        assert net.metadata["task"] == loss.predicts
        if importlib.util.find_spec("onnxruntime"):
            import onnxruntime

            net.to_onnx("m.onnx")
            *_, output = onnxruntime.InferenceSession("m.onnx").run(None, {"input": X.astype("float32")})
            np.testing.assert_allclose(output, net.predict(X), rtol=1e-5, atol=1e-6)
