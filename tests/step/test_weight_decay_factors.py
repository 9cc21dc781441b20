"""Weight decay by name pattern: which parameters decay, and by how much."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import OPTIMIZERS, OptimizerCase
from gpubp.backends.cuda.backend import CUDA
from strict import StrictProducts, strict_cupy

ETA, LAMBDA = 0.1, 0.5


def network(device: Any = "cpu", normal: type[bp.Layer] = bp.BatchNorm) -> bp.Network:
    layers = bp.Sequential(bp.Dense(5), normal(), bp.Tanh(), bp.Dense(4), bp.Dense(2))
    net = bp.Network(layers, 3, device=device, dtype="float64", seed=2)
    for name in ("0.b", "1.beta", "3.b", "4.b"):
        net.parameters[name][...] = 0.5
    return net


def decay_of(factors: Any, rates: Any = None, device: Any = "cpu", **options: Any) -> dict[str, float]:
    """What weight decay multiplies each parameter by in one step, as the difference to a step without it."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    after = []
    for decay in (LAMBDA, 0.0):
        net = network(device)
        trainer = bp.Trainer(
            net, bp.MeanSquaredError(), bp.SGD(ETA, weight_decay=decay), weight_decay_factors=factors,
            learning_rate_factors=rates, **options,
        )  # fmt: skip
        trainer.step(X, y)
        after.append({name: net.backend.to_host(a).copy() for name, a in net.parameters.items()})
    found = {}
    for name, start in network().parameters.items():
        lost = (after[1][name] - after[0][name]) / start
        assert lost == pytest.approx(lost.flat[0], abs=1e-12), "all numbers of a parameter alike"
        found[name] = round(float(lost.flat[0]) / (ETA * LAMBDA), 9)
    return found


NONE = {"0.b": 0, "1.gamma": 0, "1.beta": 0, "3.b": 0, "4.b": 0}


@pytest.mark.parametrize(
    ("factors", "found"),
    [
        (None, {"0.W": 1, "3.W": 1, "4.W": 1}),
        ({}, {"0.W": 1, "3.W": 1, "4.W": 1}),
        ({"0.*": 0.0}, {"0.W": 0, "3.W": 1, "4.W": 1}),
        ({"*": 0.0}, {"0.W": 0, "3.W": 0, "4.W": 0}),
        ({"*": 2.0}, {"0.W": 2, "3.W": 2, "4.W": 2}),
        ({"0.*": 0.5, "4.W": 3}, {"0.W": 0.5, "3.W": 1, "4.W": 3}),
        ({"*": 0.5, "4.*": 2.0}, {"0.W": 0.5, "3.W": 0.5, "4.W": 2}),
        ({"4.*": 2.0, "*": 0.5}, {"0.W": 0.5, "3.W": 0.5, "4.W": 0.5}),
        ({"*.b": 1.0}, {"0.W": 1, "3.W": 1, "4.W": 1, "0.b": 1, "3.b": 1, "4.b": 1}),
        ({"1.*": 0.5, "3.b": 2}, {"0.W": 1, "3.W": 1, "4.W": 1, "1.gamma": 0.5, "1.beta": 0.5, "3.b": 2}),
        ({"3.b": 2, "3.*": 4}, {"0.W": 1, "3.W": 4, "4.W": 1, "3.b": 2}),
    ],
    ids=str,
)
def test_which_parameters_decay(factors: Any, found: dict[str, float]) -> None:
    """Later patterns overrule earlier ones; biases and normalization only where a pattern matches nothing else."""
    assert decay_of(factors) == NONE | found
    assert decay_of(factors, workers=2) == NONE | found
    assert decay_of(factors, on_nonfinite="raise", clip_norm=1.0) == NONE | found


def test_a_learning_rate_factor_multiplies_the_decay_too() -> None:
    """Decay is η λ, and η is the parameter's own."""
    found = decay_of({"0.*": 0.5, "4.W": 3}, {"0.W": 0.1, "3.*": 2.0})
    assert found == NONE | {"0.W": 0.05, "3.W": 2, "4.W": 3}


