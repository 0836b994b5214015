"""Each identity holds, and each of its criteria sees a number that is another."""

import pytest

from warmup_jax.claims import ledger, verdicts
from warmup_jax.claims.catalog import CLAIMS

COMPUTED = [id for id, claim in CLAIMS.items() if claim.measure is not None and not claim.studies]
COMPILES = ("S-8", "I-14")  # for seconds; tests/schedules and tests/models have the same numbers in the fast tier


def test_all_fifteen_are_there():
    assert COMPUTED == ["S-8", *(f"I-{number}" for number in range(1, 15))]


@pytest.mark.parametrize("id", [pytest.param(id, marks=pytest.mark.slow) if id in COMPILES else id for id in COMPUTED])
def test_an_identity_holds(id):
    claim = CLAIMS[id]
    numbers = ledger.decode(ledger.encode(claim.measure({})))
    judged = verdicts.judge(claim.criteria, numbers)
    assert [line["statement"] for line in judged if line["outcome"] != "holds"] == [], numbers
    for criterion in claim.criteria:
        for shift in (0.05, -0.05):
            moved = numbers | {criterion.values: shifted(numbers[criterion.values], shift)}
            if verdicts.find(criterion, moved).outcome == "refuted":
                break
        else:
            pytest.fail(f"{criterion.statement}: no shift of its number is noticed")


def shifted(value, shift):
    """The last number of a value, moved by a share of it, by ten times where it has but one bound."""
    values = value if isinstance(value, list) else [value]
    return [*values[:-1], values[-1] * (1 + 20 * shift) + shift]
