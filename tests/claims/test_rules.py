"""Rules keep the errors that they state, by simulation, and have the power that they state."""

import itertools

import numpy as np
import pytest
from scipy import stats

from warmup_jax.claims import rules
from warmup_jax.claims.rules import Outcome

DRAWS = 10_000
# Three standard deviations of a share of 5 % among the draws.
SLACK = 3 * (0.05 * 0.95 / DRAWS) ** 0.5


def normal(mean, sd=1.0, n=5, seed=0):
    return np.random.default_rng(seed).normal(mean, sd, (DRAWS, n))


def share(finding, outcome):
    return np.mean(finding.outcome == outcome)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_t_is_wrong_at_its_level_on_the_border(n):
    found = rules.exceeds(normal(0.3, n=n), 0.3)
    assert share(found, Outcome.HOLDS) == pytest.approx(0.05, abs=SLACK)
    assert share(found, Outcome.REFUTED) == pytest.approx(0.05, abs=SLACK)
    assert np.mean(found.p_value < 0.05) == pytest.approx(share(found, Outcome.HOLDS), abs=1e-12)


@pytest.mark.parametrize("distance, power", [(1, 0.57), (2, 0.98)])
def test_t_has_the_stated_power(distance, power):
    assert share(rules.exceeds(normal(distance), 0.0), Outcome.HOLDS) == pytest.approx(power, abs=0.02)
    assert share(rules.exceeds(normal(-distance), 0.0), Outcome.REFUTED) == pytest.approx(power, abs=0.02)


def test_t_agrees_with_scipy():
    values = normal(0.2)[0]
    found = rules.exceeds(values, 0.1)
    assert found.p_value == pytest.approx(stats.ttest_1samp(values, 0.1, alternative="greater").pvalue)
    assert found.lower == pytest.approx(
        stats.ttest_1samp(values, 0.1, alternative="greater").confidence_interval(0.95).low
    )


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("diverged", [0.2, 0.5])
def test_t_keeps_its_level_where_runs_diverge(n, diverged):
    """Half of the values lie above the median, some of them at infinity."""
    values = normal(0.0, n=n)
    values = np.where(values > stats.norm.ppf(1 - diverged), np.inf, values)
    found = rules.exceeds(values, 0.0)
    assert share(found, Outcome.HOLDS) < 0.05 + SLACK and share(found, Outcome.REFUTED) < 0.05 + SLACK


def test_a_run_that_diverged_counts():
    assert rules.exceeds([np.inf, 1, 1, 1, 1], 0.5).outcome == "holds"
    assert rules.exceeds([np.inf, 1, 1, 1, 0.4], 0.5).outcome == "undecided"
    assert rules.exceeds([-np.inf] * 5, 0.5).outcome == "refuted"
    assert rules.exceeds([np.inf] * 4, 0.5).outcome == "undecided", "four seeds bound no median"
    assert rules.exceeds([np.nan, np.inf, np.inf, np.inf, np.inf], 0.5).outcome == "undecided"
    assert rules.equals([np.inf] * 5, 0.5).outcome == "refuted"


@pytest.mark.parametrize("delta", [0.5, 2.0])
def test_eq_is_wrong_at_most_at_its_level(delta):
    on_border = rules.equals(normal(delta), delta)
    assert share(on_border, Outcome.HOLDS) <= 0.05 + SLACK and share(on_border, Outcome.REFUTED) <= 0.05 + SLACK
    assert share(rules.equals(normal(0.0, sd=delta / 4), delta), Outcome.HOLDS) > 0.9
    assert share(rules.equals(normal(3 * delta, sd=delta), delta), Outcome.REFUTED) > 0.9


@pytest.mark.parametrize("n", [4, 5, 10])
@pytest.mark.parametrize("chance", [0.1, 0.3, 0.5, 0.9])
def test_b_holds_wrongly_at_most_at_its_level(n, chance):
    random = np.random.default_rng(n)
    control, treated = random.random((2, DRAWS, n)) < chance
    assert share(rules.more_often(control, treated), Outcome.HOLDS) <= 0.05 + SLACK


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("control, treated", [(0.0, 0.5), (0.375, 0.8), (0.5, 1.0)])
def test_b_refutes_wrongly_at_most_at_its_level(n, control, treated):
    """The treated run alone has it in half of the seeds."""
    random = np.random.default_rng(n)
    found = rules.more_often(random.random((DRAWS, n)) < control, random.random((DRAWS, n)) < treated)
    assert share(found, Outcome.REFUTED) <= 0.05 + SLACK


def test_b_decides_for_the_stated_counts():
    def outcome(of_control, of_treated, n=5):
        return rules.more_often(np.arange(n) < of_control, np.arange(n) < of_treated).outcome

    assert [outcome(0, 5), outcome(1, 5), outcome(0, 4), outcome(2, 5)] == ["holds"] * 3 + ["undecided"]
    assert [outcome(0, 0), outcome(5, 5), outcome(5, 0), outcome(0, 1)] == ["refuted"] * 3 + ["undecided"]
    assert outcome(0, 3, n=3) == "holds", "p is 0.05, and not a bit above"
    assert [outcome(0, 1, n=7), outcome(0, 1, n=8)] == ["undecided", "refuted"]


