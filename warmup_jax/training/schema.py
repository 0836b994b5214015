"""The schema of a config: its keys, their types and bounds, and the values that exclude each other."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from warmup_jax import data, diagnostics, models, optimizers, registry, schedules, transforms
from warmup_jax.losses import LOSSES
from warmup_jax.numerics import interval
from warmup_jax.runtime import defaults
from warmup_jax.training import arms, build, effects, evaluation, sweep
from warmup_jax.training.build import WARMUP_UNITS

# Every config holds exactly these keys; None where the type allows it means "not set".
KEYS = {
    "seed": int,
    "batch_size": int,
    "eval_batch_size": int,
    "num_steps": (int, None),
    "num_epochs": (float, None),
    "init_from": (str, None),
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
KIND_NAMES = {
    bool: "True and False",
    int: "integers",
    float: "floats, such as 1.0",
    str: "texts",
    tuple: "tuples",
    dict: "dicts",
}
# Dotted keys that change no number of a run, except by rounding, so that a resumed one may have other values.
FREE = ("checkpoint_every", "runs_at_once", "dataset.data_dir", "dataset.workers", "dataset.residency")
# Keys of the length of a run, which may grow where the schedule permits it (resume.py).
LENGTHS = ("num_steps", "num_epochs")
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
# Keys that count something; the other numbers with bounds are real.
COUNTS = {key for key, kind in KEYS.items() if kind in (int, (int, None))} | {"beams", "length", "samples", "examples"}
# Steps and sizes are counted in int32.
MOST = 2**31
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
    "warmup_steps": (0, True, np.inf),
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
# Keys whose arguments have the bounds of `BOUNDS`; "" is the config itself.
BOUNDED = ("", *sweep.COMPONENTS, "decoding")
ANY = (-np.inf, True, np.inf)
# Lengths that become a number of updates on the host; all other numbers of a config are used in float32 or int32.
DOUBLE = ("num_epochs", "warmup_epochs", "warmup_examples", "warmup_fraction")
SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def check_keys(config: Mapping[str, Any]) -> None:
    """Checks the keys and types of a config, the name of its model, and that its data have one, without starting JAX.

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
    if "name" not in config["dataset"]:
        raise ValueError(f"dataset={dict(config['dataset'])} has no name; allowed: dicts with the name of a data set")


def validate(config: Mapping[str, Any]) -> None:
    """Checks everything in a config that can be checked without its data.

    Raises:
      ValueError: one line that names the key, its value, and what is allowed.
    """
    check_keys(config)
    for arm, variant in arms.configs(config).items():
        try:
            _validate_arm(variant)
        except ValueError as error:
            if not arm:
                raise
            raise ValueError(f"in sweep.arms.{arm}: {error}") from error


def _validate_arm(config: Mapping[str, Any]) -> None:
    """Checks the config of one arm."""
    check_keys(config)
    _exactly_one(config, ("num_steps", "num_epochs"))
    _check_warmup_length(config)
    chosen, _ = diagnostics.from_config(config["diagnostics"])
    seeds = sweep.seeds(config) or 1
    if sweep.shares_order(config) and seeds == 1:
        raise ValueError("sweep.share_order=True has no effect with one seed; allowed: None")
    changed = sweep.combinations(config)
    sweep.check_number(len(changed), seeds)
    runs = [sweep.assign(config, changes) for changes in changed]  # seeds differ in nothing that is checked
    for changes, run in zip(changed, runs):
        for key in changes.keys() & KEYS.keys():
            _check_type(key, run[key], KEYS[key])
        for where, function, args in _components(run):
            registry.check_types(where, function, args)
        for name, value in _numbers(run):
            _check_bound(name, value)
        registry.lookup("loss", LOSSES, run["loss"])
        # Built with concrete numbers, so that every schedule and transformation checks its own.
        build.optimizer(run, build.knobs(run, num_steps=1, train_size=1))
    _check_bound("seed", config["seed"] + seeds - 1)
    for name, args in chosen.items():
        diagnostics.check_values(name, args)
    effects.check(config, runs)


