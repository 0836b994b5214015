"""The one train step: pure functions of knobs, state and batch.

Shapes: R runs that train together (lanes), C updates of a chunk, B examples of a batch.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from warmup_jax import diagnostics, losses, transforms

NEVER = -1  # `diverged_at` of a run whose every step was finite


class Knobs(NamedTuple):
    """The hyperparameters of a run that a sweep may change without a new compilation: they are traced.

    The dicts hold the traced arguments of the components by name, scalars or arrays. With a leading axis [R] on every
    leaf they are the knobs of R runs.
    """

    seed: Any  # uint32: initialisation, dropout, and the order of the data unless runs share it
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
    """The static part of a run: everything that a compilation depends on."""

    init: Callable  # key -> (params, stats)
    apply: Callable  # (params, stats, inputs, *, train, key) -> (logits, stats)
    prepare: Callable  # (arrays, batch, key, train) -> {"inputs", "labels"[, "weights"]}; labels [B] or [B, T]
    optimizer: Callable  # Knobs -> optax.GradientTransformation
    loss: Callable  # (logits [..., K], labels [...], label smoothing) -> losses [...]
    diagnostics: dict  # those of every update, by name; {} for none
    batch_axis: int | None = None  # None: all runs train on one batch; 0: each on its own, leaves [R, B, ...]


class TrainState(NamedTuple):
    """The state of a run: everything that changes while it trains."""

    step: jax.Array  # int32: updates applied so far
    params: Any  # nested dict, float32
    stats: Any  # nested dict: running statistics of normalisation
    opt_state: Any
    diverged_at: jax.Array  # int32: the first update whose loss or gradient was not finite, or NEVER


class ChunkInputs(NamedTuple):
    """The inputs of `train_chunk` besides the states; fields marked [R] differ between runs, the others are shared.

    `chunk_axes` gives the axis of the runs of each field, None for the shared ones.
    """

    knobs: Any  # Knobs [R]
    feedback: Any  # {name: [R]}: scalars of the last probes that transformations may read, {} or the `sharpness`
    arrays: Any  # the resident data set, {} if it streams
    batches: Any  # leaves [C, B, ...], or [R, C, B, ...] if each run has its own
    steps: Any  # int32 [C]: updates applied before each of them
    key: Any  # with the step, the source of the augmentation's randomness; [R] if each run has its own batches


def chunk_axes(program: Program) -> ChunkInputs:
    """Returns the axis of the runs in each field of `ChunkInputs`."""
    axis = program.batch_axis
    return ChunkInputs(knobs=0, feedback=0, arrays=None, batches=axis, steps=None, key=axis)


def init_state(program: Program, knobs: Knobs, weights: tuple[Any, Any] | None = None) -> TrainState:
    """Returns the state before the first update: of the weights (params, stats), or a pure function of the seed."""
    params, stats = program.init(_run_key(knobs, 0)) if weights is None else weights
    opt_state = program.optimizer(knobs).init(params)
    return TrainState(jnp.zeros([], jnp.int32), params, stats, opt_state, jnp.full([], NEVER, jnp.int32))


def train_step(
    program: Program, knobs: Knobs, states: TrainState, batch: dict, feedback: Mapping[str, Any]
) -> tuple[TrainState, dict]:
    """Applies one update to R runs.

    Loss, accuracy and gradient norm are of the parameters before the update;
    the learning rate is the one that the update applied; the gradient norm is
    taken before clipping. Where labels are sequences, loss and accuracy are
    means over tokens, and the metrics hold their number without padding.

    Args:
      program: the static part.
      knobs: knobs with leaves [R, ...].
      states: states with leaves [R, ...].
      batch: with leaves [B, ...], which the runs share, or [R, B, ...], as `program.batch_axis` says.
      feedback: scalars [R] that transformations may read and that a step does not measure itself: {} or the
        `sharpness` of the last probe.

    Returns:
      The states after the update, and metrics [R] by name.
    """
    axes = (0, 0, program.batch_axis)
    grads, stats, metrics = each_run(partial(loss_and_gradient, program), axes)(knobs, states, batch)
    # Mapped even for a single run. Without the map a reshape would stand between the arithmetic and the state, and XLA
    # would compute the moments twice and copy the state instead of overwriting it.
    return jax.vmap(partial(apply_gradients, program))(knobs, states, grads, stats, metrics, feedback)


def loss_and_gradient(program: Program, knobs: Knobs, state: TrainState, batch: dict) -> tuple[Any, Any, dict]:
    """Returns the gradients of one run, its statistics after the batch, and loss and accuracy as metrics."""

    def objective(params: Any) -> tuple[jax.Array, tuple[Any, dict]]:
        key = jax.random.fold_in(_run_key(knobs, 1), state.step)
        logits, stats = program.apply(params, state.stats, batch["inputs"], train=True, key=key)
        loss, accuracy, total = losses.sums(program.loss, logits, batch, knobs.label_smoothing)
        metrics = {"train/loss": loss / total, "train/accuracy": accuracy / total}
        return loss / total, (stats, metrics | ({"train/tokens": total} if batch["labels"].ndim > 1 else {}))

    (_, (stats, metrics)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    return grads, stats, metrics


def apply_gradients(
    program: Program,
    knobs: Knobs,
    state: TrainState,
    grads: Any,
    stats: Any,
    metrics: dict,
    feedback: Mapping[str, Any],
) -> tuple[TrainState, dict]:
    """Returns the state of one run after the update with these gradients, and all metrics of the update."""
    loss, accuracy = metrics["train/loss"], metrics["train/accuracy"]
    updates, opt_state = optimizer_update(
        program.optimizer(knobs), grads, state.opt_state, state.params, loss, accuracy, feedback
    )
    params = optax.apply_updates(state.params, updates)
    grad_norm, learning_rate = optax.tree.norm(grads), transforms.current_learning_rate(opt_state)
    metrics = metrics | {"opt/learning_rate": learning_rate, "opt/grad_norm": grad_norm}
    metrics |= diagnostics.measure_step(
        program.diagnostics,
        diagnostics.StepInfo(
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


def optimizer_update(
    tx: optax.GradientTransformation,
    grads: Any,
    opt_state: Any,
    params: Any,
    loss: Any,
    accuracy: Any,
    feedback: Mapping[str, Any],
) -> tuple[Any, Any]:
    """Returns `tx.update`, with `value`, `accuracy`, `error` and the feedback as its extra arguments."""
    return optax.with_extra_args_support(tx).update(
        grads, opt_state, params, value=loss, accuracy=accuracy, error=1 - accuracy, **feedback
    )


def train_chunk(program: Program, states: TrainState, inputs: ChunkInputs) -> tuple[TrainState, dict]:
    """Applies C updates to R runs in one dispatch.

    Args:
      program: the static part.
      states: states with leaves [R, ...].
      inputs: everything else.

    Returns:
      The states after the chunk, and metrics [R, C] by name.
    """

    def step_all(states: TrainState, batch_and_step: tuple[dict, jax.Array]) -> tuple[TrainState, dict]:
        batch, step = batch_and_step
        batch = prepare(program, inputs.arrays, batch, inputs.key, step)
        return train_step(program, inputs.knobs, states, batch, inputs.feedback)

    batches = inputs.batches
    if program.batch_axis == 0:
        batches = jax.tree.map(lambda x_RxC: jnp.swapaxes(x_RxC, 0, 1), batches)
    if inputs.steps.size == 1:  # without a loop, in which a convolution on CPU loses its fast path
        states, metrics = step_all(states, jax.tree.map(lambda x: x[0], (batches, inputs.steps)))
        return states, jax.tree.map(lambda m_R: m_R[:, None], metrics)
    states, metrics = jax.lax.scan(step_all, states, (batches, inputs.steps))
    return states, jax.tree.map(lambda m_CxR: m_CxR.T, metrics)


def prepare(program: Program, arrays: dict, batch: dict, key: jax.Array, step: Any) -> dict:
    """Returns the inputs and labels of the training batch of a step, for each run if each has its own."""

    def prepare_one(batch: dict, key: jax.Array) -> dict:
        return program.prepare(arrays, batch, jax.random.fold_in(key, step), True)

    return prepare_one(batch, key) if program.batch_axis is None else each_run(prepare_one, (0, 0))(batch, key)


def eval_step(program: Program, states: TrainState, arrays: dict, batch: dict) -> dict:
    """Returns the sums [R] of loss, correct predictions and weights over one batch, with fixed running statistics."""
    batch = program.prepare(arrays, batch, None, False)

    def sums(state: TrainState) -> dict:
        logits, _ = program.apply(state.params, state.stats, batch["inputs"], train=False, key=None)
        return dict(zip(("loss", "correct", "weight"), losses.sums(program.loss, logits, batch, 0.0)))

    return each_run(sums, (0,))(states)


def each_run(function: Callable, in_axes: tuple) -> Callable:
    """Returns `jax.vmap` of a function over runs, except that a single run is not mapped at all.

    A mapped convolution is a grouped one, which is slower on CPU. `in_axes` has 0 or None for each argument.
    """

    def mapped(*args: Any) -> Any:
        lanes = jax.tree.leaves([arg for arg, axis in zip(args, in_axes) if axis == 0])[0].shape[0]
        if lanes > 1:
            return jax.vmap(function, in_axes)(*args)
        single = [arg if axis is None else jax.tree.map(lambda x: x[0], arg) for arg, axis in zip(args, in_axes)]
        return jax.tree.map(lambda x: x[None], function(*single))

    return mapped


def _run_key(knobs: Knobs, index: int) -> jax.Array:
    """Returns the key of one of the random streams of a run alone: 0 initialisation, 1 dropout."""
    return jax.random.fold_in(jax.random.key(knobs.seed), index)
