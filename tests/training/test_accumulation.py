"""Gradient accumulation: a step on several batches of rows equals the step on all of them at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import LAYERS, LOSSES, OPTIMIZERS
from gpubp.backends.cuda.backend import CUDA
from gpubp.step import multistep
from strict import StrictProducts, strict_cupy


def trained(
    batch_size: int, accumulate: int, layers: bp.Layer, loss: bp.Loss, optimizer: bp.Optimizer, X: Any, y: Any,
    fit: Any = None, **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """A fit, and all that came of it."""
    net = bp.Network(layers, X.shape[1:], device="cpu", dtype="float64", seed=3)
    settings: dict[str, Any] = {"seed": 5, "workers": 1} | options
    trainer = bp.Trainer(net, loss, optimizer, batch_size, accumulate=accumulate, **settings)
    history = trainer.fit(X, y, epochs=3, verbose=False, **(fit or {}))
    assert trainer.last_step is not None and trainer.last_step.batch.pieces == accumulate
    return {
        "parameters": net.flat,
        "moments": np.array([m.flat for m in trainer.update.moments.values()]),
        "history": np.array([history[name] for name in sorted(history)]),
        "loss": np.array(trainer.loss),
        "steps": np.array(trainer.step_count),
    }


def assert_alike(*args: Any, **options: Any) -> None:
    """Three batches of four rows, and one of twelve."""
    one, other = trained(12, 1, *args, **options), trained(4, 3, *args, **options)
    for name in one:
        np.testing.assert_allclose(other[name], one[name], rtol=1e-9, atol=1e-11, err_msg=name)


def by_rows(case: Any) -> bool:
    """Whether the layer takes each row by itself: BatchNorm takes a batch."""
    return not any(isinstance(layer, bp.BatchNorm) for _, layer in case.layer.walk())


@pytest.mark.parametrize("case", [case for case in LAYERS if by_rows(case)], ids=str)
def test_every_layer(case: Any, rng: np.random.Generator) -> None:
    """The masks of dropout and the changes of augmentation are those of the large batch; the last batch is short."""
    X, y = case.x(rng, rows=29), rng.normal(size=(29, 3))
    assert_alike(case.network_layers(), bp.MeanSquaredError(), bp.SGD(0.05), X, y)


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_every_loss(case: Any, rng: np.random.Generator) -> None:
    """With row weights, some of them 0: means are those of the large batch."""
    shape = (29, *case.shape[1:])
    X, y = rng.normal(size=(*shape[:-1], 4)), case.targets(rng, shape)
    fit = dict(sample_weight=rng.uniform(0.1, 2.0, 29) * (np.arange(29) % 5 > 0))
    assert_alike(case.layers(), case.loss, bp.SGD(0.05), X, y, fit=fit)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_every_optimizer(case: Any, rng: np.random.Generator) -> None:
    layers = bp.Sequential(bp.Dense(17), bp.Tanh(), bp.Dense(2))
    assert_alike(layers, bp.MeanSquaredError(), case.optimizer, rng.normal(size=(29, 4)), rng.normal(size=(29, 2)))


@pytest.mark.parametrize(
    "options",
    [
        dict(clip_norm=0.3),
        dict(clip_value=0.05),
        dict(l1=0.01, l2=0.1, clip_norm=0.5),
        dict(metrics=("accuracy",), fit=dict(validation_fraction=0.2, class_weight="balanced")),
        dict(l1=0.1, l2=0.1, penalty_per_weight=True),
        dict(learning_rate_factors={"0.*": 0.1}),
        dict(workers=2),
        dict(workers=2, on_nonfinite="raise", l2=0.1),
        dict(on_nonfinite="skip", metrics=("accuracy",)),
        dict(fit=dict(shuffle=False)),
        dict(metrics=("accuracy", bp.F1(), bp.Precision())),
        dict(metrics=("accuracy", bp.F1()), workers=2, on_nonfinite="skip"),
        dict(metrics=("accuracy", bp.F1()), workers=2, l2=0.1),
    ],
    ids=repr,
)
def test_every_option(options: Any, rng: np.random.Generator) -> None:
    layers = bp.Sequential(bp.Dense(17), bp.LayerNorm(), bp.ReLU(), bp.Dropout(0.2), bp.Dense(3))
    X, y = rng.normal(size=(31, 4)), rng.integers(0, 3, 31)
    assert_alike(layers, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), X, y, **options)


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"on_nonfinite": "raise", "l2": 0.1}], ids=str)
def test_losses_that_leave_out_positions(options: dict[str, Any], rng: np.random.Generator) -> None:
    """The mean is over all positions of the large batch that count, however many are in which piece."""
    X, y = rng.normal(size=(31, 4)), rng.integers(0, 3, 31)
    y[np.arange(31) % 5 < 2] = -100
    y[:9] = -100
    layers, loss = bp.Sequential(bp.Dense(9), bp.Tanh(), bp.Dense(3)), bp.SoftmaxCrossEntropy(ignore_index=-100)
    fit = dict(sample_weight=rng.uniform(0.5, 2.0, 31), shuffle=False)
    assert_alike(layers, loss, bp.Adam(0.01), X, y, fit=fit, metrics=("accuracy", bp.F1()), **options)


def test_frozen_layers(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(24, 4)), rng.normal(size=(24, 2))
    results = []
    for batch_size, accumulate in ((12, 1), (4, 3)):
        net = bp.Network(bp.Sequential(bp.Dense(5), bp.ReLU(), bp.Dense(2)), 4, device="cpu", dtype="float64")
        net.freeze("0.*")
        trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(), batch_size, accumulate=accumulate)
        trainer.fit(X, y, epochs=2)
        net.unfreeze("0.*")
        trainer.fit(X, y, epochs=2)
        results.append(net.flat)
    np.testing.assert_allclose(*results, rtol=1e-10)


def test_the_loss_of_a_step_is_that_of_all_its_rows(rng: np.random.Generator) -> None:
    net = bp.Network(bp.Dense(1, weight_initializer=bp.Zeros()), 2, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.0), 2, accumulate=3)
    y = np.arange(6.0)
    trainer.step(rng.normal(size=(6, 2)), y)
    assert trainer.loss == pytest.approx(np.mean(y**2)) and trainer.step_count == 1


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 9, 30])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_single_step_takes_any_number_of_rows(rows: int, weighted: bool, rng: np.random.Generator) -> None:
    """In pieces of at most batch_size rows."""
    X, y, w = rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2)), rng.uniform(0.5, 2.0, rows)
    results = []
    for options in (dict(batch_size=None), dict(batch_size=4, accumulate=2)):
        net = bp.Network(bp.Dense(2), 3, device="cpu", dtype="float64")
        trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(0.1), **options)  # type: ignore[arg-type]
        for _ in range(3):
            trainer.step(X, y, w if weighted else None)
        results.append(np.append(net.flat, trainer.loss))
    np.testing.assert_allclose(*results, rtol=1e-12)
    assert trainer.last_step is not None
    assert trainer.last_step.rows / trainer.last_step.batch.pieces <= 4


def test_few_rows_are_one_step_an_epoch(rng: np.random.Generator) -> None:
    """batch_size · accumulate is beyond the rows: their step has equal pieces, and little padding."""
    net = bp.Network(bp.Dense(1), 2, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), 4, accumulate=8)
    trainer.fit(rng.normal(size=(9, 2)), rng.normal(size=9), epochs=2)
    step = trainer.last_step
    assert step is not None and trainer.step_count == 2 and (step.rows, step.batch.pieces) == (9, 3)


def batch_norm(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    mean = w @ x / w.sum()
    return (x - mean) / np.sqrt(w @ (x - mean) ** 2 / w.sum() + 1e-5)


def test_batch_norm_takes_each_piece_by_itself(rng: np.random.Generator) -> None:
    """Statistics, gradients (by differences of the loss), and the running mean, which moves with each piece."""
    X, y, w = rng.normal(size=(6, 2)), rng.normal(size=(6, 1)), rng.uniform(0.5, 2.0, 6)
    net = bp.Network(bp.Sequential(bp.BatchNorm(momentum=0.9), bp.Dense(1)), 2, device="cpu", dtype="float64")
    start = {name: a.copy() for name, a in net.parameters.items()}
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(1.0), 3, accumulate=2)
    trainer.step(X, y, w)

    def loss(p: dict[str, np.ndarray]) -> float:
        h = np.concatenate([batch_norm(X[k : k + 3], w[k : k + 3]) for k in (0, 3)])
        z = (h * p["0.gamma"] + p["0.beta"]) @ p["1.W"] + p["1.b"]
        return float(w @ ((z - y) ** 2)[:, 0] / w.sum())

    assert trainer.loss == pytest.approx(loss(start), rel=1e-12)
    for name, a in start.items():
        for place in np.ndindex(a.shape):
            moved = []
            for way in (1e-6, -1e-6):
                p = start | {name: a.copy()}
                p[name][place] += way
                moved.append(loss(p))
            gradient = (moved[0] - moved[1]) / 2e-6
            assert a[place] - net.parameters[name][place] == pytest.approx(gradient, abs=1e-8)
    running = np.zeros(2)
    for k in (0, 3):
        running = 0.9 * running + 0.1 * (w[k : k + 3] @ X[k : k + 3] / w[k : k + 3].sum())
    np.testing.assert_allclose(net.states["0.mean"], running, rtol=1e-12)


@pytest.mark.parametrize("device", ["cpu", "strict"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("choice", [None, "skip"])
def test_pieces_without_weight_leave_running_statistics(
    device: Any, weighted: bool, choice: str | None, rng: np.random.Generator
) -> None:
    """Of a short last batch, and rows of weight 0: such a piece says nothing."""
    X, y = rng.normal(size=(14, 2)) + 5.0, rng.normal(size=(14, 1))
    w = np.ones(14)
    w[4:6] = 0.0 if weighted else 1.0
    be: Any = CUDA(strict_cupy(), products=StrictProducts) if device == "strict" else device
    net = bp.Network(bp.Sequential(bp.BatchNorm(momentum=0.9), bp.Dense(1)), 2, device=be)
    trainer = bp.Trainer(
        net, bp.MeanSquaredError(), bp.SGD(0.01), 2, accumulate=4, on_nonfinite=choice,
        workers=2 if device == "cpu" else None,
    )  # fmt: skip
    trainer.fit(X, y, epochs=3, shuffle=False, sample_weight=w)
    mean, var = np.zeros(2), np.ones(2)
    for _ in range(3):
        for k in range(0, 14, 2):
            if w[k] > 0:
                mean = 0.9 * mean + 0.1 * X[k : k + 2].mean(axis=0)
                var = 0.9 * var + 0.1 * X[k : k + 2].var(axis=0)
    np.testing.assert_allclose(net.backend.to_host(net.states["0.mean"]), mean, rtol=1e-5)
    np.testing.assert_allclose(net.backend.to_host(net.states["0.var"]), var, rtol=1e-5)


def test_batch_norm_below_other_layers_equals_pytorch(rng: np.random.Generator) -> None:
    """`loss.backward()` for each batch, then one step: the gradient reaches the layer below through both means."""
    torch = pytest.importorskip("torch", reason="PyTorch, a reference for gradients, is not installed")
    layers = bp.Sequential(bp.Dense(5), bp.BatchNorm(momentum=0.9), bp.Tanh(), bp.Dense(2))
    net = bp.Network(layers, 3, device="cpu", dtype="float64")
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5, momentum=0.1), torch.nn.Tanh(), torch.nn.Linear(5, 2)
    ).double()
    with torch.no_grad():
        for i in (0, 3):
            model[i].weight.copy_(torch.tensor(net.parameters[f"{i}.W"]).T)
            model[i].bias.copy_(torch.tensor(net.parameters[f"{i}.b"]))
    X, y = rng.normal(size=(24, 3)), rng.normal(size=(24, 2))
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1), 6, accumulate=4, workers=2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(5):
        trainer.fit(X, y, epochs=1, shuffle=False)
        optimizer.zero_grad()
        for k in range(0, 24, 6):
            z = model(torch.tensor(X[k : k + 6]))
            (torch.nn.functional.mse_loss(z, torch.tensor(y[k : k + 6])) / 4).backward()
        optimizer.step()
    assert trainer.last_step is not None and trainer.last_step.workers == 2
    np.testing.assert_allclose(net.parameters["0.W"].T, model[0].weight.detach().numpy(), rtol=1e-8)
    np.testing.assert_allclose(net.states["1.mean"], model[1].running_mean.numpy(), rtol=1e-8)


def test_a_step_needs_the_memory_of_one_batch(rng: np.random.Generator) -> None:
    """Beside x, t and the weights of all rows."""
    X, y = rng.normal(size=(64, 16, 16, 1)), rng.integers(0, 3, 64)

    def workspaces(batch_size: int, accumulate: int) -> int:
        net = bp.Network(bp.cnn(3, (16, 16, 1)), (16, 16, 1), device="cpu")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.SGD(), batch_size, accumulate=accumulate, workers=1)
        trainer.fit(X, y)
        step = trainer.last_step
        assert step is not None and step.rows == batch_size * accumulate
        own = {id(a) for a in (step.x, step.t, *net.parameters.values(), *trainer.update.gradients.values())}
        arrays = {id(a): a for ws in step.ws.walk() for a in vars(ws).values() if isinstance(a, np.ndarray)}
        scratch = sum(a.nbytes for a in step.be._scratch.values())
        held = [a for a in arrays.values() if id(a) not in own and a.base is not step.x and a.base is not step.t]
        return scratch + sum(a.nbytes for a in held)

    small, accumulated, large = workspaces(8, 1), workspaces(8, 4), workspaces(32, 1)
    assert accumulated == small < large / 2.9, "a piece of a convolution takes as much, however large the batch is"


def test_several_steps_in_one_call(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded step without Python takes the rows of all pieces, and has the bits of single steps."""
    pytest.importorskip("numba", reason="Numba, which compiles records, is not installed")
    monkeypatch.setattr("gpubp.backends.cpu.compiled.PRICE", 0.0)
    X, y = rng.normal(size=(320, 6)).astype("float32"), rng.integers(0, 3, 320)
    seen, run = [], multistep.Chain.run
    monkeypatch.setattr(multistep.Chain, "run", lambda *given: seen.append(run(*given)) or seen[-1])
    results = []
    for alone in (False, True):
        net = bp.Network(bp.Sequential(bp.Dense(9), bp.Tanh(), bp.Dense(3)), 6, device="cpu")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), 4, accumulate=2, workers=1)
        every = bp.LambdaCallback(on_step_end=lambda t: None)
        trainer.fit(X, y, epochs=30, callbacks=[every] if alone else [])
        results.append(net.flat.copy())
    np.testing.assert_array_equal(*results)
    assert max(map(len, seen)) > 1


