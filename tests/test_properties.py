"""Properties of every layer, loss and optimizer in `cases.py`."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import INITIALIZERS, LAYERS, LOSSES, METRICS, OPTIMIZERS, SCHEDULES, LayerCase, LossCase, OptimizerCase
from gpubp.backends import get_backend
from gpubp.config import from_config
from gpubp.flat import FlatArray
from gpubp.layers import Context, Values, bind
from gpubp.step.batch import Batch, TargetShape
from gpubp.step.penalties import Clip, Penalty
from gpubp.step.step import StepJob, TrainingStep
from gpubp.step.update import Update, UpdateSettings

layers = pytest.mark.parametrize("case", LAYERS, ids=str)
losses = pytest.mark.parametrize("case", LOSSES, ids=str)
optimizers = pytest.mark.parametrize("case", OPTIMIZERS, ids=str)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@layers
def test_backward_is_the_derivative_of_forward(case: LayerCase, training: bool) -> None:
    if not case.differentiable:
        pytest.skip("the input is made of indices")
    bp.gradcheck(case.layer, case.shape, training=training)
    bp.gradcheck(case.layer, (1, *case.shape[1:]), training=training)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@layers
def test_gradients_inside_compositions(case: LayerCase, training: bool) -> None:
    """A Dense below wants its dx, and compositions hand it on."""
    if case.inputs is not None:
        pytest.skip("its input is made of indices, and it stands lowest")
    width = case.shape[-1]
    amid = bp.Sequential(bp.Dense(width), bp.Parallel(case.layer, bp.Sequential(case.layer), merge="add"), bp.Tanh())
    bp.gradcheck(amid, case.shape, training=training)


def bound(case: LayerCase, rng: np.random.Generator) -> tuple[Any, Any, np.ndarray]:
    be = get_backend("cpu")
    plan = case.layer.plan(case.shape)
    shapes = {n: p.shape for n, p in plan.all_parameters().items()}
    parameters, gradients = FlatArray(be, shapes, "float64"), FlatArray(be, shapes, "float64")
    states = FlatArray(be, {n: p.shape for n, p in plan.all_states().items()}, "float64")
    parameters.flat[...] = rng.normal(size=parameters.flat.size)
    context = Context(be, case.shape[0], "float64")
    ws = bind(case.layer, plan, context, Values(parameters, states, gradients), training=True, wants_dx=True)
    return plan, ws, case.x(rng).astype("float64")


@layers
def test_arguments_stay_as_they_are(case: LayerCase, rng: np.random.Generator) -> None:
    plan, ws, x = bound(case, rng)
    kept = x.copy()
    y = case.layer.forward(ws, x)
    assert y.shape == plan.output
    dy = rng.normal(size=y.shape)
    kept_dy = dy.copy()
    dx = case.layer.backward(ws, dy)
    assert np.array_equal(x, kept) and np.array_equal(dy, kept_dy)
    if case.differentiable:
        assert dx is not None and dx.shape == x.shape


@layers
def test_gradients_are_assigned_and_not_added_to(case: LayerCase, rng: np.random.Generator) -> None:
    _, ws, x = bound(case, rng)
    dy = rng.normal(size=case.layer.forward(ws, x).shape)
    results = []
    for _ in range(2):
        case.layer.forward(ws, x)
        dx = case.layer.backward(ws, dy)
        results.append((None if dx is None else dx.copy(), [g.copy() for g in gradients_of(ws)]))
    (dx1, g1), (dx2, g2) = results
    assert (dx1 is None and dx2 is None) or np.array_equal(dx1, dx2)
    assert all(np.array_equal(a, b) for a, b in zip(g1, g2, strict=True))


def gradients_of(ws: Any) -> list[np.ndarray]:
    own = [getattr(ws, "d" + name) for name in ws._plan.parameters]
    return own + [g for child in ws.children for g in gradients_of(child)]


def training_step(
    net: bp.Network, loss: bp.Loss, optimizer: bp.Optimizer, x: np.ndarray, t: np.ndarray, **options: Any
) -> TrainingStep:
    update = Update(net, optimizer, UpdateSettings(**options))
    step = TrainingStep(StepJob(net, loss, seed=3), Batch(net, len(x), TargetShape.of(t)), update)
    step.load(x, t)
    return step


def eager_equals_replay(
    make: Any, loss: bp.Loss, optimizer: bp.Optimizer, x: np.ndarray, t: np.ndarray, **options: Any
) -> TrainingStep:
    """Five steps call by call, and five of which the last four are replayed, from the same start: equal to the bit."""
    eager, replayed = make(), make()
    one = training_step(eager, loss, optimizer, x, t, **options)
    two = training_step(replayed, loss, optimizer, x, t, **options)
    with eager.backend.active():
        for k in range(5):
            one.update.advance()
            one.be.put(one.context.step, one.update.t)
            one.compute()
            two.run()
            assert np.array_equal(eager.flat, replayed.flat), f"parameters differ after step {k + 1}"
            assert np.array_equal(eager.states.flat, replayed.states.flat)
            assert one.last_loss() == two.last_loss()
    assert two.record is not None and len(two.record) > 0  # type: ignore[arg-type]
    assert np.isfinite(eager.flat).all() and not np.array_equal(eager.flat, make().flat)
    return two


@layers
def test_a_recorded_step_equals_the_eager_one_for_every_layer(case: LayerCase, rng: np.random.Generator) -> None:
    x, t = case.x(rng).astype("float32"), rng.integers(0, 3, case.shape[0]).astype("int32")
    eager_equals_replay(
        lambda: bp.Network(case.network_layers(), case.shape[1:], device="cpu"),
        bp.SoftmaxCrossEntropy(),
        bp.Adam(0.01),
        x,
        t,
    )


@losses
def test_a_recorded_step_equals_the_eager_one_for_every_loss(case: LossCase, rng: np.random.Generator) -> None:
    inputs = (*case.shape[1:-1], 4)
    x = rng.normal(size=(case.shape[0], *inputs)).astype("float32")
    y = case.targets(rng, case.shape)
    t = case.loss.targets(np.asarray(y), case.shape)
    t = t if t.dtype == np.int32 else t.astype("float32")
    eager_equals_replay(lambda: bp.Network(case.layers(), inputs, device="cpu"), case.loss, bp.SGD(0.1), x, t)


@optimizers
def test_a_recorded_step_equals_the_eager_one_for_every_optimizer(
    case: OptimizerCase, rng: np.random.Generator
) -> None:
    x, t = rng.normal(size=(6, 4)).astype("float32"), rng.normal(size=(6, 2)).astype("float32")
    make = lambda: bp.Network(bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2)), 4, device="cpu")  # noqa: E731
    eager_equals_replay(make, bp.MeanSquaredError(), case.optimizer, x, t)
    eager_equals_replay(
        make, bp.MeanSquaredError(), case.optimizer, x, t, penalty=Penalty(l1=1e-3, l2=1e-2),
        clip=Clip(norm=0.5, value=0.3), factors={"0.*": 0.5},
    )  # fmt: skip


def peak_of(step: TrainingStep) -> int:
    """The most bytes that a replayed step allocates, beyond what there was; one of three may compile something."""
    step.run()
    tracemalloc.start()
    try:
        step.run()
        peaks = []
        for _ in range(3):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            step.run()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        return min(peaks)
    finally:
        tracemalloc.stop()


@layers
def test_a_recorded_step_allocates_nothing(case: LayerCase, rng: np.random.Generator) -> None:
    rows = max(256, 2**17 // int(np.prod(case.shape[1:])) // 4)  # an array of the batch would be 128 KB or more
    x, t = case.x(rng, rows).astype("float32"), rng.integers(0, 3, rows).astype("int32")
    net = bp.Network(case.network_layers(), case.shape[1:], device="cpu")
    step = training_step(net, bp.SoftmaxCrossEntropy(), bp.Adam(), x, t)
    with net.backend.active():
        step.run()
        assert peak_of(step) < 64 * 1024


@losses
def test_a_recorded_step_allocates_nothing_for_every_loss(case: LossCase, rng: np.random.Generator) -> None:
    rows, inputs = 4096, (*case.shape[1:-1], 4)
    x = rng.normal(size=(rows, *inputs)).astype("float32")
    t = case.loss.targets(np.asarray(case.targets(rng, (rows, *case.shape[1:]))), (rows, *case.shape[1:]))
    t = t if t.dtype == np.int32 else t.astype("float32")
    net = bp.Network(bp.Sequential(bp.Dense(32), case.layers()), inputs, device="cpu")
    step = training_step(net, case.loss, bp.SGD(), x, t)
    with net.backend.active():
        step.run()
        assert peak_of(step) < 64 * 1024


@optimizers
def test_a_recorded_step_allocates_nothing_for_every_optimizer(case: OptimizerCase, rng: np.random.Generator) -> None:
    x, t = rng.normal(size=(8, 200)).astype("float32"), rng.normal(size=(8, 200)).astype("float32")
    net = bp.Network(bp.Dense(200), 200, device="cpu")
    step = training_step(
        net, bp.MeanSquaredError(), case.optimizer, x, t, clip=Clip(norm=1.0), penalty=Penalty(1e-3, 1e-3)
    )
    with net.backend.active():
        step.run()
        assert peak_of(step) < 64 * 1024


@layers
def test_float32_agrees_with_float64(case: LayerCase, rng: np.random.Generator) -> None:
    """Whole networks, to 1e-5 of the largest gradient."""
    x, t = case.x(rng), rng.integers(0, 3, case.shape[0])
    results = []
    for dtype in ("float32", "float64"):
        net = bp.Network(case.network_layers(), case.shape[1:], device="cpu", dtype=dtype)
        results.append(net.loss_and_gradients(bp.SoftmaxCrossEntropy(), x, t))
    (loss, gradients), (exact_loss, exact) = results
    assert loss == pytest.approx(exact_loss, rel=1e-5)
    largest = max(np.abs(g).max() for g in exact.values())
    for name, g in gradients.items():
        assert np.abs(g - exact[name]).max() <= 1e-5 * largest, name


@layers
def test_the_same_seed_gives_the_same_training(case: LayerCase, rng: np.random.Generator) -> None:
    x, y = case.x(rng, 20), rng.integers(0, 3, 20)

    def train(seed: int) -> np.ndarray:
        net = bp.Network(case.network_layers(), case.shape[1:], device="cpu", seed=seed)
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=8, seed=seed)
        trainer.fit(x, y, epochs=2)
        return np.concatenate([net.flat, net.states.flat])

    assert np.array_equal(train(1), train(1))
    assert not np.array_equal(train(1), train(2))


@pytest.mark.parametrize(
    "thing",
    [c.layer for c in LAYERS] + [c.loss for c in LOSSES] + [c.optimizer for c in OPTIMIZERS]
    + SCHEDULES + INITIALIZERS + METRICS,
    ids=repr,
)  # fmt: skip
def test_config_and_printed_form_restore_the_object(thing: Any) -> None:
    assert from_config(thing.config()) == thing
    assert eval(repr(thing), vars(bp)) == thing  # noqa: S307
    with pytest.raises((AttributeError, TypeError)):
        next(iter(vars(thing)), None)
        thing.units = 3
