"""Every layer in C beside gpubp: alone and in networks, in float and in double, and without a byte outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from c_runs import Compiled, as_trained, difference, needs_compiler, sanitized

import gpubp as bp
from cases import LAYERS, LayerCase
from gpubp.errors import ExportError
from gpubp.formula import exp, row_max, row_sum, sign, sqrt

WITHOUT = ("WordColumns",)  # which C code has nothing for
WRITTEN = [case for case in LAYERS if not case.id.startswith(WITHOUT)]


def networks(dtype: str, amid_others: bool = False) -> dict[str, tuple[LayerCase, bp.Network]]:
    """A network of each case, by its name in C."""
    layers = [case.network_layers() if amid_others else case.layer for case in WRITTEN]
    nets = [bp.Network(f, case.shape[1:], "cpu", dtype) for case, f in zip(WRITTEN, layers, strict=True)]
    return {f"m{i}": (case, as_trained(net, i)) for i, (case, net) in enumerate(zip(WRITTEN, nets, strict=True))}


@needs_compiler
@pytest.mark.parametrize(("dtype", "amid_others", "most"), [("float32", False, 1e-6), ("float64", True, 1e-13)])
def test_every_layer_gives_what_predict_gives(dtype: str, amid_others: bool, most: float, tmp_path: Path) -> None:
    nets = networks(dtype, amid_others)
    compiled = Compiled({name: net for name, (_, net) in nets.items()}, tmp_path, "-O0" if amid_others else "-O2")
    rng, found = np.random.default_rng(3), {}
    for name, (case, net) in nets.items():
        X = case.x(rng, 20).astype(dtype)
        found[case.id] = difference(compiled.predict(name, X), net.predict(X))
    assert {case: by for case, by in found.items() if not by <= most} == {}


@needs_compiler
def test_no_byte_outside_is_touched(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = {name: (net, case.x(rng, 1)) for name, (case, net) in networks("float32").items()}
    found = sanitized(rows, tmp_path)
    for name, (net, x) in rows.items():
        assert difference(found[name][None], net.predict(x)) <= 1e-6, net


@pytest.mark.parametrize("case", [case for case in LAYERS if case.id.startswith(WITHOUT)], ids=str)
def test_layers_that_c_has_nothing_for_are_named(case: LayerCase, tmp_path: Path) -> None:
    net = bp.Network(case.layer, case.shape[1:], device="cpu")
    with pytest.raises(ExportError, match=f"C code has nothing for {type(case.layer).__name__}"):
        net.to_c(tmp_path / "model.c")
    assert list(tmp_path.iterdir()) == []


class Bent(bp.Activation):
    """All kinds of operations."""

    def f(self, x):
        unused = exp(x)  # noqa: F841  # a line of C for it would be a variable that nobody reads
        return sign(x) * sqrt(abs(x) + 0.1) * (x > -0.5) + (x <= -0.5) * -3.0 - (-x)

    def df(self, x, y, dy):
        return dy


class OwnSoftmax(bp.Activation):
    """Over rows, one sum depending on another."""

    def f(self, x):
        e = exp(x - row_max(x))
        p = e / row_sum(e)
        return p - row_sum(p * p)

    def df(self, x, y, dy):
        return dy


class AlwaysTheSame(bp.Activation):
    """Reads nothing, and is infinite."""

    def f(self, x):
        return -float("inf") + 0.0 * (x > 1e9)

    def df(self, x, y, dy):
        return dy


class Int(bp.Activation):
    """Has the name of a word of C."""

    def __init__(self, by=2.0):
        self.by = by

    def f(self, x):
        return x * self.by

    def df(self, x, y, dy):
        return dy


@needs_compiler
def test_activations_of_ones_own_are_written_from_their_formulas(tmp_path: Path) -> None:
    layers = bp.Sequential(bp.Dense(6), Bent(), OwnSoftmax(), Int(), Int(3.0), Int(2.0), bp.ReLU(), bp.LeakyReLU(0.2))
    nets = {
        "whole": bp.Network(layers, (3, 4), "cpu"),
        "double_": bp.Network(layers, (3, 4), "cpu", "float64"),
        "without": bp.Network(AlwaysTheSame(), 4, "cpu"),
    }
    compiled = Compiled(nets, tmp_path)
    X = np.random.default_rng(0).normal(size=(9, 3, 4))
    for name, most in (("whole", 1e-6), ("double_", 1e-13)):
        assert difference(compiled.predict(name, X), nets[name].predict(X)) <= most
    assert (compiled.predict("without", X[:, 0]) == -np.inf).all()
    text = (tmp_path / "whole.c").read_text()
    assert text.count("static void whole_apply_int") == 2, "equal formulas are one function"


def random_layer(rng: np.random.Generator, width: int, depth: int) -> bp.Layer:
    """A layer from rows of `width` numbers to rows of as many, made of others up to some depth."""

    def inner() -> bp.Layer:
        return random_layer(rng, width, depth - 1)

    some = rng.integers(1, 4)
    simple = [bp.Dense(width), bp.Tanh(), bp.Dropout(0.5), bp.Flatten(), bp.BatchNorm(), bp.LayerNorm(0.1), bp.SiLU()]
    if depth == 0:
        return simple[rng.integers(len(simple))]
    average = ("numbers", "classes", "labels")[rng.integers(3)]
    made = [
        lambda: bp.Sequential(*(inner() for _ in range(some))),
        lambda: bp.Residual(inner()),
        lambda: bp.Residual(inner(), inner()),
        lambda: bp.Parallel(*(inner() for _ in range(some)), merge="add"),
        lambda: bp.Sequential(bp.Parallel(*(inner() for _ in range(some))), bp.Dense(width)),
        lambda: bp.Ensemble(*(inner() for _ in range(some)), average=average),
    ]
    return made[rng.integers(len(made))]()


@needs_compiler
def test_random_compositions_keep_what_is_still_needed(tmp_path: Path) -> None:
    """In double, where a value that was overwritten too early could not be taken for a rounding error."""
    rng = np.random.default_rng(11)
    nets = {f"r{i}": as_trained(bp.Network(random_layer(rng, 5, 3), 5, "cpu", "float64"), i) for i in range(40)}
    compiled = Compiled(nets, tmp_path, "-O0")
    X = rng.normal(size=(4, 5))
    wrong = {
        net.layers: by
        for n, net in nets.items()
        if not (by := difference(compiled.predict(n, X), net.predict(X))) < 1e-12
    }
    assert wrong == {}


@needs_compiler
def test_windows_of_any_kind(tmp_path: Path) -> None:
    rng, nets = np.random.default_rng(2), {}
    for i in range(60):
        k, s = (tuple(int(n) for n in rng.integers(1, 4, 2)) for _ in range(2))
        most = 3 if i % 2 else min(k) - 1
        padding = ("valid", "same", int(rng.integers(0, most + 1)))[i % 3]
        groups = int(rng.choice([1, 2, 4]))
        layer = [
            bp.Conv2D(4 * int(rng.integers(1, 3)), k, s, padding, groups),
            bp.MaxPool2D(k, s, padding) if i % 2 == 0 else bp.Conv2D(4, k, s, padding, use_bias=False),
            bp.AvgPool2D(k, s, padding) if i % 2 == 0 else bp.Conv1D(4, k[0], s[0], ("causal", "same")[i % 4 // 2]),
        ][int(rng.integers(3))]
        shape = (7, 4) if isinstance(layer, bp.Conv1D) else (int(rng.integers(3, 8)), int(rng.integers(3, 8)), 4)
        nets[f"w{i}"] = as_trained(bp.Network(layer, shape, "cpu", "float64"), i)
    compiled = Compiled(nets, tmp_path, "-O0")
    for name, net in nets.items():
        X = rng.normal(size=(2, *net.input_shape))
        assert difference(compiled.predict(name, X), net.predict(X)) < 1e-13, net


@needs_compiler
def test_numbers_that_are_no_words_are_read_as_word_0(tmp_path: Path) -> None:
    net = as_trained(bp.Network(bp.Sequential(bp.Embedding(5, 3), bp.Flatten()), 6, "cpu"))
    x = np.array([[-1.0, 5.0, np.nan, np.inf, -np.inf, 1e30]])
    found = sanitized({"words": (net, np.zeros((1, 6)))}, tmp_path)["words"]
    compiled = Compiled({"words": net}, tmp_path)
    assert (compiled.predict("words", x)[0] == found).all()
    assert (found.reshape(6, 3) == net.parameters["0.W"][0]).all()


@needs_compiler
def test_numbers_that_are_none_stay_none(tmp_path: Path) -> None:
    """As in gpubp, where max(NaN, 0) is NaN."""
    layers = bp.Sequential(bp.MaxPool1D(2), bp.ReLU(), bp.LeakyReLU(), bp.MaxOverTime())
    compiled = Compiled({"m": bp.Network(layers, (4, 1), "cpu")}, tmp_path)
    for place in range(4):
        x = np.ones((1, 4, 1))
        x[0, place] = np.nan
        assert np.isnan(compiled.predict("m", x)).all()
