"""`--json` of every command, for numbers, whole-number classes, text classes and yes or no, from tables and arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

SMALL = ("--hidden=4", "--epochs=1", "--device=cpu")
BIRDS = ["Adelie", "Chinstrap", "Gentoo"]
# name: the data, the options that go with it, the classes in the order of the probabilities, outputs of the network
KINDS: dict[str, tuple[str, tuple[str, ...], list[Any] | None, int]] = {
    "text": ("birds.csv", ("--target=species",), BIRDS, 3),
    "whole": ("birds.csv", ("--target=year",), [2007, 2008, 2009], 3),
    "numbers": ("birds.csv", ("--target=mass",), None, 1),
    "yes or no": ("birds.csv", ("--target=ringed", "--loss=binary"), ["False", "True"], 1),
    "array of whole numbers": ("whole.npz", (), [3, 7], 2),
    "array of numbers": ("numbers.npz", (), None, 1),
    "array of labels": ("labels.npz", (), None, 2),
    "named classes": ("digits", (), [str(k) for k in range(10)], 10),
}
TABLES = [name for name, (data, *_) in KINDS.items() if data.endswith(".csv")]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the data, and a model of each kind."""
    with pytest.MonkeyPatch.context() as patch:
        made = tmp_path_factory.mktemp("kinds")
        patch.chdir(made)
        rng = np.random.default_rng(0)
        lines = [
            f"{4000 + 500 * rng.normal():.1f},{rng.normal(40, 3):.1f},{BIRDS[i % 3]},{2007 + i % 3},{i % 2 == 1}"
            for i in range(90)
        ]
        Path("birds.csv").write_text("\n".join(["mass,length,species,year,ringed", *lines]) + "\n")
        X = rng.normal(size=(60, 3))
        np.savez("whole.npz", X=X, y=np.where(X[:, 0] > 0, 7, 3))
        np.savez("numbers.npz", X=X, y=X[:, 0] * 2)
        np.savez("labels.npz", X=X, y=(X[:, :2] > 0).astype(int))
        pytest.importorskip("pyarrow")
        yield made


def told(*arguments: object) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest, folder: Path) -> tuple[str, str, dict[str, Any]]:
    """(kind, model, document of `gpubp train`)"""
    data, options, *_ = KINDS[request.param]
    model = f"{request.param}.safetensors"
    return request.param, model, told("train", data, *options, *SMALL, f"--out={model}")


def test_train_evaluate_and_inspect_name_the_classes(trained: tuple[str, str, dict[str, Any]]) -> None:
    kind, model, document = trained
    data, _, classes, outputs = KINDS[kind]
    judged, seen = told("evaluate", model, data, "--device=cpu"), told("inspect", model)
    for found in (document, judged, seen):
        assert (found["classes"], found["outputs"]) == (classes, outputs)
    assert (judged["confusion"] is not None) == (classes is not None)
    assert judged["metrics"]["loss"] > 0


def test_predict_names_the_classes(trained: tuple[str, str, dict[str, Any]]) -> None:
    kind, model, _ = trained
    data, _, classes, outputs = KINDS[kind]
    found = told("predict", model, data, "--device=cpu")
    assert len(found["predictions"]) == found["rows"] > 0 and found["classes"] == classes
    if classes is not None:
        p = np.array(found["probabilities"])
        assert p.shape == (found["rows"], len(classes)) and np.allclose(p.sum(axis=1), 1)
        assert found["predictions"] == [classes[k] for k in p.argmax(axis=1)]
    elif kind == "array of labels":
        assert np.array_equal(np.array(found["predictions"]), np.array(found["probabilities"]) > 0.5)
    else:
        assert found["probabilities"] is None and all(isinstance(v, float) for v in found["predictions"])


@pytest.mark.parametrize("kind", KINDS)
def test_find_lr_and_profile(kind: str) -> None:
    data, options, *_ = KINDS[kind]
    found = told("find-lr", data, *options, "--hidden=4", "--device=cpu")
    assert found["suggestion"] > 0 and len(found["rates"]) == len(found["losses"])
    assert told("profile", data, *options, "--hidden=4", "--steps=2", "--device=cpu")["step"] > 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in TABLES])
def test_compare(kind: str) -> None:
    data, options, *_ = KINDS[kind]
    assert told("compare", data, *options, "--hidden=4", "--steps=2", "--backends=cpu,cpu-float64")["ok"]
