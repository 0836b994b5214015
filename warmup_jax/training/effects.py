"""The keys of a config that its runs do not read, so that a value given for them would mean nothing."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from warmup_jax import registry, schedules
from warmup_jax.training import sweep
from warmup_jax.training.build import WARMUP_UNITS

# Keys that not every schedule reads, with the values by which a config says nothing. Keys with None have no such
# value: a recipe stands in their place, whatever they are.
NEUTRAL: dict[str, Any] = {
    "peak_lr": None,
    "init_lr": 0.0,
    "end_lr": 0.0,
    "schedule": None,
    "schedule_args": None,
    "combination": "join",
    "warmup": None,
    "warmup_args": {},
    "recipe_args": {},
}


def check(config: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> None:
    """Raises a ValueError for a value that no run reads, and for a sweep over a key that no run reads.

    Args:
      config: with all keys.
      runs: the configs of its runs.
    """
    unread = without_effect(runs)
    for name, values in config["sweep"].items():
        key = sweep.key_of(config, name) if values is not None and name != "seeds" else None
        if key in unread:
            raise ValueError(f"sweep.{name}={values} has no effect with {unread[key]}; allowed: None")
    for key, reason in unread.items():
        neutral = NEUTRAL[key]
        for run in runs if neutral is not None else ():
            given = {k: v for k, v in run[key].items() if v is not None} if isinstance(neutral, dict) else run[key]
            if given != neutral:
                raise ValueError(f"{key}={given!r} has no effect with {reason}; allowed: {neutral!r}")
    _check_zeros(config, runs)


def check_given(config: Mapping[str, Any], given: Iterable[str]) -> None:
    """Raises a ValueError for a key that no run reads although the user has given it a value.

    A config alone does not tell: under a recipe it still has a peak rate and a schedule, its defaults, and the key of
    a sweep its own value.

    Args:
      config: with all keys, valid.
      given: dotted keys, as of the overrides of a command line.
    """
    changes = sweep.combinations(config)
    unread = without_effect([sweep.assign(config, each) for each in changes])
    swept = {(sweep.key_of(config, name), name) for name in set(config["sweep"]).intersection(*changes)}
    for key in given:
        holder, _, name = key.rpartition(".")
        top = key.partition(".")[0]
        value = config[top] if not holder else config[top].get(name) if holder == top else True
        if (top, name) in swept and value is not None:
            axis = f"sweep.{name}={config['sweep'][name]}"
            raise ValueError(f"{key}={value!r} has no effect with {axis}; allowed: the config's own value")
        if top in unread and value is not None:
            raise ValueError(f"{key}={value!r} has no effect with {unread[top]}; allowed: the config's own value")


def _check_zeros(config: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> None:
    """Raises a ValueError for values that are multiplied by zero, or by a factor of one, in every run."""
    nesterov = [run["optimizer_args"].get("nesterov") for run in runs]
    if any(nesterov) and all(run["optimizer_args"].get("momentum") == 0 for run in runs):
        raise ValueError("optimizer_args.nesterov=True has no effect with momentum=0.0; allowed: False")
    if all("scale_by_warmup" in run["transforms"] and run["warmup"] == "none" for run in runs):
        raise ValueError(f"transforms={config['transforms']} has no effect with warmup='none'; allowed: other warmups")
    lengths = [run[unit] for run in runs for unit in WARMUP_UNITS if run[unit] is not None]
    if config["sweep"].get("init_lr") is not None and lengths and not any(lengths):
        raise ValueError(f"sweep.init_lr={config['sweep']['init_lr']} has no effect without a warmup; allowed: None")


def without_effect(runs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Returns the keys of `NEUTRAL` that none of the runs reads, each with what makes the first run ignore it."""
    runs = list(runs)
    read = set[str]().union(*map(_read, runs))
    return {key: _reason(runs[0], key) for key in NEUTRAL if key not in read}


def _read(run: Mapping[str, Any]) -> set[str]:
    """Returns the keys of `NEUTRAL` that the learning rate and the optimizer of a run depend on."""
    dampened = "scale_by_warmup" in run["transforms"]
    warmup = inspect.signature(registry.lookup("warmup", schedules.WARMUPS, run["warmup"])).parameters
    decay = inspect.signature(registry.lookup("schedule", schedules.DECAYS, run["schedule"])).parameters
    composed = {"peak_lr", "schedule", "schedule_args", "warmup", "warmup_args"}
    composed |= {"end_lr"} if decay else set()  # a decay that depends on nothing never falls
    composed |= {"init_lr"} if warmup and not dampened else set()
    composed |= {"combination"} if "warmup_steps" in warmup and "start" in decay else set()
    if run["recipe"] is None:
        return composed
    recipe = inspect.signature(registry.lookup("recipe", schedules.RECIPES, run["recipe"])).parameters
    read = (NEUTRAL.keys() & recipe.keys()) | {"recipe_args"}
    read |= composed if "schedule" in recipe else set()
    return read | ({"warmup", "warmup_args"} if "warmup" in recipe or dampened else set())


def _reason(run: Mapping[str, Any], key: str) -> str:
    if key == "recipe_args" or run["recipe"] is not None:
        return f"recipe={run['recipe']!r}"
    if key == "init_lr":
        return "transforms=('scale_by_warmup',)" if "scale_by_warmup" in run["transforms"] else "warmup='none'"
    if key == "combination" and run["warmup"] == "none":
        return "warmup='none'"
    return f"schedule={run['schedule']!r}"
