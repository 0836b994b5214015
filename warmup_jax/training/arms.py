"""The arms of a sweep: named changes to a config that are compared with each other."""

from collections.abc import Mapping
from typing import Any

from warmup_jax import registry
from warmup_jax.runtime import defaults

# The key that chooses a component, and the one that holds its arguments.
ARGUMENTS = {
    "optimizer": "optimizer_args",
    "warmup": "warmup_args",
    "schedule": "schedule_args",
    "recipe": "recipe_args",
    "transforms": "transforms_args",
}
# Keys of the whole job, which its arms share.
SHARED = ("seed", "dataset", "runs_at_once", "init_from")
SHARED_AXES = ("seeds", "share_order")  # of `sweep`


def configs(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the config of each arm by name; {"": config} if a config has no arms.

    `config["sweep"]["arms"]` maps the name of an arm to its changes, in the form of a config with some of its keys. A
    dict changes the keys that it names and leaves the others, except the arguments of a component that the arm chooses
    itself (an `optimizer`, a `model` by its `name`, ...): those are the given ones alone. The arm's own `sweep` changes
    the axes that it names; None drops one.

    Args:
      config: with all keys.

    Returns:
      Configs with all keys, without arms.

    Raises:
      ValueError: for arms that are no dict of dicts, an unknown key, or one that the arms share.

    Examples:
      >>> base = {"peak_lr": 0.1, "schedule": "cosine", "schedule_args": {"exponent": 1.0}, "sweep": {"arms": {
      ...     "cosine": {}, "cooldown": {"schedule": "wsd", "schedule_args": {"decay_fraction": 0.2}}}}}
      >>> configs(base)["cooldown"]
      {'peak_lr': 0.1, 'schedule': 'wsd', 'schedule_args': {'decay_fraction': 0.2}, 'sweep': {}}
    """
    axes = {name: values for name, values in config["sweep"].items() if name != "arms"}
    arms = config["sweep"].get("arms")
    if arms is None:
        return {"": dict(config, sweep=axes)}
    if not isinstance(arms, Mapping) or not arms:
        raise ValueError(f"sweep.arms={arms!r}; allowed: a dict from the names of arms to their changes, or None")
    for name in arms:
        if not isinstance(name, str) or not name:
            raise ValueError(f"sweep.arms has the name {name!r}; allowed: texts of at least one letter")
    return {name: _apply({**config, "sweep": axes}, name, changes) for name, changes in arms.items()}


def _apply(config: Mapping[str, Any], arm: str, changes: Any) -> dict[str, Any]:
    if not isinstance(changes, Mapping):
        raise ValueError(f"sweep.arms.{arm}={changes!r}; allowed: a dict of changes to the config")
    for key in changes:
        if key in SHARED:
            raise ValueError(f"sweep.arms.{arm}.{key}: the arms of a sweep share {', '.join(SHARED)}")
        if key not in config:
            raise registry.unknown(f"config key in sweep.arms.{arm}", key, config)
        if isinstance(config[key], Mapping) and not isinstance(changes[key], Mapping):
            raise ValueError(f"sweep.arms.{arm}.{key}={changes[key]!r}; allowed: a dict")
    for key in ("arms", *SHARED_AXES):
        if key in changes.get("sweep", {}):
            raise ValueError(f"sweep.arms.{arm}.sweep.{key}: the arms of a sweep share {', '.join(SHARED_AXES)}")
    chosen = {ARGUMENTS[key] for key in changes if key in ARGUMENTS}
    chosen |= {key for key in ("model", "decoding") if "name" in changes.get(key, {})}
    applied = {**config}
    for key, value in changes.items():
        applied[key] = _merged(config[key], value) if isinstance(value, Mapping) and key not in chosen else value
    for key in chosen - changes.keys():
        applied[key] = {}
    if "model" in changes:
        _check_kind(arm, applied["model"], config["model"])
    return applied


def _check_kind(arm: str, model: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Raises a ValueError for a model of another kind than that of the config: memory and devices are set for one."""
    allowed = [name for name, kind in defaults.KINDS.items() if kind == defaults.kind_of(base)]
    if model.get("name") not in allowed:
        raise ValueError(
            f"sweep.arms.{arm}.model.name={model.get('name')!r}; allowed, of the kind of {base['name']!r}: "
            f"{', '.join(map(repr, allowed))}"
        )


def _merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a dict with some values changed, those of dicts in it one by one."""
    return {**config} | {
        key: _merged(config[key], value)
        if isinstance(value, Mapping) and isinstance(config.get(key), Mapping)
        else value
        for key, value in changes.items()
    }
