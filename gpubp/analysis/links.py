"""Link: the network between processes, as its bandwidth and its latency.

A message of m bytes takes α + m/β: α is the latency, β the bandwidth (Hockney 1994). `benchmarks/messages.py` measures
both.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from ..rounding import duration

PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
BINARY = {"k": 2.0**10, "m": 2.0**20, "g": 2.0**30, "t": 2.0**40}
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}  # micro sign, and the Greek letter
NUMBER = r"(\d+(?:\.\d*)?|\.\d+)\s*"
LARGEST = 1e18  # bytes a second
LONGEST = 3600.0  # seconds


@dataclass(frozen=True)
class Link:
    """What a process can send to another one.

    bandwidth: bytes a second, each way at once. latency: seconds from sending a short message until it has arrived.

    >>> Link.of("10Gbit", "50us")
    Link(bandwidth=1250000000.0, latency=5e-05)
    >>> print(Link.of("12GB", "2us"))
    96 Gbit/s (12 GB/s) with 2 µs a message
    """

    bandwidth: float
    latency: float

    @classmethod
    def of(cls, bandwidth: Any, latency: Any) -> Link:
        """From texts, such as "10Gbit" and "50us", or from numbers: bytes a second, and seconds. Raises ValueError."""
        return cls(bandwidth_of(bandwidth), latency_of(latency))

    def __str__(self) -> str:
        size, unit = next((s, u) for s, u in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (0.0, "")) if self.bandwidth >= s)
        in_bytes = f"{self.bandwidth / (size or 1.0):.3g} {unit}B/s"
        return f"{rate(self.bandwidth)} ({in_bytes}) with {duration(self.latency)} a message"


def rate(bandwidth: float) -> str:
    """Bytes a second, as bits a second.

    >>> rate(125e6), rate(3.3e9), rate(1e13)
    ('1 Gbit/s', '26.4 Gbit/s', '80,000 Gbit/s')
    """
    bits = 8 * bandwidth
    size, unit = next((s, u) for s, u in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (0.0, "")) if bits >= s)
    number = bits / (size or 1.0)
    return f"{number:,.0f} {unit}bit/s" if number >= 1e3 else f"{number:.3g} {unit}bit/s"


def bandwidth_of(value: Any) -> float:
    """Bytes a second: a number of them, or a text such as "10Gbit", "10Gbit/s", "10Gbps" or, in bytes, "12GB".

    Raises ValueError for anything else; "10Gb" may be bits or bytes, and is refused.

    >>> bandwidth_of("1Gbit"), bandwidth_of("12GB"), bandwidth_of("1GiB/s"), bandwidth_of(2e9)
    (125000000.0, 12000000000.0, 1073741824.0, 2000000000.0)
    >>> bandwidth_of("10Gb")
    Traceback (most recent call last):
    ...
    ValueError: the bandwidth '10Gb' may be meant in bits or in bytes: write 10Gbit for bits, or 10GB for bytes
    """
    if isinstance(value, str):
        found = re.fullmatch(rf"{NUMBER}([kKmMgGtT]?)(i?)([a-zA-Z]*)(/s)?", value.strip())
        size = None if found is None else _unit(found[2].lower(), found[3], found[4])
        if found is not None and found[3] == "" and found[4] in ("", "b"):
            unit = found[2].upper() or "G"
            bits, whole = f"{found[1]}{unit}bit", f"{found[1]}{unit}B"
            raise ValueError(
                f"the bandwidth {value!r:.40} may be meant in bits or in bytes: write {bits} for bits, or {whole} for "
                "bytes"
            )
        number = math.nan if found is None or size is None else float(found[1]) * size
    else:
        number = _plain(value)
    if not 0.0 < number <= LARGEST:
        raise ValueError(
            f"the bandwidth {value!r:.40} is none: write it in bits a second, as 1Gbit, 10Gbit or 100Gbit, or in "
            "bytes, as 12GB"
        )
    return number


def _unit(prefix: str, binary: str, unit: str) -> float | None:
    """Bytes of a unit, such as ("g", "", "bit"); None if there is no such unit."""
    if binary and not prefix:
        return None
    size = (BINARY if binary else PREFIXES)[prefix]
    if unit.lower() in ("bit", "bits") or unit == "bps":
        return size / 8
    return size if unit in ("B", "Bps") or unit.lower() in ("byte", "bytes") else None


def latency_of(value: Any) -> float:
    """Seconds: a number of them, or a text such as "50us", "1.5ms" or "800ns". Raises ValueError for anything else.

    >>> latency_of("50us"), latency_of("0.5 ms"), latency_of(0)
    (5e-05, 0.0005, 0.0)
    >>> latency_of("50")
    Traceback (most recent call last):
    ...
    ValueError: the latency '50' is none: write it with its unit, as 50us, 0.5ms or 800ns
    """
    if isinstance(value, str):
        found = re.fullmatch(rf"{NUMBER}(s|ms|us|µs|μs|ns)", value.strip())
        number = float(found[1]) * SECONDS[found[2]] if found else math.nan
    else:
        number = _plain(value)
    if not 0.0 <= number <= LONGEST:
        raise ValueError(f"the latency {value!r:.40} is none: write it with its unit, as 50us, 0.5ms or 800ns")
    return number


def _plain(value: Any) -> float:
    """A number, NumPy's too; NaN for what is none."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return math.nan
    return float(value)
