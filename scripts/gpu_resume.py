"""Kill trainings on the GPU, and resume them: gpu_resume.py RESULTS LOGS

A process trains one of `crash_training.KINDS` on the GPU with checkpoints, and is killed by SIGKILL in the middle;
another one resumes it. Parameters, moments, history and checkpoints must then have the bits of a training that nobody
killed. A checkpoint of the GPU is also resumed on the CPU, and one of the CPU on the GPU: after some steps the
parameters must be near those of the device that went on by itself.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import crash_training
import numpy as np
from gpu_results import Stage

import gpubp as bp
from gpubp.training.snapshot import checkpoints_in

NEAR = 1e-3  # of what the parameters have moved in the compared steps, and of their size
BEFORE = 5  # steps before the kill there is a checkpoint
ROUNDING = ("2.b",)  # a bias before BatchNorm: its gradient is nothing but rounding, which Adam makes visible


class Plan(NamedTuple):
    """kinds: of trainings. epochs: of each. kill_at: the step after which it is killed, and seconds later.
    crossed: the kind that changes devices."""

    kinds: tuple[str, ...]
    epochs: int
    kill_at: int
    delay: float
    crossed: str


FULL = Plan(("cnn", "average", "accumulated"), 60, 45, 0.002, "cnn")
SMALL = Plan(("plain",), 8, 17, 0.0, "plain")


class Run(NamedTuple):
    """A process that trains. log: what it has printed."""

    process: subprocess.Popen[bytes]
    folder: Path
    log: Path

    def end(self, limit: float) -> int:
        """Wait for it; its exit code. Raises TimeoutError."""
        try:
            return self.process.wait(max(limit, 0.1))
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.folder.name} was not done in time") from None

    def outcome(self) -> dict[str, Any]:
        """What it has left; raises RuntimeError if it has failed."""
        if self.process.returncode:
            said = self.log.read_text(errors="replace").strip().splitlines() or ["no word"]
            raise RuntimeError(f"{self.folder.name} ended with {self.process.returncode}: {said[-1][:300]}")
        found: dict[str, Any] = json.loads((self.folder / "outcome.json").read_text(encoding="utf-8"))
        return found


def begin(stage: Stage, kind: str, folder: Path, device: str, killed: bool) -> Run:
    """Start a process that trains, or goes on with, what lies in a folder."""
    folder.mkdir(exist_ok=True)
    told = {"kind": kind, "folder": str(folder), "device": device, "killed": killed}
    command = [sys.executable, str(Path(__file__)), str(stage.results.file), str(stage.logs), *["--dry"] * stage.dry]
    log = stage.logs / f"resume-{folder.name}.log"
    with open(log, "ab") as out:
        process = subprocess.Popen([*command, "--share", json.dumps(told)], stdout=out, stderr=subprocess.STDOUT)
    return Run(process, folder, log)


def plan_of(stage: Stage) -> Plan:
    """What is trained."""
    return SMALL if stage.dry else FULL


def kind_of(name: str, plan: Plan) -> crash_training.Kind:
    """A kind of training, of as many epochs as planned."""
    kind = crash_training.KINDS[name]()
    kind.fit["epochs"] = plan.epochs
    return kind


def trainer_on(stage: Stage, kind: crash_training.Kind, device: str) -> bp.Trainer:
    """A new trainer on "gpu" or "cpu"."""
    return crash_training.trainer_of(kind, "cpu" if device == "cpu" else stage.backend(), workers=1, shards=None)


class WaitsForCheckpoint(bp.Callback):
    """Waits after so many steps until a checkpoint of later than the beginning is written, which a thread does."""

    def __init__(self, folder: str, steps: int) -> None:
        self.folder, self.steps = folder, steps

    def on_step_end(self, trainer: Any) -> None:
        """Wait, for some seconds at most."""
        self.steps -= 1
        end = time.monotonic() + 10.0
        while self.steps == 0 and step_of(checkpoints_in(self.folder)[0]) == 0 and time.monotonic() < end:
            time.sleep(0.005)


def train(stage: Stage, told: dict[str, Any]) -> int:
    """What one process does: it trains to the end, unless it is killed; and writes its outcome."""
    plan, folder = plan_of(stage), told["folder"]
    kind = kind_of(told["kind"], plan)
    ending: list[bp.Callback] = []
    if told["killed"]:
        ending.append(WaitsForCheckpoint(folder, plan.kill_at - BEFORE))
        ending.append(crash_training.Ending(folder, "KILL", 0, plan.kill_at, plan.delay))
    trainer = trainer_on(stage, kind, told["device"])
    crash_training.train(trainer, kind, folder, ending)
    found = crash_training.outcome(trainer, folder)
    captured = told["device"] == "cpu" or trainer.record.graph is not None
    (Path(folder) / "outcome.json").write_text(json.dumps({"outcome": found, "captured": captured}), encoding="utf-8")
    return 0


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written, by its name."""
    return int(checkpoint.stem.rpartition("-")[2])


