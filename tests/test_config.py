"""Objects described by their constructor's arguments: printed, written to JSON, restored."""

from __future__ import annotations

import enum
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from cases import INITIALIZERS, LAYERS, LOSSES, METRICS, OPTIMIZERS, SCHEDULES
from gpubp.config import ConfigError, Configurable, argument, as_plain, from_config, whole

THINGS = [c.layer for c in LAYERS] + [c.loss for c in LOSSES] + [c.optimizer for c in OPTIMIZERS]
THINGS += SCHEDULES + INITIALIZERS + METRICS


@pytest.mark.parametrize("thing", THINGS, ids=repr)
def test_json_restores_every_object(thing: Configurable) -> None:
    again = from_config(json.loads(json.dumps(thing.config(), allow_nan=False)))
    assert again == thing and type(again) is type(thing) and repr(again) == repr(thing)
    assert hash(again) == hash(thing)


def test_every_public_class_is_among_the_cases() -> None:
    """A layer, loss, optimizer, schedule, initializer or metric that cases.py forgets would be tested by nothing."""
    kinds = (bp.Layer, bp.Loss, bp.Optimizer, bp.Schedule, bp.Initializer, bp.Metric)

    def inside(thing: Any) -> set[type]:
        children = getattr(thing, "children", ())
        return {type(thing)}.union(*(inside(child) for child in children))

    tried = set().union(*map(inside, THINGS))
    public = {v for v in vars(bp).values() if isinstance(v, type) and issubclass(v, kinds)}
    concrete = {cls for cls in public if not getattr(cls, "__abstractmethods__", None)}
    assert not {cls.__name__ for cls in concrete - tried}


@dataclass(frozen=True, repr=False)
class TwiceOfCourse(bp.Activation):
    by: float = 2.0

    def f(self, x: Any) -> Any:
        return self.by * x

    def df(self, x: Any, y: Any, dy: Any) -> Any:
        return self.by * dy


def test_a_users_class_is_found_by_its_name() -> None:
    layers = bp.Sequential(bp.Dense(2), TwiceOfCourse(3.0))
    assert from_config(layers.config()) == layers
    assert repr(layers) == "Sequential(Dense(2), TwiceOfCourse(3.0))"


def test_an_unregistered_class_can_be_given() -> None:
    known = Configurable.registry.pop("TwiceOfCourse")
    try:
        described = {"class": "TwiceOfCourse", "by": 3.0}
        with pytest.raises(ConfigError, match="no class named 'TwiceOfCourse'; a class of your own must be imported"):
            from_config(described)
        assert from_config(described, classes=[TwiceOfCourse]) == TwiceOfCourse(3.0)
    finally:
        Configurable.registry["TwiceOfCourse"] = known


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"class": "Dense"}, "no Dense can be made from {}: .*units"),
        ({"class": "Dense", "units": 3, "colour": "red"}, "unexpected keyword argument 'colour'"),
        ({"class": "Dense", "units": "3"}, "Dense needs units to be a whole number, 1 or more, and got '3'"),
        ({"class": "Dense", "units": 3, "use_bias": 1}, "Dense needs use_bias to be True or False, and got 1"),
        ({"class": "LeakyReLU", "slope": None}, "LeakyReLU needs slope to be a number, and got None"),
        ({"class": "LeakyReLU", "slope": True}, "LeakyReLU needs slope to be a number, and got True"),
        ({"class": ["Dense"]}, r"no class named \['Dense'\]"),
        ({"class": "Sequential", "layers": [3]}, "Sequential is made of layers, and number 0 is 3"),
    ],
)
def test_wrong_descriptions_are_refused(described: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        from_config(described)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j, np.array([1j])])
def test_values_that_json_cannot_hold_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="can't be written to a file"):
        as_plain({"inner": [value]})


@pytest.mark.parametrize(
    ("value", "plain"),
    [(np.float64(0.5), 0.5), (np.bool_(True), True), (np.arange(3), [0, 1, 2]), ((1, ()), [1, []]), ({1: 2}, {"1": 2})],
    ids=repr,
)  # fmt: skip
def test_values_that_json_can_hold_are_written(value: Any, plain: Any) -> None:
    assert as_plain(value) == plain and json.dumps(as_plain(value)) == json.dumps(plain)


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), (np.uint8(3), 3), (0, None), (-1, None), (True, None), (3.0, None), ("3", None), (None, None)],
)
def test_whole_numbers(value: Any, number: int | None) -> None:
    assert whole(value) == number and type(whole(value)) is type(number)
    assert whole(0, least=0) == 0


