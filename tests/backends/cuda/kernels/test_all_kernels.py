"""Every kernel that training, evaluation and prediction launch is compiled by NVRTC for five kinds of GPU, which takes
neither GPU nor driver. The stand-ins for CuPy write the sources down and compute nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpubp as bp
import length_cases
from cases import LAYERS, LOSSES, METRICS, OPTIMIZERS
from gpubp.backends.cuda.backend import CUDA
from gpubp.backends.cuda.exact.backend import ExactCUDA
from gpubp.backends.cuda.exact.compiler import OPTIONS as EXACT
from gpubp.backends.order import add_as_tree
from gpubp.errors import ExactError
from strict import LosingNaN, StrictCupy, StrictProducts
from strict_exact import ExactCupy

ARCHITECTURES = [75, 80, 90, 100, 120]
NOT_CALLED = "#177-D"  # a warning, of functions of a prelude that one kernel or another does not call
RECURRENT = {
    kind: bp.Sequential(getattr(bp, kind)(4, return_sequences=True), bp.Dense(3))
    for kind in ("SimpleRNN", "LSTM", "GRU")
}
TRAININGS: list[dict[str, Any]] = [
    dict(clip_value=0.1),
    dict(clip_norm=1.0, clip_value=0.1, l1=0.1, penalty_per_weight=True),
    dict(l2=0.1, penalty_per_weight=True, learning_rate_factors={"3.b": 2.0}),
    dict(on_nonfinite="skip", clip_norm=1.0),
    dict(on_nonfinite="raise", accumulate=2),
]


class Unbuilt(StrictCupy):
    """Launches nothing."""

    host_kernel = staticmethod(lambda code, name: lambda *launch: None)


class UnbuiltExact(ExactCupy):
    """The same for exact numerics."""

    host_kernel = staticmethod(Unbuilt.host_kernel)


Training = tuple[bp.Layer, bp.Loss, bp.Optimizer, Any, Any, dict[str, Any]]


def trainings(rng: np.random.Generator) -> Iterator[Training]:
    """Layers, loss, optimizer, X, y and a trainer's options."""
    mse, sgd = bp.MeanSquaredError(), bp.SGD()
    usual = dict(clip_norm=1.0, l1=0.1, l2=0.1)
    of_steps = dict(metrics=["accuracy"])
    for layer in LAYERS:
        yield layer.network_layers(), mse, sgd, layer.x(rng, rows=4), rng.normal(size=(4, 3)), usual
    for loss in LOSSES:
        shape = (4, *loss.shape[1:])
        yield loss.layers(), loss.loss, sgd, rng.normal(size=(*shape[:-1], 4)), loss.targets(rng, shape), usual
    X, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    for optimizer in OPTIMIZERS:
        yield bp.Dense(2), mse, optimizer.optimizer, X, y, usual
    for options in TRAININGS:
        yield bp.Sequential(bp.Dense(4), bp.ReLU(), bp.Dropout(0.5), bp.Dense(2)), mse, bp.Adam(), X, y, options
    for name, layers in length_cases.ALL.items():
        yield layers, bp.SoftmaxCrossEntropy(), bp.Adam(), length_cases.X, length_cases.targets(name), of_steps
    for layers in RECURRENT.values():
        yield layers, bp.SoftmaxCrossEntropy(), bp.Adam(), length_cases.X, length_cases.STEPS, of_steps


def note(device: Any, dtype: str, training: Training, **options: Any) -> None:
    """Train, with and without row weights, evaluate and predict."""
    layers, loss, optimizer, X, y, settings = training
    shape = (None, 3) if isinstance(X, bp.Sequences) else X.shape[1:]
    try:
        net = bp.Network(layers, shape, device=device, dtype=dtype, **options)
        metrics = [m for m in METRICS if loss.predicts in m.kinds]
        settings = {"batch_size": 4, "metrics": metrics, "workers": 1} | settings
        trainer = bp.Trainer(net, loss, optimizer, **settings)
        trainer.fit(X, y, callbacks=[bp.WeightAverage()])
        if not isinstance(X, bp.Sequences):
            trainer.fit(X, y, sample_weight=np.ones(len(X)), callbacks=[bp.ExponentialMovingAverage()])
        trainer.evaluate(X, y)
        net.predict(X)
    except ExactError:  # what needs more than IEEE 754 fixes
        assert options


