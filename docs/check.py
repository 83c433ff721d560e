"""Checks the documentation: relative links lead somewhere, Python blocks compile, every family member has its row.

Run by `make check`. Prints one line per problem and exits with 1 if there is any.
"""

import re
import sys
from pathlib import Path

from limes.data import SOURCES
from limes.laws import LAWS
from limes.measure import DIAGNOSTICS
from limes.models import MODELS
from limes.optim import OPTIMIZERS
from limes.parametrize import PARAMETRIZATIONS
from limes.theory.dynamics import SOLVERS
from limes.theory.initialization import INITIALIZATION_MODELS
from limes.theory.kernels import KERNELS
from limes.theory.scaling import SCALING_MODELS
from limes.theory.solvable import SOLVABLE_MODELS
from limes.theory.statics import STATICS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FAMILIES = {
    "parametrizations": PARAMETRIZATIONS,
    "optimizers": OPTIMIZERS,
    "models": MODELS,
    "data sources": SOURCES,
    "laws": LAWS,
    "solvers": SOLVERS,
    "initialization": INITIALIZATION_MODELS,
    "scaling": SCALING_MODELS,
    "solvable": SOLVABLE_MODELS,
    "statics": STATICS,
    "kernels": KERNELS,
    "diagnostics": DIAGNOSTICS,
}
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
CODE = re.compile(r"```.*?```|`[^`\n]*`|^    .*?$", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links of a page that lead nowhere."""
    links = LINK.findall(CODE.sub("", text))
    return [f"{page.relative_to(ROOT)}: link to {link}" for link in links if not (page.parent / link).exists()]


def broken_code(page: Path, text: str) -> list[str]:
    """Python blocks of a page that do not compile (prompts of doctests are stripped)."""
    problems = []
    for block in PYTHON.findall(text):
        source = block
        if ">>>" in block:
            source = "\n".join(line[4:] for line in block.splitlines() if line.startswith((">>> ", "... ")))
        try:
            compile(source, str(page), "exec")
        except SyntaxError as error:
            problems.append(f"{page.relative_to(ROOT)}: Python block does not compile: {error}")
    return problems


def missing_rows() -> list[str]:
    """Members of a family that the index of families does not name."""
    text = (ROOT / "docs" / "families.md").read_text()
    return [
        f"docs/families.md: {family}: no row for `{name}`"
        for family, table in FAMILIES.items()
        for name in table
        if f"`{name}`" not in text
    ]


def main() -> int:
    """Print every problem; 1 if there is one."""
    problems = missing_rows()
    for page in PAGES:
        text = page.read_text()
        problems += broken_links(page, text) + broken_code(page, text)
    print("\n".join(problems) or f"{len(PAGES)} pages checked")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
