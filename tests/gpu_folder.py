"""A folder as scripts/gpu_check.sh leaves it on a machine with a GPU, made up for tests: no number was measured."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.report import GPU_PEERS
from benchmarks.workloads import GPU
from cases import LAYERS, LOSSES, OPTIMIZERS

NAME, DRIVER, DATE = "NVIDIA H000", "999.99", "2031-01-02"
FIRST = ("machine", "smoke-A", "smoke-D", "nan", "messages", "tests-cublaslt", "tests-training")
SECOND = ("exact", "parity", "benchmarks", "racecheck")
COMPARED = """\
cuda against cpu: 20 steps of 32 rows, seed 0

layer              outputs  input gradients  gradients  parameters
0      Dense(256)  2.0e-07                     2.1e-07     3.1e-07
1      ReLU()      2.4e-07          2.6e-07

ok: rounding explains all differences, 1e-05 at most

cpu: 547 µs a step; recorded steps have the bits of steps made call by call
cuda: 91 µs a step; recorded steps have the bits of steps made call by call
"""
Lines = dict[str, list[dict[str, Any]]]


def machine() -> dict[str, Any]:
    """The line of the stage "machine"."""
    versions = {
        "gpubp": "0.1.0",
        "numpy": "2.5.2",
        "python": "3.12.3",
        "torch": "2.11.0",
        "jax": "0.11.2",
        "optax": "1.0",
    }
    told = {"gpu": NAME, "cores": 16, "cupy": "14.2.0", "cublasLt": "13.1.0.3", "runtime's CUDA": 13000, "date": DATE}
    return {"name": "found", "ok": True, "nvidia-smi": f"1980 MHz, 700.00 W, 35, {DRIVER}", **versions, **told}


def benchmarks() -> dict[str, Any]:
    """What the stage "benchmarks" writes: of every contender three turns of each workload."""
    versions = {"gpubp": "0.1.0", "numpy": "2.5.2", "torch": "2.11.0", "jax": "0.11.2", "cupy-cuda13x": "14.2.0"}
    described = {
        "processor": "a processor", "cores": 16, "threads": 4, "python": "3.12.3", "versions": versions, "date": DATE,
        "gpu": f"{NAME}, {DRIVER}",
    }  # fmt: skip
    workloads = {}
    for place, (name, workload) in enumerate(GPU.items()):
        unit = 2e-5 * 8**place
        contenders = {
            who: {
                "version": "1", "seconds": [unit * times * (1 + k / 20) for k in range(3)], "steps": 9, "memory": None,
                "others": [0.0] * 3, "first_losses": [2.3, 2.2, 2.1], "kernels": [], "difference": 0.0,
            }
            for who, times in zip(("gpubp", *GPU_PEERS), (4.0, 20.0, 6.0, 5.0, 8.0), strict=True)
        }  # fmt: skip
        workloads[name] = {
            "text": workload.text, "flops": workload.flops, "bytes": workload.bytes, "parameters": workload.size,
            "precision": workload.precision, "contenders": contenders, "products": [unit * 2.5] * 3,
        }  # fmt: skip
    skipped: dict[str, Any] = {name: {} for name in workloads}
    return {"kind": "gpu", "machine": described, "floor": {}, "workloads": workloads, "skipped": skipped}


def compared(name: str, size: float = 1.0) -> dict[str, Any]:
    """A line of parity."""
    worst = {"layer": "3", "what": "outputs", "first": 2e-7 * size, "other": 3e-7 * size}
    return {"name": name, "ok": True, "faults": [], "worst": worst}


def stages() -> Lines:
    """stage -> its results, all of them well."""
    cases = [f"{kind} {case}" for kind, all_of in (("layer", LAYERS), ("loss", LOSSES), ("optimizer", OPTIMIZERS))
             for case in all_of]  # fmt: skip
    parity = [compared(name, 1 + i / 100) for i, name in enumerate([*cases, "mlp", "mlp-all", "cnn"])]
    parity += [{"name": f"{name}, float64", "ok": True, "faults": [], "apart": 2e-15} for name in ("mlp", "cnn")]
    exact = [
        {"name": f"network {n}", "ok": True, "shown": "a hash"} for n in ("mlp", "cnn", "words", "numbers", "shared")
    ]
    exact += [{"name": f"bits of {n}, float32", "ok": True, "shown": "0 differ"} for n in ("y", "dW", "dx")]
    every = "test_every_layer_trains_as_on_the_cpu"
    trained = [f"{every}[{case}]" for case in LAYERS]
    trained += ["test_a_step_is_one_graph_and_replays_exactly", "test_masks_have_the_cpus_bits"]
    products = ["test_a_captured_product_replays_on_new_numbers", "test_the_stacks_of_attention[2-float32]"]
    return {
        "machine": [machine()],
        "smoke-A": [{"name": f"A {p}", "ok": True, "shown": "well"} for p in ("float32", "tf32", "bfloat16")],
        "smoke-D": [{"name": "D pieces of 2^24", "ok": True, "shown": "well"}],
        "nan": [{"name": "guard", "ok": True, "shown": "raised"}],
        "messages": [{"name": "one GPU", "ok": True, "shown": "skipped: CuPy finds no NCCL", "skipped": True}],
        "tests-cublaslt": tests(products),
        "tests-training": tests(trained),
        "exact": exact,
        "parity": parity,
        "benchmarks": [{"name": "A", "contender": "gpubp", "round": 1, "seconds": 1e-4}],
        "racecheck": [{"name": "racecheck", "ok": True, "hazards": 0, "summary": "0 hazards"}],
        "training": [
            {
                "name": "mlp",
                "ok": True,
                "gpu": 0.9811,
                "cpu": 0.9809,
                "data": "mnist",
                "epochs": 9,
                "compared_after": 4,
            },
            {"name": "mlp, bits", "ok": True, "arrays": ["rows", "targets"], "steps": 40, "shown": "long"},
        ],
        "resume": [{"name": "after a kill", "ok": True, "shown": "the bits of a run that was not killed"}],
        "compare": [{"name": "digits", "ok": True, "shown": "rounding explains all differences"}],
    }


def tests(names: list[str]) -> list[dict[str, Any]]:
    """The lines of a stage of tests that passed."""
    return [
        {"name": "collected", "tests": len(names)},
        *({"name": n, "outcome": "passed", "seconds": 0.1} for n in names),
    ]


def logs() -> dict[str, Any]:
    """The logs that are read."""
    return {
        "benchmarks.json": benchmarks(),
        "compare-digits.txt": COMPARED,
        "compare-digits.json": {"ok": True},
    }


def write(
    folder: Path, which: tuple[str, ...] = (*FIRST, *SECOND, "training", "resume", "compare"),
    change: Callable[[Lines, dict[str, dict[str, Any]], dict[str, Any]], None] = lambda *given: None,
) -> Path:  # fmt: skip
    """Write the folder with some stages. change: called with the lines of each stage, their ends, and the logs."""
    made = {stage: found for stage, found in stages().items() if stage in which}
    ends = {stage: {"went": "ok", "code": 0, "seconds": 12.3} for stage in which}
    kept = {name: what for name, what in logs().items() if name.partition("-")[0].partition(".")[0] in which}
    change(made, ends, kept)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = [
        {"stage": "check", "name": "plan", "stages": list(which), "gpu": f"{NAME}, {DRIVER}", "date": DATE}
    ]
    for stage in which:
        if stage in ends and ends[stage]["went"] != "not begun":
            rows += [{"stage": stage, "name": "begin"}, *({"stage": stage, **line} for line in made[stage])]
            rows += [{"stage": stage, "name": "end", **ends[stage]}]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with tarfile.open(folder / "logs.tar.gz", "w:gz") as tar:
        for name, what in kept.items():
            data = (what if isinstance(what, str) else json.dumps(what)).encode()
            member = tarfile.TarInfo(f"logs/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return folder
