"""Tables with text on the command line: training, predicting, options, and what is said."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import CPU, accuracy_in, run
from tweets import tweets

pytest.importorskip("pyarrow")
QUICK = ("--target", "sentiment", "--epochs", "4", "--l2", "0.005", *CPU)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_is_as_good_as_tfidf_with_logistic_regression() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    from gpubp.tables import held_out

    tweets(Path("tweets.csv"))
    found = run(
        "train", "tweets.csv", "--target", "sentiment", "--test-fraction", "0.2", "--drop", "followers,language", *CPU
    )
    assert found.exit_code == 0, found.output
    ours = float(re.findall(r"test accuracy (\d\.\d+)", found.output)[0])
    with open("tweets.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text, y = [row["text"] for row in rows], np.array([row["sentiment"] for row in rows])
    held = held_out(0, len(rows), 0.2, 0)
    vectors = TfidfVectorizer()
    X = vectors.fit_transform([t for t, h in zip(text, held, strict=True) if not h])
    judge = LogisticRegression(max_iter=1000).fit(X, y[~held])
    other = float(
        (judge.predict(vectors.transform([t for t, h in zip(text, held, strict=True) if h])) == y[held]).mean()
    )
    assert ours > other - 0.01 and other > 0.8, (ours, other)


def test_trained_predicted_and_evaluated() -> None:
    tweets(Path("tweets.csv"), 500)
    tweets(Path("new.csv"), 100, seed=5)
    found = run("train", "tweets.csv", *QUICK, "--test-fraction", "0.2", "--report", "r.html")
    assert found.exit_code == 0, found.output
    told = " ".join((found.stdout + found.stderr).split())
    assert "it is read as text; --drop text leaves it out" in told and "words are read" in told
    assert "WordColumns(" in found.output and "text" in Path("r.html").read_text(encoding="utf-8")
    evaluated = run("evaluate", "tweets.safetensors", "tweets.csv", *CPU)
    assert accuracy_in(evaluated.output) == accuracy_in(found.output.partition("trained in")[2])
    predicted = run("predict", "tweets.safetensors", "new.csv", "--out", "p.csv", *CPU)
    assert predicted.exit_code == 0, predicted.output
    lines = Path("p.csv").read_text().splitlines()
    assert len(lines) == 101 and lines[0] == "row,prediction,probability"
    again = run("predict", "tweets.safetensors", "new.csv", "--out", "q.csv", *CPU)
    assert again.exit_code == 0 and Path("q.csv").read_bytes() == Path("p.csv").read_bytes()
    with open("strange.csv", "w", encoding="utf-8") as file:
        file.write("text,followers,language\nwholly unheard-of,3,en\n")
    noted = run("predict", "tweets.safetensors", "strange.csv", *CPU)
    told = " ".join((noted.stdout + noted.stderr).split())
    assert "line 2: text is 'wholly unheard-of', in which no word is known from the training" in told


def test_texts_that_say_nothing_are_no_better_than_a_guess() -> None:
    tweets(Path("tweets.csv"), 300)
    lines = Path("tweets.csv").read_text(encoding="utf-8").splitlines()
    with open("noise.csv", "w", encoding="utf-8") as file:
        print(
            lines[0],
            *(line.rpartition(",")[0] + "," + "no yes no".split()[i % 3] for i, line in enumerate(lines[1:])),
            sep="\n",
            file=file,
        )
    found = run("train", "noise.csv", *QUICK, "--test-fraction", "0.3")
    told = " ".join((found.stdout + found.stderr).split())
    assert re.search("No better than always|Always answering no .*would be right on at least as many", told)


@pytest.mark.parametrize("model", ["bag", "gru", "encoder"])
def test_models_that_read_texts(model: str) -> None:
    tweets(Path("tweets.csv"), 200)
    found = run(
        "train", "tweets.csv", *QUICK[:2], "--epochs", "2", "--l2", "0.001", *CPU, "--model", model, "--text", "text"
    )
    assert found.exit_code == 0, found.output
    assert {"bag": "MeanOverTime(root=True)), lengths", "gru": "GRU(32", "encoder": "MultiHeadAttention(4)"}[
        model
    ] in found.output
    assert run("predict", "tweets.safetensors", "tweets.csv", *CPU).exit_code == 0


def test_text_alone_and_with_hidden_layers() -> None:
    tweets(Path("tweets.csv"), 200)
    alone = run("train", "tweets.csv", *QUICK, "--drop", "followers,language,id", "--json")
    assert alone.exit_code == 0, alone.output
    hidden = run("train", "tweets.csv", *QUICK, "--hidden", "8")
    assert "Dense(8), ReLU(), Dense(2))" in hidden.output and "Parallel" not in hidden.output
    assert json.loads(alone.stdout)["network"].endswith("scale=3.0), Dense(2))")


def test_a_run_is_resumed_to_the_same_bits() -> None:
    tweets(Path("tweets.csv"), 200)
    assert run("train", "tweets.csv", *QUICK, "--checkpoint-dir", "a").exit_code == 0
    whole = Path("tweets.safetensors").read_bytes()
    for file in sorted(Path("a").glob("step*"))[-1:]:
        file.unlink()
    settings = json.loads(Path("a/run.json").read_text())
    settings["finished"] = False
    Path("a/run.json").write_text(json.dumps(settings))
    resumed = run("train", "--resume", "a")
    assert resumed.exit_code == 0, resumed.output
    assert Path("tweets.safetensors").read_bytes() == whole


def test_mistakes_are_said_in_words() -> None:
    tweets(Path("tweets.csv"), 60)
    wrong = run("train", "tweets.csv", *QUICK, "--model", "gru", "--drop", "text")
    assert wrong.exit_code == 2 and "no column of tweets.csv is taken for text: --text COLUMN names one" in wrong.output
    digits = run("train", "digits", "--model", "bag")
    assert digits.exit_code == 2 and "--model bag reads texts, and they come in a table" in digits.output
    both = run("train", "tweets.csv", *QUICK, "--text", "text", "--categorical", "text")
    assert both.exit_code != 0 and "text can't be two of categorical, numeric, text and drop" in both.output
    none = run("train", "tweets.csv", *QUICK, "--text", "texts")
    assert "no column 'texts' for the text; did you mean text?" in none.output
    target = run("train", "tweets.csv", "--target", "text", *CPU)
    assert "free text" in target.output


def test_why_is_the_prediction_without_the_word() -> None:
    """The effect in JSON is the difference to the probability of a table that lacks the word."""
    tweets(Path("tweets.csv"), 300)
    assert run("train", "tweets.csv", *QUICK, "--report", "r.html").exit_code == 0
    report = Path("r.html").read_text(encoding="utf-8")
    assert "Telling words" in report and "if the word is left out of a text" in report
    text = "Great and really great wine"
    for name, cell in (("whole.csv", text), ("less.csv", "and really wine")):
        Path(name).write_text(f"text,followers,language\n{cell},5,en\n,5,en\n", encoding="utf-8")
    whole, less = (
        json.loads(run("predict", "tweets.safetensors", name, "--why", "--json", *CPU).stdout)
        for name in ("whole.csv", "less.csv")
    )
    words = {one["word"]: one["effect"] for one in whole["why"][0]}
    assert {one["column"] for one in whole["why"][0]} == {"text"} and set(words) == {"great", "<other>"}
    k = int(np.argmax(whole["probabilities"][0]))
    assert words["great"] == pytest.approx(whole["probabilities"][0][k] - less["probabilities"][0][k], abs=1e-6)
    assert whole["why"][1] == [] and words["great"] != 0
    shown = " ".join(run("predict", "tweets.safetensors", "whole.csv", "--why", *CPU).stdout.split())
    assert f"great {words['great']:+.2f}" in shown
    assert run("predict", "tweets.safetensors", "whole.csv", "--why", "--out", "w.csv", *CPU).exit_code == 0
    with open("w.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert f"great {words['great']:+.2f}" in rows[0]["why"] and rows[1]["why"] == ""
    assert run("predict", "tweets.safetensors", "whole.csv", "--why", "--out", "w.npz", *CPU).exit_code == 0
    assert np.load("w.npz")["why"].tolist() == [row["why"] for row in rows]


def test_why_for_numbers_of_two_texts() -> None:
    """Words that raise a number have a positive effect; columns are named where there are two."""
    rng = np.random.default_rng(0)
    with open("n.csv", "w", encoding="utf-8") as file:
        print("title,body,price", file=file)
        for _ in range(200):
            dear = rng.random() < 0.5
            words = [*rng.choice(["a", "big", "house", "by", "the", "sea"], 5), "golden" if dear else "plain"]
            print(
                f"{' '.join(words[:3])} {rng.integers(99)},{' '.join(words)},{100 + 50 * dear + rng.normal():.1f}",
                file=file,
            )
    trained = run("train", "n.csv", "--target", "price", "--text", "title,body", "--epochs", "20", "--l2", "0.01", *CPU)
    assert trained.exit_code == 0, trained.output
    found = json.loads(run("predict", "n.safetensors", "n.csv", "--why", "--json", *CPU).stdout)["why"]
    effects = [one["effect"] for row in found for one in row if one["word"] == "golden"]
    assert np.mean(effects) > 5 and {one["column"] for one in found[0]} == {"title", "body"}
    shown = run("predict", "n.safetensors", "n.csv", "--why", "--out", "-", *CPU).stdout
    from_disk = run("predict", "n.safetensors", "n.csv", "--why", "--out", "-", "--memory", "5KB", *CPU)
    assert from_disk.stdout == shown and "is prepared once" in from_disk.stderr
    few = run("predict", "n.safetensors", "n.csv", "--why", "--memory", "5KB", *CPU).stdout
    assert "body: " in few
    assert re.search(r"body: (golden|plain) [-+]\d", shown)


def test_why_is_refused_where_there_is_no_text() -> None:
    tweets(Path("tweets.csv"), 60)
    assert run("train", "tweets.csv", *QUICK, "--drop", "text").exit_code == 0
    refused = run("predict", "tweets.safetensors", "tweets.csv", "--why", *CPU)
    assert refused.exit_code == 2 and "tweets.safetensors reads no text" in refused.output
    assert run("train", "tweets.csv", *QUICK).exit_code == 0
    npy = run("predict", "tweets.safetensors", "tweets.csv", "--why", "--out", "w.npy", *CPU)
    assert npy.exit_code == 2 and "with --why, take .csv or .npz" in npy.output


def test_effects_do_not_depend_on_what_is_predicted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows with a word less are predicted some at a time, of one row or of several; slow work tells how far it is."""
    tweets(Path("tweets.csv"), 60)
    assert run("train", "tweets.csv", *QUICK).exit_code == 0
    typed = ("predict", "tweets.safetensors", "tweets.csv", "--why", *CPU)
    whole = run(*typed, "--json")
    assert "words left out" not in whole.stderr
    monkeypatch.setattr("gpubp.cli.progress.PATIENCE", 0.0)
    for at_once, memory in ((1, 1 << 20), (7, 1 << 20), (2048, 500)):
        monkeypatch.setattr("gpubp.cli.word_effects.AT_ONCE", at_once)
        monkeypatch.setattr("gpubp.cli.word_effects.MEMORY", memory)
        parts = run(*typed, "--json")
        assert json.loads(parts.stdout)["why"] == json.loads(whole.stdout)["why"]
        assert re.search(r"words left out: \d+ of 60 rows", parts.stderr)
    few = run(*typed)
    assert re.search(r"words left out: \d of 10 rows", few.stderr) and "of 60 rows" not in few.stderr
    from_disk = run(*typed, "--json", "--memory", "3KB")
    assert json.loads(from_disk.stdout)["why"] == json.loads(whole.stdout)["why"]
    assert re.search(r"words left out: 5\d of 60 rows", from_disk.stderr)
