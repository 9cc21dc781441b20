"""Folders of sounds on the command line: train, evaluate, predict, resume, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import CPU, run

import gpubp as bp
from gpubp.cli.task import Task
from waves import folder_of_tones, tone, written

pytestmark = pytest.mark.usefixtures("empty_folder")

QUICK = ("--epochs", "3", *CPU)


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    return folder_of_tones(tmp_path / "tones.v1", 12)


@pytest.fixture
def others(tmp_path: Path) -> Path:
    return folder_of_tones(tmp_path / "others", 3, 11025, bits=24)


def test_a_folder_is_learnt_judged_and_used(tones: Path, others: Path) -> None:
    pytest.importorskip("scipy")
    done = run("train", "tones.v1", "--test-fraction", "0.25", *QUICK)
    assert done.exit_code == 0, done.output
    assert "tones.v1: sounds of 0.26 s of 8,000 samples a second, 2 classes; 20 rows to train with, " in done.output
    assert "the sounds of 0.2 to 0.255 s become 0.26 s: 24 are filled up with silence (--seconds)" in done.output
    assert "MelSpectrogram(8000), " in done.output and "Conv2D(16, 3" in done.output
    assert "test accuracy 1.0000" in done.output and "by always answering" in done.output
    assert (
        "gpubp predict tones.v1.safetensors NEW.wav    or    gpubp evaluate tones.v1.safetensors NEW_FOLDER"
        in done.output
    )

    judged = run("evaluate", "tones.v1.safetensors", "tones.v1", *CPU).output
    assert "the 4 rows that training held out of 24 (--all for all)" in judged and "held-out accuracy 1.0000" in judged
    shutil.copytree(tones, "moved")
    assert "the 4 rows that training held out of 24" in run("evaluate", "tones.v1.safetensors", "moved", *CPU).output
    (Path("moved") / "high" / "0.wav").unlink()
    assert (
        "of the rows that the model was trained with are in this"
        in run("evaluate", "tones.v1.safetensors", "moved", *CPU).output
    )
    judged = run("evaluate", "tones.v1.safetensors", "others", *CPU).output
    assert "others: 6 rows" in judged and "\naccuracy 1.0000" in judged

    shown = run("predict", "tones.v1.safetensors", "others", "tones.v1/low/0.wav", *CPU).output
    lines = [line.split() for line in shown.splitlines() if ".wav" in line and " rows" not in line]
    assert [line[:2] for line in lines[2:4]] == [["others/high/2.wav", "high"], ["others/low/0.wav", "low"]]
    assert lines[-1][0] == "tones.v1/low/0.wav" and len(lines) == 7
    assert "takes    sounds of 0.26 s of 8,000 samples a second" in run("inspect", "tones.v1.safetensors").output


def test_predictions_have_the_names_of_the_files(tones: Path) -> None:
    run("train", "tones.v1", *QUICK)
    (tones / "low" / "long.wav").write_bytes(written(tone(300, 1.0)))
    done = run("predict", "tones.v1.safetensors", "tones.v1/low", "--out", "p.csv", *CPU)
    assert "1 of 13 is longer than the 0.26 s of the training; cut to that" in done.output
    with open("p.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows[-1]["file"] == "tones.v1/low/long.wav" and {row["prediction"] for row in rows} == {"low"}
    found = run("predict", "tones.v1.safetensors", "tones.v1/low/0.wav", "--json", *CPU)
    told = json.loads(found.stdout)
    assert told["ids"] == {"file": ["tones.v1/low/0.wav"]} and told["predictions"] == ["low"]


def test_a_sound_alone_has_the_bits_that_it_has_among_others(tones: Path) -> None:
    run("train", "tones.v1", *QUICK)
    probabilities = []
    for files in (["tones.v1/low/5.wav"], ["tones.v1"]):
        told = json.loads(run("predict", "tones.v1.safetensors", *files, "--json", *CPU).stdout)
        probabilities.append(told["probabilities"][told["ids"]["file"].index("tones.v1/low/5.wav")])
    assert probabilities[0] == probabilities[1]


def test_other_folders_to_validate_and_test_with(tones: Path, others: Path) -> None:
    pytest.importorskip("scipy")
    done = run("train", "tones.v1", "--validation", "others", "--test", "others", "--json", "f.json", *QUICK)
    assert done.exit_code == 0, done.output
    told = json.loads(Path("f.json").read_text())
    assert told["data"]["validation_rows"] == told["data"]["test_rows"] == 6
    assert told["data"]["sound"] == {"rate": 8000, "seconds": 0.26} and told["classes"] == ["high", "low"]
    (others / "low").rename(others / "deep")
    done = run("train", "tones.v1", "--test", "others", *QUICK)
    assert done.exit_code == 2 and "others has the class deep, and the network knows high, low" in done.output


@pytest.mark.parametrize("model", ["mlp", "cnn", "bag"])
def test_networks_of_every_kind(tones: Path, model: str) -> None:
    done = run("train", "tones.v1", "--model", model, "--epochs", "10", "--rate", "8000", "--seconds", "0.2", *CPU)
    assert done.exit_code == 0, done.output
    assert "sounds of 0.2 s" in done.output and "22 are longer and cut" in done.output
    net = bp.load("tones.v1.safetensors", device="cpu")
    assert net.input_shape == (1600,) and isinstance(net.layers.layers[0], bp.MelSpectrogram)  # type: ignore[attr-defined]
    assert "accuracy 1.0000" in run("evaluate", "tones.v1.safetensors", "tones.v1", *CPU).output


def test_sounds_too_many_for_memory_are_read_as_they_are_needed(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpubp.cli.sound_form.TOGETHER", 5)
    done = run("train", "tones.v1", "--memory", "50KB", "--test-fraction", "0.25", *QUICK)
    assert done.exit_code == 0 and "of sounds are read as they are needed, 50.0 KB at a time" in done.output
    judged = [run("evaluate", "tones.v1.safetensors", "tones.v1", *more, *CPU) for more in ((), ("--memory", "50KB"))]
    for one in judged:
        assert "the 4 rows that training held out of 24" in one.output
    assert judged[0].output.splitlines()[-3:] == judged[1].output.splitlines()[-3:]


@pytest.mark.parametrize("memory", ["50KB", "50MB"])
def test_a_training_goes_on_where_it_was(tones: Path, memory: str) -> None:
    """A run of four epochs in two processes ends with the bits of one."""
    typed = ("tones.v1", "--epochs", "4", "--memory", memory, *CPU)
    run("train", *typed, "--out", "whole.safetensors")
    began = run("train", *typed, "--out", "part.safetensors", "--checkpoint-dir", "a")
    assert began.exit_code == 0, began.output
    described = json.loads(Path("a/run.json").read_text())
    described["finished"] = False
    Path("a/run.json").write_text(json.dumps(described))
    for checkpoint in sorted(Path("a").glob("step-*"))[2:]:
        checkpoint.unlink()
    Path("part.safetensors").unlink()
    done = run("train", "--resume", "a")
    assert done.exit_code == 0 and "going on from step" in done.output, done.output
    whole, part = (bp.load(f"{name}.safetensors", device="cpu") for name in ("whole", "part"))
    assert np.array_equal(whole.flat, part.flat)


def test_a_report_names_the_files_of_mistakes(tones: Path) -> None:
    for module in ("matplotlib", "jinja2"):
        pytest.importorskip(module)
    (tones / "low" / "wrong.wav").write_bytes(written(tone(1500, 0.2, seed=7)))
    typed = ("--seconds", "0.2", "--epochs", "8", "--report", "r.html")  # 1600 samples, a square number
    done = run("train", "tones.v1", *typed, *CPU)
    assert done.exit_code == 0, done.output
    page = Path("r.html").read_text()
    assert "tones.v1/low/wrong.wav" in page and "seconds" in page and "<image" not in page


@pytest.mark.parametrize("rate", [8000, 44100])
def test_sounds_shorter_than_a_window_are_filled_up(tmp_path: Path, rate: int) -> None:
    if rate > 16000:
        pytest.importorskip("scipy")
    for name, hertz in (("high", 1500), ("low", 300)):
        (tmp_path / "short" / name).mkdir(parents=True)
        for k in range(4):
            (tmp_path / "short" / name / f"{k}.wav").write_bytes(written(tone(hertz, 0.01, rate, seed=k), rate))
    done = run("train", "short", *QUICK)
    assert done.exit_code == 0 and "become 0.13 s: 8 are filled up with silence" in done.output, done.output


def test_many_folders_with_few_sounds_are_classes(tmp_path: Path) -> None:
    for k in range(22):
        (tmp_path / "words" / str(k)).mkdir(parents=True)
        (tmp_path / "words" / str(k) / "a.wav").write_bytes(written(tone(200 + 100 * k, seed=k)))
    done = run("train", "words", "--model", "bag", "--epochs", "1", *CPU)
    assert done.exit_code == 0 and "22 classes; 22 rows to train with" in done.output, done.output


def test_a_training_that_needs_more_memory_than_is_free_is_told_of(
    tones: Path, points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "are free: the system may end it without a word; less is needed with"
    assert words not in run("train", "tones.v1", *QUICK).output
    monkeypatch.setattr("gpubp.cli.large_data.free_memory", lambda: 2 << 20)
    done = run("train", "tones.v1", "--memory", "1MB", *QUICK)
    assert done.exit_code == 0 and f"2.0 MB {words} shorter --seconds, a lower --rate" in done.output, done.output
    monkeypatch.setattr("gpubp.cli.large_data.free_memory", lambda: 200)
    assert f"200 B {words} a smaller --batch-size" in run("train", "points.npz", *QUICK).output


def test_folders_at_any_depth_are_predicted(tones: Path) -> None:
    """Links back to a folder above have no end, and links to themselves lead nowhere."""
    run("train", "tones.v1", *QUICK)
    deep = Path("a") / "b" / "c"
    deep.parent.mkdir(parents=True)
    shutil.copytree(tones, deep)
    (deep / "low" / "back").symlink_to(Path("a").resolve())
    (deep / "low" / "itself").symlink_to("itself")
    told = json.loads(run("predict", "tones.v1.safetensors", "a", "--json", *CPU).stdout)
    assert len(told["predictions"]) == 24 and told["ids"]["file"][0] == "a/b/c/high/0.wav"
    done = run("evaluate", "tones.v1.safetensors", "a", *CPU)
    assert done.exit_code == 2 and "a is no folder of sounds; give one that has a folder" in done.output
    (tones / "low" / "gone.wav").symlink_to("elsewhere.wav")
    done = run("train", "tones.v1", *QUICK)
    assert done.exit_code == 2 and "gone.wav is a link to elsewhere.wav, which is not there" in done.output


def test_settings_are_saved_and_used_again(tones: Path) -> None:
    assert run("train", "tones.v1", "--rate", "8000", *QUICK, "--save-config", "c.toml").exit_code == 0
    first = Path("tones.v1.safetensors").read_bytes()
    assert 'dataset = "tones.v1"\n' in Path("c.toml").read_text() and "rate = 8000\n" in Path("c.toml").read_text()
    assert run("train", "--config", "c.toml").exit_code == 0
    assert Path("tones.v1.safetensors").read_bytes() == first
    files = ("tones.v1/low/0.wav", "tones.v1/low/1.wav", "tones.v1/low/2.wav")
    done = run("predict", "tones.v1.safetensors", *files, "--out", "p.csv", "--save-config", "p.toml", *CPU)
    assert done.exit_code == 0, done.output
    kept = Path("p.csv").read_bytes()
    Path("p.csv").unlink()
    assert run("predict", "--config", "p.toml").exit_code == 0 and Path("p.csv").read_bytes() == kept


def test_commands_that_only_look(tones: Path) -> None:
    assert "suggested learning rate" in run("find-lr", "tones.v1", "--model", "bag", *CPU).output
    assert "MelSpectrogram(8000)" in run("profile", "tones.v1", "--steps", "2", *CPU).output


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("--target", "x"), "--target goes with a table, and tones.v1 is a folder of sounds"),
        (("--decimal", ","), "--decimal goes with a table, and tones.v1 is a folder of sounds"),
        (("--data", "x"), "--data says where MNIST lies, and the data set is tones.v1"),
        (("--loss", "mse"), "--loss mse is for numbers, and the folders of tones.v1 are classes"),
        (("--seconds", "0.01"), "windows are of 0.032 s; give 0.13 or more"),
        (("--rate", "10"), "--rate"),
        (("--l2", "auto"), "--l2 auto is for tables"),
        (("--test", "nowhere"), "nowhere is no folder of sounds"),
        (("--test", "others", "--test-fraction", "0.1"), "--test and --test-fraction both say"),
        (("--test-fraction", "0.001"), "leaves nothing on one side"),
    ],
)
def test_options_that_do_not_go_with_sounds_are_refused(tones: Path, typed: tuple[str, ...], words: str) -> None:
    done = run("train", "tones.v1", *typed, *CPU)
    assert done.exit_code == 2 and words in done.output and "Traceback" not in done.output, done.output


def test_options_of_sounds_are_refused_elsewhere(points: Path) -> None:
    Path("a.csv").write_text("a,b\n1,2\n")
    for data in ("points.npz", "a.csv"):
        done = run("train", data, "--rate", "8000", *CPU)
        assert done.exit_code == 2 and f"--rate goes with a folder of sounds, and {data} is none" in done.output


def test_data_and_models_that_do_not_belong_together(tones: Path, points: Path) -> None:
    for data in ("points.npz", "tones.v1"):
        run("train", data, "--hidden", "4", *QUICK)
    for command, model, data, words in (
        ("predict", "points", "tones.v1", "points.safetensors was not trained on sounds, and tones.v1 is one"),
        ("predict", "points", "tones.v1/low/0.wav", "was not trained on sounds, and tones.v1/low/0.wav is one"),
        ("evaluate", "points", "tones.v1", "was not trained on sounds"),
        ("predict", "tones.v1", "points.npz", "tones.v1.safetensors was trained on sounds, and points.npz is none"),
        ("evaluate", "tones.v1", "points.npz", "was trained on sounds, and points.npz is none"),
        ("evaluate", "tones.v1", "tones.v1/low/0.wav", "0.wav is no folder of sounds"),
        ("predict", "tones.v1", "nowhere.wav", "there is no file nowhere.wav"),
    ):
        done = run(command, f"{model}.safetensors", data, *CPU)
        assert done.exit_code == 2 and words in done.output, done.output
    done = run("predict", "points.safetensors", "points.npz", "points.npz", *CPU)
    assert done.exit_code == 2 and "several files go with sounds" in done.output
    done = run("compare", "tones.v1")
    assert done.exit_code == 2 and "tones.v1 is a folder of sounds, and this command takes none" in done.output
    done = run("train", "tones.v1/low/0.wav", *CPU)
    assert done.exit_code == 2 and "0.wav is one sound; give a folder that has a folder of .wav files" in done.output
    done = run("predict", "tones.v1", "tones.v1", *CPU)
    assert done.exit_code == 2 and "tones.v1 is data; first comes the model" in done.output
    done = run("evaluate", "tones.v1.safetensors", "tones.v1", "--misclassified", "m.png", *CPU)
    assert done.exit_code == 2 and "--misclassified draws pictures" in done.output


def test_all_files_that_cannot_be_read_are_named(tones: Path) -> None:
    run("train", "tones.v1", *QUICK)
    for k in range(7):
        (tones / "low" / f"{k}.wav").write_bytes(b"hello")
    for typed in (("train", "tones.v1"), ("predict", "tones.v1.safetensors", "tones.v1")):
        done = run(*typed, *CPU)
        assert done.exit_code == 2 and "7 of 24 files can't be used: " in done.output and "; and 2 more" in done.output


def test_names_of_files_that_are_no_text(tones: Path) -> None:
    """A byte that is no UTF-8; brackets, commas and lines stay as they are."""
    (tones / "low" / "\udcff.wav").write_bytes(written(tone(300)))
    (tones / "low" / "[red]a, b\nc.wav").write_bytes(written(tone(300)))
    assert run("train", "tones.v1", *QUICK).exit_code == 0
    done = run("predict", "tones.v1.safetensors", "tones.v1/low", "--out", "p.csv", *CPU)
    assert done.exit_code == 0, done.output
    with open("p.csv", encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    assert "tones.v1/low/\\xff.wav" in names and "tones.v1/low/[red]a, b\nc.wav" in names
    (tones / "\udcff").mkdir()
    done = run("train", "tones.v1", *QUICK)
    assert done.exit_code == 2 and r"has a folder whose name is no text, \xff; rename it" in done.output


def test_a_description_of_sounds_that_fits_no_network_is_refused(tones: Path) -> None:
    run("train", "tones.v1", *QUICK)
    net = bp.load("tones.v1.safetensors", device="cpu")
    for wrong in ({"class": "SoundForm", "rate": 8000, "samples": 3}, {"class": "ReLU"}, 5):
        net.metadata["sound"] = wrong
        with pytest.raises(bp.ModelFileError):
            Task.of(net, "x.safetensors")


@pytest.mark.parametrize("memory", ["50KB", "50MB"])
def test_silent_sounds_are_named(tones: Path, memory: str) -> None:
    """Of 8 bits, where silence is 128, and where a sound begins after the seconds that are read."""
    (tones / "low" / "none.wav").write_bytes(written(np.zeros(1600), bits=8))
    done = run("train", "tones.v1", "--seconds", "0.2", "--memory", memory, *QUICK)
    assert done.exit_code == 0, done.output
    told = (
        "1 of 25 sounds is silent in the 0.2 s that are read, so that nothing can be heard in it: tones.v1/low/none.wav"
    )
    assert told in done.stderr
    late = np.concatenate([np.zeros(1600), tone(300, 0.2)])
    for k in range(6):
        (tones / "high" / f"late{k}.wav").write_bytes(written(late))
    for command in ("evaluate", "predict"):
        done = run(command, "tones.v1.safetensors", "tones.v1", "--memory", memory, *CPU)
        assert "7 of 31 sounds are silent" in done.stderr and "heard in them: tones.v1/high/late0.wav, " in done.stderr
        assert "tones.v1/high/late4.wav, and 2 more\n" in done.stderr
    assert "silent" not in run("predict", "tones.v1.safetensors", "tones.v1/low/0.wav", *CPU).stderr


@pytest.mark.parametrize("name", ["tones.csv", "tones.parquet", "tones.npz", "tones.npy", "tones.wav", "tones.mp3"])
def test_a_folder_of_sounds_may_have_any_name(tones: Path, name: str) -> None:
    tones.rename(name)
    done = run("train", name, "--out", "m.safetensors", *QUICK)
    assert done.exit_code == 0 and f"{name}: sounds of 0.26 s" in done.output, done.output
    for command in ("evaluate", "predict"):
        done = run(command, "m.safetensors", name, *CPU)
        assert done.exit_code == 0, done.output
    assert run("predict", "m.safetensors", f"{name}/low", *CPU).exit_code == 0


def test_a_folder_without_sounds_and_tables_says_what_it_lacks(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "spark.csv").mkdir()
    (tmp_path / "spark.csv" / "part-0.csv").write_text("a,b\n1,2\n")
    done = run("train", "spark.csv", *QUICK)
    assert done.exit_code == 2 and "spark.csv is a folder without a Parquet file, .parquet, in it" in done.output
