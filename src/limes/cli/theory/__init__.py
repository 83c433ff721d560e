"""`limes theory ...`: one file per theory. A new one is a function in a file of its own, and its name in `COMMANDS`."""

import typer

from limes.cli.theory.balanced_linear import balanced_linear
from limes.cli.theory.circle import circle
from limes.cli.theory.dmft import dmft
from limes.cli.theory.feature_learning import feature_learning
from limes.cli.theory.features import features
from limes.cli.theory.gaussian_mixture import gaussian_mixture
from limes.cli.theory.laws import laws
from limes.cli.theory.linear_attention import linear_attention
from limes.cli.theory.phases import phases
from limes.cli.theory.quadratic_network import quadratic_network
from limes.cli.theory.ridge import ridge
from limes.cli.theory.statics import statics

COMMANDS = (
    dmft,
    features,
    feature_learning,
    circle,
    ridge,
    phases,
    laws,
    linear_attention,
    gaussian_mixture,
    quadratic_network,
    balanced_linear,
    statics,
)

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
