"""Learning-rate warmup for JAX: schedules and transformations that plug into optax."""

from warmup_jax import schedules, transforms

__all__ = ["schedules", "transforms"]
