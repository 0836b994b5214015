"""One panel: its axes, bands, and the marks for what it cannot show."""

import math

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from warmup_jax import pictures
from warmup_jax.report import groups, panels
from warmup_jax.report.limits import robust_limits

STEPS = np.arange(1, 101)


def line(*curves, diverged=(), steps=STEPS, metric="train/loss", **setting):
    ends = [*diverged, *[None] * len(curves)][: len(curves)]
    return groups.Line("", setting, [{metric: (steps, np.asarray(values, float))} for values in curves], ends)


def draw(lines, metric="train/loss", **kwargs):
    axis = Figure().add_subplot()
    with pictures.style():
        looks = pictures.looks(len(lines))
        limit = panels.limits_of(lines, [metric])
        notes = panels.draw(axis, list(zip(lines, looks, strict=True)), metric, limit, 100, **kwargs)
    return axis, notes


def marks(axis, marker):
    return [line.get_xydata().tolist() for line in axis.lines if line.get_marker() == marker and line.zorder == 6]


def test_a_diverged_run_is_clipped_and_marked():
    healthy, sick = np.linspace(2.3, 0.5, 100), np.append(np.geomspace(2.3, 1e30, 12), np.full(88, np.nan))
    axis, notes = draw([line(healthy), line(sick, diverged=[13])])
    assert axis.get_ylim()[1] < 10 and notes == [panels.DIVERGED, panels.BEYOND]
    (above,), (end,) = marks(axis, "^"), marks(axis, "x")
    top = axis.get_ylim()[1]
    assert above == [[2, top]] and end == [[13, top]]


def test_the_mark_of_a_run_that_broke_is_at_the_upper_edge():
    fell = np.append(np.linspace(90, 0, 12), np.full(88, np.nan))
    axis, _ = draw([line(fell, diverged=[13], metric="diag/a")], "diag/a")
    assert marks(axis, "x") == [[[13, axis.get_ylim()[1]]]]


def test_all_diverged_and_nothing_finite():
    nothing = np.full(100, np.nan)
    axis, notes = draw([line(nothing, nothing, diverged=[1, 7])])
    assert panels.DIVERGED in notes and [point[0] for point in marks(axis, "x")[0]] == [1, 7]
    assert draw([line(nothing, metric="diag/a")], "diag/a")[1] == []


def test_a_band_is_the_extent_of_the_seeds_that_did_not_diverge():
    found = groups.band(
        line(STEPS, 3 * STEPS, 2 * STEPS, np.full(100, 1e9), diverged=[None, None, None, 50]), "train/loss"
    )
    np.testing.assert_allclose([found.low, found.middle, found.high], [STEPS, 2 * STEPS, 3 * STEPS])
    every = groups.band(line(STEPS, 3 * STEPS, diverged=[9, 9]), "train/loss")
    np.testing.assert_allclose(every.middle, 2 * STEPS)


def test_two_seeds_are_drawn_singly():
    for seeds, drawn, bands in ((2, 2, 0), (3, 1, 1)):
        axis, _ = draw([line(*(STEPS + seed for seed in range(seeds)))])
        found = [each for each in axis.collections if isinstance(each, PolyCollection)]
        assert len(axis.lines) == drawn and len(found) == bands


def test_a_long_curve_has_no_marks_that_look_like_data():
    for points, marker in ((panels.MOST_MARKED, "o"), (panels.MOST_MARKED + 1, "")):
        lines = [line(np.ones(points), steps=np.arange(points)), line(np.ones(points), steps=np.arange(points))]
        drawn = draw(lines)[0].lines
        assert drawn[0].get_marker() == marker and drawn[0].get_linestyle() != drawn[1].get_linestyle()


def test_a_band_needs_half_of_the_seeds_at_a_step():
    curves = [np.where(STEPS <= last, 1.0, np.nan) for last in (10, 20, 30, 40)]
    assert groups.band(line(*curves), "train/loss").steps.tolist() == list(range(1, 31))
    other = groups.Line(
        "", {}, [{"a": (np.array([1, 3]), np.ones(2))}, {"a": (np.array([2, 3]), np.ones(2))}, {}], [None] * 3
    )
    assert groups.band(other, "a").steps.tolist() == [1, 2, 3]
    assert len(groups.band(other, "b").steps) == 0


def test_the_loss_has_readable_ticks():
    for low, high in ((2.0, 2.6), (0.3, 3.0), (0.01, 2.3), (1e-8, 1e3)):
        axis, _ = draw([line(np.geomspace(high, low, 100))])
        names = [text.get_text() for text in axis.get_yticklabels()]
        assert 2 <= len(names) <= 6 and len(set(names)) == len(names) and all(names)
        assert axis.get_yscale() == ("log" if high > 20 * low else "linear")


def test_values_below_0_on_a_logarithmic_axis_are_marked():
    values = np.append(np.geomspace(1, 1e4, 98), [-3.0, 0.0])
    axis, notes = draw([line(values, metric="diag/noise_squared_norm")], "diag/noise_squared_norm")
    assert axis.get_yscale() == "log" and notes == [panels.BEYOND]
    assert marks(axis, "v") == [[[99, axis.get_ylim()[0]]]]


def test_a_linear_warmup_is_a_straight_line():
    ramps = [line(np.minimum(1, STEPS / 50) * peak, metric="opt/learning_rate") for peak in (0.01, 0.02, 1.0)]
    axis, notes = draw(ramps, "opt/learning_rate")
    assert axis.get_yscale() == "linear" and axis.get_ylim()[1] > 1 and notes == []


@pytest.mark.parametrize("end", [1, 2, 7, 10**9])
def test_there_are_no_half_updates(end):
    axis = Figure().add_subplot()
    steps = np.array([end])
    one = line([1.0], steps=steps)
    panels.draw(axis, [(one, pictures.looks(1)[0])], "train/loss", robust_limits([np.ones(1)]), end)
    ticks = axis.get_xticks()
    assert 2 <= len(ticks) <= 6 and all(ticks == np.round(ticks)) and axis.get_xlim()[0] < 0 < end < axis.get_xlim()[1]
    assert all(len(text.get_text()) <= 5 for text in axis.get_xticklabels())


def test_shares_are_in_percent():
    axis, _ = draw([line(STEPS / 100, metric="eval/accuracy")], "eval/accuracy")
    assert axis.lines[0].get_ydata()[-1] == 100


def test_a_reference_is_drawn_where_the_axis_reaches():
    values = np.linspace(0.5, 2, 100)
    axis, notes = draw([line(values)], reference=(1.0, "edge"))
    assert notes == ["dotted grey line: edge"] and axis.lines[-1].get_ydata() == [1, 1]
    axis, notes = draw([line(values)], reference=(1e9, "edge"))
    assert notes == [] and len(axis.lines) == 1


def test_dense_panels_are_pixels_in_an_svg():
    many = [line(np.ones(10_001), steps=np.arange(10_001)) for _ in range(3)]
    assert draw(many[:1])[0].get_rasterization_zorder() is None
    assert draw(many)[0].get_rasterization_zorder() > 3
    assert math.isfinite(draw(many)[0].get_ylim()[0])
