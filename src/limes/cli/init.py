"""`limes init`: what depth and width do to signal and gradients before training, predicted and measured."""

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limes.cli import options
from limes.cli.inputs import parse_counts, parse_value
from limes.core.errors import SpecError

if TYPE_CHECKING:
    from limes.report.init import InitRow

FAMILIES = ("mlp", "resmlp", "transformer", "vit", "cnn")
DATA_SIZES: dict[str, dict[str, Any]] = {
    "mlp": {"num_inputs": 64, "num_outputs": 10},
    "resmlp": {"num_inputs": 64, "num_outputs": 10},
    "transformer": {"vocab_size": 256, "context": 32, "head_dim": 16},
    "vit": {"input_shape": (1, 8, 8), "num_outputs": 10, "head_dim": 16},
    "cnn": {"input_shape": (1, 8, 8), "num_outputs": 10},
}


def init(
    target: Annotated[
        str, typer.Argument(metavar="MODEL", help="mlp, resmlp, transformer, vit, cnn, or my_model.py:build.")
    ],
    widths: Annotated[str, typer.Option(help="Widths to build, such as 64,256.")] = "128",
    depths: Annotated[str, typer.Option(help="Depths to build, such as 4,16,64.")] = "4,32",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A field of the built-in model, such as activation=tanh; repeat.")
    ] = None,
    branch_exponent: Annotated[
        float, typer.Option(help="Built-in models: scale residual branches by depth^-this, such as 0.5.")
    ] = 0.0,
    batch: Annotated[
        str | None, typer.Option(help="Your inputs, or a function that returns them: my_model.py:batch. [random]")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=2, max=4096, help="Built-in models: samples of the random batch. [8]")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Networks per size.")] = 3,
    report: Annotated[Path | None, typer.Option(help="Write a page with the curves here, such as init.html.")] = None,
    as_json: options.Json = False,
) -> None:
    """Is the network stable at initialization? Signal, gradients and likeness of inputs, through its depth.

    Exit code 0 if every size is stable, 1 if one is vanishing, exploding or collapsing.
    """
    options.check_output(report, flag="--report")
    if not math.isfinite(branch_exponent):
        raise SpecError(f"--branch-exponent {branch_exponent}: expected a finite number such as 0.5")
    sizes = [
        (width, depth)
        for width in parse_counts(widths, flag="--widths")
        for depth in parse_counts(depths, flag="--depths")
    ]
    if target not in FAMILIES and (settings or branch_exponent):
        raise SpecError(f"MODEL {target!r}: --set and --branch-exponent are for the built-in {', '.join(FAMILIES)}")
    if samples is not None and (target not in FAMILIES or batch is not None):
        raise SpecError(f"--samples {samples}: is for the random batch of the built-in {', '.join(FAMILIES)}")
    from limes.cli.console import ShareProgress

    inputs = _batch(batch)
    rows = []
    with ShareProgress("profiling", silent=as_json) as progress:
        for index, (width, depth) in enumerate(sizes):
            progress(index / len(sizes), f"width {width}, depth {depth}")
            size = {"width": width, "depth": depth}
            if target in FAMILIES:
                rows.append(_built_in(target, size, settings or [], branch_exponent, inputs, samples or 8, seeds))
            else:
                rows.append(_own(target, size, inputs, seeds))
    if report is not None:
        from limes.report.init import write_init_report

        write_init_report(rows, report, model=target)
    if as_json:
        print(json.dumps({"model": target, "sizes": [row.to_dict() for row in rows]}, indent=1))
    else:
        _print(rows, target)
        if report is not None:
            typer.echo(f"page: {report}")
    raise typer.Exit(0 if all(row.verdict == "stable" for row in rows) else 1)


def _batch(reference: str | None) -> Any:
    if reference is None:
        return None
    from limes.cli.reference import call_user, load_object

    found = load_object(reference, flag="--batch")
    return call_user(found, what=f"--batch {reference!r}") if callable(found) else found


