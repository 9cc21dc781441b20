"""Results as JSON: `--json` prints one document on the output stream, `--json FILE.json` writes it.

The document begins with `gpubp`, the version, and `command`; the fields of each command are in docs/command-line.md.
What is no finite number is null. All that people read goes to the error stream. A mistake or a failure gives no
document but, as ever, a line on the error stream and an exit code that is not 0: as git, gh and docker have it, so
that one looks at the exit code first.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..endings import COMPRESSED, ENDINGS, SOUNDS
from .arguments import ARRAYS, EXPORTED
from .console import divert, fact, line

if TYPE_CHECKING:
    from ..network.network import Network
    from .task import Task

HERE = "-"  # the output stream
TOLD = "gpubp.told"
WHERE = "gpubp.json"


def json_option() -> click.Option:
    """The option --json."""

    def divert_results(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is None or ctx.resilient_parsing:
            return
        if value == HERE:
            divert(True)
        else:
            from .files import check_output

            check_output(value, "--json", (".json",), not_over=[v for v in ctx.params.values() if isinstance(v, str)])
        ctx.meta[WHERE] = value

    return click.Option(
        ["--json"],
        is_flag=False,
        flag_value=HERE,
        metavar="[FILE.json]",
        expose_value=False,
        callback=divert_results,
        help="Print the results as JSON and nothing else, or write them into a file.",
    )


def with_value(arguments: list[str], tables: bool) -> list[str]:
    """Give --json the value "-" where the next word can't be its file: a word without an ending, data, or a model.

    tables: whether tables are data of the command.

    >>> with_value(["--json", "digits"], True), with_value(["digits", "--json", "found.json"], True)
    (['--json=-', 'digits'], ['digits', '--json', 'found.json'])
    >>> with_value(["--json", "a.txt"], True), with_value(["--json", "a.txt"], False)
    (['--json=-', 'a.txt'], ['--json', 'a.txt'])
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    data = ("", ".safetensors", *EXPORTED, *ARRAYS, *SOUNDS, *((*COMPRESSED, *ENDINGS) if tables else ()))
    return [
        f"--json={HERE}"
        if word == "--json" and i < end and Path("".join(arguments[i + 1 : i + 2])).suffix.lower() in data
        else word
        for i, word in enumerate(arguments)
    ]


def add_fields(**fields: Any) -> None:
    """Put fields into the document of the command that runs."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta.setdefault(TOLD, {}).update(fields)


def json_wanted() -> bool:
    """Whether the document goes to the output stream."""
    context = click.get_current_context(silent=True)
    return context is not None and context.meta.get(WHERE) == HERE


def about(network: Network, task: Task | None) -> dict[str, Any]:
    """The fields that say what a network is and what it predicts."""
    return {
        "task": None if task is None else task.kind,
        "outputs": network.output_shape[-1],
        "classes": None if task is None else task.known,
        "loss": None if task is None else repr(task.loss),
        "network": repr(network.layers),
        "parameters": sum(a.size for a in network.parameters.values()),
        "device": network.device,
        "dtype": str(network.dtype),
        "numerics": network.backend.numerics,
    }


def put_documents(ctx: click.Context) -> None:
    """Print or write the document if --json was given."""
    where = ctx.meta.get(WHERE)
    if where is None:
        return
    told = {"gpubp": __version__, "command": ctx.command.name, **ctx.meta.get(TOLD, {})}
    if where == HERE:
        divert(False)
        line(document(told, indent=1 if sys.stdout is not None and sys.stdout.isatty() else None))
        return
    from .writing import write_file

    write_file(where, f"{document(told, indent=1)}\n".encode())
    fact("json", where)


def document(told: dict[str, Any], indent: int | None = None) -> str:
    """The document as strict JSON, in which a number that is not finite is null.

    >>> document({"loss": [0.5, float("nan")], "shape": (2, 3)})
    '{"loss": [0.5, null], "shape": [2, 3]}'
    """
    return json.dumps(_plain(told), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # of NumPy
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)
