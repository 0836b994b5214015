"""The runs of a config: the product of the values that its `sweep` names."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from warmup_jax import registry
from warmup_jax.training import arms
from warmup_jax.training.train_step import Knobs

FLAT = ("peak_lr", "init_lr", "end_lr", "warmup_steps", "label_smoothing")
COMPONENTS = ("optimizer_args", "warmup_args", "schedule_args", "recipe_args", "transforms_args")
# Keys that change the program or a shape, besides the model's arguments and the components' integers, booleans and
# strings. A sweep over these is an outer loop, with one compilation for each value.
STATIC = ("batch_size", "loss", "optimizer", "schedule", "warmup", "combination", "recipe")
# Keys of `sweep` that are no axes of it.
NO_AXES = ("seeds", "share_order")
# More could not be listed, let alone trained.
MOST_RUNS = 1_000_000


def expand(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the changes of each run to the config: one dict for each run, [{}] without a sweep.

    `config["sweep"]` maps names to tuples of values, and `seeds` to a number of
    seeds, counted from the config's own seed; None sweeps nothing. The runs are
    the product of all values: static names outermost, so that the runs of one
    program follow one another, and seeds innermost. Each of its `arms`, if it
    has any, has such a product (see `arms.configs`).

    Raises:
      ValueError: for a name that is unknown or fixed, no value, or a value of the wrong type.

    >>> expand({"seed": 0, "peak_lr": 0.1, "model": {"depth": 8}, "optimizer_args": {},
    ...         "warmup_args": {}, "schedule_args": {}, "recipe_args": {}, "transforms_args": {},
    ...         "sweep": {"peak_lr": (0.1, 1.0), "depth": (8, 14), "seeds": 2}})[1:3]
    [{'depth': 8, 'peak_lr': 0.1, 'seed': 1}, {'depth': 8, 'peak_lr': 1.0, 'seed': 0}]
    """
    return [
        {**({"arm": arm} if arm else {}), **run}
        for arm, variant in arms.configs(config).items()
        for run in _product(variant)
    ]


