"""`scripts/exact`, which compares hashes over all that a machine can vary: environments, and what it says of faults."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")

from exact_page import hashes_of_page

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> Any:
    loader = importlib.machinery.SourceFileLoader("exact_script", str(ROOT / "scripts" / "exact"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("exact_script", loader))  # type: ignore[arg-type]
    sys.modules["exact_script"] = module
    loader.exec_module(module)
    return module


def test_another_processor_has_the_hashes_of_the_page(script: Any) -> None:
    """An old processor, as far as libraries can be told so: one process with everything changed."""
    everything = {one.name: one for one in script.environments(installs=False)}
    settings = {"OPENBLAS_NUM_THREADS": "1"}
    for name in ("OpenBLAS-Nehalem", "Numba-generic", "NumPy-baseline"):
        settings |= {} if everything[name].missing else everything[name].settings
    found = script.networks(sys.executable, script.Environment("old", settings), ROOT)
    assert found == {name: digest for name, digest in hashes_of_page().items() if name != "digits"}


def test_the_environments_are_those_of_the_promise(script: Any) -> None:
    names = {one.name for one in script.environments(installs=True)}
    assert {f"OpenBLAS-{kernel}" for kernel in ("Nehalem", "Haswell", "SkylakeX")} < names
    assert {
        "1-thread",
        "2-threads",
        "1-worker",
        "2-workers",
        "4-workers",
        "resumed",
        "oldest+numba",
        "cuda",
        "host-cuda",
    } < names
    assert {f"Numba-{processor}" for processor in ("generic", "haswell", "znver4")} < names


def test_a_difference_is_named_and_is_exit_code_1(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = {"mlp": "a" * 64, "cnn": "b" * 64, "digits": "c" * 64}
    wrong = right | {"cnn": "d" * 64}
    given = {"here": right, "odd": wrong}
    monkeypatch.setattr(script, "train", lambda python, one, *rest: given[one.name])
    here, odd = script.Environment("here"), script.Environment("odd")
    gone = script.Environment("gone", missing="this processor has no avx2")
    assert script.compare([here], [gone]) == 0
    told = capsys.readouterr().out
    assert "| here |" in told and "same" in told and "not to be had: gone: this processor has no avx2" in told
    assert script.compare([here, odd], []) == 1
    told = capsys.readouterr()
    assert "differ: cnn" in told.out and "other hashes, or none: odd" in told.err


def test_a_training_that_fails_is_named(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*given: object) -> dict[str, str]:
        raise script.Failed("no such thing")

    monkeypatch.setattr(script, "train", fails)
    assert script.compare([script.Environment("here")], []) == 1
    assert "here: no such thing" in capsys.readouterr().err
