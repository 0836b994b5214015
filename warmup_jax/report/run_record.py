"""Record of a run: the log files of its workdir, read and checked."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from warmup_jax.workdir.json_files import read_json

SUMMARY_KEYS = (
    "runs",
    "data",
    "uninformed_loss",
    "seconds",
    "examples_per_second",
    "peak_memory_bytes",
    "bleu_signature",
)
RUN_KEYS = ("run", "label", "changes", "steps", "final", "highest_rate", "best", "diverged_at")


class Record(NamedTuple):
    """Content of one workdir.

    runs: the runs of `summary.json`; without that file, the same keys as far as the log has them, with empty labels
      and no changes.
    summary: the content of `summary.json`, None while the run is unfinished.
    series: {run: {metric: (steps [N], values [N])}}.
    texts: the lines of `texts.jsonl`.
    """

    workdir: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    runs: list[dict[str, Any]]
    summary: dict[str, Any] | None
    series: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]]
    texts: list[dict[str, Any]]


def read(workdir: Path) -> Record:
    """Reads the log files of a workdir, finished or not.

    Raises:
      ValueError: with one line, if it holds no run or a file in it is damaged.
      OSError: if a file cannot be read.
    """
    workdir = Path(workdir)
    if not (workdir / "config.json").is_file():
        raise ValueError(f"{workdir} holds no run: there is no config.json in it")
    summary = _json(workdir / "summary.json")
    finished = summary is not None
    series = _series(workdir / "metrics.jsonl", finished)
    if summary is not None:
        _check_summary(workdir / "summary.json", summary)
    return Record(
        workdir,
        _json(workdir / "config.json") or {},
        _json(workdir / "environment.json") or {},
        [_so_far(run, series[run]) for run in sorted(series)] if summary is None else summary["runs"],
        summary,
        series,
        [line for _, line in _lines(workdir / "texts.jsonl", finished)],
    )


def _json(path: Path) -> dict[str, Any] | None:
    """Returns the object in a JSON file; None if there is no file."""
    if not path.exists():
        return None
    try:
        content = read_json(path)
    except ValueError as error:  # from JSON or from UTF-8
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return content


def _lines(path: Path, finished: bool) -> list[tuple[int, dict[str, Any]]]:
    """Returns (number, content) of each line of a JSONL file.

    A run that is still writing, or was killed while writing, may leave an incomplete last line, which is skipped.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    if lines[-1] == b"" or not finished:
        lines.pop()
    found = []
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is damaged: {error}") from None
        if not isinstance(content, dict) or not all(type(content.get(key)) is int for key in ("step", "run")):
            raise ValueError(f"{path}, line {number} is damaged: no object with the integers 'step' and 'run'")
        found.append((number, content))
    return found


def _series(path: Path, finished: bool) -> dict[int, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Returns the steps and values of every metric of every run."""
    points: dict[int, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for number, line in _lines(path, finished):
        for key, value in line.items():
            if key in ("step", "run"):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) and value not in ("nan", "inf", "-inf"):
                raise ValueError(f"{path}, line {number} is damaged: {key}={value!r} is no number")
            points[line["run"]][key].append((line["step"], float(value)))
    return {
        run: {
            key: (np.array([step for step, _ in of_key]), np.array([value for _, value in of_key]))
            for key, of_key in metrics.items()
        }
        for run, metrics in points.items()
    }


def _check_summary(path: Path, summary: dict[str, Any]) -> None:
    """Raises a ValueError if `summary.json` lacks a key that a report reads."""
    for key in SUMMARY_KEYS:
        if key not in summary:
            raise ValueError(f"{path} is damaged: it lacks {key!r}")
    for run in summary["runs"]:
        for key in RUN_KEYS:
            if key not in run:
                raise ValueError(f"{path} is damaged: a run lacks {key!r}")


def _so_far(run: int, metrics: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Summarises the log of an unfinished run, in the form of `summary.json`."""
    best: dict[str, Any] | None = None
    if "eval/accuracy" in metrics:
        steps, accuracies = metrics["eval/accuracy"]
        top = int(np.argmax(np.nan_to_num(accuracies, nan=-1)))
        best = {"step": int(steps[top]), "eval/accuracy": float(accuracies[top])}
    rates, diverged = metrics.get("opt/learning_rate"), metrics.get("train/diverged_at")
    return {
        "run": run,
        "label": "",
        "changes": {},
        "steps": int(max(steps[-1] for steps, _ in metrics.values())),
        "final": {key: float(values[-1]) for key, (_, values) in metrics.items() if key != "train/diverged_at"},
        "highest_rate": float(rates[1].max()) if rates else None,
        "best": best,
        "diverged_at": int(diverged[1][-1]) if diverged else None,
    }