@pytest.mark.parametrize("weighted", [False, True])
def test_on_a_gpu(weighted: bool, rng: np.random.Generator) -> None:
    """The step takes its rows itself, several steps are one launch, and the numbers are those of the CPU."""
    X, y = rng.normal(size=(91, 6)).astype("float32"), rng.integers(0, 3, 91)
    fit = {"sample_weight": rng.uniform(0.5, 2.0, 91)} if weighted else {}
    flats, losses = [], []
    for device, batch_size, accumulate in (("cpu", 12, 1), ("cpu", 4, 3), ("strict", 4, 3)):
        be: Any = CUDA(strict_cupy(), products=StrictProducts) if device == "strict" else device
        layers = bp.Sequential(bp.Dense(9), bp.Tanh(), bp.Dropout(0.2), bp.Dense(3))
        net = bp.Network(layers, 6, device=be, seed=3)
        trainer = bp.Trainer(
            net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size, accumulate=accumulate, metrics="accuracy",
            on_nonfinite="raise" if weighted else None,
        )  # fmt: skip
        history = trainer.fit(X, y, epochs=3, **fit)
        flats.append(net.backend.to_host(net.flat).copy())
        losses.append(history["loss"])
    step = trainer.last_step
    assert step is not None and step.batch.upcoming is not None and getattr(trainer.record, "graph", None) is not None
    for k in (1, 2):
        np.testing.assert_allclose(flats[k], flats[0], rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(losses[k], losses[0], rtol=1e-5)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_layer_of_a_step_that_is_not_finite_is_found(workers: int, rng: np.random.Generator) -> None:
    """Whichever piece it is in; the network is as it was before the step."""
    X, y = rng.normal(size=(24, 3)), rng.normal(size=24)
    X[17] = 1e38
    layers = bp.Sequential(bp.Dense(4), bp.BatchNorm(), bp.Tanh(), bp.Dense(1))
    net = bp.Network(layers, 3, device="cpu")
    net.parameters["0.W"][...] *= 100.0
    trainer = bp.Trainer(
        net, bp.MeanSquaredError(), bp.SGD(), 4, accumulate=3, on_nonfinite="raise", workers=workers
    )  # fmt: skip
    with pytest.raises(bp.NonFiniteError, match=r'step 2: the output of layer "0", Dense\(4\), is not finite'):
        trainer.fit(X, y, shuffle=False)
    assert trainer.step_count == 1 and np.isfinite(net.flat).all() and np.isfinite(net.states.flat).all()


def test_the_profile_of_a_step_in_pieces(rng: np.random.Generator) -> None:
    """Layers have three times the calls, each forward or backward; the sums over pieces belong to the update."""
    X, y = rng.normal(size=(12, 4)), rng.normal(size=(12, 1))
    found = []
    for batch_size, accumulate in ((4, 1), (4, 3)):
        net = bp.Network(bp.Sequential(bp.Dense(8), bp.Tanh(), bp.Dense(1)), 4, device="cpu")
        trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), batch_size, accumulate=accumulate)
        found.append({part.name: part for part in trainer.profile(X, y, steps=3).parts})
    one, three = found
    assert [three[name].calls for name in ("0", "1", "2", "loss")] == [
        3 * one[name].calls for name in ("0", "1", "2", "loss")
    ]
    assert three["update"].calls == one["update"].calls + 6
    assert all(part.forward > 0 and part.backward > 0 for name, part in three.items() if name in ("0", "1", "2"))


