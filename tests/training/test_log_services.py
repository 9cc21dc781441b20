"""TensorBoard and MLflow get the numbers of a training's history."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logged_runs import Crash, curves, events, fit, trainer

import gpubp as bp

# -- TensorBoard ------------------------------------------------------------------------------------------------------


def test_tensorboard_has_the_history(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    with pytest.raises(ValueError, match="TensorBoard needs histograms to be True or False, and got 'weights'"):
        bp.TensorBoard(tmp_path / "tb", histograms="weights")  # type: ignore[arg-type]
    history = fit(trainer(l2=1e-3), bp.TensorBoard(tmp_path / "tb", histograms=True), epochs=3)
    found = {part: curves(tmp_path / "tb" / part) for part in ("training", "validation")}
    assert set(found["training"]) == {"loss", "accuracy", "learning_rate"}
    for part, prefix in (("training", ""), ("validation", "val_")):
        for name in ("loss", "accuracy"):
            assert list(found[part][name]) == [1, 2, 3]
            assert list(found[part][name].values()) == pytest.approx(history[prefix + name], rel=1e-6)
    values = [value for event in events(tmp_path / "tb" / "training") for value in event.summary.value]
    assert sum(value.tag.startswith("parameters/0.W") for value in values) == 3
    text = next(value for value in values if value.tag.startswith("settings"))
    assert b"Adam(0.01)" in text.tensor.string_val[0] and b"|l2|`0.001`|" in text.tensor.string_val[0]


def test_tensorboard_after_a_resume_and_a_new_training(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    checkpoint = bp.Checkpoint(tmp_path / "run", every_steps=7, best=False)
    with pytest.raises(ZeroDivisionError):
        fit(trainer(), bp.TensorBoard(tmp_path / "tb"), checkpoint, Crash(14))
    again = trainer()
    again.resume(tmp_path / "run")
    history = fit(again, bp.TensorBoard(tmp_path / "tb"), bp.Checkpoint(tmp_path / "run", every_steps=7, best=False))
    found = curves(tmp_path / "tb" / "training")["loss"]
    assert list(found) == [1, 2, 3, 4, 5] and list(found.values()) == pytest.approx(history["loss"], rel=1e-6)
    fit(trainer(), bp.TensorBoard(tmp_path / "tb"), epochs=2)
    assert list(curves(tmp_path / "tb" / "validation")["loss"]) == [1, 2]


def test_tensorboard_in_a_folder_that_another_process_makes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboardX")

    def exists(*arguments: Any) -> None:
        raise FileExistsError(17, "File exists", arguments[0])

    monkeypatch.setattr(os, "makedirs", exists)  # as in tensorboardX, which looks first and then makes the folder
    fit(trainer(), bp.TensorBoard(tmp_path / "tb"), epochs=1)
    assert list(events(tmp_path / "tb" / "training"))


@pytest.mark.parametrize(
    ("library", "make"), [("tensorboardX", lambda: bp.TensorBoard("tb")), ("mlflow", lambda: bp.MLflow())]
)
def test_a_missing_library_is_named_with_its_extra(library: str, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(bp.MissingDependencyError, match=rf"need {library}: pip install 'gpubp\[{library[:6].lower()}"):
        make()


# -- MLflow -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("mlflow", reason="mlflow is large and not part of the test extra: pip install 'gpubp[mlflow]'")
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


mlflow_warns = pytest.mark.filterwarnings("default")  # of what it is built on


@mlflow_warns
def test_mlflow_has_settings_metrics_and_model(store: str, tmp_path: Path) -> None:
    import mlflow

    log = bp.MLflow("digits", "first", store, {"who": "Ann"}, log_model=True, parameters={"data": "points"})
    one = trainer(clip_norm=1.0)
    history = fit(one, log, epochs=3)
    client = mlflow.MlflowClient(store)
    run = client.get_run(log.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "first" and run.data.tags["who"] == "Ann"
    assert run.data.params["optimizer"] == "Adam(0.01)" and run.data.params["clip_norm"] == "1.0"
    assert run.data.params["data"] == "points" and "l1" not in run.data.params
    for name in ("loss", "val_accuracy"):
        points = client.get_metric_history(log.run_id, name)
        assert [(p.step, p.value) for p in points] == list(enumerate(history[name], 1))
    path = client.download_artifacts(log.run_id, "model.safetensors", str(tmp_path))
    assert np.array_equal(bp.load(path, device="cpu").flat, one.network.flat)


@mlflow_warns
def test_mlflow_after_an_error_and_a_resume(store: str, tmp_path: Path) -> None:
    import mlflow

    client, log = mlflow.MlflowClient(store), bp.MLflow(tracking_uri=store)
    with pytest.raises(ZeroDivisionError):
        fit(trainer(), log, bp.Checkpoint(tmp_path / "run", every_steps=7, best=False), Crash(14))
    assert client.get_run(log.run_id).info.status == "FAILED"
    again, other = trainer(), bp.MLflow(tracking_uri=store)
    again.resume(tmp_path / "run")
    history = fit(again, other, bp.Checkpoint(tmp_path / "run", every_steps=7, best=False))
    assert other.run_id == log.run_id and client.get_run(log.run_id).info.status == "FINISHED"
    points = client.get_metric_history(log.run_id, "loss")
    assert [(p.step, p.value) for p in points] == list(enumerate(history["loss"], 1))
    third = trainer()
    third.resume(tmp_path / "run")  # and it may be left out
    fit(third, bp.Checkpoint(tmp_path / "run", every_steps=7, best=False))


@mlflow_warns
def test_mlflow_logs_into_the_run_that_is_active(store: str) -> None:
    import mlflow

    mlflow.set_tracking_uri(store)
    with mlflow.start_run() as run:
        log = bp.MLflow()
        fit(trainer(), log, epochs=1)
        assert log.run_id == run.info.run_id
        assert mlflow.get_run(run.info.run_id).info.status == "RUNNING"


@mlflow_warns
def test_an_mlflow_server_that_fails_does_not_end_training(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = bp.MLflow(tracking_uri=store)

    class Away(bp.Callback):
        def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
            monkeypatch.setattr(log._client, "log_batch", lambda *a, **k: 1 / 0)

    with pytest.warns(RuntimeWarning, match="is not complete: division by zero; training goes on"):
        assert fit(trainer(), Away(), log, epochs=2).epochs == 2
