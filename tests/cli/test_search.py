"""`gpubp search`: what is tried, what is kept, and what is said of the gain."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import run
from search_data import QUICK, searched, write_bend, write_noise

import gpubp as bp
from gpubp.cli.search import results
from gpubp.cli.search.finish import default_of
from gpubp.cli.search.judging import Gain
from gpubp.cli.search.loop import Tried
from gpubp.cli.search.space import Space
from own_clock import own_clock

pytest.importorskip("optuna")
pytest.importorskip("pyarrow")
pytestmark = pytest.mark.usefixtures("empty_folder")


def same_network(one: str, other: str) -> bool:
    a, b = (bp.load(path, device="cpu") for path in (one, other))
    return a.metadata == b.metadata and bool((a.flat == b.flat).all())


def test_the_first_trials_are_what_train_compares_and_the_default_is_its_model() -> None:
    write_noise("noise.csv", 260)
    told = searched("noise.csv", "--target=y", "--trials=2", "--epochs=3", "--hidden=8")

    first, second = told["trials"]
    assert (first["settings"]["prior"], second["settings"]["prior"]) == (20.0, 5.0)
    trained = ("train", "noise.csv", "--target=y", "--test-fraction=0.2", "--epochs=3", "--hidden=8", "--device=cpu")
    done = run(*trained, "--out=plain.safetensors", "--json=plain.json")
    assert done.exit_code == 0, done.output
    plain = json.loads(Path("plain.json").read_text())
    losses = [round(trial["loss"], 6) for trial in plain["cross_validation"]["losses"]]
    assert [round(trial["score"], 6) for trial in (first, second)] == losses
    assert told["kept"] == "default"
    assert plain["l2"] == told["training"]["l2"]
    assert same_network("noise.safetensors", "plain.safetensors")


def test_a_gain_is_kept_and_its_command_makes_the_same_model_again() -> None:
    write_bend("bend.csv", 400)
    told = searched("bend.csv", "--target=y", "--trials=10", "--epochs=4", "--hidden=16", "--l2=0")

    assert {name for trial in told["trials"] for name in trial["settings"]} == {
        "activation",
        "dropout",
        "lr",
        "batch_size",
    }
    assert told["kept"] == "best"
    gain = told["gain"]
    assert gain["sure"] and 0 < gain["interval"][0] < gain["gain"] < gain["interval"][1]
    assert gain["gain"] == pytest.approx(gain["default"] - gain["best"])
    assert gain["best"] == pytest.approx(told["test"]["loss"], rel=1e-5)
    words = shlex.split(told["repeat"])
    assert words[:2] == ["gpubp", "train"]
    assert "--hidden=16" in words and "--l2=0.0" in words
    assert run(*words[1:], "--out=again.safetensors").exit_code == 0
    assert same_network("bend.safetensors", "again.safetensors")
    done = run("evaluate", "bend.safetensors", "bend.csv")
    assert "rows that training held out of 400" in done.output
    assert run("predict", "bend.safetensors", "bend.csv", "--out", "p.csv").exit_code == 0


def test_an_option_that_was_typed_is_not_searched() -> None:
    write_noise("noise.csv", 60)
    told = searched("noise.csv", "--target=y", "--trials=3", "--lr=0.01", "--dropout=0.1", *QUICK)
    for trial in told["trials"]:
        assert not {"lr", "dropout", "layers", "width", "epochs"} & trial["settings"].keys()
    assert told["training"]["optimizer"].startswith("Adam(CosineDecay(0.01")


def test_every_option_typed_leaves_nothing_to_search() -> None:
    write_noise("noise.csv", 60)
    done = run(
        *("search", "noise.csv", "--target=y", "--lr=0.01", "--dropout=0.1", "--l2=0", "--activation=relu"),
        *("--batch-size=8", *QUICK),
    )
    assert done.exit_code == 2
    assert "every option that is searched was given" in done.output


def test_the_same_seed_tries_the_same() -> None:
    write_noise("noise.csv", 60)
    runs = [searched("noise.csv", "--target=y", "--trials=4", "--seed=3", *QUICK) for _ in range(2)]
    settings = [[(t["settings"], t["score"]) for t in found["trials"]] for found in runs]
    assert settings[0] == settings[1]
    assert runs[0]["trials"][2]["settings"] != runs[0]["trials"][1]["settings"]


def test_a_trial_with_settings_that_were_tried_is_not_trained_again() -> None:
    write_noise("noise.csv", 60)
    fixed = ("--hidden=4", "--epochs=2", "--lr=0.01", "--dropout=0", "--l2=0", "--batch-size=8", "--device=cpu")
    found = searched("noise.csv", "--target=y", "--trials=5", *fixed)  # three activations
    again = [trial for trial in found["trials"] if trial["why"] and trial["why"].startswith("as trial")]
    assert again
    scores = {t["settings"]["activation"]: t["score"] for t in found["trials"] if t["state"] == "finished"}
    assert all(trial["score"] == scores[trial["settings"]["activation"]] for trial in again)


@pytest.mark.parametrize(
    ("rows", "words"),
    [(100, "5 folds"), (300, "3 of 5 folds")],
)
def test_few_rows_are_judged_by_more_folds(rows: int, words: str) -> None:
    write_noise("noise.csv", rows)
    done = run("search", "noise.csv", "--target=y", "--trials=1", *QUICK)
    assert done.exit_code == 0, done.output
    assert f"judged   by {words}" in done.output


def test_rows_of_another_table_judge_and_test() -> None:
    for name, rows in (("noise.csv", 80), ("valid.csv", 30), ("test.csv", 40)):
        write_noise(name, rows)
    done = run("search", "noise.csv", "--target=y", "--trials=2", "--validation=valid.csv", "--test=test.csv", *QUICK)
    assert done.exit_code == 0, done.output
    assert "the 30 rows of valid.csv" in done.output
    assert "80 rows to search with, 40 to test with" in done.output


def test_classes_with_missing_cells_by_accuracy() -> None:
    rng = np.random.default_rng(0)
    lines = ["a,town,left"]
    for _ in range(200):
        a, town = rng.normal(), rng.choice(["Oslo", "Rome"])
        lines.append(f"{a if rng.random() > 0.1 else '':.4},{town},{'yes' if a > 0 or town == 'Rome' else 'no'}")
    Path("left.csv").write_text("\n".join(lines) + "\n")
    told = searched("left.csv", "--target=left", "--trials=2", "--metric=accuracy", *QUICK)
    assert told["metric"] == "accuracy"
    assert all(0 <= trial["score"] <= 1 for trial in told["trials"] if trial["score"] is not None)


def test_arrays_without_test_rows_hold_some_out_and_evaluate_finds_them(line: Path) -> None:
    told = searched(line, "--trials=2", *QUICK)
    assert told["training"]["data"]["rows"] + told["training"]["data"]["test_rows"] == 100
    assert told["trials"][0]["settings"].get("penalty") is False
    done = run("evaluate", "line.safetensors", line)
    assert f"the {told['training']['data']['test_rows']} rows that training held out of 100" in done.output


def test_arrays_with_test_rows_are_tested_with_them(points: Path) -> None:
    told = searched(points, "--trials=2", *QUICK)
    assert (told["training"]["data"]["rows"], told["training"]["data"]["test_rows"]) == (150, 50)
    assert "--validation-fraction=0.0" in told["repeat"]


def test_rows_larger_than_memory_are_judged_by_one_part() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 8)).astype(np.float32)
    np.save("X.npy", X)
    np.save("y.npy", X[:, 0])
    done = run("search", "X.npy", "--target=y.npy", "--memory=40KB", "--trials=2", *QUICK)
    assert done.exit_code == 0, done.output
    assert "judged   by one part" in done.output


def test_a_picture_and_a_page_are_written() -> None:
    pytest.importorskip("jinja2")
    write_noise("noise.csv", 60)
    searched("noise.csv", "--target=y", "--trials=3", "--plot=t.png", "--report=t.html", *QUICK)
    assert Path("t.png").read_bytes().startswith(b"\x89PNG")
    page = Path("t.html").read_text()
    assert "default kept" in page or "better" in page
    assert page.count("<tr>") == 4 and "<svg" in page


def test_no_trial_in_the_time_is_said() -> None:
    write_noise("noise.csv", 200)
    done = run("search", "noise.csv", "--target=y", "--timeout=0.001s", "--device=cpu")
    assert done.exit_code == 1
    assert "no trial ended in this time: give a longer --timeout; nothing is saved" in done.output
    assert not Path("noise.safetensors").exists()


def test_the_time_ends_a_search_and_the_best_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of which each reading takes 10 ms, and nothing else does."""
    write_noise("noise.csv", 60)
    own_clock(monkeypatch, "monotonic", tick=0.01)
    told = searched("noise.csv", "--target=y", "--trials=5000", "--timeout=3s", *QUICK)
    assert told["ended_by"] == "time"
    assert 2 < told["seconds"] < 3.2 and len(told["trials"]) > 1
    assert Path("noise.safetensors").exists()


