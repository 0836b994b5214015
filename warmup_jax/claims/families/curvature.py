"""The largest rate that trains, and what warmup adds to it; K-1 to K-15 but those of `sharpness.py`."""

import math
from collections.abc import Mapping

import numpy as np

from warmup_jax.claims import measures, rigs
from warmup_jax.claims.claim import Claim, Criterion, Numbers
from warmup_jax.report.run_record import Record

KALRA = "Kalra and Barkeshli 2024"
RATES = tuple(2.0**k for k in range(-8, 2))
LENGTHS = rigs.full_batch(diagnostics={}, sweep__peak_lr=RATES, sweep__warmup_steps=(0, 4, 16, 64))
MOMENTA = rigs.full_batch(diagnostics={}, sweep__momentum=(0.0, 0.9), sweep__peak_lr=RATES, sweep__warmup_steps=(0, 64))


def gain_of_length(records: Mapping[str, Record]) -> Numbers:
    """Measures log2 of the largest rate that trains, by length of the warmup."""
    (of_length,) = measures.largest_rates(records["fcn"]).values()
    by_length = np.array([of_length[length] for length in sorted(of_length)])
    return {
        "log2_rates": by_length.tolist(),
        "gain": (by_length[-1] - by_length[0]).tolist(),
        "one_step_more": (by_length[-1] - by_length[0] >= 1).astype(int).tolist(),
        "never_falls": (np.diff(by_length, axis=0) >= 0).all(0).astype(int).tolist(),
    }


def rate_or_length(records: Mapping[str, Record]) -> Numbers:
    """Measures how the final loss varies with rate and length, at all rates two steps below the lowest boundary.

    Rates that do not train with some length, or with a factor of 4 to spare, are left out, so that the rest is a table
    of rates times lengths for each seed; nan if it has one rate.
    """
    runs = measures.runs(records["fcn"])
    (of_length,) = measures.largest_rates(records["fcn"]).values()
    lowest = np.min(list(of_length.values()), axis=0)  # by seed
    rates, lengths = measures.axis(runs, "peak_lr"), measures.axis(runs, "warmup_steps")
    losses = np.array(
        [
            [[run.train_loss for run in measures.select(runs, peak_lr=rate, warmup_steps=length)] for length in lengths]
            for rate in rates
        ]
    )  # [rates, lengths, seeds]
    found = []
    for seed, boundary in enumerate(lowest):
        table = losses[np.log2(rates) <= boundary - 2, :, seed]
        found.append(float(np.log(table.mean(1).var() / table.mean(0).var())) if len(table) > 1 else math.nan)
    return {"ln_rate_over_length": found}


def gain_of_momentum(records: Mapping[str, Record]) -> Numbers:
    """Measures the gain of warmup in log2 of the largest rate, with and without momentum."""
    gains = {
        facet: measures.gain_of_warmup(lengths) for facet, lengths in measures.largest_rates(records["fcn"]).items()
    }
    none, most = gains["momentum=0.0"], gains["momentum=0.9"]
    return {
        "gain_without": none.tolist(),
        "gain_with": most.tolist(),
        "one_step_more": (most - none >= 1).astype(int).tolist(),
    }


def failures(records: Mapping[str, Record]) -> Numbers:
    """Measures, by seed, whether some run of Adam failed, whether one diverged, and whether one of SGD did."""
    found: Numbers = {}
    for name in ("adam", "sgd"):
        by_seed: dict[int, list[str]] = {}
        for run in measures.runs(records[name]):
            by_seed.setdefault(run.seed, []).append(run.state)
        states = [by_seed[seed] for seed in sorted(by_seed)]
        found[f"{name}_fails"] = [int(any(state != "trained" for state in of_seed)) for of_seed in states]
        found[f"{name}_diverges"] = [int("diverged" in of_seed) for of_seed in states]
    return found | {"adam_stays_finite": [1 - diverges for diverges in found["adam_diverges"]]}


def gradient_initialised(records: Mapping[str, Record]) -> Numbers:
    """Measures which runs of Adam and of GI-Adam train without warmup."""
    runs = measures.runs(records["lm"])
    return {name: measures.trained(measures.select(runs, optimizer=name)) for name in ("adam", "gi_adam")}


def _waits(id: str, source: str, statement: str, predicted: str, needs: str, seen: bool = False) -> Claim:
    return Claim(id, "curvature", source, statement, predicted, seen, needs=needs)


