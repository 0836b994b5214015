"""Early overfitting: the gain of an update on its own batch against its gain on another one."""

from collections.abc import Callable
from typing import Any

import jax

from warmup_jax.diagnostics.inputs import Metrics, ProbeInput


def early_overfitting(
    loss: Callable[[Any, Any], jax.Array], before: Any, after: Any, used_batch: Any, fresh_batch: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Compares the decrease of the loss on the batch of an update with that on an independent batch.

    A ratio near 1 means a sound update; a small or negative ratio with a positive first decrease, overfitting to the
    batch; a negative first decrease, overshoot. Over several steps take the ratio of the sums, not the mean of ratios.
    Cost: 4 forward passes.

    Args:
      loss: (params, batch) -> scalar.
      before: the parameters before the update.
      after: the parameters after it.
      used_batch: the batch of its gradient.
      fresh_batch: a batch that no update has used.

    Returns:
      (decrease on the used batch, decrease on the fresh batch, the second over the first).
    """
    used: jax.Array = loss(before, used_batch) - loss(after, used_batch)
    fresh: jax.Array = loss(before, fresh_batch) - loss(after, fresh_batch)
    return used, fresh, fresh / used


def probe_early_overfitting(probe: ProbeInput) -> tuple[Metrics, None]:
    """Measures `diag/decrease_used`, `diag/decrease_fresh` and `diag/decrease_ratio` of the last update.

    Cost: 4 forward passes.
    """
    used, fresh, ratio = early_overfitting(
        probe.loss, probe.previous_params, probe.params, probe.used_batch, probe.fresh_batch
    )
    return {"diag/decrease_used": used, "diag/decrease_fresh": fresh, "diag/decrease_ratio": ratio}, None
