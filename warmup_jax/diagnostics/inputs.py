"""What a diagnostic looks at: one update, or a state between two updates."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Step(NamedTuple):
    """One update, from inside the compiled train step."""

    params: Any  # before the update
    grads: Any  # of the loss at `params`, before clipping
    updates: Any  # what was added to `params`
    after: Any  # params + updates
    opt_state: Any  # after the update
    learning_rate: Any  # that the update applied


class Probe(NamedTuple):
    """A state after an update, and what it can be asked. Made inside a traced function: it holds callables."""

    params: Any  # the state that is measured: after the last update
    opt_state: Any  # after the last update
    learning_rate: Any  # that the last update applied; 0 before the first
    numbers: Mapping[str, Any]  # the optimizer's own by name: momentum, nesterov, beta1, beta2, eps
    loss: Callable  # (params, batch) -> scalar, the mean over the batch; without random parts
    batch: Any  # leaves [B, ...]
    unroll: bool = False  # no loops around the model: what convolutions on CPU want. Static
    warmup_ends: Any = False  # whether the last update was the last of the warmup
    before: Any = None  # the parameters before the last update, for diagnostics that ask for them
    used_batch: Any = None  # the batch of the last update
    fresh_batch: Any = None  # a batch that no update has used
    observe: Callable | None = None  # (params, batch) -> outputs, relus and masks by layer, as `models.Intermediates`
    carry: Any = None  # what this diagnostic returned last time, or its `start`


class Diagnostic(NamedTuple):
    """An entry of `DIAGNOSTICS`.

    kind: "step": function(step, **args) -> metrics, cheap enough for every update.
        "probe": function(probe, **args) -> (metrics, carry or None), with passes through the model.
        Metrics are scalars by name, "diag/...".
    needs: names in `LACKS` without which it cannot be had.
    start: params -> the first carry; None for a diagnostic without one.
    first: the earliest update after which there is something to measure; 0: the initial state.
    before: whether it asks for the parameters before the update.
    restarts: (**args) -> how often the first probe is taken, each with the carry of the last.
    """

    kind: str
    function: Callable
    needs: tuple[str, ...] = ()
    start: Callable | None = None
    first: int = 0
    before: bool = False
    restarts: Callable = lambda **args: 1
