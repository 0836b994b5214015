"""The keys of a config that its runs do not read, so that a value given for them would mean nothing."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from warmup_jax import registry, schedules
from warmup_jax.training import arms, sweep
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

UNNORMALISED = ("rezero", "none")  # placements of the normalisation without any


def check(config: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> None:
    """Raises a ValueError for a value that no run reads, and for a sweep over a key that no run reads.

    Args:
      config: with all keys.
      runs: the configs of its runs.
    """
    unread = without_effect(runs)
    for name, values in config["sweep"].items():
        key = sweep.key_of(config, name) if values is not None and name not in sweep.NO_AXES else None
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
    variant = arms.configs(config)[changes[0].get("arm", "")]
    swept = {(sweep.key_of(variant, name), name) for name in set(variant["sweep"]).intersection(*changes)}
    for key in given:
        holder, _, name = key.rpartition(".")
        top = key.partition(".")[0]
        value = config[top] if not holder else config[top].get(name) if holder == top else True
        if (top, name) in swept and value is not None:
            axis = f"sweep.{name}={variant['sweep'][name]}"
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
    swept = config["sweep"]
    for name in ("warmup", "combination", *config["warmup_args"]):
        if swept.get(name) is not None and all(run["recipe"] is None and _length(run) == 0 for run in runs):
            raise ValueError(f"sweep.{name}={swept[name]} has no effect with {_length_text(runs[0])}; allowed: None")
    _check_norm_kind(config, runs)
    workers, residency = config["dataset"].get("workers"), config["dataset"].get("residency")
    if workers and residency == "device":
        raise ValueError(f"dataset.workers={workers} has no effect with residency='device'; allowed: 0")


def _check_norm_kind(config: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> None:
    """Raises a ValueError for a kind of normalisation in models that have none."""
    models = [run["model"] for run in runs]
    if not all(model.get("norm") in UNNORMALISED and model.get("qk_norm") is False for model in models):
        return
    reason = f"no effect with norm={models[0]['norm']!r} and qk_norm=False"
    if config["sweep"].get("norm_kind") is not None:
        raise ValueError(f"sweep.norm_kind={config['sweep']['norm_kind']} has {reason}; allowed: None")
    if (kind := models[0].get("norm_kind")) != "layer":
        raise ValueError(f"model.norm_kind={kind!r} has {reason}; allowed: 'layer'")


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
    composed |= {"init_lr"} if warmup and not dampened and _length(run) != 0 else set()
    composed |= {"combination"} if "warmup_steps" in warmup and "start" in decay else set()
    if run["recipe"] is None:
        return composed
    recipe = inspect.signature(registry.lookup("recipe", schedules.RECIPES, run["recipe"])).parameters
    read = (NEUTRAL.keys() & recipe.keys()) | {"recipe_args"}
    read |= composed if "schedule" in recipe else set()
    return read | ({"warmup", "warmup_args"} if "warmup" in recipe or dampened else set())


def _length(run: Mapping[str, Any]) -> float | None:
    """Returns the length of a run's warmup in its own unit, None if it has none."""
    return next((run[unit] for unit in WARMUP_UNITS if run[unit] is not None), None)


def _length_text(run: Mapping[str, Any]) -> str:
    return next(f"{unit}={run[unit]}" for unit in WARMUP_UNITS if run[unit] is not None)


def _reason(run: Mapping[str, Any], key: str) -> str:
    if key == "recipe_args" or run["recipe"] is not None:
        return f"recipe={run['recipe']!r}"
    if key == "init_lr" and _length(run) == 0:
        return _length_text(run)
    if key == "init_lr":
        return "transforms=('scale_by_warmup',)" if "scale_by_warmup" in run["transforms"] else "warmup='none'"
    if key == "combination" and run["warmup"] == "none":
        return "warmup='none'"
    return f"schedule={run['schedule']!r}"
