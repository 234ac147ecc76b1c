"""The command line only parses, calls and prints: none of its modules imports what implements a port."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgewright.cli

ROOT = Path(edgewright.cli.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
IMPLEMENTATIONS = (
    "edgewright.blobs",
    "edgewright.controller",
    "edgewright.delivery",
    "edgewright.forges",
    "edgewright.notifications",
    "edgewright.pipeline",
    "edgewright.reconcile",
    "edgewright.server",
    "edgewright.source",
    "edgewright.state",
)


def imports(module: Path) -> Iterator[str]:
    """Yield every module that is imported, also inside functions and for annotations alone."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_below(name: str, packages: tuple[str, ...]) -> bool:
    """Return whether a module is one of these packages, or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_the_modules_are_found() -> None:
    names = {str(module.relative_to(ROOT)) for module in MODULES}
    assert {"main.py", "progress.py", "commands/plan.py", "commands/devices/listing.py"} <= names


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT)))
def test_no_module_imports_a_driver_the_state_or_the_source(module: Path) -> None:
    assert [name for name in imports(module) if is_below(name, IMPLEMENTATIONS)] == []


def test_a_lazy_import_of_the_state_would_be_found(tmp_path: Path) -> None:
    module = tmp_path / "command.py"
    module.write_text("def run() -> None:\n    from edgewright import state\n")
    assert [name for name in imports(module) if is_below(name, IMPLEMENTATIONS)] == ["edgewright.state"]


def test_one_module_of_the_command_line_opens_workspaces() -> None:
    wired = {module.name for module in MODULES if any(name.startswith("edgewright.wiring") for name in imports(module))}
    assert wired <= {"workspaces.py", "serve.py", "init.py"}
