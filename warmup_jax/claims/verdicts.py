"""From numbers to verdicts: each criterion by its rule, and the claim by all of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from warmup_jax.claims import measures, rules
from warmup_jax.claims.claim import Criterion, Numbers, as_json
from warmup_jax.claims.ledger import Line, encode
from warmup_jax.claims.rules import Finding, Outcome

CERTAIN = ("E", "R")  # rules about numbers without chance


def judge(criteria: Sequence[Criterion], numbers: Numbers) -> list[Line]:
    """Returns each criterion with its outcome, estimate, interval and p-values, as the ledger holds them."""
    return [as_json(criterion) | encode(_of_finding(find(criterion, numbers))) for criterion in criteria]


def again(judged: Sequence[Line], numbers: Numbers) -> list[Line]:
    """Returns the criteria of an entry, judged once more by its numbers."""
    return judge([Criterion(**{key: line[key] for key in Criterion._fields}) for line in judged], numbers)


def verdict(judged: Sequence[Line]) -> Outcome:
    """Returns the outcome of a claim from its judged criteria."""
    return rules.combined(
        [
            Outcome.INVALID.value if line["rig"] and line["outcome"] != Outcome.HOLDS else line["outcome"]
            for line in judged
        ]
    )


def find(criterion: Criterion, numbers: Numbers) -> Finding:
    """Judges a criterion.

    Raises:
      ValueError: for a quantity that the numbers lack.
    """
    for name in filter(None, (criterion.values, criterion.against)):
        if name not in numbers:
            raise ValueError(f"the measure has no {name!r}; it has {', '.join(numbers)}")
    values, parameters = numbers[criterion.values], criterion.parameters
    against = numbers[criterion.against] if criterion.against else None
    match criterion.rule:
        case "T" | "EQ":
            rule = rules.exceeds if criterion.rule == "T" else rules.equals
            return rule(values if against is None else measures.differences(values, against), **parameters)
        case "B":
            if against is None:
                raise ValueError(f"{criterion.statement!r}: rule B needs a control")
            return rules.more_often(against, values, **parameters)
        case "M":
            return rules.mostly(values, **parameters)
        case "SLOPE":
            return rules.slope_within(values, **parameters)
        case "E":
            return rules.close(values, **parameters)
        case "R":
            return rules.between(values, **parameters)
        case _:
            raise ValueError(f"rule={criterion.rule!r}; allowed: {', '.join(rules.VERSIONS)}")


def p_value(judged: Sequence[Line]) -> float | None:
    """Returns the p-value of a verdict; None for one without chance, or that is undecided or invalid.

    That it holds is as sure as its weakest criterion. That it is refuted needs one of k criteria alone, whose p-value
    is taken k times.
    """
    uncertain = [line for line in judged if line["rule"] not in CERTAIN and not line["rig"]]
    outcome = verdict(judged)
    if not uncertain or outcome not in (Outcome.HOLDS, Outcome.REFUTED):
        return None
    if outcome == Outcome.HOLDS:
        return float(max(line["p_value"] for line in uncertain))
    return min(1.0, len(uncertain) * float(min(line["p_refuted"] for line in uncertain)))


def contradicts(predicted: str, found: str) -> bool:
    """Returns True if a verdict is the opposite of its prediction."""
    return {predicted, found} == {Outcome.HOLDS.value, Outcome.REFUTED.value}


def _of_finding(finding: Finding) -> Mapping[str, Any]:
    return {name: value.item() for name, value in finding._asdict().items()}
