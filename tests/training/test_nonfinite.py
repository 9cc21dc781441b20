"""Steps whose loss or gradient is not finite are found, and raised, skipped or rolled back."""

from __future__ import annotations

import copy
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_resume import X as GOOD
from test_resume import Y, bits

import gpubp as bp
from gpubp.backends.cuda.backend import CUDA
from gpubp.training import nonfinite, snapshot
from strict import StrictProducts, strict_cupy

BAD = 13  # a row whose numbers overflow


class Square(bp.Activation):
    """y = x², which is beyond float32 for 1e38."""

    def f(self, x: Any) -> Any:
        return x * x

    def df(self, x: Any, y: Any, dy: Any) -> Any:
        return dy * (2 * x)


def spoilt(size: float = 1e38) -> np.ndarray:
    X = GOOD.copy()
    X[BAD] = size
    return X


def trainer(choice: str | None, workers: int = 1, **settings: Any) -> bp.Trainer:
    block = bp.Sequential(bp.Dense(6), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.2))
    net = bp.Network(bp.Sequential(Square(), bp.Dense(6), block, bp.Dense(3)), 5, device="cpu", seed=3)
    options = {"batch_size": 8, "seed": 5, "workers": workers, "metrics": "accuracy"} | settings
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), on_nonfinite=choice, **options)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("choice", nonfinite.CHOICES)
@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.5, "l2": 1e-3}], ids=str)
def test_checked_training_is_bitwise_identical(choice: str, workers: int, settings: dict[str, Any]) -> None:
    checked, plain = trainer(choice, workers, **settings), trainer(None, workers, **settings)
    for t in (checked, plain):
        t.fit(GOOD, Y, epochs=4)
    assert bits(checked) == bits(plain)


def bad_step(t: bp.Trainer, epoch: int = 0) -> int:
    """The step of an epoch that has the bad row."""
    from gpubp.data.checks import epoch_order

    return int(np.flatnonzero(epoch_order(len(GOOD), t.seed, epoch) == BAD)[0]) // 8


@pytest.mark.parametrize("workers", [1, 2])
def test_skipped_steps_change_nothing(workers: int) -> None:
    """As if the parameters, moments and running statistics had been put back by hand after each such step."""
    skipping, by_hand = trainer("skip", workers), trainer(None, workers)
    with pytest.warns(RuntimeWarning, match=r"1 step of epoch \d had a loss or a gradient that is not finite"):
        history = skipping.fit(spoilt(), Y, epochs=3)
    kept: list[Any] = []

    class PutBack(bp.Callback):
        def on_train_begin(self, trainer: bp.Trainer) -> None:
            self.keep(trainer)

        def keep(self, t: bp.Trainer) -> None:
            kept[:] = [a.copy() for a in self.arrays(t)]

        def arrays(self, t: bp.Trainer) -> list[Any]:
            return [t.network.flat, t.network.states.flat, *(m.flat for m in t.update.moments.values())]

        def on_step_end(self, trainer: bp.Trainer) -> None:
            if all(np.isfinite(a).all() for a in self.arrays(trainer)):
                self.keep(trainer)
            else:
                for a, before in zip(self.arrays(trainer), kept, strict=True):
                    a[...] = before

    by_hand.fit(spoilt(), Y, epochs=3, callbacks=[PutBack()])
    assert bits(skipping)[:5] == bits(by_hand)[:5]
    assert np.isfinite(history["loss"]).all() and np.isfinite(history["accuracy"]).all()
    assert not np.isfinite(by_hand.history["loss"]).any()


FEW = np.random.default_rng(2).normal(size=(22, 3))


def skipping(device: Any = "cpu", **settings: Any) -> bp.Trainer:
    net = bp.Network(bp.Sequential(Square(), bp.Dense(3)), 3, device=device, seed=3)
    options = {"batch_size": 4, "metrics": ["accuracy", "f1"], "on_nonfinite": "skip"} | settings
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(0.0), **options)


