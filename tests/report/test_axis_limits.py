"""Limits and ticks of axes."""

import math

import numpy as np
import pytest

from warmup_jax.report import limits


def test_a_diverged_run_does_not_stretch_the_axis():
    healthy, diverged = np.geomspace(2.3, 0.1, 100), np.geomspace(2.3, 1e30, 100)
    found = limits.robust_limits([healthy], [diverged])
    assert found.low < 0.1 and 2.3 < found.high < 1e4 and found.above and not found.below


def test_all_values_without_outliers_are_shown():
    rng = np.random.default_rng(0)
    for values in (rng.uniform(-1, 1, 500), rng.normal(size=1000), np.arange(3.0), 1e-30 * np.arange(5.0)):
        found = limits.robust_limits([values])
        assert not (found.above or found.below) and not found.log
        assert found.low < values.min() and found.high > values.max()


def test_a_single_spike_is_clipped_and_reported():
    values = np.ones(100) + 0.01 * np.arange(100)
    values[7] = 1e11
    found = limits.robust_limits([values])
    assert found.high < 10 and found.above and not found.below
    values[7] = -math.inf
    assert limits.robust_limits([values]).below


@pytest.mark.parametrize(
    "values",
    [
        [],
        [[]],
        [[math.nan]],
        [[math.inf, -math.inf]],
        [[0.0]],
        [[5.0] * 3],
        [[-1e300, 1e300]],
        [[1e-320, 1.7e308]],
        [[-1.7e308, 1.7e308]],
    ],
)
@pytest.mark.parametrize("log", [None, True, False])
def test_limits_are_finite_and_ordered(values, log):
    found = limits.robust_limits([np.array(each) for each in values], log=log)
    assert math.isfinite(found.low) and math.isfinite(found.high) and found.low < found.high
    assert 1 <= len(limits.ticks(found.low, found.high, found.log)) <= 6


def test_the_scale_follows_the_values():
    assert limits.robust_limits([np.geomspace(0.01, 10, 50)]).log
    assert not limits.robust_limits([np.geomspace(0.01, 10, 50)], log=False).log
    assert not limits.robust_limits([np.geomspace(1, 5, 50)]).log
    assert limits.robust_limits([np.geomspace(1, 5, 50)], log=True).log
    assert not limits.robust_limits([np.array([-1.0, 1e5])], log=True).log
    mixed = limits.robust_limits([np.append(np.geomspace(1, 100, 99), -1.0)], log=True)
    assert mixed.log and mixed.below and mixed.low > 0.1


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("width", [1.001, 1.1, 1.9, 3, 10, 30, 1e3, 1e6, 1e30, 1e300])
@pytest.mark.parametrize("low", [1e-150, 0.3, 1.0, 7e7])
def test_ticks_are_few_and_round(low, width, log):
    found = limits.ticks(low, low * width, log)
    assert 2 <= len(found) <= 6 and found == sorted(set(found))
    slack = 1e-6 * (low if log else low * width)
    assert low - slack <= found[0] and found[-1] <= low * width * (1 + 1e-6)