def _product(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the changes of each run of a config without arms."""
    axes = {name: values for name, values in config["sweep"].items() if values is not None}
    count = seeds(config)
    for name in NO_AXES:
        axes.pop(name, None)
    axes = {name: _values(config, name, values) for name, values in axes.items()}
    check_number(math.prod(map(len, axes.values())), count or 1)
    axes = dict(sorted(axes.items(), key=lambda axis: not is_static(config, axis[0])))
    if count is not None:
        axes["seed"] = tuple(range(config["seed"], config["seed"] + count))
    return [dict(zip(axes, values)) for values in itertools.product(*axes.values())]


def combinations(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the changes of each run to the config as `expand` does, with one seed alone."""
    return expand({**config, "sweep": {**config["sweep"], "seeds": None}})


def seeds(config: Mapping[str, Any]) -> int | None:
    """Returns the number of seeds that a config sweeps, None if it sweeps none."""
    count = config["sweep"].get("seeds")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise ValueError(f"sweep.seeds={count!r}; allowed: integers from 1")
    return count


def shares_order(config: Mapping[str, Any]) -> bool:
    """Returns True if all seeds of a sweep see the data in the order, and with the augmentation, of the config's seed.

    `sweep.share_order` says so. Without it a seed is a run of its own in all respects, which a spread over seeds has to
    show; with it the runs of different seeds are paired.
    """
    shares = config["sweep"].get("share_order")
    if shares is not None and not isinstance(shares, bool):
        raise ValueError(f"sweep.share_order={shares!r}; allowed: True, False or None")
    return bool(shares)


def check_number(combinations: int, seeds: int) -> None:
    """Raises a ValueError for more runs than can be listed."""
    if combinations * seeds > MOST_RUNS:
        raise ValueError(
            f"sweep has {combinations * seeds} runs, with sweep.seeds={seeds}; allowed: at most {MOST_RUNS}"
        )


def is_static(config: Mapping[str, Any], name: str) -> bool:
    """Returns True if a swept name changes the program, False if it changes a number that the program traces."""
    if name in (*FLAT, "seed"):
        return False
    home = _home(config, name)
    return home is config or home is config["model"] or not (home[name] is None or is_traced(home[name]))


def key_of(config: Mapping[str, Any], name: str) -> str:
    """Returns the key of the config that holds a swept name: "peak_lr" itself, "schedule_args" for "exponent"."""
    home = _home(config, name)
    if home is config:
        return name
    homes = {key: list(_nested(config[key])) for key in (*COMPONENTS, "model")}
    return next(key for key, nested in homes.items() if any(each is home for each in nested))


def programs(config: Mapping[str, Any], changes: list[dict[str, Any]]) -> list[tuple[dict[str, Any], range]]:
    """Returns, for each program, the static changes that it makes to the config, and its runs."""
    variants = arms.configs(config)
    static = [
        {name: value for name, value in run.items() if name == "arm" or is_static(variants[run.get("arm", "")], name)}
        for run in changes
    ]
    firsts = [run for run in range(len(static)) if run == 0 or static[run] != static[run - 1]]
    return [(static[first], range(first, last)) for first, last in zip(firsts, [*firsts[1:], len(static)])]


def assign(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config of one run: a copy with the changes applied, those of its arm first."""
    config = _copy(arms.configs(config)[changes["arm"]] if "arm" in changes else config)
    for name, value in changes.items():
        if name != "arm":
            _home(config, name)[name] = value
    return config


def label(changes: Mapping[str, Any]) -> str:
    """Returns the display name of a run: "warmup_steps=50, seed=1", or "run" without a sweep."""
    return (
        ", ".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in changes.items()
        )
        or "run"
    )


def traced(args: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments that are traced (floats and tuples of numbers), including those in nested dicts."""
    return {
        name: traced(value) if isinstance(value, Mapping) else np.asarray(value, np.float32)
        for name, value in args.items()
        if isinstance(value, Mapping) or is_traced(value)
    }


def merge(args: Mapping[str, Any], numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments with the traced ones replaced by `numbers`, including those in nested dicts."""
    return {
        name: merge(value, numbers[name]) if isinstance(value, Mapping) else numbers.get(name, value)
        for name, value in args.items()
    }


def is_traced(value: Any) -> bool:
    """Returns True for a value that a sweep changes without a compilation: a float or a tuple of numbers.

    Integers, booleans and strings choose programs and shapes, and are static. So 2.0 is traced and 2 is not.
    """
    return isinstance(value, float) or (
        isinstance(value, tuple) and len(value) > 0 and all(isinstance(v, (int, float)) for v in value)
    )


def stack(knobs: list[Knobs]) -> Knobs:
    """Returns the knobs of R runs as one, with leaves [R, ...]."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *knobs)


def groups(runs: range, size: int) -> list[range]:
    """Returns consecutive runs in groups of `size`; the last group may be smaller."""
    return [runs[first : first + size] for first in range(0, len(runs), size)]


def _copy(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in config.items()}


def _homes(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields the dicts that hold the components' arguments, nested ones included."""
    for name in COMPONENTS:
        yield from _nested(config[name])


def _nested(args: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields a dict of arguments and the dicts in it."""
    yield args
    for value in args.values():
        if isinstance(value, Mapping):
            yield from _nested(value)


def _home(config: Mapping[str, Any], name: str) -> Any:
    """Returns the dict that holds a swept name: a component's arguments, the model's, or the config itself."""
    homes = [home for home in (*_homes(config), config["model"]) if name in home]
    if name in (*FLAT, *STATIC, "seed"):
        homes = [config]
    if len(homes) > 1:
        components = [(key, config[key]) for key in (*COMPONENTS, "model")]
        found = [f"{key}.{name}" for key, args in components for home in _nested(args) if name in home]
        raise ValueError(f"sweep.{name} is ambiguous, since {' and '.join(found)} have this name; allowed: other names")
    if not homes:
        known = {*FLAT, *STATIC, *NO_AXES, "arms", *config["model"], *(arg for home in _homes(config) for arg in home)}
        raise registry.unknown("knob to sweep", name, known)
    return homes[0]


def _values(config: Mapping[str, Any], name: str, values: Any) -> tuple:
    """Checks the values of one axis and returns them in the knob's type."""
    if name == "seed":
        raise ValueError("sweep.seed is unknown: sweep.seeds is the number of seeds")
    static = is_static(config, name)
    if not isinstance(values, (tuple, list)) or not values:
        raise ValueError(f"sweep.{name}={values!r}; allowed: tuples of at least one value")
    kind = int if name == "warmup_steps" else float
    for value in values if not static else ():  # others are checked by the component that takes them
        if isinstance(value, bool) or not isinstance(value, (int, kind)):
            raise ValueError(f"sweep.{name}={values!r}; allowed: tuples of {'integers' if kind is int else 'numbers'}")
    try:
        values = tuple(value if static else kind(value) for value in values)
    except OverflowError as error:
        raise ValueError(f"sweep.{name}={values}; allowed: numbers that a float holds") from error
    repeated = [value for i, value in enumerate(values) if value in values[:i]]
    if repeated:
        raise ValueError(f"sweep.{name}={values} repeats {repeated[0]!r}; allowed: every value once")
    return values