@pytest.fixture(scope="module")
def all_kernels() -> dict[tuple[str, str], tuple[str, ...]]:
    """(source, name) -> options, without those that stand for NVRTC's architecture."""
    pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed: pip install -e '.[test,kernels]'")
    rng = np.random.default_rng(0)
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    with np.errstate(all="ignore"):
        for dtype, precision in (("float32", "float32"), ("float64", "float32"), ("float32", "bfloat16")):
            cupy = Unbuilt()
            device = CUDA(cupy, precision=precision, products=StrictProducts)
            some = list(trainings(rng))
            for training in some if precision == "float32" else some[: len(LAYERS)]:
                note(device, dtype, training)
            own = CUDA(cupy, precision=precision, products=LosingNaN)
            X, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
            note(own, dtype, (bp.mlp(2, (4,)), bp.MeanSquaredError(), bp.SGD(), X, y, {}))
            with device.active():
                for count in range(2, 9):
                    parts = [device.zeros((5,), dtype) for _ in range(count)]
                    add_as_tree(device, parts, device.zeros((5,), dtype))
            found |= cupy.kernels
        for dtype in ("float32", "float64"):
            exact = UnbuiltExact()
            for training in trainings(rng):
                note(ExactCUDA(exact), dtype, training, numerics="exact")
            found |= dict.fromkeys(exact.kernels, EXACT)
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_compiles(architecture: int, all_kernels: dict[tuple[str, str], tuple[str, ...]]) -> None:
    """Without a warning; a hundred in one source, which takes a tenth of the time."""
    from cuda.bindings import nvrtc

    names = {name for _, name in all_kernels}
    assert len(all_kernels) > 800 and {
        "next_batch", "patches", "sum_rows", "write_at", "to_bfloat16", "philox_mask", "philox_uniform", "scatter_rows",
        "sample_adjoint", "masked_lstm_kernel", "masked_gru_back_kernel", "sum_of_8_parts_kernel",
        "is_step_kernel", "Clip_cut_kernel", "Penalty_gradient_per_weight_kernel", "BinaryCrossEntropy_l_kernel",
        "product", "tree", "rectify",
    } <= names, sorted(names)  # fmt: skip
    sources: dict[tuple[str, ...], list[str]] = {}
    for i, ((code, _), options) in enumerate(all_kernels.items()):
        own_names = re.sub(r"(__global__ void \w+)\(", rf"\1_{i}(", code)
        options = options if options == EXACT else (*options, "-ftz=true")  # which CuPy adds
        sources.setdefault(options, []).append(f"namespace kernel_{i} {{\n{own_names}\n}}\n")
    for options, parts in sources.items():
        for k in range(0, len(parts), 100):
            given = [*options, "--device-as-default-execution-space", f"--gpu-architecture=sm_{architecture}"]
            compile_by(nvrtc, "\n".join(parts[k : k + 100]), given)


def test_a_warning_of_the_compiler_is_seen() -> None:
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is not installed: '.[test,kernels]'")
    for line in ("x[0] = 1 / 0;", "y[0] = 1;"):
        with pytest.raises(AssertionError, match="warning|error"):
            source = f'extern "C" __global__ void f(float* x) {{ {line} }}'
            compile_by(nvrtc, source, ["--gpu-architecture=sm_90"])


def compile_by(nvrtc: Any, source: str, options: list[str]) -> None:
    def checked(result: Any, *values: Any) -> Any:
        assert result == nvrtc.nvrtcResult.NVRTC_SUCCESS, result
        return values[0] if values else None

    program = checked(*nvrtc.nvrtcCreateProgram(source.encode(), b"kernels.cu", 0, [], []))
    (result,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
    log = b" " * checked(*nvrtc.nvrtcGetProgramLogSize(program))
    nvrtc.nvrtcGetProgramLog(program, log)
    said = [line for line in log.decode().splitlines() if re.search("error|warning #", line) and NOT_CALLED not in line]
    assert result == nvrtc.nvrtcResult.NVRTC_SUCCESS and not said, "\n".join(said)[:3000]
    assert checked(*nvrtc.nvrtcGetCUBINSize(program)) > 0
    nvrtc.nvrtcDestroyProgram(program)
