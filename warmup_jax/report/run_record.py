"""Record of a run: the log files of its workdir, read and checked."""

import contextlib
import reprlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from warmup_jax.workdir.json_files import NOT_FINITE, parse_line, read_json

# Metrics that multiply by the rate of the last update: in the log 0 before the first, where there is no such rate.
AFTER_AN_UPDATE = {"diag/stability_ratio", "diag/edge_ratio", "diag/preconditioned_edge_ratio"}
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
DESCRIBED = {"run": "integer", "label": "text", "changes": "object"}  # what runs.json says of a run
RUN = DESCRIBED | {
    "steps": "integer",
    "final": "object",
    "highest_rate": "logged number or none",
    "best": "object",
    "diverged_at": "integer or none",
}
SECONDS = {"total": "number", "to_first_step": "number"}
BEST = {"step": "integer", "eval/accuracy": "logged number"}
MOST_SEEDS = 1_000_000  # of a sweep; `training/sweep.py` takes no more runs
AXES = {"peak_lr": "number", "warmup_steps": "integer", "seed": "integer"}  # of `changes`, as far as they are swept


class Record(NamedTuple):
    """Content of one workdir.

    runs: the runs of `summary.json`; without that file, the same keys as far as the log has them, with labels and
      changes of `runs.json`. Without that file too, labels are empty, and there are no changes.
    planned: all runs of the workdir, of which some may not have begun: number, label and changes of each.
    summary: the content of `summary.json`, None while the run is unfinished.
    series: {run: {metric: (steps [N], values [N])}}, without values at step 0 that are none (`AFTER_AN_UPDATE`).
    texts: the lines of `texts.jsonl`.
    """

    workdir: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    runs: list[dict[str, Any]]
    planned: list[dict[str, Any]]
    summary: dict[str, Any] | None
    series: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]]
    texts: list[dict[str, Any]]


def read(workdir: Path | Record, damages: list[str] | None = None) -> Record:
    """Reads the log files of a workdir, finished or not; a record that was read before is returned as it is.

    Args:
      workdir: folder of the run.
      damages: None: the first damaged file is an error. A list: gets a line for each, and what they hold is left out:
        a damaged file as a whole, of a log the damaged lines. Without summary.json the runs are taken from the log.

    Raises:
      ValueError: with one line, if it holds no run or a file in it is damaged.
      OSError: if a file cannot be read.
    """
    if isinstance(workdir, Record):
        return workdir
    workdir = Path(workdir)
    if not (workdir / "config.json").is_file():
        raise ValueError(f"{workdir} holds no run: there is no config.json in it")
    config, environment, summary = ({}, {}, None)
    with _noted(damages):
        config = _json(workdir / "config.json") or {}
    with _noted(damages):
        environment = _json(workdir / "environment.json") or {}
    finished = (workdir / "summary.json").exists()
    with _noted(damages):
        written = _json(workdir / "summary.json")
        if written is not None:
            _check_summary(workdir / "summary.json", written)
        summary = written
    with _noted(damages):
        if config:
            _check_config(workdir / "config.json", config, summary is not None)
    named: dict[int, dict[str, Any]] = {}
    with _noted(damages):
        named = {} if summary is not None else _described(workdir / "runs.json")
    series = _series(workdir / "metrics.jsonl", finished, damages)
    runs = [_so_far(run, series[run]) | named.get(run, {}) for run in sorted(series)]
    runs = runs if summary is None else summary["runs"]
    return Record(
        workdir,
        config,
        environment,
        runs,
        list(named.values()) or [{key: run[key] for key in DESCRIBED} for run in runs],
        summary,
        series,
        [line for _, line in _lines(workdir / "texts.jsonl", finished, damages)],
    )


@contextlib.contextmanager
def _noted(damages: list[str] | None) -> Iterator[None]:
    """Notes an error about a file as one line in a list, if there is one."""
    try:
        yield
    except (ValueError, OSError) as error:
        if damages is None:
            raise
        damages.append(" ".join(str(error).split()))


