"""Metrics of whole epochs in training: all rows once, in chains, with workers, after a resume, and own ones."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spoiled_step import SpoilsOnce
from test_resume import Keep

import gpubp as bp
from gpubp import model_file
from gpubp.backends.cpu import compiled
from gpubp.backends.cuda.backend import CUDA
from gpubp.data.checks import epoch_order
from gpubp.step import multistep
from gpubp.training import loop
from strict import StrictProducts, strict_cupy

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")

N = 91  # rows; the last batch of 8 is short
NAMES = ["precision", "accuracy", "recall", "f1", "roc_auc"]


def data(rows: int = N) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 6)).astype("float32"), rng.integers(0, 2, rows)


def trainer(device: Any = "cpu", rate: float = 0.01, **options: Any) -> bp.Trainer:
    layers = bp.Sequential(bp.Dense(9), bp.Tanh(), bp.Dense(1))
    net = bp.Network(layers, 6, device=device, seed=3)
    settings: dict[str, Any] = {"batch_size": 8, "metrics": NAMES} | options
    return bp.Trainer(net, bp.BinaryCrossEntropy(), bp.Adam(rate), **settings)


def expected(z: np.ndarray, y: np.ndarray, w: Any = None) -> dict[str, float]:
    """scikit-learn's numbers for outputs z."""
    yes = z[:, 0] > 0
    return {
        "precision": sk.precision_score(y, yes, sample_weight=w),
        "accuracy": sk.accuracy_score(y, yes, sample_weight=w),
        "recall": sk.recall_score(y, yes, sample_weight=w),
        "f1": sk.f1_score(y, yes, sample_weight=w),
        "roc_auc": sk.roc_auc_score(y, z[:, 0], sample_weight=w),
    }


def assert_reported(history: Any, wanted: dict[str, float], epoch: int = -1, start: str = "") -> None:
    for name, value in wanted.items():
        assert history[start + name][epoch] == pytest.approx(value, abs=1e-6), name


def bits(t: bp.Trainer) -> list[Any]:
    host = t.backend.to_host
    arrays = [t.network.flat, *(m.flat for m in t.update.moments.values())]
    return [*(host(a).tobytes() for a in arrays), {k: np.array(v).tobytes() for k, v in t.history.items()}]


# -- the rows of an epoch ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("guarded", [None, "skip", "raise", "rollback"])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_every_row_of_an_epoch_counts_once(workers: int, guarded: str | None, weighted: bool) -> None:
    (X, y), w = data(), None
    if weighted:
        w = np.linspace(0.0, 2.0, N)
    t = trainer(rate=0.0, workers=workers, on_nonfinite=guarded)
    history = t.fit(X, y, epochs=3, sample_weight=w, validation_data=(X[:50], y[:50]))
    z = np.asarray(t.network.predict(X))
    assert_reported(history, expected(z, y, w))
    assert_reported(history, expected(z[:50], y[:50]), start="val_")
    assert list(history)[:6] == ["loss", *NAMES]
    found = t.evaluate(X, y, w)
    assert_reported({name: [value] for name, value in found.items()}, expected(z, y, w))


def test_rows_left_out_or_repeated_by_the_order() -> None:
    """Epochs of different lengths; room for more is made when it is needed."""
    X, y = data()
    orders = [np.arange(20), np.arange(N), np.tile(np.arange(60), 4), np.arange(40)]
    seen: list[dict[str, float]] = []
    t = trainer(rate=0.0)
    note = bp.LambdaCallback(on_epoch_end=lambda trainer, logs: seen.append(dict(logs)))
    t.fit(X, y, epochs=4, shuffle=lambda epoch, n: orders[epoch], callbacks=[note])
    z = np.asarray(t.network.predict(X))
    for order, logs in zip(orders, seen, strict=True):
        assert_reported({k: [v] for k, v in logs.items()}, expected(z[order], y[order]))


