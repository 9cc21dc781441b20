"""Tables, columns and arrays of objects become numbers; text, dates and missing values are named in the error."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.dtypes import StringDType

import gpubp as bp
from gpubp.data.checks import as_inputs, as_targets, check_rows
from gpubp.data.numbers import Argument, to_numbers
from gpubp.data.weights import row_weights
from gpubp.report import facts

X = Argument("X", "and the network needs numbers")


def numbers(given: Any) -> np.ndarray:
    return to_numbers(given, X)[0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint64", "bool", "float16", ">f4"])
def test_arrays_of_numbers_stay_as_they_are(dtype: str) -> None:
    a = np.array([[0, 1], [1, 0]]).astype(dtype)
    assert numbers(a) is a


@pytest.mark.parametrize(
    ("given", "dtype", "values"),
    [
        (np.array([[True, 1.5], [2, Decimal("0.5")]], object), "float64", [[1.0, 1.5], [2.0, 0.5]]),
        (np.array([[1, True], [np.int8(2), 3]], object), "int64", [[1, 1], [2, 3]]),
        (np.array([True, np.bool_(False)], object), "bool", [True, False]),
        (np.array([Fraction(1, 4), np.float32(2)], object), "float64", [0.25, 2.0]),
        (np.array([2**70, 1], object), "float64", [2.0**70, 1.0]),
        (np.array([Decimal("NaN"), 1], object), "float64", [np.nan, 1.0]),
        ([[True, 1.5], [False, 2]], "float64", [[1.0, 1.5], [0.0, 2.0]]),
        ([Decimal("1.5"), 2], "float64", [1.5, 2.0]),
        (np.array(3, object), "float64", 3.0),
    ],
)
def test_objects_that_are_numbers_become_numbers(given: Any, dtype: str, values: Any) -> None:
    found = numbers(given)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([[1, 2.0], [3, "Paris"]], "X holds 'Paris' in row 1, column 1, and the network needs numbers"),
        ([[True, "1"]], "X holds '1' in row 0, column 1,"),
        (np.array(["a", "b"]), "X holds 'a' in row 0,"),
        (np.array([b"a"]), "X holds b'a' in row 0,"),
        (np.array(["1", "2"], StringDType()), "X holds '1' in row 0, and the network needs numbers"),
        (np.full((2, 2, 2), "a"), "X holds 'a' in row 0,"),
        (np.array([[1, None], [2, 3]], object), r"X has no value \(None\) in row 0, column 1; drop such rows"),
        (np.array([1, 2j], object), "X holds 2j in row 1,"),
        (np.array([{"a": 1}, 2], object), "X holds {'a': 1} in row 0,"),
        (np.array([10**400, 1], object), "X holds a number that is more than float64 can hold"),
        (np.zeros(2, "m8[s]"), r"X holds timedelta64\[s\], and the network needs numbers"),
        (np.array([[1, np.timedelta64(3, "D")]], object), r"X holds .*timedelta64\(3,'D'\) in row 0, column 1, and"),
        (np.zeros(2, [("a", "f8")]), r"X holds \[\('a', '<f8'\)\], and the network needs numbers"),
        ({"a": [1]}, "X is of type dict, and the network needs numbers"),
        ("a", "X is 'a', and the network needs numbers"),
    ],
)
def test_the_first_value_that_is_no_number_is_named(given: Any, words: str) -> None:
    with pytest.raises(bp.DataError, match=words):
        numbers(given)


@pytest.mark.parametrize("kind", ["U", object, StringDType(), StringDType(na_object=np.nan)], ids=repr)
def test_text_that_spells_numbers_is_read_where_an_argument_says_so(kind: Any) -> None:
    reads_text = X._replace(reads_text=True)
    found, _ = to_numbers(np.array([["1.5", "-2"], ["nan", "1e3"]], kind), reads_text)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[1.5, -2.0], [np.nan, 1000.0]])
    with pytest.raises(bp.DataError, match="X holds 'Rome' in row 1, column 0, and the network needs numbers"):
        to_numbers(np.array([["1.5", "-2"], ["Rome", "1e3"]], kind), reads_text)


def test_missing_text_is_named() -> None:
    for missing, found in ((None, r"X has no value \(None\) in row 1"), (np.nan, "X holds nan in row 1")):
        given = np.array(["1.5", missing], StringDType(na_object=missing))
        with pytest.raises(bp.DataError, match=found):
            check_rows(to_numbers(given, X._replace(reads_text=True))[0], X)


# -- tables -----------------------------------------------------------------------------------------------------------


def frames(library: str) -> Any:
    return pytest.importorskip(library, reason=f"{library} is not installed")


def table_of(library: str, columns: dict[str, Any]) -> Any:
    module = frames(library)
    return module.table(columns) if library == "pyarrow" else module.DataFrame(columns)


LIBRARIES = ["pandas", "polars", "pyarrow"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_columns_of_several_types_stand_side_by_side(library: str) -> None:
    """Truths beside fractions, whole numbers beside them, and numbers of few bits."""
    table = table_of(library, {"a": [True, False], "b": [1.5, 2.0], "c": np.array([3, 4], "int16")})
    found, columns = to_numbers(table, X)
    assert columns == ("a", "b", "c") and found.dtype == np.float64
    assert found.tolist() == [[1.0, 1.5, 3.0], [0.0, 2.0, 4.0]]


@pytest.mark.parametrize("library", LIBRARIES)
def test_text_in_a_table_is_named_by_column_row_and_value(library: str) -> None:
    table = table_of(library, {"age": [1, 2], "city": ["Rome", "Paris"]})
    with pytest.raises(bp.DataError, match="X: column 'city' holds 'Rome' in row 0, and the network needs numbers"):
        numbers(table)


@pytest.mark.parametrize("library", LIBRARIES)
def test_missing_values_in_a_table_are_named_by_column_and_row(library: str) -> None:
    table = table_of(library, {"b": [1.5, 2.0, 3.0], "age": [1, 2, None]})
    with pytest.raises(bp.DataError, match=r"X: column 'age' (has no value \(null\)|holds nan) in row 2; drop such"):
        as_inputs(table, (2,), bp.get_backend("cpu"), "float32")


def test_a_missing_truth_in_an_arrow_table() -> None:
    with pytest.raises(bp.DataError, match=r"column 'yes' has no value \(null\) in row 1"):
        numbers(table_of("pyarrow", {"yes": [True, None]}))


def test_arrow_tables_hold_decimals_and_dictionaries() -> None:
    pa = frames("pyarrow")
    columns = {"d": pa.array([Decimal("1.5"), Decimal(2)]), "k": pa.array([7, 9]).dictionary_encode()}
    assert numbers(pa.table(columns)).tolist() == [[1.5, 7.0], [2.0, 9.0]]
    assert numbers(pa.record_batch({"a": [1, 2]})).tolist() == [[1], [2]]
    assert numbers(pa.chunked_array([[1], [2]])).tolist() == [1, 2] and numbers(pa.array([True])).tolist() == [True]
    with pytest.raises(bp.DataError, match=r"column 'l' holds list<item: int64>, and"):
        numbers(pa.table({"l": [[1], [2]]}))


def test_dummies_of_pandas() -> None:
    pd = frames("pandas")
    dummies = pd.get_dummies(pd.DataFrame({"a": [1.5, 2.0], "c": ["x", "y"]}))
    assert numbers(dummies).tolist() == [[1.5, 1.0, 0.0], [2.0, 0.0, 1.0]]


def test_nullable_columns_of_pandas() -> None:
    pd = frames("pandas")
    columns = {
        "i": pd.array([1, 2], "Int64"),
        "b": pd.array([True, False], "boolean"),
        "f": pd.array([0.5, 1.5], "Float32"),
        "c": pd.Categorical([30, 10]),
    }
    assert numbers(pd.DataFrame(columns)).tolist() == [[1.0, 1.0, 0.5, 30.0], [2.0, 0.0, 1.5, 10.0]]
    for name, values in {"i": [1, None], "b": [True, None], "f": [0.5, None]}.items():
        table = pd.DataFrame(columns | {name: pd.array(values, columns[name].dtype)})
        with pytest.raises(bp.DataError, match=rf"X: column '{name}' has no value \(NA\) in row 1; drop such rows"):
            numbers(table)


def test_arrow_columns_of_pandas() -> None:
    pd = frames("pandas")
    frames("pyarrow")
    table = pd.DataFrame({"i": pd.array([1, 2], "int64[pyarrow]"), "b": pd.array([True, False], "bool[pyarrow]")})
    assert numbers(table).tolist() == [[1, 1], [2, 0]]
    with pytest.raises(bp.DataError, match=r"column 'i' has no value \(NA\) in row 1"):
        numbers(pd.DataFrame({"i": pd.array([1, None], "int64[pyarrow]")}))


def test_dates_and_categories_of_text_are_refused() -> None:
    pd = frames("pandas")
    with pytest.raises(bp.DataError, match="X: column 'day' holds datetime64.*, and the network needs numbers"):
        numbers(pd.DataFrame({"n": [1, 2], "day": pd.to_datetime(["2020-01-01", "2020-01-02"])}))
    with pytest.raises(bp.DataError, match="X: column 'town' holds 'Rome' in row 0"):
        numbers(pd.DataFrame({"town": pd.Categorical(["Rome", "Oslo"])}))


def test_lazy_frames_are_refused() -> None:
    pl = frames("polars")
    with pytest.raises(bp.DataError, match="X is of type LazyFrame, and the network needs numbers"):
        numbers(pl.LazyFrame({"a": [1]}))


def columns_of_labels() -> dict[str, Any]:
    made: dict[str, Any] = {"list": [True, False, True], "objects": np.array([1, 0, 1], object)}
    for library in LIBRARIES:
        module = pytest.importorskip(library, reason=f"{library} is not installed")
        make = module.array if library == "pyarrow" else module.Series
        made |= {f"{library} whole": make([1, 0, 1]), f"{library} truths": make([True, False, True])}
        if library == "pandas":
            made |= {f"pandas {kind}": make([1, 0, 1], dtype=kind) for kind in ("Int64", "category", "UInt8")}
            made["pandas boolean"] = make([True, False, True], dtype="boolean")
    return made


def test_targets_and_weights_come_as_columns_too() -> None:
    for name, column in columns_of_labels().items():
        t = as_targets(column, bp.SoftmaxCrossEntropy(), (2,), 3, "float32")
        assert t.dtype == np.int32 and t.tolist() == [1, 0, 1], name
        weights = row_weights(3, column)
        assert weights is not None and weights.tolist() == [1.0, 0.0, 1.0], name


def test_missing_and_wrong_targets_are_named() -> None:
    pd = frames("pandas")
    with pytest.raises(bp.DataError, match=r"y has no value \(NA\) in row 1; drop such rows"):
        as_targets(pd.Series([1, None], dtype="Int64"), bp.SoftmaxCrossEntropy(), (2,), 2, "float32")
    with pytest.raises(bp.DataError, match="y holds 'cat' in row 0, and a loss needs numbers; number the classes"):
        as_targets(pd.Series(["cat", "dog"], dtype="category"), bp.SoftmaxCrossEntropy(), (2,), 2, "float32")
    with pytest.raises(bp.DataError, match=r"sample_weight has no value \(NA\) in row 0"):
        row_weights(2, pd.Series([None, 1], dtype="Int64"))


@pytest.mark.parametrize("library", LIBRARIES)
def test_reports_of_tables_show_their_numbers(library: str) -> None:
    table = table_of(library, {"a": [True, False], "b": [1.5, 2.0]})
    assert facts.Part.of(table).sample().tolist() == [[1.0, 1.5], [0.0, 2.0]]


@pytest.mark.parametrize("library", LIBRARIES)
def test_tables_train_predict_and_evaluate_like_their_numbers(library: str) -> None:
    rng = np.random.default_rng(0)
    columns = {"yes": rng.random(40) > 0.5, "x": rng.normal(size=40), "n": rng.integers(0, 9, 40)}
    table, array = table_of(library, columns), np.column_stack([c.astype(float) for c in columns.values()])
    y = rng.integers(0, 3, 40)

    def found(given: Any) -> list[Any]:
        net = bp.Network(bp.Dense(3), 3, device="cpu")
        trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(), batch_size=8, metrics="accuracy")
        history = trainer.fit(given, y, epochs=2, validation_data=(given, y), sample_weight=np.arange(40))
        loss, gradients = net.loss_and_gradients(bp.SoftmaxCrossEntropy(), given, y)
        trainer.step(given, y)
        return [history["val_loss"], trainer.evaluate(given, y), loss, gradients["W"], net.predict(given), net.flat]

    for one, two in zip(found(table), found(array), strict=True):
        np.testing.assert_array_equal(one, two)


def test_columns_of_polars_that_are_no_numbers_of_numpy() -> None:
    pl = pytest.importorskip("polars", reason="polars is not installed")
    net = bp.Network(bp.Dense(2), 2, device="cpu")
    table = pl.DataFrame({"a": [1, 2], "b": [3, 4]})
    wide = table.with_columns(pl.col("a").cast(pl.Int128))
    assert np.array_equal(net.predict(wide), net.predict(table))
    for values in ([{"x": 1}, {"x": 2}], pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2))):
        with pytest.raises(bp.DataError, match="X: column 'a' holds (Struct|Array).*, and the network needs numbers"):
            net.predict(pl.DataFrame({"a": values, "b": [1, 2]}))
