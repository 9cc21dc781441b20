"""The process of a command: start time, signals, broken pipes, closed streams, locales and colours."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import gpubp as bp
from gpubp.cli.app import app
from gpubp.cli.names import COMMANDS

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "gpubp"]
# As the script that pip makes does it, and a line as soon as it has the word.
SCRIPT = "import os, sys; from gpubp.cli import main; os.write(2, b'here\\n'); sys.argv[0] = 'gpubp'; sys.exit(main())"


def environment(**changes: str | None) -> dict[str, str]:
    """This process's, with the repository first on the path."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    wanted: dict[str, str | None] = {**os.environ, "PYTHONPATH": path, **changes}
    return {name: value for name, value in wanted.items() if value is not None}


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"env": environment(), "capture_output": True, "text": True, "timeout": 120} | options
    return subprocess.run([*COMMAND, *arguments], **options)


def ended(running: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process that should end says; one that does not is killed, so that the tests go on."""
    try:
        return running.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        running.kill()
        raise


def shell(line: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A line of bash, in which `gpubp` is this one."""
    options = {"env": environment(), "capture_output": True, "text": True, "timeout": 120} | options
    return subprocess.run(["bash", "-c", f'gpubp() {{ "{sys.executable}" -m gpubp "$@"; }}; {line}'], **options)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dots() -> str:
    """dots.npz, a file that is read faster than the data set digits."""
    np.savez("dots.npz", X=np.eye(40), y=np.arange(40) % 10)
    return "dots.npz"


# -- quick ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--help",), ("--version",), ("help",), ("trian",)], ids=" ".join)
def test_help_and_version_do_not_import_numpy(arguments: tuple[str, ...]) -> None:
    code = (
        f"import sys; sys.argv = ['gpubp', *{arguments}]\nfrom gpubp.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'rich.console', 'gpubp.layers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


def test_help_is_printed_quickly() -> None:
    """In less than three times the processor time of an empty program of click, the best of a few tries of each.

    It takes 1.8 times as much, and with NumPy more than four times. A slow or busy machine changes both.
    """
    commands = {"click": ["-c", "import click"], "help": ["-m", "gpubp", "--help"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5):
        for name, words in commands.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *words], env=environment(), capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times["help"]) < 3 * min(times["click"]), times


def test_each_name_imports_its_command() -> None:
    with app.make_context("gpubp", ["--color", "auto", "doctor"], resilient_parsing=True) as ctx:
        assert app.list_commands(ctx) == COMMANDS
        for name in COMMANDS:
            command = app.get_command(ctx, name)
            assert command is not None and command.name == name and command.help


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------


def test_ctrl_c_during_imports() -> None:
    """At any moment, from the first line of gpubp on: no traceback."""
    moments = random.Random(0)
    for _ in range(20):
        hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job is deaf to it
        command = [sys.executable, "-c", SCRIPT, "train", "digits", "--epochs", "100000", "--device", "cpu"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True, preexec_fn=hears
        ) as running:
            assert running.stderr is not None and running.stderr.readline() == "here\n"
            time.sleep(0.005 + 0.4 * moments.random())
            running.send_signal(signal.SIGINT)
            out, err = ended(running)
        assert running.returncode == 130, err
        assert "Traceback" not in err and "interrupted" in err, err


def test_few_modules_are_imported_before_ctrl_c_is_handled() -> None:
    code = "import sys; before = set(sys.modules); import gpubp.cli; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.stdout == "['gpubp', 'gpubp.cli']\n", done.stdout + done.stderr


# -- pipes and streams ------------------------------------------------------------------------------------------------


def test_a_closed_pipe_is_no_error() -> None:
    for line in ("gpubp train --help | head -1", "gpubp doctor | head -1", "gpubp --help | true"):
        done = shell(f"set -o pipefail; {line}")
        assert done.stderr == "" and done.returncode in (0, 141), (line, done)


def test_a_training_with_a_closed_pipe_is_saved(dots: str) -> None:
    done = shell(f"gpubp train {dots} --epochs 20 --hidden 8 --device cpu 2>&1 | head -1")
    assert done.stdout.startswith("device   cpu") and done.stdout.count("\n") == 1
    assert bp.load("dots.safetensors", device="cpu").metadata["epochs"] == 20


def test_predictions_into_a_closed_pipe_end_silently() -> None:
    bp.Network(bp.Dense(2), input_shape=3, device="cpu").save("m.safetensors")
    np.save("rows.npy", np.zeros((300000, 3)))
    done = shell("set -o pipefail; gpubp predict m.safetensors rows.npy --device cpu --out - | head -1")
    assert (done.stdout, done.stderr, done.returncode) == ("row,prediction_0,prediction_1\n", "", 141)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a stream that is always full")
def test_a_full_disk_of_the_output_stream() -> None:
    done = shell("gpubp --help > /dev/full")
    assert done.returncode == 1 and "No space left on device" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str, dots: str) -> None:
    done = shell(f"gpubp train {dots} --epochs 1 --hidden 8 --device cpu {closed}")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done
    assert bp.load("dots.safetensors", device="cpu").output_shape == (10,)
    assert shell(f"gpubp --help {closed}").returncode == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"HOME": None, "TERM": None},
        {"TERM": "dumb", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    ],
    ids=str,
)
def test_a_bare_environment(changes: dict[str, str | None], dots: str) -> None:
    for arguments in (("train", "--help"), ("doctor",), ("train", dots, "--epochs=1", "--hidden=8", "--device=cpu")):
        done = process(*arguments, env=environment(**changes))
        assert done.returncode == 0 and "Traceback" not in done.stderr, done


