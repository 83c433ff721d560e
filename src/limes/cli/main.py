"""The `limes` command: collects the subcommands, and turns every expected error into one sentence and an exit code.

Exit codes: 0 ok, 1 some runs failed or are unfinished, 2 usage or spec, 3 store.
"""

import os
import sys

import typer

from limes.cli.abc import abc
from limes.cli.check import check
from limes.cli.compare import compare
from limes.cli.consistency import consistency
from limes.cli.doctor import doctor
from limes.cli.edge import edge
from limes.cli.export import export
from limes.cli.failures import failures
from limes.cli.fit import fit
from limes.cli.gallery import gallery
from limes.cli.init import init
from limes.cli.inspect import inspect
from limes.cli.plan import plan
from limes.cli.rank import rank
from limes.cli.report import report
from limes.cli.show import show
from limes.cli.spectrum import spectrum
from limes.cli.status import status
from limes.cli.sweep import sweep
from limes.cli.theory import theory
from limes.cli.transfer import transfer
from limes.core.errors import LimesError

app = typer.Typer(
    name="limes",
    help="Scaling neural networks: prescribe the settings of a bigger model, predict its loss, verify both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        from limes import __version__

        typer.echo(f"limes {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


for command in (
    transfer,
    compare,
    consistency,
    sweep,
    status,
    report,
    rank,
    plan,
    check,
    abc,
    show,
    fit,
    init,
    inspect,
    edge,
    failures,
    spectrum,
    gallery,
    export,
    doctor,
):
    app.command()(command)
app.add_typer(theory)


def run() -> None:
    """Entry point of the console script."""
    # Before torch is imported: two spinning threads per process are far slower than one on a busy machine.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        app()
    except LimesError as error:
        print(f"limes: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("limes: stopped; what had finished is recorded, the same command goes on from there", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output left (`| head`): nothing to complain about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
