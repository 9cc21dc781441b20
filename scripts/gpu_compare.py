"""Run `gpubp compare --backends cpu,cuda` on two networks: gpu_compare.py RESULTS LOGS

Its text and its JSON are kept in the logs, as compare-digits.txt and compare-digits.json, and the same for the CNN.
docs/comparing-backends.md shows them. A fault if rounding does not explain all differences. Then it runs other commands
that need a GPU, side by side, whose texts are command-exact.txt and so on.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from gpu_data import pictures
from gpu_results import Stage

STEPS = ("--steps", "2")  # of a dry run
PLAIN = ["--color", "never"]
SAID = ("ok", "FAULT", "sha256", "failed", "the GPU", "steps a second")  # how the lines begin that a result shows
MNIST = ["compare", "mnist", "--model", "cnn", "--batch-norm", "--steps", "10", "--batch-size", "32"]
MNIST += ["--backends", "cpu,cuda"]
# MNIST's background has one colour: rounding decides which of equal numbers MaxPool2D takes. So input gradients may
# differ by their own size, and what is found there is no fault.
NOT_JUDGED = ("mnist",)
LEAST = 8.0  # seconds for the other commands


def commands(dry: bool) -> dict[str, list[str]]:
    """The arguments of `gpubp` for each network."""
    mlp, cnn = (("--hidden", "6"), ("--hidden", "4")) if dry else ((), ())
    small = (*STEPS, "--batch-size", "4") if dry else ()
    convolutional = ("--model", "cnn", "--batch-norm", "--dropout", "0.2")
    return {
        "digits": ["compare", "digits", "--backends", "cpu,cuda", *mlp, *small],
        "cnn": ["compare", "digits", *convolutional, "--backends", "cpu,cuda", *cnn, *small],
    }


def other_commands(dry: bool) -> dict[str, list[str]]:
    """The arguments of `gpubp` for what is run after that; in a dry run one, on the stand-in."""
    coarse = ["compare", "digits", "--backends", "cpu,cuda-tf32", *(("--hidden", "6", *STEPS) if dry else ())]
    if dry:
        return {"tf32": coarse}
    exact = ["compare", "digits", "--exact", "--steps", "5", "--batch-size", "128", "--backends", "cpu,cuda"]
    return {
        **({"exact": exact} if importlib.util.find_spec("numba") else {}),
        "tf32": coarse,
        "bfloat16": [*coarse[:-1], "cpu,cuda-bfloat16"],
        "doctor": ["doctor", "--gpu-smoke"],
        **({"mnist": MNIST} if pictures().name == "mnist" else {}),
    }


def on_the_stand_in(arguments: list[str]) -> int:
    """`gpubp` in this process, where "cuda" is the stand-in for a GPU."""
    from gpubp.backends.cuda.backend import CUDA
    from gpubp.cli.app import app
    from strict import StrictProducts, strict_cupy

    cupy = strict_cupy()
    with (
        mock.patch("gpubp.backends.cuda.driver.find_cupy", lambda: cupy),
        mock.patch.dict(CUDA.__init__.__kwdefaults__, products=StrictProducts),
    ):
        return app.run(arguments, "gpubp")


def run(stage: Stage, name: str, arguments: list[str], log: str, more: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of `gpubp` and keep its text in a log. more: arguments that the text does not show."""
    own = [str(Path(__file__)), str(stage.results.file), str(stage.logs), "--dry", "--share", name]
    command = own if stage.dry else ["-m", "gpubp", *arguments, *more]
    limit = max(1.0, stage.left - 1.0)
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=limit)
    printed = [text for text in done.stdout.splitlines() if not text.startswith("json ")]  # the path of a log
    text = "\n".join([f"$ gpubp {' '.join(arguments)}", *printed]) + "\n"
    (stage.logs / log).write_text(text, encoding="utf-8")
    print(text, done.stderr)
    return done


def compare(stage: Stage, name: str, arguments: list[str]) -> None:
    """One comparison, as a line."""
    with stage.results.part(name) as line:
        file = stage.logs / f"compare-{name}.json"
        done = run(stage, name, arguments, f"compare-{name}.txt", ["--json", str(file), *PLAIN])
        line |= {"command": f"gpubp {' '.join(arguments)}", "code": done.returncode, "ok": done.returncode == 0}
        if not file.exists():
            line |= {"ok": False, "problem": (done.stderr.strip() or "no JSON").splitlines()[-1][:400]}
            return
        found = json.loads(file.read_text(encoding="utf-8"))
        (other,) = found["others"]
        faults = other["faults"]
        bits = [what for what in ("batches", "masks") if not other[f"same_{what}"]]
        line |= {"faults": faults, "seconds_a_step": found["seconds"], "replayed": found["replayed"]}
        largest = max((relative for layer in other["layers"] for _, relative in layer["outputs"]), default=0.0)
        seconds = ", ".join(f"{where} {s * 1e6:.4g} {stage.us}" for where, s in found["seconds"].items())
        said = "; ".join(faults[:3]) or f"outputs {largest:.0e} apart at most"
        line["shown"] = f"{said}; {'OTHER ' + ', '.join(bits) if bits else 'same batches and masks'}; a step {seconds}"
        line["problem"] = line["shown"]


def command(stage: Stage, name: str, arguments: list[str]) -> None:
    """Another command, as a line; its exit code says whether there is a fault."""
    with stage.results.part(name) as line:
        done = run(stage, name, arguments, f"command-{name}.txt", PLAIN)
        line |= {"command": f"gpubp {' '.join(arguments)}", "code": done.returncode, "ok": done.returncode == 0}
        if name in NOT_JUDGED and done.returncode in (0, 1):
            del line["ok"]
        told = [text for text in done.stdout.splitlines() if text.startswith(SAID)]
        line["shown"] = "; ".join(told)[:400] or f"exit code {done.returncode}"
        line["problem"] = "; ".join([*told, *done.stderr.strip().splitlines()[-1:]])[:400] or line["shown"]


def main(stage: Stage) -> int:
    """Both comparisons, one after the other, because the time of a step is measured; then the other commands."""
    asked, others = commands(stage.dry), other_commands(stage.dry)
    if stage.share:
        file = str(stage.logs / f"compare-{stage.share}.json")
        return on_the_stand_in(
            [*(asked | others)[stage.share], *(("--json", file) if stage.share in asked else ()), *PLAIN]
        )
    for name, arguments in asked.items():
        if stage.left < 5.0:
            stage.results.add(name, ok=False, problem="left out, the time was over")
        else:
            compare(stage, name, arguments)
    if stage.left < LEAST:
        stage.results.add("other commands", shown="left out, the time was over")
        return 0
    with ThreadPoolExecutor(len(others)) as pool:
        list(pool.map(lambda name: command(stage, name, others[name]), others))
    return 0


if __name__ == "__main__":
    sys.exit(main(Stage("compare")))
