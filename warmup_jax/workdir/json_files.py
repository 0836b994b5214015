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
    """Returns the lines of a JSONL file, with "nan", "inf" and "-inf" turned back into floats.

    Raises:
      ValueError: with the number of the line, if the file is damaged.
      OSError: if it cannot be read.
    """
    with open(path, "rb") as file:
        return [
            {
                key: float(value) if value in NOT_FINITE else value
                for key, value in parse_line(line, path, number).items()
            }
            for number, line in enumerate(file, 1)
        ]


def parse_line(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """Returns the object in a line of a log.

    Args:
      line: the bytes.
      path: of the file, for the error.
      number: of the line, from 1.

    Raises:
      ValueError: if it is no object with the integers `step` and `run`.
    """
    content = _parse(line, f"{path}, line {number}")
    if not isinstance(content, dict) or not all(type(content.get(key)) is int for key in ("step", "run")):
        raise ValueError(f"{path}, line {number} is damaged: no object with the integers 'step' and 'run'")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
      ValueError: if the file is damaged.
      OSError: if it cannot be read.
    """
    return parse_object(path.read_bytes(), str(path))


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """Returns the object in a JSON text; `where` names the text, for the error.

    Raises:
      ValueError: if the text is damaged.
    """
    content = _parse(text, where)
    if not isinstance(content, dict):
        raise ValueError(f"{where} is damaged: it holds no JSON object")
    return content


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file completely or not at all."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _parse(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also of UTF-8 and of integers beyond 4,300 digits
        raise ValueError(f"{where} is damaged: {error}") from None
