"""The critical rate: the smallest learning rate at which one step raises the loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from warmup_jax.diagnostics.inputs import Metrics, ProbeInput
from warmup_jax.numerics import Number

Search = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # (low, high, next rate, passes so far)


def critical_rate(
    loss_along: Callable[[jax.Array], jax.Array],
    loss_now: Number,
    guess: Number,
    max_passes: int = 15,
    tolerance: float = 0.1,
) -> tuple[jax.Array, jax.Array]:
    """Searches for the smallest rate whose step raises the loss, the catapult threshold.

    From the guess the rate is doubled until a step raises the loss, or halved until none does; then the interval is
    bisected until its width is at most `tolerance` of its upper end. The upper end is the answer: a rate that was seen
    to raise the loss, too large by that share at most. A loss that is not finite counts as raised.

    Cost: at most `max_passes` forward passes, 4 to 6 from a guess within a factor of 2. Mapped over runs, all wait for
    the slowest.

    Args:
      loss_along: rate -> loss after one step at that rate.
      loss_now: the loss without a step.
      guess: first rate to try, above 0.
      max_passes: largest number of calls of `loss_along`.
      tolerance: relative width of the last interval.

    Returns:
      (rate, passes). The rate is inf if the passes ran out and no rate up to guess 2^(max_passes - 1) raised the
      loss, the smallest rate tried if all of them did, and NaN if `loss_now` is not finite.

    Raises:
      ValueError: if `max_passes` is below 1.

    References:
      Kalra and Barkeshli, `Why Warmup the Learning Rate? Underlying Mechanisms and Improvements
      <https://arxiv.org/abs/2406.09405>`_, 2024;
      Lewkowycz et al., `The large learning rate phase of deep learning: the catapult mechanism
      <https://arxiv.org/abs/2003.02218>`_, 2020
    """
    if max_passes < 1:
        raise ValueError(f"max_passes={max_passes}; allowed: 1 and more")

    def unfinished(state: Search) -> jax.Array:
        low, high, _, passes = state
        wide = jnp.isinf(high) | (high - low > tolerance * high)
        return wide & (passes < max_passes) & jnp.isfinite(loss_now)

    def try_rate(state: Search) -> Search:
        low, high, rate, passes = state
        raises = ~(loss_along(rate) <= loss_now)
        low, high = jnp.where(raises, low, rate), jnp.where(raises, rate, high)
        # A low of 0 halves, a high of inf doubles: the search does not know both ends yet.
        rate = jnp.where(jnp.isinf(high), 2 * rate, (low + high) / 2)
        return low, high, rate, passes + 1

    guess = jnp.asarray(guess, jnp.result_type(loss_now, float))
    start = jnp.zeros_like(guess), jnp.full_like(guess, jnp.inf), guess, jnp.zeros([], jnp.int32)
    _, high, _, passes = jax.lax.while_loop(unfinished, try_rate, start)
    return jnp.where(jnp.isfinite(loss_now), high, jnp.nan), passes


def probe_critical_rate(
    probe: ProbeInput, *, guess: float, max_passes: int, tolerance: float
) -> tuple[Metrics, jax.Array]:
    """Measures `diag/critical_rate` of a plain gradient step, and `diag/critical_rate_passes`, the cost of the search.

    The loss is that of `probe.batch` along its gradient after the last update, without momentum or preconditioner.
    The carry is the rate, from which the next search begins; the first search begins at `guess`, and so does one
    after a search without an answer. Cost: 1 forward and 1 backward pass, and at most `max_passes` forward passes.
    """
    now, grads = jax.value_and_grad(probe.loss)(probe.params, probe.batch)

    def loss_along(rate: jax.Array) -> jax.Array:
        return probe.loss(jax.tree.map(lambda w, g: w - rate * g, probe.params, grads), probe.batch)

    known = jnp.isfinite(probe.carry) & (probe.carry > 0)
    rate, passes = critical_rate(loss_along, now, jnp.where(known, probe.carry, guess), max_passes, tolerance)
    return {"diag/critical_rate": rate, "diag/critical_rate_passes": passes}, rate
