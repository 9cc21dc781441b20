"""Early stopping puts the best weights back, also those of an epoch before the resume."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_resume import XV, YV, X, Y, bits, trainer

import gpubp as bp
from gpubp.training.snapshot import checkpoints_in

BEST, LAST = 2, 6  # epochs: the best one, and the one that a training is resumed from is between
LOSSES = [3.0, 1.0, 2.0, 2.5, 2.0, 2.0, 2.0, 2.0, 2.0]


class Says(bp.Callback):
    """Puts numbers where the trainer's own were, and keeps weights and running statistics of each epoch."""

    def __init__(self, losses: list[float] = LOSSES) -> None:
        self.losses = losses
        self.kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        logs["val_loss"] = self.losses[trainer.epoch - 1]
        self.kept[trainer.epoch] = trainer.network.flat.copy(), trainer.network.states.flat.copy()


class EndsAt(bp.Callback):
    """Ends a fit in one of the ways in which one can end, after a number of steps."""

    def __init__(self, how: str, step: int) -> None:
        self.how, self.step = how, step

    def on_step_end(self, trainer: bp.Trainer) -> None:
        if trainer.step_count != self.step:
            return
        if self.how == "Ctrl-C":
            os.kill(os.getpid(), signal.SIGINT)
        elif self.how == "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
        elif self.how == "sys.exit":
            raise SystemExit(3)
        elif self.how == "KeyboardInterrupt":
            raise KeyboardInterrupt
        elif self.how == "error":
            raise OSError("the disk is full")
        elif self.how == "NaN":
            trainer.network.flat[...] = np.nan


FIT: dict[str, Any] = {"validation_data": (XV, YV)}
STEPS = 3  # of an epoch


def first_part(folder: Path, epochs: int = 3, **options: Any) -> Says:
    says = Says()
    made = trainer(**options)
    made.fit(X, Y, epochs=epochs, callbacks=[says, bp.EarlyStopping(patience=99), bp.Checkpoint(folder)], **FIT)
    return says


def assert_best(t: bp.Trainer, says: Says) -> None:
    flat, states = says.kept[BEST]
    assert np.array_equal(t.network.flat, flat) and np.array_equal(t.network.states.flat, states)


def loaded(folder: Path) -> bp.Trainer:
    return bp.Trainer.load(folder, device="cpu")


def resumed(folder: Path) -> bp.Trainer:
    t = trainer()
    t.resume(folder)
    return t