def test_a_default_that_diverges_is_told() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    np.savez("steep.npz", X=1e4 * X, y=1e6 * X[:, 0], X_test=1e4 * X[:50], y_test=1e6 * X[:50, 0])
    done = run("search", "steep.npz", "--trials=6", "--optimizer=sgd", "--hidden=4", "--epochs=3", "--device=cpu")
    assert done.exit_code in (0, 1)
    assert "Traceback" not in done.output
    assert "diverge" in done.output or "not finite" in done.output


def tried(number: int, prior: float, loss: float) -> Tried:
    return Tried(number, "finished", loss, loss, {"prior": prior})


@pytest.mark.parametrize(("weak", "chosen"), [(0.96, 0), (0.94, 1)])
def test_the_default_has_the_penalty_that_train_would_choose(weak: float, chosen: int) -> None:
    options = {"model": "mlp", "optimizer": "adam", "activation": "relu"}
    space = Space.of(options, ("l2",), table=True, texts=False, rows=1000)
    found = default_of([tried(0, 20.0, 1.0), tried(1, 5.0, weak), tried(2, 1.0, 0.1)], space)
    assert found is not None and found.number == chosen


@pytest.mark.parametrize(
    ("best", "other", "words"),
    [
        ([1.0, 1.1, 0.9, 1.0], [2.0, 2.1, 2.2, 1.9], "gain: on the 4 test rows"),
        ([1.0, 3.0, 1.0, 2.0], [2.0, 2.1, 2.2, 1.9], "it may be chance, and the default is kept"),
        ([2.0, 2.1, 2.2, 1.9], [1.0, 1.1, 0.9, 1.0], "it is a loss, and the default is kept"),
    ],
)
def test_the_sentence_says_whether_the_gain_may_be_chance(best: list[float], other: list[float], words: str) -> None:
    both = SimpleNamespace(diverged=False)
    found = SimpleNamespace(gain=Gain.of(np.array(best), np.array(other), higher=False), default=both, best=both)
    assert words in results.sentence(found, "loss")  # type: ignore[arg-type]
