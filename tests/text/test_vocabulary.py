"""Words of texts in many scripts, and vocabularies of them."""

from __future__ import annotations

import json
import pickle
import sys
from collections import Counter

import numpy as np
import pytest

import gpubp as bp
from gpubp.config import from_config
from gpubp.text import Vocabulary, WordCounts, words_of
from traced import traced

CASES = {
    "Don't stop - it’s 'well-known'!": ["don't", "stop", "it's", "well", "known"],
    "snake_case 3.5 1'000 4th": ["snake", "case", "3", "5", "1'000", "4th"],
    "naïve cafe\u0301 ŒUVRE Straße": ["naïve", "café", "œuvre", "straße"],
    "İstanbul ΟΔΟΣ": ["istanbul", "οδος"],
    "हिन्दी में": ["हिन्दी", "में"],
    "می\u200cخواهم الكتاب": ["میخواهم", "الكتاب"],
    "\u202eשלום\u202c עולם": ["שלום", "עולם"],
    "한국어 좋아요": ["한국어", "좋아요"],
    "東京 タワー very": ["東", "京", "タ", "ワ", "ー", "very"],
    "ดีครับ": ["ดี", "ค", "รั", "บ"],
    "ＦＵＬＬ 𝐛𝐨𝐥𝐝 ﬁne x²": ["full", "bold", "fine", "x2"],
    "co\u00adoperate \ufeffmark": ["cooperate", "mark"],
    "😀😀 👍🏽👍 ❤️❤ 🇯🇵🇫🇷 👩‍👩‍👧": ["😀", "😀", "👍", "👍", "❤", "❤", "🇯🇵", "🇫🇷", "👩‍👩‍👧"],
    "a\0b\ud800c ─── ⠿ $€ ...": ["a", "b", "c"],
    "": [],
    "!?! --- \u00a0 \u3000": [],
}


@pytest.mark.parametrize("text", CASES)
def test_words_of_many_scripts(text: str) -> None:
    found = list(words_of(text))
    assert found == CASES[text] or found == [w.replace("ς", "σ") for w in CASES[text]]
    assert [list(words_of(word)) for word in found] == [[word] for word in found]


def test_plain_words_are_the_same_beside_other_scripts() -> None:
    """ASCII has a way of its own, which must give what the other one gives."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = "".join(map(chr, rng.integers(0, 128, 40)))
        assert [*words_of(text), "é"] == list(words_of(f"{text} é")), text


def test_each_word_of_each_character_is_one_word() -> None:
    for code in range(0, sys.maxunicode, 97):
        for word in words_of(f"é{chr(code)}a {chr(code)}"):
            assert list(words_of(word)) == [word], hex(code)


def test_numbers_by_frequency_and_then_by_the_alphabet() -> None:
    texts = ["b a c", "a b", "d c", "e"]
    assert Vocabulary().fit(texts).words == ("a", "b", "c")
    assert Vocabulary().fit(reversed(texts)) == Vocabulary().fit(iter(texts))
    assert Vocabulary(most=2, least=1).fit(texts).words == ("a", "b")
    assert Vocabulary(least=1).fit(texts).words == ("a", "b", "c", "d", "e")
    assert Vocabulary().fit(["a", None, "a", float("nan")]).words == ("a",)


def test_transform_pads_and_cuts() -> None:
    v = Vocabulary(("a", "b"))
    X = v.transform(["b a x", "", None, "A b a b"])
    assert X.dtype == np.int32 and X.tolist() == [[3, 2, 1, 0], [0] * 4, [0] * 4, [2, 3, 2, 3]]
    assert v.transform(["b a x", "a"], length=2).tolist() == [[3, 2], [2, 0]]
    assert v.transform([""]).shape == (1, 1) and v.transform([]).shape == (0, 1)
    assert v.decode(X[0]) == ["b", "a", "<other>"] and v.decode([]) == []
    assert len(v) == 4 and bp.Embedding(len(v), 3).vocabulary == 4


def test_an_embedding_takes_what_it_gives() -> None:
    v = Vocabulary(least=1).fit(["good", "bad"])
    net = bp.Network(bp.Sequential(bp.Embedding(len(v), 4), bp.Flatten(), bp.Dense(1)), 3, device="cpu")
    assert net.predict(v.transform(["good bad good", "unknown"], length=3)).shape == (2, 1)


def test_json_and_pickle_give_it_back() -> None:
    v = Vocabulary(least=1).fit(["naïve 東京 😀 don't"])
    again = from_config(json.loads(json.dumps(v.config())))
    assert again == v == pickle.loads(pickle.dumps(v)) and again.encode("😀") == v.encode("😀")
    assert (
        repr(Vocabulary()) == "Vocabulary()"
        and "5 words: " in repr(v)
        and len(repr(Vocabulary(tuple(map(str, range(20_000)))))) < 80
    )


def test_bounded_memory_of_very_many_words() -> None:
    counts = WordCounts(counted=1000)
    for i in range(20_000):
        counts.add(f"frequent word{i} common frequent {'x' * 70}{i}")
    assert len(counts.counts) <= 1000 and counts.words == 100_000
    assert counts.known(2, 2) == ("frequent", "common") and max(map(len, counts.counts)) <= 64
    one, two = WordCounts(100), WordCounts(100)
    texts = [f"a{i % 150} b{i}" for i in range(500)]
    for text in texts:
        one.add(text)
    two.add(texts[0])
    for text in texts[1:]:
        two.add(text)
    assert one.counts == two.counts != Counter()


def test_a_huge_text_is_read_in_bounded_memory() -> None:
    text = "again and again " * 300_000  # 4.8 MB
    v = Vocabulary(("again", "and"))
    with traced() as peak:
        assert v.transform([text], length=8).tolist() == [[2, 3, 2, 2, 3, 2, 2, 3]]
        assert WordCounts().add(text, most=500) == 500
        assert peak() < 4 * len(text)
    assert v.encode("y" * 3_000_000 + " and") == [1, 3]


def test_wrong_arguments_are_refused_in_words() -> None:
    with pytest.raises(TypeError, match="a list of strings, and got 'good food'"):
        Vocabulary().fit("good food")
    with pytest.raises(TypeError, match="number 1 is 3, a int"):
        Vocabulary().fit(["a", 3])  # type: ignore[list-item]
    with pytest.raises(bp.DataError, match="no word comes 2 times in these texts, which have 3 words in all"):
        Vocabulary().fit(["one two three"])
    with pytest.raises(ValueError, match="has no words; fit returns one that has"):
        Vocabulary().transform(["a"])
    with pytest.raises(ValueError, match="numbers 0 to 3, and got 4"):
        Vocabulary(("a", "b")).decode([4])
    with pytest.raises(ValueError, match="1 or more, and got 0"):
        Vocabulary(("a",)).transform(["a"], length=0)
    with pytest.raises(ValueError, match="not all different"):
        Vocabulary(("a", "a"))
    with pytest.raises(ValueError, match="words to be text"):
        Vocabulary(("a", 3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="most"):
        Vocabulary(most=0)
