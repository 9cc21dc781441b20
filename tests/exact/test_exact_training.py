"""Exact numerics in training: the same bits with any number of workers and threads, and in a resumed run."""

import logging
import warnings

import numpy as np
import pytest

import gpubp as bp
from gpubp.errors import ExactError, ModelFileError
from gpubp.step.workers import exact_workers

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")

from exact_trainings import IMAGES, LEFT_OUT, RNG, WEIGHTS, Y_IMAGES, X, Y, cnn, mlp, result, trainer_of, workers_of

CASES = {
    "a ragged last batch": ({}, {}),
    "sample weights": ({}, {"sample_weight": WEIGHTS}),
    "clipped by norm, l2": ({"clip_norm": 0.05, "l2": 1e-2}, {}),
    "l1, and steps skipped": ({"l1": 1e-3, "l2": 1e-2, "on_nonfinite": "skip"}, {"sample_weight": WEIGHTS}),
    "rates, rollback": (
        {
            "l2": 0.1,
            "penalty_per_weight": True,
            "learning_rate_factors": {"0.*": 0.1},
            "on_nonfinite": "rollback",
            "clip_norm": 0.1,
        },
        {},
    ),
    "penalties by name": ({"l1": 1e-3, "l2": 1e-2, "penalized": ("*", "!0.W")}, {}),
    "accumulated": ({"accumulate": 2}, {}),
    "accumulated by 3": ({"accumulate": 3, "batch_size": 128, "clip_value": 0.01}, {}),
    "rows left out": ({"loss": bp.SoftmaxCrossEntropy(ignore_index=-1)}, {"y": LEFT_OUT, "sample_weight": WEIGHTS}),
    "rows left out, accumulated": (
        {"loss": bp.SoftmaxCrossEntropy(ignore_index=-1), "accumulate": 2},
        {"y": LEFT_OUT, "class_weight": "balanced"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_any_number_of_workers_has_the_same_bits(case):
    settings, given = CASES[case]
    alone = result(trainer_of(mlp(), **settings), **given)
    for workers in (2, 4):
        trainer = trainer_of(mlp(), workers, **settings)
        assert result(trainer, **given) == alone
        assert workers_of(trainer) == {exact_workers(settings.get("batch_size", 256), workers)}


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2, "on_nonfinite": "raise"}])
def test_workers_of_a_convolutional_network_with_batch_normalization(settings):
    found = [result(trainer_of(cnn(), workers, **settings), IMAGES, Y_IMAGES) for workers in (1, 2, 4)]
    assert found[0] == found[1] == found[2]


def test_workers_of_rows_of_different_lengths():
    rows = [RNG.normal(size=(steps, 4)).astype("float32") for steps in RNG.integers(1, 9, 400)]

    def fit(workers):
        layers = bp.Sequential(bp.LSTM(6), bp.Dense(4))
        network = bp.Network(layers, (None, 4), device="cpu", seed=1, numerics="exact")
        trainer = trainer_of(network, workers, batch_size=128, accumulate=2, metrics=["accuracy"])
        return result(trainer, rows, Y[:400], validation_fraction=0.2), workers_of(trainer)

    (alone, _), (shared, workers) = fit(1), fit(2)
    assert alone == shared and workers == {2}


def test_workers_of_a_float64_network_with_frozen_layers_on_rows_in_groups():
    groups = bp.RowGroups([200, 300, 200], lambda k: np.split(X, [200, 500])[k], row=(12,))

    def fit(workers):
        network = bp.Network(mlp().layers, 12, device="cpu", dtype="float64", seed=1, numerics="exact")
        network.freeze("0.*")
        trainer = trainer_of(network, workers, l1=1e-3, clip_norm=0.1)
        frozen = result(trainer, groups)
        network.unfreeze()
        return frozen, result(trainer, groups)

    assert fit(1) == fit(2) == fit(4)


def test_steps_of_single_batches_have_the_same_bits_and_losses():
    def steps(workers):
        trainer = trainer_of(mlp(), workers)
        losses = []
        for first, last in ((0, 256), (256, 512), (512, 640), (640, 700)):
            trainer.step(X[first:last], Y[first:last], WEIGHTS[first:last])
            losses.append(trainer.loss)
        return trainer.network.sha256(), losses

    assert steps(1) == steps(2) == steps(4)


@pytest.mark.parametrize("choice", ["skip", "rollback"])
def test_steps_that_are_not_finite_are_the_same_ones(choice):
    rows = X.copy()
    rows[RNG.integers(0, 700)] = 3e38

    def fit(workers):
        layers = bp.Sequential(bp.Dense(8), bp.Dense(4))
        network = bp.Network(layers, 12, device="cpu", seed=1, numerics="exact")
        trainer = trainer_of(network, workers, loss=bp.MeanSquaredError(), metrics=["mae"], on_nonfinite=choice)
        try:
            return result(trainer, rows, np.ones((700, 4)), sample_weight=WEIGHTS)
        except bp.NonFiniteError as error:
            return network.sha256(), str(error)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert fit(1) == fit(2) == fit(4)


