"""Run our kernels with shared memory under compute-sanitizer's racecheck: gpu_racecheck.py RESULTS LOGS

With --share run, the script launches the kernels and compares their results with NumPy's. Without it, the script starts
the sanitizer, which runs the script with --share run.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from gpu_exact import backend as exact_backend
from gpu_results import Stage
from gpu_stages import sanitizer

import gpubp as bp
from gpubp.formula import row_sum

SIZES = ((1000, 77), (33, 10), (4096, 10))  # rows and columns


def on_kernels(stage: Stage) -> int:
    """Launch each kernel on some sizes, its output full of 7 before."""
    be, rng = stage.backend(), np.random.default_rng(0)
    for rows, n in ((40, 7),) if stage.dry else SIZES:
        with stage.results.part(f"{rows} x {n}") as line, be.active():
            a = rng.normal(size=(rows, n)).astype("float32")
            given = be.to_device(a)
            out, sums = be.to_device(np.full((), 7.0, "float32")), be.to_device(np.full(n, 7.0, "float32"))
            total = be.to_device(np.zeros((), "float64"))
            be.dot(given, given, out, total)
            be.sum_rows(given, sums)
            weighted, weights = be.to_device(np.full(n, 7.0, "float32")), rng.normal(size=rows).astype("float32")
            be.weighted_sum_rows(given, be.to_device(weights), weighted)
            picked, own = rng.permutation(rows), np.arange(rows, dtype=np.int64)
            x, t, numbers = be.zeros(a.shape, "float32"), be.zeros((rows,), "int64"), be.zeros((8,), "uint8")
            order, table = be.to_device(picked), be.to_device(np.arange(8, dtype=np.uint8).reshape(1, 8))
            count = be.zeros((1,), "int64")
            be.next_batch((given, be.to_device(own)), (x, t), (order, table, numbers), count)
            last = be.to_device(np.full(rows, 7.0, "float32"))
            be.sum_last(given, last)
            loss, wanted = (  # a network without matrix products, whose library the sanitizer would have to go through
                bp.Network(bp.Tanh(), n, device=device).loss_and_gradients(
                    bp.SoftmaxCrossEntropy(), a, np.arange(rows) % n
                )[0]
                for device in (be, "cpu")
            )
            exact = a.astype(np.float64)
            errors = {
                "dot": apart(be.to_host(out), np.sum(exact * exact)),
                "sum_rows": apart(be.to_host(sums), exact.sum(axis=0)),
                "weighted_sum_rows": apart(be.to_host(weighted), (exact * weights[:, None]).sum(axis=0)),
                "next_batch": max(
                    apart(be.to_host(got), wanted)
                    for got, wanted in ((x, a[picked]), (t, picked), (numbers, np.arange(8)), (count, np.ones(1)))
                ),
                "sum_last": apart(be.to_host(last), exact.sum(axis=1)),
                "softmax": apart(loss, wanted),
            }
            line |= {"errors": errors, "ok": max(errors.values()) < 1e-5, "problem": f"wrong numbers: {errors}"}
    return 0


def on_exact_kernels(stage: Stage) -> None:
    """The tiles of exact products, and sums over rows by several threads each."""
    be, rng = exact_backend(stage), np.random.default_rng(0)
    for M, K, N in ((20, 70, 18),) if stage.dry else ((700, 300, 300), (33, 3000, 40)):
        with stage.results.part(f"exact {M} x {K} x {N}") as line, be.active():
            a, b = rng.normal(size=(M, K)).astype("float32"), rng.normal(size=(K, N)).astype("float32")
            out, shares = be.to_device(np.full((M, N), 7.0, "float32")), be.to_device(np.full((M, K), 7.0, "float32"))
            be.gemm(be.to_device(a), be.to_device(b), out)
            be.apply(lambda x: x / row_sum(x * x), be.to_device(a), out=shares)
            wide = a.astype(np.float64)
            errors = {
                "product": apart(be.to_host(out), wide @ b),
                "row_sum": apart(be.to_host(shares), wide / np.sum(wide * wide, axis=1, keepdims=True)),
            }
            line |= {"errors": errors, "ok": max(errors.values()) < 1e-5, "problem": f"wrong numbers: {errors}"}


def apart(got: Any, wanted: Any) -> float:
    """The largest difference, relative to the largest number."""
    return float(np.max(np.abs(np.asarray(got, np.float64) - wanted)) / np.max(np.abs(wanted)))


def main(stage: Stage) -> int:
    """Run the launches under the sanitizer; on the stand-in, without it."""
    if stage.share == "run":
        on_exact_kernels(stage)
        return on_kernels(stage)
    file = [str(Path(__file__)), str(stage.results.file), str(stage.logs), "--name", stage.name, "--share", "run"]
    command = [sys.executable, *file, "--limit", f"{stage.limit:.0f}", *["--dry"] * stage.dry]
    if not stage.dry:
        options = ["--tool", "racecheck", "--racecheck-report", "all", "--print-limit", "20"]
        command = [sanitizer(), *options, *command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, stage.left - 1.0))
        said, code = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        said, code = "".join(p.decode(errors="replace") for p in (late.stdout, late.stderr) if p), -1
    print(said)
    summary = re.findall(r"RACECHECK SUMMARY: (.*)", said)
    hazards = re.findall(r"(?:Error|Warning): .*?[Rr]ace.*", said)
    found = {"code": code, "hazards": len(hazards)}
    if stage.dry:
        stage.results.add("racecheck", ok=code == 0, summary="kernels on the stand-in, no sanitizer", **found)
    elif summary:
        ok = summary[-1].startswith("0 hazards")
        stage.results.add("racecheck", ok=ok, summary=summary[-1], problem="; ".join(hazards[:3]), **found)
    else:
        why = "did not end in time" if code == -1 else said.strip()[-200:]
        refused = "not supported" in said
        stage.results.add("racecheck", ok=refused, summary=f"no summary: {why}", problem=why, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main(Stage("racecheck")))
