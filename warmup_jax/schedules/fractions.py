"""Tells warmup factors and decays, which are fractions of a rate, from learning rates."""

from __future__ import annotations

from warmup_jax.numerics import AnySchedule, Schedule

# Module whose functions make fractions -> what they are.
MODULES = {
    "warmup_jax.schedules.factors": "warmup factor",
    "warmup_jax.schedules.adam_factors": "warmup factor",
    "warmup_jax.schedules.decays": "decay",
}
MARK = "_fraction"


def fraction_kind(schedule: AnySchedule) -> str | None:
    """Returns "warmup factor", "decay" or "product of fractions" for a fraction, None for any other schedule.

    A schedule is a closure, and so has the module of the function that made it.

    Examples:
      >>> from warmup_jax.schedules import linear_warmup, warmup_cosine
      >>> fraction_kind(linear_warmup(5)), fraction_kind(warmup_cosine(1.0, 5, 100))
      ('warmup factor', None)
    """
    return getattr(schedule, MARK, None) or MODULES.get(getattr(schedule, "__module__", ""))


def not_a_rate(schedule: AnySchedule) -> str | None:
    """Returns a sentence that says so if a schedule is a fraction and would be used as a rate, None otherwise."""
    kind = fraction_kind(schedule)
    if kind is None:
        return None
    return (
        f"this is a {kind} in [0, 1] and not a rate: as a rate its peak is 1; multiply it by a peak, as "
        "combine(warmup, decay, peak_lr=...) does"
    )


def composed(schedule: Schedule, *parts: Schedule) -> Schedule:
    """Marks a schedule that is made of fractions alone as a fraction, and returns it."""
    kinds = [fraction_kind(part) for part in parts]
    if all(kinds):
        setattr(schedule, MARK, kinds[0] if len(set(kinds)) == 1 else "product of fractions")
    return schedule