def test_fits_and_evaluations_of_other_sizes_follow_each_other() -> None:
    t = trainer(rate=0.0)
    for rows in (20, N, 300, 9):
        X, y = data(rows)
        history = t.fit(X, y, validation_data=(X, y))
        wanted = expected(np.asarray(t.network.predict(X)), y)
        for start in ("", "val_"):
            assert_reported(history, wanted, start=start)
        t.step(X[:8], y[:8])
        assert_reported({k: [v] for k, v in t.evaluate(X, y).items()}, wanted)


@pytest.mark.parametrize("workers", [1, 2])
def test_training_is_bitwise_identical_with_and_without(workers: int) -> None:
    X, y = data()
    trained = []
    for metrics in ("accuracy", NAMES):
        t = trainer(metrics=metrics, workers=workers)
        t.fit(X, y, epochs=3)
        trained.append((t.network.flat.tobytes(), t.history["loss"], t.history["accuracy"]))
    assert trained[0] == trained[1]


def test_skipped_steps_do_not_count() -> None:
    X, y = data()
    X[13], y[13] = 3e38, 0  # so that its loss is infinite
    net = bp.Network(bp.Dense(1), 6, device="cpu", seed=3)
    net.parameters["W"][...] = 2.0
    t = bp.Trainer(net, bp.BinaryCrossEntropy(), bp.SGD(0.0), 8, 5, metrics=NAMES, on_nonfinite="skip")
    with pytest.warns(RuntimeWarning, match="1 step of epoch 1"), np.errstate(all="ignore"):
        history = t.fit(X, y)
    order = epoch_order(N, 5, 0)
    bad = int(np.flatnonzero(order == 13)[0]) // 8
    rows = np.concatenate([order[: 8 * bad], order[8 * (bad + 1) :]])
    wanted = expected(np.asarray(t.network.predict(X[rows])), y[rows])
    assert_reported(history, {name: wanted[name] for name in ("precision", "recall", "f1", "roc_auc")})


def test_a_rollback_takes_back_what_was_kept() -> None:
    X, y = data()
    t = trainer(rate=0.0, on_nonfinite="rollback")
    with pytest.warns(RuntimeWarning, match="back to step 0"):
        history = t.fit(X, y, callbacks=[SpoilsOnce()])
    assert_reported(history, expected(np.asarray(t.network.predict(X)), y))


@pytest.mark.parametrize(
    "options",
    [{}, {"workers": 2}, {"on_nonfinite": "skip"}, {"batch_size": 1}, {"batch_size": None}],
    ids=str,
)
def test_resuming_at_any_step_is_bitwise_identical(options: dict[str, Any], tmp_path: Path) -> None:
    X, y = data(22)
    whole, watched = trainer(**options), trainer(**options)
    whole.fit(X, y, epochs=3, validation_data=(X, y))
    every = Keep(tmp_path / "all")
    watched.fit(X, y, epochs=3, validation_data=(X, y), callbacks=[every])
    assert bits(whole) == bits(watched) and len(every.paths) > 3
    for path in every.paths:
        again = trainer(**options)
        again.resume(path)
        again.fit(X, y, epochs=3, validation_data=(X, y))
        assert bits(again) == bits(whole), path.name


# -- records, chains, graphs ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not compiled.installed(), reason="Numba is not installed: pip install 'gpubp[fast]'")
@pytest.mark.usefixtures("compiled_at_once")
def test_compiled_records_report_the_same() -> None:
    """No steps are chained on a CPU, where Python writes the rows."""
    X, y = data(400)
    t = trainer(rate=0.0)
    history = t.fit(X, y, epochs=3)
    z = np.asarray(t.network.predict(X))
    for epoch in range(3):
        assert_reported(history, expected(z, y), epoch)
    assert t.record.program is not None and not t.record.can_repeat


def on_strict_cuda() -> CUDA:
    return CUDA(strict_cupy(), products=StrictProducts)


