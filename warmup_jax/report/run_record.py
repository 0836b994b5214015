"""Record of a run: the log files of its workdir, read and checked."""

import reprlib
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from warmup_jax.workdir.json_files import NOT_FINITE, parse_line, read_json

DEEPEST = 20  # containers in one another; a config has 3
# The keys that a report reads, with the kinds of their values (`KINDS`).
SUMMARY = {
    "runs": "list",
    "data": "object or none",
    "uninformed_loss": "number or none",
    "seconds": "object",
    "examples_per_second": "number",
    "peak_memory_bytes": "number",
    "bleu_signature": "text or none",
}
RUN = {
    "run": "integer",
    "label": "text",
    "changes": "object",
    "steps": "integer",
    "final": "object",
    "highest_rate": "logged number or none",
    "best": "object",
    "diverged_at": "integer or none",
}
SECONDS = {"total": "number", "to_first_step": "number"}
BEST = {"step": "integer", "eval/accuracy": "logged number"}
AXES = {"peak_lr": "number", "warmup_steps": "integer", "seed": "integer"}  # of `changes`, as far as they are swept


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


def read(workdir: Path | Record) -> Record:
    """Reads the log files of a workdir, finished or not; a record that was read before is returned as it is.

    Raises:
      ValueError: with one line, if it holds no run or a file in it is damaged.
      OSError: if a file cannot be read.
    """
    if isinstance(workdir, Record):
        return workdir
    workdir = Path(workdir)
    if not (workdir / "config.json").is_file():
        raise ValueError(f"{workdir} holds no run: there is no config.json in it")
    summary = _json(workdir / "summary.json")
    finished = summary is not None
    series = _series(workdir / "metrics.jsonl", finished)
    config = _json(workdir / "config.json") or {}
    if summary is not None:
        _check_summary(workdir / "summary.json", summary)
        _check(workdir / "config.json", "it", config, {"seed": "integer"})
    return Record(
        workdir,
        config,
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
    content = read_json(path)
    if _depth(content, DEEPEST + 1) > DEEPEST:
        raise ValueError(f"{path} is damaged: it is nested more than {DEEPEST} times")
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
        content = parse_line(line, path, number)
        _check(f"{path}, line {number}", "it", content, {"step": "integer", "run": "integer"})
        _check(f"{path}, line {number}", "it", content, dict.fromkeys(content, "single value"))
        found.append((number, content))
    return found


def _series(path: Path, finished: bool) -> dict[int, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Returns the steps and values of every metric of every run."""
    points: dict[int, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for number, line in _lines(path, finished):
        for key, value in line.items():
            if key in ("step", "run"):
                continue
            if not _is_logged_number(value):
                raise ValueError(f"{path}, line {number} is damaged: {key}={reprlib.repr(value)} is no number")
            points[line["run"]][key].append((line["step"], float(value)))
    return {
        run: {
            key: (np.array([step for step, _ in of_key]), np.array([value for _, value in of_key]))
            for key, of_key in metrics.items()
        }
        for run, metrics in points.items()
    }


def _check_summary(path: Path, summary: dict[str, Any]) -> None:
    """Raises a ValueError if `summary.json` is not as a report reads it."""
    _check(path, "it", summary, SUMMARY)
    _check(path, "seconds", summary["seconds"], SECONDS)
    _check(path, "it", summary, {key: "number" for key in summary if key == "tokens_per_second"})
    for run in summary["runs"]:
        _check(path, "a run", run, RUN)
        _check(path, "a run", run["final"], dict.fromkeys(run["final"], "logged number"))
        _check(path, "a run", run["changes"], {key: AXES[key] for key in AXES if key in run["changes"]})
        _check(path, "the best of a run", run["best"], BEST)


def _check(where: object, name: str, found: Any, kinds: dict[str, str]) -> None:
    """Raises a ValueError if something in a file is no object, lacks a key or has a value of another kind."""
    if not isinstance(found, dict):
        raise ValueError(f"{where} is damaged: {name} is {reprlib.repr(found)}; allowed: object")
    for key, kind in kinds.items():
        if key not in found:
            raise ValueError(f"{where} is damaged: {name} lacks {key!r}")
        if not any(KINDS[each](found[key]) for each in kind.split(" or ")):
            raise ValueError(f"{where} is damaged: {key}={reprlib.repr(found[key])}; allowed: {kind}")


def _depth(content: Any, most: int) -> int:
    """Returns how deep the containers of JSON lie in one another, but looks no deeper than `most`."""
    if not isinstance(content, (dict, list)) or most == 0:
        return 0
    inner = content.values() if isinstance(content, dict) else content
    return 1 + max((_depth(value, most - 1) for value in inner), default=0)


def _is_number(value: Any) -> bool:
    """Returns True for a number that a float holds."""
    return isinstance(value, float) or type(value) is int and abs(value) <= sys.float_info.max


def _is_logged_number(value: Any) -> bool:
    """Returns True for what `json_number` writes."""
    return _is_number(value) or isinstance(value, str) and value in NOT_FINITE


KINDS: dict[str, Callable[[Any], bool]] = {
    "integer": lambda value: type(value) is int and abs(value) < 2**63,
    "logged number": _is_logged_number,
    "list": lambda value: isinstance(value, list),
    "none": lambda value: value is None,
    "number": _is_number,
    "object": lambda value: isinstance(value, dict),
    "single value": lambda value: not isinstance(value, (dict, list)),
    "text": lambda value: isinstance(value, str),
}


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
