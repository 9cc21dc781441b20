"""Run the stages of scripts/gpu_check.sh, each with a time limit: gpu_stages.py FOLDER PART

PART: one of LIMITS.

Each stage is a process. Its limit is the remaining time, minus the minimum time of the later stages. After its limit
the stage is interrupted, and some seconds later it is killed with all its child processes. Its results up to then are
kept.
"""

from __future__ import annotations

import argparse
import datetime
import glob
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import gpu_table
from gpu_results import GRACE, PLAN, ROOT, Results, read

from benchmarks.machine import gpu

LIMITS = {"first": 150.0, "second": 270.0, "third": 170.0, "profile": 85.0, "all": 560.0}  # seconds of everything
SLOWER = 5.0  # times these are for a dry run, which may be one of many tests on few cores
CLOSING = 6.0  # seconds of them for the table and the logs
MOST = 12_000  # characters that are printed
LARGEST_LOG = 400_000  # bytes of a log that are kept, half from its beginning and half from its end
TEST_FILES = {
    "tests-cublaslt": "tests/backends/cuda/kernels/test_cublaslt_gpu.py",
    "tests-training": "tests/backends/cuda/kernels/test_training_gpu.py",
}


class Stage(NamedTuple):
    """name; command; most: seconds that it may take; least: that are left for it. limited: whether the command is told
    its limit. missing: why it can't be run, "" if it can."""

    name: str
    command: list[str]
    most: float
    least: float
    limited: bool = True
    missing: str = ""


def stages(which: str, results: Path, logs: Path, dry: bool) -> list[Stage]:
    """The stages of a run, in order."""

    def script(name: str, most: float, least: float, file: str = "", missing: str = "") -> Stage:
        command = [sys.executable, str(ROOT / "scripts" / f"gpu_{file or name}.py"), str(results), str(logs)]
        return Stage(name, [*command, "--name", name, *["--dry"] * dry], most, least, True, missing)

    first = [
        script("machine", 20, 10),
        script("smoke-A", 40, 22, "smoke"),
        script("smoke-D", 40, 22, "smoke"),
        script("nan", 20, 10),
        script("messages", 25, 8),
        *(_tests(name, logs, dry) for name in TEST_FILES),
    ]
    second = [
        script("exact", 70, 35),
        script("parity", 85, 40),
        script("benchmarks", 215, 110),
        script("racecheck", 42, 35, missing="" if dry or sanitizer() else "compute-sanitizer is not installed"),
    ]
    profile = [script("profile", 60, 25)]
    third = [
        script("training", 60, 30),
        script("resume", 60, 27),
        script("memory", 40, 12),
        script("compare", 60, 28),
        *profile,
    ]
    parts = {"first": first, "second": second, "third": third, "profile": profile}
    return parts.get(which, first + second + third)


def _tests(name: str, logs: Path, dry: bool) -> Stage:
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-o", "addopts=", "-W", "default"]
    command += ["-p", "gpu_pytest", "--tb=short", f"--junitxml={logs / name}.xml", "--maxfail=15"]
    if dry:
        command.append("--collect-only")
    elif importlib.util.find_spec("xdist"):
        command += ["-n", "4" if name == "tests-cublaslt" else "8"]  # networks wait for Python
    most, least = (40, 20) if name == "tests-cublaslt" else (90, 35)
    return Stage(name, [*command, TEST_FILES[name]], most, least, limited=False)


def sanitizer() -> str:
    """The path of compute-sanitizer, "" if it is not installed."""
    return shutil.which("compute-sanitizer") or next(
        iter(sorted(glob.glob("/usr/local/cuda*/bin/compute-sanitizer"))), ""
    )


def limit_of(left: float, stage: Stage, later: list[Stage]) -> float:
    """Seconds for a stage, of those that are left.

    >>> limit_of(100.0, Stage("a", [], 80.0, 10.0), [Stage("b", [], 50.0, 40.0)])
    60.0
    """
    return min(stage.most, left - sum(s.least for s in later if not s.missing))


def run(stage: Stage, results: Results, logs: Path, limit: float) -> str:
    """Run a stage for `limit` seconds at most, write its end as a line; returns how it went."""
    start = time.monotonic()
    environment = os.environ | {"GPU_CHECK_RESULTS": str(results.file), "GPU_CHECK_STAGE": stage.name}
    environment |= {"GPU_CHECK_DRY": "1"} if results.dry else {}
    environment |= {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}  # what is killed has said all it could
    environment["PYTHONPATH"] = os.pathsep.join((str(ROOT / "scripts"), str(ROOT), *_path()))
    told = ["--limit", f"{limit - GRACE:.1f}"] if stage.limited else []
    went, code, process = "interrupted", -1, None
    try:  # from the first line on, so that it has a last one whenever it is interrupted
        results.add("begin", limit=round(limit, 1))
        with open(logs / f"{stage.name}.log", "wb") as log:
            process = subprocess.Popen(
                [*stage.command, *told], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT,
                env=environment, process_group=0,
            )  # fmt: skip
            try:
                code = process.wait(max(0.1, limit - GRACE / 2))
                went = "ok" if code == 0 else "failed"
            except subprocess.TimeoutExpired:
                went = "timed out"
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE / 2)
    finally:
        if process is not None:
            _kill_group(process)
        results.add("end", went=went, code=code, seconds=round(time.monotonic() - start, 1))
    return went


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a stage and all processes that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _path() -> list[str]:
    return [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]


