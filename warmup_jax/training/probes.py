"""Probes: diagnostics of the runs' states between two updates, lane by lane."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax import data, diagnostics, losses, models, transforms
from warmup_jax.diagnostics import DIAGNOSTICS, Diagnostic, Timing
from warmup_jax.training import chunks
from warmup_jax.training.train_step import Knobs, Program, TrainState, each_run


class Prober(NamedTuple):
    """The static part of one probe."""

    program: Program
    name: str
    args: Mapping[str, Any]
    timing: Timing
    observe: Callable  # of `models.Model`
    numbers: Callable  # Knobs -> the optimizer's numbers by name
    unroll: bool  # no loops around the model
    batch_axis: int | None  # None: all runs are measured on one batch; 0: each on its own, leaves [R, B, ...]

    @property
    def entry(self) -> Diagnostic:
        return DIAGNOSTICS[self.name]


class ProbeInputs(NamedTuple):
    """The inputs of `measure`; fields marked [R] differ between runs, the others are shared."""

    knobs: Any  # Knobs [R]
    states: Any  # TrainState [R]
    before: Any  # [R]: the parameters before the last update; {} for a diagnostic that does not ask for them
    carries: Any  # {name: carry [R]}; {} for a diagnostic without one
    due: Any  # bool [R]; the carries of the other runs stay as they were
    arrays: Any  # the resident training split, {} if it streams
    test_arrays: Any
    batches: Any  # of `batches_for`; [R] if each run has its own
    key: Any  # with the step, of the augmentation; [R] if each run has its own batches
    step: Any  # of the last update's batch


def probe_axes(prober: Prober) -> ProbeInputs:
    """Returns the axis of the runs in each field of `ProbeInputs`."""
    axis = prober.batch_axis
    lanes = dict(knobs=0, states=0, before=0, carries=0, due=0)
    return ProbeInputs(**lanes, arrays=None, test_arrays=None, batches=axis, key=axis, step=None)


def measure(prober: Prober, inputs: ProbeInputs) -> tuple[dict, dict]:
    """Measures one diagnostic of R states.

    The loss is the training loss of the whole model without dropout. A model that normalises by batch statistics uses
    those of the batch at hand.

    Returns:
      Metrics [R] by name, and the carries.
    """
    program = prober.program

    def prepare(batches: dict, key: jax.Array) -> dict:
        key = jax.random.fold_in(key, inputs.step)
        arrays = {name: inputs.test_arrays if name == "fresh" else inputs.arrays for name in batches}
        return {name: program.prepare(arrays[name], batch, key, name != "fixed") for name, batch in batches.items()}

    def measure_run(
        knobs: Knobs, state: TrainState, before: Any, carries: dict, due: jax.Array, batches: dict
    ) -> tuple[dict, dict]:
        train = bool(jax.tree.leaves(state.stats))

        def loss(params: Any, batch: dict) -> jax.Array:
            logits, _ = program.apply(params, state.stats, batch["inputs"], train=train, key=None)
            total, _, weight = losses.sums(program.loss, logits, batch, knobs.label_smoothing)
            return total / weight

        def observe(params: Any, batch: dict) -> Any:
            return prober.observe(params, state.stats, batch["inputs"], train=train)

        probe = diagnostics.ProbeInput(
            params=state.params,
            opt_state=state.opt_state,
            hyperparams=prober.numbers(knobs),
            loss=loss,
            observe=observe,
            learning_rate=transforms.current_learning_rate(state.opt_state),
            unroll=prober.unroll,
            batch=batches.get("fixed", batches.get("used")),
            warmup_ends=state.step == knobs.warmup_steps,
            previous_params=before,
            used_batch=batches.get("used"),
            fresh_batch=batches.get("fresh"),
        )
        metrics, after = diagnostics.measure_probe({prober.name: prober.args}, probe, carries)
        return metrics, jax.tree.map(lambda new, old: jnp.where(due, new, old), after, carries)

    axis = prober.batch_axis
    prepared = (prepare if axis is None else each_run(prepare, (0, 0)))(inputs.batches, inputs.key)
    return each_run(measure_run, (0, 0, 0, 0, 0, axis))(
        inputs.knobs, inputs.states, inputs.before, inputs.carries, inputs.due, prepared
    )


def feedback(carries: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Returns the scalars [R] of the last probes that a train step may read: the sharpness, if it is measured.

    Of two, the preconditioned sharpness, which is the optimizer's own, comes first.
    """
    found = [carries[name].value for name in ("preconditioned_sharpness", "sharpness") if name in carries]
    return {"sharpness": found[0]} if found else {}


