"""Preparation: learning, saving and predicting with it, unusual rows, damaged files, and threads."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp as bp
from gpubp.config import as_plain, from_config
from gpubp.errors import DataError, ModelFileError
from gpubp.tables import Notes, Preparation, Table, fit, held_out

pyarrow = pytest.importorskip("pyarrow")


def network_for(made: Preparation, *layers: bp.Layer) -> bp.Network:
    first = [made.embedding] if made.embedding else []
    net = bp.Network(bp.Sequential(*first, *layers, bp.Dense(made.target.outputs)), made.width, device="cpu", seed=0)
    made.keep_in(net)
    return net


def test_a_network_learns_more_than_a_linear_model_and_predicts_from_its_file(table: Path, tmp_path: Path) -> None:
    made = fit(table, "price", drop=["dear"], held=(0.25, 0))
    assert [c.name for c in made.left_out] == ["id", "dear", "country"]
    assert [c.kind for c in made.columns] == ["number", "category", "number", "yes/no", "date"]
    X, t, held = made.arrays(table, held=(0.25, 0))
    assert t is not None and 0.2 < held.mean() < 0.3 and abs(t[~held].mean()) < 1e-6 and X.shape == (1500, made.width)
    net = network_for(made, bp.Dense(64), bp.ReLU(), bp.Dense(32), bp.ReLU())
    bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(0.003)).fit(X[~held], t[~held], epochs=60, verbose=False)
    of_network = float(np.square(net.predict(X[held])[:, 0] - t[held]).mean())
    straight = [i for i, name in enumerate(made.outputs) if " from " not in name and " up to " not in name]  # no bins
    ones = np.concatenate([X[:, straight], np.ones((1500, 1))], axis=1).astype(float)
    line = ones[held] @ np.linalg.lstsq(ones[~held], t[~held].astype(float), rcond=None)[0]
    of_line, of_mean = float(np.square(line - t[held]).mean()), float(t[held].var())
    assert of_network < 0.5 * of_line < of_mean
    net.save(tmp_path / "m.safetensors")
    again = bp.load(tmp_path / "m.safetensors", device="cpu")
    kept = Preparation.of(again)
    assert kept == made and str(kept) == str(made)
    Y, none, _ = kept.arrays(table, target=False)
    assert none is None and np.array_equal(Y, X) and np.array_equal(again.predict(Y), net.predict(X))


def test_embedded_categories_learn(tmp_path: Path) -> None:
    """Sixty streets, each with its own price, of which nothing else tells."""
    rng = np.random.default_rng(0)
    worth, street = rng.normal(size=60), rng.integers(0, 60, 3000)
    data = pyarrow.table(
        {
            "street": [f"street {i}" for i in street],
            "z": rng.normal(size=3000),
            "y": worth[street] + 0.1 * rng.normal(size=3000),
        }
    )
    made = fit(data, "y")
    X, t, _ = made.arrays(data)
    net = network_for(made, bp.Dense(16), bp.ReLU())
    trainer = bp.Trainer(net, bp.MeanSquaredError(), bp.Adam(0.01), metrics="mse")
    trainer.fit(X, t, epochs=15, verbose=False)
    assert trainer.evaluate(X, t)["mean_squared_error"] < 0.1
    kept = Preparation.of(net)
    assert kept is not None
    unknown = kept.transform(pyarrow.record_batch({"street": ["elsewhere", None], "z": [0.0, 0.0]}))
    assert np.abs(net.predict(unknown)).max() < 3


def test_rows_without_a_target_are_left_out(table: Path, tmp_path: Path) -> None:
    lines = table.read_text().splitlines()
    for i in (5, 6, 40):
        cells = lines[i].split(",")
        cells[6] = "" if i != 6 else "NA"
        lines[i] = ",".join(cells)
    holes, whole = tmp_path / "holes.csv", tmp_path / "whole.csv"
    holes.write_text("\n".join(lines))
    whole.write_text("\n".join(line for i, line in enumerate(lines) if i not in (5, 6, 40)))
    made = fit(holes, "price", numeric=["id"])
    assert made == fit(whole, "price", numeric=["id"])
    (X, t, _), (Y, u, _) = made.arrays(holes), made.arrays(whole)
    assert np.array_equal(X, Y) and t is not None and u is not None and np.array_equal(t, u) and len(t) == 1497
    batch = next(Table(holes).batches())[1]
    with pytest.raises(DataError, match="row 5: price has no value"):
        made.targets(batch)


def test_rows_held_out_do_not_affect_the_preparation(tmp_path: Path) -> None:
    """Other values in them, and the preparation is the same; but their classes are known."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=400), rng.choice(["a", "b"], 400).astype(object)
    held = held_out(0, 400, 0.25, 3)
    x2, y2 = np.where(held, 1e6, x), y.copy()
    y2[np.flatnonzero(held)[0]] = "c"
    one = fit(pyarrow.table({"x": x, "y": y}), "y", held=(0.25, 3))
    other = fit(pyarrow.table({"x": x2, "y": y2}), "y", held=(0.25, 3))
    assert one.columns == other.columns and other.target.classes == ("a", "b", "c")
    assert not np.array_equal(held, held_out(0, 400, 0.25, 4))


