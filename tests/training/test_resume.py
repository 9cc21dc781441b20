"""A training run that is resumed is bitwise identical to one that was never interrupted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp import model_file
from gpubp.backends import CPU
from gpubp.training import snapshot

N = 22  # rows: the last batch of an epoch is short
X = np.random.default_rng(0).normal(size=(N, 5))
Y = np.random.default_rng(1).integers(0, 3, N)
XV, YV = X[::3] + 0.5, Y[::3]


def layers() -> bp.Layer:
    block = bp.Residual(bp.Sequential(bp.Dense(6), bp.LayerNorm(), bp.Tanh()))
    return bp.Sequential(bp.Dense(6), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.3), block, bp.Dense(3))


def trainer(optimizer: bp.Optimizer | None = None, dtype: str = "float32", **settings: Any) -> bp.Trainer:
    net = bp.Network(layers(), 5, device="cpu", dtype=dtype, seed=3)
    made = optimizer or bp.AdamW(bp.OneCycle(0.05, steps=20))
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(0.1), made, **({"batch_size": 8, "seed": 5} | settings))


def stopping() -> list[bp.Callback]:
    """Both act within a few epochs."""
    return [bp.ReduceOnPlateau(factor=0.5, patience=1), bp.EarlyStopping(patience=3)]


def averaging() -> list[bp.Callback]:
    return [bp.EarlyStopping(patience=3), bp.ExponentialMovingAverage(0.7, start_step=2)]


class Case:
    """What a training is given."""

    def __init__(self, name: str, make: Callable[[], bp.Trainer], callbacks: Any = list, **fit: Any) -> None:
        self.name, self.make, self.callbacks = name, make, callbacks
        self.fit = {"epochs": 4} | fit

    def __str__(self) -> str:
        return self.name


def frozen() -> bp.Trainer:
    t = trainer(learning_rate_factors={"4.*": 0.5})
    t.network.freeze("0.W")
    return t


def augmented() -> bp.Trainer:
    moved = [bp.RandomFlip(), bp.RandomTranslation(0.3, 0.3), bp.RandomRotation(0.1), bp.RandomZoom(0.2), bp.Flatten()]
    net = bp.Network(bp.Sequential(bp.Reshape((5, 1, 1)), *moved, layers()), 5, device="cpu", seed=3)
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=8, seed=5)


VALIDATED = {"validation_data": (XV, YV)}
CASES = [
    Case("adamw", trainer, **VALIDATED),
    Case("sgd", lambda: trainer(bp.SGD(0.1, momentum=0.9, nesterov=True), metrics="accuracy")),
    Case("plain sgd", lambda: trainer(bp.SGD(0.1))),
    Case("rmsprop", lambda: trainer(bp.RMSprop(0.01), clip_norm=0.5, l1=1e-3, l2=1e-2)),
    Case("adagrad", lambda: trainer(bp.Adagrad(bp.Warmup(0.1, steps=5)), clip_value=0.1)),
    Case("nadam", lambda: trainer(bp.NAdam(bp.CyclicRate(0.01, 0.1, 3), weight_decay=0.1, decayed="*", maximize=True))),
    Case("started", lambda: trainer(bp.Adagrad(0.1, initial_accumulator_value=0.1), l2=1e-2, penalized=("*", "!0.*"))),
    Case("damped", lambda: trainer(bp.SGD(0.1, momentum=0.9, dampening=0.5))),
    Case("float64", lambda: trainer(dtype="float64")),
    Case("weights", trainer, sample_weight=np.linspace(0.5, 2, N), class_weight="balanced"),
    Case("in order", trainer, shuffle=False),
    Case("all rows", lambda: trainer(batch_size=None)),
    Case("one row", lambda: trainer(batch_size=1), epochs=2),
    Case("held out", trainer, validation_fraction=0.3),
    Case("frozen", frozen),
    Case("amsgrad", lambda: trainer(bp.AdamW(0.05, amsgrad=True), weight_decay_factors={"*.b": 1.0, "0.*": 0.5})),
    Case("accumulated", lambda: trainer(batch_size=3, accumulate=3, metrics="accuracy"), **VALIDATED),
    Case("augmented", augmented),
    Case("two workers", lambda: trainer(workers=2, metrics="accuracy", l2=1e-3)),
    Case("gradient flow", trainer, lambda: [bp.GradientFlow()]),
    Case("averages", lambda: trainer(bp.Adam(0.3), on_nonfinite="skip"), averaging, epochs=12, **VALIDATED),
    Case("stopping", lambda: trainer(bp.Adam(0.3)), stopping, epochs=30, **VALIDATED),
]


def bits(t: bp.Trainer) -> list[Any]:
    """Everything that must be equal."""
    arrays = [t.network.flat, t.network.states.flat, *(m.flat for m in t.update.moments.values())]
    history = {name: np.array(column).tobytes() for name, column in t.history.items()}
    return [*(a.tobytes() for a in arrays), t.step_count, t.epoch, t.learning_rate, t.stop, history]


@pytest.mark.filterwarnings("ignore:BatchNorm.* a batch has one row:RuntimeWarning")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_resuming_at_any_step_is_bitwise_identical(case: Case, tmp_path: Path) -> None:
    whole = case.make()
    whole.fit(X, Y, callbacks=case.callbacks(), **case.fit)
    watched = case.make()
    every = Keep(tmp_path / "all")
    watched.fit(X, Y, callbacks=[*case.callbacks(), every], **case.fit)
    assert bits(watched) == bits(whole)
    assert len(every.paths) >= 8
    for path in every.paths:
        again = case.make()
        again.resume(path)
        again.fit(X, Y, callbacks=case.callbacks(), **case.fit)
        assert bits(again) == bits(whole), path.name


@pytest.mark.parametrize("samples", [None, 3])
def test_gradient_flow_is_resumed(tmp_path: Path, samples: int | None) -> None:
    def flow(t: bp.Trainer, *others: bp.Callback) -> list[Any]:
        seen = bp.GradientFlow(samples)
        t.fit(X, Y, epochs=3, callbacks=[seen, *others])
        return [seen.layers, seen.gradients, seen.updates, seen.weights, seen.outputs, seen.report()]

    every = Keep(tmp_path / "all")
    whole = flow(trainer(), every)
    assert len(whole[1]) == 3
    for path in every.paths:
        again = trainer()
        again.resume(path)
        assert flow(again) == whole, path.name
    other = bp.GradientFlow()
    with pytest.raises(ValueError, match="another network"):
        other.load_state_dict(other.state_dict() | {"layers": ["9"]})


class Keep(bp.Callback):
    """Writes every step and every epoch, and keeps all."""

    looks_at_steps, comes_last = True, True

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.paths = folder, []

    def on_step_end(self, trainer: bp.Trainer) -> None:
        self.paths.append(self.folder / f"{len(self.paths)}.safetensors")
        trainer.save(self.paths[-1])

    def on_epoch_end(self, trainer: bp.Trainer, logs: dict[str, float]) -> None:
        self.on_step_end(trainer)


def test_stopping_early_is_part_of_the_cases() -> None:
    case = CASES[-1]
    t = case.make()
    t.fit(X, Y, callbacks=case.callbacks(), **case.fit)
    assert t.stop and 5 < t.epoch < 30 and t.update.factor < 1


def test_load_makes_the_trainer_of_a_checkpoint(tmp_path: Path) -> None:
    """By `Trainer.load`, with everything it was made with; it goes on where the first one ends."""
    t = trainer(metrics=["accuracy", bp.Accuracy()][:1], clip_norm=1.0, learning_rate_factors={"0.*": 0.1})
    t.fit(X, Y, epochs=2)
    t.save(tmp_path / "a.safetensors")
    again = bp.Trainer.load(tmp_path / "a.safetensors", device="cpu")
    assert again.settings == t.settings and again.optimizer == t.optimizer and again.epoch == 2
    assert bits(again)[:-3] == bits(t)[:-3]
    for one in (t, again):
        one.fit(X, Y, epochs=2)
    assert bits(again) == bits(t)


def test_a_checkpoint_is_a_model_file(tmp_path: Path) -> None:
    t = trainer()
    t.fit(X, Y, epochs=1, callbacks=[bp.Checkpoint(tmp_path)])
    for name in ("step-000000003", "best"):
        net = bp.load(tmp_path / f"{name}.safetensors", device="cpu")
        assert net.predict(X).tobytes() == t.network.predict(X).tobytes()
    report = bp.Network(layers(), 5, device="cpu").load_weights(tmp_path / "best.safetensors")
    assert not report.unused and not report.missing


def test_resuming_a_finished_training(tmp_path: Path) -> None:
    """Early stopping puts the best epoch's parameters back, then as before; more epochs go on from the last."""
    fit: dict[str, Any] = {"epochs": 3, "validation_data": (XV, YV)}
    first = trainer(bp.Adam(0.3))
    first.fit(X, Y, callbacks=[bp.EarlyStopping(patience=9), bp.Checkpoint(tmp_path)], **fit)
    again = trainer(bp.Adam(0.3))
    again.resume(tmp_path)
    again.fit(X, Y, callbacks=[bp.EarlyStopping(patience=9)], **fit)
    assert bits(again)[:-3] == bits(first)[:-3] and again.history == first.history
    longer, whole = trainer(bp.Adam(0.3)), trainer(bp.Adam(0.3))
    longer.resume(tmp_path)
    for t in (longer, whole):
        t.fit(X, Y, callbacks=[bp.EarlyStopping(patience=9)], **fit | {"epochs": 7})
    assert bits(longer) == bits(whole)


