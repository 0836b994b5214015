"""The content of `summary.json`: final and best values of each run, and the cost of all of them."""

import resource
import sys
from pathlib import Path
from typing import Any

from warmup_jax import data
from warmup_jax.losses import LOSSES
from warmup_jax.training import sweep
from warmup_jax.training.program import Job
from warmup_jax.workdir.json_files import json_number, read_lines
from warmup_jax.workdir.logs import bleu_signature
from warmup_jax.workdir.timers import Timers


def summarise(job: Job, workdir: Path, timers: Timers) -> dict[str, Any]:
    """Returns the summary of a job whose runs have all ended, from their log."""
    lines: dict[int, list[dict]] = {run: [] for run in range(len(job.changes))}
    for line in read_lines(workdir / "metrics.jsonl"):
        lines[line["run"]].append(line)
    parameters = {run: group.plan.parameters for group in job.groups for run in group.runs}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    throughput = {name.removeprefix("perf/"): value for name, value in timers.throughput().items()}
    return {
        "runs": [{**summarise_run(run, job.changes[run], lines[run]), "parameters": parameters[run]} for run in lines],
        "data": job.dataset.facts,
        "vocabulary": job.vocabulary,
        "uninformed_loss": uninformed_loss(job),
        "bleu_signature": bleu_signature(workdir),
        **throughput,
        "seconds": timers.seconds(),
        "peak_memory_bytes": peak,
    }


def describe(run: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Returns what is known of a run before it begins."""
    return {"run": run, "label": sweep.label(changes), "changes": changes}


def summarise_run(run: int, changes: dict[str, Any], lines: list[dict]) -> dict[str, Any]:
    """Returns the final and best values of one run, from its lines of the log."""
    final = {key: value for line in lines for key, value in line.items() if "/" in key}
    best = max((line for line in lines if "eval/accuracy" in line), key=lambda line: line["eval/accuracy"])
    rates = [line["opt/learning_rate"] for line in lines if "opt/learning_rate" in line]
    return {
        **describe(run, changes),
        "steps": lines[-1]["step"],
        "final": {key: json_number(value) for key, value in final.items() if key != "train/diverged_at"},
        "highest_rate": json_number(max(rates)),
        "best": {"step": best["step"], "eval/accuracy": best["eval/accuracy"]},
        "diverged_at": final.get("train/diverged_at"),
    }


def uninformed_loss(job: Job) -> float | None:
    """Returns the training loss of the best prediction that ignores the input.

    None for data that stream, and for runs that do not share one loss and label smoothing.
    """
    losses = {(run["loss"], run["label_smoothing"]) for plan in job.plans for run in plan.run_configs}
    if job.dataset.train.arrays is None or len(losses) > 1:
        return None
    ((loss, label_smoothing),) = losses
    counts = data.label_counts(job.dataset)
    return LOSSES[loss].uninformed(counts / counts.sum(), label_smoothing)
