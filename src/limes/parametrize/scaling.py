"""Shared algebra of the parametrizations: what a rule is told about a tensor, and what it answers.

Letters: m_in, m_out growth of fan-in and fan-out from base to target; m_L growth of the number of residual
branches; alpha exponent of the branch multiplier m_L^-alpha; theta a forward multiplier.

A rule speaks of the *effective* weight, the one that acts in the forward pass with all multipliers included:
its init std, the change D of an entry that training should cause over the whole run, and its gradient entry
G, each relative to the base. Learning rate and eps of any optimizer follow (`limes.optim.UpdateRule`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from limes.core.errors import PlanError
from limes.core.source import Source

Role = Literal["embedding", "hidden", "readout", "vector", "finite", "router"]
ROLES: tuple[Role, ...] = ("embedding", "hidden", "readout", "vector", "finite", "router")


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorFacts:
    """What is known of one tensor of the target.

    Args:
        name: Parameter name in the target.
        template: The name with layer indices replaced by `*`.
        role: By what grows: nothing (`finite`), fan-out only (`embedding`), both or fan-in inside the network
            (`hidden`), fan-in of a map that reaches the output (`readout`); `vector` for gains and biases.
        axes: Names of the axes along which it, or its number of copies, grows.
        m_in: Growth of the fan-in, 1 where there is none.
        m_out: Growth of the fan-out.
        m_depth: Growth of the number of residual branches if the tensor lies in one, else 1.
        ends_branch: It belongs to the last map of a residual branch.
        at_output: No other parameter lies between it and the output of the network.
        is_matrix: It is contracted with its input (a linear map, a convolution, an expert).
        base_shape: (fan-out, fan-in) as stored rows and columns of the base, for shape factors.
        target_shape: The same of the target.
        carrier: Module on whose output a multiplier can act; None where there is none.
        tied_to: Name under which the same tensor has its own row; None where it is not shared.
        why: Reasons in words.
    """

    name: str
    template: str
    role: Role
    axes: tuple[str, ...] = ()
    m_in: float = 1.0
    m_out: float = 1.0
    m_depth: float = 1.0
    ends_branch: bool = False
    at_output: bool = False
    is_matrix: bool = False
    base_shape: tuple[int, int] = (1, 1)
    target_shape: tuple[int, int] = (1, 1)
    carrier: str | None = None
    tied_to: str | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scales:
    """What a rule prescribes for the effective weight of a tensor, relative to the base; all dimensionless.

    Args:
        init: Standard deviation at initialization.
        change: Size of an entry's change.
        gradient: Size of an entry of the gradient.
        multiplier: Forward multiplier of the parametrization's own form; the effective weight contains it.
    """

    init: float = 1.0
    change: float = 1.0
    gradient: float = 1.0
    multiplier: float = 1.0


WidthRule = Callable[[TensorFacts, float], Scales]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parametrization:
    """One parametrization: a rule for width, an exponent for depth, a rule for the attention scale.

    Args:
        name: Key in the table.
        summary: One line for lists.
        source: Where it comes from.
        width_rule: (facts, gamma0) -> Scales at fixed depth.
        alpha: Branches are multiplied by m_L^-alpha; None for no rule of depth.
        gamma0: Strength of feature learning relative to the base.
        attention_power: The attention's own scale is multiplied by (base head_dim / head_dim)^power.
        plain: Learning rate and eps stay as at the base for every tensor and every optimizer.
        options: Which of `alpha` and `gamma0` a user may set.
    """

    name: str
    summary: str
    source: Source
    width_rule: WidthRule
    alpha: float | None = None
    gamma0: float = 1.0
    attention_power: float = 0.0
    plain: bool = False
    options: tuple[str, ...] = ()

    def configure(self, *, alpha: float | None = None, gamma0: float | None = None) -> "Parametrization":
        """The same with other options.

        Raises:
            PlanError: The parametrization has no such option, or the value is out of range.

        Source: limes.

        >>> from limes.parametrize import PARAMETRIZATIONS
        >>> PARAMETRIZATIONS["depth_mup"].configure(alpha=0.75).alpha
        0.75
        """
        given: dict[str, Any] = {
            key: float(value) for key, value in (("alpha", alpha), ("gamma0", gamma0)) if value is not None
        }
        for key in given:
            if key not in self.options:
                known = ", ".join(self.options) or "none"
                raise PlanError(f"{self.name} takes no {key} (got {given[key]:g}); its options: {known}")
        if given.get("alpha", 0.0) < 0:
            raise PlanError(f"alpha {given['alpha']:g} must not be negative")
        if given.get("gamma0", 1.0) <= 0:
            raise PlanError(f"gamma0 {given['gamma0']:g} must be positive")
        return replace(self, **given)

    def scales(self, facts: TensorFacts) -> Scales:
        """What the effective weight of one tensor gets, width and depth together.

        Source: arXiv:2203.03466 Table 8; arXiv:2310.02244; arXiv:2505.01618 Table 1.

        >>> from limes.parametrize import PARAMETRIZATIONS
        >>> facts = TensorFacts(name="w", template="w", role="hidden", m_in=4.0, m_out=4.0, is_matrix=True)
        >>> PARAMETRIZATIONS["mup"].scales(facts)
        Scales(init=0.5, change=0.25, gradient=0.25, multiplier=1.0)
        """
        width = self.width_rule(facts, self.gamma0)
        if self.alpha is None or facts.m_depth == 1.0:
            return width
        return _with_depth(width, facts, self.alpha)

    def attention_factor(self, head_dim_growth: float) -> float:
        """Factor on the attention's own scale when the head dimension grows by `head_dim_growth`.

        Source: arXiv:2203.03466 Definition 4.1 (logits q.k / d).

        >>> from limes.parametrize import PARAMETRIZATIONS
        >>> PARAMETRIZATIONS["mup"].attention_factor(4.0)
        0.5
        """
        return float(head_dim_growth**-self.attention_power)


def _with_depth(width: Scales, facts: TensorFacts, alpha: float) -> Scales:
    """L coherent updates of size m_L^-alpha D must sum to order one; a gradient carries m_L^-alpha."""
    branch = facts.m_depth**-alpha
    if facts.ends_branch:
        # The last map contains the branch multiplier: its own m_L^(alpha-1) times m_L^-alpha.
        return Scales(
            init=width.init * branch,
            change=width.change / facts.m_depth,
            gradient=width.gradient,
            multiplier=width.multiplier * branch,
        )
    return replace(
        width,
        change=width.change * facts.m_depth ** (alpha - 1.0),
        gradient=width.gradient * branch,
    )


def maximal_update(facts: TensorFacts, gamma0: float) -> Scales:
    """The width rule of muP: every layer moves its features by order one.

    Source: arXiv:2203.03466 Table 8 with `gamma0` = 1; for other `gamma0`, f/gamma0 with the learning rate
    times gamma0^2 (SGD) or gamma0 (Adam): arXiv:2304.03408, relative to the base.

    >>> readout = TensorFacts(name="w", template="w", role="readout", m_in=4.0, at_output=True)
    >>> maximal_update(readout, 1.0)
    Scales(init=0.25, change=0.25, gradient=1.0, multiplier=0.25)
    """
    if facts.at_output and facts.role in ("readout", "finite"):
        factor = 1.0 / (facts.m_in * gamma0)
        return Scales(init=factor, change=1.0 / facts.m_in, gradient=1.0, multiplier=factor)
    return Scales(
        init=facts.m_in**-0.5,
        change=gamma0 / facts.m_in,
        gradient=1.0 / (facts.m_out * gamma0),
    )
