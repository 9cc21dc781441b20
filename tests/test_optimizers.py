"""Optimizers of your own: `step_scalars`, and its former name `numbers`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.config import Configurable


@pytest.mark.parametrize("name", ["step_scalars", "numbers"])
@pytest.mark.parametrize("calls", ["step_scalars", "numbers"])
def test_an_own_optimizer_may_use_the_former_name(name: str, calls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))

    def halved(self: bp.Optimizer, t: Any, eta: Any) -> dict[str, Any]:
        return getattr(super(Own, self), calls)(t, 0.5 * eta)  # type: ignore[no-any-return]

    Own = type("Own", (bp.Adam,), {name: halved})
    X, y, found = np.eye(4), np.ones(4), []
    for optimizer in (Own(0.1), bp.Adam(0.05)):
        net = bp.Network(bp.Dense(1), 4, device="cpu")
        bp.Trainer(net, bp.MeanSquaredError(), optimizer).fit(X, y, epochs=3)
        found.append(net.flat.tobytes())
    assert found[0] == found[1]


def test_the_former_name_may_come_from_a_mixin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))

    class Halved:
        def numbers(self, t: Any, eta: Any) -> dict[str, Any]:
            return super().numbers(t, 0.5 * eta)  # type: ignore[misc, no-any-return]

    class Own(Halved, bp.Adam):
        pass

    t, eta = np.array([1.0]), np.array([0.1])
    assert Own().step_scalars(t, eta) == Own().numbers(t, eta) == bp.Adam().step_scalars(t, 0.5 * eta)
