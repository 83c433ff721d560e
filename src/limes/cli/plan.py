"""`limes plan`: the settings of every tensor of a bigger built-in model."""

import json
from typing import Annotated

import typer

from limes.cli import options
from limes.core.errors import SpecError


def plan(
    target: Annotated[str, typer.Option(help="Size to plan for, such as width=1024,depth=24.")],
    base: Annotated[str | None, typer.Option(help="Size that was tuned; the study's own base if left out.")] = None,
    parametrization: Annotated[str, typer.Option(help="One of `limes show parametrizations`.")] = "completep",
    lr: Annotated[float, typer.Option(min=0.0, help="Learning rate tuned at the base.")] = 2.0**-6,
    budget: options.Budget = "default",
    study_file: options.StudyFile = None,
    settings: options.Settings = None,
    as_json: options.Json = False,
) -> None:
    """Print the recommendation table, tensor by tensor, for a base and a target of the built-in models."""
    study = options.read_study(budget, study_file, settings, None)
    sizes = options.parse_sizes(target, flag="--target")
    if not 0 < lr < float("inf"):
        raise SpecError(f"--lr {lr}: expected a positive number, the learning rate that was tuned at the base")

    from limes.cli.answer import plan_target
    from limes.spec import ParametrizationChoice
    from limes.sweep.build import resize

    if base:
        model = study.model
        for axis, size in options.parse_sizes(base, flag="--base").items():
            model = resize(model, axis, size)
        study = study.model_copy(update={"model": model})
    base_dir = study_file.resolve().parent if study_file else None
    sizes = {"width": study.model.width, "depth": study.model.depth} | sizes
    result, _ = plan_target(study, ParametrizationChoice(name=parametrization), sizes, base_dir=base_dir)
    if as_json:
        from math import log2

        from limes.compare.recommend import recommend

        optimizer = study.training.optimizer
        recommendation = recommend(
            result, optimizer, log2_lr=log2(lr), lr_note="given with --lr", base=study.model.to_dict(), target=sizes
        )
        print(json.dumps(recommendation.to_dict(), indent=1))
        return
    typer.echo(result.explain())
