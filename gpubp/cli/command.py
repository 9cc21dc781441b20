"""The class of all commands: common options, and help under headings.

`HEADINGS` is the order in which a newcomer can read the options; an option finds its place there by its long name.
"""

from __future__ import annotations

from typing import Any

import click

from . import together
from .arguments import PLACES
from .config_file import config_options, key_of, save_config
from .console import COLOURS, colour, colour_by_environment, fact
from .json_output import json_option, put_documents, with_value

HEADINGS = {
    "Data": ("data", "validation-fraction", "validation", "memory", "all"),
    "Of a table": (
        *("target", "categorical", "numeric", "text", "drop", "decimal", "thousands", "dates", "missing"),
        *("encoding", "no-header", "test", "test-fraction", "as-number", "as-text", "prepared"),
    ),
    "Of sounds": ("rate", "seconds"),
    "Of an explanation": ("example", "row", "of", "draw-steps", "written", "evaluation", "blanks"),
    "Network": ("model", "hidden", "activation", "dropout", "batch-norm", "augment", "from", "freeze"),
    "Training": (
        *("loss", "label-smoothing", "quantile", "optimizer", "lr", "schedule", "warmup", "epochs", "early-stopping"),
        *("batch-size", "seed", "l2", "l1", "class-weight", "clip-norm", "on-nonfinite", "ensemble"),
    ),
    "Search": ("trials", "timeout", "metric", "parallel", "study"),
    "Machine": ("device", "dtype", "precision", "autotune", "exact", "shards", "workers", "backends", "steps"),
    "Processes": ("processes", "bandwidth", "latency"),
    "Results": (
        *("check", "raw", "float32", "name", "naming", "time", "out", "id", "probabilities", "interval", "why"),
        *("report", "plot", "log", "confusion", "misclassified", "boundary", "histograms", "json"),
    ),
    "To go on after a crash": ("checkpoint-dir", "checkpoint-every", "resume"),
    "Settings in a file": ("config", "save-config"),
    "Of every command": ("color", "version", "help"),
}
BESIDE = ("color", "save_config", "json", "workers")  # what a run does not depend on
FEW = 6  # options of a command's own, that need no headings
LEFT = 27  # characters of the column of names


class Command(click.Command):
    """A command with the options that all commands have; its help lists options under headings.

    config: whether it takes settings from a file. json: whether it has results for machines. Options that are not in
    `HEADINGS` come under "More".
    """

    def __init__(self, *arguments: Any, config: bool = False, json: bool = True, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params += [*([json_option()] if json else []), *(config_options() if config else []), colour_option()]
        for parameter in self.params:
            if parameter.type is click.STRING:
                parameter.type = PLACES.get(key_of(parameter), click.STRING)
            elif isinstance(parameter.type, click.IntRange):
                parameter.type.name = "whole number"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; a UsageError names this command."""
        tables = any(parameter.name == "no_header" for parameter in self.params)
        try:
            return super().parse_args(ctx, with_value(args, tables))
        except click.UsageError as mistake:
            mistake.ctx = mistake.ctx or ctx
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, then write the config and the JSON document if they were asked for."""
        code = super().invoke(ctx)
        if not together.goes_on_alone():
            return code
        if path := ctx.meta.get("gpubp.save-config"):
            save_config(path, self, ctx.params)
            fact("settings", path)
        put_documents(ctx)
        return code

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        options = {key_of(p): p for p in self.get_params(ctx) if isinstance(p, click.Option) and not p.hidden}
        placed = {heading: [n for n in names if n in options] for heading, names in HEADINGS.items()}
        *_, common = placed
        placed["More"] = [n for n in options if n not in sum(placed.values(), [])]
        if len(options) - len(placed[common]) <= FEW:
            placed = {"Options": [n for names in placed.values() for n in names]}
        else:
            placed[common] = placed.pop(common)  # last
        rows = {heading: [_row(options[n], ctx) for n in names] for heading, names in placed.items() if names}
        widest = min(max(len(left) for group in rows.values() for left, _ in group), LEFT)
        for heading, group in rows.items():
            with formatter.section(heading):
                formatter.write_dl([(left.ljust(widest), right) for left, right in group], col_max=LEFT)


def colour_option() -> click.Option:
    """The option --color, which holds for what is printed after it is parsed."""

    def set_colour(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.color = {"always": True, "never": False, "auto": colour_by_environment()}[value]
            colour(ctx.color)

    return click.Option(
        ["--color"],
        type=click.Choice(COLOURS),
        is_eager=True,
        expose_value=False,
        callback=set_colour,
        help="Default: auto, on a terminal only.",
    )


def _row(option: click.Option, ctx: click.Context) -> tuple[str, str]:
    """The two columns of an option in the help: how it is typed, and what it does."""
    names = ", ".join(sorted(option.opts, key=len))
    words = option.type.choices if isinstance(option.type, click.Choice) else ()
    told = [option.help or ""]
    if option.is_flag:
        kind = ""
    elif option.metavar:
        kind = f" {option.metavar}"
    elif words:
        kind = f" {'|'.join(words)}"
        if len(names + kind) > LEFT:
            kind = " NAME"
            told.append(f"One of {', '.join(words)}.")
    else:
        kind = " N" if isinstance(option.type, click.IntRange) else " TEXT"
    if option.show_default and option.default is not None:
        told.append(f" [default: {option.default}]")
    return names + kind, " ".join(filter(None, told))
