"""A table of short texts with their sentiment: many words that say nothing, words that tell, typing errors, noise."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

GOOD = """good great excellent love loved wonderful perfect amazing happy best nice tasty friendly fast beautiful superb
enjoyed brilliant fantastic reliable clean fresh helpful charming smooth 😀 ❤ délicieux""".split()
BAD = """bad terrible awful hate hated horrible broken disappointing sad worst ugly cold rude slow dirty poor boring
waste useless noisy stale lazy annoying wrong late 😡 👎 dégoûtant""".split()
SYLLABLES = "ba ke lo mi ru ta ve zo shi pra ne du fo gra lin sto qua ri".split()


def texts(rows: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts, and for each "positive" or "negative", of which one in twenty is wrong."""
    rng = np.random.default_rng(seed)
    plain = sorted({"".join(rng.choice(SYLLABLES, rng.integers(1, 4))) for _ in range(3000)})
    often = 1 / np.arange(1, len(plain) + 1)
    found, sentiments = [], []
    for _ in range(rows):
        good = rng.random() < 0.5
        words = list(rng.choice(plain, rng.integers(4, 16), p=often / often.sum()))
        for _ in range(1 + rng.poisson(3)):
            words.insert(rng.integers(len(words) + 1), rng.choice(GOOD if good == (rng.random() < 0.85) else BAD))
        if rng.random() < 0.3:
            at = rng.integers(len(words))
            words[at] = words[at][1:] + words[at][:1]
        found.append(" ".join(words).capitalize() + rng.choice(["", ".", "!", " ..."]))
        sentiments.append("positive" if good == (rng.random() < 0.95) else "negative")
    return found, sentiments


def tweets(path: Path, rows: int = 1000, seed: int = 0) -> Path:
    """They stand beside a number, a category and a serial number, which say nothing."""
    said, sentiments = texts(rows, seed)
    rng = np.random.default_rng([seed, 1])
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "followers", "language", "sentiment"])
        for i, (text, sentiment) in enumerate(zip(said, sentiments, strict=True)):
            language = rng.choice(["en", "fr", "de"])
            writer.writerow([i, "" if i % 50 == 7 else text, rng.integers(10_000), language, sentiment])
    return path
