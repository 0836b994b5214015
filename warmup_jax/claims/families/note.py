"""The statements of the note that the project began with, S-1 to S-8."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from warmup_jax import schedules
from warmup_jax.claims import measures, rigs
from warmup_jax.claims.claim import Claim, Criterion, Numbers
from warmup_jax.report.run_record import Record

# The first updates of Post-LN and Pre-LN with and without warmup; R-2 and R-6 look at the same runs.
FIRST_STEPS = rigs.language_model(
    "diagnose=norms+weight_distance+gradient_noise",
    num_steps=300,
    diagnostics__weight_distance__every=10,
    diagnostics__gradient_noise__every=20,
    diagnostics__gradient_noise__examples=384,
    diagnostics__gradient_noise__micro_batches=24,
    sweep__norm=("post", "pre"),
    sweep__warmup_steps=(0, 200),
)
EARLY_OVERFITTING = rigs.language_model(
    "diagnose=early_overfitting", num_steps=20, sweep__peak_lr=(3e-3, 6e-3), sweep__warmup_steps=(0, 200)
)


def early_overfitting(records: Mapping[str, Record]) -> Numbers:
    """Measures G, the decrease of the loss on fresh data over that on the batch just used, at the highest rate."""
    runs = measures.runs(records["lm"])
    rate, lengths = measures.axis(runs, "peak_lr")[-1], measures.axis(runs, "warmup_steps")

    def ratios(length: int) -> list[float]:
        of = measures.select(runs, peak_lr=rate, warmup_steps=length)
        sums = [[measures.over(run, f"diag/decrease_{on}", 1, 20).sum() for on in ("fresh", "used")] for run in of]
        return [float(fresh / used) for fresh, used in sums]

    cold, warm = ratios(lengths[0]), ratios(lengths[-1])
    return {"cold": cold, "warm": warm, "below_half": [0.5 - ratio for ratio in cold]}


def gradient_variance(records: Mapping[str, Record]) -> Numbers:
    """Measures logs of the noise's trace and of its ratio to the signal, for Post-LN without warmup."""
    runs = measures.select(measures.runs(records["first_steps"]), norm="post", warmup_steps=0)

    def ln(metric: str, step: int) -> np.ndarray:
        return measures.log([measures.at(run, metric, step) for run in runs])

    return {
        "ln_trace_0_over_20": (ln("diag/noise_trace", 0) - ln("diag/noise_trace", 20)).tolist(),
        "ln_scale_300_over_0": (ln("diag/noise_scale", 300) - ln("diag/noise_scale", 0)).tolist(),
    }


def recipes(records: Mapping[str, Record]) -> Numbers:
    """Measures published rates at their corners."""
    t_of = {"he": [0, 399, 400, 32_000, 48_000], "goyal": [781 * 5 - 2, 5000], "noam": [0, 3999, 15_999]}
    epoch = 1_281_167 / 8192
    gradual = schedules.goyal(8192, 1_281_167)
    step = schedules.constant_warmup(400, 0.1)
    end = round(5 * epoch)  # of the warmup
    return {
        "he": np.asarray(schedules.resnet110()(jnp.array(t_of["he"])), float).tolist(),
        "step": np.asarray(step(jnp.array([0, 399, 400])), float).tolist(),
        "goyal": np.asarray(gradual(jnp.array([end - 1, end])), float).tolist(),
        "goyal_first": float(gradual(0)),
        "noam": np.asarray(schedules.noam(512, 4000)(jnp.array(t_of["noam"])), float).tolist(),
        "cosine": np.asarray(schedules.warmup_cosine(1.0, 10, 110)(jnp.array([0, 9, 60, 110])), float).tolist(),
        "wsd": np.asarray(schedules.wsd(0.1, 10, 100)(jnp.array([0, 9, 79, 100])), float).tolist(),
    }


def _corners(statement: str, values: str, expected: list[float] | float) -> Criterion:
    return Criterion(statement, "E", values, parameters={"expected": expected, "relative": 1e-6, "absolute": 1e-7})


