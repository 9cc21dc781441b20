"""Exact numerics on the GPU: gpu_exact.py RESULTS LOGS

The five networks of docs/exact.md must have the hashes that stand there, and products the bits of the CPU. Then the
times of products and of a step are compared with those of ordinary numerics.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
from typing import Any, NamedTuple

import numpy as np
from gpu_results import ROOT, Stage

from gpubp.backends import get_backend
from gpubp.backends.cuda.exact.backend import ExactCUDA
from gpubp.backends.recording import Call

sys.path.insert(0, str(ROOT / "tests" / "exact"))

HASH = re.compile(r"\b[0-9a-f]{64}\b")


class Size(NamedTuple):
    """A product of M x K and K x N numbers; terms: of the sum for each row of the batch. how: which are transposed."""

    name: str
    M: int
    K: int
    N: int
    terms: int = 1
    how: str = ""


GPU = (
    Size("y of 784-512, batch 128", 128, 784, 512),
    Size("dx of 512-784, batch 128", 128, 512, 784, 1, "b"),
    Size("dW of 784-512, batch 128", 784, 128, 512, 1, "a"),
    Size("y of 512-10, batch 128", 128, 512, 10),
    Size("y of 4096-4096, batch 4096", 4096, 4096, 4096),
    Size("dW of 4096-4096, batch 4096", 4096, 4096, 4096, 1, "a"),
    Size("dW of 3x3 32-64, 256 pictures of 14x14", 288, 256 * 196, 64, 196, "a"),
)
SMALL = (Size("y", 20, 70, 18), Size("dW", 17, 90, 18, 3, "a"), Size("dx", 4, 70, 9, 1, "b"))
BITS = (Size("y", 700, 2000, 300), Size("dW", 300, 9000, 70, 90, "a"), Size("dx", 130, 70, 9, 1, "b"))


def backend(stage: Stage) -> ExactCUDA:
    """A new one."""
    if stage.dry:
        from strict_exact import exact_cupy

        return ExactCUDA(exact_cupy())
    return ExactCUDA(stage.cupy())


def hashes(stage: Stage) -> None:
    """The five networks, one line each; the page has what any CPU finds."""
    from exact_networks import NETWORKS, trained

    on_page = set(HASH.findall((ROOT / "docs" / "exact.md").read_text(encoding="utf-8")))
    for name in NETWORKS:
        with stage.results.part(f"network {name}") as line:
            trainer = trained(name, device=backend(stage))
            line["sha256"] = found = trainer.network.sha256()
            captured = trainer.record.graph is not None
            same = found in on_page
            line |= {"ok": same and captured, "captured": captured, "why": trainer.record.refusal}
            line["shown"] = f"{found[:16]}, {'a hash' if same else 'NO HASH'} of docs/exact.md"
            if not same and has_numba():
                on_cpu = trained(name).network.sha256()
                line["shown"] += f"; {'that' if on_cpu == found else 'NOT THAT'} of this CPU"
            line["shown"] += "" if captured else f"; NO GRAPH ({trainer.record.refusal})"
            line["problem"] = line["shown"]


def has_numba() -> bool:
    """Whether the CPU can compute exactly."""
    return importlib.util.find_spec("numba") is not None


def operands(be: Any, size: Size, dtype: str) -> tuple[list[np.ndarray[Any, Any]], list[Any], Any]:
    """Numbers with subnormal ones among them, the same on the device, and a place for their product."""
    rng = np.random.default_rng(0)
    host = [rng.standard_normal(shape).astype(dtype) for shape in ((size.M, size.K), (size.K, size.N))]
    host[0][::7] *= np.finfo(dtype).tiny
    given = [
        be.to_device(x.T).T if turned in size.how else be.to_device(x) for turned, x in zip("ab", host, strict=True)
    ]
    return host, given, be.zeros((size.M, size.N), dtype)


def products(stage: Stage) -> None:
    """Products whose bits are compared with those of the CPU's, some of them subnormal."""
    cpu = get_backend("cpu", numerics="exact")
    be = backend(stage)
    for dtype in ("float32", "float64"):
        for size in SMALL if stage.dry else BITS:
            with stage.results.part(f"bits of {size.name}, {dtype}") as line:
                (a, b), given, out = operands(be, size, dtype)
                want = np.empty(out.shape, dtype)
                if size.terms > 1:
                    rows = size.K // size.terms
                    cpu.gemm_over_rows(np.ascontiguousarray(a.T), b, want, rows)
                    be.gemm_over_rows(given[0].T, given[1], out, rows)
                else:
                    cpu.gemm(a, b, want)
                    be.gemm(*given, out)
                integer = f"u{want.itemsize}"
                other = int((be.to_host(out).view(integer) != want.view(integer)).sum())
                line |= {"ok": other == 0, "different": other}
                line["problem"] = line["shown"] = f"{other} of {want.size} numbers differ from the CPU's"


def speed(stage: Stage) -> None:
    """Microseconds of a product beside cublasLt's."""
    exact, ordinary = backend(stage), stage.backend()
    for size in SMALL if stage.dry else GPU:
        if stage.left < 8.0:
            stage.results.add(f"speed of {size.name}", shown="left out, the time was over")
            continue
        with stage.results.part(f"speed of {size.name}") as line:
            taken = []
            for be, more in ((exact, {"terms": size.terms}), (ordinary, {"compute": "float32"})):
                _, given, out = operands(be, size, "float32")
                call = Call(be._launches.product, tuple(given), {"out": out, **more})
                with be.active():
                    call.function(*call.args, **call.kwargs)
                taken += be.time([call], 30)
            flop = 2.0 * size.M * size.K * size.N
            line |= {"microseconds": taken[0] * 1e6, "cublaslt": taken[1] * 1e6, "ratio": taken[0] / taken[1]}
            line["teraflops"] = flop / taken[0] / 1e12
            line["shown"] = (
                f"{taken[0] * 1e6:.1f} {stage.us}, cublasLt {taken[1] * 1e6:.1f}: {taken[0] / taken[1]:.2f} times as "
                f"long, {flop / taken[0] / 1e12:.1f} TFLOP/s"
            )


def step(stage: Stage) -> None:
    """Microseconds of a step of network A beside an ordinary one."""
    import gpu_smoke

    networks, chunks = (gpu_smoke.SMALL, [3, 3]) if stage.dry else (gpu_smoke.GPU, [100, 200, 200])
    with stage.results.part("A") as line:
        taken = []
        for be in (backend(stage), stage.backend()):
            contender, found = gpu_smoke.run(stage, networks["A"], chunks, be)
            taken.append(min(seconds for _, _, seconds in found))
            captured, why, calls = gpu_smoke.graph_of(contender.trainer)
            line |= {"captured": captured, "why": why, "ok": line["ok"] and captured}
            line.setdefault("calls", calls)
        line |= {"microseconds": taken[0] * 1e6, "ordinary": taken[1] * 1e6}
        line["shown"] = (
            f"{taken[0] * 1e6:.1f} {stage.us} a step in {line['calls']} calls, ordinary numerics {taken[1] * 1e6:.1f}"
        )


def main(stage: Stage) -> int:
    """All of it; the hashes first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hashes(stage)
        if has_numba():
            products(stage)
        speed(stage)
        if stage.left > 6.0:
            step(stage)
    return 0


if __name__ == "__main__":
    sys.exit(main(Stage("exact")))
