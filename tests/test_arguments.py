"""Numbers as arguments: NumPy's are taken where Python's are and leave the same object, and what is none is refused."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

import gpubp as bp
from cases import INITIALIZERS, LAYERS, LOSSES, METRICS, OPTIMIZERS, SCHEDULES
from gpubp.config import BelowOne, Configurable, Count, NotNegative, Range, argument, real, whole

THINGS = [c.layer for c in LAYERS] + [c.loss for c in LOSSES] + [c.optimizer for c in OPTIMIZERS]
THINGS += SCHEDULES + INITIALIZERS + METRICS
WHOLE: list[Callable[[int], Any]] = [np.int64, np.int32, np.array, lambda n: np.array(n, "uint8")]
REAL: list[Callable[[float], Any]] = [np.float64, np.array, np.longdouble, np.float32, np.float16]


def inside(thing: Any) -> Iterator[Any]:
    yield thing
    for child in getattr(thing, "children", ()):
        yield from inside(child)
    for value in arguments(thing).values():
        if isinstance(value, Configurable):
            yield from inside(value)


def arguments(thing: Any) -> dict[str, Any]:
    parameters = inspect.signature(type(thing)).parameters.values()
    return {p.name: getattr(thing, p.name) for p in parameters if p.kind is not p.VAR_POSITIONAL}


def maker(thing: Any) -> Any:
    """The class of a thing, with the arguments that have no name, such as inner layers."""
    parameters = inspect.signature(type(thing)).parameters.values()
    unnamed = [value for p in parameters if p.kind is p.VAR_POSITIONAL for value in getattr(thing, p.name)]
    if not unnamed:
        return type(thing)
    made = partial(type(thing), *unnamed)
    made.__name__ = type(thing).__name__  # type: ignore[attr-defined]
    return made


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def variants(value: Any) -> Iterator[tuple[Any, Any]]:
    """(the value by NumPy, the same by Python)"""
    if isinstance(value, tuple) and value and all(map(is_number, value)):
        for alike in [np.float64, np.array] if isinstance(value[0], float) else WHOLE:
            yield tuple(map(alike, value)), value
        yield list(value), value
        yield np.array(value), value
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from ((alike(value), value) for alike in (WHOLE if value >= 0 else [np.int64, np.array]))
    elif isinstance(value, float):
        yield from (
            (alike(value), float(alike(value))) for alike in REAL if 0 < abs(float(alike(value))) <= 1e4 or not value
        )


NUMBERS = [
    (maker(thing), name, arguments(thing))
    for thing in {repr(t): t for top in THINGS for t in inside(top)}.values()
    for name, value in arguments(thing).items()
    if is_number(value) or (isinstance(value, tuple) and value and all(map(is_number, value)))
]


@pytest.mark.parametrize(
    ("cls", "name", "given"), NUMBERS, ids=lambda v: getattr(v, "__name__", v if isinstance(v, str) else "")
)
def test_numpys_numbers_make_the_object_that_pythons_make(cls: Any, name: str, given: dict[str, Any]) -> None:
    found = list(variants(given[name]))
    assert found
    for by_numpy, by_python in found:
        one, other = cls(**given | {name: by_numpy}), cls(**given | {name: by_python})
        assert one == other and repr(one) == repr(other) and hash(one) == hash(other), by_numpy
        assert json.dumps(one.config()) == json.dumps(other.config())
        kept = getattr(one, name)
        for number in kept if isinstance(kept, tuple) else (kept,):
            assert type(number) in (int, float)


@pytest.mark.parametrize(
    ("cls", "name", "given"), NUMBERS, ids=lambda v: getattr(v, "__name__", v if isinstance(v, str) else "")
)
def test_what_is_no_number_is_refused(cls: Any, name: str, given: dict[str, Any]) -> None:
    for wrong in (
        True,
        np.True_,
        "1",
        math.nan,
        math.inf,
        -math.inf,
        np.float32("nan"),
        1j,
        [[1]],
        np.ones((1, 1)),
        {},
        object,
    ):
        if wrong == "1" and name == "padding":
            continue
        with pytest.raises(
            (ValueError, TypeError), match=rf"{cls.__name__} needs .*and got|{cls.__name__} needs padding"
        ):
            cls(**given | {name: wrong})
    for flag in (name for name, value in given.items() if isinstance(value, bool)):
        assert cls(**given | {flag: np.bool_(given[flag])}) == cls(**given)
        with pytest.raises(ValueError, match=f"{cls.__name__} needs {flag} to be True or False, and got 'no'"):
            cls(**given | {flag: "no"})


def trainer(**settings: Any) -> bp.Trainer:
    return bp.Trainer(bp.Network(bp.Dense(2), 3, device="cpu"), bp.MeanSquaredError(), bp.SGD(0.1), **settings)


SETTINGS = {
    "batch_size": np.int64(4), "seed": np.array(3), "clip_norm": np.float32(0.5), "clip_value": np.float64(2.0),
    "l1": np.float32(0.25), "l2": np.array(0.5), "workers": np.int32(1), "penalty_per_weight": np.True_,
    "learning_rate_factors": {"W": np.float32(0.5)},
}  # fmt: skip


def plain(value: Any) -> Any:
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value.item()


def test_a_trainers_settings_become_pythons_numbers(tmp_path: Path) -> None:
    X, y = np.eye(3), np.ones((3, 2))
    one, other = trainer(**SETTINGS), trainer(**{name: plain(value) for name, value in SETTINGS.items()})
    assert one.settings == other.settings and repr(one.settings) == repr(other.settings)
    assert type(one.batch_size) is int and type(one.seed) is int and type(one.workers) is int
    for t in (one, other):
        t.fit(X, y, epochs=np.int64(2))
    assert np.array_equal(one.network.flat, other.network.flat)
    one.save(tmp_path / "a.safetensors")
    other.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert trainer(**{name: plain(v) for name, v in SETTINGS.items()}).resume(tmp_path / "a.safetensors")


@pytest.mark.parametrize("wrong", [True, np.True_, "2", math.nan, math.inf, -1, [2, 3]], ids=repr)
@pytest.mark.parametrize(
    "name", [name for name in SETTINGS if name not in ("penalty_per_weight", "learning_rate_factors")]
)
def test_a_trainers_wrong_settings_are_named(name: str, wrong: Any) -> None:
    if wrong == math.inf and name in ("clip_norm", "clip_value"):
        assert trainer(**{name: wrong}).settings[name] is None  # which clips nothing
        return
    with pytest.raises(ValueError, match=f"Trainer needs {name} to be .*and got"):
        trainer(**{name: wrong})


@pytest.mark.parametrize("wrong", [True, "2", math.nan, math.inf, -1.0], ids=repr)
def test_wrong_factors_and_rates_are_named(wrong: Any) -> None:
    with pytest.raises(
        ValueError, match="Trainer needs learning_rate_factors to be name -> a number, 0 or more, or None"
    ):
        trainer(learning_rate_factors={"W": wrong})
    with pytest.raises(ValueError, match="Update needs factor to be a number, 0 or more"):
        trainer().update.factor = wrong


def test_epochs_steps_and_the_options_of_callbacks_take_numpys_numbers(tmp_path: Path) -> None:
    X, y = np.eye(3), np.ones((3, 2))
    saving = bp.Checkpoint(tmp_path, every_steps=np.int64(1), every_minutes=np.float32(5.0), keep=np.int64(2))
    stopping = bp.EarlyStopping(patience=np.int64(3), min_delta=np.float32(0.0))
    reducing = bp.ReduceOnPlateau(factor=np.float32(0.5), patience=np.array(1), minimum=np.float64(1e-6))
    flow = bp.GradientFlow(samples=np.int64(2))
    t = trainer(batch_size=1, workers=np.int64(1))
    history = t.fit(
        X, y, epochs=np.int64(2), callbacks=[saving, stopping, reducing, flow, bp.ProgressBar(np.int64(2), 3)]
    )
    assert history.epochs == 2 and t.step_count == 6 and saving.failed == 0
    assert len(list(tmp_path.glob("step-*"))) == 2
    assert t.profile(X, y, steps=np.int64(2)).rows == 1
    assert bp.find_learning_rate(t, X, y, low=np.float32(1e-4), high=np.float64(1.0), steps=np.int64(12)).rates
    found = bp.compare_backends(
        bp.Dense(np.int64(2)), X, y, loss=bp.MeanSquaredError(), backends=("cpu", "cpu-float64"), steps=np.int64(2),
        batch_size=np.int64(2), seed=np.int64(1), clip_norm=np.float32(1.0), l1=np.float32(0.0), l2=np.float32(0.5),
    )  # fmt: skip
    assert json.dumps(found.to_dict())
    net = bp.Network(bp.Dense(2), np.array([2, 3]), device="cpu", seed=np.int64(3))
    assert net.input_shape == (2, 3) and json.dumps(net.config())
    with pytest.raises(ValueError, match="one axis or more"):
        bp.Network(bp.Dense(2), (), device="cpu")
    sides = np.array([[0, 1], [1, 2]])
    assert bp.Conv2D(2, 3, padding=sides) == bp.Conv2D(2, 3, padding=((0, 1), (1, 2)))
    assert bp.ZeroPadding2D(sides).padding == ((0, 1), (1, 2))
    with pytest.raises(ValueError, match="two pairs"):
        bp.Conv2D(2, 3, padding=np.ones((2, 3), int))
    assert bp.Network(bp.Dense(2), np.int64(3), device="cpu").input_shape == (3,)
    assert bp.mlp(np.int64(3), np.array([8, 4]), dropout=np.float32(0.5)) == bp.mlp(3, (8, 4), dropout=0.5)
    assert bp.mlp(3, np.int64(8)) == bp.mlp(3, (8,))
    assert bp.cnn(np.int64(3), np.array([8, 8]), [np.int64(4)], np.int64(5)) == bp.cnn(3, (8, 8), (4,), (5,))
    rows = bp.RowGroups([np.int64(2), 1], lambda k: X[: 2 - k], row=(3,), memory=np.int64(4096))
    assert type(rows.memory) is int and np.asarray(rows).shape == (3, 3)
    np.save(tmp_path / "X.npy", X)
    assert type(bp.open_rows(tmp_path / "X.npy", memory=np.int64(4096)).memory) is int


def test_numpys_numbers_are_not_printed_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    class Wider(bp.ReLU):
        def plan(self, x: Any) -> bp.Plan:
            return bp.Plan(output=tuple(np.array(x)), arrays={"y": x, "dx": x})

    net = bp.Network(bp.Sequential(bp.Dense(2), Wider()), 3, device="cpu")
    net.summary(np.int64(8))
    assert "(8, 2)" in capsys.readouterr().out and repr(net.output_shape) == "(2,)"
    assert bp.confusion_matrix([0, 1], [0, 1], classes=np.int64(3)).shape == (3, 3)


@pytest.mark.parametrize("sizes", [[2.5], [-1], [[3]], 3, ["3"]], ids=repr)
def test_sizes_of_groups_that_are_none_are_refused(sizes: Any) -> None:
    with pytest.raises(ValueError, match="RowGroups needs sizes of groups, whole numbers, 0 or more, and got"):
        bp.RowGroups(sizes, lambda k: np.eye(3), row=(3,))


DATA = (np.eye(3), np.ones((3, 2)))
COMPARED = (bp.Dense(2), *DATA)


@pytest.mark.parametrize("wrong", [True, np.True_, "2", math.nan, -1, 2.5, [2, 0], None], ids=repr)
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda v: trainer().fit(*DATA, epochs=v), "fit needs epochs"),
        (lambda v: trainer().profile(*DATA, steps=v), "profile needs steps"),
        (lambda v: bp.EarlyStopping(patience=v), "EarlyStopping needs patience"),
        (lambda v: bp.ReduceOnPlateau(patience=v), "ReduceOnPlateau needs patience"),
        (lambda v: bp.ReduceOnPlateau(factor=v), "ReduceOnPlateau needs factor"),
        (lambda v: bp.Checkpoint("folder", keep=v), "Checkpoint needs keep"),
        (lambda v: bp.Checkpoint("folder", every_steps=v or 0), "Checkpoint needs every_steps"),
        (lambda v: bp.GradientFlow(samples=v or 0), "GradientFlow needs samples"),
        (lambda v: bp.ProgressBar(v, 3), "ProgressBar needs epochs"),
        (lambda v: bp.find_learning_rate(trainer(), *DATA, steps=v), "find_learning_rate needs steps"),
        (lambda v: bp.compare_backends(*COMPARED, steps=v, loss=bp.MeanSquaredError()), "compare_backends needs steps"),
        (lambda v: bp.compare_backends(*COMPARED, seed=v, loss=bp.MeanSquaredError()), "compare_backends needs seed"),
        (lambda v: bp.Network(bp.Dense(2), 3, device="cpu", seed=v), "Network needs seed"),
        (lambda v: bp.Network(bp.Dense(2), v, device="cpu"), "Network needs input_shape"),
        (lambda v: bp.mlp(v), "Dense needs units"),
        (lambda v: bp.Network(bp.Dense(2), 3, device="cpu").summary(v), "Network needs rows"),
        (lambda v: bp.mlp(3, v), "mlp needs hidden"),
        (lambda v: bp.cnn(3, (8, 8), filters=v), "cnn needs filters"),
        (lambda v: bp.RowGroups([3], lambda k: np.eye(3), row=(3,), memory=v), "RowGroups needs memory"),
        (lambda v: bp.open_rows("X.npy", memory=v), "open_rows needs memory"),
    ],
)  # fmt: skip
def test_a_wrong_number_is_named(call: Any, words: str, wrong: Any) -> None:
    if wrong == 2.5 and words.endswith("factor"):
        wrong = 1.5
    with pytest.raises(ValueError, match=f"{words} to be .* and got"):
        call(wrong)


@pytest.mark.parametrize("wrong", ["mse", None, 3, bp.Dense, bp.MeanSquaredError, bp.SGD, bp.Trainer], ids=repr)
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda v: trainer().network.loss_and_gradients(v, *DATA), "loss_and_gradients needs loss to be a gpubp Loss"),
        (lambda v: bp.Trainer(trainer().network, v, bp.SGD()), "Trainer needs loss to be a gpubp Loss"),
        (lambda v: bp.compare_backends(*COMPARED, loss=v), "compare_backends needs loss to be a gpubp Loss"),
        (
            lambda v: bp.compare_backends(*COMPARED, loss=bp.MeanSquaredError(), optimizer=v or 0),
            "compare_backends needs optimizer to be a gpubp Optimizer",
        ),
        (
            lambda v: bp.compare_backends(v, *DATA, loss=bp.MeanSquaredError()),
            "compare_backends needs layers to be a gpubp Layer",
        ),
        (lambda v: bp.find_learning_rate(v, *DATA), "find_learning_rate needs trainer to be a gpubp Trainer"),
        (lambda v: bp.write_report("report.html", v, *DATA), "write_report needs trainer to be a gpubp Trainer"),
        (lambda v: trainer().attach(v), "attach needs probe to be a gpubp Probe"),
        (lambda v: trainer().fresh(v), "Trainer needs optimizer to be a gpubp Optimizer"),
        (lambda v: bp.load("net.safetensors", head=v or 0), "load needs head to be a gpubp Layer"),
        (lambda v: bp.Network(v, 3, device="cpu"), "a network is made of a layer, such as Sequential"),
        (lambda v: bp.Network(bp.Dense(2, weight_initializer=v), 3, device="cpu"), "W needs an initializer for its"),
        (lambda v: bp.EmbedColumns(v), "EmbedColumns needs an Embedding for each column"),
        (lambda v: bp.gradcheck(v, (4, 3)), "gradcheck takes a layer and"),
    ],
)  # fmt: skip
def test_what_is_no_object_of_its_kind_is_named(call: Any, words: str, wrong: Any) -> None:
    hint = rf"; write {wrong.__name__}\(...\)" if isinstance(wrong, type) else ""
    with pytest.raises(TypeError, match=f"^{words}.*{hint}$"):
        call(wrong)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0), (np.float32(0.5), 0.5), (np.int8(2), 2.0), (np.array(0.5), 0.5), (Fraction(1, 2), 0.5),
        (10**400, None), (True, None), (np.True_, None), (np.array(True), None), ("0.5", None), (np.str_("0.5"), None),
        (None, None), (np.array([0.5]), None), (1j, None), (np.complex64(1), None), (np.timedelta64(3), None),
        (b"1", None), ([1], None),
    ],
)  # fmt: skip
def test_real_numbers(value: Any, number: float | None) -> None:
    found = real(value)
    assert type(found) is float and (math.isnan(found) if number is None else found == number)


@pytest.mark.parametrize(
    "value", [np.True_, np.array(True), np.array([3]), np.array(3.0), np.float32(3), "3", 3.0, [3]], ids=repr
)
def test_whole_numbers_are_those_of_operator_index(value: Any) -> None:
    assert whole(value) is None


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (Count, 0, "a whole number, 1 or more, and got 0"),
        (Count | None, -1, "a whole number, 1 or more, or None, and got -1"),
        (BelowOne, 1, "a number, from 0 to below 1, and got 1"),
        (Annotated[float, Range(0, 1, above=True)], 0, "a number, from above 0 to 1, and got 0"),
        (tuple[Count, ...], (1, 0), "a whole number, 1 or more, or a tuple of them, and got (1, 0)"),
        (Count | tuple[Count, Count], (1, 2, 3), "a whole number, 1 or more, or two of them, and got (1, 2, 3)"),
        (bool, 1, "True or False, and got 1"),
        (str | NotNegative, -1, "text, or a number, 0 or more, and got -1"),
    ],
)
def test_errors_say_what_may_be_given(kind: Any, value: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        argument("It", "size", kind, value)
    assert str(caught.value) == f"It needs size to be {words}"


def test_a_class_of_ones_own_gets_plain_numbers_before_its_own_check() -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True, repr=False)
    class Own(bp.Activation):
        by: float
        times: "int" = 1  # noqa: UP037
        scale: "float | None" = None  # noqa: UP037
        other: Any = 3

        def __post_init__(self) -> None:
            assert type(self.times) is int

        def f(self, x: Any) -> Any:
            return self.by * x

        def df(self, x: Any, y: Any, dy: Any) -> Any:
            return self.by * dy

    made = Own(np.float32(0.5), np.int64(2), np.float32(1.0), np.int64(3))
    assert repr(made) == "Own(0.5, times=2, scale=1.0)" and type(made.by) is float
    assert Own(True).by is True  # what an own class may hold is its own matter
