"""One trial of a claim: its studies trained, or taken from where they are, measured and judged."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from warmup_jax import config_files
from warmup_jax.claims import claim as claims
from warmup_jax.claims import history, ledger, measures, rigs, verdicts
from warmup_jax.claims.claim import Claim, Study
from warmup_jax.claims.ledger import Line
from warmup_jax.report import documented, results, run_record
from warmup_jax.report.documented import Experiment
from warmup_jax.report.run_record import Record
from warmup_jax.workdir import environment, lock
from warmup_jax.workdir.json_files import read_json, write_json

WORKDIR = Path("runs", "claims")
ENVIRONMENT = ("python", "packages", "cpu", "cores", "devices", "xla_flags")
SMOKE_SEEDS = 2
# In the workdir of a study: the commit at which its training began, which a resumed run does not change.
BEGAN = "began.json"


def experiment_of(study: Study, smoke: bool = False) -> Experiment:
    """Returns the command of a study, seeds included."""
    overrides = dict(study.overrides) | {
        "seed": str(claims.FIRST_SEED),
        "sweep.seeds": str(SMOKE_SEEDS if smoke else study.seeds),
    }
    return Experiment(study.config, overrides | (rigs.SMOKE[study.config.partition(":")[0]] if smoke else {}))


def config(study: Study, smoke: bool = False) -> ConfigDict:
    """Returns the config of a study, locked.

    Raises:
      ValueError: if its file or one of its overrides is not right.
    """
    experiment = experiment_of(study, smoke)
    found: ConfigDict = config_files.load(str(config_files.ROOT / experiment.config))
    config_files.override(found, [(f"config.{key}", value) for key, value in experiment.overrides.items()])
    return found


def name(found: ConfigDict, study: Study) -> str:
    """Returns the name of a study's workdir, the same for equal configs: claims share such a training."""
    return f"{Path(study.config.partition(':')[0]).stem}-{results.config_digest(lock.as_json(found.to_dict()))[:12]}"


def command(study: Study) -> str:
    """Returns the command that trains a study alone, as it stands in the documents."""
    return documented.command(experiment_of(study))


def records(claim: Claim, scale: str, workdir: Path, commit: str | None, smoke: bool) -> dict[str, Record]:
    """Trains the studies of a claim that are not finished yet, and reads them.

    Args:
      claim: with studies at this scale.
      scale: one of `claims.SCALES`.
      workdir: folder of the workdirs of all studies.
      commit: the current one, None if it is not what is run.
      smoke: tiny models and two seeds.

    Raises:
      UserError: for a workdir or data that cannot be used.
      Interrupted: after a signal, once everything is saved.
      OSError: if the disk is full.
    """
    from warmup_jax.training import experiment  # it imports much, which the claims without training do not need

    found = {}
    for study_name, study in claim.studies.get(scale, {}).items():
        wanted = config(study, smoke)
        folder = workdir / name(wanted, study)
        print(f"{claim.id}: study {study_name} in {folder}", flush=True)
        if not (folder / lock.FILE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / BEGAN, {"commit": commit})
        if not _is_finished(folder, wanted):
            experiment.run(wanted, folder)
        found[study_name] = run_record.read(folder)
    return found


def run(claim: Claim, scale: str, workdir: Path, root: Path, smoke: bool = False) -> Line:
    """Tries a claim and returns its entry of the ledger, without writing it.

    Args:
      claim: one that can be tried at this scale.
      scale: one of `claims.SCALES`.
      workdir: folder of the workdirs of all studies; what is finished there is not trained again.
      root: of the repository with the registry.
      smoke: tiny models and two seeds, to see that all of it works.

    Raises:
      As `records`.
    """
    assert claim.measure is not None
    begin = time.perf_counter()
    commit, dirty = history.head(root), history.is_dirty(root)
    of_studies = records(claim, scale, workdir, None if dirty else commit, smoke)
    numbers = ledger.encode(claim.measure(of_studies))
    judged = verdicts.judge(claim.criteria, ledger.decode(numbers))
    fingerprint = claims.fingerprint(claim)
    here = environment.environment()
    about_studies = {key: about(record, claim.studies[scale][key]) for key, record in of_studies.items()}
    # A training of before the criteria were frozen may have been seen by who wrote them.
    began = [commit, *(study["commit"] for study in about_studies.values())]
    confirmatory = not dirty and all(fingerprint in frozen(root, each, claim.id) for each in began)
    return {
        "claim": claim.id,
        "fingerprint": fingerprint,
        "scale": scale,
        "date": here["date"],
        "commit": commit,
        "dirty": dirty,
        "exploratory": smoke or not confirmatory,
        "environment": {key: here[key] for key in ENVIRONMENT},
        "seeds": claims.seeds(claim, scale),
        "studies": about_studies,
        "numbers": numbers,
        "criteria": judged,
        "verdict": verdicts.verdict(judged).value,
        "predicted": claim.predicted,
        "seconds": round(time.perf_counter() - begin, 1),
    }


def frozen(root: Path, commit: str | None, id: str) -> dict[str, Line]:
    """Returns what the registry of a commit holds of a claim: {fingerprint: line}."""
    text = history.content(root, commit, ledger.REGISTRY) if commit else None
    lines = ledger.parse(text, f"{ledger.REGISTRY} of {commit}") if text else []
    return {line["fingerprint"]: line for line in lines if line["claim"] == id}


def about(record: Record, study: Study) -> Line:
    """Returns what the ledger keeps of a study: command, data, cost, and the outcome of each run by seed."""
    assert record.summary is not None
    cells: dict[str, dict[str, list[Any]]] = {}
    for run in measures.runs(record):
        label = ", ".join(f"{key}={value}" for key, value in run.changes.items() if key != "seed")
        cell = cells.setdefault(label, {"seeds": [], "states": [], "train_loss": [], "test_loss": []})
        for key, value in zip(cell, (run.seed, run.state, run.train_loss, run.test_loss), strict=True):
            cell[key].append(value)
    return {
        "workdir": record.workdir.name,
        "command": command(study),
        "config": results.config_digest(record.config),
        "commit": read_json(record.workdir / BEGAN)["commit"] if (record.workdir / BEGAN).exists() else None,
        "data": record.summary["data"],
        "uninformed_loss": record.summary["uninformed_loss"],
        "runs": len(record.runs),
        "seconds": round(record.summary["seconds"]["total"], 1),
        "cells": ledger.encode(cells),
    }


def _is_finished(folder: Path, wanted: ConfigDict) -> bool:
    """Returns True if a workdir holds all runs of a config."""
    if not (folder / "summary.json").exists():
        return False
    stored: Mapping[str, Any] = run_record.read(folder).config
    return not lock.differences(lock.as_json(wanted.to_dict()), stored)
