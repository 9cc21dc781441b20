"""Settings in a TOML file: `--config run.toml` reads them, `--save-config run.toml` writes those of this run.

A file has options by their long names, and for the positional arguments `dataset`, `model` and `file`:

    dataset = "digits"
    hidden = [256, 128]             # or "256,128", as one would type it
    epochs = 5
    batch-norm = true

What is typed goes before what stands in the file. A table named after a command, as `[train]`, is for this command
alone, so that one file may serve several. Each value is checked as if it had been typed, and paths are relative to the
folder one is in, as typed ones are.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from .. import __version__
from .names import COMMANDS

LONGEST = 1 << 20  # bytes of a file
TYPED_ONLY = ("config", "save-config", "resume", "color", "version", "help")
BY_RUN = ("checkpoint_dir", "checkpoint_every")  # of one run, and no other's


def config_options() -> list[click.Option]:
    """The options --config and --save-config."""

    def read(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
        if path is not None and not ctx.resilient_parsing:
            ctx.default_map = read_config(path, ctx)

    def save(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
        if path is not None and not ctx.resilient_parsing:
            from .files import check_output

            check_output(path, "--save-config", (".toml",))
            ctx.meta["gpubp.save-config"] = path

    return [
        click.Option(
            ["--config"],
            metavar="RUN.toml",
            is_eager=True,
            expose_value=False,
            callback=read,
            help="Take options from it; those typed here go before. Its paths are relative to the folder you are in.",
        ),
        click.Option(
            ["--save-config"],
            metavar="RUN.toml",
            expose_value=False,
            callback=save,
            help="Write the options of this run, to repeat it with --config.",
        ),
    ]


def key_of(parameter: click.Parameter) -> str:
    """The key of a parameter in the file: the long name of an option; `dataset` for the argument `data`.

    >>> key_of(click.Option(["--batch-size"])), key_of(click.Argument(["data"]))
    ('batch-size', 'dataset')
    """
    if isinstance(parameter, click.Argument):
        return "dataset" if parameter.name == "data" else str(parameter.name)
    return max(parameter.opts, key=len).lstrip("-")


def settings(command: click.Command, values: Mapping[str, Any]) -> Iterator[tuple[click.Parameter, Any]]:
    """The parameters that `values` set, as one types them: numbers, words, True for a flag, a list if it is multiple.

    >>> command = click.Command("c", params=[click.Option([name]) for name in ("--n", "--w", "--q")])
    >>> [(key_of(p), value) for p, value in settings(command, {"n": 3, "w": (4, 5), "q": None})]
    [('n', 3), ('w', '4,5')]
    """
    for parameter in command.params:
        value = values.get(str(parameter.name))
        if value is None or value is False or (_is_list(parameter) and not value):
            continue
        yield parameter, [_plain(one) for one in value] if _is_list(parameter) else _plain(value)


def _is_list(parameter: click.Parameter) -> bool:
    return parameter.multiple or parameter.nargs == -1


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return value if isinstance(value, bool | int | float) else str(value)


def save_config(path: str, command: click.Command, values: Mapping[str, Any]) -> None:
    """Write a file that repeats the run of these values."""
    from .writing import write_file

    lines = [
        f"# gpubp {__version__}: gpubp {command.name} --config {path}",
        "# Paths are relative to the folder you are in.",
    ]
    for parameter, value in settings(command, values):
        line = f"{key_of(parameter)} = {to_toml(value)}"
        lines.append(f"# {line}  # of that run alone" if parameter.name in BY_RUN else line)
    try:
        text = "".join(f"{line}\n" for line in lines).encode()
    except UnicodeEncodeError as problem:
        raise click.ClickException(f"--save-config {path}: {problem.object!r} can't be written as text") from problem
    write_file(path, text)


def to_toml(value: Any) -> str:
    """A number, a word, a truth or a list of them as TOML.

    >>> to_toml([1, 2.5e-7, True, 'a "b"'])
    '[1, 2.5e-07, true, "a \\\\"b\\\\""]'
    """
    if isinstance(value, list):
        return f"[{', '.join(map(to_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's strings are JSON's, but for DEL


def read_config(path: str, ctx: click.Context) -> dict[str, Any]:
    """Read and check the options of the command of `ctx`, by parameter. Raises UsageError for a wrong file."""
    command = ctx.command
    told = _load(path)
    flat = {key: value for key, value in told.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in told.items() if isinstance(value, dict)}
    for name in tables.keys() - COMMANDS:
        raise click.UsageError(f"{path}: [{name}] is no command of gpubp{_near(name, COMMANDS)}", ctx)
    keys = {key_of(p): p for p in command.params if key_of(p) not in TYPED_ONLY}
    found: dict[str, Any] = {}
    for part in (flat, tables.get(str(command.name), {})):
        given = [key.replace("_", "-") for key in part]
        for key, value in zip(given, part.values(), strict=True):
            if given.count(key) > 1:
                raise click.UsageError(f"{path}: {key} stands there twice, with - and with _", ctx)
            if key in TYPED_ONLY:
                raise click.UsageError(f"{path}: {key} is for the command line, and not for a file", ctx)
            if key not in keys:
                raise click.UsageError(f"{path}: gpubp {command.name} has no option {key!r}{_near(key, keys)}", ctx)
            parameter = keys[key]
            words = _words(value, parameter, f"{path}: {key}", ctx)
            try:
                parameter.type_cast_value(ctx, words)
            except click.BadParameter as problem:
                raise click.UsageError(f"{path}: {key}: {problem.message}", ctx) from problem
            if words is not None:
                found[str(parameter.name)] = words
    return found


def _load(path: str) -> dict[str, Any]:
    file = Path(path)
    if not file.is_file():
        what = "is a folder; name a file in it" if file.is_dir() else "is not there; --save-config writes such a file"
        raise click.UsageError(f"--config {path} {what}")
    try:
        with open(file, "rb") as source:
            text = source.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise click.UsageError(f"--config {path} is too large for a file of settings")
        return tomllib.loads(text.decode())
    except OSError as problem:
        raise click.UsageError(f"--config {path} can't be read ({problem.strerror})") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as problem:
        message = re.sub(r"\s+", " ", str(problem))
        raise click.UsageError(
            f"--config {path} is not TOML, which has lines such as epochs = 5: {message}"
        ) from problem


def _words(value: Any, parameter: click.Parameter, where: str, ctx: click.Context) -> Any:
    """A value of the file, as one types it on the command line."""
    flag = isinstance(parameter, click.Option) and parameter.is_flag
    if flag:
        if not isinstance(value, bool):
            raise click.UsageError(f"{where} is true or false, and not {value!r}", ctx)
        return value
    if isinstance(value, bool):
        alone = getattr(parameter, "flag_value", None)
        if not isinstance(alone, str):
            raise click.UsageError(f"{where} takes a value, and not {str(value).lower()}", ctx)
        return alone if value else None
    many = value if isinstance(value, list) else [value]
    for one in many:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise click.UsageError(f"{where} is a word, a number or a list of them, and not {one!r}", ctx)
    words = [repr(one) if isinstance(one, float) else str(one) for one in many]
    return words if _is_list(parameter) else ",".join(words) or "none"


def _near(word: str, words: Any) -> str:
    near = get_close_matches(word, list(words), 1)
    return f" (did you mean {near[0]}?)" if near else f"; there are {', '.join(words)}" if len(words) < 10 else ""
