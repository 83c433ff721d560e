"""The law that runs are held to beside a theory: one power law for each resource, which meet with a sharpness m.

Source: arXiv:2402.01092, section 4; docs/theory/laws_meet_theory.md.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from limes.core.source import Source
from limes.laws import Input, Law, LawFit, Parameter, coefficient, exponent
from limes.laws.form import Columns, Params

Array = NDArray[np.float64]
Floor = Literal["fit", "none"]


def exponent_name(name: str) -> str:
    """Of a resource's exponent among the parameters of the law."""
    return f"r_{name}"


def theory_law(names: list[str], floor: Floor) -> Law:
    """One term for each of these resources, and a floor if asked for."""
    parameters: list[Parameter] = []
    if floor == "fit":
        parameters.append(coefficient("E", "irreducible loss", example=1.0, unit="loss"))
    for name in names:
        factor = coefficient(f"A_{name}", f"at {name} 1", example=1.0, unit=f"loss * {name}**{exponent_name(name)}")
        parameters += [factor, exponent(exponent_name(name), f"exponent of {name}", example=0.5, start=(0.05, 2.0))]
    sharp = len(names) > 1
    if sharp:
        parameters.append(
            Parameter(name="m", meaning="sharpness", example=1.0, positive=True, low=0.3, high=20.0, start=(0.7, 3.0))
        )

    def curve(params: Params, inputs: Columns) -> Any:
        power = params["m"] if sharp else 1.0
        parts = sum(_term(params, inputs, name) ** power for name in names)
        return (params["E"] if floor == "fit" else 0.0) + parts ** (1.0 / power)

    inner = " + ".join(
        f"(A_{n} / {n}^{exponent_name(n)})^m" if sharp else f"A_{n} / {n}^{exponent_name(n)}" for n in names
    )
    return Law(
        name="theory_terms",
        formula="loss = " + "E + " * (floor == "fit") + (f"[{inner}]^(1/m)" if sharp else inner),
        source=Source(title="Bordelon, Atanasov & Pehlevan, a dynamical model of scaling laws", arxiv="2402.01092"),
        inputs=tuple(Input(name=name, meaning=f"the resource {name}", domain=(1.0, 1e6)) for name in names),
        parameters=tuple(parameters),
        curve=curve,
        floor="E" if floor == "fit" else None,
    )


def _term(params: Params, inputs: Columns, name: str) -> Any:
    return params[f"A_{name}"] * np.exp(-params[exponent_name(name)] * np.log(inputs[name]))


def resource_terms(fit: LawFit, names: Sequence[str]) -> tuple[dict[str, Array], Array]:
    """Each resource's own term in every run, and the loss less the floor.

    Args:
        fit: Of the terms of a theory.
        names: Resources.
    """
    inputs = {name: fit.problem.columns[name] * fit.problem.scales[name] for name in names}
    left = fit.problem.target * fit.problem.scales[fit.law.target] - fit.params.get("E", 0.0)
    return {name: np.asarray(_term(fit.params, inputs, name), dtype=float) for name in names}, left
