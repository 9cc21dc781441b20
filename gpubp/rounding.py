"""Numbers as people read them: with the digits that say something, the same on the command line and in a report."""

from __future__ import annotations

import numbers


def number(value: float) -> str:
    """A number with four decimals below 10, and with four digits above; with an exponent where these say too little.

    Whole numbers are written in full. Thousands are separated by commas.

    >>> number(0.12345), number(12.3456), number(34792.3751), number(12345678.9), number(0.0000123), number(34792)
    ('0.1235', '12.35', '34,790', '1.235e+07', '1.230e-05', '34,792')
    """
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    size = abs(value)
    if value != value or size == 0 or 1e-3 <= size < 10:
        return f"{value:.4f}"
    if 10 <= size < 1e7:
        rounded = float(f"{value:.3e}")  # four digits
        return f"{rounded:,.{2 if abs(rounded) < 100 else 1 if abs(rounded) < 1000 else 0}f}"
    return f"{value:.3e}"


def brief(value: float) -> str:
    """A number with up to four digits.

    >>> brief(3.5), brief(131870.85), brief(0.00001234), brief(2e9)
    ('3.5', '131,900', '1.234e-05', '2e+09')
    """
    return number(float(value)) if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"


def metric(name: str, value: float) -> str:
    """The number of a metric; R², shares and the like have four decimals also where they are near 0.

    >>> metric("R²", -0.00021), metric("mean_absolute_error", 0.00021)
    ('-0.0002', '2.100e-04')
    """
    share = name == "R²" or name.endswith(("accuracy", "recall", "precision"))
    return f"{value:.4f}" if share else number(value)
