"""Image classification and optimizers that stand in for warmup, C-1 to C-10."""

from collections.abc import Mapping

import numpy as np

from warmup_jax.claims import measures, rigs
from warmup_jax.claims.claim import Claim, Criterion, Numbers
from warmup_jax.report.run_record import Record

HARD_SET = "a hard small image set: digits are too easy"


def ranges(records: Mapping[str, Record]) -> Numbers:
    """Measures the range of the test error over the rates, in points, by optimizer; a run that diverged errs always."""
    runs = measures.runs(records["resnet"])
    found: Numbers = {}
    for optimizer in ("adam", "radam"):
        errors = [
            [100 * (1 - run.test_accuracy) for run in measures.select(runs, optimizer=optimizer, peak_lr=rate)]
            for rate in measures.axis(runs, "peak_lr")
        ]
        found[optimizer] = np.ptp(np.array(errors), axis=0).tolist()
    return found


def adabelief(records: Mapping[str, Record]) -> Numbers:
    """Measures which runs of AdaBelief train without and with warmup, at the highest rate."""
    runs = measures.runs(records["lm"])
    rate, lengths = measures.axis(runs, "peak_lr")[-1], measures.axis(runs, "warmup_steps")
    none, warm = (measures.select(runs, peak_lr=rate, warmup_steps=length) for length in (lengths[0], lengths[-1]))
    return {"trained_without": measures.trained(none), "trained_with": measures.trained(warm)}


def _waits(id: str, source: str, statement: str, predicted: str, needs: str) -> Claim:
    return Claim(id, "images", source, statement, predicted, needs=needs)


CLAIMS = (
    _waits(
        "C-1",
        "He et al. 2015, section 4.2",
        "ResNet-110 does not start at a rate of 0.1, and starts with 0.01 for 400 updates.",
        "holds",
        "a study at depth 110 on CIFAR-10",
    ),
    _waits(
        "C-2",
        "He et al. 2015, table 6; pytorch_warmup",
        "The need for warmup grows with the depth of a ResNet.",
        "holds",
        HARD_SET,
    ),
    _waits(
        "C-3",
        "Goyal et al. 2017, table 1",
        "At a large batch gradual warmup beats none, and none beats constant warmup.",
        "open",
        HARD_SET,
    ),
    _waits(
        "C-4",
        "Goyal et al. 2017, sections 2.1, 5.2 and 5.3",
        "Linear scaling with warmup holds up to a batch size, and not beyond.",
        "holds",
        HARD_SET,
    ),
    _waits(
        "C-5",
        "pytorch_warmup",
        "AdamW at a hot rate is repaired by any warmup; the rule of thumb by beta2 fails for a small beta2.",
        "holds",
        HARD_SET,
    ),
    Claim(
        "C-6",
        "images",
        "Liu et al. 2020 (RAdam), figure 6",
        "RAdam is less sensitive to the rate than Adam without warmup: its test error has a smaller range over rates "
        "of 0.003 to 0.1. (ResNet-8 on digits.)",
        "open",
        studies={
            "cpu": {
                "resnet": rigs.resnet(
                    "optimizer=adam",
                    sweep__optimizer=("adam", "radam"),
                    sweep__peak_lr=(0.003, 0.01, 0.03, 0.1),
                    sweep__warmup_steps=(0,),
                )
            },
            "gpu": {
                "resnet": rigs.resnet(
                    "cifar10,optimizer=adam",
                    model__depth=20,
                    num_epochs=12.0,
                    warmup_steps=None,
                    schedule="constant",
                    schedule_args={},
                    sweep__optimizer=("adam", "radam"),
                    sweep__peak_lr=(0.003, 0.01, 0.03, 0.1),
                    sweep__warmup_steps=(0,),
                )
            },
        },
        measure=ranges,
        criteria=(
            Criterion("Adam's range is more than 1 point wider", "T", "adam", "radam", parameters={"delta": 1.0}),
        ),
    ),
    Claim(
        "C-7",
        "images",
        "Zhuang et al. 2020 (AdaBelief), the note's reference 2",
        "AdaBelief is a stand-in for warmup: without it Post-LN trains at a rate of 0.006.",
        "refuted",
        studies={
            "cpu": {
                "lm": rigs.language_model(
                    "optimizer=adabelief", sweep__peak_lr=(3e-3, 6e-3), sweep__warmup_steps=(0, 200)
                )
            }
        },
        measure=adabelief,
        criteria=(
            Criterion("with warmup AdaBelief trains", "M", "trained_with", rig=True),
            Criterion("without warmup it trains", "M", "trained_without"),
        ),
    ),
    _waits(
        "C-8",
        "You et al. 2017 and 2019; CLARS 2020; Nado et al. 2021",
        "LARS and LAMB still want a ramp.",
        "open",
        HARD_SET,
    ),
    _waits(
        "C-9",
        "Smith and Topin 2018",
        "One cycle with a very high peak trains faster than steps.",
        "open",
        "momentum that is cycled against the rate, and " + HARD_SET,
    ),
    _waits(
        "C-10",
        "Gotmare et al. 2019",
        "Warmup acts through the deep layers: to freeze them does the same.",
        "open",
        "a ramp or freeze by group of layers in a config",
    ),
)