def killed_in_the_middle(run: Run, limit: float, last: int) -> tuple[Path, int]:
    """(the newest checkpoint, its step) of a process that was killed; raises RuntimeError if it ended otherwise."""
    code = run.end(limit)
    if code != -signal.SIGKILL:
        said = run.log.read_text(errors="replace").strip().splitlines() or ["no word"]
        raise RuntimeError(f"{run.folder.name} ended with {code}, and not by SIGKILL: {said[-1][:300]}")
    newest = checkpoints_in(run.folder)[0]
    if not 0 < step_of(newest) < last:
        raise RuntimeError(f"the newest checkpoint is of step {step_of(newest)} of {last}, and so not of the middle")
    return newest, step_of(newest)


def parameters(trainer: bp.Trainer, kind: str) -> Any:
    """The parameters as one vector, without those that only rounding moves."""
    named = trainer.network.parameters.items()
    left_out = ROUNDING if kind == "cnn" else ()
    return np.concatenate([np.ravel(trainer.backend.to_host(a)) for name, a in named if name not in left_out])


def gone_on(stage: Stage, name: str, checkpoint: Path, device: str) -> tuple[Any, Any, int]:
    """(parameters of a checkpoint, parameters after the end of the next epoch, steps) on a device."""
    kind = kind_of(name, plan_of(stage))
    trainer = trainer_on(stage, kind, device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rounded otherwise")
        trainer.resume(checkpoint)
    start, before = parameters(trainer, name), trainer.step_count
    epochs = before // -(-len(kind.X) // trainer.rows_of_step(len(kind.X))) + 2
    trainer.fit(kind.X, kind.y, **kind.fit | {"epochs": epochs}, callbacks=kind.callbacks(), verbose=False)
    return start, parameters(trainer, name), trainer.step_count - before


def cross(stage: Stage, name: str, checkpoint: Path, of: str, to: str) -> None:
    """Go on from a checkpoint on its own device and on the other one, as a line."""
    with stage.results.part(f"{name}, checkpoint of the {of.upper()} on the {to.upper()}") as line:
        start, mine, steps = gone_on(stage, name, checkpoint, of)
        _, theirs, also = gone_on(stage, name, checkpoint, to)
        apart, moved = float(np.abs(mine - theirs).max()), float(np.abs(mine - start).max())
        line |= {"steps": steps, "from": step_of(checkpoint), "apart": apart, "moved": moved}
        line["ok"] = steps == also and 0 < moved and apart <= NEAR * min(moved, float(np.abs(mine).max()))
        line["shown"] = line["problem"] = (
            f"from step {line['from']} on {steps} steps: parameters {apart:.0e} apart, which have moved by {moved:.0e}"
        )


def resume(stage: Stage, root: Path, kind: str, whole: Run, killed: Run, last: int) -> Path | None:
    """Resume a training that was killed, and compare it with the one that was not, as a line; its checkpoint."""
    checkpoint = None
    with stage.results.part(kind) as line:
        checkpoint, step = killed_in_the_middle(killed, stage.left - 4.0, last)
        kept = root / f"{kind} {checkpoint.name}"
        shutil.copy(checkpoint, kept)
        checkpoint = kept
        again = begin(stage, kind, killed.folder, "gpu", killed=False)
        whole.end(stage.left - 3.0)
        again.end(stage.left - 2.0)
        wanted, found = whole.outcome(), again.outcome()
        different = [name for name in wanted["outcome"] if wanted["outcome"][name] != found["outcome"].get(name)]
        captured = wanted["captured"] and found["captured"]
        line |= {"resumed_at": step, "steps": wanted["outcome"]["steps"], "different": different, "captured": captured}
        line["parameters"] = [one["outcome"]["parameters"][:16] for one in (wanted, found)]
        line["ok"] = not different and captured
        line["shown"] = line["problem"] = (
            f"killed, resumed at step {step} of {line['steps']}: "
            f"{'OTHER ' + ', '.join(different) if different else 'the bits of a training that was not killed'}"
            f"{'' if captured else '; NO GRAPH'}"
        )
    return checkpoint


def main(stage: Stage) -> int:
    """All of it; or one training."""
    if stage.share:
        return train(stage, json.loads(stage.share))
    plan, crossed = plan_of(stage), plan_of(stage).crossed
    with tempfile.TemporaryDirectory(prefix="gpubp-resume-", ignore_cleanup_errors=True) as made:
        root = Path(made)
        of_cpu = begin(stage, crossed, root / f"{crossed} killed on the CPU", "cpu", True)
        runs = {
            kind: tuple(
                begin(stage, kind, root / f"{kind} {how}", "gpu", how == "killed") for how in ("whole", "killed")
            )
            for kind in plan.kinds
        }
        try:
            checkpoints = {}
            for kind, (whole, killed) in runs.items():
                trained = kind_of(kind, plan)
                rows = len(trained.X) * (1 - trained.fit.get("validation_fraction", 0.0))
                last = plan.epochs * int(rows // trained.settings["batch_size"])
                checkpoints[kind] = resume(stage, root, kind, whole, killed, last)
            if (checkpoint := checkpoints[crossed]) is not None:
                cross(stage, crossed, checkpoint, "gpu", "cpu")
            checkpoint = None
            with stage.results.part(f"{crossed} on the CPU") as line:
                checkpoint, line["killed_at"] = killed_in_the_middle(of_cpu, stage.left - 2.0, 10**9)
            if checkpoint is not None:
                cross(stage, crossed, checkpoint, "cpu", "gpu")
        finally:
            for run in (of_cpu, *(run for pair in runs.values() for run in pair)):
                run.process.kill()
                run.process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(Stage("resume")))