def _json(path: Path) -> dict[str, Any] | None:
    """Returns the object in a JSON file; None if there is no file."""
    if not path.exists():
        return None
    content = read_json(path)
    if _depth(content, DEEPEST + 1) > DEEPEST:
        raise ValueError(f"{path} is damaged: it is nested more than {DEEPEST} times")
    return content


def _lines(
    path: Path, finished: bool, damages: list[str] | None, numbers_only: bool = False
) -> list[tuple[int, dict[str, Any]]]:
    """Returns (number, content) of each line of a JSONL file.

    A run that is still writing, or was killed while writing, may leave an incomplete last line, which is skipped.
    """
    lines, found = [b""], []
    noted: list[str] | None = None if damages is None else []
    with _noted(damages):
        lines = path.read_bytes().split(b"\n") if path.exists() else lines
    if lines[-1] == b"" or not finished:
        lines.pop()
    for number, line in enumerate(lines, 1):
        with _noted(noted):
            content = parse_line(line, path, number)
            _check(f"{path}, line {number}", "it", content, {"step": "integer", "run": "integer"})
            if not numbers_only:
                _check(f"{path}, line {number}", "it", content, dict.fromkeys(content, "single value"))
            elif not all(map(_is_logged_number, content.values())):
                key, value = next(item for item in content.items() if not _is_logged_number(item[1]))
                raise ValueError(f"{path}, line {number} is damaged: {key}={reprlib.repr(value)} is no number")
            found.append((number, content))
    if noted and damages is not None:
        damages.append(noted[0] + (f" (and {len(noted) - 1} more lines)" if len(noted) > 1 else ""))
    return found


def _series(
    path: Path, finished: bool, damages: list[str] | None
) -> dict[int, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Returns the steps and values of every metric of every run."""
    points: dict[int, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for _, line in _lines(path, finished, damages, numbers_only=True):
        for key, value in line.items():
            if key not in ("step", "run") and not (line["step"] == 0 and key in AFTER_AN_UPDATE):
                points[line["run"]][key].append((line["step"], float(value)))
    return {
        run: {
            key: (np.array([step for step, _ in of_key]), np.array([value for _, value in of_key]))
            for key, of_key in metrics.items()
        }
        for run, metrics in points.items()
    }


def _described(path: Path) -> dict[int, dict[str, Any]]:
    """Returns what `runs.json` says of each run; nothing if there is no such file."""
    content = _json(path)
    if content is None:
        return {}
    _check(path, "it", content, {"runs": "list"})
    for run in content["runs"]:
        _check_run(path, run, DESCRIBED)
    return {run["run"]: {key: run[key] for key in DESCRIBED} for run in content["runs"]}


def _check_run(path: Path, run: Any, kinds: dict[str, str]) -> None:
    _check(path, "a run", run, kinds)
    _check(path, "a run", run["changes"], {key: AXES[key] for key in AXES if key in run["changes"]})


def _check_summary(path: Path, summary: dict[str, Any]) -> None:
    """Raises a ValueError if `summary.json` is not as a report reads it."""
    _check(path, "it", summary, SUMMARY)
    _check(path, "seconds", summary["seconds"], SECONDS)
    _check(path, "it", summary, {key: "number" for key in summary if key == "tokens_per_second"})
    for run in summary["runs"]:
        _check_run(path, run, RUN)
        _check(path, "a run", run["final"], dict.fromkeys(run["final"], "logged number"))
        _check(path, "the best of a run", run["best"], BEST)


def _check_config(path: Path, config: dict[str, Any], finished: bool) -> None:
    """Raises a ValueError if `config.json` is not as a report reads it, and takes the wrong value out of it."""
    kinds = {key: "object" for key in ("model", "dataset", "sweep") if config.get(key) is not None}
    kinds |= {"seed": "integer"} if finished or "seed" in config else {}
    for key, kind in kinds.items():
        try:
            _check(path, "it", config, {key: kind})
        except ValueError:
            config.pop(key, None)
            raise
    seeds = (config.get("sweep") or {}).get("seeds")
    if seeds is not None and not (type(seeds) is int and 0 < seeds <= MOST_SEEDS):
        del config["sweep"]
        raise ValueError(f"{path} is damaged: sweep.seeds={reprlib.repr(seeds)}; allowed: 1 to {MOST_SEEDS}")


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
