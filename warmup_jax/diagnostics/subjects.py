"""What a diagnostic looks at: one update, or a state between two updates."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Step(NamedTuple):
    """One update, from inside the compiled train step."""
    params: Any         # before the update
    grads: Any          # of the loss at `params`, before clipping
    updates: Any        # what was added to `params`
    after: Any          # params + updates
    opt_state: Any      # after the update
    learning_rate: Any  # that the update applied


class Probe(NamedTuple):
    """A state after an update, and what it can be asked. Made inside a traced function: it holds callables.

    What a run does not have stays None (or empty); `check` says so before anything is compiled.
    """
    params: Any           # the state that is measured: after the last update
    opt_state: Any        # after the last update
    learning_rate: Any    # that the last update applied; 0 before the first
    numbers: Mapping[str, Any]  # the optimizer's own by name: momentum, nesterov, beta1, beta2, eps
    loss: Callable        # (params, batch) -> scalar, the mean over the batch; without random parts
    batch: Any            # leaves [B, ...]
    unroll: bool = False  # no loops around the model: what convolutions on CPU want. Static
    before: Any = None    # the parameters before the last update
    used_batch: Any = None   # the batch of the last update
    fresh_batch: Any = None  # a batch that no update has used
    references: Mapping[str, Any] = MappingProxyType({})  # name of an earlier moment -> the parameters then
    relus: Callable | None = None    # (params, batch) -> {layer: outputs of its ReLUs [B, ..., units]}
    outputs: Callable | None = None  # (params, batch) -> {layer: its output [B, ..., D]}
    mask: Any = None      # bool [B, T]: the tokens of `batch` that are not padding; None if all count
    carry: Any = None     # what this diagnostic returned last time, or its `start`


class Diagnostic(NamedTuple):
    """An entry of `DIAGNOSTICS`.

    kind: "step": function(step, **args) -> metrics, cheap enough for every update.
        "probe": function(probe, **args) -> (metrics, carry or None), with passes through the model.
        Metrics are scalars by name, "diag/...".
    needs: fields of `Probe` that may be missing, and numbers of the optimizer, without which it cannot be had.
    start: params -> the first carry; None for a diagnostic without one.
    """
    kind: str
    function: Callable
    needs: tuple[str, ...] = ()
    start: Callable | None = None
