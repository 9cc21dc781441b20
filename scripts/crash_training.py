"""The program that `scripts/crash_test --processes` starts and kills: it trains one network, and ends as it is told.

Its argument is a JSON object: kind, of `KINDS`; folder, for checkpoints and outcomes; workers; and end, see `Ending`.
A training that is done leaves `outcome-<rank>.json` in the folder: hashes of parameters, moments, history and so on.
`scripts/gpu_resume.py` does the same with its trainings on a GPU.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import gpubp as bp
from gpubp.training.snapshot import checkpoints_in

SHARDS = 8


def images(rows: int) -> tuple[Any, Any]:
    """Images of three classes."""
    draw = np.random.default_rng(rows)
    X = draw.normal(size=(rows, 6, 6, 1)).astype("float32")
    return X, (X[:, 0, 0, 0] * X[:, 1, 0, 0] > 0).astype(int) + (X[:, 2, 0, 0] > 0.7)


def sequences(rows: int) -> tuple[Any, Any]:
    """Rows of different lengths."""
    draw = np.random.default_rng(rows)
    return [draw.normal(size=(int(n), 3)) for n in draw.integers(1, 16, rows)], draw.integers(0, 2, rows)


def mlp(device: Any) -> bp.Network:
    """Dense layers."""
    layers = bp.Sequential(bp.Flatten(), bp.Dense(13), bp.ReLU(), bp.Dropout(0.2), bp.Dense(3))
    return bp.Network(layers, (6, 6, 1), device=device)


def cnn(device: Any) -> bp.Network:
    """Augmentation, convolution, batch normalization and dropout."""
    layers = bp.Sequential(
        bp.RandomFlip(), bp.RandomTranslation(0.2, 0.2), bp.Conv2D(3, 3), bp.BatchNorm(), bp.ReLU(), bp.Dropout(0.2),
        bp.Flatten(), bp.Dense(3),
    )  # fmt: skip
    return bp.Network(layers, (6, 6, 1), device=device)


def lstm(device: Any) -> bp.Network:
    """A network for rows of different lengths."""
    return bp.Network(bp.Sequential(bp.LSTM(4), bp.Dense(2)), (None, 3), device=device)


class Kind:
    """One training: network, data, settings of the trainer, arguments of fit, and callbacks."""

    def __init__(
        self,
        network: Callable[[Any], bp.Network] = mlp,
        data: tuple[Any, Any] | None = None,
        settings: dict[str, Any] | None = None,
        fit: dict[str, Any] | None = None,
        callbacks: Callable[[], list[bp.Callback]] = list,
    ) -> None:
        self.network, self.callbacks = network, callbacks
        self.X, self.y = data or images(90)
        self.settings = {"batch_size": 16, "seed": 3} | (settings or {})
        self.fit: dict[str, Any] = {"epochs": 10} | (fit or {})


weights = np.random.default_rng(1).uniform(0, 2, 90)
weights[::7] = 0
KINDS: dict[str, Callable[[], Kind]] = {
    "plain": lambda: Kind(settings={"metrics": ["accuracy"]}),
    "cnn": lambda: Kind(cnn, images(70), {"clip_norm": 0.5}),
    "weights": lambda: Kind(
        settings={"l1": 1e-4, "l2": 1e-3, "penalty_per_weight": True, "metrics": ["accuracy"]},
        fit={"sample_weight": weights},
    ),
    "ragged": lambda: Kind(cnn, images(61), {"batch_size": 11, "on_nonfinite": "rollback"}, {"epochs": 9}),
    "stopping": lambda: Kind(
        cnn,
        fit={"epochs": 20, "validation_fraction": 0.2},
        callbacks=lambda: [bp.EarlyStopping(patience=7), bp.ReduceOnPlateau(patience=1)],
    ),
    "metrics": lambda: Kind(settings={"metrics": ["f1", "accuracy"]}, fit={"validation_fraction": 0.2, "epochs": 12}),
    "accumulated": lambda: Kind(cnn, settings={"accumulate": 2, "batch_size": 9, "metrics": ["f1"]}),
    "average": lambda: Kind(
        cnn,
        settings={"on_nonfinite": "skip"},
        fit={"validation_fraction": 0.2, "sample_weight": weights, "epochs": 13},
        callbacks=lambda: [bp.ExponentialMovingAverage(0.9), bp.EarlyStopping(patience=5)],
    ),
    "lengths": lambda: Kind(lstm, sequences(60), {"metrics": ["accuracy"]}, {"epochs": 11}),
}


def mpiexec() -> int:
    """The number of the process of mpiexec: the parent of the one that started this process."""
    return int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])


class Ending(bp.Callback):
    """Ends a training in the process `rank` after so many `steps`; notes it in the folder.

    how: "raise" and "exit" end it in this callback; a signal, as "KILL" or "mpiexec INT", comes to this process, or to
    mpiexec, `delay` seconds later, wherever training is then. The fit of this process ends after it.
    """

    def __init__(self, folder: str | Path, how: str, rank: int, steps: int, delay: float) -> None:
        self.folder, self.how, self.rank, self.steps, self.delay = Path(folder), how, rank, steps, delay
        self.timer = threading.Timer(delay, self.end)

    def on_step_end(self, trainer: Any) -> None:
        """End, or begin to wait for the end, if it is time."""
        self.steps -= 1
        if self.steps or (trainer.processes.rank if trainer.processes else 0) != self.rank:
            return
        (self.folder / "ended").write_text(self.how)
        if self.how == "raise":
            raise RuntimeError("raised by a callback")
        if self.how == "exit":
            sys.exit(0)
        self.timer.start()

    def end(self) -> None:
        """Send the signal."""
        *to, name = self.how.split()
        os.kill(mpiexec() if to else os.getpid(), signal.Signals[f"SIG{name}"])

    def on_train_end(self, trainer: Any) -> None:
        """Let no signal come later."""
        if self.timer.is_alive():
            self.timer.join()


def sha(*arrays: Any) -> str:
    """A hash of the bits of arrays."""
    found = hashlib.sha256()
    for a in arrays:
        found.update(np.ascontiguousarray(a).tobytes())
    return found.hexdigest()


def outcome(trainer: bp.Trainer, folder: str | Path) -> dict[str, Any]:
    """What must be the same, however often training was stopped."""
    net, host = trainer.network, trainer.backend.to_host
    last, best = checkpoints_in(folder)[0], Path(folder, "best.safetensors")
    return {
        "steps": trainer.step_count,
        "parameters": sha(host(net.flat)),
        "running statistics": sha(host(net.states.flat)),
        "moments": {name: sha(host(moment.flat)) for name, moment in trainer.update.moments.items()},
        "history": {name: [float(value).hex() for value in column] for name, column in trainer.history.items()},
        "the last checkpoint": sha(*bp.load(last, device="cpu").parameters.values()),
        "the best checkpoint": sha(*bp.load(best, device="cpu").parameters.values()),
    }


def trainer_of(kind: Kind, device: Any = "cpu", workers: int | None = None, shards: int | None = SHARDS) -> bp.Trainer:
    """A new trainer. shards: None on a GPU."""
    net, loss = kind.network(device), bp.SoftmaxCrossEntropy()
    settings = kind.settings | {"shards": shards, "workers": workers, "communicator": "auto"}
    return bp.Trainer(net, loss, bp.Adam(0.01), **settings)


def train(trainer: bp.Trainer, kind: Kind, folder: str | Path, ending: list[bp.Callback]) -> bp.Trainer:
    """Begin, or go on with, a training; to its end."""
    trainer.resume(folder, missing_ok=True)
    checkpoint = bp.Checkpoint(folder, every_steps=3, every_minutes=0.002)
    callbacks = [*kind.callbacks(), *ending, checkpoint]
    trainer.fit(kind.X, kind.y, callbacks=callbacks, verbose=False, **kind.fit)
    return trainer


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    folder = told["folder"]
    faulthandler.register(signal.SIGUSR2)  # says where a process hangs
    if told.get("patient"):  # a short time limit is for the training, and not for the start
        from mpi4py import MPI

        MPI.COMM_WORLD.Barrier()
    kind, ending = KINDS[told["kind"]](), [Ending(folder, *told["end"])] if told.get("end") else []
    trainer = train(trainer_of(kind, workers=told.get("workers")), kind, folder, ending)
    if trainer.history.interrupted:
        sys.exit(130)
    rank = trainer.processes.rank if trainer.processes else 0
    if trainer.processes is not None:
        trainer.processes.agree()  # process 0 has written its files
    Path(folder, f"outcome-{rank}.json").write_text(json.dumps(outcome(trainer, folder)))
