"""Batch size and training length as further axes: what they change for all tensors alike.

Letters: m_B, m_D growth of the batch (tokens per step) and of the training tokens; the number of steps grows by
m_D/m_B.

Source: arXiv:2512.22382 and arXiv:2205.10287 (Adam as a stochastic differential equation, valid while noise
dominates the step: below the critical batch); the other exponents as named.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from limes.core.errors import PlanError
from limes.core.source import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class HorizonRule:
    """Powers of m_B and m_D.

    Args:
        lr_batch: Power of m_B in the learning rate.
        lr_tokens: Power of m_D in the learning rate.
        shrink_tokens: Power of m_D in learning rate times decay, beyond that of the learning rate itself.
        shrink_batch: The same for m_B.
        eps_batch: Power of m_B in eps.
        eps_tokens: Power of m_D in eps.
        momentum: 1 - beta is multiplied by m_B/m_D.
        source: Where it was published.
    """

    lr_batch: float
    lr_tokens: float
    shrink_tokens: float
    shrink_batch: float
    eps_batch: float = 0.0
    eps_tokens: float = 0.0
    momentum: bool = False
    source: Source

    def scales(self, *, batch: float, tokens: float) -> tuple[float, float, float, float]:
        """Factors on (lr, weight decay, eps, 1 - beta).

        Source: the rule's own.

        >>> HORIZONS["sde"].scales(batch=4.0, tokens=1.0)
        (2.0, 2.0, 0.5, 4.0)
        """
        lr = batch**self.lr_batch * tokens**self.lr_tokens
        decay = batch**self.shrink_batch * tokens**self.shrink_tokens
        eps = batch**self.eps_batch * tokens**self.eps_tokens
        return lr, decay, eps, batch / tokens if self.momentum else 1.0


_SDE = {"shrink_tokens": -0.5, "shrink_batch": 0.5}
HORIZONS: Mapping[str, HorizonRule] = MappingProxyType(
    {
        "sde": HorizonRule(
            lr_batch=0.5,
            lr_tokens=-0.5,
            **_SDE,
            eps_batch=-0.5,
            eps_tokens=0.5,
            momentum=True,
            source=Source(title="Complete(d)P", arxiv="2512.22382", where="horizon and batch"),
        ),
        "marin": HorizonRule(
            lr_batch=0.5,
            lr_tokens=-0.3,
            shrink_tokens=-0.7,
            shrink_batch=0.5,
            source=Source(title="Marin, AdamH", where="token exponent about -0.3; decay keeps lr x decay x steps"),
        ),
        "archscale": HorizonRule(
            lr_batch=0.5,
            lr_tokens=-0.32,
            shrink_tokens=-0.68,
            shrink_batch=0.5,
            source=Source(title="ArchScale", arxiv="2409.19913", where="token exponent -0.32"),
        ),
        "decay_only": HorizonRule(
            lr_batch=0.0,
            lr_tokens=0.0,
            shrink_tokens=-1.0,
            shrink_batch=1.0,
            source=Source(title="Power lines", arxiv="2505.13738", where="lr kept, decay moves"),
        ),
        "none": HorizonRule(
            lr_batch=0.0,
            lr_tokens=0.0,
            shrink_tokens=0.0,
            shrink_batch=0.0,
            source=Source(title="no rule"),
        ),
    }
)


def horizon_scales(name: str, *, batch: float, tokens: float) -> tuple[float, float, float, float]:
    """Factors on (lr, weight decay, eps, 1 - beta) by the name of a rule.

    Raises:
        PlanError: No such rule, or a ratio is not positive.

    Source: see `HORIZONS`.

    >>> horizon_scales("decay_only", batch=1.0, tokens=4.0)
    (1.0, 0.25, 1.0, 1.0)
    """
    if name not in HORIZONS:
        raise PlanError(f"horizon {name!r} is none of {', '.join(HORIZONS)}")
    if not (batch > 0 and tokens > 0):
        raise PlanError(f"batch_ratio {batch} and token_ratio {tokens} must be positive")
    return HORIZONS[name].scales(batch=batch, tokens=tokens)
