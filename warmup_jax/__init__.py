"""Learning-rate warmup for JAX: schedules and transformations that plug into optax."""

import importlib

__all__ = ["schedules", "transforms"]


def __getattr__(name):
    """Imports a part when it is first used: a program starts, or says what is wrong with its flags, without JAX."""
    if name in __all__:
        return importlib.import_module(f"warmup_jax.{name}")
    raise AttributeError(f"module 'warmup_jax' has no attribute {name!r}")
