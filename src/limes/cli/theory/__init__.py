"""`limes theory ...`: one file per theory. A new one is a function in a file of its own, and its name in `COMMANDS`."""

import typer

from limes.cli.theory.dmft import dmft
from limes.cli.theory.features import features
from limes.cli.theory.phases import phases

COMMANDS = (dmft, features, phases)

theory = typer.Typer(
    name="theory",
    help="Solve a theory of the limit on given data, without training anything.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
for _command in COMMANDS:
    theory.command()(_command)


@theory.callback()
def _group() -> None:
    pass
