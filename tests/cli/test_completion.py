"""`gpubp completion`: the script in a real bash, by words and at the keyboard, and in zsh and fish if installed; what
is offered to the script."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from command_line import run

from gpubp.cli.app import app
from gpubp.cli.arguments import complete
from gpubp.cli.names import COMMANDS

ROOT = Path(__file__).parents[2]
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="there is no bash here")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with files of every kind, `gpubp` on the path, and the script in gpubp.bash."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "gpubp"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m gpubp "$@"\n')
    program.chmod(0o755)
    work = tmp_path / "work"
    (work / "deep").mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    np.savez("dots.npz", X=np.eye(2))
    Path("deep/rooms.csv").write_text("area, town,tax (%),price\n1,x,2,3\n")
    for name in (
        "digits.safetensors",
        "deep/old.safetensors",
        "page.html",
        "notes.log",
        "run.toml",
        "dim.csv",
        "with space.npz",
    ):
        Path(name).write_text("")
    Path(tmp_path / "gpubp.bash").write_text(run("completion", "bash").stdout)


def completed(line: str) -> list[str]:
    """What bash offers for the last word of a line, or the way in which it is to look itself."""
    words = line.split(" ")
    script = (
        'compopt() { echo "shell: $2"; }; source ../gpubp.bash; '
        f"COMP_WORDS=({' '.join(repr(w) for w in words)}); COMP_CWORD={len(words) - 1}; "
        '_gpubp_completion gpubp; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run([str(BASH), "--norc", "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout.split()


def offered_here(line: str) -> list[str]:
    """The same, computed in this process: what gpubp answers to the script, put together as the script does."""
    place = {"_GPUBP_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = CliRunner().invoke(app, [], env=place, prog_name="gpubp")
    assert done.exit_code == 0 and not done.stderr, done
    items = [said.partition(",") for said in done.stdout.splitlines()]
    looks = {"dir": ["shell:", "dirnames"], "file": ["shell:", "default"]}
    return [word for kind, _, value in items for word in looks.get(kind, [value])]


IN_BASH = [
    ("gpubp ", COMMANDS),
    ("gpubp train d", ["digits", "dim.csv", "dots.npz", "deep/"]),
    ("gpubp train --resume ", ["shell:", "dirnames"]),
    ("gpubp inspect deep", ["shell:", "default"]),  # a folder alone: bash puts the slash, and no space
    ("gpubp train deep/rooms.csv --drop area,t", ["area,town"]),
]


@pytest.mark.parametrize(("line", "offered"), IN_BASH)
def test_completions_of_bash(line: str, offered: list[str]) -> None:
    assert sorted(completed(line)) == sorted(offered) == sorted(offered_here(line))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("gpubp tr", ["train"]),
        ("gpubp help in", ["inspect"]),
        ("gpubp completion ", ["bash", "zsh", "fish"]),
        ("gpubp train di", ["digits", "dim.csv"]),
        ("gpubp train digits --activation s", ["selu", "silu", "softplus", "softsign", "sigmoid"]),
        ("gpubp train --device c", ["cpu", "cuda", "cuda:0"]),
        ("gpubp train --epo", ["--epochs"]),
        ("gpubp train digits --from d", ["digits.safetensors", "deep/"]),
        ("gpubp train digits --from deep/", ["deep/old.safetensors"]),
        ("gpubp train --config ", ["run.toml", "deep/"]),
        ("gpubp train --data ", ["shell:", "dirnames"]),
        ("gpubp predict di", ["digits.safetensors"]),
        ("gpubp evaluate digits.safetensors mni", ["mnist"]),
        ("gpubp export di", ["digits.safetensors"]),
        ("gpubp export digits.safetensors o.onnx --check deep/ro", ["deep/rooms.csv"]),
        ("gpubp export digits.safetensors o.onnx --check deep/rooms.csv --as-number area,t", ["area,town"]),
        ("gpubp explain di", ["digits.safetensors"]),
        ("gpubp explain digits.safetensors mni", ["mnist"]),
        ("gpubp explain --example ", ["neuron", "chain", "xor", "conv"]),
        ("gpubp explain --example xor --blan", ["--blanks"]),
        ("gpubp explain --example xor --out ", ["page.html", "deep/"]),
        ("gpubp train wi", ["shell:", "default"]),  # a name that bash has to quote
        ("gpubp train nothing", ["shell:", "default"]),
    ],
)  # fmt: skip
def test_what_is_offered(line: str, offered: list[str]) -> None:
    assert sorted(offered_here(line)) == sorted(offered)


def test_completion_at_the_keyboard() -> None:
    """A bash on a terminal of its own: Tab after a part of a word gives the whole."""
    import pty

    above, below = pty.openpty()
    shell = [str(BASH), "--norc", "--noprofile", "-i"]
    environment = os.environ | {"PS1": "$ ", "TERM": "dumb", "INPUTRC": "/dev/null"}
    it = subprocess.Popen(shell, stdin=below, stdout=below, stderr=below, env=environment, start_new_session=True)
    os.close(below)
    try:
        os.write(above, b"bind 'set enable-bracketed-paste off'; source ../gpubp.bash; echo ready$((1+1))\n")
        wait_for(above, r"ready2")
        os.write(above, b"gpubp insp\t")
        wait_for(above, r"gpubp inspect $")
        os.write(above, b"digits.sa\t")
        wait_for(above, r"digits\.safetensors $")
    finally:
        it.kill()
        it.wait(timeout=30)
        os.close(above)


def wait_for(terminal: int, pattern: str) -> None:
    """Read what the terminal shows until it is this."""
    seen, end = "", time.monotonic() + 300
    while not re.search(pattern, seen):
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"waited for {pattern!r} and saw {seen!r}"
        seen += os.read(terminal, 4096).decode()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_valid_for_their_shells(shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0 and "_GPUBP_COMPLETE" in done.stdout and "gpubp" in done.stdout
    if shutil.which(shell):
        Path("script").write_text(done.stdout)
        check = subprocess.run([shell, "-n", "script"], capture_output=True, text=True)
        assert check.returncode == 0, check.stderr


def test_folders_that_cannot_be_read_offer_nothing() -> None:
    assert [item.type for item in complete("nowhere/x", (), (".npz",))] == ["file"]
    assert [item.value for item in complete("./do", (), (".npz",))] == ["./dots.npz"]
