"""Objects that are described by their arguments, and the check of arguments by their types."""

from .arguments import (
    BelowOne,
    BetweenZeroAndOne,
    Count,
    CountOrZero,
    NotNegative,
    Positive,
    Range,
    UpToOne,
    argument,
    as_call,
    instance,
    is_own,
    keep_plain,
    real,
    whole,
)
from .objects import ConfigError, Configurable, as_plain, from_config, same

__all__ = [
    "BelowOne", "BetweenZeroAndOne", "Count", "CountOrZero", "NotNegative", "Positive", "Range", "UpToOne",
    "argument", "as_call", "instance", "is_own", "keep_plain", "real", "whole",
    "ConfigError", "Configurable", "as_plain", "from_config", "same",
]  # fmt: skip
