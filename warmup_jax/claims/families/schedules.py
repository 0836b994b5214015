"""Size of updates, schedules and recent work, U-1 to U-10."""

from collections.abc import Mapping

import numpy as np

from warmup_jax.claims import measures, rigs
from warmup_jax.claims.claim import Claim, Criterion, Numbers
from warmup_jax.claims.families.adam import with_and_without
from warmup_jax.claims.families.transformers import at_best_rate
from warmup_jax.report.run_record import Record

LION = {"beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0, "clip_norm": None}
MUON = {"momentum": 0.95, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "clip_norm": None}


def short_ramps(records: Mapping[str, Record]) -> Numbers:
    """Measures what a ramp of 5 % lowers the test loss by, at the lowest and the highest rate that trains."""
    runs = measures.runs(records["lm"])
    rates, lengths = measures.axis(runs, "peak_lr"), measures.axis(runs, "warmup_steps")
    ramp = lengths[2]  # 0, 2, 5 and 20 % of the run

    def gain(rate: float) -> list[float]:
        none, warm = (measures.select(runs, peak_lr=rate, warmup_steps=length) for length in (0, ramp))
        return measures.differences(measures.test_losses(none), measures.test_losses(warm))

    def trains(rate: float) -> bool:
        return all(measures.trained(measures.select(runs, peak_lr=rate, warmup_steps=ramp)))

    highest = max((rate for rate in rates if trains(rate)), default=rates[0])
    return {"gain_highest": gain(highest), "gain_lowest": gain(rates[0]), "highest_rate": float(highest)}


def best_losses(records: Mapping[str, Record]) -> Numbers:
    """Measures the test loss of each optimizer at its best rate, without warmup and with its best length."""
    runs = measures.runs(records["lm"])
    found: Numbers = {}
    for arm in ("lion", "muon"):
        of_arm = [run for run in runs if run.changes["arm"] == arm]
        cells = {
            (rate, length): measures.test_losses(measures.select(of_arm, peak_lr=rate, warmup_steps=length))
            for rate in measures.axis(of_arm, "peak_lr")
            for length in measures.axis(of_arm, "warmup_steps")
        }

        def best(warm: bool) -> list[float]:
            return min((cells[cell] for cell in cells if (cell[1] > 0) == warm), key=np.median)

        found[f"{arm}_without"], found[f"{arm}_with"] = best(False), best(True)
    return found


def decays(records: Mapping[str, Record]) -> Numbers:
    """Measures the test loss of each schedule at its best rate."""
    runs = measures.runs(records["lm"])
    found: Numbers = {}
    for arm in ("cosine", "linear", "sqrt"):
        of_arm = [run for run in runs if run.changes["arm"] == arm]
        of_rates = [
            measures.test_losses(measures.select(of_arm, peak_lr=rate)) for rate in measures.axis(of_arm, "peak_lr")
        ]
        found[arm] = min(of_rates, key=np.median)
    return found


def sensitivity(records: Mapping[str, Record]) -> Numbers:
    """Measures what warmup takes off the sensitivity to the rate, by width, and the slope of that in ln of the size.

    The sensitivity is the mean over rates of min(final loss, initial loss), less the best of them.
    """
    runs = measures.runs(records["lm"])
    gains, sizes = [], []
    for arm in sorted(measures.axis(runs, "arm")):
        of_arm = [run for run in runs if run.changes["arm"] == arm]
        of_length = []
        for length in measures.axis(of_arm, "warmup_steps"):
            losses = [
                [
                    min(run.test_loss, measures.at(run, "train/loss", 1))
                    for run in measures.select(of_arm, peak_lr=rate, warmup_steps=length)
                ]
                for rate in measures.axis(of_arm, "peak_lr")
            ]  # [rates, seeds]
            of_length.append(np.mean(losses, axis=0) - np.min(losses, axis=0))
        gains.append(of_length[0] - of_length[-1])
        sizes.append(np.log(of_arm[0].parameters))
    centred = np.array(sizes) - np.mean(sizes)
    return {
        "gain_of_middle": gains[len(gains) // 2].tolist(),
        "slope": (np.array(gains).T @ centred / (centred**2).sum()).tolist(),
    }


def _waits(id: str, source: str, statement: str, predicted: str, needs: str) -> Claim:
    return Claim(id, "schedules", source, statement, predicted, needs=needs)


CLAIMS = (
    Claim(
        "U-1",
        "schedules",
        "Kosson et al. 2024, figure 1",
        "Even a short ramp lowers the loss of a GPT, most at a high rate. (Pre-LN, AdamW, linear cooldown over one "
        "half.)",
        "holds",
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    "norm=pre,optimizer=adamw",
                    optimizer_args__beta2=0.95,
                    schedule="wsd",
                    schedule_args__shape="linear",
                    schedule_args__decay_fraction=0.5,
                    sweep__peak_lr=(3e-3, 1e-2, 3e-2),
                    sweep__warmup_steps=(0, 8, 20, 80),
                )
            }
        },
        measure=short_ramps,
        criteria=(
            Criterion(
                "at the highest rate that trains a ramp of 5 % gains more than 0.02 nat",
                "T",
                "gain_highest",
                parameters={"delta": 0.02},
            ),
            Criterion("and more than at the lowest rate", "T", "gain_highest", "gain_lowest", {"delta": 0.0}),
        ),
    ),
    _waits(
        "U-2",
        "Kosson et al. 2024",
        "To fix the size of the updates is not enough, the angle matters; both with high momentum remove the ramp.",
        "open",
        "updates of fixed L2, relative and rotational size",
    ),
    _waits(
        "U-3",
        "Kosson et al. 2024",
        "Early gradients have a high signal-to-noise ratio, so that large early updates change representations too "
        "much.",
        "holds",
        "a diagnostic of the relative change of representations by an update",
    ),
    _waits(
        "U-4",
        "Kosson et al. 2024, appendix",
        "Large first updates kill ReLU units for good, and leaky ReLU softens it.",
        "holds",
        "leaky ReLU and frozen biases",
    ),
    Claim(
        "U-5",
        "schedules",
        "Wortsman et al. 2023, section 3.2.1",
        "A longer ramp lowers the sensitivity to the rate, and more so for a wider model.",
        "holds",
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    "norm=pre",
                    sweep__peak_lr=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
                    sweep__warmup_steps=(0, 100),
                    sweep__arms={
                        f"width{width}": {"model": {"width": width, "ffn_width": 4 * width}} for width in (16, 32, 48)
                    },
                )
            }
        },
        measure=sensitivity,
        criteria=(
            Criterion("100 updates lower it at a width of 32", "T", "gain_of_middle", parameters={"delta": 0.0}),
            Criterion("by more, the larger the model", "T", "slope", parameters={"delta": 0.0}),
        ),
    ),
    Claim(
        "U-6",
        "schedules",
        "Haegele et al. 2024; Hu et al. 2024",
        "A constant rate with a cooldown over the last fifth matches cosine, and a 1 - sqrt cooldown beats a linear "
        "one, each at its best rate.",
        "open",
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    "norm=pre",
                    num_steps=1200,
                    sweep__peak_lr=(3e-3, 1e-2, 2e-2),
                    sweep__warmup_steps=(50,),
                    sweep__arms={
                        "cosine": {"schedule": "cosine", "schedule_args": {"exponent": 1.0}},
                        "linear": {"schedule": "wsd", "schedule_args": {"decay_fraction": 0.2, "shape": "linear"}},
                        "sqrt": {"schedule": "wsd", "schedule_args": {"decay_fraction": 0.2, "shape": "sqrt"}},
                    },
                )
            }
        },
        measure=decays,
        criteria=(
            Criterion(
                "linear cooldown and cosine are alike within 0.02 nat", "EQ", "linear", "cosine", {"delta": 0.02}
            ),
            Criterion("1 - sqrt ends lower than linear", "T", "linear", "sqrt", {"delta": 0.0}),
        ),
    ),
    Claim(
        "U-7",
        "schedules",
        "ours",
        "Without warmup the plateau of WSD fails before its decay can help: Post-LN stays stuck through a cooldown "
        "over one half of the run.",
        "open",
        seen=True,
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    schedule="wsd", schedule_args__decay_fraction=0.5, schedule_args__shape="linear"
                )
            },
            "gpu": {
                "lm": rigs.translation(
                    "norm=post",
                    2500,
                    peak_lr=1e-3,
                    schedule="wsd",
                    schedule_args__decay_fraction=0.5,
                    schedule_args__shape="linear",
                    sweep__warmup_steps=(0, 400),
                )
            },
        },
        measure=with_and_without,
        criteria=(
            Criterion(
                "with the cooldown in both, warmup trains more often than none", "B", "trained_with", "trained_without"
            ),
        ),
    ),
    Claim(
        "U-8",
        "schedules",
        "Riabinin et al. 2026; our question first",
        "Lion and Muon lose without a ramp: each at its best rate, none is worse than the best length. (The "
        "automatic ramp is not tried.)",
        "open",
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    "norm=pre",
                    sweep__warmup_steps=(0, 20, 80),
                    sweep__arms={
                        "lion": {
                            "optimizer": "lion",
                            "optimizer_args": LION,
                            "sweep": {"peak_lr": (3e-4, 1e-3, 3e-3)},
                        },
                        "muon": {
                            "optimizer": "muon",
                            "optimizer_args": MUON,
                            "sweep": {"peak_lr": (3e-3, 1e-2, 3e-2)},
                        },
                    },
                )
            }
        },
        measure=best_losses,
        criteria=tuple(
            Criterion(
                f"{arm.title()} is more than 0.02 nat worse without",
                "T",
                f"{arm}_without",
                f"{arm}_with",
                {"delta": 0.02},
            )
            for arm in ("lion", "muon")
        ),
        needs="the automatic ramp",
    ),
    _waits(
        "U-9",
        "RAdam, issue 8",
        "RAdam is no cure after restarts.",
        "open",
        "a reset of the optimizer's state at update n",
    ),
    Claim(
        "U-10",
        "schedules",
        "RAdam, nmt/recipes.md",
        "NovoGrad, said to need no ramp, needs one on Post-LN, at the rate that is best with one.",
        "open",
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    "optimizer=novograd", sweep__peak_lr=(1e-3, 3e-3, 1e-2, 3e-2), sweep__warmup_steps=(0, 200)
                )
            }
        },
        measure=at_best_rate,
        criteria=(
            Criterion("with warmup it trains", "M", "trained_with", rig=True),
            Criterion("there it trains more often with warmup", "B", "trained_with", "trained_without"),
        ),
    ),
)
