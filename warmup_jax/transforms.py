"""optax transformations around the learning rate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from warmup_jax.schedules import Schedule


class RecordedLearningRateState(NamedTuple):
    """State of `scale_by_recorded_learning_rate`."""
    count: jax.Array          # int32 scalar: updates applied so far
    learning_rate: jax.Array  # float32 scalar: rate of the last update, 0 before the first


def scale_by_recorded_learning_rate(schedule: Schedule) -> optax.GradientTransformation:
    r"""Multiplies updates by :math:`-\eta(t)` and keeps the rate that it applied in its state.

    What is logged is thereby read, not recomputed: it cannot be off by one
    update. The rate is float32 and the product is rounded once to the dtype of
    the update, so that low-precision updates do not quantise the schedule.

    Args:
      schedule: an optax schedule `t -> learning rate`.

    Returns:
      A `GradientTransformation` whose state is a `RecordedLearningRateState`.

    Examples:
      >>> tx = scale_by_recorded_learning_rate(lambda t: 0.5 / (t + 1))
      >>> state = tx.init({"w": jnp.zeros(2)})
      >>> updates, state = tx.update({"w": jnp.ones(2)}, state)
      >>> updates["w"].tolist(), float(current_learning_rate(state))
      ([-0.5, -0.5], 0.5)
    """
    def init(params):
        del params
        return RecordedLearningRateState(jnp.zeros([], jnp.int32), jnp.zeros([], jnp.float32))

    def update(updates, state, params=None):
        del params
        rate = jnp.asarray(schedule(state.count), jnp.float32)
        updates = jax.tree.map(lambda u: (-rate * u).astype(u.dtype), updates)
        return updates, RecordedLearningRateState(optax.safe_increment(state.count), rate)

    return optax.GradientTransformation(init, update)


def current_learning_rate(opt_state: optax.OptState) -> jax.Array:
    """The rate of the last update, read from an optimizer state of any nesting.

    Args:
      opt_state: the state of a chain that holds one `scale_by_recorded_learning_rate`.

    Returns:
      The rate, float32; 0 before the first update.

    Raises:
      ValueError: if the state holds no recorded rate, or several.

    Examples:
      >>> tx = optax.chain(optax.trace(0.9), scale_by_recorded_learning_rate(lambda t: 0.1))
      >>> _, state = tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
      >>> round(float(current_learning_rate(state)), 3)
      0.1
    """
    is_record = lambda node: isinstance(node, RecordedLearningRateState)
    records = [leaf for leaf in jax.tree.leaves(opt_state, is_leaf=is_record) if is_record(leaf)]
    if len(records) != 1:
        raise ValueError(f"the optimizer state holds {len(records)} recorded learning rates, expected 1")
    return records[0].learning_rate
