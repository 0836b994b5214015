"""The parts of a run, built from a config and the numbers of its knobs: knobs, schedule, optimizer, lengths."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import optax
from jax.typing import ArrayLike

from warmup_jax import optimizers, registry, schedules
from warmup_jax.schedules.adam_factors import untuned_linear_steps
from warmup_jax.training import sweep
from warmup_jax.training.train_step import Knobs

WARMUP_UNITS = ("warmup_steps", "warmup_epochs", "warmup_examples", "warmup_fraction")
MOST_STEPS = 2**31 - 1
OPTAX_NAMES = {"b1": "beta1", "b2": "beta2"}
BLOCK = 2**20  # updates whose rates are computed at once: those of the longest run would not fit in memory
RATES = ("peak_lr", "init_lr", "end_lr", "label_smoothing")


def knobs(config: Mapping[str, Any], *, num_steps: int, train_size: int) -> Knobs:
    """Returns the knobs of one run, as numpy numbers of the dtypes that the program traces."""
    rates: dict[str, Any] = {name: np.float32(config[name]) for name in RATES}
    components = {name: sweep.traced(config[name]) for name in sweep.COMPONENTS}
    return Knobs(
        seed=np.uint32(config["seed"]),
        num_steps=np.int32(num_steps),
        warmup_steps=np.int32(warmup_steps(config, num_steps=num_steps, train_size=train_size)),
        **rates,
        **components,
    )


def learning_rate(config: Mapping[str, Any], knobs: Knobs) -> schedules.Schedule:
    """Returns the learning-rate schedule of a config, with the numbers of the knobs, which may be traced.

    A recipe stands for both warmup and decay. A warmup that the transformation `scale_by_warmup` applies is left out
    of the schedule, which would otherwise apply it a second time.
    """
    numbers = dict(
        warmup_steps=knobs.warmup_steps,
        num_steps=knobs.num_steps,
        peak_lr=knobs.peak_lr,
        init_lr=knobs.init_lr,
        end_lr=knobs.end_lr,
    )
    if config["recipe"] is None:
        return _warmup_and_decay(config, knobs, numbers)
    return registry.construct(
        "recipe",
        schedules.RECIPES,
        config["recipe"],
        _arguments(config, knobs, "recipe_args"),
        schedule=_warmup_and_decay(config, knobs, numbers),
        warmup=warmup_factor(config, knobs),
        batch_size=config["batch_size"],
        **numbers,
    )


def warmup_factor(config: Mapping[str, Any], knobs: Knobs) -> schedules.Schedule:
    """Returns the warmup of a config as a factor `t -> [0, 1]`."""
    return registry.construct(
        "warmup",
        schedules.WARMUPS,
        config["warmup"],
        _arguments(config, knobs, "warmup_args"),
        warmup_steps=knobs.warmup_steps,
    )


def _warmup_and_decay(config: Mapping[str, Any], knobs: Knobs, numbers: Mapping[str, Any]) -> schedules.Schedule:
    dampened = "scale_by_warmup" in config["transforms"]
    return schedules.build(
        warmup="none" if dampened else config["warmup"],
        schedule=config["schedule"],
        combination=config["combination"],
        warmup_args={} if dampened else _arguments(config, knobs, "warmup_args"),
        schedule_args=_arguments(config, knobs, "schedule_args"),
        **numbers,
    )


def optimizer(config: Mapping[str, Any], knobs: Knobs) -> optax.GradientTransformation:
    """Returns the optax chain of a config, with the numbers of the knobs, which may be traced."""
    return optimizers.build(
        config["optimizer"],
        _arguments(config, knobs, "optimizer_args"),
        learning_rate(config, knobs),
        config["transforms"],
        _arguments(config, knobs, "transforms_args"),
        warmup_factor(config, knobs),
    )


def optimizer_numbers(config: Mapping[str, Any], knobs: Knobs) -> dict[str, Any]:
    """Returns the optimizer's arguments by name, and those of transformations that stand for an optimizer.

    Optax's names of the decay rates, `b1` and `b2`, are given as `beta1` and `beta2` too.
    """
    numbers = _arguments(config, knobs, "optimizer_args")
    for args in _arguments(config, knobs, "transforms_args").values():
        numbers |= args
    return {OPTAX_NAMES[name]: value for name, value in numbers.items() if name in OPTAX_NAMES} | numbers


def num_steps(config: Mapping[str, Any], train_size: int) -> int:
    """Returns the number of updates of a run, from `num_steps` or from `num_epochs`, rounded to the nearest."""
    if config["num_steps"] is not None:
        return config["num_steps"]
    updates = config["num_epochs"] * train_size / config["batch_size"]
    return max(1, _counted("num_epochs", config["num_epochs"], updates))


def warmup_steps(config: Mapping[str, Any], *, num_steps: int, train_size: int) -> int:
    """Returns the number of updates of the warmup, from the one unit that the config sets; 0 if it sets none."""
    units = {unit: config[unit] for unit in WARMUP_UNITS if config[unit] is not None}
    if not units:
        return 0
    ((unit, value),) = units.items()
    scale = {
        "warmup_steps": 1,
        "warmup_epochs": train_size / config["batch_size"],
        "warmup_examples": 1 / config["batch_size"],
        "warmup_fraction": num_steps,
    }
    _counted(unit, value, value * scale[unit])
    return schedules.warmup_steps_from(
        **{unit.removeprefix("warmup_"): value},
        batch_size=config["batch_size"],
        train_size=train_size,
        num_steps=num_steps,
    )


def rates(config: Mapping[str, Any], knobs: Knobs, steps: ArrayLike) -> tuple[Any, Any]:
    """Returns what a run's updates depend on besides their batches: learning rates and warmup factors at `steps`."""
    return learning_rate(config, knobs)(steps), warmup_factor(config, knobs)(steps)


