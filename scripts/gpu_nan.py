"""Test whether cuBLAS's ReLU turns NaN into 0, and whether training detects it: gpu_nan.py RESULTS LOGS

NVIDIA documents that its fused ReLU returns 0 for NaN; NumPy's maximum returns NaN. If NaN does not reach the loss,
training does not notice that it has diverged. Nothing says whether the mask for the gradient counts 0 as positive. The
script reports what cuBLAS returns. It fails if training detects NaN on the CPU but not on the GPU, or the reverse.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
from gpu_results import Stage

import gpubp as bp
from gpubp.backends.cuda.cublaslt_layouts import CublasLtUnavailable, aux_shape

SHAPE = (32, 64, 128)  # (m, k, n) of the products
DTYPES = ("float32", "float64")
NAN_AT, POSITIVE_AT, NEGATIVE_AT, ZERO_AT = (3, 5), (4, 5), (5, 5), (6, 5)


def word(value: float) -> str:
    """A number as a text, NaN as "NaN"."""
    return "NaN" if np.isnan(value) else f"{value:.3g}"


class Asked:
    """Products whose numbers are known: out = z, for a = (z | 0) and b = (1 | 0) on its diagonal."""

    def __init__(self, stage: Stage, dtype: str) -> None:
        self.cupy = stage.cupy()
        self.lt = stage.products()(self.cupy)
        self.dtype = dtype
        self.stream = self.cupy.cuda.Stream(non_blocking=True)

    def gemm(self, z: Any, **finish: Any) -> Any:
        """The result for one z, on the host."""
        m, k, n = SHAPE
        a, b = np.zeros((m, k), self.dtype), np.zeros((k, n), self.dtype)
        a[:, : z.shape[1]] = z
        np.fill_diagonal(b, 1.0)
        with self.stream:
            out = self.cupy.asarray(np.full((m, n), 7.0, self.dtype))
            self.lt.gemm(self.cupy.asarray(a), self.cupy.asarray(b), out, stream=self.stream, **finish)
            return out.get()

    def numbers(self) -> Any:
        """z: 1 everywhere but for a NaN, a negative number and a 0. NaN · 0 makes the whole row of the product NaN."""
        z = np.ones((SHAPE[0], SHAPE[1]), self.dtype)
        z[NAN_AT], z[NEGATIVE_AT], z[ZERO_AT] = np.nan, -2.0, 0.0
        return z

    def forward(self, epilogue: str) -> dict[str, str]:
        """The outputs for NaN, a positive and a negative number, and the bits of the mask."""
        with self.stream:
            finish: dict[str, Any] = {"bias": self.cupy.zeros((SHAPE[2],), self.dtype)}
            if epilogue == "relu_aux_bias":
                finish["aux"] = self.cupy.zeros(*aux_shape(epilogue, (SHAPE[0], SHAPE[2]), self.dtype))
        out = self.gemm(self.numbers(), epilogue=epilogue, **finish)
        found = {"NaN": word(out[NAN_AT]), "1": word(out[POSITIVE_AT]), "-2": word(out[NEGATIVE_AT])}
        if "aux" in finish:
            with self.stream:
                bits = finish["aux"].get()
            places = (("NaN", NAN_AT), ("1", POSITIVE_AT), ("0", ZERO_AT))
            found |= {f"mask of {what}": bit(bits, at) for what, at in places}
        return found

    def backward(self) -> dict[str, str]:
        """The gradients for a NaN in dy where the mask is 1, and where it is 0."""
        found = {}
        for bits in (0xFF, 0x00):
            with self.stream:
                host = np.full(aux_shape("relu_aux_bias", (SHAPE[0], SHAPE[2]), self.dtype)[0], bits, np.uint8)
                aux = self.cupy.asarray(host)
            out = self.gemm(self.numbers(), epilogue="drelu", aux=aux)
            found[f"NaN at mask {bits & 1}"] = word(out[NAN_AT])
        return found


def bit(bits: Any, at: tuple[int, int]) -> str:
    """The bit of a mask at one place, in cuBLAS's order of bits in a byte, and in the other."""
    byte = int(bits[at[0], at[1] // 8])
    return f"{byte >> at[1] % 8 & 1} or {byte >> 7 - at[1] % 8 & 1} (byte {byte:#04x})"


def trained(device: Any, dtype: str) -> list[str]:
    """The losses of some steps of a network with ReLU, of which one weight is NaN, and one parameter after them."""
    rng = np.random.default_rng(0)
    net = bp.Network(bp.mlp(4, (64, 64)), 32, device=device, dtype=dtype, seed=1)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=16, seed=2)
    X, y = rng.normal(size=(16, 32)), rng.integers(0, 4, 16)
    losses = []
    with net.backend.active():
        W = net.backend.to_host(net.parameters["0.W"])
        W[3, 5] = np.nan
        net.backend.put(net.parameters["0.W"], W)
    for _ in range(5):
        trainer.step(X, y)
        losses.append(trainer.loss)
    with net.backend.active():
        spread = np.isnan(net.backend.to_host(net.flat)).mean()
    return [*map(word, losses), f"{100 * spread:.0f}% of the parameters NaN"]


def guarded(device: Any) -> str:
    """The error or warning of the finite guard."""
    rng = np.random.default_rng(0)
    net = bp.Network(bp.mlp(4, (64, 64)), 32, device=device, seed=1)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=16, seed=2, on_nonfinite="raise")
    with net.backend.active():
        W = net.backend.to_host(net.parameters["0.W"])
        W[3, 5] = np.nan
        net.backend.put(net.parameters["0.W"], W)
    try:
        trainer.fit(rng.normal(size=(64, 32)), rng.integers(0, 4, 64), epochs=2, verbose=False)
    except bp.NonFiniteError as problem:
        return f"raised: {str(problem).splitlines()[0][:100]}"
    return "nothing noticed"


def main(stage: Stage) -> int:
    """Write a line of results for each test."""
    warnings.simplefilter("ignore")  # NumPy's, of invalid numbers
    for dtype in DTYPES:
        asked = None
        for epilogue in ("relu_bias", "relu_aux_bias", "drelu"):
            with stage.results.part(f"{epilogue} {dtype}") as line:
                asked = asked or Asked(stage, dtype)
                try:
                    found = asked.backward() if epilogue == "drelu" else asked.forward(epilogue)
                except CublasLtUnavailable as refusal:
                    found = {epilogue: f"refused: {refusal}"}
                line |= {"found": found, "shown": ", ".join(f"{what} -> {came}" for what, came in found.items())}
    for dtype in DTYPES:
        with stage.results.part(f"training {dtype}") as line:
            gpu, cpu = trained(stage.backend(), dtype), trained("cpu", dtype)
            line |= {"gpu": gpu, "cpu": cpu, "ok": ("NaN" in gpu[:-1]) == ("NaN" in cpu[:-1])}
            line["shown"] = f"losses {', '.join(gpu)}; CPU {', '.join(cpu)}"
            line["problem"] = "a NaN in a weight does not reach the loss as on the CPU"
    with stage.results.part("guard") as line:
        gpu_said, cpu_said = guarded(stage.backend()), guarded("cpu")
        line |= {"ok": gpu_said.partition(":")[0] == cpu_said.partition(":")[0], "shown": f"{gpu_said}; CPU {cpu_said}"}
    return 0


if __name__ == "__main__":
    sys.exit(main(Stage("nan")))
