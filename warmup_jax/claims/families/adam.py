"""Adam's first steps: variance or size, R-1 to R-6."""

import math
from collections.abc import Mapping

import numpy as np

from warmup_jax.claims import measures, rigs
from warmup_jax.claims.claim import Claim, Criterion, Numbers
from warmup_jax.claims.families.note import FIRST_STEPS
from warmup_jax.report.run_record import Record

ADAM = {"beta1": 0.9, "eps": 1e-9, "weight_decay": 0.0, "clip_norm": None}


def _arm(of_v: float, of_schedule: float) -> dict:
    """Returns the arm of Adam with one beta2 and RAdam's factor for another as its warmup."""
    return {
        "optimizer_args": {"beta2": of_v},
        "warmup": "radam",
        "warmup_args": {"beta2": of_schedule},
        "sweep": {"warmup_steps": None},
    }


SCHEDULE_OR_VARIANCE = rigs.language_model(
    sweep__warmup_steps=None,
    warmup="radam",
    warmup_args__beta2=0.999,
    sweep__arms={
        f"v{v[2:]}_schedule{schedule[2:]}": _arm(float(v), float(schedule))
        for v in ("0.98", "0.999")
        for schedule in ("0.98", "0.999")
    },
)
UNTUNED = rigs.language_model(
    num_steps=800,
    peak_lr=3e-3,
    optimizer_args__beta2=0.995,
    sweep__warmup_steps=None,
    warmup="untuned_linear",
    warmup_args__beta2=0.995,
    sweep__norm=("post", "pre"),
    sweep__arms={
        "linear": {},
        "exponential": {"warmup": "untuned_exponential", "warmup_args": {"beta2": 0.995}},
        "radam": {"optimizer": "radam", "optimizer_args": ADAM | {"beta2": 0.995}, "warmup": "none"},
    },
)


def with_and_without(records: Mapping[str, Record]) -> Numbers:
    """Measures which runs train without warmup, and which with the longest."""
    runs = measures.runs(records["lm"])
    lengths = measures.axis(runs, "warmup_steps")
    none, warm = (measures.select(runs, warmup_steps=length) for length in (lengths[0], lengths[-1]))
    return {"trained_without": measures.trained(none), "trained_with": measures.trained(warm)}