def test_ordinary_numerics_have_other_bits_with_other_workers():  # so that the tests above can fail
    found = [result(trainer_of(mlp("ordinary"), workers))[0] for workers in (1, 2)]
    assert found[0] != found[1]


def test_pieces_of_a_batch_have_the_bits_of_the_whole():
    several = trainer_of(mlp(), batch_size=128, accumulate=4, l2=1e-3)
    assert result(several)[0] == result(trainer_of(mlp(), batch_size=512, l2=1e-3))[0]


def test_a_guard_changes_no_bits():
    assert result(trainer_of(mlp(), on_nonfinite="skip")) == result(trainer_of(mlp()))


@pytest.mark.parametrize(
    "optimizer",
    [
        bp.SGD(0.1),
        bp.SGD(bp.CosineDecay(0.1, steps=5), momentum=0.9, nesterov=True),
        bp.RMSprop(),
        bp.Adagrad(),
        bp.Adam(amsgrad=True),
        bp.AdamW(weight_decay=0.1),
        bp.NAdam(decayed="*", weight_decay=0.1),
        bp.Adamax(),
        bp.Lion(maximize=True),
        bp.SGD(momentum=0.9, dampening=0.5),
    ],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_every_optimizer(optimizer):
    assert result(trainer_of(mlp(), 2, optimizer)) == result(trainer_of(mlp(), 1, optimizer))


class Halving(bp.Optimizer):
    """A rule of the user's own, which is a formula."""

    def __init__(self, learning_rate=0.1):
        self.learning_rate, self.weight_decay = learning_rate, 0.0

    def rule(self, theta, g, eta):
        return (theta - 0.5 * eta * g,)


class Fading(Halving):
    def step_scalars(self, t, eta):
        return {"eta": eta * np.exp(-t)}


def test_a_rule_of_ones_own_is_exact_and_numbers_of_ones_own_are_not():
    assert result(trainer_of(mlp(), 2, Halving())) == result(trainer_of(mlp(), 1, Halving()))
    with pytest.raises(ExactError, match="Fading.* computes its step_scalars by .*exact = True"):
        trainer_of(mlp(), 1, Fading())
    trainer_of(mlp("ordinary"), 1, Fading())


# -- the number of workers ----------------------------------------------------------------------------------------


def test_fewer_workers_where_the_rows_can_not_be_shared(caplog):
    caplog.set_level(logging.INFO, "gpubp")
    trainer = trainer_of(mlp(), 4, batch_size=192)
    result(trainer, epochs=1)
    assert workers_of(trainer) == {3}
    assert "exact numerics: 3 workers of 4: 192 rows can't be shared by 4" in caplog.text


def test_a_layer_that_sums_over_rows_in_its_own_way_has_one_worker(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "gpubp")
    monkeypatch.setattr(bp.Tanh, "exact_workers", False)
    trainer = trainer_of(mlp(), 2)
    result(trainer, epochs=1)
    assert workers_of(trainer) == {1}
    assert '1 worker of 2: Tanh() at "1" sums over the rows' in caplog.text


# -- resumed runs ---------------------------------------------------------------------------------------------------


class Interrupt(bp.Callback):
    looks_at_steps = True

    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step_count == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("workers", "then"), [(1, 2), (2, 1)])
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2, "on_nonfinite": "rollback", "l2": 1e-3}])
def test_a_resumed_run_has_the_bits_of_one_that_never_stopped(tmp_path, workers, then, settings):
    def fit(trainer, *more):
        callbacks = [bp.EarlyStopping(patience=1), bp.ExponentialMovingAverage(0.9), *more]
        return result(trainer, IMAGES, Y_IMAGES, epochs=4, validation_fraction=0.2, callbacks=callbacks)

    settings = {"batch_size": 128, **settings}
    whole = fit(trainer_of(cnn(), **settings))
    fit(trainer_of(cnn(), workers, **settings), Interrupt(4), bp.Checkpoint(tmp_path, every_steps=1))
    resumed = trainer_of(cnn(), then, **settings)
    resumed.resume(tmp_path)
    assert resumed.step_count == 3
    assert fit(resumed, bp.Checkpoint(tmp_path)) == whole


@pytest.mark.parametrize(("there", "here"), [("exact", "ordinary"), ("ordinary", "exact")])
def test_a_checkpoint_of_other_numerics_is_refused(tmp_path, there, here):
    trainer_of(mlp(there)).save(tmp_path / "a.safetensors")
    with pytest.raises(ModelFileError, match=f"the numerics: '{there}' there, '{here}' here"):
        trainer_of(mlp(here)).resume(tmp_path / "a.safetensors")


def test_early_stopping_stops_at_the_same_epoch_with_the_same_weights():
    def fit(workers):
        stopping = bp.EarlyStopping(patience=2)
        found = result(trainer_of(mlp(), workers), epochs=30, validation_fraction=0.2, callbacks=[stopping])
        return found, stopping.best, stopping.best_epoch

    alone = fit(1)
    assert alone == fit(2)
    assert 1 < alone[2] < 30