CLAIMS = (
    Claim(
        "K-1",
        "curvature",
        f"{KALRA}, sections 5.1 and 5.2; Gilmer et al. 2021",
        "A longer ramp raises the largest rate that trains: 64 updates of full-batch gradient descent at least "
        "double it.",
        "holds",
        seen=True,
        studies={"cpu": {"fcn": LENGTHS}},
        measure=gain_of_length,
        criteria=(
            Criterion("64 updates of warmup at least double the largest rate", "M", "one_step_more"),
            Criterion("the largest rate never falls with the length", "M", "never_falls"),
        ),
    ),
    Claim(
        "K-2",
        "curvature",
        f"{KALRA}, section 5.1",
        "Away from the boundary the result follows the target rate, and the length of the ramp adds little: the "
        "final loss varies more than five times as much with the rate.",
        "holds",
        seen=True,
        studies={"cpu": {"fcn": LENGTHS}},
        measure=rate_or_length,
        criteria=(
            Criterion(
                "ln of the variance of the final loss over the rates, over that over the lengths, exceeds ln 5",
                "T",
                "ln_rate_over_length",
                parameters={"delta": 1.6094},
            ),
        ),
    ),
    _waits(
        "K-6",
        f"{KALRA}, section 6.1",
        "To start the ramp at the critical rate saves updates at equal result.",
        "holds",
        "an initial rate that is the critical rate of each seed",
    ),
    _waits(
        "K-7",
        f"{KALRA}, section 4.3; Cohen et al. 2022",
        "Adam's instability follows the preconditioned sharpness, with a threshold of 38 / rate for beta1 = 0.9.",
        "holds",
        "a study of its two batch sizes",
    ),
    Claim(
        "K-9",
        "curvature",
        f"{KALRA}, appendix G",
        "Adam fails at rates that are too high, it does not diverge, where SGD does. (That dead layers are the cause "
        "is not tried.)",
        "holds",
        studies={
            "cpu": {
                "adam": rigs.language_model(sweep__peak_lr=(1e-3, 1e-2, 0.1, 1.0, 10.0), sweep__warmup_steps=(0,)),
                "sgd": rigs.language_model(
                    "optimizer=sgd", sweep__peak_lr=(0.1, 1.0, 10.0, 100.0, 1000.0), sweep__warmup_steps=(0,)
                ),
            }
        },
        measure=failures,
        criteria=(
            Criterion("some run of Adam fails", "M", "adam_fails", rig=True),
            Criterion("no run of Adam diverges", "M", "adam_stays_finite"),
            Criterion("some run of SGD diverges", "M", "sgd_diverges"),
        ),
    ),
    Claim(
        "K-10",
        "curvature",
        f"{KALRA}, section 6.2",
        "GI-Adam with beta2 = 0.999 trains Post-LN without a ramp, where Adam does not. (That it equals Adam with its "
        "schedule is not tried.)",
        "holds",
        seen=True,
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    optimizer_args__beta2=0.999, sweep__optimizer=("adam", "gi_adam"), sweep__warmup_steps=(0,)
                )
            }
        },
        measure=gradient_initialised,
        criteria=(Criterion("GI-Adam trains more often than Adam", "B", "gi_adam", "adam"),),
        needs="Adam with the factor sqrt(1 - beta2^t), for the other half",
    ),
    _waits(
        "K-11",
        f"{KALRA}, section 7",
        "Persistent catapult warmup needs no length.",
        "open",
        "persistent catapult warmup",
    ),
    Claim(
        "K-12",
        "curvature",
        f"{KALRA}, appendix F.2",
        "Momentum lowers the largest rate that trains without warmup, so that the ramp gains more with it.",
        "holds",
        studies={"cpu": {"fcn": MOMENTA}},
        measure=gain_of_momentum,
        criteria=(Criterion("with momentum 0.9 warmup gains at least one factor of 2 more", "M", "one_step_more"),),
    ),
    _waits(
        "K-13",
        "Gilmer et al. 2021",
        "Gradient clipping does what warmup does.",
        "open",
        "a small image set with a noise floor",
    ),
    _waits(
        "K-15",
        "Liu et al. 2025",
        "Warmup can be faster than any rate that never rises, in proportion to the length of the run.",
        "holds",
        "a one-dimensional objective with that curvature",
    ),
)
