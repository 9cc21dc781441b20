"""BLAS: its kernels, the variables that force others, and what `gpubp doctor` says of them.

OpenBLAS reads the variables when it is loaded, so what it does under them is asked of processes of their own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpubp.backends.cpu import blas
from gpubp.backends.cpu.blas import Comparison, Library, compare, forcing, numpys, unforced

ROOT = Path(__file__).parents[3]
FORCED = Comparison({"OPENBLAS_CORETYPE": "Haswell"}, "Haswell", "SkylakeX", 124.0, 233.0)


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the variables is set."""
    for name in forcing():
        monkeypatch.delenv(name)


def kernel_under(coretype: str = "") -> str:
    """The kernel that NumPy's BLAS takes in a new process; skips where that is not OpenBLAS."""
    if numpys().name != "OpenBLAS":
        pytest.skip(f"NumPy's BLAS is {numpys().name}, not OpenBLAS")
    environment = unforced() | ({"OPENBLAS_CORETYPE": coretype} if coretype else {})
    return str(python("from gpubp.backends.cpu.blas import numpys; print(numpys().kernel)", environment).strip())


def python(code: str, environment: dict[str, str]) -> str:
    path = os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def doctor(environment: dict[str, str]) -> dict[str, Any]:
    """Its document."""
    pytest.importorskip("click")
    code = "import sys; sys.argv[1:] = ['doctor', '--json']; from gpubp.cli import main; sys.exit(main())"
    document: dict[str, Any] = json.loads(python(code, environment))
    return document


def note(document: dict[str, Any], beginning: str) -> dict[str, Any] | None:
    """The finding whose note begins so."""
    return next((found for found in document["findings"] if found["note"].startswith(beginning)), None)


class TestVariables:
    def test_every_variable_is_found_and_left_out(self) -> None:
        given = {name: "1" for name in blas.VARIABLES} | {"XLA_FLAGS": "--xla_cpu_prefer_vector_width=128"}
        assert forcing(given) == given
        assert unforced(given | {"OPENBLAS_NUM_THREADS": "1"}) == {"OPENBLAS_NUM_THREADS": "1"}

    def test_what_forces_nothing_stays(self) -> None:
        given = {"XLA_FLAGS": "--xla_dump_to=a", "OPENBLAS_VERBOSE": "2", "OPENBLAS_CORETYPE": ""}
        assert forcing(given) == {}
        assert unforced(given) == {"XLA_FLAGS": "--xla_dump_to=a", "OPENBLAS_VERBOSE": "2"}

    @pytest.mark.usefixtures("unset")
    def test_those_of_other_libraries_are_not_compared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blas, "_Other", None)  # no process is started
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
        monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX")
        assert compare() is None


class TestSentences:
    def test_the_message_about_slow_kernels(self) -> None:
        assert FORCED.slower and not FORCED.fails
        assert "124 GFLOP/s a core, 233 without it; unset OPENBLAS_CORETYPE" in str(FORCED)

    def test_not_slower_by_more_than_chance(self) -> None:
        other = Comparison({"OPENBLAS_CORETYPE": "Haswell"}, "Haswell", "Zen", 200.0, 205.0)
        assert not other.slower and str(other).endswith("products at 200 GFLOP/s a core, 205 without it")

    def test_the_same_kernels_in_other_blocks(self) -> None:
        same = Comparison({"OPENBLAS_L2_SIZE": "64"}, "Zen", "Zen", 100.0, 200.0)
        assert str(same) == (
            "OPENBLAS_L2_SIZE=64 slows NumPy's BLAS down: products at 100 GFLOP/s a core, 200 without it; "
            "unset OPENBLAS_L2_SIZE"
        )

    def test_two_variables(self) -> None:
        both = Comparison({"MKL_CBWR": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}, "", "", 100.0, 101.0)
        assert str(both) == (
            "MKL_CBWR=AVX2 and MKL_ENABLE_INSTRUCTIONS=AVX2 cost nothing: products at 100 GFLOP/s a core, "
            "101 without them"
        )

    def test_kernels_of_a_newer_processor(self) -> None:
        newer = Comparison({"OPENBLAS_CORETYPE": "SkylakeX"}, "SkylakeX", "Haswell", 0.0, 100.0)
        assert newer.fails and not newer.slower
        assert str(newer).endswith("its Haswell kernels, which this processor can't run; unset OPENBLAS_CORETYPE")