@pytest.mark.parametrize(
    "text",
    [
        "Dense(3)", "Dense(3, use_bias=False)", "Sequential(Dense(3), ReLU())", "Parallel(Tanh(), merge='add')",
        "SGD(0.1, momentum=0.9, nesterov=True)", "Adam(CosineDecay(0.1, 50))", "LeakyReLU()", "Normal(mean=1.0)",
    ],
)  # fmt: skip
def test_the_printed_form_omits_defaults(text: str) -> None:
    assert repr(eval(text, vars(bp))) == text  # noqa: S307


class Way(str, enum.Enum):  # noqa: UP042 - str() of a member is not its text
    """A choice whose members are text."""

    same = "same"


def test_a_member_of_an_enumeration_is_kept_as_its_text() -> None:
    made = bp.Conv2D(2, 3, padding=Way.same)
    assert made == bp.Conv2D(2, 3, padding="same") and repr(made) == repr(bp.Conv2D(2, 3, padding="same"))
    assert type(made.padding) is str and from_config(made.config()) == made
    assert argument("Own", "text", str, Way.same) == "same" and type(argument("Own", "text", str, Way.same)) is str


@dataclass(frozen=True, repr=False)
class Anything(bp.Activation):
    """A user's own class, whose annotations say less than its arguments may be."""

    rate: float = 0.1
    high: float = 1.0
    size: tuple[int, int] = (1, 1)
    act: str = "relu"
    flag: bool = False
    n: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.size, int):
            object.__setattr__(self, "size", (self.size, self.size))

    def f(self, x: Any) -> Any:
        return x

    def df(self, x: Any, y: Any, dy: Any) -> Any:
        return dy


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("rate", bp.CosineDecay(0.1, steps=10), bp.CosineDecay(0.1, steps=10)),
        ("rate", None, None),
        ("high", math.inf, math.inf),
        ("size", 3, (3, 3)),
        ("size", np.int64(3), (3, 3)),
        ("size", (np.int64(3), np.int32(4)), (3, 4)),
        ("act", bp.ReLU(), bp.ReLU()),
        ("flag", 1, 1),
        ("n", 2.0, 2.0),
        ("n", np.float32(2.0), 2.0),
        ("flag", np.True_, True),
    ],
)
def test_annotations_of_own_classes_refuse_nothing(name: str, given: Any, kept: Any) -> None:
    made = Anything(**{name: given})
    found = getattr(made, name)
    assert found == kept and type(found) is type(kept) and all(type(n) is int for n in made.size)
    assert from_config(made.config()) == made


def test_what_an_own_class_inherits_is_checked() -> None:
    class Own(bp.Dense):
        pass

    @dataclass(frozen=True, repr=False)
    class More(bp.Dense):
        rate: float = 1.0

    assert More(3, rate=math.inf).rate == math.inf
    for cls in (Own, More):
        with pytest.raises(ValueError, match="needs units to be a whole number, 1 or more, and got 0"):
            cls(0)


def test_an_own_optimizer_takes_a_schedule() -> None:
    @dataclass(frozen=True, repr=False)
    class Own(bp.Optimizer):
        learning_rate: float = 0.1
        weight_decay: float = 0.0

        def rule(self, theta: Any, g: Any, eta: Any) -> Any:
            return (theta - eta * g,)

    net = bp.Network(bp.Dense(1), 2, device="cpu")
    trainer = bp.Trainer(net, bp.MeanSquaredError(), Own(bp.CosineDecay(0.1, steps=10)))
    trainer.fit(np.ones((4, 2)), np.ones(4), verbose=False)


def test_an_argument_that_is_given_by_name_alone_is_shown_so() -> None:
    layer = bp.MeanOverTime(root=True)
    assert repr(layer) == "MeanOverTime(root=True)" and repr(bp.MeanOverTime()) == "MeanOverTime()"
    assert from_config(layer.config()) == layer == eval(repr(layer), vars(bp))
