"""Folders of sounds as rows of one length, and folders that are none, which are refused in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gpubp as bp
from gpubp.datasets import read_wav, sound_folder
from gpubp.datasets.sounds import find_sounds, usual_rate, usual_samples, wav_files
from gpubp.datasets.wav import WavHeader
from gpubp.endings import is_sounds, is_table
from waves import folder_of_tones, tone, wav, written


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    return folder_of_tones(tmp_path / "tones")


def test_rows_are_the_files_filled_up_with_silence(tones: Path) -> None:
    data = sound_folder(tones)
    assert repr(data) == "Dataset('tones', X (12, 1840) float32, y (12,) int64, no test rows)"
    assert data.names == ("high", "low") and data.rate == 8000 and data.y.tolist() == [0] * 6 + [1] * 6
    assert [os.path.relpath(file, tones) for file in data.files[:2]] == ["high/0.wav", "high/1.wav"]
    for row, file in zip(data.X, data.files, strict=True):
        x, _ = read_wav(file)
        assert np.array_equal(row[: len(x)], x) and not row[len(x) :].any()


def test_length_and_rate_can_be_chosen(tones: Path) -> None:
    pytest.importorskip("scipy")
    data = sound_folder(tones, rate=4000, seconds=0.1)
    assert data.X.shape == (12, 400) and data.rate == 4000
    whole = sound_folder(tones, seconds=0.1).X
    assert whole.shape == (12, 800)
    np.testing.assert_allclose(data.X[6], whole[6, ::2], atol=0.1)  # a low tone


def test_other_rates_are_resampled_to_the_one_of_most(tones: Path) -> None:
    pytest.importorskip("scipy")
    same = tone(300, 0.2, 44100)
    (tones / "low" / "0.wav").write_bytes(written(np.stack([same, same], axis=1), 44100, 24))
    data = sound_folder(tones)
    assert data.rate == 8000 and data.X.shape == (12, 1840)
    assert np.corrcoef(data.X[6, 100:1500], tone(300, 0.2)[100:1500])[0, 1] > 0.99


def test_without_scipy_other_rates_are_refused(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tones / "low" / "0.wav").write_bytes(written(tone(300, 0.2, 44100), 44100))
    for name in ("scipy", "scipy.signal"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(bp.MissingDependencyError, match="low/0.wav has 44,100 samples a second and not 8,000"):
        sound_folder(tones)
    (tones / "low" / "0.wav").write_bytes(written(tone(300)))
    assert len(sound_folder(tones).X) == 12


def headers(*seconds: float, rate: int = 8000) -> list[WavHeader]:
    return [WavHeader(rate, 1, 2, False, round(s * rate), 44) for s in seconds]


def test_the_usual_length_leaves_out_what_few_sounds_have() -> None:
    for lengths, expected in (
        ([0.5], 0.5),
        ([0.5, 0.7], 0.7),
        ([0.5] * 200 + [0.7], 0.7),  # not much longer
        ([0.5] * 200 + [30.0], 0.5),
        ([0.5] * 20 + [30.0], 10.0),  # one in 21, and so not few
        ([0.001, 0.002], 0.13),  # some windows of a spectrogram
        ([0.5031], 0.51),
    ):
        assert usual_samples(headers(*lengths), 8000) == round(8000 * expected)


def test_the_usual_rate_is_that_of_most_and_not_above_16000() -> None:
    assert usual_rate(headers(1) + headers(1, 1, rate=11025)) == 11025
    assert usual_rate(headers(1) + headers(1, rate=11025)) == 11025
    assert usual_rate(headers(1, rate=44100)) == 16000


def test_classes_that_are_numbers_come_in_their_order(tmp_path: Path) -> None:
    for name in ("10", "9", "a", "0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.WAV").write_bytes(written(tone(300)))
    assert find_sounds(tmp_path).names == ("0", "9", "10", "a")


def test_what_is_no_sound_is_left_out_and_told(tones: Path) -> None:
    (tones / "_noise_").mkdir()
    (tones / ".hidden").mkdir()
    (tones / "README.md").write_text("hello")
    (tones / "low" / "list.txt").write_text("hello")
    (tones / "low" / "._0.wav").write_bytes(b"AppleDouble")
    found = find_sounds(tones)
    assert len(found.files) == 12
    assert found.left_out == (
        f"{tones}/_noise_ is left out, because its name begins with _",
        f"1 file in {tones} is left out, because it is no .wav (list.txt)",
    )


def empty(folder: Path) -> None:
    (folder / "none").mkdir()


def loose(folder: Path) -> None:
    (folder / "x.wav").write_bytes(written(tone(300)))


def one_class(folder: Path) -> None:
    (folder / "high").rename(folder.parent / "high")


def flat(folder: Path) -> None:
    one_class(folder)
    for file in (folder / "low").iterdir():
        file.rename(folder / file.name)
    (folder / "low").rmdir()


def nested(folder: Path) -> None:
    (folder / "high" / "speaker").mkdir()


def other_kind(folder: Path) -> None:
    (folder / "low" / "x.mp3").write_bytes(b"ID3")


def damaged(folder: Path) -> None:
    (folder / "low" / "3.wav").write_bytes(b"hello")


def many_damaged(folder: Path) -> None:
    for file in (folder / "low").iterdir():
        file.write_bytes(wav())
    (folder / "high" / "0.wav").write_bytes(written([np.nan], bits=32, floats=True)[:-1])


def gone(folder: Path) -> None:
    (folder / "low" / "3.wav").unlink()
    (folder / "low" / "3.wav").symlink_to("nowhere.wav")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (empty, "none has no .wav files in it; remove the folder, or put the sounds of its class into it"),
        (loose, r"has .wav files beside its folders \(x.wav\); put each into that of its class"),
        (one_class, "has one class, low, and there is nothing to tell apart; each class is a folder of .wav files"),
        (flat, "has 6 .wav files and no folders; each class is a folder of .wav files: .*CLASS/0.wav"),
        (nested, r"high has folders in it \(speaker\); each class is .*; if each of those is one, give .*high"),
        (other_kind, r"low has 1 sound that is no .wav \(x.mp3\); make a .wav of it: ffmpeg -i x.mp3 x.wav"),
        (damaged, r"^\S*low/3.wav is no WAV file: it begins with b'hello'"),
        (many_damaged, r"^7 of 12 files can't be used: \S*high/0.wav is cut .*; \S*low/3.wav is [^;]*; and 2 more$"),
        (gone, "low/3.wav is a link to nowhere.wav, which is not there"),
    ],
)
def test_other_folders_are_refused(tones: Path, change: Callable[[Path], None], words: str) -> None:
    change(tones)
    assert is_sounds(tones)
    with pytest.raises(bp.DataError, match=words):
        sound_folder(tones)


def test_samples_that_mean_nothing_are_refused_together(tones: Path) -> None:
    """Their headers are right."""
    for name in ("0.wav", "5.wav"):
        (tones / "high" / name).write_bytes(written([0.5, np.nan], bits=32, floats=True))
    with pytest.raises(bp.DataError, match="^2 of 12 files can't be used: .*0.wav holds NaN.*; .*5.wav holds NaN"):
        sound_folder(tones)


def test_what_is_no_folder_of_sounds(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "a.csv"):
        assert not is_sounds(path)
    with pytest.raises(bp.DataError, match="there is no folder"):
        sound_folder(tmp_path / "nowhere")
    with pytest.raises(bp.DataError, match="has no folders in it"):
        sound_folder(tmp_path)
    (tmp_path / "x").write_text("")
    with pytest.raises(bp.DataError, match="x is no folder"):
        sound_folder(tmp_path / "x")


def test_a_folder_of_tables_is_a_table(tones: Path) -> None:
    (tones / "low" / "rows.parquet").write_bytes(b"")
    assert is_table(tones)


def test_files_to_predict_are_found_at_any_depth(tones: Path) -> None:
    (tones / "low" / "more").mkdir()
    (tones / "low" / "more" / "x.wav").write_bytes(written(tone(300)))
    found = wav_files(tones)
    assert len(found) == 13 and found[-1].endswith("more/x.wav")
    assert wav_files(tones / "low" / "0.wav") == [str(tones / "low" / "0.wav")]
    with pytest.raises(bp.DataError, match="is no .wav file by its name; make a .wav of it: ffmpeg -i a.mp3 a.wav"):
        wav_files("a.mp3")
    (tones / "none").mkdir()
    with pytest.raises(bp.DataError, match="has no .wav files in it"):
        wav_files(tones / "none")


def test_a_network_learns_from_a_folder(tones: Path) -> None:
    data = sound_folder(tones)
    layers = bp.Sequential(bp.MelSpectrogram(data.rate, bands=20), bp.BatchNorm(), bp.MeanOverTime(), bp.Dense(2))
    net = bp.Network(layers, data.input_shape, device="cpu", seed=0)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.05), batch_size=6, metrics="accuracy")
    trainer.fit(data.X, data.y, epochs=20)
    assert trainer.evaluate(data.X, data.y)["accuracy"] == 1.0
