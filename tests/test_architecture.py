"""Imports go down the levels of the design, and the library part stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "warmup_jax"
# The packages by level, from the lowest. An import goes to the same package or to a lower level.
LEVELS = (
    ("registry", "losses"),
    ("runtime", "schedules", "models", "data", "diagnostics", "workdir"),
    ("transforms",),
    ("optimizers",),
    ("report",),
    ("training",),
    ("cli",),
)
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
READS_FILES_ONLY = {"report": ("workdir",)}


def imports(path):
    """Dotted names of everything that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def files():
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def is_program(path):
    return path.name == "__main__.py" or 'if __name__ == "__main__":' in path.read_text()


def test_imports_go_down_the_levels():
    for path in files():
        here = package(path)
        for name in imports(path):
            head, _, rest = name.partition(".")
            there = rest.partition(".")[0]
            if head == "warmup_jax" and there and there != here:
                assert there == "cli" and is_program(path) or LEVEL[there] < LEVEL[here], f"{path}: {name}"
                assert there in READS_FILES_ONLY.get(here, (there,)), f"{path}: {name}"
            if head == "flax":
                assert here == "models", f"{path}: flax is imported in models/ alone"


def test_every_package_has_its_level():
    assert {package(path) for path in files()} == set(LEVEL)


def test_configs_import_ml_collections_and_what_they_share():
    for path in (ROOT / "configs").glob("*.py"):
        assert {name for name in imports(path) if not name.startswith("ml_collections.")} <= {"configs.common"}


@pytest.mark.parametrize(
    "module, heavy",
    [
        ("warmup_jax.cli, warmup_jax.runtime.process", ("jax", "optax", "flax")),
        (
            "warmup_jax.schedules, warmup_jax.transforms",
            ("flax", "tensorflow_datasets", "matplotlib", "orbax", "grain", "sklearn"),
        ),
        ("warmup_jax.training.experiment", ("tensorflow_datasets", "matplotlib", "grain", "sklearn", "tensorflow")),
    ],
)
def test_import_is_light(module, heavy):
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
