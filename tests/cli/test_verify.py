"""`gpubp train --exact`, and `gpubp verify`, which trains again what a model file says and compares the bits."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from command_line import run

import gpubp as bp
from gpubp import model_file
from gpubp.backends import order
from gpubp.cli.defaults import ACTIVATIONS

pytest.importorskip("numba")

SETTINGS = ("--exact", "--device=cpu", "--hidden=4", "--epochs=2")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with data/points.npz: 70 points of two classes, and 10 to test with."""
    X = np.random.default_rng(0).normal(size=(80, 3))
    y = np.where(X @ [1.0, -2.0, 0.5] > 0, 7, 3)
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "points.npz", X=X[:70], y=y[:70], X_test=X[70:], y_test=y[70:])
    monkeypatch.chdir(tmp_path)


def train(*more: str, data: str = "data/points.npz") -> str:
    """The SHA-256 that a training prints."""
    done = run("train", data, *SETTINGS, "--out=m.safetensors", *more)
    assert done.exit_code == 0, done.output
    found = re.search(r"^sha256 +([0-9a-f]{64})$", done.stdout, re.M)
    assert found is not None, done.output
    return found[1]


def verify(*more: str) -> Result:
    return run("verify", "m.safetensors", "data/points.npz", "--device=cpu", *more)


def change(path: str, name: str, told: dict[str, Any] | None = None) -> None:
    """Change a bit of a parameter in a model file, and what it says of its training."""
    config, arrays = model_file.read(path)
    a = arrays[name].copy()
    a.flat[-1] = np.nextafter(a.flat[-1], np.float32(9))
    config["metadata"]["exact"] |= told or {}
    model_file.write(path, config, arrays | {name: a})


def test_the_same_bits() -> None:
    printed = train()
    assert bp.load("m.safetensors", device="cpu").sha256() == printed == train()
    done = verify()
    assert done.exit_code == 0 and done.stdout.rstrip().endswith("same bits"), done.output
    assert done.stdout.count(printed) == 2 and "exact numerics" in done.stdout
    assert train("--seed=1") != printed


def test_optimizer_schedule_and_penalties_are_kept() -> None:
    options = ("--optimizer=nadam", "--schedule=restarts", "--warmup=0.25", "--l1=0.01")
    sha256 = train(*options)
    assert sha256 not in {train(*options[:i], *options[i + 1 :]) for i in range(4)}
    assert train(*options) == sha256 and verify().exit_code == 0


@pytest.mark.parametrize("name", ["X.npy", "rows.csv"])
def test_free_memory_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(size=(400, 4)).round(3)
    np.save("X.npy", X)
    np.save("y.npy", X[:, 0] > 0)
    rows = "\n".join(",".join(str(v) for v in row) for row in X.tolist())
    Path("rows.csv").write_text(f"a,b,c,y\n{rows}\n")
    target = "--target=y.npy" if name == "X.npy" else "--target=y"
    found = set()
    for free in (1 << 40, 4096):
        monkeypatch.setattr("gpubp.cli.large_data.free_memory", lambda free=free: free)
        found.add(train(target, data=name))
        assert run("verify", "m.safetensors", "--device=cpu").exit_code == 0
    assert len(found) == 1
    assert train(target, "--memory=1KB", data=name) not in found
    told = bp.load("m.safetensors", device="cpu").metadata["exact"]["arguments"]
    assert any("1024" in argument for argument in told)
    assert run("verify", "m.safetensors", "--device=cpu").exit_code == 0


def test_the_same_bits_with_several_workers() -> None:
    X = np.random.default_rng(0).normal(size=(256, 3))
    np.savez("data/points.npz", X=X, y=np.where(X[:, 0] > 0, 7, 3))
    train("--batch-size=128", "--validation-fraction=0", "--batch-norm")
    done = verify("--workers=2", "--json=found.json")
    assert done.exit_code == 0 and "same bits" in done.stdout, done.output
    assert json.loads(Path("found.json").read_text())["workers"] == 2
    assert "had to do" not in done.stderr
    done = verify("--workers=4")
    assert done.exit_code == 0 and "2 workers of 4 had to do" in done.stderr, done.output