def unpack(packed: Path, logs: Path) -> None:
    """Take over the logs of other parts that ran into the same folder before."""
    with suppress(OSError, EOFError, tarfile.TarError, zlib.error), tarfile.open(packed) as tar:
        for member in tar.getmembers():
            if member.isfile() and (text := tar.extractfile(member)) is not None:
                (logs / Path(member.name).name).write_bytes(text.read())


def keep(logs: Path, folder: Path) -> None:
    """Pack all logs into one file, which replaces the last one."""
    made = folder / "logs.tar.gz.new"
    with tarfile.open(made, "w:gz") as tar:
        for path in sorted(logs.iterdir()):
            if path.is_file():
                _shorten(path)
                tar.add(path, f"logs/{path.name}")
    made.replace(folder / "logs.tar.gz")


def _shorten(path: Path) -> None:
    data = path.read_bytes()
    if len(data) > LARGEST_LOG and path.suffix != ".json":  # of which half says nothing
        half = LARGEST_LOG // 2
        path.write_bytes(data[:half] + b"\n... cut ...\n" + data[-half:])


def check(which: str, folder: Path, dry: bool, spent: float) -> int:
    """Run the stages and print the table; returns the exit code."""
    slower = SLOWER if dry else 1.0
    whole = slower * LIMITS[which]
    end = time.monotonic() + whole - CLOSING - spent
    file, printed = folder / "results.jsonl", 0

    def say(text: str) -> None:
        nonlocal printed
        printed += len(text) + 1
        print(text, flush=True)

    with tempfile.TemporaryDirectory(prefix="gpu-check-") as made:
        logs = Path(made)
        unpack(folder / "logs.tar.gz", logs)
        todo = [s._replace(most=slower * s.most, least=slower * s.least) for s in stages(which, file, logs, dry)]
        names = [s.name for s in todo]
        about = {"gpu": "" if dry else gpu(), "date": datetime.date.today().isoformat()}
        Results(file, PLAN, dry).add("plan", which=which, stages=names, limit=whole, **about)
        what = "dry run on the stand-in for a GPU: no figure here is a GPU's; " if dry else ""
        say(f"{what}{which}: {', '.join(names)}; {whole:.0f} s at most")
        try:
            for i, stage in enumerate(todo):
                results = Results(file, stage.name, dry)
                limit = limit_of(end - time.monotonic(), stage, todo[i + 1 :])
                if stage.missing or limit < GRACE:
                    results.add("end", went="left out", why=stage.missing or "the time was over", seconds=0)
                    say(f"== {stage.name}: left out, {stage.missing or 'the time was over'}")
                    continue
                went = run(stage, results, logs, limit)
                say(f"== {stage.name}: {went}, {limit:.0f} s at most")
                if went != "ok":
                    say(_last_lines(logs / f"{stage.name}.log"))
                keep(logs, folder)
        except KeyboardInterrupt:
            say("interrupted")
        keep(logs, folder)
        (folder / "logs.tar.gz.new").unlink(missing_ok=True)
    found = read(file)
    table = "\n".join(gpu_table.table(found))
    details = shortened("\n".join(gpu_table.details(found)), MOST - printed - len(table) - 10)
    if details:
        print(details + "\n")
    print(table, flush=True)
    return gpu_table.code(found)


def _last_lines(log: Path, most: int = 350) -> str:
    lines = [line.rstrip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(f"   {line[:160]}" for line in lines[-3:])[:most]


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters: what is too much is taken out of its middle.

    >>> shortened("0123456789" * 9, 50)
    '01234567890123\\n... 63 characters ...\\n7890123456789'
    """
    if len(text) <= most:
        return text
    mark = "\n... {} characters ...\n"
    kept = most - len(mark.format(len(text)))
    if kept <= 0:
        return ""
    mark = mark.format(len(text) - kept)
    return text[: (kept + 1) // 2] + mark + text[len(text) - kept // 2 :]


def main() -> int:
    """The command line, as scripts/gpu_check.sh calls it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("which", choices=LIMITS)
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--spent", type=float, default=0.0)
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and its children with it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return check(asked.which, asked.folder, asked.dry, asked.spent)


if __name__ == "__main__":
    sys.exit(main())
