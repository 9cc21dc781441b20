"""Runs of the command line for tests: in this process, in a process of its own, or on a terminal of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from gpubp.cli.app import app

pytest.importorskip("sklearn")

CPU = ("--device", "cpu")
SMALL = ("--hidden", "8", "--epochs", "3", *CPU)


def run(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def process(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gpubp", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, **options)  # type: ignore[call-overload]


def accuracy_in(text: str) -> float:
    found = re.search(r"accuracy (\d\.\d+)", text)
    assert found, text
    return float(found[1])


def on_a_terminal(*arguments: object, **variables: str) -> str:
    """What a terminal of 80 columns shows of the command."""
    import fcntl
    import pty
    import struct
    import termios

    above, below = pty.openpty()
    fcntl.ioctl(below, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color"} | variables
    command = [sys.executable, "-m", "gpubp", *map(str, arguments)]
    with subprocess.Popen(command, stdin=below, stdout=below, stderr=below, env=environment) as running:
        os.close(below)
        seen = b""
        while True:
            try:
                part = os.read(above, 65536)
            except OSError:  # how Linux says that nobody is left at the other end
                break
            if not part:
                break
            seen += part
        running.wait(timeout=300)
    os.close(above)
    assert running.returncode == 0, seen
    return seen.decode()