def _spec(family: str, size: dict[str, int], settings: list[str], inputs: Any) -> Any:
    """The filled-in spec of a built-in model."""
    from pydantic import TypeAdapter, ValidationError

    from limes.spec import ModelSpec
    from limes.spec.io import complaint

    fields: dict[str, Any] = {"family": family} | DATA_SIZES[family] | size
    if inputs is not None and family in ("mlp", "resmlp"):
        fields["num_inputs"] = inputs[0].numel()
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not sign or name in size or name == "family":
            raise SpecError(f"--set {setting!r}: expected field=value, with sizes in --widths and --depths")
        fields[name] = parse_value(value)
    try:
        return TypeAdapter(ModelSpec).validate_python(fields)
    except ValidationError as error:
        raise SpecError(complaint(error.errors(include_url=False)[0])) from None


def _built_in(
    family: str, size: dict[str, int], settings: list[str], exponent: float, inputs: Any, samples: int, seeds: int
) -> "InitRow":
    import torch

    if not (inputs is None or isinstance(inputs, torch.Tensor)):
        raise SpecError(f"--batch is a {type(inputs).__name__}; the built-in models take one tensor")

    from limes.compare.signal_profile import profile_signal
    from limes.compare.signal_theory import advice, predict_signal
    from limes.core.rng import stream
    from limes.models import build_model, example_input
    from limes.report.init import InitRow

    spec = _spec(family, size, settings, inputs)
    if inputs is None:
        shape, generator = example_input(spec, num_samples=samples), stream(0, "data", "init")
        inputs = (
            torch.randn(shape.shape, generator=generator)
            if shape.is_floating_point()
            else torch.randint(spec.vocab_size or 2, shape.shape, generator=generator)
        )
    multiplier = float(size["depth"]) ** -exponent
    profiles = []
    for seed in range(seeds):
        model = build_model(spec, generator=stream(seed, "init"), residual_multiplier=multiplier)
        profiles.append(profile_signal(model, partial(model, inputs), generator=stream(seed, "probe")))
    residual = family in ("resmlp", "transformer", "vit")
    predicted = predict_signal(spec, profiles[0], multiplier=multiplier)
    return InitRow(
        size=size, profiles=tuple(profiles), predicted=predicted, advice=advice(profiles[0], residual=residual)
    )


def _own(reference: str, size: dict[str, int], inputs: Any, seeds: int) -> "InitRow":
    """A module of the user's own, drawn by its own constructor."""
    import inspect
    from collections.abc import Mapping

    import torch
    from torch import nn

    from limes.cli.reference import by_keywords, call_user, load_object
    from limes.compare.coord_batch import random_batch
    from limes.compare.signal_profile import profile_signal
    from limes.compare.signal_theory import advice
    from limes.core.rng import stream, stream_seed
    from limes.report.init import InitRow

    build = load_object(reference, flag="MODEL")
    if not callable(build):
        raise SpecError(f"MODEL {reference!r} is a {type(build).__name__}; expected a callable that returns a module")
    names = set(inspect.signature(build).parameters)
    if not {"width", "depth"} <= names:
        raise SpecError(f"MODEL {reference!r} takes {sorted(names)}; expected the arguments width and depth")
    function = by_keywords(build, size)
    what = f"MODEL {reference!r} at {size}"
    given = inputs
    if given is None:
        given, _ = call_user(random_batch, function, size, what=what)
    kwargs = dict(given) if isinstance(given, Mapping) else {}
    args = () if kwargs else given if isinstance(given, tuple) else (given,)
    profiles = []
    for seed in range(seeds):
        with torch.random.fork_rng(devices=[]):
            # The constructor of another's module draws from the global generator; its state is put back behind it.
            torch.random.default_generator.manual_seed(stream_seed(seed, "init"))
            model = call_user(function, size, what=what)
        if not isinstance(model, nn.Module):
            raise SpecError(f"MODEL {reference!r} returns a {type(model).__name__}; expected an nn.Module")
        model.eval()
        run = partial(model, *args, **kwargs)
        profiles.append(call_user(profile_signal, model, run, what=what, generator=stream(seed, "probe")))
    return InitRow(size=size, profiles=tuple(profiles), predicted=None, advice=advice(profiles[0], residual=None))


def _print(rows: "list[InitRow]", target: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{target} at initialization: last block over first; predicted in brackets")
    for name in ("width", "depth", "signal x", "gradient x", "likeness", "verdict"):
        table.add_column(name, justify="left" if name == "verdict" else "right")
    for row in rows:
        table.add_row(*row.cells())
    Console().print(table)
    for row in rows:
        if row.verdict != "stable":
            typer.echo(f"width {row.size['width']}, depth {row.size['depth']}: {row.verdict}: {row.advice}")
