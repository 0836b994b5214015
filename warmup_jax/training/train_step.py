"""The one train step: what a run computes, as pure functions of knobs, state and batch.

Shapes: R runs (lanes), C steps of a chunk, B examples of a batch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from warmup_jax import diagnostics, losses, transforms

NEVER = -1  # `diverged_at` of a run whose every step was finite


class Knobs(NamedTuple):
    """The numbers of a run that a sweep may change; traced, so one program serves all their values.

    The dicts hold the traced arguments of the components by name, scalars or
    arrays. With a leading axis [R] on every leaf they are the knobs of R runs.
    """

    seed: Any  # uint32: initialisation and dropout
    peak_lr: Any
    init_lr: Any
    end_lr: Any
    warmup_steps: Any  # int32: updates
    num_steps: Any  # int32: updates of the whole run
    label_smoothing: Any
    optimizer_args: dict[str, Any]
    warmup_args: dict[str, Any]
    schedule_args: dict[str, Any]
    recipe_args: dict[str, Any]
    transforms_args: dict[str, Any]


class Program(NamedTuple):
    """The static part of a run: what a compilation depends on."""

    init: Callable  # key -> (params, stats)
    apply: Callable  # (params, stats, inputs, *, train, key) -> (logits, stats)
    prepare: Callable  # (arrays, batch, key, train) -> {"inputs", "labels"[, "weights"]}; labels [B] or [B, T]
    optimizer: Callable  # Knobs -> optax.GradientTransformation
    loss: Callable  # (logits [..., K], labels [...], label smoothing) -> losses [...]
    diagnostics: dict  # of every update, by name; {} for none


class TrainState(NamedTuple):
    """All that changes while a run trains."""

    step: jax.Array  # int32: updates applied so far
    params: Any  # nested dict, float32
    stats: Any  # nested dict: running statistics of normalisation
    opt_state: Any
    diverged_at: jax.Array  # int32: the first update whose loss or gradient was not finite, or NEVER


def init_state(program: Program, knobs: Knobs) -> TrainState:
    """The state before the first update: a pure function of the knobs' seed."""
    params, stats = program.init(_stream(knobs, 0))
    opt_state = program.optimizer(knobs).init(params)
    return TrainState(jnp.zeros([], jnp.int32), params, stats, opt_state, jnp.full([], NEVER, jnp.int32))


def train_step(program: Program, knobs: Knobs, states: TrainState, batch: dict, measured: dict):
    """One update of R runs on the same batch.

    Loss, accuracy and gradient norm are of the parameters before the update;
    the learning rate is the one that the update applied; the gradient norm is
    taken before clipping. Where labels are sequences, loss and accuracy are
    means over tokens, and the metrics hold their number without padding.

    Args:
      program: the static part.
      knobs: knobs with leaves [R, ...].
      states: states with leaves [R, ...].
      batch: what the runs share, with leaves [B, ...].
      measured: what transformations may go by that a step does not measure itself, with leaves [R]: {} or the
        `sharpness` of the last probe.

    Returns:
      The states after the update, and metrics [R] by name.
    """
    found = each_run(partial(loss_and_gradient, program), (0, 0, None))(knobs, states, batch)
    # Mapped also for a single run: between its arithmetic and the state there is nothing then, not even a reshape, for
    # which XLA would compute moments twice and copy the state, instead of writing over it.
    return jax.vmap(partial(apply_gradients, program))(knobs, states, *found, measured)


