"""`limes gallery`: the pictures that explain the field, each made anew by one command."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limes.cli import options
from limes.core.errors import SpecError

if TYPE_CHECKING:
    from limes.compare.gallery.picture import GalleryPicture, Picture


def gallery(
    name: Annotated[str | None, typer.Argument(help="A picture; a list of all if left out.")] = None,
    reduced: Annotated[bool, typer.Option("--reduced", help="Fewer and smaller networks: seconds, rougher.")] = False,
    workers: options.Workers = None,
    out: Annotated[
        Path,
        typer.Option(
            parser=options.parse_folder, metavar="FOLDER", help="Folder for the page, the image and the numbers."
        ),
    ] = Path("out-gallery"),
    as_json: options.Json = False,
) -> None:
    """Draw a picture of the gallery with its numbers beside the expected ones, or list the pictures."""
    from limes.compare.gallery import GALLERY

    if name is None:
        _list(GALLERY, as_json=as_json)
        return
    if name not in GALLERY:
        raise SpecError(f"gallery {name!r}: there is no such picture; expected one of {', '.join(GALLERY)}")
    options.check_output_folder(out, flag="--out")
    entry = GALLERY[name]
    runs = out / f"{name}-{'reduced' if reduced else 'runs'}"
    picture = _draw(entry, name, runs, reduced=reduced, workers=workers, silent=as_json)
    _announce(picture, name, out, as_json=as_json)


def _list(pictures: "Mapping[str, GalleryPicture]", *, as_json: bool) -> None:
    from limes.cli.console import tell

    rows = [
        {"name": name, "seen": entry.seen, "sources": [str(s) for s in entry.sources], "cpu_seconds": entry.cpu_seconds}
        for name, entry in pictures.items()
    ]
    tell({"pictures": rows}, [_line(name, entry) for name, entry in pictures.items()], page=None, as_json=as_json)


def _line(name: str, entry: "GalleryPicture") -> str:
    sources = "; ".join(f"arXiv:{source.arxiv}" if source.arxiv else source.where for source in entry.sources)
    return f"{name:18s} {entry.seen} [{sources}; {entry.cpu_seconds} CPU s]"


def _draw(
    entry: "GalleryPicture", name: str, runs: Path, *, reduced: bool, workers: int | None, silent: bool
) -> "Picture":
    from limes.cli.console import ShareProgress, SweepProgress

    if entry.study is None:
        with ShareProgress(name, silent=silent) as bar:
            return entry.draw(reduced=reduced, progress=bar)
    from limes.compare import analyse_panels
    from limes.store import Store
    from limes.sweep import available_cores, run_sweep

    study = entry.study(reduced)
    with SweepProgress(silent=silent) as progress:
        outcome = run_sweep(study, runs, workers=workers or available_cores(), progress=progress)
    if outcome.status != "complete":
        typer.echo("limes: interrupted; the same command again goes on from there", err=True)
        raise typer.Exit(1)
    with Store.open(runs) as store:
        return entry.draw(analyse_panels(study, store.rows()), reduced=reduced)


def _announce(picture: "Picture", name: str, out: Path, *, as_json: bool) -> None:
    from limes.cli.console import tell
    from limes.report.gallery import COLUMNS, reading_cells, write_picture

    files = write_picture(picture, out, name=name)
    if not as_json:
        for sentence in picture.answer:
            typer.echo(sentence)
        _print_table(COLUMNS, [reading_cells(reading) for reading in picture.readings])
        if not any(path.suffix == ".svg" for path in files):
            typer.echo("limes: no image without matplotlib; pip install 'limes[plots]' brings it", err=True)
    tell({"name": name} | picture.to_dict(), (), page=files[0], as_json=as_json)


def _print_table(columns: tuple[str, ...], rows: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if 0 < index < 4 else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
