"""Training: from a config to the log of its runs.

`run(config, workdir)` trains everything that a config describes; it is what train.py calls.
"""

import importlib
from typing import Any

__all__ = ["Interrupted", "UserError", "run"]


def __getattr__(name: str) -> Any:
    """Imports the experiment when it is first used, so that a program that needs one module loads no more."""
    if name in __all__:
        return getattr(importlib.import_module("warmup_jax.training.experiment"), name)
    raise AttributeError(f"module 'warmup_jax.training' has no attribute {name!r}")
