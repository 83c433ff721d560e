"""Options that several commands share, and their parsing."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from limes.core.errors import SpecError


def parse_folder(text: str | Path) -> Path:
    """An empty name would silently be the current folder."""
    if not str(text).strip():
        raise typer.BadParameter(f"{text!r} names no folder; give one, such as out, or . for the current one")
    return Path(text)


Budget = Annotated[
    str, typer.Option(help="Built-in study: quick (a minute), default (five minutes) or full (enough seeds to decide).")
]
StudyFile = Annotated[Path | None, typer.Option("--study", help="A study of your own, in TOML, instead of a built-in.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting, such as training.steps=100; may be repeated.")
]
Target = Annotated[
    str | None, typer.Option(help="Size to recommend settings for and to forecast, such as width=1024,depth=24.")
]
Seeds = Annotated[int | None, typer.Option(min=1, max=1000, help="Seeds for every size, instead of the study's.")]
Workers = Annotated[int | None, typer.Option(min=1, max=1024, help="Worker processes; one thread each. [cores]")]
Out = Annotated[
    Path,
    typer.Option(
        parser=parse_folder, metavar="FOLDER", help="Folder of the store and the report; the same folder again goes on."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, and nothing else.")]

BUDGETS = ("quick", "default", "full")
SIZES = ("width", "depth")
LARGEST = {"width": 1_000_000, "depth": 10_000}


def parse_sizes(text: str, *, flag: str) -> dict[str, int]:
    """`width=1024,depth=24` -> sizes.

    >>> parse_sizes("width=1024,depth=24", flag="--target")
    {'width': 1024, 'depth': 24}
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([a-z_]+)\s*=\s*([0-9]{1,18})\s*", part)
        if match is None or match[1] not in SIZES or match[1] in sizes:
            raise SpecError(f"{flag} {text!r}: expected width=W, depth=D or both, each once and a whole number")
        sizes[match[1]] = int(match[2])
        if not 1 <= sizes[match[1]] <= LARGEST[match[1]]:
            raise SpecError(f"{flag} {text!r}: {match[1]} {match[2]} must lie between 1 and {LARGEST[match[1]]}")
    return sizes


def check_output(path: Path | None, *, flag: str) -> None:
    """Refuse a place that cannot be written to before the work whose result belongs there."""
    if path is None:
        return
    if path.is_dir():
        raise SpecError(f"{flag} {path}: is a folder; give the path of a file")
    if not path.resolve().parent.is_dir():
        raise SpecError(f"{flag} {path}: there is no folder {path.parent}; make it, or give another path")


def check_output_folder(path: Path, *, flag: str) -> None:
    """Refuse a folder that cannot be made before the work whose results belong there."""
    nearest = next(place for place in (path.resolve(), *path.resolve().parents) if place.exists())
    if not nearest.is_dir():
        raise SpecError(f"{flag} {path}: {nearest.name} is a file; give a folder")


def read_study(budget: str, study_file: Path | None, settings: list[str] | None, seeds: int | None) -> Any:
    """The study that the flags name, validated."""
    from limes.spec import load_study

    if budget not in BUDGETS:
        raise SpecError(f"--budget {budget!r}: expected one of {', '.join(BUDGETS)}")
    path = study_file or Path(str(builtin_folder())) / f"{budget}.toml"
    study = load_study(path, settings=settings or ())
    if seeds is None:
        return study
    panels = tuple(panel.model_copy(update={"seeds": (seeds,) * len(panel.sizes)}) for panel in study.panels)
    return study.model_copy(update={"panels": panels})


def builtin_folder() -> Any:
    """Folder of the built-in studies, without importing the package that holds them (it needs torch)."""
    from importlib.util import find_spec

    spec = find_spec("limes")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "sweep" / "studies"
