"""Architectures and initialisations that are said to need no warmup, A-1 to A-8."""

from collections.abc import Mapping

from warmup_jax.claims import measures, rigs
from warmup_jax.claims.claim import Claim, Criterion, Numbers
from warmup_jax.report.run_record import Record

# T-Fixup and ReZero beside Post-LN and Pre-LN; T-3 looks at the last two.
PLACEMENTS = rigs.language_model(
    sweep__norm=("none", "rezero", "post", "pre"), sweep__peak_lr=(3e-3, 6e-3, 1e-2), sweep__warmup_steps=(0, 200)
)


def t_fixup(records: Mapping[str, Record]) -> Numbers:
    """Measures T-Fixup without warmup against Pre-LN with it, at the middle rate."""
    cells = middle_rate(records["lm"])
    return {
        "trained": measures.trained(cells["none", 0]),
        "loss": measures.test_losses(cells["none", 0]),
        "loss_pre": measures.test_losses(cells["pre", 200]),
        "trained_pre": measures.trained(cells["pre", 200]),
    }


def middle_rate(record: Record) -> dict[tuple[str, int], list[measures.Run]]:
    """Returns the runs at the middle rate: {(norm, warmup length): [by seed]}."""
    runs = measures.runs(record)
    rates = measures.axis(runs, "peak_lr")
    return {
        (norm, length): measures.select(runs, norm=norm, peak_lr=rates[len(rates) // 2], warmup_steps=length)
        for norm in measures.axis(runs, "norm")
        for length in measures.axis(runs, "warmup_steps")
    }


def rezero(records: Mapping[str, Record]) -> Numbers:
    """Measures ReZero without warmup, and how soon it learns beside Pre-LN without warmup, at the middle rate."""
    cells = middle_rate(records["lm"])
    steps = {norm: [measures.steps_to_learn(run) for run in cells[norm, 0]] for norm in ("rezero", "pre")}
    return {
        "trained": measures.trained(cells["rezero", 0]),
        "ln_steps_pre_over_rezero": measures.differences(measures.log(steps["pre"]), measures.log(steps["rezero"])),
    }


def _waits(id: str, source: str, statement: str, predicted: str, needs: str) -> Claim:
    return Claim(id, "architectures", source, statement, predicted, needs=needs)


CLAIMS = (
    Claim(
        "A-1",
        "architectures",
        "Huang et al. 2020 (T-Fixup)",
        "A Transformer with T-Fixup's initialisation and no normalisation trains without warmup, as well as Pre-LN "
        "with it.",
        "open",
        studies={"cpu": {"lm": PLACEMENTS}},
        measure=t_fixup,
        criteria=(
            Criterion("Pre-LN with warmup trains", "M", "trained_pre", rig=True),
            Criterion("without warmup it trains", "M", "trained"),
            Criterion("it is at most 0.1 nat worse than Pre-LN with warmup", "T", "loss_pre", "loss", {"delta": -0.1}),
        ),
    ),
    _waits(
        "A-2",
        "Liu et al. 2020 (Admin)",
        "Admin trains Post-LN where it fails; the effect of a parameter change on the output grows with the depth in "
        "Post-LN alone.",
        "open",
        "a diagnostic of the output's change under a fixed random change of the weights",
    ),
    _waits(
        "A-3",
        "Zhang et al. 2019 (Fixup)",
        "Residual networks without normalisation train at the rates of batch normalisation.",
        "open",
        "a Fixup ResNet",
    ),
    Claim(
        "A-4",
        "architectures",
        "Bachlechner et al. 2020 (ReZero)",
        "A Transformer with ReZero needs no warmup and no normalisation, and learns sooner than Pre-LN.",
        "open",
        studies={"cpu": {"lm": PLACEMENTS}},
        measure=rezero,
        criteria=(
            Criterion("without warmup it trains", "M", "trained"),
            Criterion(
                "it learns in fewer updates than Pre-LN (ln of the ratio above 0)",
                "T",
                "ln_steps_pre_over_rezero",
                parameters={"delta": 0.0},
            ),
        ),
    ),
    _waits(
        "A-5",
        "Wang et al. 2022 (DeepNet)",
        "DeepNorm trains at depths at which Post-LN does not.",
        "open",
        "more than ten minutes of a CPU: 24 layers and 800 updates",
    ),
    _waits(
        "A-6",
        "Gilmer et al. 2021",
        "Warmup stabilises as much as normalisation and careful initialisation do.",
        "open",
        "MetaInit, GradInit and Fixup",
    ),
    _waits(
        "A-7",
        "Goyal et al. 2017, section 5.1",
        "A scale of 0 in the last batch normalisation of each block eases the start at large batches.",
        "open",
        "a hard small image set: digits are too easy",
    ),
    _waits(
        "A-8",
        "Kalra and Barkeshli 2024, appendices E.5 and F.1",
        "Pre-LN without its last normalisation starts about 100 times as sharp, and needs warmup again.",
        "open",
        "a Pre-LN Transformer without the last normalisation",
    ),
)