def test_missing_ok_begins_anew(tmp_path: Path) -> None:
    t = trainer()
    assert t.resume(tmp_path / "new", missing_ok=True) is None
    with pytest.raises(bp.ModelFileError, match="there is no file"):
        t.resume(tmp_path / "new")
    with pytest.raises(bp.ModelFileError, match="there is no checkpoint in"):
        t.resume(tmp_path)
    t.fit(X, Y, callbacks=[bp.Checkpoint(tmp_path / "new")])
    path = trainer().resume(tmp_path / "new", missing_ok=True)
    assert path is not None and path.name == "step-000000003.safetensors"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: trainer(bp.Adam(0.2)), r"the optimizer: AdamW\(.*\) there, Adam\(0.2\) here"),
        (lambda: trainer(batch_size=4), "batch_size: 8 there, 4 here"),
        (lambda: trainer(seed=6, clip_norm=1.0), r"seed: 5 there, 6 here\n  clip_norm: None there, 1.0 here"),
        (lambda: trainer(dtype="float64"), "the dtype: 'float32' there, 'float64' here"),
        (
            lambda: bp.Trainer(bp.Network(bp.Dense(3), 5, device="cpu"), bp.SoftmaxCrossEntropy(), bp.SGD()),
            r"the layers: Sequential\(.*\) there, Dense\(3\) here",
        ),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(make: Any, words: str, tmp_path: Path) -> None:
    trainer().fit(X, Y, callbacks=[bp.Checkpoint(tmp_path)])
    other = make()
    before = bits(other)[:3]
    with pytest.raises(bp.ModelFileError, match=words):
        other.resume(tmp_path)
    assert bits(other)[:3] == before


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"X": X + 1}, "trained with other data: X differs. Give fit the same"),
        ({"y": 2 - Y}, "y differs"),
        ({"sample_weight": np.ones(N)}, "weights differs"),
        ({"validation_data": (XV, YV)}, "Xv, yv differ"),
        ({"shuffle": False}, "trained with shuffle=True"),
        ({"callbacks": [bp.EarlyStopping()]}, "with the callbacks none, and fit was given EarlyStopping"),
    ],
)
def test_other_data_are_refused(changed: dict[str, Any], words: str, tmp_path: Path) -> None:
    trainer().fit(X, Y, epochs=2, callbacks=[bp.Checkpoint(tmp_path)])
    t = trainer()
    t.resume(tmp_path)
    with pytest.raises(bp.GpubpError, match=words):
        t.fit(**({"X": X, "y": Y, "epochs": 3} | changed))
    t.resume(tmp_path)
    assert t.fit(X, Y, epochs=3).epochs == 3