def _components(config: Mapping[str, Any]) -> Iterator[tuple[str, Callable[..., Any], Mapping[str, Any]]]:
    """Yields (dotted key, function, arguments) of all that a config constructs by name; unknown names are left out."""
    chosen = [
        ("optimizer_args", optimizers.OPTIMIZERS, config["optimizer"], config["optimizer_args"]),
        ("warmup_args", schedules.WARMUPS, config["warmup"], config["warmup_args"]),
        ("schedule_args", schedules.DECAYS, config["schedule"], config["schedule_args"]),
        ("recipe_args", schedules.RECIPES, config["recipe"], config["recipe_args"]),
        ("decoding", evaluation.DECODINGS, config["decoding"].get("name"), config["decoding"]),
        ("dataset", data.TASKS, config["dataset"].get("task", "images"), config["dataset"]),
    ]
    chosen += [
        (f"transforms_args.{name}", transforms.TRANSFORMS, name, args)
        for name, args in config["transforms_args"].items()
        if isinstance(args, Mapping)
    ]
    for where, table, name, args in chosen:
        if isinstance(name, str) and name in table:
            unset = where.partition(".")[0] in sweep.COMPONENTS  # there None counts as not given
            yield where, table[name], {k: v for k, v in args.items() if not (unset and v is None)}
    if config["optimizer_args"].get("clip_norm") is not None:
        yield "optimizer_args", optimizers.clipping, config["optimizer_args"]
    model: Any = registry.lookup("model", models.MODELS, config["model"]["name"])
    yield "model", model.config_class, config["model"]
    for name, args in config["diagnostics"].items():
        if isinstance(args, Mapping):
            yield f"diagnostics.{name}", diagnostics.DIAGNOSTICS[name].function, args


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
        raise ValueError(f"{key}={value!r}; allowed: {KIND_NAMES[kind]}{' and None' if optional else ''}")


def _exactly_one(config: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    given = [f"{key}={config[key]}" for key in keys if config[key] is not None]
    if len(given) != 1:
        found = f"{len(given)} are ({', '.join(given)}); unset with --config.KEY=None" if given else "none is"
        raise ValueError(f"exactly one of {', '.join(keys)} must be set, {found}")


def _numbers(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, int | float]]:
    """Yields every number of a config with its dotted key, including those in tuples and nested dicts."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            if path or name != "sweep":  # the values of a sweep come as those of its runs
                yield from _numbers(value, f"{path}{name}.")
            continue
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, (int, float)) and not isinstance(each, bool):
                yield f"{path}{name}", each


def _check_bound(key: str, value: int | float) -> None:
    """Checks a number's range, and that the type it is used in holds it: float32, int32, or uint32 for a seed."""
    parent, _, name = key.rpartition(".")
    low, may_be_low, high = BOUNDS.get(name, ANY) if parent.partition(".")[0] in BOUNDED else ANY
    inside = low <= value < high and (value != low or may_be_low)
    if inside and name not in DOUBLE:
        if isinstance(value, int) and not -MOST <= value < max(MOST, high if np.isfinite(high) else 0):
            raise ValueError(f"{key}={value}; allowed: integers below {MOST} in size")
        if isinstance(value, float):
            size = abs(value)
            if not (size == 0 or SMALLEST <= size <= LARGEST):
                raise ValueError(
                    f"{key}={value}; allowed: 0 and numbers of a size from {SMALLEST:.2g} to "
                    f"{LARGEST:.2g}, which float32 holds"
                )
            if not np.float32(value) < high:
                raise ValueError(f"{key}={value} is {np.float32(value):g} in float32; allowed: below {high:g}")
    if not inside:
        allowed = interval(low, high, above=not may_be_low, below=True)
        if name in COUNTS:
            allowed = f"integers from {low + (not may_be_low)}{f' to {high - 1}' if np.isfinite(high) else ''}"
        raise ValueError(f"{key}={value}; allowed: {allowed}")
