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


def duration(seconds: float) -> str:
    """A time with three digits, in the largest unit that makes it 1 or more: s, ms or µs.

    >>> duration(0.00131), duration(21.43), duration(5e-8), duration(21_430.0)
    ('1.31 ms', '21.4 s', '0.05 µs', '21,430 s')
    """
    if seconds >= 1e3:
        return f"{seconds:,.0f} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def decimal_bytes(count: float) -> str:
    """A number of bytes in powers of 1000, as bandwidths have them.

    >>> decimal_bytes(2_678_824), decimal_bytes(999), decimal_bytes(1e13)
    ('2.7 MB', '999 B', '10,000.0 GB')
    """
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
