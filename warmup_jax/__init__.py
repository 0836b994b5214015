"""Learning-rate warmup for JAX: schedules and transformations that plug into optax."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from warmup_jax import schedules, transforms

__version__ = "0.2.0"
__all__ = ["__version__", "schedules", "transforms"]


def __getattr__(name: str) -> "ModuleType":
    """Imports `schedules` or `transforms` on first use, so that a program can report wrong flags before JAX loads."""
    if name in __all__:
        import importlib

        return importlib.import_module(f"warmup_jax.{name}")
    raise AttributeError(f"module 'warmup_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
