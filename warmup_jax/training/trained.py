"""Trained weights: loaded to use them, and as the start of other runs."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from warmup_jax import config_files, data, models, places
from warmup_jax.training import program, schema, stored, sweep
from warmup_jax.training.program import Job
from warmup_jax.workdir.checkpoint import Checkpoints, fill
from warmup_jax.workdir.lock import FILE

FORM = re.compile(r"(?P<workdir>.+?)(?::(?P<run>\d+)(?:@(?P<step>\d+))?)?")


class Trained(NamedTuple):
    """A run's weights at one of its checkpoints, and what is needed to use them.

    Attributes:
      config: of this run, a nested dict; what a sweep changes is in its place.
      step: updates applied.
      params: parameters, a nested dict of numpy arrays.
      stats: running statistics of BatchNorm, {} for a model without them.
      apply: `apply(params, inputs) -> logits` in evaluation: without dropout, with the statistics in `stats`, which the
        argument `stats=` replaces. Inputs are those of `dataset.prepare`. It is pure, and can be jitted.
      dataset: the data that the run trained on; `dataset.texts.decode` turns tokens into text.
      model: the model as pure functions, with `begin` and `step` for decoding.
    """

    config: dict[str, Any]
    step: int
    params: dict[str, Any]
    stats: dict[str, Any]
    apply: Callable[..., jax.Array]
    dataset: data.Dataset
    model: models.Model


def load(workdir: str | os.PathLike, run: int = 0, step: int | None = None, data_dir: str | None = None) -> Trained:
    """Loads the weights of a run from its checkpoints.

    Args:
      workdir: folder of the run, which is only read.
      run: of a sweep, counted from 0 as in `metrics.jsonl`.
      step: updates applied; None: the newest checkpoint that is intact.
      data_dir: where the data set is now; None: where the config says.

    Returns:
      A `Trained`.

    Raises:
      ValueError, OSError: if there is no such run or step, or the data cannot be loaded; one line.
    """
    folder = _existing("workdir", workdir)
    whole = config_files.load(str(folder / FILE)).to_dict()
    changes = sweep.expand(whole)
    if type(run) is not int or not 0 <= run < len(changes):
        raise ValueError(f"run={run}; allowed: integers from 0 to {len(changes) - 1}, the runs in {folder}")
    if step is not None and type(step) is not int:
        raise ValueError(f"step={step!r}; allowed: integers, or None for the newest")
    config = sweep.assign(whole, changes[run]) | {"sweep": {}}
    if data_dir is not None:
        config["dataset"]["data_dir"] = data_dir
    schema.check_keys(config)
    dataset = data.load(**config["dataset"])
    model = program.build_model(config, dataset)
    state = stored.read_run(folder, run, step)
    stored.check_vocabulary(folder, state.vocabulary, dataset.texts and dataset.texts.fingerprint)
    try:
        params, stats = _weights(model, state)
    except ValueError as error:
        raise ValueError(f"the checkpoint in {folder} is of another program: {error}") from None

    def apply(params: Any, inputs: Any, stats: Any = stats) -> jax.Array:
        logits, _ = model.apply(params, stats, inputs, train=False, key=None)
        return logits

    return Trained(config, state.step, params, stats, apply, dataset, model)


def start_weights(job: Job, workdir: Path) -> tuple[Any, Any] | None:
    """Returns the weights (params, stats) that all runs of a job start from, None if the config names none.

    A workdir that has been written to holds them itself, so that what `init_from` names may change or go.

    Raises:
      ValueError: if they are not there, or do not fit the model.
    """
    named = job.config["init_from"]
    if named is None:
        return None
    own = Checkpoints(workdir / stored.WEIGHTS, read_only=True)
    if own.steps():
        arrays, _ = own.read(0)
        state = stored.StoredRun(0, arrays, job.vocabulary)
    else:
        parts = FORM.fullmatch(named)
        try:
            if parts is None:
                raise ValueError("allowed: WORKDIR[:RUN[@STEP]]")
            source = _existing("init_from", parts["workdir"])
            state = stored.read_run(source, int(parts["run"] or 0), int(parts["step"]) if parts["step"] else None)
        except ValueError as error:
            told = str(error).startswith("init_from=")
            raise ValueError(str(error) if told else f"init_from={named!r}: {error}") from None
    if state.vocabulary != job.vocabulary:
        raise ValueError(f"init_from={named!r} was trained with another vocabulary than that of the data here")
    for plan in job.plans:
        try:
            weights = _weights(program.build_model(plan.config, job.dataset), state)
        except ValueError as error:
            raise ValueError(f"init_from={named!r} does not fit the model: {error}") from None
    return weights


def keep_start_weights(job: Job, workdir: Path) -> None:
    """Saves the weights that the runs of a job start from in their workdir, unless it holds them."""
    if job.weights is None:
        return
    own = Checkpoints(workdir / stored.WEIGHTS)
    if not own.steps():
        params, stats = job.weights
        own.save(0, {"1": {"params": params, "stats": stats}}, {"init_from": job.config["init_from"]})
    own.close()


def _weights(model: models.Model, state: stored.StoredRun) -> tuple[Any, Any]:
    """Returns parameters and statistics from the arrays of a checkpoint; raises ValueError if they do not fit."""
    params, stats = jax.eval_shape(model.init, jax.random.key(0))
    found = []
    for name, template in (("params", params), ("stats", stats)):
        prefix = f"1.{name}."  # of (knobs, states, carries)
        arrays = {key.removeprefix(prefix): array for key, array in state.arrays.items() if key.startswith(prefix)}
        found.append(fill(template, arrays))
    return found[0], found[1]


def _existing(key: str, workdir: str | os.PathLike) -> Path:
    """Returns the folder of a run; raises ValueError if it is none."""
    folder = places.local(key, workdir)
    if not (folder / FILE).is_file():
        raise ValueError(f"{key}={str(workdir)!r} is no folder of a run: it has no {FILE}")
    return folder
