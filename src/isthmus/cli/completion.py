"""``isthmus completion``: the script that lets a shell complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL.

    For bash: isthmus completion bash > /etc/bash_completion.d/isthmus
    """
    from isthmus.cli.commands import group

    found = get_completion_class(shell)
    assert found is not None, "click knows the three shells"
    click.echo(found(group, {}, "isthmus", "_ISTHMUS_COMPLETE").source())
