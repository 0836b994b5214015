"""Synthetic workdirs of the studies of claims, and repositories for their files."""

import json
import subprocess

import pytest

from warmup_jax.claims import trial
from warmup_jax.report import run_record
from warmup_jax.training import sweep
from warmup_jax.workdir import lock
from warmup_jax.workdir.json_files import json_number

UNINFORMED = 3.0
SUMMARY = {
    "data": {},
    "uninformed_loss": UNINFORMED,
    "bleu_signature": None,
    "examples_per_second": 1.0,
    "seconds": {"total": 1.0, "to_first_step": 1.0},
    "peak_memory_bytes": 1,
}


@pytest.fixture(scope="session")
def write_study():
    """Writes the workdir that a study would leave; returns its record."""
    return _write_study


def _write_study(folder, study, series, commit=None):
    """`series`: changes of a run -> {step: {metric: value}}."""
    folder.mkdir(parents=True, exist_ok=True)
    config = trial.config(study).to_dict()
    lines, runs = [], []
    arms = list(config["sweep"].get("arms", [""]))
    for run, changes in enumerate(sweep.expand(config)):
        steps = series(changes)
        of_run = [{k: json_number(v) for k, v in metrics.items()} for _, metrics in sorted(steps.items())]
        lines += [{"step": step, "run": run} | line for step, line in zip(sorted(steps), of_run)]
        runs.append(
            {
                "run": run,
                "label": "run",
                "changes": changes,
                "steps": max(steps),
                "final": {key: value for line in of_run for key, value in line.items()},
                "highest_rate": 1.0,
                "best": {"step": 1, "eval/accuracy": 0.5},
                "diverged_at": None,
                "parameters": 10_000 * (1 + arms.index(changes.get("arm", arms[0]))),
            }
        )
    (folder / "config.json").write_text(json.dumps(lock.as_json(config)))
    (folder / "environment.json").write_text("{}")
    (folder / trial.BEGAN).write_text(json.dumps({"commit": commit}))
    (folder / "summary.json").write_text(json.dumps(SUMMARY | {"runs": runs}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run_record.read(folder)


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Runs git in a new repository in `tmp_path`."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "somebody@example.com")

    def run(*arguments):
        done = subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    run("init", "-q")
    (tmp_path / "code.py").write_text("pass\n")
    run("add", ".")
    run("commit", "-qm", "Code")
    return run
