"""What the tests of transformations share: the peers' vectors, and double precision."""

import json
from pathlib import Path

import jax
import pytest

VECTORS = Path(__file__).parents[2] / "../shared/vectors"


@pytest.fixture(scope="session")
def vector():
    """Reads a vector by name: what the named software did while it ran."""

    def read(name):
        path = VECTORS / f"{name}.json"
        if not path.exists():
            pytest.skip(f"no peers' vectors on this machine: {path.resolve()}")
        return json.loads(path.read_text())

    return read


@pytest.fixture
def x64():
    """Double precision, for a comparison with a peer that has it."""
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        yield
