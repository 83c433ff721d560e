"""The house rules that a machine can check: sizes, docstrings, lazy imports, and what the project never says."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "limes"
FILES = sorted(SOURCE.rglob("*.py"))
MATHEMATICAL = (
    "limes.laws",
    "limes.theory.kernels",
    "limes.theory.dynamics",
    "limes.theory.scaling",
    "limes.theory.solvable",
    "limes.theory.initialization",
    "limes.theory.statics",
)


def public_functions(path: Path) -> list[ast.FunctionDef]:
    """Module-level functions without a leading underscore."""
    tree = ast.parse(path.read_text())
    return [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in FILES}
    assert {path: length for path, length in lengths.items() if length > 400} == {}


def test_every_module_and_public_function_has_a_docstring() -> None:
    bare = [str(path.relative_to(ROOT)) for path in FILES if not ast.get_docstring(ast.parse(path.read_text()))]
    bare += [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in FILES
        for node in public_functions(path)
        if not ast.get_docstring(node)
    ]
    assert bare == []


@pytest.mark.parametrize("package", MATHEMATICAL)
def test_public_formulas_name_their_source(package: str) -> None:
    """Every public function of the mathematical packages says where its mathematics comes from."""
    module = importlib.import_module(package)
    functions = {name: getattr(module, name) for name in module.__all__ if inspect.isfunction(getattr(module, name))}
    assert [name for name, function in functions.items() if "Source" not in (function.__doc__ or "")] == []


def test_no_machine_paths_and_no_global_generator() -> None:
    forbidden = re.compile(r"/(work|farm|home|root)/|torch\.manual_seed\(|np\.random\.(seed|rand|normal)\(")
    hits = [str(path.relative_to(ROOT)) for path in FILES if forbidden.search(path.read_text())]
    assert hits == []


@pytest.mark.parametrize(
    "code",
    [
        "import limes",
        "from limes.cli.main import app",
        "import limes.spec, limes.store, limes.laws",
    ],
)
def test_torch_is_not_loaded_by(code: str) -> None:
    script = f"import sys\n{code}\nassert 'torch' not in sys.modules, 'torch was imported'"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
