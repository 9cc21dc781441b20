"""`gpubp predict --interval`: how many fresh rows the intervals hold, and where there can be none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

import gpubp as bp
from gpubp.cli.intervals import ALL, KeptErrors
from gpubp.errors import DataError

WORDS = ("--hidden=8", "--epochs=4", "--device=cpu", "--out=m.safetensors")


def table(path: str, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2))
    y = x[:, 0] + rng.standard_t(3, rows)
    Path(path).write_text("a,b,y\n" + "".join(f"{a:.4f},{b:.4f},{c:.4f}\n" for (a, b), c in zip(x, y, strict=True)))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    table("old.csv", 1500, 0)


def train(*more: str, data: str = "old.csv") -> None:
    done = run("train", data, "--target=y", *WORDS, *more)
    assert done.exit_code == 0, done.output


def intervals(level: float, data: str = "new.csv") -> dict[str, Any]:
    done = run("predict", "m.safetensors", data, f"--interval={level}", "--json", "--device=cpu")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_intervals_hold_their_share_of_fresh_rows(level: float) -> None:
    train("--test-fraction=0.4")
    table("new.csv", 4000, 1)
    found = intervals(level)
    y = np.loadtxt("new.csv", delimiter=",", skiprows=1)[:, 2]
    inside = ((np.array(found["low"]) <= y) & (y <= np.array(found["high"]))).mean()
    n = found["interval"]["rows"]
    spread = np.sqrt(level * (1 - level) * (1 / n + 1 / len(y)))  # of the share, over draws of both
    assert abs(inside - level) < 4 * spread + 1 / n
    assert found["interval"] == {"level": level, "rows": n, "source": "test rows"} and 520 < n < 680


@pytest.mark.parametrize("n", [9, 19])
def test_the_correction_for_few_rows_keeps_the_share_on_average(n: int) -> None:
    """Of draws of n errors and one new error each, at least the share holds it; without n + 1 fewer than that would."""
    rng = np.random.default_rng(0)
    holds = []
    for _ in range(1500):
        errors = np.abs(rng.standard_t(3, n + 1))
        holds.append(errors[-1] <= KeptErrors.of(errors[:-1], "test rows").width(0.9)[0])
    assert 0.9 - 4 * np.sqrt(0.09 / 1500) < np.mean(holds) < 0.9 + 1 / n + 0.02


def test_the_quantile_is_the_one_of_the_formula() -> None:
    errors = np.random.default_rng(0).normal(size=57)
    kept = KeptErrors.of(errors, "test rows")
    assert kept.ranks == tuple(range(1, 58))
    for level in (0.1, 0.5, 0.9, 0.95):
        k = int(np.ceil(58 * level))
        assert kept.width(level)[0] == np.sort(np.abs(errors))[k - 1]
    assert KeptErrors.of(np.arange(9.0), "test rows").width(0.9)[0] == 8  # 10 times 0.9 is 9, however it is rounded
    many = np.random.default_rng(1).normal(size=(10_000, 2))
    kept = KeptErrors.of(many, "test rows")
    assert len(kept.ranks) <= ALL + 1
    for level in (0.5, 0.9, 0.99, 0.995):
        assert kept.width(level).tolist() == np.sort(np.abs(many), axis=0)[int(np.ceil(10_001 * level)) - 1].tolist()
    between = kept.width(0.905)
    assert (kept.width(0.9) <= between).all() and (between == kept.width(0.91)).all()


def test_too_few_rows_are_refused_with_the_number_that_is_needed() -> None:
    kept = KeptErrors.of(np.arange(18.0), "validation rows")
    with pytest.raises(
        DataError, match=r"--interval 0.95 needs the errors of at least 19 rows .* 18 validation rows: "
    ):
        kept.width(0.95)
    assert kept.width(0.94)[0] == 17  # the level that the message gives


def test_without_test_rows_those_to_validate_with_are_taken() -> None:
    train("--validation-fraction=0.2")
    table("new.csv", 10, 1)
    assert intervals(0.9)["interval"] == {"level": 0.9, "rows": 300, "source": "validation rows"}
    done = run("predict", "m.safetensors", "new.csv", "--interval=0.9", "--device=cpu", "--out=p.csv")
    assert "intervals of 90%, from the errors of 300 validation rows" in done.stderr


def test_the_test_table_counts() -> None:
    table("new.csv", 50, 1)
    train("--test=new.csv")
    errors = KeptErrors.read(bp.load("m.safetensors", device="cpu"), "m.safetensors")
    y = np.loadtxt("new.csv", delimiter=",", skiprows=1)[:, 2]
    found = intervals(0.9)
    assert errors.rows == 50
    wanted = np.sort(np.abs(np.array(found["predictions"]) - y))[45]  # the 46th: 51 times 0.9 is 45.9
    assert (np.array(found["high"]) - found["low"]) / 2 == pytest.approx(np.full(50, wanted), rel=1e-5)


def test_without_rows_that_training_did_not_use_it_is_refused() -> None:
    train("--validation-fraction=0", "--l2=0.05")
    done = run("predict", "m.safetensors", "old.csv", "--interval=0.9", "--device=cpu")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert "m.safetensors holds none: train again with --test-fraction 0.2" in done.stderr


def test_arrays_of_several_numbers() -> None:
    X = np.random.default_rng(0).normal(size=(400, 2))
    y = np.stack([X[:, 0], 5 * X[:, 1] + np.random.default_rng(1).normal(size=400)], axis=1)
    np.savez("two.npz", X=X[:300], y=y[:300], X_test=X[300:], y_test=y[300:])
    assert run("train", "two.npz", *WORDS).exit_code == 0
    done = run("predict", "m.safetensors", "two.npz", "--interval=0.8", "--out=p.csv", "--device=cpu")
    assert done.exit_code == 0, done.output
    names = Path("p.csv").read_text().splitlines()[0].split(",")
    assert names == ["row", "prediction_0", "prediction_1", "low_0", "low_1", "high_0", "high_1"]
    rows = np.loadtxt("p.csv", delimiter=",", skiprows=1)
    errors = KeptErrors.read(bp.load("m.safetensors", device="cpu"), "m.safetensors")
    assert rows[:, 5:7] - rows[:, 1:3] == pytest.approx(np.tile(errors.width(0.8), (300, 1)), rel=1e-4)


WRONG: list[Callable[[dict[str, Any]], Any]] = [
    lambda told: told | {"rows": 0},
    lambda told: told | {"ranks": told["ranks"][::-1]},
    lambda told: told | {"sizes": []},
    lambda told: told | {"sizes": [["wide"] * len(told["ranks"])]},
    lambda told: told | {"sizes": [[-1.0] * len(told["ranks"])]},
    lambda told: told | {"class": "Dense", "units": 3},
    lambda told: "many",
]


def test_a_wrong_description_is_one_line() -> None:
    train("--test-fraction=0.4")
    network = bp.load("m.safetensors", device="cpu")
    told = network.metadata["errors"]
    for wrong in WRONG:
        network.metadata["errors"] = wrong(told)
        network.save("m.safetensors")
        done = run("predict", "m.safetensors", "old.csv", "--interval=0.9", "--device=cpu")
        assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output
        assert "m.safetensors does not describe the errors of its predictions" in done.stderr


def test_the_errors_of_the_cross_validation_make_intervals() -> None:
    train()
    found = intervals(0.9, "old.csv")
    assert found["interval"]["source"] == "cross-validation rows" and found["interval"]["rows"] == 900


def test_a_level_near_1_is_told_as_it_was_typed() -> None:
    with pytest.raises(DataError, match=r"^--interval 0\.9999999 needs the errors of at least 9,999,999 rows"):
        KeptErrors.of(np.arange(1.0, 20.0), "test rows").width(0.9999999)
