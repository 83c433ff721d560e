"""Numbers as plain JSON can hold them."""

import math


def finite_or_none(value: float | None) -> float | None:
    """JSON has no word for NaN and infinities.

    >>> finite_or_none(2.5), finite_or_none(math.inf), finite_or_none(None)
    (2.5, None, None)
    """
    return float(value) if value is not None and math.isfinite(value) else None
