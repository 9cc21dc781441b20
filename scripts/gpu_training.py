"""Train an MLP and a CNN on pictures of digits, on the GPU and on the CPU from one seed: gpu_training.py RESULTS LOGS

First the rows, masks and augmented pictures of some steps are compared bit by bit. Then both train for some epochs, the
CPU in processes beside. Rounding makes two trainings different networks after some hundred steps, so that accuracies
are compared and not weights: of b test rows that only the GPU has right, and c that only the CPU has, b - c has the
variance b + c if both are equally good. |b - c| > 4 √(b + c) is a fault; by chance it comes once in 16,000 times. Among
eight trainings of the MLP on one CPU, each with its sums in another order, any two predicted 48 to 69 of 10,000 rows
differently, and |b - c| was 2.3 √(b + c) at most; among four of the CNN 18 to 31 rows, and 1.6 √(b + c).
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gpu_data import missing, pictures
from gpu_results import Stage

import gpubp as bp
from gpubp.layers.augmentation import _RandomMap

MODELS = ("mlp", "cnn")
NEARLY = "1 RandomRotation"  # has cos and sin, whose last bits differ from one library to the other
NEAR = 1e-4  # how far they may move the corners of pictures, in pixels, and the pixels
SIGMAS = 4.0
Arrays = dict[str, np.ndarray[Any, Any]]


class Plan(NamedTuple):
    """How long what is trained. learnt: the least accuracy of a training that works. steps: whose bits are compared."""

    epochs: dict[str, int]
    batch: int
    learnt: dict[str, float]
    steps: int


PLANS = {
    "mnist": Plan({"mlp": 4, "cnn": 2}, 128, {"mlp": 0.95, "cnn": 0.96}, 40),
    "digits": Plan({"mlp": 20, "cnn": 15}, 32, {"mlp": 0.92, "cnn": 0.92}, 40),
    "dry": Plan({"mlp": 2, "cnn": 1}, 20, {"mlp": 0.0, "cnn": 0.0}, 6),
}


def plan_of(dry: bool) -> Plan:
    """What is trained on the pictures that are there."""
    return PLANS["dry" if dry else pictures().name]


def data(model: str, dry: bool) -> tuple[Any, Any, Any, Any]:
    """(X, y, X_test, y_test), as pictures but for an MLP; in a dry run some of them."""
    found = pictures(dry)
    side = math.isqrt(math.prod(found.input_shape))
    shape = (side * side,) if model == "mlp" else (side, side, 1)
    most = 120 if dry else None
    X, X_test = (a[:most].reshape(-1, *shape) for a in (found.X, found.X_test))
    return X, found.y[:most], X_test, found.y_test[:most]


def trainer_of(model: str, device: Any, shape: tuple[int, ...], dry: bool, workers: int | None = None) -> bp.Trainer:
    """The same network, optimizer and order on each device."""
    if model == "mlp":
        layers = bp.mlp(10, (8,) if dry else (256, 128), dropout=0.2)
    elif model == "rotation":
        layers = bp.Sequential(bp.RandomFlip("horizontal"), bp.RandomRotation(0.05), bp.Flatten(), bp.Dense(10))
    else:
        augment = (bp.RandomTranslation(0.08, 0.08), bp.RandomZoom(0.1, 0.1))
        sizes: tuple[Any, Any] = ((2,), (4,)) if dry else ((16, 32), (128,))
        layers = bp.cnn(10, shape, *sizes, dropout=0.25, augment=augment)
    net = bp.Network(layers, shape, device=device, seed=1)
    batch = plan_of(dry).batch
    return bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=batch, seed=2, workers=workers)


# -- bits of the first steps ------------------------------------------------------------------------------------------


def drawn(trainer: bp.Trainer) -> Arrays:
    """What the last step has drawn, and made of the rows: the batch, masks, random numbers and augmented pictures."""
    step = trainer.last_step
    found = {"rows": step.x, "targets": step.t}
    for ws in step.ws.walk():
        layer = ws._layer
        augments = isinstance(layer, _RandomMap)
        for name in (*layer.draws, *(("theta", "y") if augments else ())):
            what = "pictures" if augments and name == "y" else name
            found[f"{what} of {ws.path} {type(layer).__name__}"] = ws.__dict__[name]
    return {name: np.array(trainer.backend.to_host(a)) for name, a in found.items()}


class Seen(bp.Callback):
    """Notes what each step has drawn; so each is made by itself, at first call by call, and then by a graph."""

    def __init__(self) -> None:
        self.steps: list[Arrays] = []

    def on_step_end(self, trainer: Any) -> None:
        """Note it."""
        self.steps.append(drawn(trainer))


def seen_on(model: str, device: Any, dry: bool) -> tuple[list[Arrays], bp.Trainer]:
    """What the first steps have drawn, and the last of as many that are made several in a launch."""
    X, y, _, _ = data(model, dry)
    plan, seen = plan_of(dry), Seen()
    rows = plan.steps * plan.batch
    for callbacks in ([seen], []):
        trainer = trainer_of(model, device() if callable(device) else device, X.shape[1:], dry, workers=1)
        trainer.fit(X[:rows], y[:rows], epochs=-(-rows // len(X)), callbacks=callbacks, verbose=False)
    return [*seen.steps, drawn(trainer)], trainer


def different(one: Arrays, other: Arrays) -> dict[str, int]:
    """How many numbers of each array have other bits."""
    found = {}
    for name in one.keys() | other.keys():
        a, b = one.get(name), other.get(name)
        if a is None or b is None or (a.shape, a.dtype) != (b.shape, b.dtype):
            found[name] = -1
        else:
            bits = np.dtype(f"u{a.itemsize}")
            found[name] = int((a.view(bits) != b.view(bits)).sum())
    return found


def compare_bits(stage: Stage, model: str) -> None:
    """Rows, masks and pictures of the first steps, as a line."""
    with stage.results.part(f"{model}, bits") as line:
        (cpu, _), (gpu, trainer) = seen_on(model, "cpu", stage.dry), seen_on(model, stage.backend, stage.dry)
        faults: dict[str, str] = {}
        apart: dict[str, float] = {}
        for step, (one, other) in enumerate(zip(cpu, gpu, strict=True), 1):
            for name, count in different(one, other).items():
                if name.endswith(NEARLY) and not name.startswith("u ") and count >= 0:
                    apart[name] = float(np.maximum(apart.get(name, 0.0), np.abs(one[name] - other[name]).max()))
                elif count:
                    faults.setdefault(name, f"{name}: {count} of {one[name].size} differ in step {step}")
        faults |= {name: f"{name}: {most:.0e} apart" for name, most in apart.items() if not most <= NEAR}
        captured, same = trainer.record.graph is not None, sorted(cpu[0].keys() - apart.keys())
        line |= {"steps": len(cpu), "arrays": same, "apart": apart, "faults": list(faults.values())}
        line |= {"captured": captured, "ok": not faults and captured}
        said = "; ".join(faults.values()) or f"the CPU's bits in {len(cpu)} steps: {', '.join(same)}"
        said += "".join(f"; {name} {most:.0e} apart" for name, most in apart.items() if name not in faults)
        line["shown"] = line["problem"] = said + ("" if captured else f"; NO GRAPH ({trainer.record.refusal})")


# -- accuracy ---------------------------------------------------------------------------------------------------------


class Trained(NamedTuple):
    """What training has come to after each epoch: the classes of the test rows, the seconds of all epochs together,
    without tests, and the loss."""

    classes: list[Any]
    seconds: list[float]
    losses: list[float]


def trained(model: str, device: Any, dry: bool, after_epoch: Callable[[Trained], None] = lambda done: None) -> Trained:
    """Train, and predict the test rows after each epoch."""
    X, y, X_test, _ = data(model, dry)
    trainer, done, spent = trainer_of(model, device, X.shape[1:], dry), Trained([], [], []), 0.0
    for _ in range(plan_of(dry).epochs[model]):
        start = time.perf_counter()
        (loss,) = trainer.fit(X, y, verbose=False)["loss"]
        spent += time.perf_counter() - start
        done.classes.append(trainer.network.predict(X_test).argmax(axis=1).astype(np.uint8))
        done.seconds.append(spent)
        done.losses.append(loss)
        after_epoch(done)
    return done


def judge(gpu: Any, cpu: Any, y: Any) -> dict[str, Any]:
    """The accuracies of predicted classes, and whether they differ by more than chance; see the module's text.

    >>> y = np.zeros(100)
    >>> found = judge(np.arange(100) < 3, np.arange(100) > 96, y)
    >>> found["gpu"], found["cpu"], found["differently"], found["sigmas"], found["alike"]
    (0.97, 0.97, 6, 0.0, True)
    >>> judge(np.arange(100) < 25, y, y)["alike"]
    False
    """
    right, theirs = gpu == y, cpu == y
    only_gpu, only_cpu = int((right & ~theirs).sum()), int((theirs & ~right).sum())
    sigmas = (only_gpu - only_cpu) / math.sqrt(max(only_gpu + only_cpu, 1))
    return {
        "gpu": float(right.mean()), "cpu": float(theirs.mean()), "differently": int((gpu != cpu).sum()),
        "only_gpu": only_gpu, "only_cpu": only_cpu, "sigmas": sigmas, "alike": abs(sigmas) <= SIGMAS,
    }  # fmt: skip


def on_the_cpu(stage: Stage, cores: dict[str, set[int]]) -> dict[str, subprocess.Popen[bytes]]:
    """The trainings on the CPU, each in a process with cores of its own."""
    command = [sys.executable, str(Path(__file__)), str(stage.results.file), str(stage.logs), *["--dry"] * stage.dry]

    def pinned(model: str) -> Callable[[], None] | None:
        mine = cores.get(model)
        return (lambda: os.sched_setaffinity(0, mine)) if mine else None

    limit = ["--limit", f"{stage.left:.1f}"]
    return {model: subprocess.Popen([*command, *limit, "--share", model], preexec_fn=pinned(model)) for model in MODELS}


def shared_cores() -> dict[str, set[int]]:
    """Cores for the trainings on the CPU, of a machine that has many; two are left for what asks the GPU.

    >>> {model: len(cores) for model, cores in shared_cores().items()}.keys() <= {"mlp", "cnn"}
    True
    """
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(there) < 8:
        return {}
    for_mlp = max(2, len(there) // 4)
    return {"mlp": set(there[2 : 2 + for_mlp]), "cnn": set(there[2 + for_mlp :])}


def train_on_the_cpu(stage: Stage, model: str) -> None:
    """What a process on the CPU does: it writes what it has found after each epoch."""
    file = stage.logs / f"training-{model}-cpu.npz"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

    def write(done: Trained) -> None:
        made = file.with_suffix(".new.npz")
        np.savez(made, cores=cores, **done._asdict())
        made.replace(file)

    trained(model, "cpu", stage.dry, write)


def result_of(stage: Stage, model: str, process: subprocess.Popen[bytes]) -> tuple[Trained, int]:
    """(what the CPU's process of a model has found, its cores), of fewer epochs if the time was too short; raises
    RuntimeError where it has found nothing."""
    code, file = None, stage.logs / f"training-{model}-cpu.npz"
    with suppress(subprocess.TimeoutExpired):
        code = process.wait(max(0.1, stage.left - 2.0))
    if code or not file.exists():
        ended = f"ended with {code}; the log says why" if code else "had no epoch done in time"
        raise RuntimeError(f"the training on the CPU {ended}")
    with np.load(file) as found:
        done = Trained(list(found["classes"]), found["seconds"].tolist(), found["losses"].tolist())
        return done, int(found["cores"])


def compare_accuracy(stage: Stage, model: str, process: subprocess.Popen[bytes]) -> None:
    """Train on the GPU, wait for the CPU, and compare, as a line."""
    with stage.results.part(model) as line:
        plan, y = plan_of(stage.dry), data(model, stage.dry)[3]
        line |= {"data": pictures(stage.dry).name, "epochs": plan.epochs[model], "batch": plan.batch, "tested": len(y)}
        gpu = trained(model, stage.backend(), stage.dry)
        line |= {"gpu": float((gpu.classes[-1] == y).mean()), "gpu_seconds": gpu.seconds[-1], "gpu_losses": gpu.losses}
        line["gpu_epoch_seconds"] = gpu.seconds[-1] - gpu.seconds[-2] if len(gpu.seconds) > 1 else gpu.seconds[-1]
        print(f"{model}: the GPU's accuracy is {line['gpu']} after {line['gpu_seconds']:.2f} s", flush=True)
        cpu, cores = result_of(stage, model, process)
        epochs = len(cpu.classes)
        line |= judge(gpu.classes[epochs - 1], cpu.classes[-1], y)
        line |= {"compared_after": epochs, "cpu_seconds": cpu.seconds[-1], "cpu_losses": cpu.losses, "cpu_cores": cores}
        learnt = min(line["gpu"], line["cpu"]) >= plan.learnt[model]
        line["ok"] = line["alike"] and learnt
        line["shown"] = line["problem"] = (
            f"{line['data']}, {epochs} epochs: accuracy {line['gpu']:.4f}, CPU {line['cpu']:.4f}, "
            f"{line['differently']} of {len(y)} rows predicted differently, {abs(line['sigmas']):.1f} σ"
            f"{'' if learnt else ', NOT LEARNT'}; {gpu.seconds[epochs - 1]:.3g} s, an epoch "
            f"{line['gpu_epoch_seconds']:.2g}, CPU {cpu.seconds[-1]:.3g} s by {cores} cores"
            f"{'; ' + missing(stage.dry) if missing(stage.dry) else ''}"
        )


def main(stage: Stage) -> int:
    """All of it; or the training of one model on the CPU."""
    if stage.share:
        train_on_the_cpu(stage, stage.share)
        return 0
    processes = on_the_cpu(stage, shared_cores())
    try:
        for model in (*MODELS, "rotation"):
            compare_bits(stage, model)
        for model in MODELS:
            compare_accuracy(stage, model, processes[model])
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(Stage("training")))
