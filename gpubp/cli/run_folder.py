"""The folder of a run: checkpoints, and run.json with the arguments of the run.

`gpubp train --resume FOLDER` reads the command as if it were typed again, with every path made absolute, and goes on.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..atomic import write_parts
from ..errors import ModelFileError
from ..training.snapshot import checkpoints_in
from .config_file import settings
from .writing import FULL, failure

LONGEST = 1 << 20  # bytes of a run.json


@dataclass
class Run:
    """A run in `folder`: the arguments of `gpubp train` that began it, and whether it is finished.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> Run(folder, ["digits", "--epochs", "3"]).write()
    >>> Run.read(folder).arguments
    ['digits', '--epochs', '3']
    """

    folder: str
    arguments: list[str]
    finished: bool = False

    def begin(self) -> None:
        """Make the folder of a new run. Raises UsageError if it holds a run already or can't be written to."""
        folder, path = self.folder, Path(self.folder)
        if (path / "run.json").exists() or checkpoints_in(path):
            raise click.UsageError(
                f"--checkpoint-dir {folder} holds a training: gpubp train --resume {shlex.quote(folder)} goes on with "
                "it; for a new one, name another folder"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            self.write()
        except OSError as problem:
            if problem.errno in FULL:
                raise failure(path / "run.json", problem) from problem
            raise click.UsageError(f"--checkpoint-dir {folder} can't be written to ({problem.strerror})") from problem

    @classmethod
    def read(cls, folder: str) -> Run:
        """Read the run in `folder`. Raises ModelFileError if there is none, or if it can't be read."""
        path = Path(folder) / "run.json"
        if not path.is_file():
            raise ModelFileError(f"there is no run in {folder}; gpubp train ... --checkpoint-dir {folder} begins one")
        try:
            with open(path, "rb") as file:
                told = json.loads(file.read(LONGEST))
            arguments, finished = told["arguments"], told["finished"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
            raise ModelFileError(f"{path} can't be read as the description of a run ({problem})") from problem
        if not (isinstance(arguments, list) and all(isinstance(a, str) for a in arguments)):
            raise ModelFileError(f"{path} does not hold the arguments of a run")
        return cls(folder, arguments, finished is True)

    def write(self) -> None:
        """Write run.json. Raises OSError if that fails."""
        told = {"gpubp": __version__, "arguments": self.arguments, "finished": self.finished}
        write_parts(Path(self.folder) / "run.json", [json.dumps(told, indent=1, ensure_ascii=False).encode()])

    def resume_command(self) -> str:
        """The command that resumes the run."""
        return f"gpubp train --resume {shlex.quote(self.folder)}"


def arguments_of(command: click.Command, values: dict[str, Any], paths: tuple[str, ...]) -> list[str]:
    """The command-line arguments of `values`. paths: names of parameters that are files or folders.

    >>> import click
    >>> command = click.Command("c", params=[click.Option(["--n"], type=int), click.Option(["--quick"], is_flag=True)])
    >>> arguments_of(command, {"n": 3, "quick": True}, ())
    ['--n=3', '--quick']
    """
    arguments: list[str] = []
    for parameter, value in settings(command, values):
        if parameter.name in paths:
            value = [_absolute(one) for one in value] if parameter.multiple else _absolute(value)
        if isinstance(parameter, click.Argument):
            arguments.append(str(value))
        elif value is True:
            arguments.append(parameter.opts[-1])
        else:
            each = value if parameter.multiple else [value]
            arguments += [f"{parameter.opts[0]}={repr(one) if isinstance(one, float) else one}" for one in each]
    return arguments


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


class Every(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    """An interval: "100" is {"every_steps": 100}, "5m" is {"every_minutes": 5.0}.

    >>> Every().convert("100", None, None), str(Every().convert("2.5m", None, None))
    ({'every_steps': 100}, '2.5m')
    """

    name = "every"

    class Pace(dict[str, Any]):
        """The arguments of `Checkpoint`; as a text, what was typed."""

        def __str__(self) -> str:
            return str(self["every_steps"]) if "every_steps" in self else f"{self['every_minutes']:g}m"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """The arguments of `Checkpoint`."""
        if isinstance(value, dict):
            return value
        text = str(value)
        try:
            number = float(text[:-1]) if text.endswith("m") else int(text)
        except ValueError:
            number = 0
        if not 0 < number < 1e9:
            self.fail(f"{text!r} is no number of steps, such as 100, or of minutes, such as 5m", param, ctx)
        return self.Pace(every_minutes=number) if text.endswith("m") else self.Pace(every_steps=number)
