"""What a config may hold, and what it means: keys, types, bounds, units."""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from warmup_jax import diagnostics, optimizers, registry, schedules
from warmup_jax.losses import LOSSES
from warmup_jax.training import sweep
from warmup_jax.training.train_step import Knobs

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
WARMUP_UNITS = ("warmup_steps", "warmup_epochs", "warmup_examples", "warmup_fraction")
# name: (lowest, whether it may be the lowest, bound above that is excluded)
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


def validate(config: Mapping[str, Any]) -> None:
    """Checks all of a config that can be checked without its data.

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
    _exactly_one(config, ("num_steps", "num_epochs"))
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
    diagnostics.of_config(config["diagnostics"])
    for changes in sweep.expand(config):
        run = sweep.assign(config, changes)
        for key in changes.keys() & KEYS.keys():
            _check_type(key, run[key], KEYS[key])
        for name, value in _numbers(run):
            _check_bound(name, value)
        registry.lookup("loss", LOSSES, run["loss"])
        knobs = run_knobs(run, num_steps=1, train_size=1)  # concrete, so that every function checks its own
        optimizer(run, knobs)


def run_knobs(config: Mapping[str, Any], *, num_steps: int, train_size: int) -> Knobs:
    """The knobs of one run, as numpy numbers of the dtypes that the program traces."""
    rates = {name: np.float32(config[name]) for name in ("peak_lr", "init_lr", "end_lr", "label_smoothing")}
    components = {name: sweep.traced(config[name]) for name in sweep.COMPONENTS}
    return Knobs(
        seed=np.uint32(config["seed"]),
        num_steps=np.int32(num_steps),
        warmup_steps=np.int32(warmup_steps(config, num_steps=num_steps, train_size=train_size)),
        **rates,
        **components,
    )


def learning_rate(config: Mapping[str, Any], knobs: Knobs) -> schedules.Schedule:
    """The schedule of a config, with the numbers of its knobs, which may be traced.

    A recipe stands for warmup and schedule both. A warmup that `scale_by_warmup`
    applies is left out of the schedule, or there would be two.
    """
    numbers = dict(
        warmup_steps=knobs.warmup_steps,
        num_steps=knobs.num_steps,
        peak_lr=knobs.peak_lr,
        init_lr=knobs.init_lr,
        end_lr=knobs.end_lr,
    )
    if config["recipe"] is not None:
        return registry.construct(
            "recipe",
            schedules.RECIPES,
            config["recipe"],
            _args(config, knobs, "recipe_args"),
            schedule=_combined(config, knobs, numbers),
            warmup=warmup_factor(config, knobs),
            batch_size=config["batch_size"],
            **numbers,
        )
    return _combined(config, knobs, numbers)


def warmup_factor(config: Mapping[str, Any], knobs: Knobs) -> schedules.Schedule:
    """The warmup of a config as a factor `t -> [0, 1]`."""
    return registry.construct(
        "warmup",
        schedules.WARMUPS,
        config["warmup"],
        _args(config, knobs, "warmup_args"),
        warmup_steps=knobs.warmup_steps,
    )


def _combined(config: Mapping[str, Any], knobs: Knobs, numbers: Mapping[str, Any]) -> schedules.Schedule:
    dampened = "scale_by_warmup" in config["transforms"]
    return schedules.build(
        warmup="none" if dampened else config["warmup"],
        schedule=config["schedule"],
        combination=config["combination"],
        warmup_args={} if dampened else _args(config, knobs, "warmup_args"),
        schedule_args=_args(config, knobs, "schedule_args"),
        **numbers,
    )


def _args(config: Mapping[str, Any], knobs: Knobs, component: str) -> dict[str, Any]:
    """A component's arguments, the traced ones from the knobs; None stands for one that is not given."""
    return _given(sweep.merge(config[component], getattr(knobs, component)))


def _given(args: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _given(value) if isinstance(value, Mapping) else value
        for name, value in args.items()
        if value is not None
    }


def _has_length(config: Mapping[str, Any]) -> bool:
    """Whether what the config warms up with takes a number of updates."""
    parameters = _arguments(schedules.WARMUPS, "warmup", config["warmup"])
    if config["recipe"] is not None:
        recipe = _arguments(schedules.RECIPES, "recipe", config["recipe"])
        parameters = recipe if "warmup" not in recipe else parameters
    return "warmup_steps" in parameters


def optimizer(config: Mapping[str, Any], knobs: Knobs):
    """The optax chain of a config, with the numbers of its knobs, which may be traced."""
    return optimizers.build(
        config["optimizer"],
        _args(config, knobs, "optimizer_args"),
        learning_rate(config, knobs),
        config["transforms"],
        _args(config, knobs, "transforms_args"),
        warmup_factor(config, knobs),
    )


def optimizer_numbers(config: Mapping[str, Any], knobs: Knobs) -> dict[str, Any]:
    """The arguments of the optimizer by name, and those of the transformations that stand for one."""
    numbers = _args(config, knobs, "optimizer_args")
    for args in _args(config, knobs, "transforms_args").values():
        numbers |= args
    return numbers


def num_steps(config: Mapping[str, Any], train_size: int) -> int:
    """The updates of a run, from `num_steps` or `num_epochs`, rounded to the nearest."""
    if config["num_steps"] is not None:
        return config["num_steps"]
    return max(1, round(config["num_epochs"] * train_size / config["batch_size"]))


def warmup_steps(config: Mapping[str, Any], *, num_steps: int, train_size: int) -> int:
    """The updates of the warmup, from whichever unit is set; 0 if none is."""
    units = {unit.removeprefix("warmup_"): config[unit] for unit in WARMUP_UNITS}
    if all(value is None for value in units.values()):
        return 0
    return schedules.warmup_steps_from(
        **units, batch_size=config["batch_size"], train_size=train_size, num_steps=num_steps
    )


def _arguments(table: Mapping[str, Any], kind: str, name: str) -> Mapping[str, inspect.Parameter]:
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


def _numbers(config: Mapping[str, Any]):
    """Every number of a config by its name, those of the components among them."""
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
