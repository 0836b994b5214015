"""JSON and JSONL files, with NaN and infinities as strings so that any JSON reader takes them."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

NOT_FINITE = ("nan", "inf", "-inf")


def json_number(value: Any) -> float | int | str:
    """Returns a number as JSON takes it: the shortest decimal of its own precision, or "nan", "inf", "-inf"."""
    if isinstance(value, (int, np.integer)):
        return int(value)
    if not np.isfinite(value):
        return str(float(value))
    return float(str(value)) if isinstance(value, np.floating) else float(value)


def read_lines(path: Path) -> list[dict]:
    """Returns the lines of a JSONL file, with "nan", "inf" and "-inf" turned back into floats."""
    with open(path) as file:
        return [
            {key: float(value) if value in NOT_FINITE else value for key, value in json.loads(line).items()}
            for line in file
        ]


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file."""
    return json.loads(path.read_text())


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file completely or not at all."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
