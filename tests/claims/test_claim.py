"""Claims are complete, and their fingerprint is of all that a verdict depends on."""

import json

import pytest

from warmup_jax.claims import catalog, claim, measures, rules
from warmup_jax.claims.catalog import CLAIMS
from warmup_jax.claims.families import curvature, sharpness
from warmup_jax.report import phase_analysis

IDS = (
    [f"S-{n}" for n in range(1, 9)]
    + [f"I-{n}" for n in range(1, 15)]
    + [f"C-{n}" for n in range(1, 11)]
    + ["T-1", "T-2", "T-3", "T-4", "T-4b", "T-4c", "T-5", "T-6", "T-7", "T-8"]
    + [f"R-{n}" for n in range(1, 7)]
    + [f"A-{n}" for n in range(1, 9)]
    + [f"K-{n}" for n in range(1, 16)]
    + [f"U-{n}" for n in range(1, 11)]
)


def test_every_claim_is_there_once_and_in_order():
    assert list(CLAIMS) == IDS and len(IDS) == 81
    assert sum(len(module.CLAIMS) for module in catalog.MODULES) == 81


@pytest.mark.parametrize("id", IDS)
def test_a_claim_is_complete(id):
    claim.check(CLAIMS[id])


@pytest.mark.parametrize(
    "changes, error",
    [
        (dict(family="none"), "family='none'; allowed: 'note'"),
        (dict(predicted="HOLD"), "predicted='HOLD'; allowed: 'holds'"),
        (dict(criteria=()), "without the other"),
        (dict(measure=None, criteria=()), "does not say why"),
        (dict(criteria=(claim.Criterion("", "t", "x"),)), "unknown rule 't'"),
        (dict(studies={"tpu": {}}), "studies='tpu'; allowed: 'cpu', 'gpu'"),
    ],
)
def test_an_incomplete_claim_is_refused(changes, error):
    with pytest.raises(ValueError, match=error):
        claim.check(CLAIMS["K-1"]._replace(**changes))


def test_selection_by_id_and_letter():
    assert [each.id for each in claim.select(CLAIMS, ["T-4*", "S-1"])] == ["T-4", "T-4b", "T-4c", "S-1"]
    with pytest.raises(ValueError, match="unknown claim 'T-44'; did you mean 'T-4'"):
        claim.select(CLAIMS, ["T-44"])


def test_the_fingerprint_is_of_what_a_verdict_depends_on(monkeypatch):
    k_1 = CLAIMS["K-1"]
    before = claim.fingerprint(k_1)
    assert claim.fingerprint(k_1) == before and len(before) == 16
    assert claim.fingerprint(k_1._replace(source="another", needs="more")) == before
    (study,) = k_1.studies["cpu"].values()
    first = k_1.criteria[0]
    for changes in (
        dict(statement="another"),
        dict(predicted="refuted"),
        dict(criteria=(first,)),
        dict(criteria=(first._replace(rig=True), *k_1.criteria[1:])),
        dict(measure=curvature.gain_of_momentum),
        dict(studies={"cpu": {"fcn": study._replace(seeds=4)}}),
        dict(studies={"cpu": {"fcn": study._replace(overrides={"peak_lr": "1"})}}),
    ):
        assert claim.fingerprint(k_1._replace(**changes)) != before, changes
    monkeypatch.setitem(rules.VERSIONS, "M", 2)
    assert claim.fingerprint(k_1) != before


def test_the_fingerprint_covers_what_the_measure_uses(monkeypatch):
    found = claim.sources(sharpness.crossings)
    assert {f"{sharpness.__name__}.{name}" for name in ("crossings", "crossing", "TAIL", "RECOVERY")} <= found.keys()
    assert {f"{measures.__name__}.{name}" for name in ("runs", "over")} <= found.keys()
    assert f"{phase_analysis.__name__}.judge" in found, "whether a run trained"
    before = claim.fingerprint(CLAIMS["K-4"])
    monkeypatch.setattr(sharpness, "TAIL", 21)
    assert claim.fingerprint(CLAIMS["K-4"]) != before
    monkeypatch.setattr(sharpness, "TAIL", 20)
    assert claim.fingerprint(CLAIMS["K-4"]) == before
    monkeypatch.setattr(phase_analysis, "LEARNED", 0.8)
    assert claim.fingerprint(CLAIMS["K-4"]) != before


def test_docstrings_and_comments_may_change():
    class Plain:
        x: int

        def f(self):
            return "#" + f"{self.x} # no comment"

    def texts(value):
        return claim._code(value).replace("Said", "Plain")

    class Said:
        """A docstring."""

        x: int  # a comment

        def f(self):
            """Another,

            of more lines.
            """
            # a comment

            return "#" + f"{self.x} # no comment"

    assert texts(Plain) == texts(Said) and '"#" +' in texts(Plain) and "# no comment" in texts(Plain)


def test_fingerprints_hold_no_address():
    assert "0x" not in json.dumps([claim.content(each)["measure"] for each in CLAIMS.values()])


def test_seeds_are_new_ones():
    assert claim.seeds(CLAIMS["T-1"], "cpu") == [10, 11, 12, 13, 14]
    assert claim.seeds(CLAIMS["I-1"], "cpu") == [] and claim.scales(CLAIMS["I-1"]) == ("cpu",)
    assert claim.scales(CLAIMS["T-1"]) == ("cpu", "gpu") and claim.scales(CLAIMS["T-5"]) == ()
