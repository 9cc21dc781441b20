"""`gpubp help`: the same as --help."""

from __future__ import annotations

import click

from ..arguments import Place
from ..command import Command
from ..names import COMMANDS


@click.command(cls=Command, json=False)
@click.argument("command", type=Place(words=COMMANDS), required=False)
@click.pass_context
def help(ctx: click.Context, command: str | None) -> None:
    """Show what COMMAND does and takes; without one, which commands there are.

    \b
    gpubp help
    gpubp help train
    """
    above = ctx.parent
    assert above is not None
    if command is None:
        click.echo(above.get_help())
        return
    group = above.command
    assert isinstance(group, click.Group)
    _, found, _ = group.resolve_command(above, [command])
    if found is None:
        raise click.UsageError(f"No such command {command!r}", above)
    with click.Context(found, info_name=command, parent=above) as inner:
        click.echo(found.get_help(inner))
