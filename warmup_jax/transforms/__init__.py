"""optax transformations that implement warmup with a state, and readers of optimizer states.

Each is an ordinary `optax.GradientTransformation` (or one with extra arguments)
that goes into a chain like any of optax's. Its numbers may be traced, its state
keeps one structure from `init` on (so it is a scan carry), and what multiplies
an update is float32, rounded once to the dtype of that update.

>>> import jax.numpy as jnp, optax
>>> from warmup_jax import schedules, transforms
>>> tx = optax.chain(
...     optax.scale_by_adam(), transforms.scale_by_recorded_learning_rate(0.1),
...     transforms.scale_by_warmup(schedules.linear_warmup(4)))
>>> params = {"w": jnp.ones(2)}
>>> _, state = tx.update(params, tx.init(params), params)
>>> round(float(transforms.current_learning_rate(state)), 4)
0.025
>>> _, state = tx.update(params, transforms.fast_forward(state, 100), params)
>>> round(float(transforms.current_learning_rate(state)), 4)
0.1
"""

from collections.abc import Callable

import optax

from warmup_jax.transforms.adam_variants import (
    RectifiedAdamState,
    scale_by_adam_frozen,
    scale_by_gi_adam,
    scale_by_rectified_adam,
    scale_by_ri_adam,
)
from warmup_jax.transforms.dampening import ScaleByWarmupState, WarmupUntilState, scale_by_warmup, warmup_until
from warmup_jax.transforms.limits import ClipByGlobalNormWarmupState, clip_by_global_norm_warmup, limit_relative_update
from warmup_jax.transforms.ramps import RAMP_SHAPES, ramp
from warmup_jax.transforms.rates import RecordedLearningRateState, cap_by_sharpness, scale_by_recorded_learning_rate
from warmup_jax.transforms.states import current_learning_rate, fast_forward

TRANSFORMS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "scale_by_recorded_learning_rate": scale_by_recorded_learning_rate,
    "cap_by_sharpness": cap_by_sharpness,
    "scale_by_warmup": scale_by_warmup,
    "warmup_until": warmup_until,
    "scale_by_rectified_adam": scale_by_rectified_adam,
    "scale_by_gi_adam": scale_by_gi_adam,
    "scale_by_ri_adam": scale_by_ri_adam,
    "scale_by_adam_frozen": scale_by_adam_frozen,
    "limit_relative_update": limit_relative_update,
    "clip_by_global_norm_warmup": clip_by_global_norm_warmup,
}

__all__ = [
    "RAMP_SHAPES",
    "TRANSFORMS",
    "ClipByGlobalNormWarmupState",
    "RecordedLearningRateState",
    "RectifiedAdamState",
    "ScaleByWarmupState",
    "WarmupUntilState",
    "cap_by_sharpness",
    "clip_by_global_norm_warmup",
    "current_learning_rate",
    "fast_forward",
    "limit_relative_update",
    "ramp",
    "scale_by_adam_frozen",
    "scale_by_gi_adam",
    "scale_by_rectified_adam",
    "scale_by_recorded_learning_rate",
    "scale_by_ri_adam",
    "scale_by_warmup",
    "warmup_until",
]
