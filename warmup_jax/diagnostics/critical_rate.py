"""The critical rate: the smallest rate at which one step raises the loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from warmup_jax.diagnostics.inputs import Probe


def critical_rate(loss_along: Callable, loss_now, guess, max_passes: int = 15, tolerance=0.1):
    """The smallest rate whose step raises the loss (the catapult threshold), and the passes spent on it.

    From the guess the rate is doubled until a step raises the loss, or halved until none does; then the interval is
    bisected until it is at most `tolerance` of its upper end, which is the answer: a rate that was seen to raise the
    loss, too large by that share at most. A loss that is not finite counts as raised.

    Args:
      loss_along: rate -> loss after one step at that rate.
      loss_now: the loss without a step.
      guess: a rate above 0 to begin at.
      max_passes: calls of `loss_along` at most.
      tolerance: relative width of the last interval.

    Returns:
      (rate, passes): inf where the passes ran out and no rate up to guess 2^(max_passes - 1) raised the loss; the
      smallest rate tried where all of them did; NaN where `loss_now` is not finite.

    Source: Kalra and Barkeshli, "Why Warmup the Learning Rate? Underlying Mechanisms and Improvements", 2024; the
    catapult: Lewkowycz et al., "The large learning rate phase of deep learning: the catapult mechanism", 2020.

    Cost: at most `max_passes` forward passes, 4 to 6 from a guess within a factor of 2. Mapped over runs, as many
    as the slowest of them needs.
    """
    if max_passes < 1:
        raise ValueError(f"max_passes={max_passes}; allowed: 1 and more")

    def unfinished(state):
        low, high, _, passes = state
        wide = jnp.isinf(high) | (high - low > tolerance * high)
        return wide & (passes < max_passes) & jnp.isfinite(loss_now)

    def look(state):
        low, high, rate, passes = state
        raises = ~(loss_along(rate) <= loss_now)
        low, high = jnp.where(raises, low, rate), jnp.where(raises, rate, high)
        # A low of 0 halves, a high of inf doubles: neither end is known yet.
        rate = jnp.where(jnp.isinf(high), 2 * rate, (low + high) / 2)
        return low, high, rate, passes + 1

    guess = jnp.asarray(guess, jnp.result_type(loss_now, float))
    start = jnp.zeros_like(guess), jnp.full_like(guess, jnp.inf), guess, jnp.zeros([], jnp.int32)
    _, high, _, passes = jax.lax.while_loop(unfinished, look, start)
    return jnp.where(jnp.isfinite(loss_now), high, jnp.nan), passes


def probe_critical_rate(probe: Probe, *, guess: float, max_passes: int, tolerance: float):
    """`diag/critical_rate` of a plain gradient step, and `diag/critical_rate_passes` spent in the search.

    Measures: the loss on `probe.batch` along its gradient, after the last update, without momentum or preconditioner.
    Carries the rate, from which the next search begins; `guess` serves the first, and after one without an answer.
    Cost: 1 forward and 1 backward pass, and at most `max_passes` forward passes.
    """
    now, grads = jax.value_and_grad(probe.loss)(probe.params, probe.batch)

    def loss_along(rate):
        return probe.loss(jax.tree.map(lambda w, g: w - rate * g, probe.params, grads), probe.batch)

    known = jnp.isfinite(probe.carry) & (probe.carry > 0)
    rate, passes = critical_rate(loss_along, now, jnp.where(known, probe.carry, guess), max_passes, tolerance)
    return {"diag/critical_rate": rate, "diag/critical_rate_passes": passes}, rate