def loss_and_gradient(program: Program, knobs: Knobs, state: TrainState, batch: dict):
    """Of one run: (gradients, statistics after the batch, loss and accuracy as metrics)."""

    def objective(params):
        key = jax.random.fold_in(_stream(knobs, 1), state.step)
        logits, stats = program.apply(params, state.stats, batch["inputs"], train=True, key=key)
        loss, accuracy, total = losses.sums(program.loss, logits, batch, knobs.label_smoothing)
        metrics = {"train/loss": loss / total, "train/accuracy": accuracy / total}
        return loss / total, (stats, metrics | ({"train/tokens": total} if batch["labels"].ndim > 1 else {}))

    (_, (stats, metrics)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    return grads, stats, metrics


def apply_gradients(
    program: Program, knobs: Knobs, state: TrainState, grads: Any, stats: Any, metrics: dict, measured: dict
):
    """Of one run: the state after the update by these gradients, and all its metrics."""
    loss, accuracy = metrics["train/loss"], metrics["train/accuracy"]
    updates, opt_state = updated(
        program.optimizer(knobs), grads, state.opt_state, state.params, loss, accuracy, measured
    )
    params = optax.apply_updates(state.params, updates)
    grad_norm, learning_rate = optax.tree.norm(grads), transforms.current_learning_rate(opt_state)
    metrics = metrics | {"opt/learning_rate": learning_rate, "opt/grad_norm": grad_norm}
    metrics |= diagnostics.measure_step(
        program.diagnostics,
        diagnostics.Step(
            params=state.params,
            grads=grads,
            updates=updates,
            after=params,
            opt_state=opt_state,
            learning_rate=learning_rate,
        ),
    )
    step = state.step + 1
    fails_first = ~jnp.isfinite(loss + grad_norm) & (state.diverged_at == NEVER)
    return TrainState(step, params, stats, opt_state, jnp.where(fails_first, step, state.diverged_at)), metrics


def updated(tx: optax.GradientTransformation, grads: Any, opt_state: Any, params: Any, loss, accuracy, measured: dict):
    """`tx.update` with what was measured, for transformations that go by it: `value`, `accuracy`, `error`, others."""
    return optax.with_extra_args_support(tx).update(
        grads, opt_state, params, value=loss, accuracy=accuracy, error=1 - accuracy, **measured
    )


def train_chunk(
    program: Program,
    knobs: Knobs,
    states: TrainState,
    arrays: dict,
    batches: dict,
    steps: jax.Array,
    key: jax.Array,
    measured: dict,
):
    """C updates of R runs on the same batches, in one dispatch.

    Args:
      program: the static part.
      knobs: knobs with leaves [R, ...].
      states: states with leaves [R, ...].
      arrays: the resident data set, {} if it streams.
      batches: batches with leaves [C, B, ...].
      steps: int32 [C], the updates applied before each of them.
      key: from which, with the step, the augmentation of a batch is drawn.
      measured: scalars [R] by name, see `train_step`.

    Returns:
      The states after the chunk, and metrics [R, C] by name.
    """

    def step_all(states, batch_and_step):
        batch, step = batch_and_step
        batch = program.prepare(arrays, batch, jax.random.fold_in(key, step), True)
        return train_step(program, knobs, states, batch, measured)

    if steps.size == 1:  # no loop around it: performance on CPU depends on that
        states, metrics = step_all(states, jax.tree.map(lambda x: x[0], (batches, steps)))
        return states, jax.tree.map(lambda m_R: m_R[:, None], metrics)
    states, metrics = jax.lax.scan(step_all, states, (batches, steps))
    return states, jax.tree.map(lambda m_CxR: m_CxR.T, metrics)


def eval_step(program: Program, states: TrainState, arrays: dict, batch: dict) -> dict:
    """Sums [R] of loss, correct predictions and weights over one batch, running statistics fixed."""
    batch = program.prepare(arrays, batch, None, False)

    def sums(state):
        logits, _ = program.apply(state.params, state.stats, batch["inputs"], train=False, key=None)
        return dict(zip(("loss", "correct", "weight"), losses.sums(program.loss, logits, batch, 0.0)))

    return each_run(sums, (0,))(states)


def each_run(function: Callable, in_axes: tuple) -> Callable:
    """`jax.vmap` over runs, except that a single run is not mapped at all.

    A mapped convolution is a grouped one, which is slower on CPU.
    """

    def mapped(*args):
        lanes = jax.tree.leaves([arg for arg, axis in zip(args, in_axes) if axis == 0])[0].shape[0]
        if lanes > 1:
            return jax.vmap(function, in_axes)(*args)
        args = [arg if axis is None else jax.tree.map(lambda x: x[0], arg) for arg, axis in zip(args, in_axes)]
        return jax.tree.map(lambda x: x[None], function(*args))

    return mapped


def _stream(knobs: Knobs, index: int) -> jax.Array:
    """One of a run's independent random streams: 0 initialisation, 1 dropout."""
    return jax.random.fold_in(jax.random.key(knobs.seed), index)
