"""`limes check`: the coordinate check, with a verdict, of a model in the user's own file."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from limes.cli import options
from limes.core.errors import SpecError


def check(
    build: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="What returns your model for a size: my_model.py:build or package.module:build."
        ),
    ],
    base: Annotated[
        str | None, typer.Option(help="Size that was tuned: 64, or width=64,depth=2, or my_model.py:small.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Bigger size, written the same way.")] = None,
    widths: Annotated[
        str | None, typer.Option(help="Widths to build, base first: 64,128,256. [between base and target]")
    ] = None,
    depths: Annotated[
        str | None, typer.Option(help="Depths to build, base first: 2,4,8. [between base and target]")
    ] = None,
    parametrization: Annotated[str, typer.Option(help="One of `limes show parametrizations`.")] = "completep",
    optimizer: Annotated[str, typer.Option(help="One of `limes show optimizers`.")] = "adamw",
    batch: Annotated[
        str | None, typer.Option(help="Your batch, or a function that returns it: my_model.py:batch. [random]")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="Your loss(output, targets): my_model.py:loss. [the model's own, else by the targets]"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, max=1000, help="Networks per size.")] = 5,
    steps: Annotated[int, typer.Option(min=1, max=10000, help="Optimizer steps.")] = 3,
    lr: Annotated[float | None, typer.Option(min=0.0, help="Learning rate at the base. [5e-4; 0.1 for sgd]")] = None,
    weight_decay: Annotated[float, typer.Option(min=0.0, help="At the base; what it takes per step is checked.")] = 0.1,
    eps: Annotated[float, typer.Option(min=0.0, help="Epsilon of the optimizer at the base.")] = 1e-8,
    report: Annotated[Path | None, typer.Option(help="Write a page with the plots here, such as check.html.")] = None,
    all_rows: Annotated[bool, typer.Option("--all", help="Print the rows that pass, too.")] = False,
    as_json: options.Json = False,
) -> None:
    """Does everything in your model scale as the parametrization declares? Trains small ones, names what does not.

    Exit code 0 if the check passes, 1 if it fails or is undecided.
    """
    options.check_output(report, flag="--report")
    if lr is not None and not 0 < lr < float("inf"):
        raise SpecError(f"--lr {lr}: expected a positive number")

    from limes.cli.console import ShareProgress
    from limes.cli.reference import by_keywords, call_user, load_object
    from limes.compare.coord_batch import random_batch
    from limes.compare.coord_check import coord_check
    from limes.compare.coord_run import own_loss

    function = load_object(build, flag="MODEL")
    if not callable(function):
        raise SpecError(f"MODEL {build!r} is a {type(function).__name__}; expected a callable that returns a module")
    sizes = _Sizes(base, target, widths, depths)
    function = by_keywords(function, sizes.first)
    wide, deep = sizes.lists(function)
    given: Any = load_object(batch, flag="--batch") if batch else random_batch(function, (wide or deep)[0])
    if batch and callable(given):
        given = call_user(given, what=f"--batch {batch!r}")
    judged: Any = load_object(loss, flag="--loss") if loss else own_loss
    if not callable(judged):
        raise SpecError(f"--loss {loss!r} is a {type(judged).__name__}; expected a function of (output, targets)")
    with ShareProgress("checking", silent=as_json) as progress:
        result = coord_check(
            function,
            parametrization,
            widths=wide or None,
            depths=deep or None,
            batch=given,
            loss=judged,
            optimizer=optimizer,
            seeds=seeds,
            steps=steps,
            lr=lr,
            weight_decay=weight_decay,
            eps=eps,
            progress=lambda done, total: progress(done / total),
        )
    if report is not None:
        from limes.report.coord import write_coord_report

        write_coord_report(result, report)
    typer.echo(result.to_json() if as_json else result.explain(all_rows=all_rows), nl=as_json)
    raise typer.Exit(0 if result.passed else 1)


class _Sizes:
    """What the flags say about sizes."""

    def __init__(self, base: str | None, target: str | None, widths: str | None, depths: str | None) -> None:
        from limes.cli.reference import parse_size

        self.base = parse_size(base, flag="--base") if base else None
        self.target = parse_size(target, flag="--target") if target else None
        self.widths = _numbers(widths, flag="--widths")
        self.depths = _numbers(depths, flag="--depths")
        if self.base is None and not (self.widths or self.depths):
            raise SpecError("give --base and --target, or --widths, or --depths: what is to be built?")
        if self.target is not None and self.base is None:
            raise SpecError(f"--target {target} needs --base, the size that was tuned")
        if self.base is not None and self.target is None and not (self.widths or self.depths):
            raise SpecError(f"--base {base} needs --target, or --widths, or --depths")

    @property
    def first(self) -> Any:
        """A size of the kind that `build` takes."""
        return self.base if self.base is not None else (self.widths or self.depths)[0]

    def lists(self, build: Any) -> tuple[list[Any], list[Any]]:
        """Sizes along the width and along the depth."""
        from limes.compare.coord_plans import sizes_along, sizes_between

        if not (self.widths or self.depths):
            return sizes_between(build, self.base, self.target)
        if self.base is None:
            if self.widths and self.depths:
                raise SpecError("--widths and --depths together need --base: what is the other size meanwhile?")
            return self.widths, self.depths
        lists = []
        for axis, numbers in (("width", self.widths), ("depth", self.depths)):
            lists.append(sizes_along(build, self.base, self.target, numbers, axis=axis) if numbers else [])
        return lists[0], lists[1]


def _numbers(text: str | None, *, flag: str) -> list[int]:
    if text is None:
        return []
    if not re.fullmatch(r"\s*\d{1,7}\s*(,\s*\d{1,7}\s*)+", text):
        raise SpecError(f"{flag} {text!r}: expected whole numbers separated by commas, such as 64,128,256")
    numbers = [int(part) for part in text.split(",")]
    if numbers != sorted(set(numbers)) or numbers[0] < 1:
        raise SpecError(f"{flag} {text!r}: expected growing numbers, each once, at least 1")
    return numbers
