"""The package, its extras and the commands of continuous integration agree with each other."""

import re
import tomllib
from pathlib import PurePath

from commands import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def requirements(lines):
    """The requirements of lines in the form of requirements.txt, without their comments."""
    found = (line.partition("#")[0].strip() for line in lines)
    return {line for line in found if line}


def test_the_extras_are_the_requirements():
    extras = PROJECT["optional-dependencies"]
    assert "warmup_jax[train]" in extras["test"] and "warmup_jax[test]" in extras["dev"]
    everything = {*PROJECT["dependencies"], *extras["train"], *extras["test"]} - {"warmup_jax[train]"}
    assert requirements((ROOT / "requirements.txt").read_text().splitlines()) == everything


def test_every_file_of_the_package_is_installed():
    package = ROOT / "warmup_jax"
    files = [
        path.relative_to(package) for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    others = [path for path in files if path.suffix not in (".py", ".md")]
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["warmup_jax"]
    assert others and [path for path in others if not any(PurePath(path).match(each) for each in patterns)] == []


def test_colab_has_what_is_required():
    """No floor is above the version of .ci/colab.txt."""

    def versions(path, sign):
        lines = [line.split(sign) for line in requirements((ROOT / path).read_text().splitlines()) if sign in line]
        return {name.replace("-", "_"): tuple(map(int, version.split("."))) for name, version in lines}

    pinned, floors = versions(".ci/colab.txt", "=="), versions("requirements.txt", ">=")
    assert {"jax", "flax", "optax"} <= floors.keys() & pinned.keys()
    assert {name for name in floors.keys() & pinned.keys() if floors[name] > pinned[name]} == set()


def test_continuous_integration_runs_the_commands_of_the_readme():
    readme, ci = ((ROOT / path).read_text() for path in ("README.md", ".ci/run"))
    (setup, test) = re.search(
        r"^(python3 -m venv .*) && (\.venv/bin/python -m pytest -q)$", readme, re.MULTILINE
    ).groups()
    assert f"\n{setup} && {test}\n" in ci