@pytest.mark.filterwarnings("ignore:.* not finite, and changed nothing:RuntimeWarning")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("settings", [{}, {"workers": 2}, {"accumulate": 2}, {"l2": 0.1}], ids=str)
@pytest.mark.parametrize("bad", [[21], [0, 21], [5, 6], [9, 21], list(range(22))], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_an_epoch_reports_the_means_of_the_steps_that_were_not_skipped(
    device: str, settings: dict[str, Any], bad: list[int], weighted: bool
) -> None:
    """Also where these have other weights than the skipped ones."""
    t = skipping(CUDA(strict_cupy(), products=StrictProducts) if device == "cuda" else "cpu", **settings)
    X, w, rows = FEW.copy(), np.linspace(0.1, 3.0, 22) if weighted else np.ones(22), t.rows_of_step(22)
    X[bad] = 1e38
    good = ~np.isin(np.arange(22) // rows, np.array(bad) // rows)
    history = t.fit(X, Y, epochs=2, shuffle=False, sample_weight=w, verbose=False)
    if not good.any():
        assert all(np.isnan(column).all() for column in history.values())
        return
    wanted = t.evaluate(X[good], Y[good], w[good])
    for name, column in history.items():
        assert column == [pytest.approx(wanted[name], rel=1e-5)] * 2, name


@pytest.mark.filterwarnings("ignore:.* not finite, and changed nothing:RuntimeWarning")
@pytest.mark.parametrize("workers", [1, 2])
def test_skipped_steps_are_the_same_after_a_resume(workers: int, tmp_path: Path) -> None:
    class Keep(bp.Callback):
        every_step = looks_at_steps = True
        paths: list[Path] = []

        def on_step_end(self, trainer: bp.Trainer) -> None:
            self.paths.append(tmp_path / f"{len(self.paths)}.safetensors")
            trainer.save(self.paths[-1])

    X = FEW.copy()
    X[[5, 21]] = 1e38
    given = {"epochs": 2, "sample_weight": np.linspace(0.1, 3.0, 22), "verbose": False}
    whole, watched, keep = skipping(workers=workers), skipping(workers=workers), Keep()
    whole.fit(X, Y, **given)
    watched.fit(X, Y, callbacks=[keep], **given)
    assert bits(watched) == bits(whole) and len(keep.paths) == 12
    for path in keep.paths:
        again = skipping(workers=workers)
        again.resume(path)
        again.fit(X, Y, **given)
        assert bits(again) == bits(whole), path.name


@pytest.mark.parametrize("workers", [1, 2])
def test_raising_names_step_layer_and_cause(workers: int) -> None:
    t, plain = trainer("raise", workers), trainer(None, workers)
    k = bad_step(t)
    with pytest.raises(bp.NonFiniteError, match="The inputs reach 1e[+]38: scale X") as raised:
        t.fit(spoilt(), Y, epochs=2)
    assert raised.value.step == k + 1 and t.step_count == k == t.step_in_epoch
    assert f"step {k + 1}: " in str(raised.value) and raised.value.layer == "0" and "Square()" in str(raised.value)

    class Stop(bp.Callback):
        def on_step_end(self, trainer: bp.Trainer) -> None:
            if trainer.step_count == k:
                raise KeyboardInterrupt

    if k:
        plain.fit(spoilt(), Y, epochs=2, callbacks=[Stop()])
    assert bits(t)[:5] == bits(plain)[:5]


class Log(bp.Activation):
    """y = log(x - c), which has no value at c and below."""

    def f(self, x: Any) -> Any:
        from gpubp.formula import log

        return log(x + 0.5)

    def df(self, x: Any, y: Any, dy: Any) -> Any:
        return dy / (x + 0.5)


@pytest.mark.parametrize(
    ("layers", "X", "rate", "layer", "words"),
    [
        ((bp.Dense(4), Log(), bp.Dense(3)), GOOD, 0.01, "1", "a formula has no value there"),
        ((bp.Dense(4), bp.ReLU(), bp.Dense(3)), GOOD, 1e30, "2", "training has diverged; try a lower learning rate"),
    ],
)
def test_the_layer_and_its_likely_cause(layers: Any, X: Any, rate: float, layer: str, words: str) -> None:
    net = bp.Network(bp.Sequential(*layers), 5, device="cpu", seed=3)
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(rate), batch_size=8, on_nonfinite="raise")
    with pytest.raises(bp.NonFiniteError, match=words) as raised:
        t.fit(X, Y, epochs=50)
    assert raised.value.layer == layer, raised.value
    assert np.isfinite(net.flat).all()


def test_a_gradient_that_overflows_with_a_finite_loss(rng: np.random.Generator) -> None:
    """The loss is finite, and the gradient overflows."""

    class Steep(bp.Activation):
        def f(self, x: Any) -> Any:
            return x * 1.0

        def df(self, x: Any, y: Any, dy: Any) -> Any:
            return dy * 1e30 * 1e30

    net = bp.Network(bp.Sequential(bp.Dense(4), Steep(), bp.Dense(3)), 5, device="cpu")
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(), batch_size=8, on_nonfinite="raise")
    with pytest.raises(bp.NonFiniteError, match=r"step 1: the gradient that layer \"1\", Steep\(\), hands down"):
        t.fit(GOOD, Y)


@pytest.mark.parametrize("workers", [1, 2])
def test_rollback_halves_the_learning_rate_until_numbers_are_finite(workers: int) -> None:
    """A rate that is far too high; the end is that of a training that was given the lower one."""

    def make(choice: str | None, rate: float) -> bp.Trainer:
        net = bp.Network(bp.Sequential(bp.Dense(8), bp.Dense(8), bp.Dense(1)), 5, device="cpu")
        options: dict[str, Any] = {"batch_size": 2, "workers": workers}
        return bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(rate, momentum=0.9), on_nonfinite=choice, **options)

    X, y = np.tile(GOOD, (20, 1)), np.tile(GOOD[:, 0], 20)
    t = make("rollback", 8.0)
    with pytest.warns(RuntimeWarning, match=r"step \d+ had .* not finite: back to step 0, with half") as told:
        history = t.fit(X, y, epochs=2)
    assert history.epochs == 2 and np.isfinite(t.network.flat).all() and np.isfinite(history["loss"]).all()
    assert t.learning_rate == 8.0 * 0.5 ** len(told) and t.step_count == 440
    plain = make(None, t.learning_rate)
    plain.fit(X, y, epochs=2)
    assert plain.network.flat.tobytes() == t.network.flat.tobytes() and plain.history == t.history


