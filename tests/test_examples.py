"""Every file of examples/ runs and prints what it promises, here with few epochs."""

import importlib.util
import os
import re
import runpy
import sys
from pathlib import Path

import pytest

from gpubp.config import Configurable
from waves import tone, written

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def printed(capsys, tmp_path, monkeypatch):
    """name, arguments -> what examples/name prints; its classes are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Configurable, "registry", dict(Configurable.registry))

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_digits_are_learnt(printed) -> None:
    pytest.importorskip("sklearn")
    out = printed("digits.py", "5")
    assert float(re.search(r"test accuracy (\S+)", out)[1]) > 0.9
    assert len(re.findall(r"^a \d read as a \d$", out, re.MULTILINE)) == 5


def test_own_layer_passes_its_check_and_learns_what_a_line_cannot(printed) -> None:
    out = printed("own_layer.py", "15")
    errors = dict(re.findall(r"^(dx|dC) +relative error (\S+)$", out, re.MULTILINE))
    assert errors.keys() == {"dx", "dC"} and max(map(float, errors.values())) < 1e-7
    line, radial = (float(accuracy) for accuracy in re.findall(r"test accuracy (\S+)", out))
    assert line < 0.7 and radial > 0.95


def test_regression_line_is_that_of_least_squares(printed) -> None:
    lines = re.findall(r"y = (\S+) x (\S+)", printed("regression_line.py", "30"))
    (slope, intercept), *trained = [tuple(map(float, line)) for line in lines]
    assert trained[0] == pytest.approx((slope, intercept), abs=1.1e-4)
    for line in trained[1:]:
        assert line == pytest.approx((slope, intercept), abs=0.1)


def test_names_are_learnt_and_the_same_seed_invents_the_same(printed) -> None:
    out = printed("names.py", "8")
    by_letter, by_two, network = map(float, re.findall(r"^  (?:guess|network).* (\d+\.\d)$", out, re.MULTILINE))
    assert network < by_two < by_letter
    assert int(re.search(r"^(\d+) of 60 invented names are in no list", out, re.MULTILINE)[1]) > 30
    assert Path("names.png").exists() == (importlib.util.find_spec("matplotlib") is not None)
    first, again, other = (printed("names.py", "1", seed).partition("invented names")[2] for seed in "334")
    assert first == again != other


def test_spoken_digits_are_learnt_and_first_weights_matter(printed, tmp_path) -> None:
    out = printed("spoken_digits.py", "3")
    assert float(re.search(r"test accuracy (\S+)", out)[1]) > 0.8
    assert len(re.findall(r"^\d (?:zero|one|two|three|four|five|six|seven|eight|nine) +\S", out, re.MULTILINE)) == 10
    sizes = {
        name.strip(): [float(size) for size in sizes.split()]
        for name, sizes in re.findall(r"^(He|Glorot|a third of He|three times He)\S*.*?((?: \de[-+]\d+){9})", out, re.M)
    }
    he, glorot, small, large = sizes.values()
    assert small[0] < glorot[0] / 100 < he[0] / 500 < large[0] / 500_000
    assert "three times He" in out and "no longer finite in step" in out
    if "drawn:" in out:
        assert all((tmp_path / f"spoken_digits{end}.png").is_file() for end in ("", "_confusion", "_first_weights"))


def test_spoken_digits_are_read_from_recordings(printed, tmp_path) -> None:
    """Files named as those of the Free Spoken Digit Dataset, here tones."""
    for k in range(10):
        for number in range(12):
            sound = tone(200 * 1.3**k, 0.4, seed=12 * k + number)
            (tmp_path / f"{k}_nobody_{number}.wav").write_bytes(written(sound))
    out = printed("spoken_digits.py", "12", str(tmp_path))
    assert "70 sounds to learn from, 50 for the test" in out
    assert float(re.search(r"test accuracy (\S+)", out)[1]) > 0.8


def table(out: str) -> dict[int, list[float]]:
    """Rows of each digit -> accuracy and seconds of the frozen body, of the tuned one, and from scratch."""
    lines = re.findall(r"^ +(\d+)" + r" +(0\.\d+) +(\d+\.\d+) s" * 3 + "$", out, re.MULTILINE)
    return {int(rows): list(map(float, numbers)) for rows, *numbers in lines}


def test_a_trained_body_learns_new_digits(printed, monkeypatch) -> None:
    """On the small digits it is no better than the same network from scratch, as the text says, and no worse."""
    pytest.importorskip("sklearn")
    monkeypatch.setenv("GPUBP_MNIST", "nowhere")  # then the digits inside scikit-learn
    out = printed("transfer.py", "100")
    assert float(re.search(r"digits 0-4: test accuracy (\S+)", out)[1]) > 0.95
    found = table(out)
    assert list(found) == [2, 5, 10] and found[2][0] < found[5][0] < found[10][0]
    for frozen, _, tuned, _, scratch, _ in found.values():
        assert frozen > scratch - 0.05 and tuned > scratch - 0.05 and min(frozen, tuned, scratch) > 0.6


@pytest.mark.skipif(not os.environ.get("GPUBP_MNIST"), reason="$GPUBP_MNIST does not say where MNIST is")
def test_a_body_trained_on_many_pictures_helps_where_there_are_few(printed) -> None:
    found = table(printed("transfer.py"))
    for frozen, frozen_seconds, tuned, _, scratch, seconds in found.values():
        assert min(frozen, tuned) > scratch + 0.02 and frozen_seconds < seconds


def test_every_example_is_tested() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f'printed("{path.name}"' not in source] == []
