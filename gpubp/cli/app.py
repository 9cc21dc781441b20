"""The group of commands, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from .. import __version__
from ..errors import GpubpError
from .compare import compare
from .doctor import doctor
from .evaluate import evaluate
from .find_lr import find_lr
from .inspect import inspect
from .predict import predict
from .profile import profile
from .screen import complain
from .train import train

__all__ = ["App", "app", "quiet_libraries"]

FAILED, MISTAKE, INTERRUPTED = 1, 2, 130  # 128 + SIGINT, as shells have it


class App(click.Group):
    """A group whose mistakes are one line on the error stream. A fault of gpubp's own keeps its traceback."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> None:
        """Run and end the process."""
        sys.exit(self._run(args, prog_name or "gpubp", extra))

    def _run(self, args: Sequence[str] | None, prog_name: str, extra: dict[str, Any]) -> int:
        try:
            code = super().main(args, prog_name, **(extra | {"standalone_mode": False}))
        except click.Abort:
            return complain("interrupted", INTERRUPTED)
        except click.UsageError as mistake:
            command = mistake.ctx.command_path if mistake.ctx else prog_name
            return complain(f"{mistake.format_message().rstrip('.')}. See {command} --help", mistake.exit_code)
        except click.ClickException as problem:
            return complain(problem.format_message(), problem.exit_code)
        except GpubpError as mistake:
            return complain(str(mistake), MISTAKE)
        except MemoryError as problem:
            text = f" ({problem})" if str(problem) else ""
            return complain(f"not enough memory{text}: try fewer --hidden units or a smaller --batch-size", FAILED)
        except OSError as problem:
            return complain(str(problem), FAILED)
        return code if isinstance(code, int) else 0


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
    gpubp train digits                             watch a network learn handwritten digits
    gpubp evaluate digits.safetensors digits       see which digits it takes for which
    gpubp predict digits.safetensors new.npz       use it
    gpubp compare                                  see whether two devices give the same numbers
    gpubp doctor                                   what works on this machine
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (train, predict, evaluate, inspect, find_lr, profile, compare, doctor):
    app.add_command(command)


def quiet_libraries() -> None:
    """What the library logs or warns of becomes a line of this program's, or nothing where a command says it better."""
    logging.getLogger("gpubp").addHandler(logging.NullHandler())
    warnings.showwarning = _one_line  # type: ignore[assignment]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without ½ gets a question mark, not a traceback


def _one_line(message: Warning | str, *rest: Any) -> None:
    complain(f"warning: {message}", 0)