def test_json_has_the_hash_and_the_report_too() -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    done = run("train", "data/points.npz", *SETTINGS, "--out=m.safetensors", "--json", "--report=r.html")
    told = json.loads(done.stdout)
    assert (told["sha256"], told["numerics"]) == (bp.load("m.safetensors", device="cpu").sha256(), "exact")
    page = Path("r.html").read_text()
    assert told["sha256"] in page and "numerics" in page
    shown = run("inspect", "m.safetensors").stdout
    assert told["sha256"] in shown and "gpubp verify m.safetensors trains it again" in shown
    assert "float32 on cpu, exact numerics" in shown


def test_ordinary_trainings_print_no_hash() -> None:
    done = run("train", "data/points.npz", *SETTINGS[1:], "--json")
    told = json.loads(done.stdout)
    assert (told["sha256"], told["numerics"]) == (None, "ordinary") and "sha256" not in done.stderr
    done = run("verify", "points.safetensors", "data/points.npz")
    assert done.exit_code == 2 and "it is not of gpubp train --exact" in done.stderr


def test_settings_from_a_file_and_a_resumed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train("--batch-norm", "--dropout=0.25", "--save-config=run.toml")
    assert "exact = true" in Path("run.toml").read_text()
    assert run("train", "--config=run.toml", "--out=again.safetensors").exit_code == 0
    content = Path("m.safetensors").read_bytes()
    assert Path("again.safetensors").read_bytes() == content
    with monkeypatch.context() as patch:
        patch.setattr(bp.Checkpoint, "on_step_end", stop_at(2))
        begun = run("train", "--config=run.toml", "--out=m.safetensors", "--checkpoint-dir=a", "--checkpoint-every=1")
    assert begun.exit_code == 130, begun.output
    done = verify()
    assert done.exit_code == 2 and "the training of m.safetensors was interrupted" in done.stderr
    assert "--exact" in json.loads(Path("a/run.json").read_text())["arguments"]
    done = run("train", "--resume=a")
    assert done.exit_code == 0 and whole in done.stdout, done.output
    assert Path("m.safetensors").read_bytes() == content


def stop_at(step: int) -> Any:
    def on_step_end(self: bp.Checkpoint, trainer: bp.Trainer) -> None:
        if trainer.step_count == step:
            trainer.state.signals.received = signal.SIGINT

    return on_step_end


def test_the_file_names_no_folder_of_anyones_machine() -> None:
    train(data=str(Path("data/points.npz").absolute()))
    config, _ = model_file.read("m.safetensors")
    assert config["metadata"]["exact"]["arguments"][0] == "points.npz" and str(Path.cwd()) not in json.dumps(config)
    done = run("verify", "m.safetensors")
    wanted = "trained on points.npz, which is not here: gpubp verify m.safetensors FOLDER/points.npz"
    assert done.exit_code == 2 and wanted in done.stderr


