"""Numbers as an explanation prints them: at most six significant digits, and fewer where these say all."""

from __future__ import annotations

import math

DIGITS = 6
NOISE = 4e-15  # a number that is nearer to 1 differs from it by rounding alone


def number(value: float) -> str:
    """A number with at most six significant digits. Its minus sign is U+2212.

    A number that is almost 1, such as the output of a saturated sigmoid, has more digits, since "1" would say that
    1 - y is 0.

    >>> number(0.5), number(-2.5240893), number(0.00001), number(0.99999994)
    ('0.5', '−2.52409', '1e-05', '0.99999994')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{DIGITS}g}"
    missing = 1.0 - abs(value)
    if abs(float(text)) == 1.0 and missing > NOISE:
        text = f"{value:.{math.ceil(-math.log10(missing)) + 1}f}".rstrip("0")
    return "0" if float(text) == 0 else text.replace("-", "−", 1) if text.startswith("-") else text


def parsed(text: str) -> float:
    """The number that a text of `number` stands for.

    >>> parsed("−2.52409"), parsed("1e-05"), parsed("∞")
    (-2.52409, 1e-05, inf)
    """
    return float(text.replace("−", "-").replace("∞", "inf"))


def unit(value: float) -> float:
    """One in the last place of a number that is printed with six digits.

    >>> unit(0.49), unit(-252.4)
    (1e-06, 0.001)
    """
    if value == 0 or not math.isfinite(value):
        return 0.0
    return float(10.0 ** (math.floor(math.log10(abs(value))) + 1 - DIGITS))
