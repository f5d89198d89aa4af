"""The command that teaches a shell to complete this program: `completion`."""

from __future__ import annotations

import click

_PROGRAM = "pocket-colbert"
_VARIABLE = "_POCKET_COLBERT_COMPLETE"
"""What click looks for in the environment when the shell asks."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes commands, options and models.

    Add one line to the shell's start file:

    \b
        ~/.bashrc                   eval "$(pocket-colbert completion bash)"
        ~/.zshrc                    eval "$(pocket-colbert completion zsh)"
        ~/.config/fish/config.fish  pocket-colbert completion fish | source

    bash must be 4.4 or newer; in zsh, the line goes below the one that calls compinit.
    """  # noqa: D301 - click's mark for lines that are not to be wrapped
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    kind = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}[shell]
    click.echo(kind(context.find_root().command, {}, _PROGRAM, _VARIABLE).source())
