"""Described: what the configuration of a Keras model says of its layers, read as data. No class of it is made.

A configuration is JSON: {"class_name": "Sequential", "config": {"layers": [...]}}, each layer with its class, its name
and its arguments; models and wrappers have layers inside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import ModelFileError

LARGEST = 64 << 20  # bytes of a configuration


@dataclass(frozen=True)
class Described:
    """A layer: its name, its class, its arguments, and the layers inside, in their order.

    >>> Described("dense", "Dense", {}, ()).snake
    'dense'
    """

    name: str
    cls: str
    arguments: dict[str, Any]
    inside: tuple[Described, ...]

    @property
    def snake(self) -> str:
        """The name of the class as Keras writes it in a file."""
        return snake_case(self.cls)


def described(text: str | bytes, called: str) -> Described:
    """The model that a configuration describes; ModelFileError if it can't be read.

    >>> described('{"class_name": "Sequential", "config": {"layers": []}}', "a.keras").cls
    'Sequential'
    """
    if len(text) > LARGEST:
        raise ModelFileError(f"the configuration in {called} has {len(text)} bytes, and may have {LARGEST}")
    try:
        found = list(_layers([json.loads(text)], 0))
    except (ValueError, RecursionError) as problem:
        raise ModelFileError(f"the configuration in {called} can't be read ({str(problem)[:100]})") from problem
    return found[0] if found else Described("", "", {}, ())


def _layers(given: Any, depth: int) -> Iterator[Described]:
    if not isinstance(given, list) or depth > 40:
        return
    for layer in given:
        if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
            continue
        config: dict[str, Any] = layer["config"]
        name = config.get("name", layer.get("name"))
        inner = config.get("layers", [config["layer"]] if isinstance(config.get("layer"), dict) else [])
        cls = layer.get("class_name")
        yield Described(
            name if isinstance(name, str) else "",
            cls if isinstance(cls, str) else "",
            config,
            tuple(_layers(inner, depth + 1)),
        )


def snake_case(name: str) -> str:
    """A class's name as Keras names groups of a file by it.

    >>> snake_case("BatchNormalization"), snake_case("Conv2D"), snake_case("SimpleRNN")
    ('batch_normalization', 'conv2d', 'simple_rnn')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def without_number(name: str) -> tuple[str, int]:
    """A name and the number that Keras put behind it, 0 for none.

    >>> without_number("dense_12"), without_number("conv2d")
    (('dense', 12), ('conv2d', 0))
    """
    found = re.fullmatch(r"(.*?)_(\d{1,9})", name)
    return (found[1], int(found[2])) if found else (name, 0)