def test_b_agrees_with_scipy():
    for control, treated in itertools.product(range(6), repeat=2):
        found = rules.more_often(np.arange(5) < control, np.arange(5) < treated)
        table = [[treated, 5 - treated], [control, 5 - control]]
        assert found.p_value == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)


def test_slopes_are_wrong_at_most_at_their_level():
    on_border = rules.slope_within(normal(-0.6, sd=0.05), -0.6, -0.35)
    assert share(on_border, Outcome.HOLDS) <= 0.025 + SLACK and share(on_border, Outcome.REFUTED) <= 0.025 + SLACK
    assert share(rules.slope_within(normal(-0.46, sd=0.03), -0.6, -0.35), Outcome.HOLDS) > 0.9
    assert share(rules.slope_within(normal(0.0, sd=0.05), -0.6, -0.35), Outcome.REFUTED) > 0.9


def test_the_interval_of_a_bootstrap_is_too_short():
    """The number that the docstring of `slope_within` gives."""
    random = np.random.default_rng(0)
    values = random.normal(size=(2000, 5))
    means = values[:, random.integers(0, 5, (1000, 5))].mean(-1)
    low, high = np.quantile(means, [0.025, 0.975], axis=-1)
    assert np.mean((low < 0) & (high > 0)) == pytest.approx(0.83, abs=0.025)


def test_log_slopes_are_those_of_a_fit():
    x = np.array([2.0, 4.0, 8.0, 16.0])
    y = 3 * x**-0.5 * np.exp(np.random.default_rng(0).normal(0, 0.1, (5, 4)))
    expected = [np.polyfit(np.log(x), np.log(of_seed), 1)[0] for of_seed in y]
    np.testing.assert_allclose(rules.log_slopes(x, y), expected)


def test_exact_numbers_hold_or_are_refuted():
    assert rules.close(1.0 + 1e-7, 1.0, absolute=1e-6).outcome == "holds"
    assert rules.close([1.0, 1.1], [1.0, 1.0], relative=0.01).outcome == "refuted"
    assert rules.close(np.nan, 1.0, absolute=1.0).outcome == "refuted"
    assert rules.close(2.0, 2.0).outcome == "holds", "no error is allowed, and there is none"


def test_holm_keeps_the_chance_of_any_false_verdict():
    p_values = np.random.default_rng(0).random((DRAWS, 20))
    assert np.mean([rules.holm(row).min() < 0.05 for row in p_values]) == pytest.approx(0.05, abs=SLACK)


def test_a_claim_is_as_strong_as_its_criteria():
    assert rules.combined(["holds", "holds"]) == "holds"
    assert rules.combined(["holds", "undecided", "refuted"]) == "refuted"
    assert rules.combined(["invalid", "refuted"]) == "invalid"


@pytest.mark.parametrize("values", [1.0, [1.0], [[1.0], [2.0]]])
def test_one_seed_is_no_sample(values):
    with pytest.raises(ValueError, match="at least 2 seeds"):
        rules.exceeds(values, 0.0)


@pytest.mark.parametrize("n", [5, 8])
def test_m_is_wrong_at_most_at_its_level(n):
    happened = np.random.default_rng(n).random((DRAWS, n)) < 0.5
    found = rules.mostly(happened)
    assert share(found, Outcome.HOLDS) <= 0.05 + SLACK and share(found, Outcome.REFUTED) <= 0.05 + SLACK


def test_m_decides_for_the_stated_counts():
    found = [rules.mostly(np.arange(5) < times).outcome.item() for times in (0, 1, 4, 5)]
    assert found == ["refuted", "undecided", "undecided", "holds"]
    assert [rules.mostly(np.arange(8) < times).outcome.item() for times in (6, 7)] == ["undecided", "holds"]


@pytest.mark.parametrize(
    "rule",
    [lambda x: rules.exceeds(x, 0.3), lambda x: rules.equals(x, 0.7), lambda x: rules.slope_within(x, -0.7, 0.3)],
)
@pytest.mark.parametrize("mean", [-1.5, 0.0, 0.3, 1.5])
def test_p_values_agree_with_the_outcome(rule, mean):
    found = rule(normal(mean, sd=0.5))
    np.testing.assert_array_equal(found.p_value < 0.05, found.outcome == Outcome.HOLDS)
    np.testing.assert_array_equal(found.p_refuted < 0.05, found.outcome == Outcome.REFUTED)


def test_a_range_is_closed():
    assert rules.between(2.0, 2.0, 3.0).outcome == "holds" and rules.between(1.9, 2.0).outcome == "refuted"
    found = rules.between([2.5, 3.5, 0.5], 2.0, 3.0)
    assert found.outcome == "refuted" and found.estimate == 0.5, "the element that is farthest out"
    assert rules.between(np.nan).outcome == "refuted"
