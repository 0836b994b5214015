"""Placement of the normalisation in Transformers, T-1 to T-8."""

from collections.abc import Mapping

import numpy as np

from warmup_jax.claims import measures, rigs
from warmup_jax.claims.claim import Claim, Criterion, Numbers
from warmup_jax.claims.families.architectures import PLACEMENTS, middle_rate
from warmup_jax.report.run_record import Record

XIONG = "Xiong et al. 2020"


def lengths_by_rate(records: Mapping[str, Record], knob: str = "peak_lr") -> Numbers:
    """Measures which warmups suffice at which rate, or scale of the rate.

    A length suffices if the run with it and those with all longer ones train.
    """
    runs = measures.runs(records["lm"])
    rates, lengths = measures.axis(runs, knob), measures.axis(runs, "warmup_steps")
    cells = {
        (rate, length): measures.select(runs, **{knob: rate}, warmup_steps=length)
        for rate in rates
        for length in lengths
    }
    # [rates, lengths, seeds]; failures are counted from the longest warmup down
    trained = np.array([[measures.trained(cells[rate, length]) for length in lengths] for rate in rates])
    sufficient = len(lengths) - np.cumprod(trained[:, ::-1], axis=1).sum(1)  # index by rate and seed
    never_falls, grows = (np.diff(sufficient, axis=0) >= 0).all(0), sufficient[-1] > sufficient[0]
    middle, lowest = rates[len(rates) // 2], rates[0]
    return {
        "trained_without": measures.trained(cells[middle, lengths[0]]),
        "trained_with": measures.trained(cells[middle, lengths[-1]]),
        "length_grows": (never_falls & grows).astype(int).tolist(),
        "gain_of_none": measures.differences(
            measures.test_losses(cells[lowest, lengths[-1]]), measures.test_losses(cells[lowest, lengths[0]])
        ),
    }


def lengths_by_scale(records: Mapping[str, Record]) -> Numbers:
    """Measures which lengths suffice at which scale of Noam's schedule."""
    return lengths_by_rate(records, "scale")


def gain_by_rate(records: Mapping[str, Record]) -> Numbers:
    """Measures the test loss without warmup less that with it, at each of four rates from the lowest."""
    runs = measures.runs(records["lm"])
    lengths = measures.axis(runs, "warmup_steps")
    found: Numbers = {}
    for number, rate in enumerate(measures.axis(runs, "peak_lr"), 1):
        none, warm = (measures.select(runs, peak_lr=rate, warmup_steps=length) for length in (lengths[0], lengths[-1]))
        found[f"rate_{number}"] = measures.differences(measures.test_losses(none), measures.test_losses(warm))
    return found


def at_best_rate(records: Mapping[str, Record]) -> Numbers:
    """Measures runs without warmup against those with it, at the rate that is best with warmup."""
    runs = measures.runs(records["lm"])
    rates, lengths = measures.axis(runs, "peak_lr"), measures.axis(runs, "warmup_steps")

    def losses(rate: float, length: int) -> list[float]:
        return measures.test_losses(measures.select(runs, peak_lr=rate, warmup_steps=length))

    best = min(rates, key=lambda rate: float(np.median(losses(rate, lengths[-1]))))
    none, warm = (measures.select(runs, peak_lr=best, warmup_steps=length) for length in (lengths[0], lengths[-1]))
    return {
        "trained_without": measures.trained(none),
        "gain": measures.differences(losses(best, lengths[0]), losses(best, lengths[-1])),
        "trained_with": measures.trained(warm),
        "best_rate": float(best),
    }


def norm_or_optimizer(records: Mapping[str, Record]) -> Numbers:
    """Measures Adam and RAdam without warmup on both placements."""
    runs = measures.runs(records["lm"])
    cells = {
        (norm, optimizer): measures.select(runs, norm=norm, optimizer=optimizer)
        for norm in ("post", "pre")
        for optimizer in ("adam", "radam")
    }
    return {
        "pre_adam": measures.test_losses(cells["pre", "adam"]),
        "pre_radam": measures.test_losses(cells["pre", "radam"]),
        "post_adam_trained": measures.trained(cells["post", "adam"]),
        "post_radam_trained": measures.trained(cells["post", "radam"]),
    }


def speed(records: Mapping[str, Record]) -> Numbers:
    """Measures how soon Post-LN with warmup learns, and Pre-LN without, at the middle rate."""
    cells = middle_rate(records["lm"])
    lengths = sorted({length for _, length in cells})
    post, pre = ([measures.steps_to_learn(run) for run in cells[cell]] for cell in (("post", lengths[-1]), ("pre", 0)))
    return {"ln_post_over_pre": measures.differences(measures.log(post), measures.log(pre))}


CLAIMS = (
    Claim(
        "T-1",
        "transformers",
        f"{XIONG}, section 3.2",
        "A Post-LN Transformer needs warmup, and the longer the higher the rate; at a low rate it does as well "
        "without.",
        "holds",
        seen=True,
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    sweep__peak_lr=(1e-3, 3e-3, 6e-3, 1e-2), sweep__warmup_steps=(0, 50, 100, 200)
                )
            },
            "gpu": {
                "lm": rigs.translation(
                    "norm=post", 2500, sweep__peak_lr=(5e-4, 1e-3, 2e-3), sweep__warmup_steps=(0, 100, 400, 1000)
                )
            },
        },
        measure=lengths_by_rate,
        criteria=(
            Criterion(
                "at the middle rate the longest warmup trains more often than none",
                "B",
                "trained_with",
                "trained_without",
            ),
            Criterion("the sufficient length never falls with the rate, and grows over the grid", "M", "length_grows"),
            Criterion(
                "at the lowest rate none is at most 0.1 nat worse than the longest",
                "T",
                "gain_of_none",
                parameters={"delta": -0.1},
            ),
        ),
    ),
    Claim(
        "T-2",
        "transformers",
        f"{XIONG}, section 4.2",
        "A Pre-LN Transformer trains as well without warmup, up to a rate at which warmup begins to pay.",
        "holds",
        seen=True,
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    "norm=pre", sweep__peak_lr=(1e-3, 3e-3, 1e-2, 3e-2), sweep__warmup_steps=(0, 200)
                )
            },
            "gpu": {
                "lm": rigs.translation(
                    "norm=pre", 2500, sweep__peak_lr=(5e-4, 1e-3, 2e-3, 8e-3), sweep__warmup_steps=(0, 400)
                )
            },
        },
        measure=gain_by_rate,
        criteria=(
            *(
                Criterion(
                    f"at the {name} rate both are alike within 0.1 nat",
                    "EQ",
                    f"rate_{number}",
                    parameters={"delta": 0.1},
                )
                for number, name in ((1, "lowest"), (2, "second"), (3, "third"))
            ),
            Criterion(
                "at the highest rate none is more than 0.05 nat worse", "T", "rate_4", parameters={"delta": 0.05}
            ),
        ),
    ),
    Claim(
        "T-3",
        "transformers",
        f"{XIONG}, section 4.2",
        "Pre-LN without warmup learns in fewer updates than Post-LN with warmup at the same rate.",
        "holds",
        seen=True,
        studies={"cpu": {"lm": PLACEMENTS}},
        measure=speed,
        criteria=(
            Criterion(
                "ln of the updates to four fifths of the first loss, Post-LN over Pre-LN, exceeds ln 1.3",
                "T",
                "ln_post_over_pre",
                parameters={"delta": 0.2624},
            ),
        ),
    ),
    Claim(
        "T-4",
        "transformers",
        f"{XIONG}, theorem 1 and figure 3",
        "At initialisation the gradient of the last layer's second FFN matrix does not depend on the depth in "
        "Post-LN and falls as 1/sqrt(L) in Pre-LN.",
        "holds",
        seen=True,
        needs="norms by tensor: those of whole blocks miss the bar",
    ),
    Claim(
        "T-4b",
        "transformers",
        f"{XIONG}, theorem 1",
        "At initialisation that gradient grows with the width as d sqrt(ln d) in the theorem's set-up.",
        "open",
        needs="queries and keys that start at 0, and norms by tensor",
    ),
    Claim(
        "T-4c",
        "transformers",
        f"{XIONG}, lemma 2",
        "At initialisation the squared norm of Pre-LN's hidden state over its width lies between 1 + l/2 and 1 + 3l/2 "
        "after l layers; Post-LN's is constant.",
        "holds",
        needs="a diagnostic of the hidden state's norm",
    ),
    Claim(
        "T-5",
        "transformers",
        f"{XIONG}, section 3.4",
        "Post-LN's gradients grow towards the output, Pre-LN's do not, and a ramp removes the difference.",
        "holds",
        needs="norms by tensor",
    ),
    Claim(
        "T-6",
        "transformers",
        f"{XIONG}, section 3.2",
        "The ramp helps SGD on Post-LN too, so that Adam's variance is not the only reason for it.",
        "open",
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    "optimizer=sgd", num_steps=600, sweep__peak_lr=(0.03, 0.1, 0.3, 1.0), sweep__warmup_steps=(0, 200)
                )
            }
        },
        measure=at_best_rate,
        criteria=(
            Criterion("with warmup SGD trains at its best rate", "M", "trained_with", rig=True),
            Criterion("there none is more than 0.1 nat worse than 200 updates", "T", "gain", parameters={"delta": 0.1}),
        ),
    ),
    Claim(
        "T-7",
        "transformers",
        f"{XIONG}, section 4.2",
        "The placement of the normalisation matters more than the optimizer: without warmup RAdam rescues Post-LN, and "
        "makes no difference to Pre-LN.",
        "holds",
        seen=True,
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    optimizer_args__beta2=0.999,
                    sweep__optimizer=("adam", "radam"),
                    sweep__norm=("post", "pre"),
                    sweep__warmup_steps=(0,),
                )
            }
        },
        measure=norm_or_optimizer,
        criteria=(
            Criterion("on Post-LN RAdam trains more often", "B", "post_radam_trained", "post_adam_trained"),
            Criterion(
                "on Pre-LN both are alike within 0.1 nat", "EQ", "pre_adam", "pre_radam", parameters={"delta": 0.1}
            ),
        ),
    ),
    Claim(
        "T-8",
        "transformers",
        "Popel and Bojar 2018, sections 4.6 to 4.8",
        "In the original recipe a higher scale of the rate needs a longer ramp. (That trained runs end alike is not "
        "tried.)",
        "holds",
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    recipe="noam",
                    recipe_args__d_model=32,
                    recipe_args__scale=1.0,
                    sweep__scale=(0.1, 0.2, 0.4, 0.8),
                    sweep__warmup_steps=(25, 50, 100, 200),
                )
            }
        },
        measure=lengths_by_scale,
        criteria=(
            Criterion("the sufficient length never falls with the scale, and grows over the grid", "M", "length_grows"),
        ),
    ),
)
