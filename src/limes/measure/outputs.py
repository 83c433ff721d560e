"""The outputs of a network that predicts a class or a token: how large the logits grow, how sure they are.

Source: arXiv:2309.14322 (logit growth, z-loss); arXiv:2204.02311 (the z-loss itself).
"""

import torch
from torch import Tensor

from limes.core.errors import SpecError

Z_LOSS = 1e-4


def output_statistics(logits: Tensor, *, z_loss: float = Z_LOSS) -> dict[str, Tensor]:
    """Size, entropy and normalizer of output logits.

    Args:
        logits: (..., classes), at least two classes.
        z_loss: Coefficient of the z-loss.

    Returns:
        Scalars, float32 at least:
        `logit_max`: largest absolute logit; `logit_rms`: their root mean square;
        `entropy`: mean entropy of the predictions in nats, at most ln(classes);
        `log_z`: mean of ln sum exp(logits); ln(classes) at zero logits, and it drifts when nothing holds it;
        `z_loss`: coefficient times the mean of its square.

    Raises:
        SpecError: Fewer than two classes, or not real.

    Source: arXiv:2309.14322, section 3.1.2.

    >>> found = output_statistics(torch.zeros(1, 4))
    >>> [round(found[name].item(), 4) for name in ("entropy", "log_z", "logit_max")]   # ln 4
    [1.3863, 1.3863, 0.0]
    """
    if logits.dim() < 1 or logits.shape[-1] < 2 or not logits.is_floating_point():
        raise SpecError(f"logits of shape {tuple(logits.shape)}, {logits.dtype}: expected (..., classes), real")
    rows = logits.detach()
    rows = rows if rows.dtype == torch.float64 else rows.float()
    log_z = rows.logsumexp(-1)
    chances = (rows - log_z[..., None]).exp()
    return {
        "logit_max": rows.abs().max(),
        "logit_rms": rows.square().mean().sqrt(),
        "entropy": torch.special.entr(chances).sum(-1).mean(),
        "log_z": log_z.mean(),
        "z_loss": z_loss * log_z.square().mean(),
    }
