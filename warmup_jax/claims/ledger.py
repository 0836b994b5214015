"""The two files of claims, one JSON object a line: what was frozen before it was run, and what came out.

Lines are appended and never changed. Each ends with a digest of itself, and `audit` compares the files with their
history in git, so that a changed or lost line is noticed. Both merge line by line.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from warmup_jax.claims.claim import canonical
from warmup_jax.report import results
from warmup_jax.workdir.json_files import NOT_FINITE, json_number, parse_object

FOLDER = Path("docs", "claims")
REGISTRY, LEDGER, PAGE = FOLDER / "registry.jsonl", FOLDER / "ledger.jsonl", FOLDER / "README.md"
DIGITS = 10  # that are kept of a number

Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    """Returns the lines of a file; none if there is no file.

    Raises:
      ValueError: if a line is damaged or was changed by hand.
      OSError: if it cannot be read.
    """
    return parse(path.read_bytes(), str(path)) if path.exists() else []


def parse(text: bytes, where: str) -> list[Line]:
    """Returns the lines of a file's content; `where` names it, for errors.

    Raises:
      ValueError: if a line is damaged or was changed by hand.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        content = parse_object(line, f"{where}, line {number}")
        if content.get("digest") != results.digest(content):
            raise ValueError(f"{where}, line {number} does not fit its digest: it was changed by hand")
        found.append(content)
    return found


def append(path: Path, content: Mapping[str, Any]) -> Line:
    """Appends a line to a file, which it creates if need be; returns it with its digest.

    Raises:
      OSError: if it cannot be written.
    """
    line = encode(content)
    line["digest"] = results.digest(line)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.write(canonical(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return line


def encode(content: Any) -> Any:
    """Returns content as JSON takes it: numbers with `DIGITS` digits, and "nan", "inf" and "-inf"."""
    if isinstance(content, Mapping):
        return {key: encode(value) for key, value in content.items()}
    if isinstance(content, (list, tuple, np.ndarray)):
        return [encode(value) for value in content]
    if isinstance(content, (float, np.floating)):
        return json_number(float(f"{float(content):.{DIGITS}g}") if math.isfinite(content) else float(content))
    if isinstance(content, np.integer):
        return int(content)
    return content


def decode(content: Any) -> Any:
    """Returns numbers as `encode` was given them."""
    if isinstance(content, dict):
        return {key: decode(value) for key, value in content.items()}
    if isinstance(content, list):
        return [decode(value) for value in content]
    return float(content) if content in NOT_FINITE else content


def newest(lines: list[Line]) -> dict[tuple[str, str], Line]:
    """Returns the last entry of each claim at each scale: {(claim, scale): entry}."""
    return {(line["claim"], line["scale"]): line for line in lines}
