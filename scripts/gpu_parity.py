"""Compare CPU and GPU on generated data, with float64 as the reference: gpu_parity.py RESULTS LOGS

    d = distance of the CPU's float32 from float64, d' = that of the GPU's; a fault if d' > 10 d + 32 ulp

Three networks run first, and meanwhile every layer, loss and optimizer of tests/cases.py, in several processes. Then
each is compared in float64 on both, within 1e-12.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gpu_results import ROOT, Stage

import gpubp as bp
from gpubp.analysis.differences import COMPARED, EXACT, Rounding

PROCESSES = 8
STEPS = 4


class Case(NamedTuple):
    """A network that is trained on both devices. rows: of a batch."""

    name: str
    layers: bp.Layer
    X: Any
    y: Any
    loss: bp.Loss
    optimizer: bp.Optimizer
    rows: int
    both: bool = False  # whether float64 is compared as well


def models(rng: np.random.Generator, small: bool) -> Iterator[Case]:
    """Networks of usual sizes."""
    wide, side, n, rows = ((12, 8), 8, 32, 8) if small else ((512, 512), 28, 512, 64)
    image, flat = (side, side, 1), side * side
    for name, layers, shape, optimizer in (
        ("mlp", bp.mlp(10, wide), (flat,), bp.Adam()),
        ("mlp-all", bp.mlp(10, wide, batch_norm=True, dropout=0.3), (flat,), bp.SGD(0.05, momentum=0.9)),
        ("cnn", bp.cnn(10, image, batch_norm=True, dropout=0.3), image, bp.Adam()),
    ):
        X, y = rng.normal(size=(n, *shape)), rng.integers(0, 10, n)
        yield Case(name, layers, X, y, bp.SoftmaxCrossEntropy(), optimizer, rows, True)


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """The cases of the tests."""
    sys.path.insert(0, str(ROOT / "tests"))
    from cases import LAYERS, LOSSES, OPTIMIZERS

    mse, sgd = bp.MeanSquaredError(), bp.SGD(0.01)
    for layer in LAYERS:
        X, y = layer.x(rng, rows=12), rng.normal(size=(12, 3))
        yield Case(f"layer {layer}", layer.network_layers(), X, y, mse, sgd, 4)
    for loss in LOSSES:
        shape = (12, *loss.shape[1:])
        X, y = rng.normal(size=(*shape[:-1], 4)), loss.targets(rng, shape)
        yield Case(f"loss {loss}", bp.Dense(shape[-1]), X, y, loss.loss, sgd, 4)
    layers = bp.Sequential(bp.Dense(5), bp.Tanh(), bp.Dense(2))
    for optimizer in OPTIMIZERS:
        X, y = rng.normal(size=(12, 4)), rng.normal(size=(12, 2))
        yield Case(f"optimizer {optimizer}", layers, X, y, mse, optimizer.optimizer, 4)


def find_faults(found: bp.BackendComparison) -> tuple[list[str], dict[str, Any]]:
    """(faults, the place where the GPU is furthest from float64 beside the CPU) of cpu-float64, cpu, cuda."""
    cpu, gpu = found.others
    faults = [] if gpu.same_batches else ["batches differ"]
    faults += [] if gpu.same_masks else ["random draws differ"]
    worst = Rounding("", "", 0.0, 0.0)
    for ours, theirs in zip(cpu.layers, gpu.layers, strict=True):
        for what, (pick, attribute) in COMPARED.items():
            both = [[d.relative for d in getattr(layer, attribute)] for layer in (ours, theirs)]
            if not both[0]:
                continue
            r = Rounding(ours.name, what, pick(both[0]), pick(both[1]))
            worst = max(worst, r, key=lambda one: one.other)
            if not r.explains:
                faults.append(f'{what} of "{r.layer}", {ours.layer}: {r.other:.1e} from float64, the CPU {r.first:.1e}')
    return faults, worst._asdict()


def compare(stage: Stage, case: Case) -> None:
    """Compare one case; write a line of results, and the whole comparison into the logs."""
    with stage.results.part(case.name) as line, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of layers that are taken beyond their range
        settings: dict[str, Any] = {"loss": case.loss, "optimizer": case.optimizer, "batch_size": case.rows}
        found = bp.compare_backends(
            case.layers, case.X, case.y, backends=(EXACT, "cpu", stage.backend()), steps=STEPS, **settings
        )
        faults, worst = find_faults(found)
        line |= {"ok": not faults, "faults": faults, "worst": worst, "problem": "; ".join(faults[:3])}
        if case.both:
            line["shown"] = f"CPU {worst['first']:.0e} and GPU {worst['other']:.0e} from float64 at most"
            text = json.dumps(found.to_dict()) + "\n"
            (stage.logs / f"parity-{case.name}.json").write_text(text, encoding="utf-8")
        if faults:
            line["shown"] = line["problem"]
            print(found)


def compare_exactly(stage: Stage, case: Case) -> None:
    """Compare one case in float64 on both; not in a dry run, because the stand-in's name is no device."""
    if stage.dry:
        return
    with stage.results.part(f"{case.name}, float64") as line, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings: dict[str, Any] = {"loss": case.loss, "optimizer": case.optimizer, "batch_size": case.rows}
        both = bp.compare_backends(
            case.layers, case.X, case.y, backends=(EXACT, "cuda-float64"), steps=STEPS, **settings
        )
        (other,) = both.others
        worst_output = max((d.relative for layer in other.layers for d in layer.outputs), default=0.0)
        line |= {"ok": both.ok, "faults": other.faults, "apart": worst_output}
        line["problem"] = "; ".join(other.faults[:3])
        if case.both or not both.ok:
            line["shown"] = line["problem"] or f"outputs {worst_output:.0e} apart at most"


