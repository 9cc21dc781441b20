"""`scripts/crash_test --processes`: trainings by several processes, each killed again and again, and resumed.

A chain is one training of `crash_training.KINDS`. It is begun by mpiexec, ended in one of the ways of `ENDS`, resumed
under another number of processes, ended again, and so on, until it is done. What it leaves must be what a training that
was never stopped leaves, and each end must be soon, complete, and with one message that names the process.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import crash_training  # noqa: E402

import mpi_runs  # noqa: E402
from gpubp import model_file  # noqa: E402
from gpubp.errors import ModelFileError  # noqa: E402

PROGRAM = Path(crash_training.__file__)
LIMIT = 120.0  # seconds of each run
HANG = 4.0  # seconds that processes wait for one that hangs
A_CHAIN = 5  # kills, at most, until a training is done
STEPS = 10  # between two kills, at most

# How one process, or mpiexec, ends: the message that must name the process, and how many tracebacks there may be.
# {p}: the process and how many there are.
KILLED = r"^process {p} \(pid \d+\) on \S+ was killed, which ends all"
ENDS: dict[str, tuple[str, int]] = {
    "KILL": (KILLED, 0),
    "TERM": (r"", 0),  # ends in order, with a checkpoint
    "STOP": (r"CommunicationError: process {p} \(host \S+, pid \d+\) has not come to .* it hangs", 1),
    "raise": (r"^process {p} on \S+ ends all processes because of this error:", 1),
    "exit": (r"CommunicationError: process {p} \(host \S+, pid \d+\) ended before ", 1),
    "mpiexec INT": (r"", 0),
    "mpiexec TERM": (r"", 0),
    "mpiexec KILL": (r"", 0),
}
EARLY = ("KILL", "TERM", "mpiexec INT", "mpiexec TERM", "mpiexec KILL")  # at any moment, also before training


class Plan(NamedTuple):
    """One run of a chain: how many processes, the threads of each, how it ends, and where. how: "" for to its end."""

    processes: int
    workers: int
    how: str
    rank: int
    steps: int
    delay: float
    early: bool

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = {"workers": self.workers}
        if self.how and not self.early:
            told |= {"end": [self.how, self.rank, self.steps, self.delay], "patient": self.how == "STOP"}
        return told

    def __str__(self) -> str:
        who = "" if self.how.startswith("mpiexec") else f" to process {self.rank}"
        when = f"{self.delay:.2f} s after the start" if self.early else f"step {self.steps}"
        return f"{self.how}{who} of {self.processes}, {when}" if self.how else f"to the end by {self.processes}"


def planned(draw: random.Random, processes: int, before: int, how: str) -> Plan:
    """A run that ends so, by another number of processes than the run before."""
    numbers = [n for n in (1, 2, 4, 8) if n <= 2 * processes and n != before]
    weights = [2 if n == processes else 1 if 1 < n < processes else 0.3 for n in numbers]
    count = processes if not before else draw.choices(numbers, weights)[0]
    if how == "STOP" and count == 1:  # nobody is there who could wait
        count = processes
    early = how in EARLY and draw.random() < 0.15
    delay = draw.uniform(0, 3) if early else draw.uniform(0, 0.04)
    return Plan(count, draw.choice((1, 2)), how, draw.randrange(count), draw.randint(1, STEPS), delay, early)


class Found:
    """What the runs have shown."""

    def __init__(self) -> None:
        self.kills: Counter[str] = Counter()
        self.faults: list[str] = []
        self.hangs = self.left = self.differences = self.unreadable = self.read = self.writing = 0

    def fault(self, where: str, what: str, output: str = "") -> None:
        self.faults.append(f"{where}: {what}")
        print(f"FAULT {self.faults[-1]}\n{output}", flush=True)


def run(plan: Plan, folder: Path, kind: str, found: Found, where: str) -> str:
    """Do one run, and check how it ended. Returns how: "" for to its end, "killed", or "wrong"."""
    for name in ("ended", *(f"outcome-{rank}.json" for rank in range(8))):
        (folder / name).unlink(missing_ok=True)
    told = plan.told | {"kind": kind, "folder": str(folder)}
    limit = {"GPUBP_PROCESSES_TIMEOUT": f"{HANG if plan.how == 'STOP' else LIMIT / 2}"}
    running = mpi_runs.Run(plan.processes, PROGRAM, json.dumps(told), **limit, **compiled(folder.parent))
    if plan.early:
        time.sleep(plan.delay)
        send(running, plan)
    try:
        running.process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        for pid in running.left():  # its output is in what the fault prints
            if PROGRAM.name in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[1]:
                os.kill(pid, signal.SIGUSR2)
        time.sleep(1)
    try:
        code, output, errors = running.end(5)
    except AssertionError as problem:
        kept = str(problem)
        found.hangs += kept.startswith("not done")
        found.left += not kept.startswith("not done")
        found.fault(where, "it hangs" if kept.startswith("not done") else "processes were left", kept)
        return "wrong"
    said = f"code {code}\n{output}{errors}"
    check_files(folder, found, where)
    ended = plan.early or (folder / "ended").exists()
    if code == 0 and (folder / "outcome-0.json").exists():
        if said.count("Traceback"):
            found.fault(where, "it was done, and printed a traceback", said)
            return "wrong"
        return ""
    if not ended:
        found.fault(where, "it ended by itself", said)
        return "wrong"
    return "killed" if check_message(plan, code, errors, found, where, said) else "wrong"


def compiled(root: Path) -> dict[str, str]:
    """The environment in which Python compiles each module once, which else takes most of a run's time."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(root / "compiled")}


