"""Fingerprints of networks: which changes they see, and which they don't."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

import gpubp as bp
from gpubp.network.fingerprint import sha256


def network(**more: object) -> bp.Network:
    layers = bp.Sequential(bp.Dense(3), bp.BatchNorm(), bp.ReLU(), bp.Dense(2))
    return bp.Network(layers, input_shape=4, device="cpu", **more)  # type: ignore[arg-type]


def test_it_is_what_the_page_says() -> None:
    """By hashlib and struct alone."""
    net = bp.Network(bp.Dense(2, weight_initializer=bp.Zeros()), input_shape=1, device="cpu")
    net.parameters["b"][...] = [0.5, -2.0]
    text = b"W float32 1x2\n" + struct.pack("<2f", 0, 0) + b"b float32 2\n" + struct.pack("<2f", 0.5, -2)
    assert net.sha256() == hashlib.sha256(text).hexdigest()


def test_it_is_that_of_the_numbers_alone(tmp_path: Path) -> None:
    net = network()
    before = net.sha256()
    net.metadata["words"] = "others"
    net.save(tmp_path / "m.safetensors")
    assert bp.load(tmp_path / "m.safetensors", device="cpu").sha256() == before == network().sha256()


@pytest.mark.parametrize("name", ["0.W", "1.mean", "3.b"])
def test_it_sees_one_bit(name: str) -> None:
    net = network()
    before = net.sha256()
    a = {**net.parameters, **net.states}[name]
    a.flat[-1] = np.nextafter(a.flat[-1], np.float32(9))
    assert net.sha256() != before


def test_it_sees_types_names_and_shapes() -> None:
    x = np.zeros(4, np.float32)
    others = [{"x": x}, {"y": x}, {"x": x.reshape(2, 2)}, {"x": x.astype(np.float64)}, {"x": x[:3]}, {"x": -x}]
    assert len({sha256(one) for one in others}) == len(others)


def test_which_nan_does_not_matter() -> None:
    nans = np.array([0x7FC00000, 0xFFC00000, 0x7F800001], np.uint32).view(np.float32)
    assert len({sha256({"x": nans[i : i + 1]}) for i in range(3)}) == 1
    assert sha256({"x": nans[:1]}) != sha256({"x": np.zeros(1, np.float32)})
