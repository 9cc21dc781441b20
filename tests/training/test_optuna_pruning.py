"""OptunaPruning: what a trial is told, how a pruned training ends, and what it leaves to other callbacks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp

optuna = pytest.importorskip("optuna")

rng = np.random.default_rng(0)
X = rng.normal(size=(80, 3))
Y = X @ [1.0, -2.0, 0.5]
DATA = {"validation_data": (X[:20], Y[:20]), "verbose": False}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def new_trainer(rate: float = 0.05) -> bp.Trainer:
    net = bp.Network(bp.Dense(1), 3, device="cpu")
    return bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(rate), batch_size=20)


def trial_of(pruner: Any = None, direction: str = "minimize") -> Any:
    return optuna.create_study(pruner=pruner or optuna.pruners.NopPruner(), direction=direction).ask()


class After(optuna.pruners.BasePruner):
    """Prunes every trial at step `epochs`."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def prune(self, study: Any, trial: Any) -> bool:
        return bool(trial.last_step is not None and trial.last_step >= self.epochs)


def test_each_epoch_is_reported_as_the_step_of_its_number() -> None:
    trial, trainer = trial_of(), new_trainer()
    pruning = bp.OptunaPruning(trial)
    history = trainer.fit(X, Y, epochs=4, callbacks=[pruning], **DATA)
    told = trial.study.trials[0].intermediate_values
    assert told == dict(enumerate(history["val_loss"], 1))
    assert (pruning.best, pruning.best_epoch) == (min(history["val_loss"]), 4)


def test_a_pruned_training_ends_after_its_epoch_with_the_best_parameters() -> None:
    trial, trainer = trial_of(After(3)), new_trainer()
    stopping = bp.EarlyStopping(patience=10)
    with pytest.raises(optuna.TrialPruned, match="pruned after epoch 3, with a best val_loss of"):
        trainer.fit(X, Y, epochs=9, callbacks=[bp.OptunaPruning(trial), stopping], **DATA)
    assert trainer.history.epochs == 3
    assert stopping.best_epoch == 3
    assert trainer.evaluate(X[:20], Y[:20])["loss"] == pytest.approx(stopping.best)


@pytest.mark.parametrize("first", [True, False])
def test_a_pruned_training_leaves_a_whole_checkpoint_to_go_on_from(tmp_path: Path, first: bool) -> None:
    trial, trainer = trial_of(After(2)), new_trainer()
    callbacks = [bp.OptunaPruning(trial), bp.Checkpoint(tmp_path)]
    with pytest.raises(optuna.TrialPruned):
        trainer.fit(X, Y, epochs=5, callbacks=callbacks if first else callbacks[::-1], **DATA)
    again = new_trainer()
    again.resume(tmp_path)
    assert again.epoch == 2
    with pytest.raises(optuna.TrialPruned):  # it was decided, and stays so
        again.fit(X, Y, epochs=5, callbacks=[bp.OptunaPruning(trial_of()), bp.Checkpoint(tmp_path)], **DATA)
    assert (again.network.flat == trainer.network.flat).all()


def test_a_resumed_training_reports_the_epochs_that_follow(tmp_path: Path) -> None:
    new_trainer().fit(X, Y, epochs=2, callbacks=[bp.OptunaPruning(trial_of()), bp.Checkpoint(tmp_path)], **DATA)
    again, trial = new_trainer(), trial_of()
    again.resume(tmp_path)
    pruning = bp.OptunaPruning(trial)
    history = again.fit(X, Y, epochs=5, callbacks=[pruning, bp.Checkpoint(tmp_path)], **DATA)
    told = trial.study.trials[0].intermediate_values
    assert told == {k: history["val_loss"][k - 1] for k in (3, 4, 5)}
    assert pruning.best == min(history["val_loss"])


def test_a_study_prunes_worse_trials_and_goes_on() -> None:
    def objective(trial: Any) -> float:
        rate = trial.suggest_categorical("rate", [0.1, 1e-6])
        pruning = bp.OptunaPruning(trial)
        new_trainer(rate).fit(X, Y, epochs=6, callbacks=[pruning], **DATA)
        return pruning.best

    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=1))
    for rate in (0.1, 1e-6, 0.1):
        study.enqueue_trial({"rate": rate})
    study.optimize(objective, n_trials=3)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert len(study.trials[1].intermediate_values) < 6


def test_an_interrupt_ends_the_study_too() -> None:
    begun = []

    def objective(trial: Any) -> float:
        begun.append(trial.number)
        stop = bp.LambdaCallback(on_epoch_end=lambda trainer, logs: os.kill(os.getpid(), signal.SIGINT))
        new_trainer().fit(X, Y, epochs=6, callbacks=[bp.OptunaPruning(trial), stop], **DATA)
        return 0.0

    study = optuna.create_study()
    with pytest.raises(KeyboardInterrupt):
        study.optimize(objective, n_trials=3)
    assert begun == [0]
    assert study.trials[0].state.name == "FAIL"


def test_an_error_of_the_training_is_not_hidden() -> None:
    def fail(trainer: Any, logs: dict[str, float]) -> None:
        raise RuntimeError("of the callback")

    callbacks = [bp.OptunaPruning(trial_of(After(1))), bp.LambdaCallback(on_epoch_end=fail)]
    with pytest.raises(RuntimeError, match="of the callback"):
        new_trainer().fit(X, Y, epochs=2, callbacks=callbacks, **DATA)


def test_a_study_of_the_other_direction_is_refused() -> None:
    with pytest.raises(ValueError, match=r'create_study\(direction="minimize"\)'):
        new_trainer().fit(X, Y, callbacks=[bp.OptunaPruning(trial_of(direction="maximize"))], **DATA)


def test_a_number_that_no_epoch_reports_is_refused() -> None:
    with pytest.raises(ValueError, match="OptunaPruning watches 'val_mae', and an epoch reports loss, val_loss"):
        new_trainer().fit(X, Y, callbacks=[bp.OptunaPruning(trial_of(), "val_mae")], **DATA)


def test_a_study_of_several_numbers_is_refused() -> None:
    trial = optuna.create_study(directions=["minimize", "minimize"]).ask()
    with pytest.raises(ValueError, match="several numbers"):
        new_trainer().fit(X, Y, callbacks=[bp.OptunaPruning(trial)], **DATA)


@pytest.mark.parametrize("trial", [None, 3, optuna.trial.Trial])
def test_what_is_no_trial_is_refused(trial: Any) -> None:
    with pytest.raises(TypeError, match="needs trial to be a trial of Optuna"):
        bp.OptunaPruning(trial)


def test_a_fixed_trial_is_taken() -> None:
    new_trainer().fit(X, Y, callbacks=[bp.OptunaPruning(optuna.trial.FixedTrial({}))], **DATA)


def test_without_optuna_the_command_that_mends_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    trial = trial_of()
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(bp.MissingDependencyError, match=r"pip install 'gpubp\[search\]'"):
        bp.OptunaPruning(trial)