def test_a_model_whose_gelu_was_the_form_by_tanh_is_verified() -> None:
    """As gpubp had it before `gelu` was the exact form: the words in the file are the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ACTIVATIONS, "gelu", ACTIVATIONS["gelu-tanh"])
        train("--activation=gelu")
    assert verify().exit_code == 0


def test_other_rows_are_refused_by_their_digest() -> None:
    train()
    with np.load("data/points.npz") as npz:
        arrays = dict(npz)
    arrays["X"][5, 1] += 1
    np.savez("data/points.npz", **arrays)
    done = verify()
    assert done.exit_code == 2 and "data/points.npz is not what m.safetensors was trained with" in done.stderr
    done = run("verify", "m.safetensors", "digits")
    assert done.exit_code == 2 and "m.safetensors was trained on points.npz, and got digits" in done.stderr


def test_a_changed_number_is_found() -> None:
    train()
    change("m.safetensors", "2.b")
    done = verify()
    assert done.exit_code == 1 and "the numbers of this file are not those of its training" in done.stdout


def test_other_bits_are_named_by_layer() -> None:
    """A file that claims to be the end of a training that ends otherwise."""
    train()
    change("m.safetensors", "2.b")
    change("m.safetensors", "0.W")
    there = bp.load("m.safetensors", device="cpu").sha256()
    change("m.safetensors", "2.b", {"sha256": there, "made_with": {"NumPy": "1.0"}})
    there = bp.load("m.safetensors", device="cpu").sha256()
    config, arrays = model_file.read("m.safetensors")
    config["metadata"]["exact"]["sha256"] = there
    model_file.write("m.safetensors", config, arrays)
    done = verify("--json=found.json")
    assert done.exit_code == 1, done.output
    assert "other bits: layer 0, Dense(4): W differs first, in 1 of 12 numbers" in done.stdout
    assert f"the training was made with NumPy 1.0 and here {np.__version__}" in done.stderr
    told = json.loads(Path("found.json").read_text())
    assert told["same"] is False and told["differs"]["name"] == "0.W" and told["differs"]["differ"] == 1


def test_another_version_of_exact_numerics_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    train()
    monkeypatch.setattr(order, "VERSION", order.VERSION + 1)
    done = verify()
    assert done.exit_code == 2 and f"version {order.VERSION - 1} of exact numerics" in done.stderr
    assert f"pip install 'gpubp=={bp.__version__}'" in done.stderr


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"sha256": "no"}, "sha256 is no SHA-256"),
        ({"version": "one"}, "needs version to be a whole number"),
        ({"class": "Dense"}, "m.safetensors does not describe an exact training"),
        ({"optimizer": 7}, "optimizer is no optimizer, but 7"),
        ({"arguments": 3}, "needs arguments to be"),
    ],
)
def test_a_wrong_description(told: dict[str, Any], words: str) -> None:
    train()
    change("m.safetensors", "0.W", told)
    done = verify()
    assert done.exit_code == 2 and words in done.stderr and "Traceback" not in done.output, done.output


@pytest.mark.parametrize("command", ["train", "find-lr", "profile"])
@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--precision=tf32", "--exact computes every product in full, and --precision tf32 rounds"),
        ("--autotune", "--autotune takes other kernels on each"),
    ],
)
def test_options_that_contradict(command: str, option: str, words: str) -> None:
    done = run(command, "data/points.npz", "--exact", option)
    assert done.exit_code == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.output


def test_without_numba_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "numba" else found(name, *more)
    )
    done = run("train", "data/points.npz", "--exact")
    assert done.exit_code == 2 and done.stderr.startswith("gpubp: --exact needs Numba on a CPU: pip install"), (
        done.output
    )
    assert not Path("points.safetensors").exists()


def test_the_help_has_it_under_the_machine() -> None:
    shown = run("train", "--help").output
    assert "--exact" in shown.partition("Machine:")[2].partition("Results:")[0]


def test_a_table_with_the_rest_of_its_options() -> None:
    """Files beside the table, a search for l2, an ensemble, and a penalty that is chosen by rows."""
    pytest.importorskip("pyarrow")
    X = np.random.default_rng(1).normal(size=(60, 2))
    lines = [f"{a:.3f},{b:.3f},{a - b:.3f}" for a, b in X]
    Path("data/t.csv").write_text("\n".join(["a,b,c", *lines[:40]]))
    Path("data/v.csv").write_text("\n".join(["a,b,c", *lines[40:]]))
    words = ("--target=c", "--validation=data/v.csv", "--early-stopping=2", "--ensemble=2", "--l2=auto")
    train(*words, data="data/t.csv")
    arguments = model_file.read("m.safetensors")[0]["metadata"]["exact"]["arguments"]
    assert "--validation=v.csv" in arguments and not any(a == "--l2=auto" for a in arguments)
    done = run("verify", "m.safetensors", "data/t.csv", "--device=cpu")
    assert done.exit_code == 0 and "same bits" in done.stdout, done.output


def test_files_of_a_training_are_found_beside_its_data_here_and_beside_the_model() -> None:
    train()
    Path("models").mkdir()
    Path("m.safetensors").rename("models/body.safetensors")
    train("--from=models/body.safetensors", "--seed=3")
    done = verify()
    assert (
        done.exit_code == 2 and "body.safetensors too, which is neither beside data/points.npz nor here" in done.stderr
    )
    Path("m.safetensors").rename("models/m.safetensors")
    assert run("verify", "models/m.safetensors", "data/points.npz", "--device=cpu").exit_code == 0
    Path("models/body.safetensors").rename("body.safetensors")
    assert run("verify", "models/m.safetensors", "data/points.npz", "--device=cpu").exit_code == 0


class WithoutFunctions:
    """NumPy without the functions whose last bits depend on the processor."""

    def __getattr__(self, name: str) -> Any:
        assert name not in ("exp", "tanh"), f"NumPy's {name} is used"
        return getattr(np, name)


@pytest.mark.parametrize("loss", ["softmax", "binary"])
def test_probabilities_are_computed_without_numpy_s_functions(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    np.savez("rows.npz", X=X, y=X[:, 0] > 0)
    train(f"--loss={loss}", data="rows.npz")
    words = ("predict", "m.safetensors", "rows.npz", "--device=cpu", "--out=p.npz")
    monkeypatch.setattr("gpubp.cli.task.np", WithoutFunctions())
    done = run(*words)
    assert done.exit_code == 0, done.output
    z = bp.load("m.safetensors", device="cpu").predict(X).astype(np.float64)
    right = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) if loss == "softmax" else 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(np.load("p.npz")["probability"], right, rtol=1e-6)
    bp.load("m.safetensors", device="cpu", numerics="ordinary").save("m.safetensors")
    assert "NumPy's" in str(run(*words).exception)  # as ordinary numerics has always done


def test_options_of_another_gpubp() -> None:
    train()
    arguments = ["data/points.npz", "--sharper=1"]
    change("m.safetensors", "0.W", {"arguments": arguments, "made_with": {"gpubp": "9.0"}})
    config, arrays = model_file.read("m.safetensors")
    config["metadata"]["exact"]["sha256"] = bp.load("m.safetensors", device="cpu").sha256()
    model_file.write("m.safetensors", config, arrays)
    done = verify()
    assert done.exit_code == 2 and "trained by gpubp 9.0, with options that this gpubp" in done.stderr
    assert "does not have: No such option" in done.stderr and "--sharper" in done.stderr


def test_a_checkpoint_says_that_it_is_none_of_a_model() -> None:
    train("--checkpoint-dir=run")
    done = run("verify", str(next(Path("run").glob("step-*"))), "data/points.npz")
    assert done.exit_code == 2 and "or is a checkpoint, and no model that it ended with" in done.stderr


def test_a_command_that_is_told_can_be_typed() -> None:
    train()
    Path("m.safetensors").rename("my model.safetensors")
    done = run("verify", "my model.safetensors")
    assert "gpubp verify 'my model.safetensors' FOLDER/points.npz" in done.stderr


def test_a_model_that_began_with_another() -> None:
    train()
    Path("m.safetensors").rename("data/body.safetensors")
    train("--from=data/body.safetensors", "--freeze=0.*", "--seed=3")
    assert verify().exit_code == 0
    change("data/body.safetensors", "0.W")
    done = verify()
    assert done.exit_code == 2 and "is not the model that the training of m.safetensors began with" in done.stderr
