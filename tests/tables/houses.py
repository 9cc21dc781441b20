"""A realistic table: missing values, text, dates, a serial number, and a column to predict."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

TOWNS = {"Oslo": 60.0, "Rome": 30.0, "Lima": 0.0, "Pune": -20.0}


def houses(path: Path, rows: int = 1500, seed: int = 0) -> Path:
    """Houses with a price in thousands that is no straight line of anything."""
    rng = np.random.default_rng(seed)
    area = rng.uniform(30, 200, rows)
    town = rng.choice(list(TOWNS), rows)
    year = rng.integers(1950, 2021, rows)
    garden = rng.random(rows) < 0.4
    day = np.datetime64("2015-01-01") + rng.integers(0, 2000, rows)
    price = 3.0 * area + np.array([TOWNS[t] for t in town]) * area / 50 + 40 * garden + 120 * np.sin((year - 1950) / 8)
    price += rng.normal(0, 5, rows)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "area", "town", "built", "garden", "sold", "price", "dear", "country"])
        for i in range(rows):
            writer.writerow(
                [
                    i + 1,
                    "" if i % 43 == 3 else f"{area[i]:.1f}",
                    "NA" if i % 53 == 5 else town[i],
                    year[i],
                    "yes" if garden[i] else "no",
                    day[i],
                    f"{price[i]:.2f}",
                    "dear" if price[i] > 400 else "fair",
                    "Freedonia",
                ]
            )
    return path
