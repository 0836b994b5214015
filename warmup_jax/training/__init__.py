"""Training: from a config to the log of its runs.

`run(config, workdir)` trains everything that a config describes; it is what train.py calls. `load(workdir)` gives the
weights of a run, and the function that applies them.
"""

import importlib
from typing import Any

_HOMES = {
    "Interrupted": "experiment",
    "Trained": "trained",
    "UserError": "experiment",
    "load": "trained",
    "run": "experiment",
}
__all__ = ["Interrupted", "Trained", "UserError", "load", "run"]


def __getattr__(name: str) -> Any:
    """Imports a module when it is first used, so that a program that needs one loads no more."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"warmup_jax.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'warmup_jax.training' has no attribute {name!r}")
