"""FlatArray: its arrays are written into and never replaced, and a wrong name is answered with the right ones."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import gpubp as bp


@pytest.fixture
def net() -> bp.Network:
    return bp.Network(bp.Sequential(bp.Dense(3), bp.BatchNorm(), bp.Dense(2)), 4, device="cpu")


def test_an_array_can_not_be_replaced(net: bp.Network) -> None:
    update = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam()).update
    for arrays, name, called in (
        (net.parameters, "0.W", "net.parameters"),
        (net.states, "1.mean", "net.states"),
        (update.gradients, "2.b", "update.gradients"),
        (update.moments["m"], "2.b", 'update.moments["m"]'),
    ):
        before = arrays.flat.copy()
        with pytest.raises(TypeError) as caught:
            arrays[name] = np.zeros_like(arrays[name])
        assert f'{called}["{name}"][...] = a' in str(caught.value)
        with pytest.raises(TypeError, match=r"can't be deleted; .*\[\.\.\.\] = 0"):
            del arrays[name]
        for method in ("update", "pop", "popitem", "clear", "setdefault", "__ior__"):
            with pytest.raises(TypeError, match="nothing can be added, replaced or deleted; write numbers into each"):
                getattr(arrays, method)(*([] if method in ("popitem", "clear") else [{name: 1.0}]))
        assert np.array_equal(arrays.flat, before)


def test_the_vectors_of_a_network_can_not_be_replaced(net: bp.Network) -> None:
    for name in ("parameters", "states", "flat"):
        with pytest.raises(AttributeError, match=rf"net.{name} can't be replaced.*\[\.\.\.\] = a"):
            setattr(net, name, copy.copy(getattr(net, name)))
    with pytest.raises(TypeError, match=r"write a.flat\[\.\.\.\] = x"):
        net.parameters.flat = net.flat.copy()


def test_arrays_can_be_changed_in_place(net: bp.Network) -> None:
    before = net.flat.copy()
    net.flat *= 2.0
    net.parameters["0.W"] += 1.0
    net.parameters.flat += 0.0
    assert np.array_equal(net.parameters["2.W"], 2.0 * before[net.runs(["2.W"])[0][1]][:6].reshape(3, 2))


def test_a_wrong_shape_is_refused_by_numpy(net: bp.Network) -> None:
    with pytest.raises(ValueError, match="could not broadcast input array from shape"):
        net.parameters["0.W"][...] = np.zeros((3, 4))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("0.w", "'0.W'"),
        ("W", "'0.W' or '2.W'"),
        ("1.gama", "'1.gamma'"),
        ("B", "'0.b' or '2.b'"),
        (0, None),
        ([], None),
    ],
)
def test_an_unknown_name_is_answered_with_the_known(net: bp.Network, name: Any, meant: str | None) -> None:
    for look in (lambda: net.parameters[name], lambda: net.parameters.__setitem__(name, 1.0)):
        with pytest.raises(KeyError) as caught:
            look()
        said = str(caught.value)
        assert said.startswith(f"net.parameters has no {name!r}")
        assert "It has 0.W, 0.b, 1.gamma, 1.beta, 2.W, 2.b" in said
        assert (f"did you mean {meant}?" in said) if meant else "did you mean" not in said
    assert "0.w" not in net.parameters and net.parameters.get("0.w") is None