# -- strange rows -----------------------------------------------------------------------------------------------------


def changed(table: Path, line: int, column: int, value: str) -> Path:
    lines = table.read_text().splitlines()
    cells = lines[line - 1].split(",")
    cells[column] = value
    lines[line - 1] = ",".join(cells)
    path = table.with_name("new.csv")
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("line", "column", "value", "words"),
    [
        (17, 1, "abc", "new.csv, line 17: area holds 'abc', which is no number"),
        (301, 1, "inf", "line 301: area holds 'inf', which is no number"),
        (20, 1, "1e300", "line 20: area holds '1e300', which is far beyond the numbers learnt from"),
        (2, 4, "perhaps", "line 2: garden holds 'perhaps', which is neither yes nor no"),
        (601, 5, "31.12.2020", "line 601: sold holds '31.12.2020', which is no date such as 2024-12-31"),
        (601, 5, "2020-02-31", "line 601: sold holds '2020-02-31'"),
        (9, 6, "much", "line 9: price holds 'much', which is no number"),
    ],
)
def test_unusable_values_are_refused(table: Path, line: int, column: int, value: str, words: str) -> None:
    made = fit(table, "price")
    with pytest.raises(DataError, match=words):
        made.arrays(changed(table, line, column, value))


def test_an_unknown_class_is_refused(table: Path) -> None:
    made = fit(table, "dear")
    with pytest.raises(DataError, match="line 30: dear holds 'cheap', and the classes are dear, fair"):
        made.arrays(changed(table, 30, 7, "cheap"))


def test_new_levels_and_newly_missing_values_are_noted(table: Path) -> None:
    made, notes = fit(table, "price"), Notes()
    X, _, _ = made.arrays(changed(table, 30, 2, "Atlantis"), notes)
    assert notes.found == {("town", "new"): [1, 28, "Atlantis"]}
    town = [i for i, name in enumerate(made.outputs) if name.startswith("town")]
    assert not X[28, town].any()
    notes = Notes()
    made.arrays(changed(table, 30, 3, ""), notes)
    assert notes.found == {("built", "missing"): [1, 28, None]}


def test_missing_and_additional_columns(table: Path) -> None:
    made = fit(table, "price")
    new = Table(table).columns
    assert made.check([*new, "colour"]) == ["colour"] and made.check(made.needed) == []
    with pytest.raises(DataError, match="new.csv lacks the columns area, town$"):
        made.check([c for c in new if c not in ("area", "town")], "new.csv")
    with pytest.raises(DataError, match=r"lacks the column area \(it has Area\)"):
        made.check(["Area", *(c for c in new if c != "area")])
    with pytest.raises(DataError, match="lacks the column price"):
        made.check([c for c in new if c != "price"], target=True)
    with pytest.raises(DataError, match="the table has no column 'area'"):
        made.transform(pyarrow.record_batch({"x": [1]}))


def test_another_type_of_file_gives_the_same_numbers(table: Path, tmp_path: Path) -> None:
    """CSV is text and Parquet has types; a model of the one predicts from the other."""
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    typed = arrow_csv.read_csv(table)
    assert str(typed.schema.field("built").type) == "int64" and str(typed.schema.field("sold").type) == "date32[day]"
    parquet.write_table(typed, tmp_path / "houses.parquet")
    one, other = fit(table, "price"), fit(tmp_path / "houses.parquet", "price")
    assert one == other
    assert np.array_equal(one.arrays(table)[0], one.arrays(tmp_path / "houses.parquet")[0])


