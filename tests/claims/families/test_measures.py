"""The measure and criteria of each claim with a study: one workdir that must hold, and one that must refute."""

import math

import numpy as np
import pytest
from claims_cases import CASES, every_step, up_to, where

from warmup_jax.claims import ledger, measures, rigs, verdicts
from warmup_jax.claims.catalog import CLAIMS
from warmup_jax.claims.families import sharpness, transformers

TRAINED = {id: claim for id, claim in CLAIMS.items() if claim.studies}


def test_every_claim_with_a_study_has_its_cases():
    assert CASES.keys() == TRAINED.keys()


@pytest.mark.parametrize("expected", ["holds", "refuted"])
@pytest.mark.parametrize("id", TRAINED)
def test_a_claim_holds_and_is_refuted_where_it_must(id, expected, tmp_path, write_study):
    claim, series = TRAINED[id], CASES[id][expected == "refuted"]
    records = {name: write_study(tmp_path / name, study, series) for name, study in claim.studies["cpu"].items()}
    numbers = ledger.decode(ledger.encode(claim.measure(records)))
    judged = verdicts.judge(claim.criteria, numbers)
    said = [(line["statement"], line["outcome"], line["estimate"]) for line in judged]
    assert verdicts.verdict(judged) == expected, (said, numbers)
    if expected == "refuted":
        assert "holds" in [line["outcome"] for line in judged if line["rig"]] or not any(line["rig"] for line in judged)


@pytest.mark.parametrize("id, series", [("C-7", lambda changes: CASES["R-3"][1]({"n": 0})), ("R-3", CASES["C-7"][0])])
def test_a_rig_that_cannot_show_the_effect_makes_the_claim_invalid(id, series, tmp_path, write_study):
    claim = TRAINED[id]
    records = {name: write_study(tmp_path / name, study, series) for name, study in claim.studies["cpu"].items()}
    assert verdicts.verdict(verdicts.judge(claim.criteria, claim.measure(records))) == "invalid"


@pytest.mark.parametrize(
    "sufficient, expected", [((0, 50, 100, 200), 1), ((0, 100, 50, 200), 0), ((50, 50, 50, 50), 0), ((0, 0, 0, 999), 1)]
)
def test_a_length_that_falls_with_the_rate_does_not_grow(sufficient, expected, tmp_path, write_study):
    (study,) = CLAIMS["T-1"].studies["cpu"].values()
    of_rate = dict(zip((1e-3, 3e-3, 6e-3, 1e-2), sufficient))
    series = where(lambda changes: changes["warmup_steps"] >= of_rate[changes["peak_lr"]])
    record = write_study(tmp_path / "lm", study, series)
    assert transformers.lengths_by_rate({"lm": record})["length_grows"] == [expected] * 5


def test_a_length_is_not_sufficient_if_a_longer_one_fails(tmp_path, write_study):
    """At the lowest rate all lengths but the longest train, so that none suffices."""
    (study,) = CLAIMS["T-1"].studies["cpu"].values()
    series = where(lambda changes: (changes["warmup_steps"] < 200) == (changes["peak_lr"] == 1e-3))
    record = write_study(tmp_path / "lm", study, series)
    assert transformers.lengths_by_rate({"lm": record})["length_grows"] == [0] * 5


def test_events_of_a_crossing_have_their_updates():
    """After 5 updates the edge is crossed, update 8 is the first to raise the loss, which is back 4 updates later."""
    losses = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.9, 0.8, 0.5, 0.29, 0.2, 0.1] + [0.1 / t for t in range(2, 30)]
    ratios = {t: 1.2 if t == 5 else 0.8 for t in range(1, len(losses))}
    curve = {t: 100.0 if t <= 7 else 30.0 for t in range(len(losses))}
    lines = {t + 1: {"train/loss": loss} for t, loss in enumerate(losses)}
    for t, value in curve.items():
        lines.setdefault(t, {}).update({"diag/sharpness": value, "diag/stability_ratio": ratios.get(t, 0.0)})
    found = sharpness.crossing(run_of(lines))
    assert found == sharpness.Crossing(5, 7, 0, pytest.approx(0.3), 4.0, pytest.approx(0.8))
    early = {step: line | ({"train/loss": 0.95} if step == 3 else {}) for step, line in lines.items()}
    assert sharpness.crossing(run_of(early)).rises_before == 1
    calm = {step: line | {"diag/stability_ratio": 0.9} for step, line in lines.items()}
    assert sharpness.crossing(run_of(calm))[:2] == (None, None)


def test_sharpness_meets_the_loss_of_the_same_weights(tmp_path, write_study):
    """Sharpness after t updates is 10 times the loss after t updates, which line t + 1 holds."""

    def series(changes):
        losses = np.random.default_rng(changes["seed"]).random(257)
        return every_step(losses[:256], {t: {"diag/sharpness": 10 * losses[t]} for t in range(257)})

    record = write_study(tmp_path / "fcn", sharpness.SLOPES, series)
    np.testing.assert_allclose(sharpness.loss_and_sharpness({"fcn": record})["mup"], 1.0)


def test_a_run_that_diverged_has_an_infinite_loss(tmp_path, write_study):
    claim = CLAIMS["U-7"]
    (study,) = claim.studies["cpu"].values()
    record = write_study(tmp_path / "a", study, lambda changes: {1: {"train/loss": 3.0}, 9: {"train/loss": math.nan}})
    runs = measures.runs(record)
    assert {run.state for run in runs} == {"diverged"} and {run.test_loss for run in runs} == {math.inf}


def test_largest_rates_at_both_ends_of_the_grid(tmp_path, write_study):
    """No rate trains without warmup, all do with the longest: one step below the grid, and its top."""
    study = rigs.full_batch(seeds=2, sweep__peak_lr=(0.25, 0.5, 1.0), sweep__warmup_steps=(0, 4, 64))
    largest = {0: 0.0, 4: 0.5, 64: 9.0}
    record = write_study(tmp_path / "fcn", study, up_to(lambda changes: largest[changes["warmup_steps"]]))
    (found,) = measures.largest_rates(record).values()
    assert found == {0: [-3.0, -3.0], 4: [-1.0, -1.0], 64: [0.0, 0.0]}
    assert measures.gain_of_warmup(found).tolist() == [3.0, 3.0]


def test_a_missing_seed_is_an_error(tmp_path, write_study):
    (study,) = CLAIMS["U-7"].studies["cpu"].values()
    runs = measures.runs(write_study(tmp_path / "a", study, lambda changes: {1: {"train/loss": 3.0}}))
    assert [run.seed for run in measures.select(runs, warmup_steps=200)] == [10, 11, 12, 13, 14]
    with pytest.raises(ValueError, match="4 runs have .* one for each of the seeds"):
        measures.select(runs[1:], warmup_steps=0)


def run_of(lines):
    series = {}
    for metric in ("train/loss", "diag/sharpness", "diag/stability_ratio"):
        points = [(step, line[metric]) for step, line in sorted(lines.items()) if metric in line]
        series[metric] = tuple(np.array(column) for column in zip(*points))
    return measures.Run({}, 10, "trained", 0.1, 0.1, 0.9, 1, series)
