"""Norms of parameters, gradients and updates, and the angle by which an update rotates the weights."""

from typing import Any

import jax
import jax.numpy as jnp

from warmup_jax.diagnostics.by_layer import metrics, relative_size
from warmup_jax.diagnostics.inputs import Metrics, StepInfo
from warmup_jax.numerics import dot, norm, wide


def norms(params: Any, grads: Any, updates: Any, *, layers: bool) -> Metrics:
    """Measures `diag/param_norm`, `diag/grad_norm` and `diag/update_norm`, in total and by layer.

    Xiong et al. compare Post-LN and Pre-LN by the gradient norms of the layers, at initialisation and in training.
    Cost: no pass; reads each tree once.

    Args:
      params: the parameters before the update.
      grads: their gradient.
      updates: the tree added to the parameters.
      layers: True to measure each layer too.

    Returns:
      The metrics by name.

    References:
      Xiong et al., `On Layer Normalization in the Transformer Architecture
      <https://arxiv.org/abs/2002.04745>`_, 2020
    """
    return (
        metrics("param_norm", norm, params, layers=layers)
        | metrics("grad_norm", norm, grads, layers=layers)
        | metrics("update_norm", norm, updates, layers=layers)
    )


def relative_norm(params: list[jax.Array], updates: list[jax.Array]) -> jax.Array:
    """Returns |u| / |w| over lists of leaves: inf for an update of zero weights, 0 where there is no update."""
    return relative_size(norm(updates), norm(params))


def angle(params: list[jax.Array], updates: list[jax.Array]) -> jax.Array:
    """Returns the angle in radians between w and w + u, in [0, pi].

    It is atan2(|u_across|, |w| + u_along), with u split into its components along and across w. Nothing cancels, so
    the angle is as exact as u, however small; the arccos of a cosine would be 0 below 3e-4 in float32.
    """
    length = norm(params)
    along = dot(params, updates) / jnp.where(length > 0, length, 1)  # signed length of the component along w
    share = along / jnp.where(length > 0, length, 1)
    across = norm([wide(u) - share * wide(w) for w, u in zip(params, updates, strict=True)])
    return jnp.arctan2(across, length + along)


def relative_update(params: Any, updates: Any, *, layers: bool) -> Metrics:
    """Measures `diag/relative_update` |u| / |w| and `diag/angle` between successive weights, in total and by layer.

    Cost: no pass; reads both trees three times.

    Args:
      params: the weights w before the update.
      updates: the update u.
      layers: True to measure each layer too.

    Returns:
      The metrics by name.

    References:
      Kosson et al., `Analyzing & Reducing the Need for Learning Rate Warmup in GPT Training
      <https://arxiv.org/abs/2410.23922>`_, 2024
    """
    return metrics("relative_update", relative_norm, params, updates, layers=layers) | metrics(
        "angle", angle, params, updates, layers=layers
    )


def step_norms(step: StepInfo, *, layers: bool) -> Metrics:
    """Measures the `norms` of the parameters before an update, their gradient before clipping, and the update.

    Cost: no pass.
    """
    return norms(step.params, step.grads, step.updates, layers=layers)


def step_relative_update(step: StepInfo, *, layers: bool) -> Metrics:
    """Measures the `relative_update` of the parameters before an update. Cost: no pass."""
    return relative_update(step.params, step.updates, layers=layers)
