"""Criteria are judged by their rules and by the numbers alone."""

import pytest

from warmup_jax.claims import ledger, verdicts
from warmup_jax.claims.claim import Criterion

NUMBERS = {
    "high": [1.0, 1.1, 1.2, 1.1, 1.0],
    "low": [0.1, 0.2, 0.1, 0.2, 0.1],
    "yes": [1] * 5,
    "no": [0] * 5,
    "one": 2.0,
}
HOLDS = [
    Criterion("", "T", "high", parameters={"delta": 0.5}),
    Criterion("", "T", "high", "low", {"delta": 0.5}),
    Criterion("", "EQ", "low", parameters={"delta": 0.5}),
    Criterion("", "B", "yes", "no"),
    Criterion("", "M", "yes"),
    Criterion("", "SLOPE", "high", parameters={"low": 0.8, "high": 1.4}),
    Criterion("", "E", "one", parameters={"expected": 2.0}),
    Criterion("", "R", "one", parameters={"low": 1.0}),
]
REFUTED = [
    Criterion("", "T", "low", "high", {"delta": 0.0}),
    Criterion("", "EQ", "high", parameters={"delta": 0.5}),
    Criterion("", "B", "no", "yes"),
    Criterion("", "M", "no"),
    Criterion("", "SLOPE", "low", parameters={"low": 0.8, "high": 1.4}),
    Criterion("", "E", "one", parameters={"expected": 2.1, "absolute": 0.05}),
    Criterion("", "R", "one", parameters={"high": 1.0}),
]


def test_each_rule_is_called_with_its_numbers():
    assert {line["outcome"] for line in verdicts.judge(HOLDS, NUMBERS)} == {"holds"}
    assert {line["outcome"] for line in verdicts.judge(REFUTED, NUMBERS)} == {"refuted"}


def test_a_rig_that_does_not_hold_makes_a_claim_invalid():
    for rig in (REFUTED[3], Criterion("", "T", "low", parameters={"delta": 0.15})):
        judged = verdicts.judge([*HOLDS, rig._replace(rig=True)], NUMBERS)
        assert verdicts.verdict(judged) == "invalid" and verdicts.p_value(judged) is None


def test_what_is_stored_is_judged_alike():
    judged = verdicts.judge([*HOLDS, *REFUTED], NUMBERS)
    stored = ledger.decode(ledger.encode(judged))
    assert verdicts.again(stored, NUMBERS) == judged


def test_infinities_survive_the_ledger():
    numbers = {"x": [float("inf"), float("-inf"), float("nan"), 1.0]}
    found = ledger.decode(ledger.encode(numbers))["x"]
    assert found[:2] == numbers["x"][:2] and found[2] != found[2] and found[3] == 1.0


def test_a_p_value_is_that_of_the_weakest_criterion_or_of_the_best_of_k():
    judged = verdicts.judge(HOLDS, NUMBERS)
    assert verdicts.p_value(judged) == max(line["p_value"] for line in judged) > 0
    judged = verdicts.judge([HOLDS[0], REFUTED[0], REFUTED[3]], NUMBERS)
    assert verdicts.p_value(judged) == pytest.approx(3 * min(line["p_refuted"] for line in judged))
    assert verdicts.p_value(verdicts.judge(HOLDS[-2:], NUMBERS)) is None


def test_a_missing_number_is_an_error():
    with pytest.raises(ValueError, match="the measure has no 'x'; it has high"):
        verdicts.find(Criterion("", "T", "x"), NUMBERS)
    with pytest.raises(ValueError, match="needs a control"):
        verdicts.find(Criterion("", "B", "yes"), NUMBERS)


@pytest.mark.parametrize("predicted, found, expected", [
    ("holds", "refuted", True), ("refuted", "holds", True), ("open", "holds", False), ("holds", "undecided", False),
    ("holds", "holds", False),
])  # fmt: skip
def test_a_contradiction_is_the_opposite_of_a_prediction(predicted, found, expected):
    assert verdicts.contradicts(predicted, found) == expected