def test_the_numbers_on_a_gpu_are_the_same() -> None:
    device = CUDA(strict_cupy(), products=StrictProducts)
    factors = {"0.*": 0.5, "4.W": 3, "*.b": 2.0}
    assert decay_of(factors, device=device) == decay_of(factors)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_every_optimizer(case: OptimizerCase, rng: np.random.Generator) -> None:
    """Decay comes before the rule, and does not go through gradients and moments."""
    if not case.optimizer.weight_decay:
        case = OptimizerCase(case.id, type(case.optimizer)(**vars(case.optimizer) | {"weight_decay": 0.2}))
    X, y = rng.normal(size=(4, 8, 3)), rng.normal(size=(4, 8, 2))
    net, other = network(normal=bp.LayerNorm), network(normal=bp.LayerNorm)
    factors = {"0.*": 0.5, "3.*": 0.0, "4.b": 2.0}
    trainer = bp.Trainer(net, bp.MeanSquaredError(), case.optimizer, weight_decay_factors=factors)
    plain = type(case.optimizer)(**vars(case.optimizer) | {"weight_decay": 0.0})
    by_hand = bp.Trainer(other, bp.MeanSquaredError(), plain)
    for xb, yb in zip(X, y, strict=True):
        keep = 1.0 - by_hand.learning_rate * case.optimizer.weight_decay * np.array([0.5, 2.0, 1.0])
        trainer.step(xb, yb)
        before = {name: a.copy() for name, a in other.parameters.items()}
        by_hand.step(xb, yb)
        for name, factor in zip(("0.W", "4.b", "4.W"), keep, strict=True):
            other.parameters[name][...] -= (1.0 - factor) * before[name]
        for name, a in net.parameters.items():
            np.testing.assert_allclose(a, other.parameters[name], rtol=1e-10, atol=1e-13, err_msg=name)


def test_penalties_do_not_go_by_the_factors(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    flats = []
    for factors in (None, {"0.*": 0.0, "4.b": 3.0}):
        net = network()
        bp.Trainer(net, bp.MeanSquaredError(), bp.SGD(0.1), l1=0.1, l2=0.2, weight_decay_factors=factors).step(X, y)
        flats.append(net.flat)
    np.testing.assert_array_equal(*flats)


def test_equal_factors_need_no_further_calls(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    records = []
    for factors in (None, {"*": 1.0}, {"*": 0.5}):
        trainer = bp.Trainer(network(), bp.MeanSquaredError(), bp.AdamW(), weight_decay_factors=factors)
        trainer.step(X, y)
        records.append(str(trainer.record))
    assert records[0] == records[1] == records[2]


def test_freezing_keeps_the_factors(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    net = network()
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.AdamW(), weight_decay_factors={"0.*": 0.5, "4.*": 0.0})
    net.freeze("0.*")
    before = net.parameters["0.W"].copy()
    trainer.step(X, y)
    assert np.array_equal(net.parameters["0.W"], before)
    net.unfreeze()
    trainer.step(X, y)
    assert not np.array_equal(net.parameters["0.W"], before)


@pytest.mark.parametrize("option", ["weight_decay_factors", "learning_rate_factors"])
@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"9.*": 1.0}, r"no parameter is called '9.\*'; there are 0.W, 0.b"),
        ({"0.*": -1.0}, r"OPTION to be name -> a number, 0 or more, or None, and got {'0.\*': -1.0}"),
        ({"0.*": "0.1"}, r"OPTION to be .* and got {'0.\*': '0.1'}"),
        ({"0.*": None}, r"OPTION to be .* and got {'0.\*': None}"),
        ({"0.*": float("nan")}, "OPTION to be .* nan}"),
        ({"0.*": float("inf")}, "OPTION to be .* inf}"),
        ({0: 0.1}, "OPTION has patterns of names, .* and one is 0"),
        ([("0.*", 0.1)], "OPTION to be name -> a number, 0 or more"),
        (0.1, "OPTION to be name -> a number, 0 or more"),
    ],
    ids=str,
)
def test_invalid_factors(option: str, factors: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("OPTION", option)):
        bp.Trainer(network(), bp.MeanSquaredError(), bp.SGD(), **{option: factors})
