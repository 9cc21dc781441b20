"""`--ensemble`: several networks in one file, whose predictions are averaged."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

import gpubp as bp

QUICK = ("--hidden=8", "--epochs=3", "--device=cpu")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 4))
    y = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
    np.savez("classes.npz", X=X[:120], y=y[:120], X_test=X[120:], y_test=y[120:])
    np.savez("numbers.npz", X=X[:120], y=X[:120, 0] * 3.0, X_test=X[120:], y_test=X[120:, 0] * 3.0)
    np.savez("labels.npz", X=X[:120], y=y[:120] > 0, X_test=X[120:], y_test=y[120:] > 0)


def train(*arguments: str) -> tuple[dict[str, Any], str]:
    done = run("train", *arguments, *QUICK, "--json=found.json")
    assert done.exit_code == 0, done.output
    return json.loads(Path("found.json").read_text()), done.output


@pytest.mark.parametrize("data", ["classes", "numbers", "labels"])
def test_the_file_predicts_the_mean_of_networks_that_were_trained_alone(data: str) -> None:
    """Probabilities of classes and of labels are averaged, and outputs that are numbers."""
    options = ("--loss=binary",) if data == "labels" else ()
    found, output = train(f"{data}.npz", "--ensemble=3", "--seed=4", *options)
    assert found["ensemble"] == {"networks": 3, "seeds": [4, 5, 6], "epochs": [3, 3, 3]}
    assert "network 2 of 3, seed 5" in output
    X = np.load(f"{data}.npz")["X_test"]
    alone = []
    for seed in (4, 5, 6):
        train(f"{data}.npz", f"--seed={seed}", f"--out=m{seed}.safetensors", *options)
        alone.append(bp.load(f"m{seed}.safetensors", device="cpu").predict(X).astype(float))
    z = np.array(alone)
    got = bp.load(f"{data}.safetensors", device="cpu").predict(X)
    if data == "classes":
        p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(np.exp(got), p.mean(axis=0), rtol=1e-4, atol=1e-6)
    elif data == "labels":
        np.testing.assert_allclose(1 / (1 + np.exp(-got)), (1 / (1 + np.exp(-z))).mean(axis=0), rtol=1e-4, atol=1e-6)
    else:
        np.testing.assert_allclose(got, z.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_predict_evaluate_and_inspect_take_the_file() -> None:
    found, _ = train("classes.npz", "--ensemble=2", "--dtype=float64")
    judged = run("evaluate", "classes.safetensors", "classes.npz", "--device=cpu", "--json")
    assert json.loads(judged.stdout)["metrics"]["accuracy"] == pytest.approx(found["test"]["accuracy"])
    assert run("predict", "classes.safetensors", "classes.npz", "--out=p.csv", "--device=cpu").exit_code == 0
    shown = run("inspect", "classes.safetensors").output
    assert "0.0   Dense(8)" in shown and "1.0   Dense(8)" in shown


def test_the_networks_are_validated_with_the_same_rows() -> None:
    """Rows that one had trained with would make the validation of the mean too good."""
    rows: list[Any] = []
    fit = bp.Trainer.fit

    def noted(self: bp.Trainer, *data: Any, **rest: Any) -> Any:
        rows.append(rest["validation_data"][0])
        return fit(self, *data, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bp.Trainer, "fit", noted)
        found, _ = train("numbers.npz", "--ensemble=2", "--validation-fraction=0.2")
    assert len(rows) == 2 and np.array_equal(rows[0], rows[1]) and len(rows[0]) == 24
    assert found["data"]["validation_rows"] == 24 and len(found["history"]["val_loss"]) == 3


def test_the_history_is_the_mean_of_the_networks() -> None:
    found, _ = train("numbers.npz", "--ensemble=2")
    losses = [train("numbers.npz", f"--seed={seed}")[0]["history"]["loss"] for seed in (0, 1)]
    np.testing.assert_allclose(found["history"]["loss"], np.mean(losses, axis=0), rtol=1e-6)


def test_curves_and_report_say_that_they_are_of_several_networks() -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    train("classes.npz", "--ensemble=2", "--plot=curves.svg", "--report=report.html", "--early-stopping=2")
    assert (
        "The curves are the mean of 2 networks, and the gradients those of the first."
        in Path("report.html").read_text()
    )
    assert Path("curves.svg").stat().st_size > 1000


@pytest.mark.parametrize(("stopped", "networks"), [(0, 1), (2, 2)])
def test_after_ctrl_c_the_networks_that_had_finished_are_saved(
    stopped: int, networks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, begun = bp.Trainer.fit, []

    def interrupted(self: bp.Trainer, *data: Any, **rest: Any) -> Any:
        def stop(trainer: Any, logs: Any) -> None:
            trainer.state.signals.received = signal.SIGINT

        begun.append(self)
        if len(begun) == stopped + 1:
            rest["callbacks"] = [*rest["callbacks"], bp.LambdaCallback(on_epoch_end=stop)]
        return fit(self, *data, **rest)

    monkeypatch.setattr(bp.Trainer, "fit", interrupted)
    done = run("train", "classes.npz", "--ensemble=3", *QUICK, "--json=found.json")
    assert done.exit_code == 130 and f"of 3 networks {networks} " in done.stderr
    found = json.loads(Path("found.json").read_text())
    assert found["ensemble"]["networks"] == networks and found["interrupted"]
    assert bp.load("classes.safetensors", device="cpu").predict(np.zeros((1, 4))).shape == (1, 3)


@pytest.mark.parametrize("option", ["--checkpoint-dir=runs/a", "--log=log.csv"])
def test_options_for_one_network_are_refused(option: str) -> None:
    done = run("train", "classes.npz", "--ensemble=2", *QUICK, option)
    name = option.partition("=")[0]
    assert done.exit_code == 2 and f"--ensemble can't go with {name}, which is for one network" in done.output


def test_an_ensemble_of_a_table_with_many_levels_is_trained_after_one_search(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(0)
    lines = [
        f"{x:.4f},s{s},{x * (s % 3):.4f}" for x, s in zip(rng.normal(size=400), rng.integers(0, 40, 400), strict=True)
    ]
    Path("t.csv").write_text("\n".join(["x,street,y", *lines]) + "\n")
    found, output = train("t.csv", "--target=y", "--ensemble=2", "--test-fraction=0.2")
    assert output.count("cross-validation on") == 1 and found["ensemble"]["networks"] == 2
    assert run("evaluate", "t.safetensors", "t.csv", "--device=cpu").exit_code == 0
