"""Memory reuse within a step: the same bits as without it, in less memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.layers import Context
from gpubp.step.batch import Batch, TargetShape
from gpubp.step.step import StepJob, TrainingStep
from gpubp.step.update import Update

D, R, BN = bp.Dense, bp.ReLU, bp.BatchNorm
INNER = bp.Sequential(D(8), BN(), R(), bp.Dropout(0.0), D(8))
NETS: dict[str, tuple[list[bp.Layer], tuple[int, ...]]] = {
    "dense": ([D(8), BN(), R(), bp.Dropout(0.3), D(8), bp.GELU(), bp.LayerNorm(), bp.Tanh(), D(3)], (6,)),
    "nested": ([D(8), bp.Residual(INNER), BN(), INNER, bp.Sigmoid(), D(3)], (6,)),
    "branches": ([D(6), BN(), bp.Parallel(D(4), bp.Sequential(BN(), R(), D(4))), BN(), bp.Dropout(0.0), D(3)], (6,)),
    "images": (
        [bp.Conv2D(4, 3, padding="same"), BN(), R(), bp.MaxPool2D(2), bp.Conv2D(4, 3), BN(), bp.LeakyReLU(),
         bp.MaxPool2D(2), bp.Conv2D(5, 2, stride=2), R(), bp.Flatten(), BN(), D(3)], (19, 23, 2),
    ),
    "as they are": ([BN(), bp.Reshape((3, 2)), BN(), bp.Flatten(), D(5), BN(), bp.Flatten(), D(3)], (6,)),
}  # fmt: skip


def step_of(name: str, reuses: bool) -> TrainingStep:
    layers, shape = NETS[name]
    net = bp.Network(bp.Sequential(*layers), shape, device="cpu")
    job, batch = StepJob(net, bp.SoftmaxCrossEntropy()), Batch(net, 16, TargetShape((), "int32"))
    step = TrainingStep(job, batch, Update(net, bp.Adam(0.01)))
    assert step.context.reuses
    step.context.reuses = reuses
    return step


def trained(name: str, reuses: bool) -> tuple[TrainingStep, bytes]:
    step, rng = step_of(name, reuses), np.random.default_rng(0)
    with step.be.active():
        for _ in range(4):
            X = rng.normal(size=(16, *step.network.input_shape)).astype("float32")
            step.load(X, rng.integers(0, 3, 16).astype("int32"), np.arange(16))
            step.run()
    return step, step.network.flat.tobytes() + step.update.gradients.flat.tobytes() + step.network.states.flat.tobytes()


def memory(step: TrainingStep) -> int:
    """Bytes that y and dx of all layers span."""
    arrays = [a for ws in step.ws.walk() for n, a in ws.__dict__.items() if n in ("y", "dx")]
    roots = {id(root): root.nbytes for a in arrays if (root := a if a.base is None else a.base) is not None}
    return sum(roots.values())


@pytest.mark.parametrize("name", NETS)
def test_bits_equal_those_without_memory_reuse(name: str) -> None:
    shared, came = trained(name, True)
    own, wanted = trained(name, False)
    assert came == wanted
    assert memory(shared) < memory(own)


def test_memory_is_not_reused_under_a_probe() -> None:
    """The slow step that finds the layer of a NaN, and a comparison, see each layer's own output."""
    step, _ = trained("dense", False)
    places = [ws.__dict__["y"].ctypes.data for ws in step.ws.children]
    assert len(set(places)) == len(places)

    net = step.network
    probed = TrainingStep(step.job, Batch(net, 16, TargetShape((), "int32")), step.update, probes=[bp.Probe()])
    assert not probed.context.reuses
    assert not Context(net.backend, 4, "float32").reuses  # a workspace made by hand


def test_memory_of_a_custom_layer_is_not_reused() -> None:
    """It says nothing of what it reads and writes, so its input, its output and its gradient stay."""

    class Square(bp.Layer):
        def plan(self, x: Any) -> bp.Plan:
            return bp.Plan(output=x, arrays={"y": x, "dx": x})

        def forward(self, ws: Any, x: Any) -> Any:
            ws.x = x
            return ws.xp.multiply(x, x, out=ws.y)

        def backward(self, ws: Any, dy: Any) -> Any:
            ws.xp.multiply(ws.x, dy, out=ws.dx)
            return ws.xp.add(ws.dx, ws.dx, out=ws.dx)

    NETS["own"] = ([D(8), BN(), Square(), BN(), Square(), D(3)], (6,))
    try:
        assert trained("own", True)[1] == trained("own", False)[1]
    finally:
        del NETS["own"]


def test_an_activation_says_what_its_derivative_reads() -> None:
    class Own(bp.Activation):
        def f(self, x: Any) -> Any:
            return x * x

        def df(self, x: Any, y: Any, dy: Any) -> Any:
            return dy * 2.0 * x

    class OwnBackward(bp.ReLU):
        def backward(self, ws: Any, dy: Any) -> Any:
            return super().backward(ws, dy)

    reads = {
        type(a).__name__: tuple(a.plan((4, 3)).reads) for a in (bp.ReLU(), bp.GELU(), bp.SiLU(), Own(), OwnBackward())
    }
    assert reads == {"ReLU": ("y",), "GELU": ("x",), "SiLU": ("x", "y"), "Own": ("x",), "OwnBackward": ("x", "y")}