def test_finding_a_learning_rate_steps_on_all_rows(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(96, 3)), rng.normal(size=96)
    results = []
    for batch_size, accumulate in ((12, 1), (4, 3)):
        net = bp.Network(bp.Dense(1), 3, device="cpu", dtype="float64")
        trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(), batch_size, accumulate=accumulate)
        results.append(bp.find_learning_rate(trainer, X, y, steps=20).losses)
    np.testing.assert_allclose(*results, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"accumulate": 0}, "accumulate to be a whole number, 1 or more, and got 0"),
        ({"accumulate": 2.0}, "accumulate to be a whole number"),
        ({"accumulate": True}, "accumulate to be a whole number"),
        ({"accumulate": 2, "batch_size": None}, "batch_size=None takes all rows in one batch"),
    ],
)
def test_invalid_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bp.Trainer(bp.Network(bp.Dense(1), 1, device="cpu"), bp.MeanSquaredError(), bp.SGD(), **options)


def test_numpy_integers_are_whole_numbers(rng: np.random.Generator, tmp_path: Path) -> None:
    net = bp.Network(bp.Dense(1), 1, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(), np.int64(2), accumulate=np.int64(3))  # type: ignore[arg-type]
    trainer.fit(rng.normal(size=(12, 1)), rng.normal(size=12), callbacks=[bp.Checkpoint(tmp_path)])
    assert trainer.step_count == 2
    assert bp.Trainer.load(tmp_path, device="cpu").settings["accumulate"] == 3
