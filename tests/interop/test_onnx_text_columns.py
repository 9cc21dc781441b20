"""ONNX files that find the words of texts as gpubp does, or say that they can't."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("pyarrow")

from onnx_tables import TableSession

import gpubp as bp
from gpubp.interop.onnx_out.tables.characters import (
    APOSTROPHES,
    ASCII_SEPARATORS,
    CHANGED,
    SEPARATORS,
    UNSEEN,
    kinds,
    spellings,
)
from gpubp.tables import TextColumn
from gpubp.text import Vocabulary, words_of

WORDS = "good don't été москва 👍 ❤ 😀 straße οδος σοφια 2024 naïve हिन्दी istanbul 🇩🇪 fine l'eau 3 m2"
WORDS += " überraschung rock'n'roll 한국 שלום"
COLUMN = TextColumn("x", Vocabulary(tuple(WORDS.split())), 6)
READ = [
    "Good DON'T don’t 'good' good''good \"fine\"",
    "ÉTÉ Été étÉ e\u0301te\u0301 E\u0301te\u0301",
    "Москва МОСКВА москва! ÜBERRASCHUNG",
    "👍👍🏽good👍 x😭 2👍",
    "🙀🙀🙀 good 🙀 ☂☂",
    "❤️ 😀😀",
    "STRASSE straße STRAẞE",
    "ΟΔΟΣ Οδος οδοΣ ΣΟΦΙΑ ΟΔΟΣ.",
    "NA",
    " ",
    " 3.0 ",
    "+3.00",
    "naïve-NAÏVE_good",
    "हिन्दी good 한국 שלום",
    "İstanbul ISTANBUL",
    "🇩🇪🇩🇪 🇫🇷🇫🇷 good",
    "ﬁne… “fine” m²",
    "soft\u00adgood go\u00adod",
    "l'eau L’EAU l''eau",
    "a b c d e f g h 東京 and what is behind the words that count",
    "unKnown!",
    "Unknown",
    "good;good,good.good\tgood\ngood\r\nfine",
    "rock'n'roll ROCK’N’ROLL 'tis o' ''good''' good",
    "½ good 3€ fine",
    None,
]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> TableSession:
    return TableSession(tmp_path_factory.mktemp("texts"), [COLUMN])


def test_words_are_those_that_gpubp_finds(tmp_path: Path) -> None:
    session = TableSession(tmp_path, [COLUMN], missing=("unknown",))
    session.compare({"x": READ})
    for text in READ[:8]:
        session.compare({"x": [text]})
    assert len(session.model.graph.node) < 800


@pytest.mark.parametrize(
    "text", ["東京", "x🙀", "МосКВА", "e\u0301x\u0323", "👩‍🚀", "🇩", "ｆｉｎｅ", "good\u0001fine", "go\u00ad\u0301od"]
)
def test_a_text_that_cant_be_read_alike_is_an_error_that_names_its_row(text: str, session: TableSession) -> None:
    with pytest.raises(Exception, match="column x: a text has .* idx=2 "):
        session.run({"x": ["good", text]})


def test_random_texts_have_the_words_that_gpubp_finds_or_are_refused(session: TableSession) -> None:
    rng, known = random.Random(0), kinds()
    sets = [sorted(part) for part in (known.letters, known.capitals, known.marks, known.symbols, known.flags)]
    between = [
        *ASCII_SEPARATORS,
        *SEPARATORS,
        *" " * 200,
        *"'’ʼ" * 15,
        *UNSEEN,
        *CHANGED,
        "\u200d",
        "\u0301",
        "東",
        "\x01",
    ]

    def piece() -> str:
        kind = rng.random()
        if kind < 0.6:
            word = rng.choice(COLUMN.vocabulary.words)
            return rng.choice([word, word.upper(), word.capitalize(), word.title()])
        if kind < 0.7:
            word = list(rng.choice(COLUMN.vocabulary.words))
            word[rng.randrange(len(word))] = rng.choice(rng.choice(sets))
            return "".join(word)
        return rng.choice(["xyz", "A", "12", rng.choice(rng.choice(sets))])

    texts = ["".join(piece() + rng.choice(between) for _ in range(rng.randrange(1, 9))) for _ in range(250)]
    expected = session.net.predict(session.prepared.transform(batch(texts)))
    taken = 0
    for start in range(0, len(texts), 10):
        try:
            session.compare({"x": texts[start : start + 10]})
            taken += 10
        except Exception as problem:
            assert "column x: a text has" in str(problem)
            for text, y in zip(texts[start : start + 10], expected[start : start + 10], strict=True):
                try:
                    found = session.run({"x": [text]})["prediction"]
                except Exception as one:
                    assert "column x: a text has" in str(one)
                    continue
                assert np.abs(found - session.prepared.target.answers(y[None])).max() < 1e-5, text
                taken += 1
    assert taken > len(texts) // 2


def batch(texts: list[str]) -> Any:
    import pyarrow

    return pyarrow.table({"x": texts}).to_batches()[0]


def test_what_characters_do_is_what_words_of_says() -> None:
    known, rng = kinds(), random.Random(0)
    for one in [*ASCII_SEPARATORS, *SEPARATORS]:
        assert list(words_of(f"a{one}b")) == ["a", "b"], ascii(one)
    for one in UNSEEN:
        assert list(words_of(f"a{one}b")) == ["ab"], ascii(one)
    for one, other in [*CHANGED.items(), *((apostrophe, "'") for apostrophe in APOSTROPHES)]:
        assert list(words_of(f"é{one}b")) == list(words_of(f"é{other}b")), ascii(one)
    for one in rng.sample(sorted(known.letters | known.marks), 3000):
        assert list(words_of(f"a{one}b")) == [f"a{one}b"], ascii(one)
    for one in known.capitals:
        assert list(words_of(f"a{one}b")) == [f"a{one.lower()}b"], ascii(one)
    for one in known.symbols:
        assert list(words_of(f"a{one}{one}b")) == ["a", one, one, "b"], ascii(one)
    assert min(map(len, known)) > 20


def test_every_spelling_is_the_word() -> None:
    for word in COLUMN.vocabulary.words:
        found = list(spellings(word))
        assert found[0] == word and all(list(words_of(written)) == [word] for written in found)


def test_a_vocabulary_of_a_script_without_spaces_is_refused_with_what_to_do(tmp_path: Path) -> None:
    column = TextColumn("review", Vocabulary(("東", "京", "good")), 3)
    with pytest.raises(bp.ExportError, match="review has words of scripts without spaces .*'review': 'prepared'"):
        TableSession(tmp_path, [column])
    session = TableSession(tmp_path, [column], {"review": "prepared"})
    numbers = np.array([[2, 3, 0]], np.float32)
    expected = session.prepared.target.answers(session.net.predict(numbers))
    assert np.abs(session.session.run(None, {"review": numbers})[0] - expected).max() < 1e-5


def test_words_that_no_text_has_are_no_error(tmp_path: Path) -> None:
    column = TextColumn("x", Vocabulary(("Not small", "TOO")), 3)
    TableSession(tmp_path, [column]).compare({"x": ["too", "not small", ""]})
