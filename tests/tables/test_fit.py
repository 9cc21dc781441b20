"""fit: the kind of each column, what it becomes, and the errors for columns that fit no kind."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpubp.errors import DataError
from gpubp.tables import Notes, Preparation, fit

pyarrow = pytest.importorskip("pyarrow")

ROWS = 100
RNG = np.random.default_rng(0)
Y = pyarrow.array(RNG.normal(size=ROWS))


def fitted(values: Any, **options: Any) -> Preparation:
    """A table with the column x beside another, and a target."""
    x = values if isinstance(values, pyarrow.Array) else pyarrow.array(values)
    return fit(pyarrow.table({"x": x, "z": RNG.normal(size=len(x)), "y": RNG.normal(size=len(x))}), "y", **options)


def kind_of(values: Any, **options: Any) -> str:
    made = fitted(values, **options)
    found = [c.kind for c in made.columns if c.name == "x"]
    return found[0] if found else made.left_out[0].why


def words(count: int, rows: int = ROWS) -> list[str]:
    return [f"w{i % count}" for i in range(rows)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([str(v) for v in RNG.normal(size=ROWS)], "number"),
        ([" 1e3", "-2", ".5", "NaN", "n/a"] * 20, "number"),
        (RNG.integers(0, 5, ROWS).tolist(), "number"),
        ([0, 1] * 50, "number"),
        ([True, False, None, True] * 25, "yes/no"),
        (["Yes", "no", "YES", "?"] * 25, "yes/no"),
        (words(3), "category"),
        (pyarrow.array(words(3)).dictionary_encode(), "category"),
        (["1", "2", "A"] * 40, "category"),
        (["yes", "no", "perhaps"] * 30, "category"),
        (["2024-01-31", "2023-02-28T10:30"] * 50, "date"),
        (["2024-01-31T10:30:01.5Z", "2023-02-28 10:30+02:00"] * 50, "date"),
        ([date(2024, 1, 31), date(2023, 2, 28)] * 50, "date"),
        (pyarrow.array([datetime(2024, 1, 31), None] * 50, pyarrow.timestamp("ns", "UTC")), "date"),
        ([7] * ROWS, "it is 7 in every row"),
        (["w"] * ROWS, "it is 'w' in every row"),
        (["2024-01-31"] * ROWS, "it is the same in every row"),
        (["NA", ""] * 50, "it has no value"),
        ([None] * ROWS, "it has no value"),
        (list(range(ROWS)), "it counts the rows"),
        (words(ROWS), "nearly every row has a value of its own"),
        (["word " * 40 + str(i % 9) for i in range(ROWS)], "text"),
        (["x" * 200 + str(i % 9) for i in range(ROWS)], "it is prose, of 201 characters in the mean"),
        ([[1.0, 2.0]] * ROWS, "it is of type list<item: double>"),
    ],
)
def test_the_kind_of_a_column(values: Any, kind: str) -> None:
    assert kind_of(values).replace("element", "item") == kind


def test_options_override_the_kind_of_a_column() -> None:
    assert kind_of(list(range(ROWS)), numeric=["x"]) == "number"
    assert kind_of([0, 1] * 50, categorical=["x"]) == "category"
    made = fitted([94110, 94110, None, 94112] * 25, categorical=["x"])
    assert made.outputs[:4] == ["x = 94110", "x = 94112", "x is missing", "z"]
    assert kind_of(words(3), drop=["x"]) == "you said so"


def test_rising_numbers_called_id_are_left_out() -> None:
    ids = np.cumsum(RNG.integers(1, 9, ROWS))
    made = fit(pyarrow.table({"customer_id": ids, "height": ids, "y": Y}), "y")
    assert [c.name for c in made.columns] == ["height"]
    assert made.left_out[0].why == "it is called id and rises from row to row"


def test_numbers_are_standardised_and_missing_ones_marked(rng: np.random.Generator) -> None:
    x = rng.normal(5.0, 3.0, 999)
    x[::10] = np.nan
    made = fit(pyarrow.table({"x": x, "y": rng.normal(size=999)}), "y")
    X, t, _ = made.arrays(pyarrow.table({"x": x, "y": rng.normal(size=999)}))
    there = ~np.isnan(x)
    want = (x[there] - x[there].mean()) / x[there].std()
    np.testing.assert_allclose(X[there, 0], want, rtol=1e-5, atol=1e-6)
    is_missing = X[:, made.outputs.index("x is missing")]
    assert not X[~there, 0].any() and np.array_equal(is_missing, ~there) and X.dtype == np.float32


def test_mean_and_deviation_of_large_close_numbers(rng: np.random.Generator) -> None:
    """The textbook's one-pass formula loses all digits here; many batches, as a large file has."""
    x = 1e9 + rng.normal(size=200_000)
    column: Any = fit(pyarrow.table({"x": x, "y": rng.normal(size=len(x))}), "y").columns[0]
    assert column.mean == pytest.approx(x.mean(), rel=1e-14) and column.scale == pytest.approx(x.std(), rel=1e-6)


