"""Readers of optimizer states of any nesting: the learning rate, and the clock of the schedules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import AnySchedule, require, value_at
from warmup_jax.transforms.dampening import ScaleByWarmupState, WarmupUntilState
from warmup_jax.transforms.limits import ClipByGlobalNormWarmupState
from warmup_jax.transforms.rates import RecordedLearningRateState

INJECTED = (optax.InjectStatefulHyperparamsState, optax.InjectHyperparamsState)
PLATEAU = optax.contrib.ReduceLROnPlateauState
LINE_SEARCH = (optax.ScaleByBacktrackingLinesearchState, optax.ScaleByZoomLinesearchState)
READ = (
    RecordedLearningRateState,
    ScaleByWarmupState,
    WarmupUntilState,
    PLATEAU,
    optax.ScaleByScheduleState,
    optax.MaskedState,
    optax.PartitionState,
    *INJECTED,
    *LINE_SEARCH,
)


def current_learning_rate(
    opt_state: optax.OptState, label: Any = None, *, schedule: AnySchedule | ArrayLike | None = None
) -> jax.Array:
    """Returns the rate of the last update, read from an optimizer state of any nesting.

    It is the rate recorded by `scale_by_recorded_learning_rate` or
    `cap_by_sharpness`, the `learning_rate` of `optax.inject_hyperparams`, or the
    step of a line search (as in `optax.lbfgs`), times the factors that
    `scale_by_warmup`, `warmup_until` and `optax.contrib.reduce_on_plateau`
    recorded: what was applied, wherever they stand in chains, masks, partitions
    and `optax.MultiSteps` (whose last update is the last one that was not
    accumulated).

    Optimizers such as `optax.adamw(schedule)` record no rate: they count updates
    alone, or nothing if the rate is constant. Give the schedule again, and it is
    evaluated at the count that the state holds. What an optimizer such as
    `optax.contrib.prodigy` multiplies its rate by is not part of the answer.

    Args:
      opt_state: the state of an optimizer with one learning rate.
      label: the group of parameters to read, where there are several with rates
        or factors of their own: a label of `optax.partition` or `scale_by_warmup`.
      schedule: for an optimizer that records no rate, the optax schedule or the
        number that it was built with.

    Returns:
      The rate, float32 (float64 under `jax_enable_x64`). Before the first
      update a recorded or scheduled rate is 0, and an injected one that of the
      first update.

    Raises:
      ValueError: if the state holds no rate and no schedule is given, and the
        other way round; for several rates, or a factor that acts on a part of
        the parameters only; for an unknown label, or a state that lost the types
        of its parts.

    Examples:
      >>> from warmup_jax.transforms import scale_by_recorded_learning_rate, scale_by_warmup
      >>> tx = optax.chain(optax.trace(0.9), scale_by_recorded_learning_rate(lambda t: 0.1))
      >>> _, state = tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
      >>> round(float(current_learning_rate(state)), 3)
      0.1
      >>> tx = optax.inject_hyperparams(optax.adam)(lambda t: 0.1)
      >>> round(float(current_learning_rate(tx.init(jnp.ones(2)))), 3)
      0.1
      >>> rate = optax.linear_schedule(0.1, 0.0, 10)
      >>> tx = optax.chain(optax.adam(rate), scale_by_warmup(0.5))
      >>> _, state = tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
      >>> round(float(current_learning_rate(state, schedule=rate)), 3)
      0.05
    """
    _require_types(opt_state)
    found = _Found()
    found.read(opt_state, label)
    if label is not None and label not in found.labels:
        raise registry.unknown("label", label, map(str, found.labels))
    if schedule is None and not found.rates and len(found.searches) == 1:
        found.rates, found.searches = found.searches, []
    if schedule is not None and found.rates:
        raise ValueError("schedule is given, but the optimizer state records its learning rate: leave the schedule out")
    if len(found.rates) > 1:
        raise ValueError(
            f"the optimizer state holds {len(found.rates)} recorded learning rates, expected 1{found.groups()}"
        )
    if not found.rates and schedule is None:
        raise ValueError(f"the optimizer state holds 0 recorded learning rates, expected 1: {found.advice()}")
    if found.partial:
        raise ValueError(
            "the optimizer state holds a warmup factor that acts on a part of the parameters "
            "only, behind a mask or a partition: the rest has another learning rate"
        )
    rate = jnp.asarray(found.rates[0], float) if schedule is None else found.evaluate(schedule)
    for factor in found.factors + found.searches:
        rate = rate * factor
    return rate


@dataclasses.dataclass
class _Found:
    """The rates in a state, the factors on them, and what helps to find a rate where none is recorded."""

    rates: list[jax.Array] = dataclasses.field(default_factory=list)
    factors: list[jax.Array] = dataclasses.field(default_factory=list)
    searches: list[jax.Array] = dataclasses.field(default_factory=list)  # steps of line searches
    clocks: list[jax.Array] = dataclasses.field(default_factory=list)  # counts of schedules that record no value
    injected: set[str] = dataclasses.field(default_factory=set)  # hyperparameters of any name
    labels: set[Any] = dataclasses.field(default_factory=set)
    partial: bool = False  # a factor acts on a part of the parameters that has no rate of its own

    def read(self, state: Any, label: Any) -> None:
        """Adds what a state holds."""
        for node in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, READ)):
            rates, factors = len(self.rates), len(self.factors)
            if isinstance(node, RecordedLearningRateState):
                self.rates.append(_unboxed(node.learning_rate))
            elif isinstance(node, LINE_SEARCH):
                self.searches.append(_unboxed(node.learning_rate))
            elif isinstance(node, PLATEAU):
                self.factors.append(_unboxed(node.scale))
            elif isinstance(node, WarmupUntilState):
                self.factors.append(_unboxed(node.factor))
            elif isinstance(node, ScaleByWarmupState):
                self.factors.append(_unboxed(self._factor(node.factor, label)))
            elif isinstance(node, optax.ScaleByScheduleState):
                self.clocks.append(_unboxed(node.count))
            elif isinstance(node, INJECTED):
                self.injected |= set(node.hyperparams)
                self.read(node.inner_state, label)
                if len(self.rates) == rates and "learning_rate" in node.hyperparams:
                    self.rates.append(_unboxed(node.hyperparams["learning_rate"]))
            elif isinstance(node, optax.MaskedState):
                self.read(node.inner_state, label)
                self.partial |= len(self.factors) > factors and len(self.rates) == rates
            elif isinstance(node, optax.PartitionState):
                self.labels |= set(node.inner_states)
                group = node.inner_states[label].inner_state if label in node.inner_states else node.inner_states
                self.read(group, label)

    def _factor(self, factor: Any, label: Any) -> Any:
        if not isinstance(factor, Mapping):
            return factor
        self.labels |= set(factor)
        if label is None and len(factor) > 1:
            raise ValueError(
                "the learning rate differs between groups of parameters: choose one by label "
                f"(known: {', '.join(sorted(map(str, factor)))})"
            )
        return registry.lookup("label", factor, next(iter(factor)) if label is None else label)

    def evaluate(self, schedule: AnySchedule | ArrayLike) -> jax.Array:
        """Returns a constant rate, or the value of a schedule at the last update, 0 before the first."""
        if not callable(schedule):
            return jnp.asarray(schedule, float)
        if len(self.clocks) != 1:
            raise ValueError(
                f"the optimizer state holds {len(self.clocks)} counters of optax.scale_by_schedule, expected 1 to "
                f"evaluate the schedule at{self.groups()}"
            )
        count = jnp.asarray(self.clocks[0])
        return jnp.where(count > 0, value_at(schedule, jnp.maximum(count - 1, 0)), 0)

    def groups(self) -> str:
        """Returns the end of a message that names the groups to choose from, if there are any."""
        return f"; choose a group by label (known: {', '.join(sorted(map(str, self.labels)))})" if self.labels else ""

    def advice(self) -> str:
        """Returns what to do about a state that records no rate."""
        if self.injected:
            return (
                f"inject_hyperparams records {', '.join(sorted(self.injected))}; "
                "name the argument that is the learning rate learning_rate"
            )
        return (
            "give the schedule or number that the optimizer was built with, as current_learning_rate(state, "
            "schedule=rate), which evaluates it at the count in the state; or record the rate, by "
            "transforms.scale_by_recorded_learning_rate(rate) in its place, as in optax.chain(optax.scale_by_adam(), "
            "transforms.scale_by_recorded_learning_rate(rate)), or by "
            "optax.inject_hyperparams(optax.adamw)(learning_rate=rate)"
        )


def _require_types(state: Any) -> None:
    """Raises a ValueError for a state whose named tuples have become dicts, so that no part is known by its type."""

    def named(node: Any) -> bool:
        return hasattr(node, "_fields")

    if not any(map(named, jax.tree.leaves(state, is_leaf=named))):
        raise ValueError(
            f"a {type(state).__name__} without optax's named tuples is no optimizer state: give the one that "
            "tx.init or tx.update returned (of flax.nnx, optimizer.opt_state instead of nnx.state or nnx.split)"
        )


def _unboxed(value: Any) -> jax.Array:
    """Returns the array in a box, such as a variable of Flax; an array is its own box."""
    (leaf,) = jax.tree.leaves(value)
    return jnp.asarray(leaf)


# Type of state -> its fields that count updates for a schedule.
COUNTERS = {
    RecordedLearningRateState: ("count",),
    ScaleByWarmupState: ("count",),
    WarmupUntilState: ("count",),
    ClipByGlobalNormWarmupState: ("count",),
    optax.ScaleByScheduleState: ("count",),
    optax.InjectStatefulHyperparamsState: ("count",),
    optax.InjectHyperparamsState: ("count",),
    optax.MultiStepsState: ("gradient_step",),
    optax.ConditionallyTransformState: ("step",),
    optax.ConditionallyMaskState: ("step",),
    optax.AddNoiseState: ("count",),
}


def fast_forward(opt_state: optax.OptState, step: ArrayLike) -> optax.OptState:
    """Sets the clock of every schedule in an optimizer state, of any nesting, to an update.

    Use it to continue in the middle of a schedule with a fresh optimizer, or from
    weights alone. The next update is that of t = `step`: the schedules have the
    values they would have after `step` updates.

    It moves the counters of this package's transformations, of
    `optax.scale_by_schedule` (hence of every optax optimizer with a scheduled
    rate), `add_noise`, `conditionally_transform`, `conditionally_mask`, the
    gradient steps of `MultiSteps`, and *both* counters of `inject_hyperparams`:
    the one in `hyperparams_states` drives its schedules, and
    `optax.tree.set(state, count=step)` does not reach it.

    It does not move what belongs to accumulated values. The moments of Adam and
    its variants have their own count, which corrects their bias and must go on
    counting the gradients they have seen; so do those of `scale_by_adam_frozen`
    and `scale_by_rectified_adam`, which therefore start over with fresh moments.
    Nor does it change accumulated gradients, the end of a `warmup_until`, or the
    rates and hyperparameters recorded from the last update, which the next update
    replaces.

    Args:
      opt_state: an optimizer state.
      step: number of updates to count as applied, 0 or more; may be traced.

    Returns:
      A state of the same structure, shapes and dtypes. Boxed counters, as in the
      `opt_state` of `flax.nnx.Optimizer`, stay boxed.

    Raises:
      ValueError: if the state holds no counter of a schedule, so that there is
        nothing to move, or `step` is a concrete negative number.

    Examples:
      >>> tx = optax.inject_hyperparams(optax.sgd)(optax.linear_schedule(0.0, 1.0, 10))
      >>> state = fast_forward(tx.init(jnp.zeros(2)), 5)
      >>> _, state = tx.update(jnp.ones(2), state, jnp.zeros(2))
      >>> float(state.hyperparams["learning_rate"])
      0.5
    """
    require("step", step, 0)
    moved = []

    def move(counter: Any) -> Any:
        moved.append(counter)
        return _filled(counter, step)

    def is_clock(node: Any) -> bool:
        return type(node) in COUNTERS

    def visit(node: Any) -> Any:
        if not is_clock(node):
            return node
        fields = {
            name: move(value) if name in COUNTERS[type(node)] else walk(value) for name, value in node._asdict().items()
        }
        if isinstance(node, optax.InjectStatefulHyperparamsState):
            fields["hyperparams_states"] = _with_counts(node.hyperparams_states, step)
        return type(node)(**fields)

    def walk(tree: Any) -> Any:
        return jax.tree.map(visit, tree, is_leaf=is_clock)

    opt_state = walk(opt_state)
    if not moved:
        _require_types(opt_state)
        raise ValueError(f"the optimizer state holds no counter of a schedule to set to {step}")
    return opt_state


def _with_counts(schedule_states: Any, step: ArrayLike) -> Any:
    """Returns the states of schedules in `inject_hyperparams` at an update; a custom one without a count stays."""

    def has_count(node: Any) -> bool:
        return "count" in getattr(node, "_fields", ())

    return jax.tree.map(
        lambda node: node._replace(count=_filled(node.count, step)) if has_count(node) else node,
        schedule_states,
        is_leaf=has_count,
    )


def _filled(counter: Any, step: ArrayLike) -> Any:
    """Returns a counter set to an update; one in a box, such as a variable of Flax, stays in a box of its kind."""
    return jax.tree.map(lambda leaf: jnp.full_like(jnp.asarray(leaf), step), counter)
