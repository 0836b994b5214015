"""Learning-rate warmup for JAX: schedules and transformations that plug into optax."""

import importlib
from types import ModuleType

__version__ = "0.2.0"
__all__ = ["schedules", "transforms"]


def __getattr__(name: str) -> ModuleType:
    """Imports `schedules` or `transforms` on first use, so that a program can report wrong flags before JAX loads."""
    if name in __all__:
        return importlib.import_module(f"warmup_jax.{name}")
    raise AttributeError(f"module 'warmup_jax' has no attribute {name!r}")
