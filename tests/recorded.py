"""The recorded curves of other software, in tests/vectors."""

import json
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent / "vectors"


def names(prefix: str = "") -> set[str]:
    """Returns the names of the recorded curves that begin with a prefix."""
    return {path.stem for path in VECTORS.glob(f"{prefix}*.json")}


def vector(name: str) -> dict[str, Any]:
    """Returns a recorded curve by name; its keys are explained in tests/vectors/README.md."""
    return json.loads((VECTORS / f"{name}.json").read_text())
