"""docs/exact.md and the code say the same, and who follows the page gets the hashes."""

from __future__ import annotations

import ast
import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="exact numerics on a CPU needs Numba")

import exact_reader
import exact_reader_functions
from exact_networks import NETWORKS, hashes
from exact_page import DIGITS, PAGE, README, constants_of_code, constants_of_page, hashes_of_page

from gpubp.backends import order
from gpubp.formula.elementary import into, single, steps
from gpubp.network.fingerprint import same

HOW = "python tests/exact/exact_page.py --write writes the page anew; a change of bits raises order.VERSION"


def test_the_constants_are_those_of_the_code() -> None:
    assert constants_of_page() == constants_of_code(), HOW
    assert constants_of_code()["single.EXP"] == single.EXP and len(constants_of_code()) > 20
    text = PAGE.read_text(encoding="utf-8")
    assert f"**version {order.VERSION}**" in text and f"at most {order.BLOCK} terms" in text
    assert steps.WHOLE == 1.5 * 2.0**52 and "1.5 · 2⁵²" in text


def test_the_hashes_are_those_of_the_five_networks() -> None:
    found = hashes_of_page()
    assert [*found] == [*NETWORKS, "digits"]
    assert {name: found[name] for name in NETWORKS} == hashes(), HOW


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_have_the_same_hashes(workers: int) -> None:
    assert hashes(workers=workers) | {"digits": hashes_of_page()["digits"]} == hashes_of_page()


def test_a_program_by_the_rules_of_the_page_has_the_hashes() -> None:
    modules = ast.walk(ast.parse(Path(exact_reader.__file__).read_text(encoding="utf-8")))
    names = {a.name for m in modules if isinstance(m, ast.Import) for a in m.names}
    assert "numpy" in names and not any("gpubp" in name for name in names)
    assert exact_reader.mlp() == hashes_of_page()["mlp"]
    assert exact_reader.shared() == hashes_of_page()["shared"]


@pytest.mark.parametrize("name", [*exact_reader_functions.FUNCTIONS, "exp", "tanh"])
def test_the_functions_of_the_page_have_the_bits_of_the_code(name: str) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [
            rng.integers(0, 1 << 32, 100_000, np.uint32).view(np.float32),
            rng.normal(size=50_000).astype(np.float32) * np.float32(3),
            np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38], np.float32),
        ]
    )
    own = {"exp": exact_reader.exp, "tanh": exact_reader.tanh}
    with np.errstate(all="ignore"):
        got = own[name](x) if name in own else exact_reader_functions.computed(name, x)
    wanted = into(name, x, np.empty_like(x))
    differ = ~same(got, wanted)
    assert not differ.any(), (name, x[differ][:5], got[differ][:5], wanted[differ][:5])


def test_its_sums_are_rounded_once() -> None:
    """Where a product and a sum rounded each by itself, or twice, end with other bits."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=4000).astype(np.float32) for _ in range(2))
    s = (-a.astype(np.float64) * b * (1 + rng.integers(-3, 4, 4000) * 2.0**-24)).astype(np.float32)
    for x, y, z, got in zip(a.tolist(), b.tolist(), s.tolist(), exact_reader.fma(a, b, s).tolist(), strict=True):
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        near = [np.nextafter(np.float32(got), np.float32(to)) for to in (-np.inf, np.inf)]
        assert all(abs(exact - Fraction(got)) <= abs(exact - Fraction(float(other))) for other in near)


def test_the_digits_have_the_hash_of_page_and_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    from click.testing import CliRunner

    from gpubp.cli.app import app

    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train", "digits", "--exact", "--seed", "0", "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["sha256"]
    (shown,) = re.findall(DIGITS, README.read_text(encoding="utf-8"))
    assert found == hashes_of_page()["digits"] == shown[1], HOW
