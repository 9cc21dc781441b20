"""The command group `gpubp`; errors become one line on the error stream and an exit code."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from .. import __version__
from ..errors import CommunicationError, GpubpError
from . import together
from .command import colour_option
from .console import colour, colour_by_environment, divert, print_error
from .names import COMMANDS, SECTIONS
from .process import FAILED, INTERRUPTED

MISTAKE = 2
UNREAD = 141  # 128 + SIGPIPE


class App(click.Group):
    """A group of commands. An error of the user is printed as one line; any other error keeps its traceback."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> None:
        """Run and end the process."""
        sys.exit(self.run(args, prog_name or "gpubp", **extra))

    def run(self, args: Sequence[str] | None, prog_name: str, **extra: Any) -> int:
        """Run, and return the exit code."""
        with together.streams():
            return together.ended(self._run(args, prog_name, **extra))

    def _run(self, args: Sequence[str] | None, prog_name: str, **extra: Any) -> int | together.Failure:
        """The exit code, or what is to be said of an error."""
        code: object
        streams = sys.stdout, sys.stderr
        colour(colour_by_environment())
        divert(False)
        try:
            extra = {"color": colour_by_environment()} | extra | {"standalone_mode": False}
            code = super().main(args, prog_name, **extra)
        except SystemExit as end:
            if (sys.stdout, sys.stderr) == streams:
                if together.count() == 1:
                    raise
                return end.code if isinstance(end.code, int) else FAILED
            sys.stdout, sys.stderr = streams  # in whose place click puts its own where a pipe's reader has gone
            return UNREAD
        except click.Abort:
            return together.Failure("interrupted", INTERRUPTED)
        except click.UsageError as mistake:
            command = mistake.ctx.command_path if mistake.ctx else prog_name
            told = mistake.format_message().rstrip(".")
            told += "" if told.endswith("?") else "."
            return together.Failure(f"{told} See {command} --help", mistake.exit_code)
        except click.ClickException as problem:
            return together.Failure(problem.format_message(), problem.exit_code)
        except CommunicationError as problem:
            return together.Failure(str(problem), FAILED, communication=True)
        except GpubpError as mistake:
            return together.Failure(str(mistake), MISTAKE)
        except MemoryError as problem:
            text = f" ({problem})" if str(problem) else ""
            told = f"not enough memory{text}: try fewer --hidden units or a smaller --batch-size"
            return together.Failure(told, FAILED)
        except OSError as problem:
            if hasattr(problem, "size") and problem.filename is not None:
                from .writing import why_not

                return together.Failure(why_not(problem.filename, problem), FAILED)
            where = f"{problem.filename}: " if problem.filename is not None else ""
            return together.Failure(f"{where}{problem.strerror or problem}", FAILED)
        return code if isinstance(code, int) else 0

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of the help."""
        return COMMANDS

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command, imported from the file of its name; None for an unknown name."""
        if name not in COMMANDS:
            return None
        file = name.replace("-", "_")
        command = getattr(import_module(f"{__package__}.commands.{file}"), file)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. A UsageError for an unknown name suggests the nearest one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            near = get_close_matches(name, COMMANDS, 1)
            raise click.UsageError(f"No such command {name!r}{f' (did you mean {near[0]}?)' if near else ''}", ctx)
        if name in COMMANDS and not ctx.resilient_parsing:
            together.begin(name, args[1:])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, without importing them."""
        longest = max(map(len, COMMANDS))
        for heading, commands in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(longest), text) for name, text in commands.items()])


@click.group(
    name="gpubp",
    cls=App,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="gpubp", message="%(prog)s %(version)s")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Train neural networks by backpropagation that one can read, on a CPU or a CUDA GPU.

    \b
    gpubp train digits                         watch a network learn digits
    gpubp evaluate digits.safetensors digits   see which it takes for which
    gpubp predict digits.safetensors new.npz   use it
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


app.params.append(colour_option())


def quiet_libraries() -> None:
    """Print warnings of the library as one line, and drop its log records, which commands report in their own words."""
    logging.getLogger("gpubp").addHandler(logging.NullHandler())
    warnings.showwarning = _one_line  # type: ignore[assignment]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without ½ gets a question mark, not a traceback


def _one_line(message: Warning | str, *rest: Any) -> None:
    print_error(f"warning: {message}", 0)
