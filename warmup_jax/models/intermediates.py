"""What a model shows of a forward pass, for diagnostics.

A model is called with a function `note(layer, kind, value)` that it hands what it makes on the way: kind "output",
"relu" or "mask", or another that only some callers ask for. Handed down, it leaves nothing behind in the modules. A
block of a Transformer does not know its layer and gets `note(kind, value)`; one of a ResNet has a value in each half of
the batch and gets a note for lists, see `halves.joining`.
"""

from typing import Any, NamedTuple

import jax


class Seen(NamedTuple):
    """What was seen of the layers in one forward pass.

    A layer has the name of its parameters: of the top-level child, and of stacked blocks encoder_0, encoder_1, ...

    outputs: {layer: its output [B, ..., D]}, after the activation.
    relus: {layer: the outputs of its ReLUs [B, ..., units]}; where it has several, the inner ones are LAYER.PART.
    masks: {layer: bool [B, T]}, which tokens of a layer's output are no padding. A layer that is not here has none.
    """

    outputs: dict[str, jax.Array]
    relus: dict[str, jax.Array]
    masks: dict[str, jax.Array]


def ignore(*noted: Any) -> None:
    """The `note` of a pass that nobody observes."""


def notebook():
    """(an empty Seen, the `note` that fills it)."""
    seen = Seen({}, {}, {})
    pages = {"output": seen.outputs, "relu": seen.relus, "mask": seen.masks}

    def note(layer, kind, value):
        if kind in pages:
            pages[kind][layer] = value

    return seen, note
