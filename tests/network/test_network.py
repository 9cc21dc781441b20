"""Networks: names, first parameters, shapes, invalid arguments, the summary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp


def network(**options: Any) -> bp.Network:
    layers = bp.Sequential(bp.Dense(8), bp.ReLU(), bp.Residual(bp.Sequential(bp.Dense(8), bp.Tanh())), bp.Dense(3))
    return bp.Network(layers, 4, **{"device": "cpu", "seed": 0} | options)


def test_parameter_names_are_the_paths_of_layers() -> None:
    assert list(network().parameters) == ["0.W", "0.b", "2.0.0.W", "2.0.0.b", "3.W", "3.b"]
    assert list(bp.Network(bp.Dense(2), 3, device="cpu").parameters) == ["W", "b"]


def test_parameters_can_be_assigned() -> None:
    net = network()
    net.parameters["0.W"][...] = 1.0
    assert (net.parameters["0.W"] == 1.0).all() and net.flat.sum() > 31


def test_first_weights_depend_on_seed_and_name_alone() -> None:
    one, two = network(), bp.Network(bp.Sequential(bp.Dense(8), bp.Dense(5)), 4, device="cpu", seed=0)
    assert np.array_equal(one.parameters["0.W"], two.parameters["0.W"])
    assert not np.array_equal(one.parameters["0.W"], network(seed=1).parameters["0.W"])
    exact = network(dtype="float64").parameters["0.W"]
    assert np.array_equal(one.parameters["0.W"], exact.astype("float32"))


def test_a_shape_error_names_the_layer_and_the_one_before() -> None:
    with pytest.raises(bp.ShapeError) as problem:
        bp.Network(bp.Sequential(bp.Dense(6), bp.Sequential(bp.Dense(5), bp.Residual(bp.Dense(4)))), 4, device="cpu")
    text = str(problem.value)
    assert text.startswith('Residual(Dense(4)) at "1.1" expects its two ways to give one shape')
    assert text.endswith('; the layer before it, Dense(5) at "1.0", gives rows of shape (5,)')


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.Network(bp.Dense, 3, device="cpu"), "is made of a layer"),
        (lambda: bp.Network(bp.Dense(3), 3, device="cpu", dtype="int32"), '"float32" or "float64"'),
        (lambda: bp.Network(bp.Dense(3), 3, device="gpu"), "there is no device 'gpu'"),
        (lambda: bp.Dense(0), "Dense needs units to be a whole number, 1 or more, and got 0"),
        (lambda: bp.Dense(2.5), "whole number, 1 or more, and got 2.5"),
        (lambda: bp.Sequential(), "at least one layer"),
        (lambda: bp.Sequential(bp.Dense(3), bp.ReLU), r"write ReLU\(\.\.\.\)"),
        (lambda: bp.Parallel(bp.Dense(3), merge="mean"), '"concatenate" or "add"'),
        (lambda: bp.Network(bp.Parallel(bp.Dense(3), bp.Dense(2), merge="add"), 3, device="cpu"), "can't add outputs"),
        (
            lambda: bp.GELU(approximate="erf"),
            'GELU needs approximate to be "none", or "tanh", or True or False, and got',
        ),
        (lambda: bp.Huber(0.0), "Huber needs delta to be a number, above 0, and got 0.0"),
        (lambda: bp.SoftmaxCrossEntropy(1.0), "below 1"),
        (
            lambda: bp.SGD(-1.0),
            "SGD needs a learning rate that is a finite number, 0 or more, or a Schedule, and got -1.0",
        ),
        (lambda: bp.SGD(nesterov=True), "needs a momentum"),
        (lambda: bp.Adam(beta_1=1.0), "beta_1 to be a number, from 0 to below 1"),
    ],
)
def test_invalid_arguments_are_refused(make: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError, bp.DeviceError), match=words):
        make()


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    network().summary(rows=16)
    text = capsys.readouterr().out
    assert "2.0.0  Dense(8)  (16, 8)          72" in text and "139 parameters" in text
