"""Probes of runs between two updates: what `diagnostics` asks of their states, lane by lane."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax import data, diagnostics, losses, transforms
from warmup_jax.diagnostics import DIAGNOSTICS, Diagnostic, Timing
from warmup_jax.training.train_step import Program, each_run


class Prober(NamedTuple):
    """The static part of one probe."""

    program: Program
    name: str
    args: Mapping[str, Any]
    timing: Timing
    observe: Callable  # as `models.Model` has it
    numbers: Callable  # Knobs -> the optimizer's numbers by name
    unroll: bool  # no loops around the model

    @property
    def entry(self) -> Diagnostic:
        return DIAGNOSTICS[self.name]


def measure(prober: Prober, knobs, states, before, carries, due_R, arrays, test_arrays, batches, key):
    """One diagnostic of R states.

    The loss is that of training, of the whole model without dropout; where the model normalises by statistics of
    the batch, by those of the batch at hand.

    Args:
      prober: the static part.
      knobs, states: of the runs, leaves [R, ...].
      before: the parameters [R, ...] before the last update; {} for a diagnostic that does not ask for them.
      carries: {name: carry [R, ...]}, {} for a diagnostic without one.
      due_R: bool; what the others carry stays as it was.
      arrays, test_arrays: the resident splits, {} if they stream.
      batches: as `batches_for` gives them.
      key: of the augmentation of the last update's batch.

    Returns:
      (metrics [R] by name, carries).
    """
    program, timing = prober.program, prober.timing
    prepared = {
        name: program.prepare(test_arrays if name == "fresh" else arrays, batch, key, name != "fixed")
        for name, batch in batches.items()
    }

    def one(knobs, state, before, carries, due):
        train = bool(jax.tree.leaves(state.stats))

        def loss(params, batch):
            logits, _ = program.apply(params, state.stats, batch["inputs"], train=train, key=None)
            total, _, weight = losses.sums(program.loss, logits, batch, knobs.label_smoothing)
            return total / weight

        def observe(params, batch):
            return prober.observe(params, state.stats, batch["inputs"], train=train)

        metrics, after = diagnostics.measure_probe(
            {prober.name: prober.args},
            diagnostics.Probe(
                params=state.params,
                opt_state=state.opt_state,
                numbers=prober.numbers(knobs),
                loss=loss,
                observe=observe,
                learning_rate=transforms.current_learning_rate(state.opt_state),
                unroll=prober.unroll,
                batch=prepared.get("fixed", prepared.get("used")),
                warmup_ends=state.step == knobs.warmup_steps,
                before=before,
                used_batch=prepared.get("used"),
                fresh_batch=prepared.get("fresh"),
            ),
            carries,
        )
        return metrics, jax.tree.map(lambda new, old: jnp.where(due, new, old), after, carries)

    return each_run(one, (0, 0, 0, 0, 0))(knobs, states, before, carries, due_R)


def measured(carries: Mapping[str, Any]) -> dict[str, jax.Array]:
    """What a train step may go by of the last probes, [R] by name: the sharpness, that of the optimizer first."""
    found = [carries[name].value for name in ("preconditioned_sharpness", "sharpness") if name in carries]
    return {"sharpness": found[0]} if found else {}


def batches_for(prober: Prober, dataset: data.Dataset, seed: int, batch_size: int, step: int) -> dict[str, dict]:
    """The batches of a probe after `step` updates, by what they are: "fixed", "used" and "fresh".

    The fresh one is drawn from the test split, which no update uses, another for each step.
    """
    train, test, found = dataset.train, dataset.test, {}
    if prober.timing.batch == "fixed":
        found["fixed"] = data.examples(train, data.batch_index(seed, 0, train.size, prober.timing.examples))
    if prober.timing.batch == "training" or prober.entry.before:
        found["used"] = data.train_batch(dataset, seed=seed, batch_size=batch_size, step=max(step - 1, 0))
    if prober.entry.before:
        found["fresh"] = data.examples(test, data.batch_index(seed, step, test.size, min(batch_size, test.size)))
    return found


def offered(program: Program, knobs, model, numbers: Mapping[str, Any], tokens: bool) -> set[str]:
    """What of `diagnostics.LACKS` a run has; nothing is computed."""
    params, _ = jax.eval_shape(program.init, jax.random.key(0))
    try:
        nu, _ = diagnostics.second_moment(jax.eval_shape(program.optimizer(knobs).init, params))
        whole = jax.tree.structure(nu) == jax.tree.structure(params)
    except ValueError:
        whole = False
    return {name for name, value in numbers.items() if value is not None} | {
        name for name, there in (("second_moment", whole), ("relus", model.relu), ("tokens", tokens)) if there
    }


def due(prober: Prober, step: int | np.ndarray, warmup_R: np.ndarray) -> np.ndarray:
    """Whether it is due after `step` updates, bool [R]; see `diagnostics.due`."""
    return diagnostics.due(prober.timing, prober.entry.first, step, warmup_R)


def begins(prober: Prober, step: int, warmup_R: np.ndarray) -> np.ndarray:
    """bool [R]: for which runs the probe after `step` updates is their first."""
    return diagnostics.first_due(prober.timing, prober.entry.first, warmup_R) == step


def stops(probers: Mapping[str, Prober], num_steps: int, warmup_R: np.ndarray) -> np.ndarray:
    """The updates after which the loop has to look up for these probes, ascending."""
    steps, lengths = np.arange(num_steps + 1), np.unique(warmup_R)
    found = [np.zeros(0, int)]
    for prober in probers.values():
        of_probe = steps[due(prober, steps[:, None], lengths).any(-1)]
        found += [of_probe, of_probe - 1] if prober.entry.before else [of_probe]
    return np.unique(np.concatenate(found))