def shared_updates(rates: Callable, run: Knobs, other: Knobs) -> int:
    """Returns how many updates two runs that differ in their length alone have in common.

    Their rates and warmup factors are equal in all of them, and none is the end of one warmup and not of the other,
    where probes are taken.

    Args:
      rates: (knobs, steps) -> curves, the function `rates` of their config.
      run: knobs of the one.
      other: knobs of the other.
    """
    most = int(min(run.num_steps, other.num_steps))
    if run.warmup_steps != other.warmup_steps:
        most = min(most, max(int(min(run.warmup_steps, other.warmup_steps)) - 1, 0))
    return _first_difference(rates, run, other, 0, most)


def parting(rates: Callable, config: Mapping[str, Any], run: Knobs, train_size: int) -> int | None:
    """Returns the update at which a final decay begins after a stable phase, None if there is none.

    It is where the rates of a run twice as long depart from those of this one, unless they do so right after the
    warmup: the run can be extended from there alone.
    """
    length = int(run.num_steps)
    if config["recipe"] is None and "stop" not in inspect.signature(schedules.DECAYS[config["schedule"]]).parameters:
        return None  # the usual case, without computing anything: the rates do not depend on the length
    longer = knobs(config, num_steps=min(2 * length, MOST_STEPS), train_size=train_size)
    after_warmup = int(run.warmup_steps) + 2
    if longer.warmup_steps != run.warmup_steps or after_warmup >= length:
        return None
    if _first_difference(rates, run, longer, after_warmup - 1, after_warmup) < after_warmup:
        return None  # a decay from the end of the warmup on: one point tells
    found = _first_difference(rates, run, longer, 0, length)
    return found if after_warmup <= found < length else None


def _first_difference(rates: Callable, run: Knobs, other: Knobs, start: int, stop: int) -> int:
    """Returns the first update from `start` on whose rate or warmup factor differs between two runs, else `stop`."""
    block = min(BLOCK, stop - start)
    for first in range(start, stop, BLOCK):
        steps = np.minimum(first + np.arange(block), stop - 1).astype(np.int32)  # of one shape, for one compilation
        pairs = zip(rates(run, steps), rates(other, steps))
        equal = np.all([np.asarray(one) == np.asarray(two) for one, two in pairs], axis=0)
        if not equal.all():
            return int(steps[np.argmin(equal)])
    return stop


def warmup_lengths(config: Mapping[str, Any], runs: Iterable[Knobs]) -> set[int]:
    """Returns the lengths in updates of the warmups of runs; none for a warmup that has no end or is a recipe's own."""
    if config["recipe"] is None and config["warmup"] == "untuned_linear":
        return {int(untuned_linear_steps(**_arguments(config, knobs, "warmup_args"))) for knobs in runs}
    if config["recipe"] is None:
        function = schedules.WARMUPS[config["warmup"]]
    else:
        function = schedules.RECIPES[config["recipe"]]
    if "warmup_steps" not in inspect.signature(function).parameters:
        return set()
    return {int(knobs.warmup_steps) for knobs in runs}


def _counted(key: str, value: float, updates: float) -> int:
    """Returns a number of updates, rounded; raises a ValueError if an int32, which counts updates, cannot hold it."""
    if not updates < MOST_STEPS:
        raise ValueError(f"{key}={value} makes {updates:.6g} updates; allowed: up to {MOST_STEPS}")
    return round(updates)


def _arguments(config: Mapping[str, Any], knobs: Knobs, component: str) -> dict[str, Any]:
    """Returns a component's arguments, the traced ones from the knobs; an argument that is None counts as not given."""
    return _given(sweep.merge(config[component], getattr(knobs, component)))


def _given(args: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _given(value) if isinstance(value, Mapping) else value
        for name, value in args.items()
        if value is not None
    }