def test_threads_may_share_it(table: Path) -> None:
    made = fit(table, "price")
    parts = [(i, next(Table(table).batches())[1].slice(i, 50)) for i in range(0, 1500, 50)]
    alone = [made.transform(batch, i) for i, batch in parts]
    fresh = from_config(made.config())
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda part: fresh.transform(part[1], part[0]), parts))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


# -- strange files ----------------------------------------------------------------------------------------------------

MEAN = {"class": "NumberColumn", "name": "n", "mean": 0.0, "scale": 1.0, "missing": False}
LEVELS = {"class": "CategoryColumn", "name": "c", "levels": ["a", "b"], "other": False, "missing": False, "embed": 0}
DATE = {"class": "DateColumn", "name": "d", "mean": 0.0, "scale": 1.0, "parts": ["trend"], "missing": False}
TARGET = {"class": "TableTarget", "name": "y", "kind": "numbers", "mean": 0.0, "scale": 1.0, "classes": []}


def described(columns: Any = (MEAN,), target: Any = TARGET, left_out: Any = ()) -> dict[str, Any]:
    return {"class": "Preparation", "columns": list(columns), "target": target, "left_out": list(left_out)}


HOSTILE: list[Any] = [
    7, [], "text", {}, {"class": "Dense", "units": 3}, {"class": "Preparation"}, {"class": ["Preparation"]},
    described(columns=[]), described(columns=[7]), described(columns=[MEAN, MEAN]), described(columns=[TARGET]),
    described(target=MEAN), described(target=None), described(target=TARGET | {"kind": "magic"}),
    described(target=TARGET | {"scale": 0.0}), described(target=TARGET | {"mean": "x"}),
    described(target=TARGET | {"name": "n"}), described(target=TARGET | {"classes": ["a"]}),
    described(target=TARGET | {"kind": "classes", "classes": ["a", 1]}),
    described(target=TARGET | {"kind": "classes", "classes": [["a"], ["b"]]}),
    described(target=TARGET | {"kind": "classes", "classes": ["a", "a"]}), described(left_out=[3]),
    described([MEAN | {"scale": 0.0}]), described([MEAN | {"scale": -1}]), described([MEAN | {"mean": None}]),
    described([MEAN | {"mean": 1e999}]), described([MEAN | {"missing": 3}]), described([MEAN | {"name": ["n"]}]),
    described([MEAN | {"name": ""}]), described([MEAN | {"surprise": 1}]), described([MEAN, MEAN | {"name": "m"}]),
    described([LEVELS | {"levels": "ab"}]), described([LEVELS | {"levels": ["a", "a"]}]),
    described([LEVELS | {"levels": [1, 2]}]), described([LEVELS | {"levels": []}]),
    described([LEVELS | {"levels": [{"class": "ReLU"}]}]), described([LEVELS | {"embed": -1}]),
    described([LEVELS | {"embed": 10**9}]), described([LEVELS | {"embed": 1.5}]), described([DATE | {"parts": []}]),
    described([DATE | {"parts": ["trend", "trend"]}]), described([DATE | {"parts": ["eternity"]}]),
    described([DATE | {"parts": "trend"}]), described([DATE | {"parts": [["trend"]]}]),
]  # fmt: skip


@pytest.mark.parametrize("told", HOSTILE, ids=lambda told: json.dumps(told)[:60])
def test_a_hostile_file_is_refused(told: Any, tmp_path: Path) -> None:
    net = bp.Network(bp.Dense(1), 1, device="cpu")
    for sound in (described(), described([DATE])):
        net.metadata["table"] = sound
        assert Preparation.of(net) is not None
    net.metadata["table"] = told
    with pytest.raises(ModelFileError, match="the model does not say well how its table is prepared"):
        Preparation.of(net)


def test_a_network_of_another_width(table: Path) -> None:
    made = fit(table, "price")
    with pytest.raises(ValueError, match="rows of the table are .* numbers, and of the network"):
        made.keep_in(bp.Network(bp.Dense(1), 3, device="cpu"))
    assert Preparation.of(bp.Network(bp.Dense(1), 3, device="cpu")) is None


def test_its_config_is_json_and_its_repr_recreates_it(table: Path) -> None:
    made = fit(table, "dear")
    told = json.loads(json.dumps(as_plain(made), allow_nan=False))
    assert from_config(told) == made
    assert eval(repr(made), vars(__import__("gpubp.tables", fromlist=["fit"]))) == made
