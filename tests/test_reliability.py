"""Short forms of the long tests in scripts/, and training in several threads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_resume import CASES, XV, YV, Case, X, Y, bits

import mpi_runs

SCRIPTS = Path(__file__).parents[1] / "scripts"


def script(name: str, *arguments: str) -> str:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, SCRIPTS / name, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc to bound its memory")
def test_damaged_files_are_refused_or_load() -> None:
    """2,500 of them; `scripts/fuzz` reads as many as one likes with --minutes."""
    said = script("fuzz", "--count", "2500", "--seed", "2")
    assert re.search(r"^2,500 files in \d+ s, the slowest .* more memory: 0 findings$", said, re.M), said
    kinds = ("model", "checkpoint", "npz", "packed.npz", "npy", "idx", "idx.gz", "wav", "float.wav")
    for kind in kinds:  # both ends of each were tried
        assert re.search(rf" {kind}: loaded$", said, re.M) and re.search(rf" {kind}: \w+Error$", said, re.M), said


def test_a_failure_of_the_fuzzer_is_printed(tmp_path: Path) -> None:
    """With a library that raises something else, the fuzzer says so."""
    spoilt = "import runpy, sys, numpy as np; np.load = lambda *a, **k: 1 / 0; sys.argv = ['fuzz', '--count', '60']; "
    run = f"runpy.run_path({str(SCRIPTS / 'fuzz')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", spoilt + run], capture_output=True, text=True)
    assert done.returncode == 1 and "division by zero" in done.stdout + done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc to see what was left")
@mpi_runs.needs_mpi
def test_processes_that_are_killed_go_on_with_the_same_bits() -> None:
    """The short form of scripts/crash_test --processes."""
    said = script("crash_test", "--processes", "2", "--kills", "3", "--seed", "5", "--kinds", "average")
    assert said.splitlines()[-1] == "no hang and no difference", said
    assert re.search(r"^3 kills of 1 trainings in ", said, re.M), said


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc to see its memory")
def test_memory_does_not_grow() -> None:
    """The short form of scripts/soak."""
    assert "20,000 steps in " in script("soak", "--steps", "20000")


@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[-1]], ids=str)
def test_training_in_two_threads_is_bitwise_identical(case: Case) -> None:
    """Side by side they end with the bits that each has alone."""
    alone, sides = case.make(), [case.make() for _ in range(3)]
    alone.fit(X, Y, callbacks=case.callbacks(), **case.fit)
    start, problems = threading.Barrier(len(sides)), []

    def work(trainer: Any) -> None:
        try:
            start.wait()
            trainer.fit(X, Y, callbacks=case.callbacks(), **case.fit)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(trainer,)) for trainer in sides]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert [bits(trainer) for trainer in sides] == [bits(alone)] * len(sides)


def test_predictions_during_a_training_on_another_network() -> None:
    trainer, other = CASES[0].make(), CASES[0].make()
    expected = other.network.predict(XV)
    thread = threading.Thread(target=lambda: trainer.fit(X, Y, epochs=30))
    thread.start()
    seen = [other.network.predict(XV) for _ in range(100)]
    thread.join()
    assert all(np.array_equal(z, expected) for z in seen) and len(YV) == len(XV)


def test_the_tests_that_docs_name_exist() -> None:
    """Every promise of docs/reliability.md points at a test of that name in that file."""
    tests = Path(__file__).parent
    page = (tests.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
    named, file = 0, ""
    for path, name in re.findall(r"`(?:tests/([\w/]+\.py)::)?(test_\w+)`", page):
        file = path or file
        assert f"def {name}(" in (tests / file).read_text(encoding="utf-8"), f"{file}::{name}"
        named += 1
    assert named > 20
    for name in set(re.findall(r"`scripts/(\w+)[ `]", page)):
        assert os.access(SCRIPTS / name, os.X_OK), name