class TestNumPysBLAS:
    def test_it_is_not_scipys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        scipys, own = Library("SciPy", "OpenBLAS", "2", "Zen", 2), Library("NumPy", "OpenBLAS", "1", "Zen", 2)
        monkeypatch.setattr(blas, "libraries", lambda: [scipys, own])
        assert numpys() == own

    def test_it_is_the_systems(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blas, "libraries", lambda: [Library("", "OpenBLAS", "1", "Zen", 2)])
        assert numpys() == Library("NumPy", "OpenBLAS", "1", "Zen", 2)

    def test_an_unlisted_blas_has_no_kernel_and_no_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blas, "libraries", list)
        assert numpys().name and (numpys().kernel, numpys().threads) == ("", 0)


class TestDoctor:
    def test_nothing_is_set(self) -> None:
        document = doctor(unforced())
        told = document["blas"]
        assert (told["set"], told["compared"]) == ({}, None)
        found = next(f for f in document["findings"] if f["what"] == "NumPy's BLAS")
        assert found["found"] == f"{told['name']} {told['version']}".strip()
        assert found["note"].startswith(f"{told['kernel']} kernels, ") == bool(told["kernel"])
        assert not any(re.search(r"GFLOP|[A-Z]_CORETYPE", f["note"]) for f in document["findings"])

    def test_forced_to_its_own_kernels(self) -> None:
        own = kernel_under()
        if not own or kernel_under(own) != own:
            pytest.skip(f"OPENBLAS_CORETYPE={own} gives other kernels than none")
        document = doctor(unforced() | {"OPENBLAS_CORETYPE": own})
        compared = document["blas"]["compared"]
        assert (compared["kernel"], compared["own_kernel"], compared["gflops"]) == (own, own, 0.0)
        found = note(document, f"OPENBLAS_CORETYPE={own} changes nothing")
        assert found is not None and found["found"] == ""

    def test_forced_to_those_of_an_older_processor(self) -> None:
        own = kernel_under()
        if kernel_under("Nehalem") != "Nehalem" or own == "Nehalem":
            pytest.skip("NumPy's OpenBLAS has no Nehalem kernels here, or no others")
        document = doctor(unforced() | {"OPENBLAS_CORETYPE": "Nehalem", "ATEN_CPU_CAPABILITY": "avx2"})
        compared = document["blas"]["compared"]
        assert (compared["kernel"], compared["own_kernel"]) == ("Nehalem", own)
        assert compared["variables"] == {"OPENBLAS_CORETYPE": "Nehalem"} and document["ok"]
        assert compared["gflops"] > 0 and compared["own_gflops"] > 0
        found = note(
            document, f"OPENBLAS_CORETYPE=Nehalem makes NumPy's BLAS take its Nehalem kernels in place of its {own}"
        )
        assert found is not None and found["found"] == ("slow" if compared["slower"] else "")
        assert note(document, "ATEN_CPU_CAPABILITY=avx2 is set for PyTorch's loops") is not None

    def test_the_warning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("click")
        from gpubp.cli.commands import doctor as command

        monkeypatch.setattr(command, "forcing", lambda: FORCED.variables)
        findings = command._blas(FORCED)
        assert [f[1:] for f in findings[1:]] == [("slow", str(FORCED), False)]

    def test_kernels_that_would_end_the_process_are_not_trained_with(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("click")
        from gpubp.cli.commands import doctor as command

        monkeypatch.setattr(command, "_trained", None)
        monkeypatch.setattr(command, "why_not", lambda: "no GPU")
        found = command._devices(Comparison({"OPENBLAS_CORETYPE": "SkylakeX"}, "SkylakeX", "Haswell", 0.0, 9.0))
        assert found == [command.Finding("cpu", "fails", "unset OPENBLAS_CORETYPE", True)]