def share_out(stage: Stage) -> int:
    """Compare the cases of the tests in several processes at once."""
    command = [sys.executable, str(Path(__file__)), str(stage.results.file), str(stage.logs), *["--dry"] * stage.dry]
    count = 1 if stage.dry else PROCESSES
    shares = [
        subprocess.Popen([*command, "--limit", f"{max(1.0, stage.left - 2.0):.1f}", "--share", f"{k + 1}/{count}"])
        for k in range(count)
    ]
    compare_models(stage)
    codes = []
    for process in shares:
        try:
            codes.append(process.wait(max(0.1, stage.left)))
        except subprocess.TimeoutExpired:
            process.kill()
            codes.append(-1)
    if any(codes):
        stage.results.add("processes", ok=False, problem=f"shares of the cases ended with {codes}")
    return 0


def compare_models(stage: Stage) -> None:
    """Compare the networks."""
    for case in models(np.random.default_rng(0), stage.dry):
        if stage.left > 3.0:
            compare(stage, case)
        else:
            stage.results.add(case.name, shown="left out, the time was over")
        if stage.left > 5.0:
            compare_exactly(stage, case)


def compare_cases(stage: Stage, k: int, count: int) -> int:
    """Compare the k-th of `count` parts of the cases, in float32 and then in float64; in a dry run only some."""
    mine = list(cases(np.random.default_rng(20)))[k - 1 :: count][:: 27 if stage.dry else 1]
    for i, case in enumerate(mine):
        if stage.left < 1.5:
            left_out = len(mine) - i
            stage.results.add(f"cases {k}/{count}", left_out=left_out, shown=f"{left_out} left out, the time was over")
            return 0
        compare(stage, case)
    for case in mine:
        if stage.left > 1.5:
            compare_exactly(stage, case)
    return 0


def main(stage: Stage) -> int:
    """Compare all, or the part of the cases that was asked for."""
    if stage.share:
        return compare_cases(stage, *map(int, stage.share.split("/")))
    return share_out(stage)


if __name__ == "__main__":
    sys.exit(main(Stage("parity")))
