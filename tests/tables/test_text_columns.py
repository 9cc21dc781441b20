"""Columns of text: which columns are texts, what they become, what prediction and model files do with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tweets import texts, tweets

import gpubp as bp
from gpubp.config import from_config
from gpubp.errors import DataError, ModelFileError
from gpubp.tables import CategoryColumn, LeftOut, Notes, Preparation, TextColumn, fit
from gpubp.tables.survey import Survey
from gpubp.tables.text_survey import MOST_WORDS
from gpubp.text import Vocabulary
from traced import traced

pyarrow = pytest.importorskip("pyarrow")


def column(values: list[object], **options: object) -> object:
    """What a column of these values is taken for, beside a number."""
    table = pyarrow.table({"a": values, "x": np.arange(len(values)) % 7, "y": ["p", "q"] * (len(values) // 2)})
    made = fit(table, "y", **options)  # type: ignore[arg-type]
    return next(c for c in (*made.columns, *made.left_out) if c.name == "a")


def test_texts_stand_behind_numbers_and_categories(tmp_path: Path) -> None:
    table = tweets(tmp_path / "tweets.csv", 300)
    made = fit(table, "sentiment")
    assert [c.kind for c in made.columns] == ["text", "number", "category"]
    text = made.columns[0]
    assert isinstance(text, TextColumn) and 12 <= text.length <= 30 and "great" in text.vocabulary.words
    assert text.note.startswith("nearly every row has a text of its own, of ") and "--drop text" in text.note
    X, t, _ = made.arrays(table)
    assert X.shape == (300, made.width) and t is not None
    first = made.width - text.length
    assert made.outputs[first] == "text word 1" and not X[7, first:].any() and X[0, first:].any()
    assert X[:, first:].max() == len(text.vocabulary) - 1
    again = from_config(json.loads(json.dumps(made.config())))
    assert again == made and np.array_equal(again.arrays(table)[0], X)
    assert repr(made.embedding) == (
        f"WordColumns(Sequential(Embedding({len(text.vocabulary)}, 32), MeanOverTime(root=True)), "
        f"lengths=({text.length},), dropout=0.5, scale=3.0)"
    )


def test_a_network_learns_from_words_and_predicts_from_its_file(tmp_path: Path) -> None:
    table, other = tweets(tmp_path / "tweets.csv", 600), tweets(tmp_path / "other.csv", 300, seed=1)
    made = fit(table, "sentiment")
    X, t, _ = made.arrays(table)
    net = bp.Network(bp.Sequential(made.embedding, bp.Dense(2)), made.width, device="cpu", seed=0)
    made.keep_in(net)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), l2=0.005, metrics="accuracy")
    trainer.fit(X, t, epochs=8, verbose=False)
    assert trainer.evaluate(*made.arrays(other)[:2])["accuracy"] > 0.8
    net.save(tmp_path / "m.safetensors")
    again = bp.load(tmp_path / "m.safetensors", device="cpu")
    kept = Preparation.of(again)
    assert kept == made
    rows = kept.arrays(other, target=False)[0]
    assert np.array_equal(again.predict(rows), net.predict(rows))
    net.metadata["table"]["columns"][0]["vocabulary"]["words"][0] = "of"
    net.metadata["table"]["columns"][0]["vocabulary"]["words"][1] = "of"
    with pytest.raises(ModelFileError, match="not all different"):
        Preparation.of(net)


def test_which_columns_are_texts() -> None:
    said = texts(100)[0]
    for values in (said, [None, *said[:98], ""], said[:60] + said[:40]):
        assert isinstance(column(values), TextColumn)
    names = [f"Anna{i} Smith{i}" for i in range(100)]
    assert column(names) == LeftOut("a", "nearly every row has a value of its own")
    strange = [f"w{i} v{i} u{i} t{i}" for i in range(100)]
    assert "only 0% of its words come twice; --text a reads them" in column(strange).why  # type: ignore[attr-defined]
    assert isinstance(column(["not at all", "very much indeed"] * 50), CategoryColumn)
    long = ["a rather long description of a product that comes with " * 3 + end for end in ("it", "her")] * 50
    assert isinstance(column(long), TextColumn)
    dates = [f"{1 + i % 28} Dec {2000 + i % 24}" if i % 2 else f"2024-{1 + i % 12}-1 at {i}:00" for i in range(100)]
    assert not isinstance(column(dates), TextColumn)


@pytest.mark.parametrize(
    "written",
    [
        "https://www.shop{0}.com/soup/cold{1}?page=3",
        "anna.{0}@mail{1}.example.com",
        "/home/anna/photos/{0}/part{1}.jpg",
        "ab:{0}:{1}:cd:ef:01",
        "B {0} {1} X",
        "C({0})=O({1})c1ccc",
        "王{2}{3}",
    ],
)
def test_codes_addresses_and_names_are_no_texts(written: str) -> None:
    few = "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰"
    values = [written.format(i % 20, i // 20, few[i % 20], few[i // 20]) for i in range(400)]
    found = column(values)
    assert isinstance(found, LeftOut) and "--text a reads its words" in found.why, found
    assert isinstance(column(values, text=["a"]), TextColumn)


def test_a_text_that_is_left_out_is_said_to_be_readable_unless_it_looks_like_something_else() -> None:
    found = column([f"vw a4 {i % 250 / 10} tdi" for i in range(400)])
    assert isinstance(found, LeftOut) and found.why.startswith("every value is rare, ") and "--text a" in found.why, (
        found
    )
    versions = [f"{i % 7}.{i % 12 + 1}.{i % 31}" for i in range(400)]
    found = column([f"{version}" if i % 9 else f"{version}.{i}" for i, version in enumerate(versions)])
    assert isinstance(found, LeftOut | CategoryColumn) and "--text" not in str(found), found


def test_texts_in_any_script_are_texts() -> None:
    rng = np.random.default_rng(0)
    for words, between in (
        ("这个 汤 很好 不好 服务 味道 一般 太差 喜欢", ""),
        ("😀 😡 👍 🎉 ❤ 🍕", ""),
        ("لن كان الطعام جيد سيء جدا نعود أبدا", " "),
        ("the soup was cold good bad we", " "),
    ):
        values = [between.join(rng.choice(words.split(), 8)) for _ in range(200)]
        assert isinstance(column(values), TextColumn), words


def test_options_decide() -> None:
    said = texts(100)[0]
    assert isinstance(column(said, categorical=["a"]), CategoryColumn)
    assert column(said, drop=["a"]) == LeftOut("a", "you said so")
    short = column(["red wine", "white wine"] * 50, text=["a"])
    assert isinstance(short, TextColumn) and short.length == 2 and short.note == ""
    assert set(short.vocabulary.words) == {"wine", "red", "white"}
    numbers = column([1, 2] * 50, text=["a"])
    assert isinstance(numbers, TextColumn) and numbers.vocabulary.words == ("1", "2")
    assert column([f"w{i}" for i in range(100)], text=["a"]) == LeftOut("a", "none of its words comes twice")
    with pytest.raises(DataError, match="two of categorical, numeric, text and drop"):
        column(said, text=["a"], drop=["a"])
    with pytest.raises(DataError, match="no column 'b' for the text"):
        column(said, text=["b"])
    with pytest.raises(DataError, match="free text"):
        fit(pyarrow.table({"a": said, "x": range(100)}), "a")


def test_rows_held_out_add_no_words() -> None:
    said = texts(200)[0]
    from gpubp.tables import held_out

    held = held_out(0, 200, 0.5, 3)
    changed = [f"{text} unheard unheard" if h else text for text, h in zip(said, held, strict=True)]
    made = [
        fit(pyarrow.table({"a": values, "y": ["p", "q"] * 100}), "y", held=(0.5, 3)).columns
        for values in (said, changed)
    ]
    assert made[0] == made[1]


def test_hostile_texts(tmp_path: Path) -> None:
    """Each is read, in bounded memory: NUL, megabytes in a cell, one word, emojis alone, right to left, nothing."""
    rows = [
        "good\0food and wine",
        "again " * 100_000,
        "x" * 500_000,
        "😀 😀 😡 😀",
        "שלום \u202eעולם\u202c שלום עולם",
        "的 好 東京 好",
        "",
        "!!! ??? ...",
        '"quoted", with commas; and\nlines',
        "\ufeffgood food \u200b and wine",
    ] * 4
    with traced() as peak:
        made = fit(pyarrow.table({"a": rows, "y": ["p", "q"] * 20}), "y", text=["a"])
        X = made.transform(pyarrow.record_batch({"a": rows}))
        assert peak() < 20e6
    text = made.texts[0]
    assert text.length <= MOST_WORDS and "x" * 500_000 not in text.vocabulary.words
    assert {"😀", "שלום", "好", "東", "food"} <= set(text.vocabulary.words)
    assert (X[1, : text.length] == text.vocabulary.numbers["again"]).all()
    assert X[2, 0] == 1 and not X[2, 1:].any() and not X[6].any() and not X[7].any()
    path = tmp_path / "latin.csv"
    path.write_bytes("a,y\nçà et là,1\n".encode("latin-1"))
    with pytest.raises(DataError, match="--encoding"):
        fit(path, "y", text=["a"])


def test_very_many_different_words_take_bounded_memory() -> None:
    rng = np.random.default_rng(0)
    values = [" ".join(f"w{k}" for k in rng.integers(0, 30_000, 20)) for _ in range(4000)]
    made = fit(pyarrow.table({"a": values, "y": ["p", "q"] * 2000}), "y", text=["a"])
    assert len(made.texts[0].vocabulary.words) == 20_000


def test_long_values_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of long texts not all are kept while levels are counted, and words of a frequent category are not counted."""
    monkeypatch.setattr("gpubp.tables.survey.HELD", 10_000)
    survey = Survey("a")
    for i in range(20):
        survey.add(pyarrow.array([f"{'some words ' * 20}{k} end" for k in range(i * 50, i * 50 + 50)]), i * 50)
        assert survey.levels.held == sum(map(len, survey.levels.counts)) < 25_000
    assert survey.levels.unique and survey.words.texts == 1000 and not survey.words.given_up
    towns = Survey("b")
    towns.add(pyarrow.array([f"town of {k % 20}" for k in range(3000)]), 0)
    assert towns.words.given_up and len(towns.levels.counts) == 20 and not towns.levels.forgotten


def test_new_texts_are_noted() -> None:
    made = TextColumn("a", Vocabulary(("good", "bad")), 3)
    notes, out = Notes(), np.zeros((4, 3))
    made.fill(out, pyarrow.array(["good", "unheard of", None, "entirely new words here"]), 10, notes)
    assert out.tolist() == [[2, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]]
    assert notes.found == {("a", "no known word"): [2, 11, "unheard of"]}


def test_wrong_descriptions_are_refused() -> None:
    v = Vocabulary(("good",))
    for arguments in (
        ("", v, 3),
        ("a", Vocabulary(), 3),
        ("a", v, 0),
        ("a", v, 10**6),
        ("a", v, 3, -1.0),
        ("a", None, 3),
    ):
        with pytest.raises(ValueError):
            TextColumn(*arguments)  # type: ignore[arg-type]
