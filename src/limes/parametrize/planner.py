"""`plan`: from a callable that builds a model, a base and a target, to the settings of every tensor."""

import math
from collections.abc import Mapping
from typing import Any

from limes.core.errors import PlanError
from limes.optim import OPTIMIZERS
from limes.parametrize.attention import AttentionMode, attention_factor, compare_attention
from limes.parametrize.branches import find_attention
from limes.parametrize.growth import Growth, Overrides, collect_facts
from limes.parametrize.horizon import horizon_scales
from limes.parametrize.networks import (
    Networks,
    check_facts,
    check_growth,
    check_own_factors,
    check_shared_depth,
    grown_graph,
    needs_grown,
    read_networks,
)
from limes.parametrize.plan import Form, Plan
from limes.parametrize.prescribe import DECAY_MODES, DecayMode, Prescription, share_settings
from limes.parametrize.scaling import Parametrization
from limes.parametrize.sizes import Build
from limes.parametrize.table import choose_parametrization
from limes.parametrize.trace import Graph
from limes.spec.base import Spec
from limes.spec.study import ParametrizationChoice


def plan(
    build: Build,
    *,
    base: Any,
    target: Any,
    parametrization: str | Parametrization | ParametrizationChoice = "completep",
    optimizer: str = "adamw",
    variant: str | None = None,
    weight_decay: DecayMode = "independent",
    overrides: Overrides | None = None,
    form: Form = "no_multiplier",
    alpha: float | None = None,
    gamma0: float | None = None,
    example_inputs: Any = None,
    probe: Any = None,
    init: Mapping[str, tuple[str, float, float]] | None = None,
    attention: AttentionMode = "auto",
    own_factors: str = "refuse",
    decay_vectors: bool = True,
    batch_ratio: float = 1.0,
    token_ratio: float = 1.0,
    horizon: str = "sde",
    allow_no_growth: bool = False,
) -> Plan:
    """Prescribe the settings of every tensor of `build(target)`, given those tuned for `build(base)`.

    Args:
        build: Returns a module; called on the meta device for all sizes, and once for real for the base.
        base: What `build` takes: a number, a mapping, a spec, a configuration object.
        target: The same, bigger. It is never built for real.
        parametrization: Name, object, or a study's choice.
        optimizer: Name in `limes.optim.OPTIMIZERS`.
        variant: Variant of the optimizer that scales differently (`match_rms_adamw` for Muon, ...).
        weight_decay: coupled (one value for all), independent (learning rate times decay as at the base), lr_free
            (not multiplied by the learning rate at all), timescale (independent, and constant as a fraction of
            the training when the number of steps changes).
        overrides: By regular expression on the whole name: a role, or a mapping with any of `role`, `labels` (one
            of in, out, lookup, copy, kernel, each per dimension), `branch` (False, True, "last"), `lr_scale`,
            `weight_decay_scale`, `eps_scale`, `init_std`, `init_mean`.
        form: Without multipliers in the forward pass wherever that is possible, or with them.
        alpha: Option of `depth_mup`.
        gamma0: Option of `meanfield`.
        example_inputs: What the forward pass of the base takes (a tensor, a tuple, a mapping of named inputs), or a
            callable that returns it for a size; guessed where possible.
        probe: A third size that grows along every axis that matters, where the target does not: decides roles only.
            For the specs of the built-in models, width and depth are doubled by default.
        init: Initialization of the base by regular expression, (kind, mean, std), instead of measuring it.
        attention: What a growing head dimension does: `factor` (the caller applies `plan.attention_scale`), `fold`
            (into the query maps), `keep` (nothing). `auto`: factor for the built-in models, else fold.
        own_factors: What to do with numbers in the model's own forward pass that change with its size: `refuse`, or
            `keep` them on top of the plan.
        decay_vectors: Whether vectors and tensors that do not grow decay at all.
        batch_ratio: Tokens per step of the target over the base.
        token_ratio: Training tokens of the target over the base.
        horizon: Which exponents for these two (`limes.parametrize.HORIZONS`).
        allow_no_growth: Accept a target that is as big as the base.

    Returns:
        The plan, keyed by the target's parameter names.

    Raises:
        PlanError: Nothing grows, a tensor's part is ambiguous, or the network cannot be built or traced; the
            message names the tensor and what to pass.

    Source: arXiv:2203.03466 Table 8, arXiv:2310.02244, arXiv:2505.01618 Table 1; docs/parametrize.md.

    >>> from torch import nn
    >>> def build(width): return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
    >>> made = plan(build, base=8, target=32, parametrization="mup", optimizer="adamw")
    >>> [(row["role"], row["lr_scale"]) for row in made.rows]
    [('embedding', 1.0), ('vector', 1.0), ('readout', 0.25), ('finite', 1.0)]
    """
    chosen = choose_parametrization(parametrization, alpha=alpha, gamma0=gamma0)
    if optimizer not in OPTIMIZERS:
        raise PlanError(f"optimizer {optimizer!r} has no rule; known: {', '.join(OPTIMIZERS)}")
    if weight_decay not in DECAY_MODES:
        raise PlanError(f"weight_decay {weight_decay!r} is none of the modes {', '.join(DECAY_MODES)}")
    given = dict(overrides or {})
    networks = read_networks(build, base, target, probe=probe, example=example_inputs, init=init or {})
    check_growth(networks, allow=allow_no_growth or batch_ratio != 1.0 or token_ratio != 1.0)
    growth = Growth(networks.base_shapes, networks.target_shapes, networks.axes, networks.structure)
    facts = collect_facts(growth, given)
    check_facts(facts, networks, chosen, given, growth.depth_ratio())
    grown = grown_graph(networks) if needs_grown(networks, chosen) else None
    check_own_factors(networks, grown, own_factors)
    check_shared_depth(networks, chosen)
    scale, folded = attention_scales(networks, grown, chosen, attention)
    lr, decay, eps, momentum = horizon_scales(horizon, batch=batch_ratio, tokens=token_ratio)
    if weight_decay == "timescale":
        decay = batch_ratio / (token_ratio * lr)  # learning rate times decay times steps stays as at the base
    prescription = Prescription(
        parametrization=chosen,
        family=OPTIMIZERS[optimizer],
        variant=variant,
        decay_mode=weight_decay,
        horizon=(lr, decay, eps),
        decay_vectors=decay_vectors,
        folded={fact.name: folded[source] for fact in facts if (source := growth.match(fact.name)) in folded},
    )
    rows = [
        prescription.row(fact, networks.laws[growth.match(fact.name)], networks.target_shapes[fact.name], given)
        for fact in facts
    ]
    made = Plan(
        parametrization=chosen.name,
        options={key: getattr(chosen, key) for key in chosen.options},
        optimizer=optimizer,
        decay_mode=weight_decay,
        form="no_multiplier",
        attention_scale=scale,
        width_axes=tuple(axis.name for axis in networks.axes),
        depth_ratio=growth.depth_ratio(),
        momentum_scale=momentum,
        entries=tuple(share_settings(rows, chosen)),
    )
    return made.as_form(form)


