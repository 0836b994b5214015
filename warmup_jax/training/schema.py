"""The schema of a config: its keys, their types and bounds, and the values that exclude each other."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from warmup_jax import diagnostics, registry, schedules
from warmup_jax.losses import LOSSES
from warmup_jax.runtime import defaults
from warmup_jax.training import build, sweep
from warmup_jax.training.build import WARMUP_UNITS

# Every config holds exactly these keys; None where the type allows it means "not set".
KEYS = {
    "seed": int,
    "batch_size": int,
    "eval_batch_size": int,
    "num_steps": (int, None),
    "num_epochs": (float, None),
    "model": dict,
    "dataset": dict,
    "optimizer": str,
    "optimizer_args": dict,
    "schedule": str,
    "schedule_args": dict,
    "warmup": str,
    "warmup_args": dict,
    "combination": str,
    "recipe": (str, None),
    "recipe_args": dict,
    "transforms": tuple,
    "transforms_args": dict,
    "peak_lr": float,
    "init_lr": float,
    "end_lr": float,
    "loss": str,
    "label_smoothing": float,
    "warmup_steps": (int, None),
    "warmup_epochs": (float, None),
    "warmup_examples": (int, None),
    "warmup_fraction": (float, None),
    "decoding": dict,
    "diagnostics": dict,
    "sweep": dict,
    "runs_at_once": (int, None),
    "chunk_steps": (int, None),
    "log_every": int,
    "eval_every": int,
    "checkpoint_every": int,
    "stop_when_diverged": bool,
}
POSITIVE = (
    "batch_size",
    "eval_batch_size",
    "num_steps",
    "num_epochs",
    "runs_at_once",
    "chunk_steps",
    "log_every",
    "eval_every",
    "checkpoint_every",
)
# name: (lower bound, whether the bound itself is allowed, upper bound, which is not allowed)
BOUNDS = {
    "seed": (0, True, 2**32),
    "peak_lr": (0, True, np.inf),
    "init_lr": (0, True, np.inf),
    "end_lr": (0, True, np.inf),
    "label_smoothing": (0, True, 1),
    "weight_decay": (0, True, np.inf),
    "momentum": (0, True, 1),
    "beta1": (0, True, 1),
    "beta2": (0, True, 1),
    "eps": (0, True, np.inf),
    "clip_norm": (0, False, np.inf),
    "trust_coefficient": (0, False, np.inf),
    "warmup_steps": (0, True, 2**31),
    "warmup_epochs": (0, True, np.inf),
    "warmup_examples": (0, True, np.inf),
    "warmup_fraction": (0, True, 1 + 1e-9),
    "beams": (0, False, np.inf),
    "length_penalty": (0, True, np.inf),
    "temperature": (0, True, np.inf),
    "length": (0, False, np.inf),
    "samples": (0, True, np.inf),
    "examples": (0, False, np.inf),
} | {name: (0, False, np.inf) for name in POSITIVE}


def check_keys(config: Mapping[str, Any]) -> None:
    """Checks the keys and types of a config and the name of its model, without starting JAX.

    Raises:
      ValueError: one line that names the key, its value, and what is allowed.
    """
    for key in config:
        if key not in KEYS:
            raise registry.unknown("config key", key, KEYS)
    for key, kind in KEYS.items():
        if key not in config:
            raise ValueError(f"the config lacks the key {key!r}")
        _check_type(key, config[key], kind)
    defaults.kind_of(config["model"])


def validate(config: Mapping[str, Any]) -> None:
    """Checks everything in a config that can be checked without its data.

    Raises:
      ValueError: one line that names the key, its value, and what is allowed.
    """
    check_keys(config)
    _exactly_one(config, ("num_steps", "num_epochs"))
    _check_warmup_length(config)
    diagnostics.from_config(config["diagnostics"])
    for changes in sweep.expand(config):
        run = sweep.assign(config, changes)
        for key in changes.keys() & KEYS.keys():
            _check_type(key, run[key], KEYS[key])
        for name, value in _numbers(run):
            _check_bound(name, value)
        registry.lookup("loss", LOSSES, run["loss"])
        # Built with concrete numbers, so that every schedule and transformation checks its own.
        build.optimizer(run, build.knobs(run, num_steps=1, train_size=1))


def _check_warmup_length(config: Mapping[str, Any]) -> None:
    if _has_length(config):
        swept = config["sweep"].get("warmup_steps")
        _exactly_one(dict(config) | {"sweep.warmup_steps": swept}, (*WARMUP_UNITS, "sweep.warmup_steps"))
    else:
        for unit in WARMUP_UNITS:
            if config[unit] is not None:
                raise ValueError(
                    f"the {'recipe' if config['recipe'] else 'warmup'} "
                    f"{config['recipe'] or config['warmup']!r} has no length, but {unit}={config[unit]}"
                )
    if "warmup_steps" in config["warmup_args"]:
        raise ValueError("the length of the warmup is config.warmup_steps, not warmup_args.warmup_steps")


def _has_length(config: Mapping[str, Any]) -> bool:
    """Returns True if the warmup or recipe of a config takes a number of updates."""
    parameters = _parameters(schedules.WARMUPS, "warmup", config["warmup"])
    if config["recipe"] is not None:
        recipe = _parameters(schedules.RECIPES, "recipe", config["recipe"])
        parameters = recipe if "warmup" not in recipe else parameters
    return "warmup_steps" in parameters


def _parameters(table: Mapping[str, Any], kind: str, name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(registry.lookup(kind, table, name)).parameters


def _check_type(key: str, value: Any, kind: Any) -> None:
    kind, optional = (kind[0], True) if isinstance(kind, tuple) else (kind, False)
    if value is None and optional:
        return
    fits = isinstance(value, Mapping) if kind is dict else type(value) is kind
    if not fits:
        raise ValueError(f"{key} must be {'None or ' if optional else ''}of type {kind.__name__}, got {value!r}")


def _exactly_one(config: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    given = [f"{key}={config[key]}" for key in keys if config[key] is not None]
    if len(given) != 1:
        found = f"{len(given)} are ({', '.join(given)}); unset with --config.KEY=None" if given else "none is"
        raise ValueError(f"exactly one of {', '.join(keys)} must be set, {found}")


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields every number of a config by name, including those of its components."""
    for name, value in config.items():
        if name in (*sweep.COMPONENTS, "decoding"):
            yield from _numbers(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, value


def _check_bound(name: str, value: float) -> None:
    low, may_be_low, high = BOUNDS.get(name, (-np.inf, True, np.inf))
    if not (low <= value < high) or (value == low and not may_be_low):
        below = f" and below {high:g}" if np.isfinite(high) else ""
        raise ValueError(f"{name} must be {'at least' if may_be_low else 'above'} {low}{below}, got {value}")
