"""For shells and readers: completion, and the manual page."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_PACELINE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes a SHELL complete commands, options, ids and names.

    \b
    bash   paceline completion bash > ~/.local/share/bash-completion/completions/paceline
    zsh    paceline completion zsh > "${fpath[1]}/_paceline"
    fish   paceline completion fish > ~/.config/fish/completions/paceline.fish
    """  # noqa: D301 - click's sign for lines that stay as they are
    from paceline.cli.main import cli  # noqa: PLC0415 - it names this module

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(cli, {}, "paceline", VARIABLE)
    # `source()` of bash asks which version is installed here; the script does not depend on it.
    click.echo(script.source_template % script.source_vars())


@click.command()
def man() -> None:
    """Print the manual page, paceline(1), in the language of `man`.

    \b
    paceline man > ~/.local/share/man/man1/paceline.1
    """  # noqa: D301
    from paceline.cli.main import cli  # noqa: PLC0415
    from paceline.cli.manual import manual  # noqa: PLC0415 - only this command needs it

    click.echo(manual(cli), nl=False)