@pytest.mark.parametrize("start", [loaded, resumed])
def test_the_best_epoch_was_before_the_resume(start: Any, tmp_path: Path) -> None:
    says = first_part(tmp_path)
    t, stopping = start(tmp_path), bp.EarlyStopping(patience=3)
    t.fit(X, Y, epochs=9, callbacks=[Says(), stopping], **FIT)
    assert t.stop and t.epoch == BEST + 3 and (stopping.best, stopping.best_epoch) == (1.0, BEST)
    assert_best(t, says)


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "sys.exit", "KeyboardInterrupt", "error", "NaN"])
@pytest.mark.parametrize("in_epoch", [1, 3])
def test_however_the_resumed_fit_ends(how: str, in_epoch: int, tmp_path: Path) -> None:
    """In the middle of an epoch, and at its end."""
    says = first_part(tmp_path, on_nonfinite="raise")
    t = trainer(on_nonfinite="raise")
    t.resume(tmp_path)
    end = EndsAt(how, 4 * STEPS + in_epoch)
    error = {"SIGTERM": SystemExit, "sys.exit": SystemExit, "error": OSError, "NaN": bp.NonFiniteError}.get(how)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        callbacks = [Says(), end, bp.EarlyStopping(patience=99)]
        if error is None:
            assert t.fit(X, Y, epochs=9, callbacks=callbacks, **FIT).interrupted
        else:
            with pytest.raises(error):
                t.fit(X, Y, epochs=9, callbacks=callbacks, **FIT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert_best(t, says)


def test_resumed_twice(tmp_path: Path) -> None:
    """Interrupted, resumed, interrupted again: the best is that of the first part all the same."""
    says = first_part(tmp_path)
    for last in (4, 5):
        t = resumed(tmp_path)
        t.fit(X, Y, epochs=last, callbacks=[Says(), bp.EarlyStopping(patience=99), bp.Checkpoint(tmp_path)], **FIT)
        assert t.epoch == last
        assert_best(t, says)


def test_a_better_epoch_after_the_resume(tmp_path: Path) -> None:
    first_part(tmp_path)
    t, stopping = resumed(tmp_path), bp.EarlyStopping(patience=2)
    says = Says([3.0, 1.0, 2.0, 0.5, 2.0, 2.0, 2.0])
    t.fit(X, Y, epochs=9, callbacks=[says, stopping], **FIT)
    assert stopping.best_epoch == 4 and t.epoch == 6 and np.array_equal(t.network.flat, says.kept[4][0])


def test_a_second_fit_after_a_resume_begins_anew(tmp_path: Path) -> None:
    """The best weights are those of that fit, and nothing of the first is put back."""
    first_part(tmp_path)
    t, stopping = resumed(tmp_path), bp.EarlyStopping(patience=99)
    t.fit(X, Y, epochs=4, callbacks=[Says(), stopping], **FIT)
    says = Says([0.0] * 4 + [7.0, 6.0, 8.0])
    t.fit(X, Y, epochs=3, callbacks=[says, stopping], **FIT)
    assert (stopping.best, stopping.best_epoch) == (6.0, 6) and np.array_equal(t.network.flat, says.kept[6][0])


def test_a_finished_training_puts_the_best_back(tmp_path: Path) -> None:
    """Nothing is left to do after the resume, and the weights are the best ones."""
    says = first_part(tmp_path, epochs=4)
    t = resumed(tmp_path)
    assert not np.array_equal(t.network.flat, says.kept[BEST][0])
    t.fit(X, Y, epochs=4, callbacks=[Says(), bp.EarlyStopping(patience=99)], **FIT)
    assert t.step_count == 4 * STEPS
    assert_best(t, says)


def test_the_best_checkpoint_stays_the_best(tmp_path: Path) -> None:
    """best.safetensors has the bytes of a training that was not interrupted, whether its epoch is before the resume or
    after."""
    for name, losses in (("before", LOSSES), ("after", [3.0, 1.0, 2.0, 0.5, 2.0, 2.0])):
        files = []
        for parts in ([6], [3, 6]):
            folder = tmp_path / f"{name} {len(parts)}"
            for epochs in parts:
                t = trainer()
                t.resume(folder, missing_ok=True)
                callbacks = [Says(losses), bp.EarlyStopping(patience=99), bp.Checkpoint(folder)]
                t.fit(X, Y, epochs=epochs, callbacks=callbacks, **FIT)
            best = bp.load(folder / "best.safetensors", device="cpu")
            files.append((best.flat.tobytes(), best.states.flat.tobytes(), t.network.flat.tobytes()))
        assert files[0] == files[1]
        assert files[0][0] == files[0][2], "and early stopping puts these back"


def test_the_best_checkpoint_can_be_resumed_from(tmp_path: Path) -> None:
    whole = trainer()
    whole.fit(X, Y, epochs=4, callbacks=[Says(), bp.EarlyStopping(patience=99), bp.Checkpoint(tmp_path)], **FIT)
    again = trainer()
    again.resume(tmp_path / "best.safetensors")
    assert again.epoch == BEST
    again.fit(X, Y, epochs=4, callbacks=[Says(), bp.EarlyStopping(patience=99)], **FIT)
    assert bits(again) == bits(whole)


def test_parameters_that_are_frozen_later_are_restored_too(tmp_path: Path) -> None:
    """Frozen after the best epoch, before the resume: what it has learnt since is taken back."""

    def freeze(t: bp.Trainer, logs: dict[str, float]) -> None:
        if t.epoch == 3:
            t.network.freeze("0.*")

    says, t = Says(), trainer()
    callbacks = [says, bp.LambdaCallback(freeze), bp.EarlyStopping(patience=99), bp.Checkpoint(tmp_path)]
    t.fit(X, Y, epochs=4, callbacks=callbacks, **FIT)
    assert_best(t, says)
    again = resumed(tmp_path)
    assert "0.W" in again.network.frozen
    again.fit(X, Y, epochs=6, callbacks=[Says(), bp.LambdaCallback(freeze), bp.EarlyStopping(patience=99)], **FIT)
    assert_best(again, says)


def test_without_restoring_the_last_weights_stay(tmp_path: Path) -> None:
    """Also where the first part would have put the best back."""
    first_part(tmp_path)
    t, says = resumed(tmp_path), Says()
    t.fit(X, Y, epochs=LAST, callbacks=[says, bp.EarlyStopping(patience=99, restore_best=False)], **FIT)
    assert np.array_equal(t.network.flat, says.kept[LAST][0])


def test_the_best_weights_must_have_been_kept(tmp_path: Path) -> None:
    """An error in place of other weights than promised; where no epoch has ended, nothing is missing."""
    callbacks = [Says(), bp.EarlyStopping(patience=99, restore_best=False)]
    trainer().fit(X, Y, epochs=3, callbacks=[*callbacks, bp.Checkpoint(tmp_path, keep=9)], **FIT)
    again = [Says(), bp.EarlyStopping(patience=99)]
    with pytest.raises(bp.ModelFileError, match="restore_best=False, .* weights of epoch 2 were not kept"):
        resumed(tmp_path).fit(X, Y, epochs=6, callbacks=again, **FIT)
    t = resumed(checkpoints_in(tmp_path)[-1])
    assert t.epoch == 0
    t.fit(X, Y, epochs=4, callbacks=again, **FIT)
    assert again[1].best_epoch == BEST  # type: ignore[attr-defined]


def test_a_network_without_running_statistics(tmp_path: Path) -> None:
    def made() -> bp.Trainer:
        net = bp.Network(bp.Sequential(bp.Dense(4), bp.Tanh(), bp.Dense(3)), 5, device="cpu")
        return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.1), batch_size=8)

    says = Says()
    made().fit(X, Y, epochs=3, callbacks=[says, bp.EarlyStopping(patience=9), bp.Checkpoint(tmp_path)], **FIT)
    t = made()
    t.resume(tmp_path)
    t.fit(X, Y, epochs=5, callbacks=[Says(), bp.EarlyStopping(patience=9)], **FIT)
    assert_best(t, says)


