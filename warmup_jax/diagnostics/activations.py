"""What has gone quiet in a network: units that never fire, tokens that have become alike."""

import jax
import jax.numpy as jnp

from warmup_jax.diagnostics.by_layer import wide
from warmup_jax.diagnostics.inputs import Probe


def dead_units(activation: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
    """The share of ReLU units that fire nowhere in a batch: outputs [B, ..., units], positions masked out not seen.

    NaN if an output is NaN.
    """
    return _silent(activation, mask_BxT).mean()


def token_variance(x_BxTxD: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
    """Variance across the tokens of a row, averaged over rows and features, over the mean square; in [0, 1].

    0 where all tokens of a row are the same vector, near 1 where they have nothing in common. Tokens masked out
    do not count; a row of a single token has variance 0.
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


def probe_dead_units(probe: Probe):
    """`diag/dead_units/LAYER`, and `diag/dead_units` over all units of all layers.

    Measures: `probe.batch` after the last update. Cost: 1 forward pass.
    """
    seen = probe.observe(probe.params, probe.batch)
    silent = {layer: _silent(output, seen.masks.get(layer)) for layer, output in seen.relus.items()}
    return {"diag/dead_units": jnp.concatenate(list(silent.values())).mean()} | {
        f"diag/dead_units/{layer}": units.mean() for layer, units in silent.items()
    }, None


def probe_token_variance(probe: Probe):
    """`diag/token_variance/LAYER` of every layer.

    Measures: `probe.batch` after the last update. Cost: 1 forward pass.
    """
    seen = probe.observe(probe.params, probe.batch)
    return {
        f"diag/token_variance/{layer}": token_variance(output, seen.masks.get(layer))
        for layer, output in seen.outputs.items()
    }, None


def _silent(activation, mask_BxT):
    """[units]: 1 where a unit is nowhere above 0, NaN where it is NaN."""
    if mask_BxT is not None and activation.ndim == 3:
        activation = jnp.where(mask_BxT[..., None], activation, 0)
    highest_U = wide(activation).max(tuple(range(activation.ndim - 1)))  # NaN if one is
    return jnp.where(jnp.isnan(highest_U), jnp.nan, highest_U <= 0)
