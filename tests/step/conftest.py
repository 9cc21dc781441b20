"""Fixtures of the tests of chains, for both devices."""

from __future__ import annotations

from typing import Any

import pytest

from gpubp.backends.cpu import compiled
from gpubp.backends.cuda.backend import CUDA
from gpubp.step import multistep
from gpubp.step.update import Update
from strict import StrictProducts, strict_cupy


@pytest.fixture(params=["cpu", "cuda"])
def make_device(request: pytest.FixtureRequest) -> Any:
    """A function that gives a device for a network: "cpu", or the stand-in for CUDA."""
    if request.param == "cpu":
        if not compiled.installed():
            pytest.skip("Numba is not installed: pip install 'gpubp[fast]'")
        return lambda: "cpu"
    return lambda: CUDA(strict_cupy(), products=StrictProducts)


@pytest.fixture
def chains(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps each chain had, 0 for none; from about the fourth step on there are some. The numbers of few steps
    are known ahead."""
    lengths: list[int] = []

    def noted(run: Any) -> Any:
        def of(self: Any, order: Any, most: int | None = None) -> Any:
            weights = run(self, order, most)
            lengths.append(len(weights))
            return weights

        return of

    for kind in (multistep.Chain, multistep.QueuedChain):
        monkeypatch.setattr(kind, "run", noted(kind.run))
    monkeypatch.setattr(compiled, "PRICE", -1.0)
    monkeypatch.setattr("gpubp.backends.cpu.backend.wanted", lambda: True)
    monkeypatch.setattr(compiled.CompiledRecord, "broken", False)
    monkeypatch.setattr(multistep, "SECONDS", 1.0)  # whatever a step takes here
    monkeypatch.setattr(multistep, "SECONDS_AHEAD", 10.0)
    monkeypatch.setattr(Update, "AHEAD", 40)
    return lengths