def collapse(records: Mapping[str, Record]) -> Numbers:
    """Measures log10 of the gradient's norm after 10 updates, the median over the blocks of the lower half."""
    runs = measures.runs(records["first_steps"])
    prefix = "diag/grad_norm/decoder_"

    def decades(length: int) -> list[float]:
        found = []
        for run in measures.select(runs, norm="post", warmup_steps=length):
            depth = sum(metric.startswith(prefix) for metric in run.series)
            norms = [measures.at(run, f"{prefix}{layer}", 11) for layer in range(max(1, depth // 2))]
            found.append(float(np.median(measures.log(norms, 10))))
        return found

    lengths = measures.axis(runs, "warmup_steps")
    return {"without": decades(lengths[0]), "with": decades(lengths[-1])}


def frozen(records: Mapping[str, Record]) -> Numbers:
    """Measures which runs train after their weights were frozen while the second moment was collected."""
    runs = measures.runs(records["lm"])
    steps = measures.axis(runs, "n")
    found: Numbers = {}
    for name, beta2 in zip(("low", "high"), measures.axis(runs, "b2"), strict=True):
        none, longest = (measures.select(runs, n=n, b2=beta2) for n in (steps[0], steps[-1]))
        found[f"vanilla_fails_{name}"] = [1 - trained for trained in measures.trained(none)]
        found[f"vanilla_{name}"], found[f"frozen_{name}"] = measures.trained(none), measures.trained(longest)
    return found


def schedule_or_variance(records: Mapping[str, Record]) -> Numbers:
    """Measures which runs train, for two beta2 of Adam's second moment times two of the factor of RAdam."""
    runs = measures.runs(records["lm"])
    found: Numbers = {arm: measures.trained(measures.select(runs, arm=arm)) for arm in measures.axis(runs, "arm")}
    changed = zip(found["v98_schedule98"], found["v999_schedule98"], strict=True)
    return found | {"beta2_of_v_changes_nothing": [int(one == other) for one, other in changed]}


def untuned(records: Mapping[str, Record]) -> Numbers:
    """Measures the test loss with untuned warmups less that with RAdam."""
    runs = measures.runs(records["lm"])
    found: Numbers = {}
    for norm in ("post", "pre"):
        radam = measures.test_losses(measures.select(runs, arm="radam", norm=norm))
        for arm in ("linear", "exponential"):
            losses = measures.test_losses(measures.select(runs, arm=arm, norm=norm))
            found[f"{norm}_{arm}"] = measures.differences(losses, radam)
    return found


def update_sizes(records: Mapping[str, Record]) -> Numbers:
    """Measures the RMS of Adam's updates over the rate, and how far the first ten move the weights."""
    runs = measures.runs(records["first_steps"])
    lengths = measures.axis(runs, "warmup_steps")
    none, warm = (measures.select(runs, norm="post", warmup_steps=length) for length in (lengths[0], lengths[-1]))
    first, steady = [], []
    for run in none:
        rms, rates = (measures.over(run, name, 1, 200) for name in ("diag/update_norm", "opt/learning_rate"))
        sizes = rms / (rates * math.sqrt(run.parameters))
        first.append(float(sizes[0]))
        steady.append(float(sizes[99:].mean()))
    moved = [[measures.at(run, "diag/relative_distance_init", 10) for run in of] for of in (none, warm)]
    return {
        "first_less_1": [size - 1 for size in first],
        "ln_first_over_steady": measures.log(np.array(first) / steady).tolist(),
        "ln_move_none_over_warm": measures.log(np.array(moved[0]) / moved[1]).tolist(),
    }


CLAIMS = (
    Claim(
        "R-1",
        "adam",
        "Liu et al. 2020 (RAdam), section 2 and figure 1",
        "With beta2 = 0.999 and linear decay, Adam without a ramp ends far above what it reaches with one.",
        "holds",
        seen=True,
        studies={
            "cpu": {"lm": rigs.language_model(optimizer_args__beta2=0.999, schedule="linear")},
            "gpu": {
                "lm": rigs.translation(
                    "norm=post",
                    2500,
                    peak_lr=1e-3,
                    optimizer_args__beta2=0.999,
                    schedule="linear",
                    sweep__warmup_steps=(0, 400),
                )
            },
        },
        measure=with_and_without,
        criteria=(Criterion("warmup trains more often than none", "B", "trained_with", "trained_without"),),
    ),
    Claim(
        "R-2",
        "adam",
        "Liu et al. 2020 (RAdam), figure 2",
        "Without a ramp the gradients of the lower layers collapse within 10 updates. (Norms of blocks stand for the "
        "figure's histogram of elements.)",
        "holds",
        seen=True,
        studies={"cpu": {"first_steps": FIRST_STEPS}},
        measure=collapse,
        criteria=(
            Criterion(
                "after 10 updates they are more than a decade smaller than with warmup",
                "T",
                "with",
                "without",
                {"delta": 1.0},
            ),
        ),
    ),
    Claim(
        "R-3",
        "adam",
        "Liu et al. 2020 (RAdam), section 3.1",
        "Better statistics of the second moment alone, collected for 400 updates with frozen weights, avoid the "
        "failure without warmup. (The form with a large epsilon is not tried.)",
        "refuted",
        seen=True,
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    "optimizer=none",
                    num_steps=800,
                    transforms=("scale_by_adam_frozen",),
                    transforms_args__scale_by_adam_frozen__n=0,
                    transforms_args__scale_by_adam_frozen__b1=0.9,
                    transforms_args__scale_by_adam_frozen__b2=0.98,
                    transforms_args__scale_by_adam_frozen__eps=1e-9,
                    sweep__n=(0, 400),
                    sweep__b2=(0.98, 0.999),
                    sweep__warmup_steps=(0,),
                )
            }
        },
        measure=frozen,
        criteria=(
            Criterion("Adam itself fails with beta2 = 0.98", "M", "vanilla_fails_low", rig=True),
            Criterion("Adam itself fails with beta2 = 0.999", "M", "vanilla_fails_high", rig=True),
            Criterion("with beta2 = 0.98 freezing trains more often", "B", "frozen_low", "vanilla_low"),
            Criterion("with beta2 = 0.999 freezing trains more often", "B", "frozen_high", "vanilla_high"),
        ),
        needs="epsilons relative to sqrt(v), for the other half",
    ),
    Claim(
        "R-4",
        "adam",
        "Liu et al. 2020 (RAdam), section 4.3; Ma and Yarats 2021",
        "RAdam is a warmup whose length beta2 sets: its schedule alone decides whether Post-LN trains, the beta2 of "
        "the second moment does not.",
        "holds",
        seen=True,
        studies={"cpu": {"lm": SCHEDULE_OR_VARIANCE}},
        measure=schedule_or_variance,
        criteria=(
            Criterion(
                "with beta2 = 0.98 the longer schedule trains more often", "B", "v98_schedule999", "v98_schedule98"
            ),
            Criterion(
                "with beta2 = 0.999 the longer schedule trains more often", "B", "v999_schedule999", "v999_schedule98"
            ),
            Criterion("with the shorter schedule beta2 = 0.999 ends as 0.98 does", "M", "beta2_of_v_changes_nothing"),
        ),
    ),
    Claim(
        "R-5",
        "adam",
        "Ma and Yarats 2021",
        "Untuned linear and exponential warmup perform like RAdam.",
        "holds",
        studies={"cpu": {"lm": UNTUNED}},
        measure=untuned,
        criteria=tuple(
            Criterion(
                f"{arm} warmup on {norm.title()}-LN is within 0.05 nat of RAdam",
                "EQ",
                f"{norm}_{arm}",
                parameters={"delta": 0.05},
            )
            for norm in ("post", "pre")
            for arm in ("linear", "exponential")
        ),
    ),
    Claim(
        "R-6",
        "adam",
        "Ma and Yarats 2021; Kosson et al. 2024",
        "Adam's first updates are too large: as large as the rate at first, more than twice the later ones, and ten "
        "of them move the weights more than five times as far as with warmup.",
        "holds",
        seen=True,
        studies={"cpu": {"first_steps": FIRST_STEPS}},
        measure=update_sizes,
        criteria=(
            # Key biases and units that are dead at the start have no gradient: 0.995 to 0.998 in a prototype.
            Criterion("the first RMS is the rate within 1 %", "EQ", "first_less_1", parameters={"delta": 0.01}),
            Criterion(
                "ln of the first RMS over that of updates 100 to 200 exceeds ln 2",
                "T",
                "ln_first_over_steady",
                parameters={"delta": 0.6931},
            ),
            Criterion(
                "ln of the distance after 10 updates, none over warmup, exceeds ln 5",
                "T",
                "ln_move_none_over_warm",
                parameters={"delta": 1.6094},
            ),
        ),
    ),
)
