"""Workdirs written by hand: what a run leaves, without a run."""

import itertools
import json
import math

import pytest

from warmup_jax import pictures
from warmup_jax.workdir import logs

SUMMARY = {
    "data": {},
    "uninformed_loss": None,
    "vocabulary": None,
    "bleu_signature": None,
    "examples_per_second": 1234.4,
    "seconds": {"total": 61.0, "to_first_step": 2.25},
    "peak_memory_bytes": 2**29,
}
LOSSES = {"trained": (2.5, 1.0, 0.4), "stuck": (2.5, 2.4, 2.4), "diverged": (2.5, 1e30, math.nan)}
ACCURACY = {"trained": 0.9, "stuck": 0.25, "diverged": 0.0}


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setattr(pictures, "DPI", 20)


@pytest.fixture
def write(tmp_path):
    """Writes a workdir of runs [(changes, state)] with three logged steps each; returns its path.

    more: (run, changes) -> {step: further metrics}. Whatever else is given goes into summary.json;
    summary=None leaves it out.
    """

    def write_workdir(runs, name="run", more=None, config=None, **summary):
        workdir = tmp_path / name
        workdir.mkdir(parents=True)
        described, lines = [], []
        for run, (changes, state) in enumerate(runs):
            rate = changes.get("peak_lr", 0.5)
            scores = {"eval/loss": LOSSES[state][-1] + 0.1, "eval/accuracy": ACCURACY[state]}
            steps = {
                step: {"train/loss": loss, "opt/learning_rate": rate * step / 20}
                for step, loss in zip((1, 10, 20), LOSSES[state])
            }
            for step, metrics in (more(run, changes) if more else {}).items():
                steps[step] = steps.get(step, {}) | metrics
            steps[20] |= scores
            of_run = [
                {"step": step, "run": run} | {key: logs.json_number(value) for key, value in metrics.items()}
                for step, metrics in sorted(steps.items())
            ]
            lines += of_run
            described.append(
                {
                    "run": run,
                    "label": ", ".join(f"{key}={value}" for key, value in changes.items()) or "run",
                    "changes": changes,
                    "steps": 20,
                    "final": {key: value for line in of_run for key, value in line.items() if "/" in key},
                    "highest_rate": rate,
                    "best": {"step": 20, "eval/accuracy": ACCURACY[state]},
                    "diverged_at": 11 if state == "diverged" else None,
                }
            )
        (workdir / "config.json").write_text(json.dumps({"seed": 7} | (config or {})))
        (workdir / "environment.json").write_text(json.dumps({"python": "3.11"}))
        (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if summary != {"summary": None}:
            (workdir / "summary.json").write_text(json.dumps(SUMMARY | {"runs": described} | summary))
        return workdir

    return write_workdir


@pytest.fixture
def write_sweep(write):
    """Writes a sweep; rows: {(warmup_steps, seed): a letter for the state at each rate}, or by (facet, ...)."""

    def write_rows(rates, rows, name="run", axis=None, **kwargs):
        states = {"t": "trained", "s": "stuck", "d": "diverged"}
        runs = [
            ({axis: place[0]} if axis else {}) | {"peak_lr": rate, "warmup_steps": place[-2], "seed": place[-1]}
            for place, rate in itertools.product(rows, rates)
        ]
        letters = itertools.chain(*rows.values())
        return write([(changes, states[letter]) for changes, letter in zip(runs, letters)], name, **kwargs)

    return write_rows