def test_the_state_of_an_own_callback_is_restored(tmp_path: Path) -> None:
    class Counts(bp.Callback):
        def __init__(self) -> None:
            self.count, self.last = 0, np.zeros(2)

        def on_step_end(self, trainer: bp.Trainer) -> None:
            self.count += 1
            self.last = np.array([trainer.loss, np.nan])

        def state_dict(self) -> dict[str, Any]:
            return {"count": self.count, "last": self.last, "more": [np.float64("inf"), {"a": "b"}]}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            assert state["more"] == [np.inf, {"a": "b"}]
            self.count, self.last = state["count"], state["last"]

    first, keep = Counts(), Keep(tmp_path / "all")
    trainer().fit(X, Y, epochs=3, callbacks=[keep, first])
    for path in keep.paths:
        t, again = trainer(), Counts()
        t.resume(path)
        t.fit(X, Y, epochs=3, callbacks=[again])
        assert (again.count, again.last.tobytes()) == (9, first.last.tobytes())


def test_a_damaged_checkpoint_is_skipped(tmp_path: Path) -> None:
    whole = trainer()
    whole.fit(X, Y, epochs=3, callbacks=[bp.Checkpoint(tmp_path, every_steps=1, keep=20)])
    newest = snapshot.checkpoints_in(tmp_path)[0]
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1  # one bit of one number
    newest.write_bytes(content)
    with pytest.raises(bp.ModelFileError, match="does not have the checksum it was written with"):
        trainer().resume(newest)
    t = trainer()
    with pytest.warns(RuntimeWarning, match="checksum.*going on from the checkpoint before it"):
        path = t.resume(tmp_path)
    assert path != newest
    t.fit(X, Y, epochs=3)
    assert bits(t) == bits(whole)


