"""Every type of Arrow beside other columns: used, or left out with its type, and never an error of pyarrow."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpubp.errors import DataError
from gpubp.tables import Notes, fit

pa = pytest.importorskip("pyarrow")

N = 60
NUMBERS = [i * 7 % 23 for i in range(N)]
WORDS = [f"w{i % 4}" for i in range(N)]
MOMENTS = [datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=31 * i % 500) for i in range(N)]
DECIMALS = [decimal.Decimal(i % 9) / 4 for i in range(N)]
TRUTHS = [i % 3 == 0 for i in range(N)]


def run_ends(values: Any) -> Any:
    return pa.RunEndEncodedArray.from_arrays(pa.array(np.arange(1, N + 1), pa.int32()), values)


def coded(values: Any) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(range(N), pa.int32()), values)


def made(name: str) -> Any:
    """A column of the type `name`."""
    makers: dict[str, Any] = {
        **{f"int {size}": lambda t=t: pa.array(NUMBERS, t) for size, t in enumerate(
            [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()])},
        "float16": lambda: pa.array(np.array(NUMBERS, np.float16)),
        "float32": lambda: pa.array(NUMBERS, pa.float32()),
        "bool": lambda: pa.array(TRUTHS),
        **{f"decimal {size}": lambda size=size: pa.array(DECIMALS, getattr(pa, f"decimal{size}")(7, 2))
           for size in (32, 64, 128, 256)},
        "string": lambda: pa.array(WORDS),
        "large_string": lambda: pa.array(WORDS, pa.large_string()),
        "string_view": lambda: pa.array(WORDS, pa.string_view()),
        "dictionary": lambda: pa.array(WORDS).dictionary_encode(),
        "dictionary of numbers": lambda: pa.array(NUMBERS).dictionary_encode(),
        "dictionary of views": lambda: coded(pa.array(WORDS, pa.string_view())),
        "dictionary of dates": lambda: coded(pa.array(MOMENTS)),
        "run ends": lambda: run_ends(pa.array(NUMBERS)),
        "run ends of views": lambda: run_ends(pa.array(WORDS, pa.string_view())),
        "date32": lambda: pa.array([m.date() for m in MOMENTS]),
        "date64": lambda: pa.array([m.date() for m in MOMENTS], pa.date64()),
        **{f"timestamp {unit}": lambda unit=unit: pa.array(MOMENTS, pa.timestamp(unit))
           for unit in ("s", "ms", "us", "ns")},
        "zoned": lambda: pa.array(MOMENTS, pa.timestamp("us", tz="Europe/Rome")),
        "json": lambda: pa.ExtensionArray.from_storage(pa.json_(), pa.array(WORDS)),
        "bool8": lambda: pa.ExtensionArray.from_storage(pa.bool8(), pa.array(TRUTHS).cast(pa.int8())),
    }  # fmt: skip
    return makers[name]()


USED = [
    *(f"int {i}" for i in range(8)), "float16", "float32", "bool", *(f"decimal {s}" for s in (32, 64, 128, 256)),
    "string", "large_string", "string_view", "dictionary", "dictionary of numbers", "dictionary of views",
    "dictionary of dates", "run ends", "run ends of views", "date32", "date64", "timestamp s", "timestamp ms",
    "timestamp us", "timestamp ns", "zoned", "json", "bool8",
]  # fmt: skip
NEWER = {"decimal 32": "decimal32", "decimal 64": "decimal64", "json": "json_", "bool8": "bool8", "uuid": "uuid",
         "opaque": "opaque", "string_view": "string_view", "dictionary of views": "string_view",
         "run ends of views": "string_view"}  # fmt: skip
USED = [name for name in USED if hasattr(pa, NEWER.get(name, "array"))]  # of this version of pyarrow


def other(name: str) -> Any:
    """A column of a type that no column is made of."""
    pairs, extended = [[i, i + 1] for i in range(N)], pa.ExtensionArray.from_storage
    makers: dict[str, Any] = {
        "null": lambda: pa.nulls(N),
        "binary": lambda: pa.array([w.encode() for w in WORDS]),
        "large_binary": lambda: pa.array([w.encode() for w in WORDS], pa.large_binary()),
        "binary_view": lambda: pa.array([w.encode() for w in WORDS], pa.binary_view()),
        "fixed binary": lambda: pa.array([b"ab"] * N, pa.binary(2)),
        "list": lambda: pa.array(pairs),
        "large_list": lambda: pa.array(pairs, pa.large_list(pa.int64())),
        "fixed list": lambda: pa.array(pairs, pa.list_(pa.int64(), 2)),
        "list_view": lambda: pa.array(pairs, pa.list_view(pa.int64())),
        "large_list_view": lambda: pa.array(pairs, pa.large_list_view(pa.int64())),
        "list of views": lambda: pa.array([[w] for w in WORDS], pa.list_(pa.string_view())),
        "struct": lambda: pa.array([{"a": i} for i in range(N)]),
        "map": lambda: pa.array([[("k", i)] for i in range(N)], pa.map_(pa.string(), pa.int64())),
        "union": lambda: pa.UnionArray.from_sparse(pa.array([0] * N, pa.int8()), [pa.array(NUMBERS)]),
        "interval": lambda: pa.array([(1, i, 3) for i in range(N)], pa.month_day_nano_interval()),
        "dictionary of binary": lambda: pa.array([w.encode() for w in WORDS]).dictionary_encode(),
        "dictionary of nothing": lambda: pa.nulls(N).dictionary_encode(),
        "uuid": lambda: extended(pa.uuid(), pa.array([bytes(15) + bytes([i]) for i in range(N)], pa.binary(16))),
        "opaque": lambda: extended(pa.opaque(pa.string(), "a", "b"), pa.array(WORDS)),
        "tensor": lambda: extended(pa.fixed_shape_tensor(pa.int64(), [2]), pa.array(pairs, pa.list_(pa.int64(), 2))),
    }  # fmt: skip
    return makers[name]()


UNUSED = [
    "null", "binary", "large_binary", "binary_view", "fixed binary", "list", "large_list", "fixed list", "list_view",
    "large_list_view", "list of views", "struct", "map", "union", "interval", "dictionary of binary",
    "dictionary of nothing", "uuid", "opaque", "tensor",
]  # fmt: skip
UNUSED = [name for name in UNUSED if hasattr(pa, NEWER.get(name, "array"))]


def beside(column: Any) -> Any:
    """A table with the column, numbers, and a target that is missing in a row."""
    y = [None if i == 3 else i * 7 % 23 + i % 4 + 0.5 for i in range(N)]
    return pa.table({"x": [i % 5 + 0.5 for i in range(N)], "column": column, "y": y})


def with_missing(column: Any) -> Any:
    """The same column with rows in which nothing stands."""
    return pa.chunked_array([column.slice(0, 20), pa.nulls(5, column.type), column.slice(20, N - 25)])


@pytest.mark.parametrize("name", USED)
def test_a_type_is_used(name: str) -> None:
    column = made(name)
    table = beside(column)
    for held in (None, (0.3, 0)):
        prepared = fit(table, "y", held=held)
        assert [c.name for c in prepared.columns] == ["x", "column"], prepared.left_out
        notes = Notes()
        X, t, _ = prepared.arrays(table, notes, held=held)
        assert len(X) == N - 1 and np.isfinite(X).all() and t is not None and np.isfinite(t).all()
        assert set(what for _, what in notes.found) <= {"no target"}
    kinds = {prepared.columns[1].kind}
    assert kinds <= {"number", "category", "date", "yes/no"}
    if prepared.columns[1].kind != "date":  # which no target is
        fit(beside(column), "column", held=(0.3, 0))


def test_types_that_mean_the_same_give_the_same_rows() -> None:
    for names in (
        ["string", "large_string", "string_view", "dictionary", "dictionary of views", "run ends of views", "json"],
        ["int 3", "int 0", "float16", "float32", "dictionary of numbers", "run ends"],
        ["decimal 128", "decimal 256"],
        ["timestamp us", "timestamp ns", "timestamp s", "dictionary of dates"],
    ):
        found = []
        for name in [name for name in names if name in USED]:
            table = beside(made(name))
            found.append(fit(table, "y").arrays(table)[0])
        for X in found[1:]:
            np.testing.assert_array_equal(X, found[0])


def test_parts_of_an_encoded_column_are_those_rows() -> None:
    """Slices have an offset, which the ends of the runs do not know."""
    from gpubp.tables.sources import plain

    for name in ("run ends", "run ends of views", "dictionary of views"):
        column = made(name)
        assert plain(column.slice(7, 11)).to_pylist() == column.slice(7, 11).to_pylist(), name


@pytest.mark.parametrize("name", UNUSED)
def test_a_type_is_left_out_with_its_name(name: str) -> None:
    column = other(name)
    table = beside(column)
    for held in (None, (0.3, 0)):
        prepared = fit(table, "y", held=held)
        assert [c.name for c in prepared.columns] == ["x"]
        (left,) = prepared.left_out
        of = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        assert str(of) in left.why or left.why == "it has no value", left
        assert len(prepared.arrays(table, held=held)[0]) == N - 1
    with pytest.raises(DataError, match="the target column (is of type|is)|column has no value"):
        fit(table, "column", held=(0.3, 0))


@pytest.mark.parametrize("name", [n for n in USED if not n.startswith("run ends")])
def test_missing_values_of_a_type(name: str) -> None:
    table = beside(with_missing(made(name)))
    prepared = fit(table, "y", held=(0.3, 0))
    assert any("is missing" in out or "= " in out for out in prepared.outputs), prepared.outputs
    assert np.isfinite(prepared.arrays(table)[0]).all()


def test_files_with_these_types(tmp_path: Path) -> None:
    """As polars and newer programs write them, through the command line."""
    testing, _ = pytest.importorskip("click.testing"), pytest.importorskip("rich")
    from pyarrow import parquet

    from gpubp.cli.app import app

    columns = {"x": made("float32"), "view": made("string_view"), "large": made("large_string")}
    columns |= {"coded": made("dictionary"), "bytes": other("binary"), "list": other("list"), "y": made("decimal 128")}
    table = pa.table(columns)
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=25)
    with pa.ipc.new_file(str(tmp_path / "t.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=25)
    for ending in (".parquet", ".arrow"):
        path, model = str(tmp_path / f"t{ending}"), str(tmp_path / f"m{ending}.safetensors")
        words = ["--target=y", "--loss=mse", "--test-fraction=0.3", "--hidden=4", "--epochs=1", "--device=cpu"]
        for more in ([], ["--memory=1KB"]):
            done = testing.CliRunner().invoke(app, ["train", path, *words, f"--out={model}", *more])
            assert done.exit_code == 0, done.output
            assert "it is of type binary" in done.output and "it is of type list<" in done.output
        for command in ("predict", "evaluate"):
            done = testing.CliRunner().invoke(app, [command, model, path, "--device=cpu", "--json"])
            assert done.exit_code == 0 and json.loads(done.stdout)["rows"], done.output


def test_frames_of_polars(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({
        "word": WORDS, "n": NUMBERS, "day": [m.date() for m in MOMENTS], "coded": WORDS, "truth": TRUTHS,
        "list": [[i] for i in range(N)], "struct": [{"a": i} for i in range(N)],
        "y": [i * 7 % 23 * 0.5 for i in range(N)],
    }).with_columns(polars.col("coded").cast(polars.Categorical))  # fmt: skip
    prepared = fit(frame, "y", held=(0.3, 0))
    assert [c.name for c in prepared.columns] == ["word", "n", "day", "coded", "truth"]
    assert [c.name for c in prepared.left_out] == ["list", "struct"]
    X = prepared.arrays(frame, held=(0.3, 0))[0]
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_ipc(tmp_path / "t.arrow")
    for ending in (".parquet", ".arrow"):
        np.testing.assert_array_equal(prepared.arrays(tmp_path / f"t{ending}")[0], X)


def test_a_type_of_polars_that_arrow_has_not() -> None:
    polars = pytest.importorskip("polars")
    numbers = polars.Series([i % 9 for i in range(N)], dtype=polars.Int128)
    frame = polars.DataFrame({"long": numbers, "word": WORDS, "y": [i * 7 % 23 * 0.5 for i in range(N)]})
    prepared = fit(frame, "y", held=(0.3, 0))
    assert [(c.name, c.kind) for c in prepared.columns] == [("long", "number"), ("word", "category")]
    objects = polars.Series([object()] * N, dtype=polars.Object)
    assert "o" in [c.name for c in fit(frame.with_columns(o=objects), "y").left_out]
    with pytest.raises(DataError, match="; .collect.. makes a DataFrame of it"):
        fit(frame.lazy(), "y")


def test_frames_of_pandas() -> None:
    """Objects of several kinds are text; a type of pandas' own is left out with its name."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({
        "mixed": [1 if i % 2 else "a" for i in range(N)], 7: NUMBERS, "coded": pandas.Categorical(WORDS),
        "month": pandas.period_range("2024-01", periods=N, freq="M"), "y": [i * 7 % 23 * 0.5 for i in range(N)],
    })  # fmt: skip
    frame.loc[5, "mixed"] = None
    prepared = fit(frame, "y", held=(0.3, 0))
    assert [(c.name, c.kind) for c in prepared.columns][:3] == [
        ("mixed", "category"),
        ("7", "number"),
        ("coded", "category"),
    ]
    assert [c.name for c in prepared.left_out] == ["month"]
    assert np.isfinite(prepared.arrays(frame)[0]).all()


def test_frames_with_numbers_for_names_and_a_series() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(60, 3)))
    made = fit(frame, 2, drop=[1])  # type: ignore[arg-type, list-item]
    assert made.needed == ["0"] and made.target.name == "2" and made.arrays(frame)[0].shape == (60, made.width)
    with pytest.raises(DataError, match="a table is a file, a DataFrame or a pyarrow Table, and not 0"):
        fit(frame[0], "y")
