"""The page shows verdicts, predictions and what contradicts them, and is the one in git."""

import subprocess

import pytest
from commands import ROOT

from warmup_jax.claims import claim, ledger, page, verdicts
from warmup_jax.claims.__main__ import main
from warmup_jax.claims.catalog import CLAIMS

ENVIRONMENT = {"python": "3.11", "packages": {"jax": "0.10"}, "cpu": "CPU", "cores": 2}


def entry(id, numbers, **changes):
    of = CLAIMS[id]
    judged = verdicts.judge(of.criteria, numbers)
    found = {
        "claim": id,
        "fingerprint": claim.fingerprint(of),
        "scale": "cpu",
        "date": "2026-01-01",
        "commit": "0123456789abcdef",
        "exploratory": False,
        "environment": ENVIRONMENT,
        "seeds": claim.seeds(of, "cpu"),
        "studies": {"lm": {"command": "python train.py --config=a.py"}},
        "numbers": numbers,
        "criteria": judged,
        "verdict": verdicts.verdict(judged).value,
        "predicted": of.predicted,
    }
    return found | changes


R_1 = {"trained_without": [0] * 5, "trained_with": [1] * 5}
C_7 = {"trained_without": [1] * 5, "trained_with": [1] * 5}


def test_the_page_in_git_is_what_the_ledger_gives(capsys):
    assert main(["report", "--check"]) == 0, capsys.readouterr().err


def test_every_claim_has_a_row():
    text = page.page(CLAIMS, [])
    for id in CLAIMS:
        assert f"\n| {id} | " in text
    assert "81 claims, 49 of them ready to run; 0 trials" in text and "## Evidence" not in text


def test_a_verdict_stands_with_its_figures_and_its_command():
    text = page.page(CLAIMS, [entry("R-1", R_1)])
    assert "| holds* | holds | Liu et al." in text
    assert "| warmup trains more often than none | 1 of seeds [0.5493, 1] | more often (Fisher) | holds |" in text
    assert "python -m warmup_jax.claims run R-1\npython train.py --config=a.py\n" in text
    assert "seeds 10 to 14, frozen before the run, trial 1 at this scale; 2 cores of CPU, Python 3.11, jax 0.10" in text
    assert "1 of these verdicts rest on statistics, with 1 criteria at a level of 0.05: at most 0.05 false" in text
    assert "| R-1 | cpu | holds | 0.004 | 0.004 |" in text


def test_contradictions_are_said_and_p_values_adjusted_for_all():
    text = page.page(CLAIMS, [entry("R-1", R_1), entry("C-7", C_7)])
    assert "Contradictions of our predictions: C-7 (refuted was predicted, holds found)." in text
    assert "holds **against the prediction**" in text
    assert "| R-1 | cpu | holds | 0.004 | 0.0079 |" in text and "| C-7 | cpu | holds | 0.031 | 0.031 |" in text
    assert "at most 0.1 false ones" in text, "the criterion of the rig is no test of the claim"


def test_exploratory_and_stale_entries_are_marked():
    text = page.page(CLAIMS, [entry("R-1", R_1, exploratory=True), entry("C-7", C_7, fingerprint="old")])
    assert "| holds (exploratory) |" in text and "2 trials, of which 1 are exploratory" in text
    assert "**Stale: the claim has changed since.**" in text and "C-7 (refuted was" not in text
    assert page.verdict_of(CLAIMS["C-7"], "cpu", ledger.newest([entry("C-7", C_7, fingerprint="old")])) == (
        "none",
        None,
    )


def test_the_newest_entry_counts_and_all_are_counted():
    text = page.page(CLAIMS, [entry("R-1", C_7), entry("R-1", R_1)])
    assert "### R-1, cpu: holds" in text and "refuted, 0" in text.replace("0 refuted", "refuted, 0")
    assert "trial 2 at this scale" in text


def test_the_ledger_in_git_is_judged_alike(capsys):
    assert main(["judge"]) == 0, capsys.readouterr().err


def test_the_files_in_git_pass_the_audit(capsys):
    shallow = subprocess.run(["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True)
    if shallow.stdout.strip() != "false":
        pytest.skip("there is no whole history")
    assert main(["audit"]) == 0, capsys.readouterr().err
