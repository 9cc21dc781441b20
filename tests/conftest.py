"""Shared by all tests. From any folder they can `from cases import LAYERS`, or import from another test file."""

import gc
import locale
import sys
from pathlib import Path

import numpy as np
import pytest

import gpubp.public  # noqa: F401  # all classes are known before a test puts other ones in their place

FOLDERS = sorted({str(file.parent) for file in Path(__file__).parent.rglob("*.py")})
sys.path += [folder for folder in FOLDERS if folder not in sys.path]
LETTERS = locale.setlocale(locale.LC_CTYPE)


def pytest_runtest_teardown() -> None:
    """Python reads texts of other processes by the locale, which a library in C may have set for all that follows."""
    if locale.setlocale(locale.LC_CTYPE) != LETTERS:
        locale.setlocale(locale.LC_CTYPE, LETTERS)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20)


@pytest.fixture
def compiled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are compiled after their first replay; needs Numba."""
    monkeypatch.setattr("gpubp.backends.cpu.compiled.PRICE", -1.0)
    monkeypatch.setattr("gpubp.backends.cpu.backend.wanted", lambda: True)
    monkeypatch.setattr("gpubp.backends.cpu.compiled.CompiledRecord.broken", False)


@pytest.fixture(scope="session")
def gpu():
    """The CuPy module, where there is a GPU to run it on."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.cuda.is_available():
        pytest.skip("cupy.cuda.is_available() is False: no driver or no GPU")
    return cupy


def pytest_collection_finish() -> None:
    """Tests that collect garbage need not look through the million objects that pytest has made of all tests."""
    gc.collect()
    gc.freeze()
