"""Ensemble: the mean of predictions, against loops over single numbers and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gpubp as bp

AVERAGES = ("numbers", "classes", "labels")


def network(*members: bp.Layer, average: str = "numbers", inputs: int = 3, dtype: str = "float64") -> bp.Network:
    return bp.Network(bp.Ensemble(*members, average=average), inputs, device="cpu", dtype=dtype)


def mean_by_loops(zs: np.ndarray, average: str) -> np.ndarray:
    """y (B, K) of the members' outputs zs (N, B, K)."""
    count, rows, outputs = zs.shape
    y = np.zeros((rows, outputs))
    for b in range(rows):
        for k in range(outputs):
            if average == "numbers":
                y[b, k] = sum(zs[i, b, k] for i in range(count)) / count
            elif average == "classes":
                p = [math.exp(zs[i, b, k]) / sum(math.exp(z) for z in zs[i, b]) for i in range(count)]
                y[b, k] = math.log(sum(p) / count)
            else:
                p = [1 / (1 + math.exp(-zs[i, b, k])) for i in range(count)]
                y[b, k] = math.log(sum(p) / count) - math.log(1 - sum(p) / count)
    return y


@pytest.mark.parametrize("average", AVERAGES)
def test_the_output_is_the_mean_of_what_the_outputs_of_the_members_stand_for(
    average: str, rng: np.random.Generator
) -> None:
    members = [bp.Dense(4), bp.Sequential(bp.Dense(6), bp.Tanh(), bp.Dense(4)), bp.Dense(4, use_bias=False)]
    net = network(*members, average=average)
    X = rng.normal(size=(7, 3)) * 2
    alone = []
    for i, member in enumerate(members):
        one = bp.Network(member, 3, device="cpu", dtype="float64")
        for name, array in one.parameters.items():
            array[...] = net.parameters[f"{i}.{name}"]
        alone.append(one.predict(X))
    np.testing.assert_allclose(net.predict(X), mean_by_loops(np.array(alone), average), rtol=1e-12, atol=1e-12)


def test_two_members_by_hand() -> None:
    """softmax of (0, log 3) is (1/4, 3/4), and of (0, 0) is (1/2, 1/2): the mean is (3/8, 5/8)."""
    net = network(bp.Dense(2), bp.Dense(2), average="classes", inputs=1)
    for name in net.parameters:
        net.parameters[name][...] = 0.0
    net.parameters["0.W"][...] = [[0.0, math.log(3.0)]]
    np.testing.assert_allclose(net.predict([[1.0]]), [[math.log(3 / 8), math.log(5 / 8)]], rtol=1e-12)


@pytest.mark.parametrize("average", ["classes", "labels"])
def test_large_logits_do_not_overflow(average: str) -> None:
    net = network(bp.Dense(2), bp.Dense(2), average=average, inputs=1, dtype="float32")
    for name in net.parameters:
        net.parameters[name][...] = 0.0
    net.parameters["0.W"][...] = net.parameters["1.W"][...] = [[1e4, -1e4]]
    y = net.predict([[1.0]])
    assert np.isfinite(y).all() and y[0, 0] > y[0, 1] + 1e4
    loss = bp.SoftmaxCrossEntropy() if average == "classes" else bp.BinaryCrossEntropy()
    t = [1] if average == "classes" else [[0.0, 1.0]]
    _, gradients = net.loss_and_gradients(loss, [[1.0]], t)
    assert all(np.isfinite(g).all() for g in gradients.values())


def test_members_that_agree_are_their_own_mean(rng: np.random.Generator) -> None:
    X = rng.normal(size=(5, 3))
    for average in AVERAGES:
        net = network(bp.Dense(2), bp.Dense(2), average=average)
        for name in ("W", "b"):
            net.parameters[f"1.{name}"][...] = net.parameters[f"0.{name}"]
        z = X @ net.parameters["0.W"] + net.parameters["0.b"]
        want = z - np.log(np.exp(z).sum(axis=1, keepdims=True)) if average == "classes" else z
        np.testing.assert_allclose(net.predict(X), want, rtol=1e-9, atol=1e-12)


def test_an_ensemble_is_saved_and_loaded(tmp_path: object) -> None:
    net = network(bp.Dense(2), bp.Sequential(bp.Dense(4), bp.ReLU(), bp.Dense(2)), average="labels", dtype="float32")
    path = f"{tmp_path}/both.safetensors"
    net.save(path)
    loaded = bp.load(path, device="cpu")
    assert loaded.layers == net.layers
    np.testing.assert_array_equal(loaded.predict(np.eye(3)), net.predict(np.eye(3)))


def test_members_of_other_shapes_and_unknown_averages_are_refused() -> None:
    with pytest.raises(
        bp.ShapeError, match=r"can't average outputs of shapes \(1, 2\), \(1, 3\)|can't average outputs"
    ):
        network(bp.Dense(2), bp.Dense(3))
    with pytest.raises(ValueError, match='"numbers", "classes" or "labels", and got \'median\''):
        bp.Ensemble(bp.Dense(2), average="median")
    with pytest.raises(ValueError, match="at least one layer"):
        bp.Ensemble()
