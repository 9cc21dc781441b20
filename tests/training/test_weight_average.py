"""The exponential moving average of the weights: its numbers, who sees it, and how it is resumed."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_resume import XV, YV, X, Y, bits, trainer

import gpubp as bp
from gpubp import model_file
from gpubp.backends.cuda.backend import CUDA
from gpubp.step import multistep
from strict import StrictProducts, strict_cupy

VALIDATED: dict[str, Any] = {"validation_data": (XV, YV)}


class Watch(bp.Callback):
    """Keeps parameters and averages after each step, and at the end of each epoch."""

    def __init__(self) -> None:
        self.steps: list[np.ndarray] = []
        self.averages: list[np.ndarray] = []
        self.epochs: list[np.ndarray] = []

    def on_step_end(self, trainer: bp.Trainer) -> None:
        assert trainer.update.average is not None
        self.steps.append(trainer.network.flat.copy())
        self.averages.append(trainer.update.average.values.flat.copy())

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        self.epochs.append(self.averages[-1])


def by_hand(steps: list[np.ndarray], decay: float, start: int = 0) -> list[np.ndarray]:
    averages: list[np.ndarray] = []
    for k, theta in enumerate(steps):
        averages.append(theta.astype(float) if k <= start else decay * averages[-1] + (1 - decay) * theta)
    return averages


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("decay", "start_step"), [(0.9, 0), (0.0, 0), (0.5, 4), (0.999, 2), (0.9, 100)])
def test_the_average_is_that_of_the_formula(decay: float, start_step: int, workers: int) -> None:
    t, watch = trainer(dtype="float64", workers=workers), Watch()
    average = bp.ExponentialMovingAverage(decay, start_step)
    t.fit(X, Y, epochs=3, callbacks=[watch, average])
    want = by_hand(watch.steps, decay, start_step)
    assert len(want) == 9
    np.testing.assert_allclose(watch.averages, want, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(t.network.flat, watch.averages[-1])
    assert average.parameters.keys() == t.network.parameters.keys()
    for name, a in t.network.parameters.items():
        np.testing.assert_array_equal(average.parameters[name], a)


def test_the_average_is_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, a reference for averages, is not installed")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    t, watch = trainer(dtype="float64"), Watch()
    t.fit(X, Y, epochs=3, callbacks=[watch, bp.ExponentialMovingAverage(0.9)])
    model = torch.nn.Linear(len(watch.steps[0]), 1, bias=False).double()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for theta in watch.steps:
        with torch.no_grad():
            model.weight.copy_(torch.tensor(theta)[None])
        averaged.update_parameters(model)
    np.testing.assert_allclose(watch.averages[-1], averaged.module.weight.detach().numpy()[0], rtol=1e-12)


def test_float32_averages_have_no_bias() -> None:
    """The average of weights that stay is the weights, to the bit, whatever the decay rounds to."""
    t = trainer(bp.SGD(0.0))
    before = t.network.flat.copy()
    t.fit(X, Y, epochs=30, callbacks=[bp.ExponentialMovingAverage(0.9999)])
    assert np.array_equal(t.network.flat, before)


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"on_nonfinite": "raise"}, {"accumulate": 2}], ids=str)
def test_training_itself_is_bitwise_identical(options: dict[str, Any]) -> None:
    plain, averaged = trainer(**options), trainer(**options)
    for t, callbacks in ((plain, []), (averaged, [bp.ExponentialMovingAverage(validate=False, replace=False)])):
        t.fit(X, Y, epochs=3, callbacks=callbacks, **VALIDATED)
    assert bits(plain) == bits(averaged)


def test_steps_are_recorded_without_an_average_after_the_fit() -> None:
    t = trainer()
    t.fit(X, Y)
    before = str(t.record).count("\n")
    t.fit(X, Y, callbacks=[bp.ExponentialMovingAverage()])
    assert str(t.record).count("\n") > before
    t.fit(X, Y)
    assert str(t.record).count("\n") == before and t.update.average is None


def test_validation_sees_the_averages() -> None:
    """And running statistics as they are in training, which are not averaged."""
    t, watch = trainer(), Watch()
    seen: list[dict[str, float]] = []

    def judge(t: bp.Trainer, logs: dict[str, float]) -> None:
        raw = t.network.flat.copy()
        t.network.flat[...] = watch.averages[-1]
        seen.append(t.evaluate(XV, YV))
        t.network.flat[...] = raw

    history = t.fit(
        X, Y, epochs=3, callbacks=[watch, bp.LambdaCallback(judge), bp.ExponentialMovingAverage(0.8)], **VALIDATED
    )
    assert [one["loss"] for one in seen] == history["val_loss"]
    other = trainer()
    plain = other.fit(X, Y, epochs=3, **VALIDATED)
    assert plain["loss"] == history["loss"] and plain["val_loss"] != history["val_loss"]
    assert np.array_equal(other.network.states.flat, t.network.states.flat)
    raw = trainer().fit(X, Y, epochs=3, callbacks=[bp.ExponentialMovingAverage(0.8, validate=False)], **VALIDATED)
    assert raw["val_loss"] == plain["val_loss"]


@pytest.mark.parametrize("average_first", [True, False])
def test_early_stopping_restores_the_averages_of_the_best_epoch(average_first: bool) -> None:
    t, watch = trainer(bp.Adam(0.3)), Watch()
    both: list[bp.Callback] = [bp.ExponentialMovingAverage(0.7), bp.EarlyStopping(patience=2)]
    t.fit(X, Y, epochs=30, callbacks=[watch, *(both if average_first else both[::-1])], **VALIDATED)
    best = both[1].best_epoch  # type: ignore[attr-defined]
    assert t.stop and best < t.epoch
    assert np.array_equal(t.network.flat, watch.epochs[best - 1])
    assert t.evaluate(XV, YV)["loss"] != t.history["val_loss"][-1]


def test_a_checkpoint_is_a_model_of_averages_and_goes_on_from_the_weights(tmp_path: Path) -> None:
    t, watch = trainer(bp.Adam(0.3)), Watch()
    kept = bp.Checkpoint(tmp_path)
    t.fit(X, Y, epochs=6, callbacks=[watch, kept, bp.ExponentialMovingAverage(0.7)], **VALIDATED)
    best = bp.load(tmp_path / "best.safetensors", device="cpu")
    assert np.array_equal(best.flat, watch.epochs[kept.best_epoch - 1])
    last = bp.load(tmp_path / "step-000000018.safetensors", device="cpu")
    assert np.array_equal(last.flat, watch.averages[-1])
    for start in (lambda p: bp.Trainer.load(p, device="cpu"), resumed):
        again = start(tmp_path / "step-000000018.safetensors")
        assert np.array_equal(again.network.flat, watch.steps[-1])
    evaluated = bp.Trainer(best, bp.SoftmaxCrossEntropy(0.1), bp.SGD()).evaluate(XV, YV)
    assert evaluated["loss"] == min(t.history["val_loss"])


def resumed(path: Path) -> bp.Trainer:
    t = trainer(bp.Adam(0.3))
    t.resume(path)
    return t


def test_other_callbacks_are_refused_after_a_resume(tmp_path: Path) -> None:
    trainer().fit(X, Y, epochs=2, callbacks=[bp.ExponentialMovingAverage(), bp.Checkpoint(tmp_path)])
    t = trainer()
    t.resume(tmp_path)
    with pytest.raises(bp.ModelFileError, match="with the callbacks ExponentialMovingAverage, and fit was given none"):
        t.fit(X, Y, epochs=3)


def test_averages_of_another_network_are_refused(tmp_path: Path) -> None:
    t = trainer()
    t.fit(X, Y, epochs=2, callbacks=[bp.ExponentialMovingAverage(), bp.Checkpoint(tmp_path)])
    path = tmp_path / "step-000000006.safetensors"
    config, arrays = model_file.read(path)
    name = "training/callbacks/0/average"
    for damaged, words in ((arrays | {name: arrays[name][:-1]}, "another network"), (arrays, "begin at step -1")):
        if damaged is arrays:
            config["training"]["fit"]["callbacks"][0][1]["first"] = -1
        model_file.write(path, config, damaged)
        again = trainer()
        again.resume(path)
        with pytest.raises(bp.ModelFileError, match=words):
            again.fit(X, Y, epochs=3, callbacks=[bp.ExponentialMovingAverage()])


@pytest.mark.parametrize("workers", [1, 2])
def test_skipped_steps_do_not_change_the_average(workers: int) -> None:
    bad = X.astype("float32").copy()
    bad[13] = np.float32(3e38)
    t, watch = trainer(on_nonfinite="skip", workers=workers), Watch()
    with pytest.warns(RuntimeWarning, match="changed nothing"):
        t.fit(bad, Y, epochs=3, callbacks=[watch, bp.ExponentialMovingAverage(0.8)])
    want, skipped = [watch.averages[0].astype(float)], 0
    for before, theta in zip(watch.steps, watch.steps[1:], strict=False):
        skipped += int(np.array_equal(before, theta))
        want.append(want[-1] if np.array_equal(before, theta) else 0.8 * want[-1] + 0.2 * theta)
    assert skipped >= 2
    np.testing.assert_allclose(watch.averages, want, rtol=1e-5, atol=1e-7)


def test_a_rollback_takes_the_average_back() -> None:
    """To the beginning of the epoch: as a training that began there with half the learning rate."""
    X64, first = X.astype("float64"), []
    t = trainer(bp.SGD(0.1), "float64", on_nonfinite="rollback", batch_size=4)
    average = bp.ExponentialMovingAverage(0.8)

    class Spoil(bp.Callback):
        def on_step_end(self, trainer: bp.Trainer) -> None:
            if trainer.step_count == 3 and not first:
                first.append(trainer.network.flat.copy())
                trainer.network.flat[0] = np.nan

    start = t.network.flat.copy()
    with pytest.warns(RuntimeWarning, match="back to step 0"):
        t.fit(X64, Y, callbacks=[Spoil(), average])
    assert first
    other = trainer(bp.SGD(0.05), "float64", batch_size=4)
    assert np.array_equal(other.network.flat, start)
    other.fit(X64, Y, callbacks=[bp.ExponentialMovingAverage(0.8)])
    np.testing.assert_array_equal(t.network.flat, other.network.flat)


def test_an_error_leaves_the_averages_in_the_network() -> None:
    t, watch = trainer(), Watch()
    fail = bp.LambdaCallback(on_step_end=lambda t: 1 / (5 - t.step_count))
    with pytest.raises(ZeroDivisionError):
        t.fit(X, Y, epochs=3, callbacks=[watch, fail, bp.ExponentialMovingAverage(0.5)])
    assert np.array_equal(t.network.flat, watch.averages[-1]) and t.update.average is None


def test_an_error_in_validation_leaves_the_weights_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    t, watch = trainer(), Watch()
    monkeypatch.setattr(t.step_cache, "evaluate", lambda feed: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        t.fit(X, Y, callbacks=[watch, bp.ExponentialMovingAverage(0.5, replace=False)], **VALIDATED)
    assert np.array_equal(t.network.flat, watch.steps[-1])


def test_frozen_parameters_stay() -> None:
    """Also where parameters are frozen or freed in the middle of a fit: averages begin as the parameters then."""
    t, watch = trainer(bp.SGD(0.1), "float64"), Watch()
    t.network.freeze("0.*", "1.*")
    before = t.network.parameters["0.W"].copy()
    freed: list[np.ndarray] = []

    def free(t: bp.Trainer, logs: dict[str, float]) -> None:
        if t.epoch == 1:
            assert np.array_equal(t.network.parameters["0.W"], before)
            t.network.unfreeze("0.W")
            t.network.freeze("5.b")

    def keep(t: bp.Trainer) -> None:
        freed.append(t.network.parameters["0.W"].copy())

    average = bp.ExponentialMovingAverage(0.5)
    t.fit(X, Y, epochs=2, callbacks=[average, bp.LambdaCallback(free, keep)])
    want = before
    for theta in freed[3:]:
        want = 0.5 * want + 0.5 * theta
    np.testing.assert_allclose(t.network.parameters["0.W"], want, rtol=1e-12)
    assert "5.b" not in average.parameters and "1.gamma" not in average.parameters and "5.W" in average.parameters
    assert not watch.steps


def test_a_second_fit_begins_anew() -> None:
    t, average = trainer(dtype="float64"), bp.ExponentialMovingAverage(0.5, start_step=1)
    t.fit(X, Y, callbacks=[average])
    watch = Watch()
    t.fit(X, Y, epochs=2, callbacks=[average, watch])
    np.testing.assert_allclose(t.network.flat, by_hand(watch.steps, 0.5, 1)[-1], rtol=1e-12)


def test_no_epochs_change_nothing() -> None:
    t = trainer()
    before = t.network.flat.copy()
    t.fit(X, Y, epochs=0, callbacks=[bp.ExponentialMovingAverage()])
    assert np.array_equal(t.network.flat, before)


def test_many_steps_are_still_done_in_one_call(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    pytest.importorskip("numba", reason="Numba, which compiles records, is not installed")
    monkeypatch.setattr("gpubp.backends.cpu.compiled.PRICE", 0.0)
    features, y = rng.normal(size=(320, 6)).astype("float32"), rng.integers(0, 3, 320)
    seen, run = [], multistep.Chain.run
    monkeypatch.setattr(multistep.Chain, "run", lambda *given: seen.append(run(*given)) or seen[-1])
    results = []
    for alone in (False, True):
        net = bp.Network(bp.Sequential(bp.Dense(9), bp.Tanh(), bp.Dense(3)), 6, device="cpu")
        t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=8, workers=1)
        every = bp.LambdaCallback(on_step_end=lambda t: None)
        t.fit(features, y, epochs=30, callbacks=[bp.ExponentialMovingAverage(0.9, 50), *([every] if alone else [])])
        results.append(net.flat.copy())
    np.testing.assert_array_equal(*results)
    assert max(map(len, seen)) > 1


@pytest.mark.parametrize("choice", [None, "raise"])
def test_on_a_gpu(choice: str | None, tmp_path: Path) -> None:
    """The same numbers as on a CPU, within the graph, and bitwise identical after a resume."""
    flats, losses, path = [], [], tmp_path / "8.safetensors"
    for device in ("cpu", "strict", "resumed"):
        be: Any = device if device == "cpu" else CUDA(strict_cupy(), products=StrictProducts)
        net = bp.Network(bp.Sequential(bp.Dense(9), bp.BatchNorm(), bp.Tanh(), bp.Dense(3)), 5, device=be, seed=3)
        t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.1), batch_size=8, on_nonfinite=choice)
        callbacks: list[bp.Callback] = [bp.ExponentialMovingAverage(0.8, 2), bp.EarlyStopping(patience=9)]
        if device == "strict":
            callbacks.append(bp.LambdaCallback(on_step_end=lambda t: t.step_count == 8 and t.save(path)))
        if device == "resumed":
            t.resume(path)
        history = t.fit(X, Y, epochs=5, callbacks=callbacks, **VALIDATED)
        flats.append(net.backend.to_host(net.flat).copy())
        losses.append(history["val_loss"])
        assert device == "cpu" or getattr(t.record, "graph", None) is not None
    np.testing.assert_allclose(flats[1], flats[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert flats[1].tobytes() == flats[2].tobytes() and losses[1] == losses[2]


def test_an_estimator_is_judged_by_its_averages() -> None:
    """Its score on held-out rows, and the weights of the best score, which it keeps."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    average, watch = bp.ExponentialMovingAverage(0.9), Watch()
    from gpubp.estimators import MLPClassifier

    model = MLPClassifier(
        (8,), early_stopping=True, max_iter=6, n_iter_no_change=9, random_state=0, callbacks=[watch, average]
    )
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3))
    with pytest.warns(UserWarning):
        model.fit(features, (features[:, 0] > 0).astype(int))
    assert model.validation_scores_ is not None
    best = int(np.argmax(model.validation_scores_))
    np.testing.assert_array_equal(model.network_.flat, watch.epochs[best])


def test_it_can_be_pickled_and_copied_after_a_fit() -> None:
    average = bp.ExponentialMovingAverage(0.5)
    trainer().fit(X, Y, callbacks=[average])
    for other in (pickle.loads(pickle.dumps(average)), copy.deepcopy(average)):
        assert other.decay == 0.5
        assert all(np.array_equal(other.parameters[name], a) for name, a in average.parameters.items())


def test_two_averages_are_refused() -> None:
    t = trainer()
    with pytest.raises(ValueError, match="ExponentialMovingAverage and another average; one averages all weights"):
        t.fit(X, Y, callbacks=[bp.ExponentialMovingAverage(), bp.ExponentialMovingAverage()])
    assert t.step_count == 0 and t.update.average is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decay": 1.0}, "needs decay to be a number, from 0 to below 1, and got 1.0"),
        ({"decay": -0.1}, "needs decay to be a number, from 0"),
        ({"decay": "0.9"}, "got '0.9'"),
        ({"start_step": -1}, "start_step to be a whole number, 0 or more, and got -1"),
        ({"start_step": 1.5}, "start_step to be a whole number, 0 or more"),
    ],
)
def test_invalid_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bp.ExponentialMovingAverage(**options)
