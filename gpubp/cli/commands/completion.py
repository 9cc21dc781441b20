"""`gpubp completion`: the script by which a shell completes commands, options, data sets and files."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from ..command import Command


@click.command(cls=Command, json=False)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes commands, options, choices, data sets and files at a press of Tab.

    \b
    bash:  echo 'eval "$(gpubp completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(gpubp completion zsh)"' >> ~/.zshrc
    fish:  gpubp completion fish > ~/.config/fish/completions/gpubp.fish

    Then open a new shell, or do it once for this one:

    \b
    gpubp completion bash > gpubp.bash && source gpubp.bash
    """
    root = click.get_current_context().find_root()
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(root.command, {}, "gpubp", "_GPUBP_COMPLETE")
    click.echo(ShellComplete.source(script))  # and not bash's own, which first runs a bash to ask for its version