def send(running: mpi_runs.Run, plan: Plan) -> None:
    """Send the signal, at any moment."""
    *to, name = plan.how.split()
    pids = [running.process.pid]
    if not to:
        pids = []
        for pid in running.left():
            try:
                if f"PMI_RANK={plan.rank}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    pids.append(pid)
            except OSError:
                pass
    for pid in sorted(pids)[:1]:  # the programs that watch it, which have its environment, came later
        try:
            os.kill(pid, signal.Signals[f"SIG{name}"])
        except ProcessLookupError:
            pass


def check_files(folder: Path, found: Found, where: str) -> None:
    """Every checkpoint can be read."""
    found.writing += any(folder.glob(".*.tmp"))
    for path in folder.glob("*.safetensors"):
        try:
            model_file.read(path)
            found.read += 1
        except ModelFileError as problem:
            found.unreadable += 1
            found.fault(where, f"a damaged checkpoint: {problem}")


def check_message(plan: Plan, code: int, errors: str, found: Found, where: str, said: str) -> bool:
    """One message that names the process, and no other."""
    pattern, tracebacks = ENDS[plan.how]
    before = len(found.faults)
    if code == 0 and not (plan.how == "exit" and plan.processes == 1):
        found.fault(where, "the exit code is 0", said)
    if plan.early:  # Python itself may have been interrupted, and nobody have been there to say so
        return len(found.faults) == before
    of = f"{plan.rank} of {plan.processes}"
    if plan.how == "TERM" and plan.processes > 1 and "was killed" in errors:  # just before or after the fit
        pattern = KILLED
    if plan.processes > 1 and pattern:
        times = len(re.findall(pattern.format(p=of), errors, re.MULTILINE))
        if times != 1:
            found.fault(where, f"{times} messages name process {of}", said)
        named = {f"{p} of {plan.processes}" for p in re.findall(r"^process (\d+) of \d+ .*was killed", errors, re.M)}
        if named - {of}:
            found.fault(where, f"process {', '.join(named)} is named, too", said)
    if plan.processes == 1:
        tracebacks = int(plan.how == "raise")
    if plan.how == "mpiexec INT":  # a second traceback is one too many, and one is Python's after the fit
        tracebacks = min(errors.count("Traceback"), 1)
    if errors.count("Traceback") != tracebacks:
        found.fault(where, f"{errors.count('Traceback')} tracebacks in place of {tracebacks}", said)
    return len(found.faults) == before


