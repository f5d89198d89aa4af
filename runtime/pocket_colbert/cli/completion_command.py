"""The command that prints completion scripts for shells."""

from __future__ import annotations

import click

_PROGRAM = "pocket-colbert"
_VARIABLE = "_POCKET_COLBERT_COMPLETE"
"""The environment variable in which the shell asks click for completions."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that makes a shell complete commands.

    It completes commands, options, models and folders. Add one line to the shell's start file:

    \b
        ~/.bashrc                   eval "$(pocket-colbert completion bash)"
        ~/.zshrc                    eval "$(pocket-colbert completion zsh)"
        ~/.config/fish/config.fish  pocket-colbert completion fish | source

    bash must be 4.4 or newer; in zsh, put the line below the one that calls compinit.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    kind = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}[shell]
    click.echo(kind(context.find_root().command, {}, _PROGRAM, _VARIABLE).source())