def test_a_different_arithmetic_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kernel of BLAS rounds otherwise, and nobody could see it."""
    first = trainer()
    first.fit(X, Y, epochs=1)
    first.save(tmp_path / "a.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer().resume(tmp_path / "a.safetensors")
    here = CPU().arithmetic()
    monkeypatch.setattr(CPU, "arithmetic", lambda self: here | {"BLAS": "OpenBLAS 0.3.31, Nehalem kernels"})
    with pytest.warns(RuntimeWarning, match=r"rounded otherwise \(BLAS: .* there, OpenBLAS .*, Nehalem kernels here\)"):
        trainer().resume(tmp_path / "a.safetensors")
    monkeypatch.undo()
    monkeypatch.setattr("gpubp.training.arithmetic.blas_threads", lambda: 77)
    with pytest.warns(RuntimeWarning, match="threads of BLAS: .* there, 77 here"):
        bp.Trainer.load(tmp_path / "a.safetensors", device="cpu")


def test_checkpoints_without_arithmetic_are_read(tmp_path: Path) -> None:
    first = trainer()
    first.save(tmp_path / "a.safetensors")
    config, arrays = model_file.read(tmp_path / "a.safetensors")
    del config["training"]["arithmetic"]
    model_file.write(tmp_path / "b.safetensors", config, arrays)
    trainer().resume(tmp_path / "b.safetensors")


def test_checkpoints_of_before_an_option_are_read(tmp_path: Path) -> None:
    """What the file doesn't say of trainer, optimizer and layers is the default; another value is a difference."""
    first = trainer(bp.Adam(0.01))
    first.fit(X, Y, epochs=1)
    first.save(tmp_path / "a.safetensors")
    config, arrays = model_file.read(tmp_path / "a.safetensors")
    training = config["training"]
    training["settings"] = {"batch_size": 8, "seed": 5}
    del training["optimizer"]["amsgrad"], config["layers"]["layers"][1]["eps"]
    model_file.write(tmp_path / "b.safetensors", config, arrays)
    again = trainer(bp.Adam(0.01))
    again.resume(tmp_path / "b.safetensors")
    assert bits(again)[:-1] == bits(first)[:-1]
    assert bp.Trainer.load(tmp_path / "b.safetensors", device="cpu").settings == first.settings
    with pytest.raises(bp.ModelFileError, match="accumulate: 1 there, 2 here"):
        trainer(bp.Adam(0.01), accumulate=2).resume(tmp_path / "b.safetensors")
    with pytest.raises(bp.ModelFileError, match=r"Adam\(0.01\) there, Adam\(0.01, amsgrad=True\) here"):
        trainer(bp.Adam(0.01, amsgrad=True)).resume(tmp_path / "b.safetensors")


def test_a_model_file_is_refused(tmp_path: Path) -> None:
    trainer().network.save(tmp_path / "m.safetensors")
    for go in (trainer().resume, bp.Trainer.load):
        with pytest.raises(
            bp.ModelFileError, match="is a model, not the checkpoint of a training; gpubp.load reads it"
        ):
            go(tmp_path / "m.safetensors")


WRONG = [None, -1, 0.5, 1e400, "x", [], {}, [1, [2]], {"class": "ReLU"}, {"float": "x"}, True]


@pytest.mark.filterwarnings("ignore:.*rounded otherwise:RuntimeWarning")
def test_damaged_descriptions_are_refused_or_harmless(tmp_path: Path) -> None:
    """Entries of the description replaced by what doesn't belong there: an error of gpubp's, or a training."""
    import json

    from safetensors.numpy import save_file

    from test_model_file import changed

    fit: dict[str, Any] = {"epochs": 2, "validation_data": (XV, YV)}
    trainer().fit(X, Y, callbacks=[*stopping(), Keep(tmp_path / "all")], **fit)
    config, arrays = model_file.read(tmp_path / "all" / "4.safetensors")
    config["layers"] = {"class": "ReLU"}  # test_checkpoint.py has that part
    good = model_file.read(tmp_path / "all" / "4.safetensors")[0]["layers"]
    path, tried, refused = tmp_path / "x.safetensors", 0, 0
    for place, description in list(changed(config))[::5]:
        if place[0] == "layers":
            continue
        description["layers"] = good
        save_file(arrays, path, {"gpubp": "1", "config": json.dumps(description)})
        tried += 1
        for start in (started, lambda p: bp.Trainer.load(p, device="cpu")):
            try:
                start(path).fit(X, Y, callbacks=stopping(), **fit)
            except bp.GpubpError:
                refused += 1
    assert tried > 120 and refused > tried


def started(path: Path) -> bp.Trainer:
    t = trainer()
    t.resume(path)
    return t