def takes_training_batches(name: str, timing: Timing) -> bool:
    """Returns True for a diagnostic of the batches that a run trains on, and not of a fixed one."""
    return timing.batch == "training" or DIAGNOSTICS[name].compares_update


def batches_for(prober: Prober, dataset: data.Dataset, seed: int, batch_size: int, step: int) -> dict[str, dict]:
    """Returns the batches of a probe after `step` updates: "fixed", "used" (by the last update) and "fresh".

    The fresh batch is drawn from the test split, which no update uses, and is another one for each step.
    """
    train, test, found = dataset.train, dataset.test, {}
    if prober.timing.batch == "fixed":
        found["fixed"] = data.examples(train, data.batch_index(seed, 0, train.size, int(prober.timing.examples or 0)))
    if takes_training_batches(prober.name, prober.timing):
        found["used"] = data.train_batch(dataset, seed=seed, batch_size=batch_size, step=max(step - 1, 0))
    if prober.entry.compares_update:
        found["fresh"] = data.examples(test, data.batch_index(seed, step, test.size, min(batch_size, test.size)))
    return found


def provided(program: Program, knobs: Knobs, model: models.Model, numbers: Mapping[str, Any], tokens: bool) -> set[str]:
    """Returns the names in `diagnostics.REQUIREMENTS` that a run provides; nothing is computed."""
    params, _ = jax.eval_shape(program.init, jax.random.key(0))
    structure: Any = jax.tree.structure(params)
    try:
        nu, _ = diagnostics.second_moment(jax.eval_shape(program.optimizer(knobs).init, params))
        complete = jax.tree.structure(nu) == structure
    except ValueError:
        complete = False
    found = {name for name, value in numbers.items() if value is not None}
    parts = (("second_moment", complete), ("relus", model.relu), ("tokens", tokens))
    return found | {name for name, there in parts if there}


def due(prober: Prober, step: int | np.ndarray, warmup_R: np.ndarray) -> np.ndarray:
    """Returns for which runs a probe is due after `step` updates, bool [R]; see `diagnostics.due`."""
    return diagnostics.due(prober.timing, prober.entry.first_step, step, warmup_R)


def begins(prober: Prober, step: int, warmup_R: np.ndarray) -> np.ndarray:
    """Returns for which runs the probe after `step` updates is their first, bool [R]."""
    return diagnostics.first_due(prober.timing, prober.entry.first_step, warmup_R) == step


def pauses(
    probers: Mapping[str, Prober], num_steps: int, warmup_R: np.ndarray
) -> tuple[list[chunks.Regular], list[int]]:
    """Returns the pauses of the loop for its probes: those at multiples of a step, and those at the ends of warmups.

    A diagnostic that compares the state with the one before the last update also pauses the loop before that update.
    """
    regular: list[chunks.Regular] = []
    single: list[int] = []
    for prober in probers.values():
        timing, first = prober.timing, prober.entry.first_step
        last = num_steps if timing.until is None else min(timing.until, num_steps)
        ends = [int(end) for end in np.unique(warmup_R) if first <= end <= last]
        for ahead in (0, 1) if prober.entry.compares_update else (0,):
            regular.append(chunks.Regular(timing.every, first, last, ahead))
            single += [end - ahead for end in ends]
    return regular, single