def test_rollback_raises_if_no_learning_rate_helps() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(bp.NonFiniteError):
            trainer("rollback").fit(spoilt(), Y)


def test_single_steps_are_checked() -> None:
    t = trainer("raise")
    t.step(GOOD[:8], Y[:8])
    before = bits(t)[:5]
    with pytest.raises(bp.NonFiniteError, match="step 2: "):
        t.step(spoilt()[8:16], Y[8:16])
    assert bits(t)[:5] == before
    t.step(GOOD[:8], Y[:8])
    assert t.step_count == 2


def test_no_checkpoint_is_written_after_a_bad_step(tmp_path: Path) -> None:
    """The bad steps of an epoch are noticed before anything is written after them."""
    X = GOOD.copy()

    class Spoil(bp.Callback):
        def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
            if trainer.epoch == 2:
                trainer.network.parameters["3.W"][...] = 1e38

    t = trainer("raise")
    with pytest.raises(bp.NonFiniteError):
        t.fit(X, Y, epochs=5, callbacks=[bp.Checkpoint(tmp_path, every_steps=1, keep=50), Spoil()])
    t.backend.synchronize()
    for path in snapshot.checkpoints_in(tmp_path):
        again = bp.Trainer.load(path, device="cpu")
        assert np.isfinite(again.network.flat).all()
    assert snapshot.checkpoints_in(tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_good_can_be_saved_after_the_error(tmp_path: Path, workers: int) -> None:
    """By a callback at the end of training, and by the caller; the error is the first one."""
    t, files = trainer("raise", workers), [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]

    class Save(bp.Callback):
        def on_train_end(self, trainer: bp.Trainer) -> None:
            trainer.save(files[0])

    with np.errstate(all="ignore"), pytest.raises(bp.NonFiniteError) as raised:
        t.fit(spoilt(), Y, epochs=2, callbacks=[Save()])
    assert raised.value.layer == "0" and t.step_count == raised.value.step - 1
    t.save(files[1])
    for file in files:
        again = bp.Trainer.load(file, device="cpu")
        assert np.array_equal(again.network.flat, t.network.flat) and again.step_count == t.step_count


def test_an_unknown_choice_is_an_error() -> None:
    with pytest.raises(ValueError, match='on_nonfinite is "raise", "skip", "rollback" or None, and got \'stop\''):
        trainer("stop")


@pytest.mark.parametrize("choice", nonfinite.CHOICES)
def test_a_fit_that_ended_by_a_wrong_word_is_saved_as_it_ended(choice: str, tmp_path: Path) -> None:
    """The guard has counted the step that raised."""
    rng = np.random.default_rng(0)
    words, y = rng.integers(0, 10, (33, 2)).astype(float), rng.integers(0, 3, 33)
    wrong = words.copy()
    wrong[30, 0] = 2.5
    layers = bp.Sequential(bp.ReLU(), bp.Embedding(10, 3), bp.Flatten(), bp.Dense(3))

    def trained(choice: str | None) -> bp.Trainer:
        net = bp.Network(layers, 2, device="cpu", seed=1)
        t = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.05), batch_size=3, on_nonfinite=choice)
        t.fit(words, y)
        with pytest.raises(bp.DataError, match="got 2.5"):
            t.fit(wrong, y, shuffle=False)
        return t

    t, plain = trained(choice), trained(None)
    t.save(tmp_path / "a.safetensors")
    assert bits(copy.deepcopy(t)) == bits(t) == bits(plain) and t.step_count == 22 and t.learning_rate == 0.05
    for one in (t, plain):
        with pytest.raises(bp.DataError, match="got 2.5"):
            one.step(wrong[30:], y[30:])
    t.save(tmp_path / "a.safetensors")
    assert bits(t) == bits(plain) and t.step_count == 23
    t.fit(words, y)
    plain.fit(words, y)
    assert bits(t) == bits(plain)


@pytest.mark.parametrize("problem", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("choice", nonfinite.CHOICES)
def test_a_fit_that_a_callback_ends_after_a_bad_step_says_so(
    choice: str, problem: type[BaseException], tmp_path: Path
) -> None:
    t, k = trainer(choice, batch_size=4), BAD // 4

    class Stop(bp.Callback):
        def on_step_end(self, trainer: bp.Trainer) -> None:
            if trainer.step_in_epoch == k + 2:
                raise problem

    with (
        nullcontext() if problem is KeyboardInterrupt else pytest.raises(problem),
        pytest.warns(RuntimeWarning, match="1 step of epoch 1 had" if choice == "skip" else f"step {k + 1} had"),
    ):
        t.fit(spoilt(), Y, shuffle=False, callbacks=[Stop()])
    assert t.step_count == (k + 2 if choice == "skip" else k)
    before = bits(t)
    t.save(tmp_path / "a.safetensors")
    assert bits(t) == before