# -- colour -----------------------------------------------------------------------------------------------------------

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize(
    ("arguments", "changes", "coloured"),
    [
        ((), {}, False),
        ((), {"FORCE_COLOR": "1"}, True),
        ((), {"FORCE_COLOR": ""}, False),
        (("--color=always",), {}, True),
        (("--color=always",), {"NO_COLOR": "1"}, True),
        (("--color=never",), {"FORCE_COLOR": "1"}, False),
        (("--color=auto",), {"FORCE_COLOR": "1"}, True),
    ],
    ids=str,
)
def test_colours_into_a_pipe(arguments: tuple[str, ...], changes: dict[str, str], coloured: bool) -> None:
    bare: dict[str, str | None] = {"NO_COLOR": None, "FORCE_COLOR": None, "TERM": "xterm"}
    wrong = process(*arguments, "train", "--nonsense", env=environment(**(bare | changes)))
    assert bool(COLOUR.search(wrong.stderr)) == coloured and wrong.returncode == 2, wrong


def test_colours_in_a_table() -> None:
    for words in ("--color always doctor", "doctor --color=always"):
        assert COLOUR.search(process(*words.split()).stdout)
    assert not COLOUR.search(process("doctor", "--color=never", env=environment(FORCE_COLOR="1")).stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_fits_80_columns(name: str) -> None:
    shown = CliRunner().invoke(app, ["help", name], env={"COLUMNS": "80"})
    asked = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80"})
    assert shown.exit_code == asked.exit_code == 0 and shown.output == asked.output
    assert max(map(len, shown.output.splitlines())) <= 80, shown.output
    assert re.search(rf"^  .*\bgpubp {name}", shown.output, re.M), f"gpubp help {name} shows no example"
    assert "More:" not in shown.output, f"say in gpubp.cli.command.HEADINGS where new options of {name} stand"


def test_the_general_help_fits_80_columns() -> None:
    shown = CliRunner().invoke(app, [], env={"COLUMNS": "80"}).output
    assert max(map(len, shown.splitlines())) <= 80 and "gpubp train digits" in shown


def test_misspelt_words_get_a_suggestion() -> None:
    for words, near in (
        (("trian",), "did you mean train?"),
        (("help", "evalute"), "did you mean evaluate?"),
        (("train", "--epoch=3"), "--epochs"),
    ):
        done = process(*words)
        assert done.returncode == 2 and near in done.stderr and done.stderr.count("\n") == 1, done
