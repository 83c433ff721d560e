"""`limes show`: the members of each family, with their sources."""

from importlib import import_module
from typing import Annotated, get_args

import typer

from limes.core.errors import SpecError

FAMILIES = (
    "parametrizations",
    "optimizers",
    "models",
    "data",
    "laws",
    "solvers",
    "initialization",
    "statics",
    "scaling",
    "solvable",
    "kernels",
    "diagnostics",
    "studies",
)

# Families of theories: module and table. Their members say what they cover; imported only when asked for.
THEORIES = {
    "solvers": ("limes.theory.dynamics", "SOLVERS"),
    "initialization": ("limes.theory.initialization", "INITIALIZATION_MODELS"),
    "scaling": ("limes.theory.scaling", "SCALING_MODELS"),
    "solvable": ("limes.theory.solvable", "SOLVABLE_MODELS"),
    "statics": ("limes.theory.statics", "STATICS"),
}


def show(
    family: Annotated[str | None, typer.Argument(help=f"One of {', '.join(FAMILIES)}; all if left out.")] = None,
) -> None:
    """List what there is: parametrizations, optimizers, models, data sources, laws, solvers, diagnostics, studies."""
    if family is not None and family not in FAMILIES:
        raise SpecError(f"show {family!r}: expected one of {', '.join(FAMILIES)}")
    for name in (family,) if family else FAMILIES:
        typer.echo(f"{name}")
        for member, text in _members(name):
            typer.echo(f"  {member:22s} {text}")


def _members(family: str) -> list[tuple[str, str]]:
    if family == "parametrizations":
        from limes.parametrize import PARAMETRIZATIONS

        return [(name, f"{member.summary} [{member.source}]") for name, member in PARAMETRIZATIONS.items()]
    if family == "optimizers":
        from limes.optim import OPTIMIZERS
        from limes.spec.training import OptimizerSpec

        studied = get_args(OptimizerSpec.model_fields["name"].annotation)
        return [
            (name, f"[{member.source}]" + ("" if name in studied else "; in plans, not in studies"))
            for name, member in OPTIMIZERS.items()
        ]
    if family == "models":
        from limes.models import MODELS

        return [(name, _first_line(member)) for name, member in MODELS.items()]
    if family == "data":
        from limes.data import SOURCES

        return [(name, _first_line(member)) for name, member in SOURCES.items()]
    if family == "laws":
        from limes.laws import LAWS

        return [(name, f"{law.formula} [{law.source}]") for name, law in LAWS.items()]
    if family in THEORIES:
        module, table = THEORIES[family]
        members = getattr(import_module(module), table)
        return [(name, f"{member.scope} [{member.source}]") for name, member in members.items()]
    if family == "kernels":
        from limes.theory.kernels import KERNELS

        return [(name, _first_line(member)) for name, member in KERNELS.items()]
    if family == "diagnostics":
        from limes.measure import DIAGNOSTICS

        return [(name, _first_line(member)) for name, member in DIAGNOSTICS.items()]
    from limes.cli.options import builtin_folder

    return [
        (path.stem, path.read_text().splitlines()[0].removeprefix("# "))
        for path in sorted(builtin_folder().glob("*.toml"))
    ]


def _first_line(member: object) -> str:
    return (member.__doc__ or "").strip().splitlines()[0] if member.__doc__ else ""
