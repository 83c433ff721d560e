"""Where a formula comes from: kept as data, so that `limes show` and the docs can print it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A reference for a rule, a law or a solver.

    Args:
        title: Short name of the work.
        arxiv: arXiv identifier such as "2203.03466", or "" when there is none.
        where: Equation, table or section; or the docs page of our own derivation.
    """

    title: str
    arxiv: str = ""
    where: str = ""

    def __str__(self) -> str:
        parts = [self.title]
        if self.arxiv:
            parts.append(f"arXiv:{self.arxiv}")
        if self.where:
            parts.append(self.where)
        return ", ".join(parts)
