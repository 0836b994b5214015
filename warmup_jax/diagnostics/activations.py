"""Signals that die in a network: ReLU units that never fire, tokens that have collapsed onto each other."""

import jax
import jax.numpy as jnp

from warmup_jax.diagnostics.inputs import Metrics, ProbeInput
from warmup_jax.numerics import wide


def dead_units(activation: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
    """Returns the share of ReLU units that fire nowhere in a batch; NaN if an output is NaN.

    Args:
      activation: outputs of the ReLU, [B, ..., units].
      mask_BxT: False for positions to ignore; None: all count.
    """
    return _silent(activation, mask_BxT).mean()


def token_variance(x_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
    """Returns the variance across the tokens of a row, averaged over rows and features, over the mean square.

    It lies in [0, 1]: 0 where all tokens of a row are the same vector, near 1 where they have nothing in common.
    Tokens masked out do not count; a row of a single token has variance 0.

    Args:
      x_BxTxD: the output of a layer.
      mask_BxT: False for tokens to ignore; None: all count.
    """
    x_BxTxD = wide(x_BxTxD)
    if mask_BxT is None:
        return x_BxTxD.var(axis=1).mean() / jnp.square(x_BxTxD).mean()
    # `where`, not a product: padding that is not finite must not leak into the sum
    mask_BxTx1 = mask_BxT[..., None]
    tokens_Bx1x1 = jnp.maximum(mask_BxTx1.sum(1, keepdims=True), 1)
    mean_Bx1xD = jnp.where(mask_BxTx1, x_BxTxD, 0).sum(1, keepdims=True) / tokens_Bx1x1
    spread = jnp.where(mask_BxTx1, jnp.square(x_BxTxD - mean_Bx1xD), 0) / tokens_Bx1x1
    square = jnp.where(mask_BxTx1, jnp.square(x_BxTxD), 0) / tokens_Bx1x1
    return spread.sum() / square.sum()


def probe_dead_units(probe: ProbeInput) -> tuple[Metrics, None]:
    """Measures `diag/dead_units/LAYER`, and `diag/dead_units` over all units of all layers.

    The activations are those of `probe.batch` after the last update. Cost: 1 forward pass.
    """
    found = probe.observe(probe.params, probe.batch)
    silent = {layer: _silent(output, found.masks.get(layer)) for layer, output in found.relus.items()}
    return {"diag/dead_units": jnp.concatenate(list(silent.values())).mean()} | {
        f"diag/dead_units/{layer}": units.mean() for layer, units in silent.items()
    }, None


def probe_token_variance(probe: ProbeInput) -> tuple[Metrics, None]:
    """Measures `diag/token_variance/LAYER` of every layer.

    The activations are those of `probe.batch` after the last update. Cost: 1 forward pass.
    """
    found = probe.observe(probe.params, probe.batch)
    return {
        f"diag/token_variance/{layer}": token_variance(output, found.masks.get(layer))
        for layer, output in found.outputs.items()
    }, None


def _silent(activation: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
    """Returns [units]: 1 where a unit is nowhere above 0, NaN where one of its outputs is NaN."""
    if mask_BxT is not None and activation.ndim == 3:
        activation = jnp.where(mask_BxT[..., None], activation, 0)
    highest_U = wide(activation).max(tuple(range(activation.ndim - 1)))  # NaN if one is
    return jnp.where(jnp.isnan(highest_U), jnp.nan, highest_U <= 0)