CLAIMS = (
    Claim(
        "S-1",
        "note",
        "the note, section 2, first bullet",
        "Without warmup at a high rate, the first updates improve the batch just used much more than unseen data, and "
        "warmup closes that gap. (Post-LN character model; the form for conv nets is not tried.)",
        "refuted",
        seen=True,
        studies={"cpu": {"lm": EARLY_OVERFITTING}},
        measure=early_overfitting,
        criteria=(
            Criterion("warmup raises G by more than 0.2", "T", "warm", "cold", {"delta": 0.2}),
            Criterion("without warmup G is below 0.5", "T", "below_half", parameters={"delta": 0.0}),
        ),
        needs="for conv nets a small image set with a noise floor",
    ),
    Claim(
        "S-2",
        "note",
        "the note, section 2, first bullet",
        "Skipping warmup costs several epochs of repair.",
        "refuted",
        needs="labels corrupted for the first n batches, and the loss on the whole train split",
    ),
    Claim(
        "S-3",
        "note",
        "the note, section 2, second bullet; McCandlish et al. 2018; Kosson et al. 2024",
        "The variance of the gradient is largest at the start and falls more than threefold within 20 updates; "
        "relative to the signal it is smallest there and grows more than fivefold. (Post-LN without warmup.)",
        "holds",
        seen=True,
        studies={"cpu": {"first_steps": FIRST_STEPS}},
        measure=gradient_variance,
        criteria=(
            Criterion(
                "ln of tr Sigma at update 0 over 20 exceeds ln 3",
                "T",
                "ln_trace_0_over_20",
                parameters={"delta": 1.0986},
            ),
            Criterion(
                "ln of tr Sigma / |g|^2 at update 300 over 0 exceeds ln 5",
                "T",
                "ln_scale_300_over_0",
                parameters={"delta": 1.6094},
            ),
        ),
    ),
    Claim(
        "S-4",
        "note",
        "the note, section 2, second bullet",
        "Early noise is why warmup is needed: without the noise the need is gone.",
        "refuted",
        seen=True,
        needs="a batch size that changes at update n",
    ),
    Claim(
        "S-5",
        "note",
        "Goyal et al. 2017, sections 2.1 and 2.2",
        "k small updates equal one k-times larger update only while gradients stay put; this fails most at the "
        "start, and more for small batches.",
        "holds",
        seen=True,
        needs="a diagnostic of the gradient's drift over k batches",
    ),
    Claim(
        "S-6",
        "note",
        "the note, section 2",
        "Badly scaled inputs shrink the safe first rate, so that they need more warmup.",
        "holds",
        seen=True,
        needs="scale and shift of the inputs",
    ),
    Claim(
        "S-7",
        "note",
        "the note; Kalra and Barkeshli 2024, appendix A",
        "Lowering a large constant rate late brings the loss down, lowering it early costs progress.",
        "holds",
        seen=True,
        needs="a small image set with a noise floor: digits have none, and the rig would be invalid",
    ),
    Claim(
        "S-8",
        "note",
        "the note; He et al. 2015; Goyal et al. 2017; Vaswani et al. 2017; Hu et al. 2024",
        "The note's warmup, a small rate first and then the preset rate, is the step of He et al. and not the linear "
        "ramp that later work means; the library gives both, and Noam, cosine and WSD, at their corners.",
        "holds",
        seen=True,
        measure=recipes,
        criteria=(
            _corners(
                "He: 0.01 for 400 updates, 0.1, then tenths from 32,000 and 48,000",
                "he",
                [0.01, 0.01, 0.1, 0.01, 0.001],
            ),
            _corners("a step is its value for W updates, then 1", "step", [0.1, 0.1, 1.0]),
            _corners("Goyal's ramp ends at 3.2 after 5 epochs", "goyal", [3.2, 3.2]),
            Criterion("and begins near 0.1", "R", "goyal_first", parameters={"low": 0.1, "high": 0.105}),
            _corners(
                "Noam at updates 1, 4,000 and 16,000",
                "noam",
                [512**-0.5 * 4000**-1.5, (512 * 4000) ** -0.5, (512 * 16_000) ** -0.5],
            ),
            _corners("linear warmup and cosine at updates 1, 10, 61 and 111", "cosine", [0.1, 1.0, 0.5, 0.0]),
            _corners("WSD at updates 1, 10, 80 and 101", "wsd", [0.01, 0.1, 0.1, 0.0]),
        ),
    ),
)
