"""Imports go down the levels of the design, and the library part stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "warmup_jax"
MAY_IMPORT = {
    "registry": (),
    "schedules": ("registry",),
    "transforms": ("registry", "schedules"),
    "optimizers": ("registry", "schedules", "transforms"),
    "models": ("registry",),
    "data": ("registry",),
    "diagnostics": ("registry",),
    "losses": (),
    "train_step": ("diagnostics", "losses", "transforms"),
    "probes": ("data", "diagnostics", "losses", "train_step", "transforms"),
    "devices": (),
    "process": (),
    "sweep": ("registry", "train_step"),
    "config": ("diagnostics", "losses", "optimizers", "registry", "schedules", "sweep", "train_step"),
    "decoding": (),
    "checkpoint": (),
    "clock": (),
    "signals": (),
    "logs": (),
    "workdir": ("logs",),
    "report": ("logs",),
    "evaluation": ("data", "decoding", "devices", "registry", "train_step"),
    "job": ("config", "data", "devices", "diagnostics", "evaluation", "losses", "models", "probes", "process",
            "registry", "sweep", "train_step"),
    "loop": ("checkpoint", "clock", "data", "evaluation", "job", "logs", "probes", "signals", "sweep", "train_step"),
    "experiment": ("checkpoint", "clock", "data", "devices", "job", "logs", "loop", "losses", "report", "signals",
                   "sweep", "workdir"),
    "command": ("registry",),
    "__main__": ("command", "config", "data", "report", "schedules", "sweep"),  # programs, not parts
    "__init__": ("schedules", "transforms"),
}


def imports(path):
    """Dotted names of everything that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def level(path):
    relative = path.relative_to(PACKAGE)
    return "__main__" if relative.name == "__main__.py" else relative.parts[0].removesuffix(".py")


def files():
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_the_levels(path):
    module = level(path)
    for name in imports(path):
        head, _, rest = name.partition(".")
        sibling = rest.partition(".")[0]
        if head == "warmup_jax" and sibling != module:
            assert sibling in MAY_IMPORT[module], f"{module} must not import {sibling}"
        if head == "flax":
            assert module == "models", "flax is imported in models/ alone"


def test_every_module_has_its_level():
    found = {level(path) for path in files()}
    assert found == set(MAY_IMPORT)


def test_configs_import_ml_collections_and_what_they_share():
    for path in (ROOT / "configs").glob("*.py"):
        assert {name for name in imports(path) if not name.startswith("ml_collections.")} <= {"configs.common"}


@pytest.mark.parametrize("module, heavy", [
    ("warmup_jax.command, warmup_jax.process", ("jax", "optax", "flax")),
    ("warmup_jax.schedules, warmup_jax.transforms", ("flax", "tensorflow_datasets", "matplotlib", "orbax", "grain", "sklearn")),
    ("warmup_jax.experiment", ("tensorflow_datasets", "matplotlib", "grain", "sklearn", "tensorflow")),
])
def test_import_is_light(module, heavy):
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_one_noun(path):
    assert len(path.read_text().splitlines()) <= 400
