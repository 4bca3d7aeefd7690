"""Data flows one way: which package may import which is what CONTRIBUTING.md says, and this holds the code to it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ptx_app"
TRAINER = ("ptx_app.training", "ptx_app.experiments")
FORBIDDEN = {
    "film": ("torch", "streamlit", "ptx_app.inference", "ptx_app.model.torch_network", "ptx_app.ui", *TRAINER),
    "model": ("streamlit", "ptx_app.inference", "ptx_app.weights", "ptx_app.ui", *TRAINER),
    "weights": ("streamlit", "ptx_app.inference", "ptx_app.ui", *TRAINER),
    "inference": ("torch", "streamlit", "ptx_app.ui", *TRAINER),
    "output": ("torch", "streamlit", "ptx_app.ui", *TRAINER),
    "data": ("torch", "streamlit", "ptx_app.output", "ptx_app.ui", "ptx_app.evaluation", *TRAINER),
    "evaluation": ("streamlit", "ptx_app.ui", *TRAINER),
    "training": ("streamlit", "ptx_app.ui", "ptx_app.experiments"),
    "experiments": ("streamlit", "ptx_app.ui"),
    "hospital": ("torch", "streamlit", "ptx_app.ui", "ptx_app.commands", "ptx_app.evaluation", *TRAINER),
    "commands": ("streamlit", "ptx_app.ui"),
    "ui": ("ptx_app.evaluation", "ptx_app.data", *TRAINER),
    "": ("streamlit", "ptx_app.ui", *TRAINER),
}


def imports(file: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_imports_nothing_from_above(package):
    files = sorted((PACKAGE / package).rglob("*.py") if package else PACKAGE.glob("*.py"))
    assert files
    found = [
        f"{file.relative_to(PACKAGE)} imports {name}"
        for file in files
        for name in imports(file)
        if any(name == wrong or name.startswith(f"{wrong}.") for wrong in FORBIDDEN[package])
    ]
    assert found == []


def test_every_package_has_its_rule():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(FORBIDDEN) - {""}
