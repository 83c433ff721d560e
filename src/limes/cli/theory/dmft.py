"""`limes theory dmft`: what an infinitely wide network does on given data, as a table and a page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limes.cli import options
from limes.cli.inputs import load_samples, parse_gamma0
from limes.core.errors import ConvergenceError

if TYPE_CHECKING:
    from limes.theory.dynamics import DMFTResult, MLPProblem

PAGE = "dmft.html"
TABLE_ROWS = 12

Data = Annotated[
    str, typer.Option(help="digits (+1 even, -1 odd), gaussian, power_law, teacher, circle, or the path of an .npz.")
]
Gamma0 = Annotated[str, typer.Option(help="Richness; several separated by commas. 1 is mean field, small is lazy.")]


def dmft(
    data: Data = "digits",
    samples: Annotated[int, typer.Option(min=1, help="Training samples.")] = 32,
    test: Annotated[int, typer.Option(min=0, help="Held-out samples whose outputs are predicted too.")] = 0,
    depth: Annotated[int, typer.Option(min=1, help="Hidden layers.")] = 2,
    activation: Annotated[
        str, typer.Option(help="tanh, relu, erf, erf_sqrt2, gelu, sin, linear or leaky_relu.")
    ] = "tanh",
    gamma0: Gamma0 = "1",
    lr: Annotated[float, typer.Option(help="Learning rate in units of gamma0^2 x width.")] = 0.3,
    steps: Annotated[int, typer.Option(min=1, help="Updates of full-batch gradient descent.")] = 40,
    momentum: Annotated[float, typer.Option(help="Heavy ball coefficient.")] = 0.0,
    particles: Annotated[int, typer.Option(help="Particles per layer; a power of two.")] = 4096,
    scrambles: Annotated[int, typer.Option(help="Randomizations; two or more give an error estimate.")] = 4,
    tolerance: Annotated[float, typer.Option(help="Cut of the revealed directions.")] = 1e-6,
    time_limit: Annotated[float, typer.Option(help="Refuse beyond this many predicted CPU seconds.")] = 600.0,
    memory_limit: Annotated[float, typer.Option(help="Refuse beyond this many predicted GiB.")] = 4.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only predict time and memory.")] = False,
    out: Annotated[Path | None, typer.Option(help=f"Folder for the page {PAGE}.")] = None,
    as_json: options.Json = False,
) -> None:
    """Solve the mean field dynamics of an infinitely wide perceptron: loss, kernels and fields during training."""
    from limes.theory.dynamics import MLPProblem
    from limes.theory.dynamics.cost import check_cost

    values = parse_gamma0(gamma0)
    inputs, targets, held_out = load_samples(data, num_samples=samples, num_test=test)
    fields: dict[str, Any] = {"inputs": inputs, "targets": targets, "test_inputs": held_out, "depth": depth}
    fields |= {"activation": activation, "lr": lr, "num_times": steps + 1, "momentum": momentum}
    problems = [MLPProblem(gamma0=value, **fields) for value in values]
    cost = _predicted(problems, num_particles=particles, num_scrambles=scrambles)
    if not as_json:
        typer.echo(_cost_sentence(cost, problems[0], particles=particles, scrambles=scrambles), err=True)
    check_cost(cost, memory_limit=memory_limit, time_limit=time_limit)
    if dry_run:
        if as_json:
            print(json.dumps({"predicted": _plain(cost)}))
        return
    numbers = {"num_particles": particles, "num_scrambles": scrambles, "tolerance": tolerance}
    # The page shows kernels of the first and the last time only.
    numbers |= {"memory_limit": memory_limit, "time_limit": time_limit, "two_time": False}
    results = _solve(problems, numbers, silent=as_json)
    _answer(results, data=data, cost=cost, out=out, as_json=as_json)
    failed = [result for result in results if result.status.value != "converged"]
    raise typer.Exit(1 if failed else 0)


def _predicted(problems: "list[MLPProblem]", *, num_particles: int, num_scrambles: int) -> Any:
    """Cost of all problems: the seconds add up, the memory does not."""
    from limes.theory.dynamics import Cost, predict_cost

    numbers: dict[str, Any] = {"num_particles": num_particles, "num_scrambles": num_scrambles, "two_time": False}
    costs = [predict_cost(problem, **numbers) for problem in problems]
    return Cost(
        rank=max(cost.rank for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
        # All results are kept for the page.
        gibibytes=sum(cost.gibibytes for cost in costs),
    )


def _cost_sentence(cost: Any, problem: "MLPProblem", *, particles: int, scrambles: int) -> str:
    return (
        f"{problem.num_samples} samples of {problem.inputs.shape[1]} inputs, {problem.depth} hidden layers, "
        f"{problem.num_times - 1} steps, {particles} particles x {scrambles}: "
        f"predicted {cost.seconds:.3g} CPU seconds, {cost.gibibytes:.3g} GiB (rank {cost.rank})"
    )


def _solve(problems: "list[MLPProblem]", numbers: dict[str, Any], *, silent: bool) -> "list[DMFTResult]":
    from limes.cli.console import ShareProgress
    from limes.theory.dynamics import solve_dmft_mlp

    results = []
    with ShareProgress("solving", silent=silent) as bar:
        for index, problem in enumerate(problems):
            note = f"gamma0 {problem.gamma0:g}"

            def show(share: float, index: int = index, note: str = note) -> None:
                bar((index + share) / len(problems), note)

            try:
                results.append(solve_dmft_mlp(problem, progress=show, **numbers))
            except ConvergenceError as error:
                typer.echo(f"limes: gamma0 {problem.gamma0:g}: {error}", err=True)
                results.append(error.result)
    return results


def _answer(results: "list[DMFTResult]", *, data: str, cost: Any, out: Path | None, as_json: bool) -> None:
    if out is not None:
        from limes.report.dmft import write_dmft_report

        write_dmft_report(results, out / PAGE, data=data)
    if as_json:
        content = {"data": data, "predicted": _plain(cost), "results": [_entry(result) for result in results]}
        print(json.dumps(content, indent=1))
        return
    _print_table(results)
    if out is not None:
        typer.echo(f"page: {out / PAGE}")


def _plain(cost: Any) -> dict[str, float]:
    return {"rank": cost.rank, "seconds": cost.seconds, "gibibytes": cost.gibibytes}


def _entry(result: "DMFTResult") -> dict[str, Any]:
    """A result as plain JSON; what is not finite is null."""
    lists = {name: _finite(array) for name, array in result.to_arrays().items()}
    return {"gamma0": result.problem.gamma0, "status": result.status.value, "stats": result.stats, **lists}


def _finite(array: Any) -> Any:
    if array.ndim:
        return [_finite(row) for row in array]
    value = float(array)
    return value if abs(value) < float("inf") else None


def _print_table(results: "list[DMFTResult]") -> None:
    from rich.console import Console
    from rich.table import Table

    last = len(results[0].loss) - 1
    times = sorted({round(last * index / (TABLE_ROWS - 1)) for index in range(TABLE_ROWS)})
    table = Table(title="training loss (half mean squared error) with the half-width of its 95 % interval")
    table.add_column("step", justify="right")
    for result in results:
        table.add_column(f"gamma0 {result.problem.gamma0:g}", justify="right")
    for t in times:
        cells = [_cell(result.loss[t], result.loss_error[t]) for result in results]
        table.add_row(str(t), *cells)
    Console().print(table)
    seconds = sum(result.stats["cpu_seconds"] for result in results)
    rank = max(result.stats["rank"] for result in results)
    typer.echo(f"{seconds:.3g} CPU seconds, largest rank {rank:.0f}")


def _cell(value: float, error: float) -> str:
    """A number with its error where there is one.

    >>> _cell(0.25, 0.001), _cell(0.25, float("nan")), _cell(float("nan"), 0.0)
    ('0.25 ± 0.001', '0.25', '–')
    """
    if value != value:
        return "–"
    return f"{value:.5g}" if error != error else f"{value:.5g} ± {error:.1g}"
