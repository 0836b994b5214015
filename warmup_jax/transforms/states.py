"""Readers of optimizer states of any nesting: the learning rate, and the clock of the schedules."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from warmup_jax import registry
from warmup_jax.numerics import require
from warmup_jax.transforms.dampening import ScaleByWarmupState, WarmupUntilState
from warmup_jax.transforms.limits import ClipByGlobalNormWarmupState
from warmup_jax.transforms.rates import RecordedLearningRateState

INJECTED = (optax.InjectStatefulHyperparamsState, optax.InjectHyperparamsState)
PLATEAU = optax.contrib.ReduceLROnPlateauState
READ = (
    RecordedLearningRateState,
    ScaleByWarmupState,
    WarmupUntilState,
    PLATEAU,
    optax.MaskedState,
    optax.PartitionState,
    *INJECTED,
)


def current_learning_rate(opt_state: optax.OptState, label: Any = None) -> jax.Array:
    """Returns the rate of the last update, read from an optimizer state of any nesting.

    It is the rate recorded by `scale_by_recorded_learning_rate` or
    `cap_by_sharpness`, or the `learning_rate` of `optax.inject_hyperparams`,
    times the factors that `scale_by_warmup`, `warmup_until` and
    `optax.contrib.reduce_on_plateau` recorded: what was applied, wherever they
    stand in chains, masks, partitions and `optax.MultiSteps` (whose last update
    is the last one that was not accumulated).

    Args:
      opt_state: the state of an optimizer that records one learning rate.
      label: the group of parameters to read, where there are several with rates
        or factors of their own: a label of `optax.partition` or `scale_by_warmup`.

    Returns:
      The rate, float32 (float64 under `jax_enable_x64`). Before the first
      update a recorded rate is 0, and an injected one that of the first update.

    Raises:
      ValueError: if the state holds no rate, or several, or a factor that acts
        on a part of the parameters only; for an unknown label.

    Examples:
      >>> from warmup_jax.transforms import scale_by_recorded_learning_rate
      >>> tx = optax.chain(optax.trace(0.9), scale_by_recorded_learning_rate(lambda t: 0.1))
      >>> _, state = tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
      >>> round(float(current_learning_rate(state)), 3)
      0.1
      >>> tx = optax.inject_hyperparams(optax.adam)(lambda t: 0.1)
      >>> round(float(current_learning_rate(tx.init(jnp.ones(2)))), 3)
      0.1
    """
    labels: set[Any] = set()
    rates, factors = _readings(opt_state, label, labels)
    if label is not None and label not in labels:
        raise registry.unknown("label", label, map(str, labels))
    if len(rates) != 1:
        several = f"; choose a group by label (known: {', '.join(sorted(map(str, labels)))})" if labels else ""
        raise ValueError(
            f"the optimizer state holds {len(rates)} recorded learning rates, expected 1" + (several if rates else "")
        )
    rate = jnp.asarray(rates[0], float)
    for factor in factors:
        rate = rate * factor
    return rate


def _readings(state: Any, label: Any, labels: set[Any]) -> tuple[list[jax.Array], list[jax.Array]]:
    """Returns the rates and the factors on them that a state holds; adds the labels of its groups to `labels`."""
    rates: list[jax.Array] = []
    factors: list[jax.Array] = []
    for node in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, READ)):
        inner: tuple[list[jax.Array], list[jax.Array]] = ([], [])
        if isinstance(node, RecordedLearningRateState):
            inner = [node.learning_rate], []
        elif isinstance(node, PLATEAU):
            inner = [], [node.scale]
        elif isinstance(node, WarmupUntilState):
            inner = [], [node.factor]
        elif isinstance(node, ScaleByWarmupState):
            inner = [], [_factor_of(node.factor, label, labels)]
        elif isinstance(node, INJECTED):
            inner = _readings(node.inner_state, label, labels)
            if not inner[0] and "learning_rate" in node.hyperparams:
                inner = [node.hyperparams["learning_rate"]], inner[1]
        elif isinstance(node, optax.MaskedState):
            inner = _readings(node.inner_state, label, labels)
            if inner[1] and not inner[0]:
                raise ValueError(
                    "the optimizer state holds a warmup factor that acts on a part of the parameters "
                    "only, behind a mask or a partition: the rest has another learning rate"
                )
        elif isinstance(node, optax.PartitionState):
            labels |= set(node.inner_states)
            group = node.inner_states[label].inner_state if label in node.inner_states else node.inner_states
            inner = _readings(group, label, labels)
        rates, factors = rates + inner[0], factors + inner[1]
    return rates, factors


def _factor_of(factor: Any, label: Any, labels: set[Any]) -> jax.Array:
    if not isinstance(factor, dict):
        return factor
    labels |= set(factor)
    if label is None and len(factor) > 1:
        raise ValueError(
            "the learning rate differs between groups of parameters: choose one by label "
            f"(known: {', '.join(sorted(map(str, factor)))})"
        )
    return registry.lookup("label", factor, next(iter(factor)) if label is None else label)


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
      A state of the same structure, shapes and dtypes.

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

    def move(counter: ArrayLike) -> jax.Array:
        moved.append(counter)
        counter = jnp.asarray(counter)
        return jnp.full_like(counter, step)

    def is_clock(node: Any) -> bool:
        return type(node) in COUNTERS

    def visit(node: Any) -> Any:
        if not is_clock(node):
            return node
        fields = {
            name: move(value) if name in COUNTERS[type(node)] else walk(value) for name, value in node._asdict().items()
        }
        if isinstance(node, optax.InjectStatefulHyperparamsState):
            fields["hyperparams_states"] = {
                name: _with_count(state, step) for name, state in node.hyperparams_states.items()
            }
        return type(node)(**fields)

    def walk(tree: Any) -> Any:
        return jax.tree.map(visit, tree, is_leaf=is_clock)

    opt_state = walk(opt_state)
    if not moved:
        raise ValueError(f"the optimizer state holds no counter of a schedule to set to {step}")
    return opt_state


def _with_count(schedule_state: Any, step: ArrayLike) -> Any:
    """Returns the state of a schedule in `inject_hyperparams` at an update; a custom one without a count stays."""
    if "count" not in getattr(schedule_state, "_fields", ()):
        return schedule_state
    return schedule_state._replace(count=jnp.full_like(jnp.asarray(schedule_state.count), step))