def test_two_stoppings_each_go_on_from_their_own(tmp_path: Path) -> None:
    """The last one's weights stay, as without a resume."""

    def stoppings() -> list[bp.EarlyStopping]:
        return [bp.EarlyStopping("val_loss", 99), bp.EarlyStopping("val_loss", 99, mode="max")]

    says = Says()
    trainer().fit(X, Y, epochs=3, callbacks=[says, *stoppings(), bp.Checkpoint(tmp_path)], **FIT)
    t, both = resumed(tmp_path), stoppings()
    t.fit(X, Y, epochs=5, callbacks=[Says(), *both], **FIT)
    assert [one.best_epoch for one in both] == [2, 1] and np.array_equal(t.network.flat, says.kept[1][0])


def test_an_error_in_the_end_of_another_callback(tmp_path: Path) -> None:
    """The best weights are put back all the same, and the trainer can go on."""

    class Fails(bp.Callback):
        def on_train_end(self, trainer: bp.Trainer) -> None:
            raise OSError("the disk is full")

    says, t = Says(), trainer()
    with pytest.raises(OSError, match="the disk is full"):
        t.fit(X, Y, epochs=3, callbacks=[says, Fails(), bp.EarlyStopping(patience=9), Fails()], **FIT)
    assert_best(t, says)
    assert t.snapshot().config["training"].get("fit") is None, "no fit is under way"


def test_a_fit_that_could_not_begin_is_tried_again(tmp_path: Path) -> None:
    """With the callbacks that were missing: it goes on from the checkpoint, and knows the best epoch."""
    says = first_part(tmp_path)
    other = tmp_path / "other"
    first_part(other)
    whole = trainer()
    whole.fit(X, Y, epochs=6, callbacks=[Says(), bp.EarlyStopping(patience=99)], **FIT)
    t = resumed(tmp_path)
    for wrong, words in (
        ([Says()], "fit was given none"),
        ([Says(), bp.EarlyStopping(patience=99), bp.Checkpoint(other)], "holds a training"),
        ([Says(), bp.EarlyStopping(patience=99), Damaged()], "can't go on"),
    ):
        with pytest.raises(bp.ModelFileError, match=words):
            t.fit(X, Y, epochs=6, callbacks=wrong, **FIT)
        assert t.resumes_fit and t.step_count == 3 * STEPS
    t.fit(X, Y, epochs=6, callbacks=[Says(), bp.EarlyStopping(patience=99)], **FIT)
    assert bits(t) == bits(whole) and not t.resumes_fit
    assert_best(t, says)


class Damaged(bp.Callback):
    """Fails where its state is restored, after early stopping's."""

    comes_last = True

    def state_dict(self) -> dict[str, Any]:
        return {"best": 0.0}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise ValueError("can't go on")


Damaged.__name__ = "Checkpoint"  # whose state the file has
