"""Run `gpubp compare --backends cpu,cuda` on two networks: gpu_compare.py RESULTS LOGS

Its text and its JSON are kept in the logs, as compare-digits.txt and compare-digits.json, and the same for the CNN.
docs/comparing-backends.md shows them. A fault if rounding does not explain all differences.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

from gpu_data import missing, pictures
from gpu_results import Stage

STEPS = ("--steps", "2")  # of a dry run


def commands(dry: bool) -> dict[str, list[str]]:
    """The arguments of `gpubp` for each network."""
    named = "digits" if dry else pictures().name
    small = (*STEPS, "--batch-size", "4") if dry else ()
    return {
        "digits": ["compare", "digits", "--backends", "cpu,cuda", *(("--hidden", "6") if dry else ()), *small],
        "cnn": ["compare", named, "--model", "cnn", "--batch-norm", "--dropout", "0.2", "--backends", "cpu,cuda",
                *(("--hidden", "4") if dry else ()), *small],
    }  # fmt: skip


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


def compare(stage: Stage, name: str, arguments: list[str]) -> None:
    """One comparison, as a line."""
    with stage.results.part(name) as line:
        file = stage.logs / f"compare-{name}.json"
        own = [str(Path(__file__)), str(stage.results.file), str(stage.logs), "--dry", "--share", name]
        command = own if stage.dry else ["-m", "gpubp", *arguments, "--json", str(file), "--color", "never"]
        limit = max(1.0, stage.left - 1.0)
        run = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=limit)
        printed = [text for text in run.stdout.splitlines() if not text.startswith("json ")]  # the path of a log
        text = "\n".join([f"$ gpubp {' '.join(arguments)}", *printed]) + "\n"
        (stage.logs / f"compare-{name}.txt").write_text(text, encoding="utf-8")
        print(text, run.stderr)
        line |= {"command": f"gpubp {' '.join(arguments)}", "code": run.returncode, "ok": run.returncode == 0}
        if not file.exists():
            line |= {"ok": False, "problem": (run.stderr.strip() or "no JSON").splitlines()[-1][:400]}
            return
        found = json.loads(file.read_text(encoding="utf-8"))
        (other,) = found["others"]
        faults = other["faults"]
        bits = [what for what in ("batches", "masks") if not other[f"same_{what}"]]
        line |= {"faults": faults, "seconds_a_step": found["seconds"], "replayed": found["replayed"]}
        largest = max((relative for layer in other["layers"] for _, relative in layer["outputs"]), default=0.0)
        seconds = ", ".join(f"{where} {s * 1e6:.4g} {stage.us}" for where, s in found["seconds"].items())
        said = "; ".join(faults[:3]) or f"outputs {largest:.0e} apart at most"
        line["problem"] = line["shown"] = (
            f"{said}; {'OTHER ' + ', '.join(bits) if bits else 'same batches and masks'}; a step {seconds}"
        )
        if name == "cnn" and missing(stage.dry):
            line["shown"] += f"; {missing()}"


def main(stage: Stage) -> int:
    """Both, one after the other, because the time of a step is measured."""
    asked = commands(stage.dry)
    if stage.share:
        file = str(stage.logs / f"compare-{stage.share}.json")
        return on_the_stand_in([*asked[stage.share], "--json", file, "--color", "never"])
    for name, arguments in asked.items():
        if stage.left < 5.0:
            stage.results.add(name, ok=False, problem="left out, the time was over")
        else:
            compare(stage, name, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(Stage("compare")))