def wanted(root: Path, kinds: list[str]) -> dict[str, Any]:
    """What each training leaves that is never stopped, by one process without mpiexec."""
    running = {}
    for kind in kinds:
        folder = root / f"{kind} alone"
        folder.mkdir()
        told = json.dumps({"kind": kind, "folder": str(folder), "workers": 1})
        environment = mpi_runs.environment(**compiled(root))
        running[kind] = folder, subprocess.Popen([sys.executable, PROGRAM, told], env=environment)
        if len(running) % 2 == 0:
            for _, process in running.values():
                process.wait(LIMIT)
    outcomes = {}
    for kind, (folder, process) in running.items():
        if process.wait(LIMIT):
            raise SystemExit(f"the training {kind} fails by itself")
        outcomes[kind] = json.loads((folder / "outcome-0.json").read_text())
    return outcomes


def compare(plan: Plan, folder: Path, outcome: dict[str, Any], found: Found, where: str) -> None:
    """Every process ends with the outcome of a training that was never stopped."""
    for rank in range(plan.processes):
        path = folder / f"outcome-{rank}.json"
        theirs = json.loads(path.read_text()) if path.exists() else {}
        different = [name for name in outcome if theirs.get(name) != outcome[name]]
        if different:
            found.differences += 1
            found.fault(where, f"process {rank} differs in {', '.join(different)}")
            return


def main(processes: int, kills: int, seed: int, kinds: list[str] | None = None) -> int:
    """Kill so many trainings; 0 if nothing hangs and nothing differs."""
    warnings.simplefilter("error")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is deaf to it
    kinds = kinds or list(crash_training.KINDS)
    root = Path(tempfile.mkdtemp(prefix="gpubp-crash-"))
    draw, found, begun = random.Random(seed), Found(), time.monotonic()
    outcomes = wanted(root, kinds)
    hows: list[str] = []
    chain = done = 0
    while done < kills:
        kind = kinds[chain % len(kinds)]
        folder = root / f"{chain}-{kind}"
        folder.mkdir()
        before, wrong = 0, len(found.faults)
        for of_chain in range(A_CHAIN + 1):
            hows = hows or draw.sample(list(ENDS), len(ENDS))
            how = hows.pop() if of_chain < A_CHAIN and done < kills else ""
            plan = planned(draw, processes, before, how)
            where = f"chain {chain} ({kind}), run {of_chain}: {plan}"
            ended = run(plan, folder, kind, found, where)
            before = plan.processes
            if not ended:
                compare(plan, folder, outcomes[kind], found, where)
                hows += [how] * bool(how)
                break
            done += 1
            found.kills[how] += 1
            if ended == "wrong" and not checkpoints(folder):
                break
        if len(found.faults) == wrong:
            shutil.rmtree(folder)
        chain += 1
        print(f"{kind}: {done} kills, {time.monotonic() - begun:.0f} s", flush=True)
    counts = ", ".join(f"{how} {count}" for how, count in sorted(found.kills.items()))
    print(f"{done} kills of {chain} trainings in {time.monotonic() - begun:.0f} s: {counts}")
    print(f"{found.writing} while a checkpoint was being written; {found.read} checkpoints read")
    if found.faults:
        print(*found.faults, sep="\n")
        print(
            f"{found.hangs} hangs, {found.differences} differences, {found.left} times processes were left, "
            f"{found.unreadable} damaged checkpoints, {len(found.faults)} faults in all; see {root}"
        )
        return 1
    shutil.rmtree(root)
    print("no hang and no difference")
    return 0


def checkpoints(folder: Path) -> bool:
    """Whether there is something to go on from."""
    return any(folder.glob("step-*.safetensors"))
