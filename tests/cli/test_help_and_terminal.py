"""The terminal, the keyboard, the help and `gpubp doctor`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command_line import CPU, SMALL, on_a_terminal, run

import gpubp as bp

pytestmark = pytest.mark.usefixtures("empty_folder")

# -- the terminal, and the keyboard -----------------------------------------------------------------------------------


def test_ctrl_c_saves_what_was_learnt() -> None:
    command = [sys.executable, "-m", "gpubp", "train", "digits", "--epochs", "100000", *CPU]
    hears_it = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job is deaf to it
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, preexec_fn=hears_it, **streams) as running:
        assert running.stderr is not None
        assert "epoch 1/100000" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=300)
    assert running.returncode == 130
    assert re.search(r"interrupted after \d+ of 100000 epochs; what was learnt so far is saved", err)
    assert "Traceback" not in err and "model    digits.safetensors" in out and "test accuracy" in out
    assert bp.load("digits.safetensors", device="cpu").predict(np.zeros((1, 64))).shape == (1, 10)


def test_a_terminal_gets_a_bar_that_fits_it_and_colours(points: Path) -> None:
    seen = on_a_terminal("train", points, "--epochs", "30", *CPU)
    assert "━" in seen and "epoch 30/30" in seen and "\x1b[1;32mtest accuracy" in seen
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    bars = [part for part in re.split(r"[\r\n]+", plain) if "━" in part]
    assert bars and max(map(len, bars)) <= 80 and re.search(r"epoch 30/30 ━+ \S+ +loss \d\.\d+  accuracy", bars[-1])


def test_no_color_is_honoured(points: Path) -> None:
    seen = on_a_terminal("train", points, *SMALL, NO_COLOR="1")
    assert "test accuracy" in seen and not re.search(r"\x1b\[[0-9;]*3[0-7]", seen)


# -- help and doctor --------------------------------------------------------------------------------------------------


def test_help_shows_examples_and_commands() -> None:
    assert run().output == run("--help").output and run().exit_code == 0
    for command in ("train", "predict", "evaluate", "doctor"):
        done = run(command, "--help")
        assert done.exit_code == 0 and done.output.count(f"gpubp {command}") >= 2, done.output
        assert f"  {command} " in run("--help").output
    assert run("--version").output == f"gpubp {bp.__version__}\n"


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys; sys.argv = ['gpubp', 'train', '--help']\nfrom gpubp.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({n.partition('.')[0] for n in sys.modules} & {'sklearn', 'scipy', 'matplotlib', 'cupy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


def test_doctor_names_what_works_and_how_to_install_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("doctor")
    assert done.exit_code == 0 and "all that is needed works" in done.output
    assert np.__version__ in done.output and re.search(r"^cpu +works +cpu \(\d+ cores?\), float32, ", done.output, re.M)
    monkeypatch.setattr("gpubp.cli.commands.doctor._version", lambda name: None)
    monkeypatch.setattr(
        "gpubp.cli.commands.doctor.why_not", lambda: "CuPy is not installed: pip install 'gpubp[cuda12]'"
    )
    bare = re.sub(r"\s+", " ", run("doctor").output)
    for mend in ("gpubp[cli]", "gpubp[sklearn]", "gpubp[plot]", "gpubp[fast]", "gpubp[cuda12]"):
        assert f"pip install '{mend}'" in bare

    def broken(device: str) -> None:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr("gpubp.cli.commands.doctor._trained", broken)
    done = run("doctor")
    assert done.exit_code == 1 and "broken: cpu" in done.output and "illegal instruction" in done.output
