"""Number columns: the sample of rows, the logarithm of skewed columns, and bins."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pyarrow = pytest.importorskip("pyarrow")

from gpubp.config import from_config  # noqa: E402
from gpubp.tables import Notes, NumberColumn, fit  # noqa: E402
from gpubp.tables.columns import YesNoColumn  # noqa: E402
from gpubp.tables.sketch import KEPT, RowSample  # noqa: E402


def column_of(x: Any) -> Any:
    """The column that a table with x beside a target is fitted with."""
    y = np.random.default_rng(1).normal(size=len(x))
    return fit(pyarrow.table({"x": x, "y": y}), "y", numeric=["x"]).columns[0]


def filled(column: NumberColumn, values: list[Any], notes: Notes | None = None) -> np.ndarray:
    out = np.full((len(values), column.width), np.nan)
    column.fill(out, pyarrow.array(values), 0, notes or Notes())
    return out


def test_a_sample_of_few_rows_holds_all_of_them(rng: np.random.Generator) -> None:
    x, rows = rng.normal(size=KEPT), np.arange(KEPT) * 3
    sample = RowSample()
    for part in np.array_split(np.arange(KEPT), 7):
        sample.add(x[part], rows[part])
    np.testing.assert_array_equal(sample.values, x)


@pytest.mark.parametrize("sizes", [(20_000,), (1, 7_999, 12_000), (5_000,) * 4, (13,) * 1538 + (6,)])
def test_a_sample_does_not_depend_on_how_the_rows_are_divided(sizes: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=20_000)
    whole, parts, first = RowSample(size=100), RowSample(size=100), 0
    whole.add(x, np.arange(20_000))
    for size in sizes:
        parts.add(x[first : first + size], np.arange(first, first + size))
        first += size
    np.testing.assert_array_equal(parts.values, whole.values)
    assert len(whole.values) == 100


def test_a_sample_of_many_rows_has_their_quantiles_and_skewness(rng: np.random.Generator) -> None:
    x = rng.gamma(2.0, size=200_000)
    sample = RowSample()
    for first in range(0, len(x), 10_000):
        sample.add(x[first : first + 10_000], np.arange(first, first + 10_000))
    assert len(sample.values) == KEPT
    ranks = np.searchsorted(np.sort(x), np.quantile(sample.values, [0.1, 0.5, 0.9])) / len(x)
    np.testing.assert_allclose(ranks, [0.1, 0.5, 0.9], atol=0.03)
    assert sample.skewness == pytest.approx(math.sqrt(2.0), abs=0.2)


def test_a_skewed_column_is_seen_through_a_logarithm(rng: np.random.Generator) -> None:
    x = rng.lognormal(3.0, 1.5, 1000)
    column = column_of(x)
    assert column.log == pytest.approx(np.median(x))
    z = np.log1p(x / column.log)
    assert (column.mean, column.scale) == pytest.approx((z.mean(), z.std()))
    np.testing.assert_allclose(filled(column, x.tolist())[:, 0], (z - z.mean()) / z.std(), rtol=1e-9)
    assert column.describe().startswith(f"log(1 + x / {column.log:.4g}): mean")


@pytest.mark.parametrize("x", ["symmetric", "below 0", "short"])
def test_other_columns_have_no_logarithm(x: str, rng: np.random.Generator) -> None:
    skewed = rng.lognormal(3.0, 1.5, 1000)
    of = {"symmetric": rng.normal(50.0, 3.0, 1000), "below 0": skewed - 1e-9 - skewed.min(), "short": skewed[:20]}
    assert column_of(of[x]).log == 0.0


def test_numbers_below_0_are_mirrored_by_the_logarithm_and_noted() -> None:
    column, notes = NumberColumn("x", 0.0, 1.0, log=2.0), Notes()
    y = filled(column, [-1e300, -6.0, 0.0, 6.0, 1e300], notes)[:, 0]
    np.testing.assert_allclose(y[1:4], [-math.log(4.0), 0.0, math.log(4.0)], rtol=1e-12)
    assert np.isfinite(y).all() and (np.diff(y) > 0).all()
    assert notes.found == {("x", "below 0"): [2, 0, "-1e+300"]}


def test_bins_by_hand() -> None:
    """Edges 0, 10, 30: 5 lies in the middle of the first bin, 25 at three quarters of the second."""
    column = NumberColumn("x", 0.0, 10.0, missing=True, edges=(0.0, 10.0, 30.0))
    assert column.outputs == ["x", "x up to 10", "x from 10", "x is missing"] and column.width == 4
    got = filled(column, [5, 25, None, -1000, -10, 50, 1000])[:, 1:]
    e = 0.35 * np.array([[0.5, 0], [1, 0.75], [0, 0], [-2, 0], [-1, 0], [1, 2], [1, 3]])
    np.testing.assert_allclose(got[:, :2], e, rtol=1e-12, atol=1e-12)
    assert got[:, 2].tolist() == [0, 0, 1, 0, 0, 0, 0]


def test_the_edges_are_quantiles_and_equal_ones_are_merged(rng: np.random.Generator) -> None:
    x = rng.normal(size=4000)
    edges = np.array(column_of(x).edges)
    assert len(edges) == 9
    np.testing.assert_allclose((x[:, None] < edges).mean(axis=0), np.linspace(0, 1, 9), atol=0.002)
    half = column_of(np.where(rng.random(1000) < 0.5, 0.0, rng.normal(50.0, 3.0, 1000)))
    assert 4 <= len(half.edges) <= 6 and half.edges[0] == 0.0


def test_bins_of_a_skewed_column_are_straight_in_its_logarithm() -> None:
    column = NumberColumn("x", 0.0, 1.0, log=1.0, edges=(0.0, math.expm1(1.0), math.expm1(3.0)))
    got = filled(column, [math.expm1(0.5), math.expm1(2.0)])[:, 1:]
    np.testing.assert_allclose(got, 0.35 * np.array([[0.5, 0.0], [1.0, 0.5]]), rtol=1e-12)


@pytest.mark.parametrize("x", [[0, 1] * 100, [1, 2] * 100 + [None], list(range(40))])
def test_columns_of_few_numbers_have_no_bins(x: list[Any]) -> None:
    assert column_of(x).edges == ()


def test_a_column_without_logarithm_and_bins_loads_as_it_was_written_before() -> None:
    old = {"class": "NumberColumn", "name": "x", "mean": 1.0, "scale": 2.0, "missing": True}
    told = NumberColumn("x", 1.0, 2.0, True).config()
    assert {key: value for key, value in told.items() if key in old} == old
    assert from_config({key: told[key] for key in old}) == NumberColumn("x", 1.0, 2.0, True)
    new = NumberColumn("x", 1.0, 2.0, False, 3.0, (0.0, 1.0, 5.0))
    assert from_config(new.config()) == new


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"log": -1.0}, "the log of x"),
        ({"log": math.inf}, "log to be a"),
        ({"edges": (1.0,)}, "two or more numbers that rise"),
        ({"edges": (1.0, 1.0, 2.0)}, "two or more numbers that rise"),
        ({"edges": (1.0, math.nan)}, "edges to be a number"),
        ({"edges": "abc"}, "edges to be a number"),
    ],
)
def test_impossible_logarithms_and_edges_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NumberColumn("x", 0.0, 1.0, **options)


def test_columns_of_yes_and_no_have_no_bins() -> None:
    made = fit(pyarrow.table({"x": [True, False, True, None] * 50, "y": np.arange(200.0) ** 2}), "y")
    assert made.columns[0] == YesNoColumn("x", *(made.columns[0].mean, made.columns[0].scale), missing=True)
    assert made.outputs == ["x", "x is missing"]


def test_rows_held_out_do_not_change_logarithm_and_bins(rng: np.random.Generator) -> None:
    x, y = rng.lognormal(size=900), rng.normal(size=900)
    from gpubp.tables import held_out

    held = held_out(0, 900, 0.3, 0)
    other = np.where(held, 1e6, x)
    made = [fit(pyarrow.table({"x": a, "y": y}), "y", held=(0.3, 0)).columns[0] for a in (x, other)]
    assert made[0] == made[1]
