"""Sizes of parameters, gradients and updates, and how far an update turns the weights."""

from typing import Any

import jax
import jax.numpy as jnp

from warmup_jax.diagnostics.by_layer import dot, each_layer, metrics, norm, ratio, wide
from warmup_jax.diagnostics.inputs import Step


def norm_by_layer(tree: Any) -> dict[str, jax.Array]:
    """The Euclidean norm of each layer."""
    return each_layer(norm, tree)


def norms(params: Any, grads: Any, updates: Any, *, layers: bool) -> dict[str, jax.Array]:
    """`diag/param_norm`, `diag/grad_norm`, `diag/update_norm`, of everything and of each layer.

    Gradient norms by layer at initialisation and along training are what Xiong et al., "On Layer Normalization in
    the Transformer Architecture", 2020, compare Post-LN and Pre-LN by.

    Measures: the trees as given. Cost: no pass; reads each tree once.
    """
    return (
        metrics("param_norm", norm, params, layers=layers)
        | metrics("grad_norm", norm, grads, layers=layers)
        | metrics("update_norm", norm, updates, layers=layers)
    )


def relative_norm(params: list, updates: list) -> jax.Array:
    """|u| / |w| over lists of leaves: inf for an update of zero weights, 0 where there is no update."""
    return ratio(norm(updates), norm(params))


def angle(params: list, updates: list) -> jax.Array:
    """The angle in radians between w and w + u, in [0, pi].

    With u split into its parts along and across w it is atan2(|u_across|, |w| + u_along): nothing cancels, so that
    it is as exact as u is, however small. The arccos of a cosine would be 0 below 3e-4 in float32.
    """
    length = norm(params)
    along = dot(params, updates) / jnp.where(length > 0, length, 1)  # the length of that part, with its sign
    share = along / jnp.where(length > 0, length, 1)
    across = norm([wide(u) - share * wide(w) for w, u in zip(params, updates, strict=True)])
    return jnp.arctan2(across, length + along)


def relative_update(params: Any, updates: Any, *, layers: bool) -> dict[str, jax.Array]:
    """`diag/relative_update` |u| / |w| and `diag/angle` between successive weights, of all and of each layer.

    Source: Kosson, Messmer and Jaggi, "Analyzing & Reducing the Need for Learning Rate Warmup in GPT Training", 2024.
    Measures: the weights before the update, and the update. Cost: no pass; reads both trees three times.
    """
    return metrics("relative_update", relative_norm, params, updates, layers=layers) | metrics(
        "angle", angle, params, updates, layers=layers
    )


def step_norms(step: Step, *, layers: bool) -> dict[str, jax.Array]:
    """`norms` of the parameters before an update, their gradient before clipping, and the update. No pass."""
    return norms(step.params, step.grads, step.updates, layers=layers)


def step_relative_update(step: Step, *, layers: bool) -> dict[str, jax.Array]:
    """`relative_update` of the parameters before an update. No pass."""
    return relative_update(step.params, step.updates, layers=layers)