def test_chains_on_a_gpu_keep_the_rows_of_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data()
    monkeypatch.setattr(multistep, "SECONDS_AHEAD", 10.0)
    seen, run = [], multistep.QueuedChain.run
    monkeypatch.setattr(multistep.QueuedChain, "run", lambda *given: seen.append(run(*given)) or seen[-1])
    chained = trainer(on_strict_cuda())
    chained.fit(X, y, epochs=3, validation_data=(X, y))
    assert max(map(len, seen)) == 11
    monkeypatch.setattr(loop, "chain_of", lambda *args: None)
    single = trainer(on_strict_cuda())
    single.fit(X, y, epochs=3, validation_data=(X, y))
    assert bits(chained) == bits(single)
    on_cpu = trainer(workers=1)
    on_cpu.fit(X, y, epochs=3, validation_data=(X, y))
    for name in on_cpu.history:
        np.testing.assert_allclose(single.history[name], on_cpu.history[name], atol=1e-5)


@pytest.mark.parametrize("guarded", [None, "skip"])
def test_a_resumed_training_run_on_a_gpu(guarded: str | None, tmp_path: Path) -> None:
    X, y = data(40)
    whole = trainer(on_strict_cuda(), on_nonfinite=guarded)
    whole.fit(X, y, epochs=2, callbacks=[bp.Checkpoint(tmp_path, every_steps=3, keep=99)])
    again = trainer(on_strict_cuda(), on_nonfinite=guarded)
    again.resume(sorted(tmp_path.glob("step-*"))[1])
    again.fit(X, y, epochs=2)
    assert bits(again) == bits(whole)


def test_a_checkpoint_of_other_kept_rows_is_refused(tmp_path: Path) -> None:
    X, y = data(40)

    def save(t: bp.Trainer) -> None:
        if t.step_in_epoch == 2:
            t.save(tmp_path / "a.safetensors")

    trainer().fit(X, y, callbacks=[bp.LambdaCallback(on_step_end=save)])
    config, arrays = model_file.read(tmp_path / "a.safetensors")

    for damaged in (
        {"training/kept/weights": arrays["training/kept/weights"][:, :1]},
        {"training/kept/0/outputs": arrays["training/kept/0/outputs"].astype("int32")},
    ):
        path = tmp_path / "damaged.safetensors"
        model_file.write(path, config, arrays | damaged)
        again = trainer()
        again.resume(path)
        with pytest.raises(bp.ModelFileError, match="kept"):
            again.fit(X, y)


# -- positions that are left out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 4])
def test_positions_that_the_loss_leaves_out_do_not_count(classes: int, rng: np.random.Generator) -> None:
    z, y = np.round(rng.normal(size=(30, 5, classes)) * 2) / 2, rng.integers(0, classes, (30, 5))
    y[rng.uniform(size=y.shape) < 0.4] = -100
    w = np.round(rng.uniform(0.5, 2, 30) * 4) / 4
    net = bp.Network(bp.Dense(classes, use_bias=False), (5, classes), device="cpu")
    net.parameters["W"][...] = np.eye(classes)
    t = bp.Trainer(net, bp.SoftmaxCrossEntropy(ignore_index=-100), bp.SGD(0.0), metrics=["f1", "roc_auc"], batch_size=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = t.fit(z, y, sample_weight=w)
    counts, weights = y >= 0, np.repeat(w[:, None], 5, axis=1)
    truth, of, s = y[counts], weights[counts], z[counts]
    average = "binary" if classes == 2 else "macro"
    assert history["f1"][0] == pytest.approx(
        sk.f1_score(truth, s.argmax(axis=1), average=average, sample_weight=of), abs=1e-6
    )
    p = np.exp(s - s.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    areas = [sk.roc_auc_score(truth == k, p[:, k], sample_weight=of) for k in range(classes)]
    if classes == 2:
        areas = [sk.roc_auc_score(truth, s[:, 1] - s[:, 0], sample_weight=of)]
    assert history["roc_auc"][0] == pytest.approx(np.mean(areas), abs=1e-6)