def attention_scales(
    networks: Networks, grown: Graph | None, chosen: Parametrization, mode: AttentionMode
) -> tuple[float, dict[str, float]]:
    """(factor for the caller, factors for tensors by the base's names).

    Raises:
        PlanError: The mode is unknown, or no tensor can take the factor.

    Source: arXiv:2203.03466 Definition 4.1; docs/parametrize.md.
    """
    if mode not in ("auto", "factor", "fold", "keep"):
        raise PlanError(f"attention {mode!r} is none of auto, factor, fold, keep")
    if mode == "keep" or not chosen.attention_power or not find_attention(networks.graph):
        return 1.0, {}
    if grown is None:
        return 1.0, {}
    change = compare_attention(networks.graph, grown)
    factor = attention_factor(change, 1.0 if change is None else chosen.attention_factor(change.growth))
    if change is None or math.isclose(factor, 1.0, rel_tol=1e-12):
        return 1.0, {}
    if mode == "factor" or (mode == "auto" and isinstance(networks.base, Spec)):
        return factor, {}
    if not change.queries:
        raise PlanError(
            f"the head dimension grows by {change.growth:g}, so the attention scale needs the factor {factor:g}, but "
            "query and key share a packed map that cannot take it; keep head_dim fixed and grow the heads, or pass "
            "attention='factor' and multiply your attention scale by plan.attention_scale, or attention='keep'"
        )
    return 1.0, dict.fromkeys(change.queries, factor)
