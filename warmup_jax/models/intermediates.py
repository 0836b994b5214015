"""Intermediate activations of a forward pass, for diagnostics.

A model takes `capture`: None, or a function `capture(path, value)` that it calls with each intermediate activation. The
path names the modules that the value comes from and then its kind, "output", "relu" or "mask" (or another that only
some callers read): "stem/output", "stage1_block0/norm1/relu". A submodule knows only its own part of the path and gets
`within(capture, name)`, which puts its name in front. Nothing is stored in the modules.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax

from warmup_jax.models import ops

Capture = Callable[[str, jax.Array], None]


class Intermediates(NamedTuple):
    """The activations that the layers of a model computed in one forward pass.

    A layer is named as its parameters are, by the top-level child; blocks of one stack are encoder_0, encoder_1, ...

    outputs: {layer: its output [B, ..., D]}, after the activation.
    relus: {layer: the outputs of its ReLUs [B, ..., units]}; where it has several, the inner ones are LAYER.PART.
    masks: {layer: bool [B, T], True for tokens of its output that are no padding}; only for layers that have padding.
    """

    outputs: dict[str, jax.Array]
    relus: dict[str, jax.Array]
    masks: dict[str, jax.Array]


def record(capture: Capture | None, path: str, value: jax.Array | ops.SplitBatch) -> None:
    """Calls `capture`, if there is one, with the whole of a batch."""
    if capture is not None:
        capture(path, ops.merge_batch(value))


def within(capture: Capture | None, name: str) -> Capture | None:
    """Returns the `capture` for a submodule: it puts `name/` in front of each path."""
    return None if capture is None else lambda path, value: capture(f"{name}/{path}", value)


def collector() -> tuple[Intermediates, Capture]:
    """Returns an empty `Intermediates` and the `capture` that fills it."""
    intermediates = Intermediates({}, {}, {})
    kinds = {"output": intermediates.outputs, "relu": intermediates.relus, "mask": intermediates.masks}

    def capture(path: str, value: jax.Array) -> None:
        *modules, kind = path.split("/")
        if kind in kinds:
            kinds[kind][".".join(modules)] = value

    return intermediates, capture
