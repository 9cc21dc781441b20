"""Steps of several processes, predicted and measured: `python -m benchmarks.several --processes 2`.

Latency and bandwidth are measured between the processes of this machine, with the gradients' bytes (`messages.py`).
From them and from the step of one process, `estimate_scaling` predicts. Then the processes train, and their steps are
timed. All of it is done in rounds, and the fastest twentieth of the steps counts: other programs can only slow them
down, and several processes need all cores at the same moment.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import gpubp as bp

from . import messages

ROOT = Path(__file__).parents[1]
STEPS = 16  # of an epoch
WORKLOADS: dict[str, tuple[bp.Layer, tuple[int, ...], int]] = {
    "mlp-128": (bp.mlp(10, (512, 512)), (784,), 128),
    "mlp-1024": (bp.mlp(10, (512, 512)), (784,), 1024),
    "cnn-128": (bp.cnn(10, (28, 28, 1)), (28, 28, 1), 128),
}


def trainer_of(name: str, communicator: Any, batches: int) -> tuple[bp.Trainer, Any, Any]:
    """(trainer, X, y) with so many batches of rows."""
    layers, shape, batch = WORKLOADS[name]
    X = np.random.default_rng(0).normal(size=(batches * batch, *shape)).astype("float32")
    net = bp.Network(layers, shape, device="cpu", seed=0)
    options = {"batch_size": batch, "communicator": communicator}
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), **options)
    return trainer, X, np.arange(len(X)) % 10


def measured(name: str, epochs: int, communicator: Any) -> float:
    """Seconds of a step of `fit`, so that a twentieth of the steps are faster."""
    trainer, X, y = trainer_of(name, communicator, STEPS)
    ends: list[float] = []
    note = bp.LambdaCallback(on_step_end=lambda trainer: ends.append(time.perf_counter()))
    trainer.fit(X, y, epochs=epochs + 2, shuffle=False, callbacks=[note], verbose=False)
    return float(np.quantile(np.diff(ends[2 * STEPS :]), 0.05))


def child(name: str, epochs: int) -> None:
    """What one of several processes does: messages, then steps. Process 0 prints what it found."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    trainer, _, _ = trainer_of(name, None, 1)
    size = sum(int(a.nbytes) for a in trainer.network.parameters.values())
    latency = min(messages.one_way(comm, 16, 50) for _ in range(3))
    spent, sent = messages.exchange(comm, size, 50)
    step = measured(name, epochs, comm)
    if comm.Get_rank() == 0:
        print(json.dumps({"latency": latency, "bandwidth": sent / spent, "step": step}))


def race(name: str, processes: int, rounds: int, epochs: int) -> dict[str, float]:
    """What is predicted, and what was measured, in seconds; the best of all rounds."""
    command = [str(_mpiexec()), "-n", str(processes), sys.executable, "-m", "benchmarks.several", "--child", name]
    alone, told, predicted = [], [], []
    for _ in range(rounds):
        done = subprocess.run([*command, "--epochs", str(epochs)], cwd=ROOT, capture_output=True, text=True, check=True)
        told.append(json.loads(done.stdout.splitlines()[-1]))
        alone.append(measured(name, epochs, None))
        predicted.append(bp.estimate_scaling(*trainer_of(name, None, 1), processes=processes))
    link = {"bandwidth": max(one["bandwidth"] for one in told), "latency": min(one["latency"] for one in told)}
    best = min(predicted, key=lambda found: found.same_batch[0].step)
    again = type(best).of(best.costs, type(best.link).of(**link), (processes,))
    return {
        **link,
        "alone": min(alone),
        "alone_predicted": min(found.costs.alone for found in predicted),
        "predicted": again.same_batch[0].step,
        "sending": again.same_batch[0].sending,
        "measured": min(one["step"] for one in told),
    }


def _mpiexec() -> Path:
    beside = Path(sys.executable).with_name("mpiexec")
    found = beside if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise SystemExit("benchmarks.several needs mpiexec: pip install mpich")
    return Path(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each workload."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.several", description="Predicted and measured steps.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--workloads", default=",".join(WORKLOADS), metavar="W1,W2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.child:
        child(asked.child, asked.epochs)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    head = ("one process", "predicted", "of it sending", "measured", "predicted/measured")
    print(f"{'':10}" + "".join(f"{text:>20}" for text in head) + "   link")
    for name in asked.workloads.split(","):
        found = race(name, asked.processes, asked.rounds, asked.epochs)
        numbers = [found[key] for key in ("alone", "predicted", "sending", "measured")]
        cells = [f"{1e3 * seconds:.2f} ms" for seconds in numbers] + [f"{numbers[1] / numbers[3]:.2f}"]
        link = f"{found['bandwidth'] / 1e9:.2f} GB/s, {1e6 * found['latency']:.1f} µs"
        print(f"{name:10}" + "".join(f"{cell:>20}" for cell in cells) + f"   {link}", flush=True)


if __name__ == "__main__":
    main()
