"""Inputs of a diagnostic: one update, or the state between two updates; and the form of an entry."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from warmup_jax.numerics import Number

Metrics = dict[str, jax.Array]  # scalars by name, "diag/..."


class StepInfo(NamedTuple):
    """One update, as the compiled train step sees it."""

    params: Any  # before the update
    grads: Any  # of the loss at `params`, before clipping
    updates: Any  # the tree added to `params`
    after: Any  # params + updates
    opt_state: Any  # after the update
    learning_rate: Number  # applied by the update


def _not_observable(params: Any, batch: Any) -> Any:
    raise ValueError("the probe was given no function to observe the model with")


class ProbeInput(NamedTuple):
    """A state after an update and the functions to examine it with; it exists inside a traced function only."""

    params: Any  # the state that is measured: after the last update
    opt_state: Any  # after the last update
    learning_rate: Number  # applied by the last update; 0 before the first
    hyperparams: Mapping[str, Any]  # of the optimizer: momentum, nesterov, beta1, beta2, eps
    loss: Callable[[Any, Any], jax.Array]  # (params, batch) -> scalar, the mean over the batch; without dropout
    batch: Any  # leaves [B, ...]
    unroll: bool = False  # static: no loop around the model, because a convolution in a loop is slow on CPU
    warmup_ends: bool | jax.Array = False  # True if the last update was the last of the warmup
    previous_params: Any = None  # before the last update, for a diagnostic with `compares_update`
    used_batch: Any = None  # the batch of the last update
    fresh_batch: Any = None  # a batch that no update has used
    observe: Callable[[Any, Any], Any] = _not_observable  # (params, batch) -> `models.Intermediates`
    carry: Any = None  # returned by the previous probe of this diagnostic, or its `init_carry`


class Diagnostic(NamedTuple):
    """An entry of `DIAGNOSTICS`.

    kind: "step": function(step, **args) -> metrics, cheap enough for every update.
      "probe": function(probe, **args) -> (metrics, carry or None), with passes through the model.
    requires: names in `REQUIREMENTS` that a run must meet.
    init_carry: params -> the first carry; None for a diagnostic without one.
    first_step: the earliest update after which there is something to measure; 0: the initial state.
    compares_update: True if it needs the state before the last update, and the batch of that update.
    first_repeats: (**args) -> how many times the first probe of a run is taken, each with the carry of the one before.
    """

    kind: str
    function: Callable[..., Any]
    requires: tuple[str, ...] = ()
    init_carry: Callable[[Any], Any] | None = None
    first_step: int = 0
    compares_update: bool = False
    first_repeats: Callable[..., int] = lambda **args: 1
