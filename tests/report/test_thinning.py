"""Thinned curves keep what a picture shows."""

import numpy as np
import pytest

from warmup_jax.report.thinning import thin


@pytest.mark.parametrize("points", [0, 1, 6, 30])
def test_a_short_curve_stays_whole(points):
    assert thin(np.arange(points), np.ones(points), 30).tolist() == list(range(points))


def test_the_lowest_and_the_highest_of_every_pixel_stay():
    rng = np.random.default_rng(0)
    steps, values = np.arange(0, 30_000, 3), rng.normal(size=10_000)
    values[[17, 4321]] = 1e9, -1e9
    kept = thin(steps, values, 200)
    assert len(kept) <= 200 and (np.diff(kept) > 0).all() and {17, 4321} <= set(kept)
    for part in np.array_split(np.arange(10_000), 100):
        inside = kept[(kept >= part[0]) & (kept <= part[-1])]
        assert values[inside].min() == values[part].min() and values[inside].max() == values[part].max()


def test_a_gap_stays_a_gap():
    values = np.ones(1000)
    values[400:500] = np.nan
    kept = thin(np.arange(1000), values, 60)
    finite = np.isfinite(values[kept])
    assert not finite.all() and finite[kept < 400].all() and finite[kept >= 500].all()
    assert not finite[(kept >= 400) & (kept < 500)].any()


def test_steps_that_are_uneven_or_all_the_same():
    steps = np.sort(np.random.default_rng(0).integers(0, 2**62, 1000))
    assert 0 < len(thin(steps, np.arange(1000.0), 90)) <= 90
    assert len(thin(np.zeros(1000, int), np.arange(1000.0), 90)) == 2
    assert len(thin(np.arange(1000), np.full(1000, np.nan), 90)) == 30
