"""What docs/exact.md has of constants and hashes, and the same of the code.

python tests/exact/exact_page.py --write     write those of the code into the page and the README
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from gpubp.formula.elementary import double, plain, single

ROOT = Path(__file__).resolve().parents[2]
PAGE, README = ROOT / "docs" / "exact.md", ROOT / "README.md"
CONSTANTS = re.compile(r"(<!-- constants: .*? -->\n```text\n)(.*?)(```)", re.S)
MODULES = (("single", single), ("double", double), ("plain", plain))
HASHES = re.compile(r"(<!-- hashes: .*? -->\n(?:\|.*\n){2})((?:\|.*\n)*)")
DIGITS = re.compile(r"^( *sha256 +)(\w+)$", re.M)


def constants_of_page() -> dict[str, list[float]]:
    """By name, such as "single.EXP"."""
    found = CONSTANTS.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    told: dict[str, list[float]] = {}
    for line in found[2].splitlines():
        name, *numbers = line.split()
        if not line.startswith(" "):
            last = name
            told[last] = []
        else:
            numbers = [name, *numbers]
        told[last] += map(float.fromhex, numbers)
    return told


def constants_of_code() -> dict[str, list[float]]:
    """All constants of the elementary functions but infinity and NaN, each where it is written down."""
    return {f"{name}.{key}": value for name, m in MODULES for key, value in _of(m)}


def _of(module: ModuleType) -> list[tuple[str, list[float]]]:
    written = re.findall(r"^(?:([A-Z][A-Z_0-9, ]*)) = ", Path(str(module.__file__)).read_text(encoding="utf-8"), re.M)
    names = [name for line in written for name in line.split(", ")]
    return [(n, _flat(getattr(module, n))) for n in names if n not in ("INF", "NAN")]


def _flat(value: Any) -> list[float]:
    return [value] if isinstance(value, float) else [number for inner in value for number in _flat(inner)]


def hashes_of_page() -> dict[str, str]:
    """Of the five networks, and of "digits"."""
    text = PAGE.read_text(encoding="utf-8")
    found, digits = HASHES.search(text), DIGITS.search(text)
    assert found is not None and digits is not None
    rows = [line.strip("|\n ").split("|") for line in found[2].splitlines()]
    return {row[0].strip(): row[-1].strip(" `") for row in rows} | {"digits": digits[2]}


def write() -> None:
    """The constants and hashes of the code into the page."""
    from exact_networks import NETWORKS, hashes

    lines = []
    for name, numbers in constants_of_code().items():
        words = [number.hex() for number in numbers]
        lines.append(f"{name:27}" + (f"\n{' ':27}").join(" ".join(words[i : i + 4]) for i in range(0, len(words), 4)))
    table = "".join(
        f"| {name} | {(NETWORKS[name].__doc__ or '').strip(' .')} | `{value}` |\n" for name, value in hashes().items()
    )
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "gpubp", "train", "digits", "--exact", "--seed", "0", "--device", "cpu", "--json"]
        done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=True)
    digits = json.loads(done.stdout)["sha256"]
    text = PAGE.read_text(encoding="utf-8")
    text = CONSTANTS.sub(lambda m: m[1] + "\n".join(lines) + "\n" + m[3], text)
    text = HASHES.sub(lambda m: m[1] + table, text)
    PAGE.write_text(DIGITS.sub(rf"\g<1>{digits}", text), encoding="utf-8")
    README.write_text(DIGITS.sub(rf"\g<1>{digits}", README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    write()
