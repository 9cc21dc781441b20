"""Config files: a saved file repeats the run bitwise, and each mistake is one line with its place."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import click
import numpy as np
import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st

import gpubp as bp
from gpubp.cli.commands.train import train as command
from gpubp.cli.config_file import config_options, settings, to_toml
from gpubp.cli.run_folder import Run

WORDS = (
    "--hidden=8,4", "--dropout=0.2", "--batch-norm", "--lr=1e-3", "--freeze=0.b", "--freeze=1.*", "--l2=2.5e-7",
    "--early-stopping=3", "--epochs=4", "--device=cpu", "--seed=3", "--label-smoothing=0.05", "--optimizer=adamw",
)  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with data.npz: 300 points of three classes."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(300, 4))
    np.savez(tmp_path / "data.npz", X=X, y=(X[:, 0] > 0).astype(int) + (X[:, 1] > 0))
    monkeypatch.chdir(tmp_path)


def write(text: str) -> None:
    Path("run.toml").write_text(text, encoding="utf-8")


def bytes_of(name: str) -> bytes:
    return Path(f"{name}.safetensors").read_bytes()


# -- what is saved ----------------------------------------------------------------------------------------------------


def test_a_saved_config_repeats_the_run_bitwise() -> None:
    first = run("train", "data.npz", *WORDS, "--out=first.safetensors", "--save-config=run.toml")
    assert first.exit_code == 0 and "settings run.toml" in first.stdout, first.output
    again = run("train", "--config", "run.toml", "--out=again.safetensors", "--save-config=again.toml")
    assert again.exit_code == 0, again.output
    assert bytes_of("again") == bytes_of("first")
    one, two = (tomllib.loads(Path(name).read_text()) for name in ("run.toml", "again.toml"))
    assert one.pop("out") == "first.safetensors" and two.pop("out") == "again.safetensors" and one == two
    assert (
        one["lr"] == 1e-3 and one["batch-norm"] is True and one["freeze"] == ["0.b", "1.*"] and one["hidden"] == "8,4"
    )
    assert one["dataset"] == "data.npz" and "config" not in one and "save-config" not in one


def test_typed_options_override_the_file() -> None:
    write('dataset = "data.npz"\nepochs = 3\nhidden = [8]\nseed = 1\ndevice = "cpu"\n')
    assert run("train", "--config=run.toml", "--out=a.safetensors", "--epochs=2").exit_code == 0
    typed = ("data.npz", "--hidden=8", "--seed=1", "--epochs=2", "--device=cpu", "--out=b.safetensors")
    assert run("train", *typed).exit_code == 0
    assert bytes_of("a") == bytes_of("b") and bp.load("a.safetensors", device="cpu").metadata["epochs"] == 2
    np.savez("other.npz", X=np.eye(3), y=[0, 1, 0])
    done = run("train", "other.npz", "--config=run.toml", "--save-config=run.toml")  # its place is taken by the new one
    assert done.exit_code == 0 and "data     other" in done.stdout
    assert tomllib.loads(Path("run.toml").read_text())["dataset"] == "other.npz"


def test_one_file_for_several_commands() -> None:
    write('dataset = "data.npz"\ndevice = "cpu"\n[train]\nepochs = 1\nhidden = "none"\n[predict]\nout = "p.csv"\n')
    assert run("train", "--config=run.toml").exit_code == 0
    done = run("predict", "--config=run.toml")
    assert done.exit_code == 2 and "gpubp predict has no option 'dataset'" in done.stderr  # it has a file
    write(
        'device = "cpu"\n[train]\ndataset = "data.npz"\nepochs = 1\n'
        '[evaluate]\nmodel = "data.safetensors"\ndataset = "data.npz"\n'
        '[predict]\nmodel = "data.safetensors"\nfile = "data.npz"\nout = "p.csv"\n'
    )
    assert run("train", "--config=run.toml").exit_code == 0
    assert "accuracy" in run("evaluate", "--config=run.toml").stdout
    assert run("predict", "--config=run.toml").exit_code == 0 and Path("p.csv").exists()


@pytest.mark.parametrize(
    ("key", "typed"),
    [
        ("hidden = [8, 4]", "--hidden=8,4"),
        ('hidden = ["8", 4]', "--hidden=8,4"),
        ("hidden = []", "--hidden=none"),
        ("early-stopping = true", "--early-stopping=10"),
        ("early_stopping = 3", "--early-stopping=3"),
        ("batch-norm = false", "--hidden=256,128"),
        ('freeze = "0.*"', "--freeze=0.*"),
        ("lr = 1e-3", "--lr=0.001"),
        ("lr = 1", "--lr=1.0"),
    ],
)
def test_ways_to_write_a_setting(key: str, typed: str) -> None:
    write(f'dataset = "data.npz"\nepochs = 1\ndevice = "cpu"\n{key}\n')
    assert run("train", "--config=run.toml", "--out=a.safetensors").exit_code == 0
    assert run("train", "data.npz", "--epochs=1", "--device=cpu", typed, "--out=b.safetensors").exit_code == 0
    assert bytes_of("a") == bytes_of("b")


def test_a_run_that_began_with_a_file_is_resumed_without_it() -> None:
    write('dataset = "data.npz"\nepochs = 3\nhidden = 8\ndevice = "cpu"\ncheckpoint-dir = "a"\n')
    assert run("train", "--config=run.toml", "--save-config=saved.toml").exit_code == 0
    whole = bytes_of("data")
    Path("data.safetensors").unlink()
    Path("run.toml").unlink()
    arguments = Run.read("a").arguments
    assert "--epochs=3" in arguments and not any("config" in word for word in arguments)
    assert run("train", "--resume=a", "--save-config=resumed.toml").exit_code == 0
    assert bytes_of("data") == whole
    for name in ("saved", "resumed"):
        assert run("train", f"--config={name}.toml", "--out=again.safetensors").exit_code == 0
        assert bytes_of("again") == whole  # without writing over the checkpoints of that run
    refused = run("train", "--resume=a", "--config=saved.toml")
    assert refused.exit_code == 2 and "leave out --config" in refused.stderr


def test_refused_options_are_not_saved() -> None:
    for words in (("nowhere.npz",), ("data.npz", "--freeze=nothing"), ("data.npz", "--save-config=run.txt")):
        done = run("train", "--save-config=run.toml", *words)
        assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output
    assert [path.name for path in Path().iterdir()] == ["data.npz"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.one_of(TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.lists(TEXT)))
def test_written_values_are_read_back(value: object) -> None:
    again = tomllib.loads(f"key = {to_toml(value)}\n")["key"]
    assert type(again) is type(value)
    assert again == value or (math.isnan(again) and math.isnan(value))  # type: ignore[arg-type]


def test_every_option_of_train_can_stand_in_a_file() -> None:
    """All at once, of the kinds that there are, spelled and read again to the same values."""
    typed = ["data.npz", *WORDS, "--augment=flip,zoom:0.2", "--checkpoint-every=5m", "--clip-norm=1", "--plot=a.png"]
    values = command.make_context("train", list(typed)).params
    text = "".join(
        f"{(max(p.opts, key=len).lstrip('-') if isinstance(p, click.Option) else 'dataset')} = {to_toml(value)}\n"
        for p, value in settings(command, values)
    )
    write(text)
    assert command.make_context("train", ["--config=run.toml"]).params == values
    assert {"config", "save_config"} == {option.name for option in config_options()}


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", "run.toml: gpubp train has no option 'epoch' (did you mean epochs?)"),
        ("[trian]\nepochs = 3", "run.toml: [trian] is no command of gpubp (did you mean train?)"),
        ("[train]\nepoch = 3", "gpubp train has no option 'epoch' (did you mean epochs?)"),
        ('epochs = "many"', "run.toml: epochs: 'many' is not a valid whole number"),
        ("epochs = 3.5", "run.toml: epochs: '3.5' is not a valid whole number"),
        ("epochs = true", "run.toml: epochs takes a value, and not true"),
        ("epochs = 0", "run.toml: epochs: 0 is not in the range x>=1"),
        ("epochs = 1979-05-27", "run.toml: epochs is a word, a number or a list of them, and not datetime.date"),
        ("hidden = [[1]]", "run.toml: hidden is a word, a number or a list of them, and not [1]"),
        ("lr = nan", "run.toml: lr: nan is not a number above 0"),
        ('batch-norm = "yes"', "run.toml: batch-norm is true or false, and not 'yes'"),
        ("batch-norm = 1", "run.toml: batch-norm is true or false, and not 1"),
        ('activation = "swish"', "run.toml: activation: 'swish' is not one of"),
        ("batch-size = 3\nbatch_size = 3", "batch-size stands there twice"),
        ('resume = "a"', "resume is for the command line"),
        ("epochs = ", "run.toml is not TOML"),
        ("epochs: 3", "run.toml is not TOML"),
        ("epochs = 1\nepochs = 2", "run.toml is not TOML"),
        ("x = " + "[" * 5000, "run.toml is not TOML"),
        ("#" * (1 << 20) + "#", "too large"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(text: str, words: str) -> None:
    write(text)
    done = run("train", "data.npz", "--config=run.toml")
    assert done.exit_code == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.output
    assert "See gpubp train --help" in done.stderr and not Path("data.safetensors").exists()


def test_unreadable_config_files_are_refused() -> None:
    Path("latin.toml").write_bytes(b'dataset = "caf\xe9"')
    for name, words in (
        ("nowhere.toml", "is not there; --save-config writes such a file"),
        (".", "is a folder"),
        ("latin.toml", "is not TOML"),
        ("data.npz", "is not TOML"),
    ):
        done = run("train", "--config", name)
        assert done.exit_code == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.output
