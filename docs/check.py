"""Checks the documentation: relative links lead somewhere, Python blocks compile, every family member has its row, and
the gallery has a page and an image for each of its pictures and no other.

Run by `make check`. Prints one line per problem and exits with 1 if there is any.
"""

import re
import sys
from pathlib import Path

from limes.compare.gallery import GALLERY, GalleryPicture
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
PICTURES = ROOT / "docs" / "gallery"
MAX_CPU_SECONDS = 300
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


def gallery_problems() -> list[str]:
    """Pictures without page, image or entry in the index; pages and images without a picture; what pages lack."""
    index = (PICTURES / "index.md").read_text()
    wanted = {f"{name}.{suffix}" for name in GALLERY for suffix in ("md", "svg")} | {"index.md"}
    present = {path.name for path in PICTURES.iterdir()}
    problems = [f"docs/gallery/{name}: missing" for name in sorted(wanted - present)]
    problems += [f"docs/gallery/{name}: no picture of GALLERY" for name in sorted(present - wanted)]
    for name, picture in GALLERY.items():
        problems += [
            f"docs/gallery/index.md: no {text}" for text in (f"]({name}.md)", f"]({name}.svg)") if text not in index
        ]
        if not 0 < picture.cpu_seconds <= MAX_CPU_SECONDS:
            problems.append(f"GALLERY[{name!r}]: {picture.cpu_seconds} CPU seconds, expected at most {MAX_CPU_SECONDS}")
        page = PICTURES / f"{name}.md"
        if page.exists():
            problems += _lacks(name, picture, page.read_text())
    return problems


def _lacks(name: str, picture: GalleryPicture, text: str) -> list[str]:
    """What the page of a picture does not have: its image, command, sections, sources, theory."""
    wanted = [f"]({name}.svg)", f"    limes gallery {name}\n", "## What you see", "## How to read it", "## Numbers"]
    wanted += [f"arXiv:{source.arxiv}" for source in picture.sources if source.arxiv]
    wanted += [f"](../{path})" for path in picture.theory]
    return [f"docs/gallery/{name}.md: no {part.strip()!r}" for part in wanted if part not in text]


def main() -> int:
    """Print every problem; 1 if there is one."""
    problems = missing_rows() + gallery_problems()
    for page in PAGES:
        text = page.read_text()
        problems += broken_links(page, text) + broken_code(page, text)
    print("\n".join(problems) or f"{len(PAGES)} pages checked")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