def test_categories_are_one_hot_and_rare_levels_share_one() -> None:
    values = ["a"] * 300 + ["b"] * 290 + ["c", "d"] * 2 + [None] * 6
    made = fitted(values)
    assert made.outputs[:4] == ["x = a", "x = b", "x is another", "x is missing"]
    batch = pyarrow.record_batch({"x": ["b", "c", "never seen", None], "z": [0.0] * 4})
    X = made.transform(batch)[:, :4]
    np.testing.assert_array_equal(X, [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_many_levels_are_embedded_words() -> None:
    made = fitted(words(40, 400))
    column: Any = made.columns[0]
    assert (column.embed, column.vocabulary, made.outputs[0], made.outputs[-1]) == (7, 42, "z", "x")
    batch = pyarrow.record_batch({"x": ["w0", "w9", "never seen", None], "z": [0.0] * 4})
    notes = Notes()
    assert made.transform(batch, 10, notes)[:, -1].tolist() == [0, 39, 40, 41]
    assert notes.found == {("x", "new"): [1, 12, "never seen"], ("x", "missing"): [1, 13, None]}
    assert str(made.embedding) == "EmbedColumns(Embedding(42, 7))"


def test_dates_become_a_trend_sines_and_cosines() -> None:
    days = [date(2020, 1, 1 + i % 28) for i in range(ROWS)]
    made = fitted(days)
    assert made.outputs[:5] == [f"x {n}" for n in (
        "trend", "sine of the year", "cosine of the year", "sine of the week", "cosine of the week"
    )]  # fmt: skip
    X = made.transform(pyarrow.record_batch({"x": [date(2024, 1, 1), date(2024, 1, 4), None], "z": [0.0] * 3}))
    assert X[0, 3] == pytest.approx(0, abs=1e-4) and X[0, 4] == pytest.approx(1)  # a Monday
    assert X[1, 3] == pytest.approx(np.sin(2 * np.pi * 3 / 7), abs=1e-5) and not X[2, :5].any()
    assert abs(X[0, 1]) < 0.05 and X[0, 2] > 0.99  # the first of January


@pytest.mark.parametrize(
    ("values", "words_of_it"),
    [
        (
            ["1.5"] * 60 + ["abc"] + ["2"] * 39,
            "row 61: x holds 'abc', which is no number, and 99 other values are numbers",
        ),
        (["2024-01-31"] * 98 + ["31.1.2024"] * 2, "row 99: x holds '31.1.2024', which is no date"),
        (
            [str(i * 1.5) for i in range(80)] + ["unknown"] * 20,
            "row 81: x holds 'unknown'.* --missing unknown if nothing",
        ),
        (["1.5"] * 99 + ["inf"], "row 100: x holds 'inf'"),
    ],
)
def test_a_few_values_of_another_kind_are_mistakes(values: list[str], words_of_it: str) -> None:
    with pytest.raises(DataError, match=words_of_it):
        fitted(values)
    assert kind_of(values, categorical=["x"]) in ("category", "nearly every row has a value of its own")


def test_a_wrong_value_after_many_right_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubp.tables.sources.text.BLOCK", 1 << 12)
    lines = [f"{i % 7 + 0.5},{i % 3}" for i in range(5000)]
    lines[4321] = "abc,1"
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "\n".join(lines))
    with pytest.raises(DataError, match=r"t.csv, line 4323: x holds 'abc', which is no number, and 4,999 other"):
        fit(path, "y")
    for i in range(2500, 5000):
        lines[i] = f"abc{i % 5},1"
    path.write_text("x,y\n" + "\n".join(lines))
    with pytest.raises(DataError, match="line 2502: x holds 'abc0', .* begins with numbers.*: .*--categorical x"):
        fit(path, "y")


def test_levels_are_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubp.tables.survey.LEVELS", 100)
    rng = np.random.default_rng(0)
    often = [f"often{i}" for i in range(10)]
    values = [often[i] if rng.random() < 0.8 else f"rare{rng.integers(50_000)}" for i in rng.integers(0, 10, 40_000)]
    chunks = pyarrow.chunked_array([values[i : i + 500] for i in range(0, len(values), 500)])
    column: Any = fit(pyarrow.table({"x": chunks, "y": rng.normal(size=len(values))}), "y").columns[0]
    assert set(often) <= set(column.levels) and len(column.levels) <= 60 and column.other
    own = pyarrow.table({"x": [f"u{i}" for i in range(900)], "z": [0.0, 1, 2] * 300, "y": rng.normal(size=900)})
    assert fit(own, "y").left_out[0].why == "nearly every row has a value of its own"


# -- the target -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (RNG.normal(size=ROWS), "numbers", ()),
        (np.arange(ROWS), "numbers", ()),
        (RNG.integers(3, 6, ROWS), "classes", (3, 4, 5)),
        ([1.0, 0.0] * 50, "classes", (0, 1)),
        ([10, 9, -1] * 30, "classes", (-1, 9, 10)),
        (["b", "a"] * 50, "classes", ("a", "b")),
        ([True, False] * 50, "classes", ("false", "true")),
        (list(range(12)), "numbers", ()),
    ],
)
def test_the_kind_of_the_target(values: Any, kind: str, classes: tuple[Any, ...]) -> None:
    table = pyarrow.table({"x": RNG.normal(size=len(values)), "y": values})
    made = fit(table, "y")
    assert (made.target.kind, made.target.classes) == (kind, classes)
    t = made.targets(table.to_batches()[0])
    if kind == "numbers":
        y = np.asarray(values, float)
        np.testing.assert_allclose(t, (y - y.mean()) / y.std(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(made.target.answers(t[:, None]), y, rtol=1e-5, atol=1e-5)
    else:
        said = [c == "true" if values[0] in (True, False) and isinstance(c, str) else c for c in classes]
        assert t.dtype == np.int32 and [said[k] for k in t] == list(values)
        assert made.target.answers(np.eye(len(classes))[t]).tolist() == [classes[k] for k in t]


def test_the_kind_of_the_target_can_be_given() -> None:
    table = pyarrow.table({"x": RNG.normal(size=ROWS), "y": RNG.integers(3, 6, ROWS)})
    assert fit(table, "y", kind="numbers").target.outputs == 1
    many = pyarrow.table({"x": RNG.normal(size=ROWS), "y": np.arange(ROWS)})
    assert fit(many, "y", kind="classes").target.outputs == ROWS


@pytest.mark.parametrize(
    ("values", "kind", "words_of_it"),
    [
        (["a", "b"] * 50, "numbers", "row 1: y holds 'a', and a target of numbers needs numbers"),
        (RNG.normal(size=ROWS), "classes", "the target y holds fractions"),
        (["a"] * ROWS, None, "the target y is 'a' in every row: there is nothing to tell apart"),
        ([None] * ROWS, None, "y has no value in any row"),
        (["1.5"] * 99 + ["x"], None, "row 100: y holds 'x', which is no number"),
        (np.linspace(-1e300, 1e300, ROWS), None, "numbers from -1e[+]300 to 1e[+]300, which no network"),
        ([[1.0]] * ROWS, None, "the target y is of type list"),
    ],
)
def test_unusable_targets_are_refused(values: Any, kind: str | None, words_of_it: str) -> None:
    with pytest.raises(DataError, match=words_of_it):
        fit(pyarrow.table({"x": RNG.normal(size=ROWS), "y": values}), "y", kind=kind)


def test_unknown_column_names_are_refused(table: Path) -> None:
    for options, words_of_it in (
        ({"target": "pirce"}, "no column 'pirce' for the target; did you mean price?"),
        ({"target": "xyz"}, "no column 'xyz' for the target; it has id, area, "),
        ({"target": "price", "drop": ["Town"]}, "no column 'Town' for the drop; did you mean town?"),
        ({"target": "price", "drop": ["price"]}, "'price' is the target, and can't be in drop too"),
        ({"target": "price", "drop": ["town"], "numeric": ["town"]}, "town can't be two of"),
        ({"target": "price", "numeric": ["town"]}, "line 2: town holds '.*', which is no number"),
    ):
        with pytest.raises(DataError, match=words_of_it):
            fit(table, **options)  # type: ignore[arg-type]
    only = pyarrow.table({"x": [1] * 9, "y": RNG.normal(size=9)})
    with pytest.raises(DataError, match="no column to predict y from: x: it is 1 in every row"):
        fit(only, "y")
    with pytest.raises(DataError, match="the table has no rows"):
        fit(only.slice(0, 0), "y")
