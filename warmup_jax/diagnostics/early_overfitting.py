"""Early overfitting: what an update gains on its own batch, and what on another."""

from collections.abc import Callable
from typing import Any

import jax

from warmup_jax.diagnostics.inputs import Probe


def early_overfitting(loss: Callable, before: Any, after: Any, used_batch: Any, fresh_batch: Any):
    """(decrease on the batch an update used, on an independent one, the second over the first).

    Near 1 the update is sound; a small or negative ratio with a positive first decrease is overfitting to the batch;
    a negative first decrease is overshoot. Over several steps take the ratio of the sums, not the mean of ratios.

    Args:
      loss: (params, batch) -> scalar.
      before, after: the parameters before and after the update.
      used_batch: the batch of its gradient.
      fresh_batch: a batch that no update has used.

    Cost: 4 forward passes.
    """
    used: jax.Array = loss(before, used_batch) - loss(after, used_batch)
    fresh: jax.Array = loss(before, fresh_batch) - loss(after, fresh_batch)
    return used, fresh, fresh / used


def probe_early_overfitting(probe: Probe):
    """`diag/decrease_used`, `diag/decrease_fresh` and `diag/decrease_ratio` of the last update.

    Measures: across the last update. Cost: 4 forward passes.
    """
    used, fresh, ratio = early_overfitting(probe.loss, probe.before, probe.params, probe.used_batch, probe.fresh_batch)
    return {"diag/decrease_used": used, "diag/decrease_fresh": fresh, "diag/decrease_ratio": ratio}, None
