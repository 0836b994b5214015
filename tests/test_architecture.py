"""Imports go down the levels of docs/development.md, the library part stays light, and the code keeps its rules."""

import ast
import re

import pytest
from commands import ROOT, python

PACKAGE = ROOT / "warmup_jax"
# The packages by level, from the lowest. An import goes to the same package or to a lower level.
LEVELS = (
    ("registry", "numerics", "losses", "pictures", "places", "streams"),
    ("runtime", "schedules", "models", "data", "diagnostics", "workdir", "config_files"),
    ("transforms",),
    ("optimizers",),
    ("report",),
    ("training",),
    ("claims",),
    ("cli",),
)
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
READS_FILES_ONLY = {"report": ("workdir", "config_files", "pictures", "places", "registry", "streams")}


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
    answer = python("-c", code)
    assert answer.stdout.strip() == "[]", answer.stderr


def test_models_know_no_platform_but_in_their_operations():
    for path in (PACKAGE / "models").rglob("*.py"):
        assert "ops" in path.parts or "default_backend" not in path.read_text(), path


def test_the_resnet_is_short():
    assert len((PACKAGE / "models" / "resnet.py").read_text().splitlines()) <= 150


def test_no_pragma_without_a_reason():
    """A pragma names what it silences and why: `type: ignore[assignment]  # reason`, or a comment above `fmt: off`."""
    reasoned = r"# (type: ignore\[[\w, -]+\]|noqa: [A-Z0-9, ]+) +# \w+"
    for path in [*files(), *(ROOT / "configs").glob("*.py"), *(ROOT / "examples").glob("*.py"), ROOT / "train.py"]:
        lines = path.read_text().splitlines()
        for above, line in zip(["", *lines], lines):
            assert "fmt: skip" not in line, f"{path}: {line}"
            assert not re.search(r"# fmt: ?off", line) or above.lstrip().startswith("# "), f"{path}: {line}"
            if re.search(r"# (type: ?ignore|noqa)", line):
                assert re.search(reasoned, line), f"{path}: {line}"


def unannotated(path):
    """Names of the public functions and methods of a file that lack the type of an argument or of what they return."""

    def within(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
                yield from within(child, f"{prefix}{child.name}.")
            if isinstance(child, ast.FunctionDef) and (not child.name.startswith("_") or child.name == "__init__"):
                args = child.args
                named = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
                named = [arg for arg in named if arg is not None and arg.arg not in ("self", "cls")]
                returns = child.returns is not None or child.name == "__init__"
                if not returns or any(arg.annotation is None for arg in named):
                    yield f"{path.relative_to(ROOT)}: {prefix}{child.name}"

    return list(within(ast.parse(path.read_text()), ""))


def test_public_functions_are_annotated():
    assert [name for path in files() for name in unannotated(path)] == []
