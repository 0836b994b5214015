"""One panel of a picture: curves of one metric, its axes, and marks for what they cannot show."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from warmup_jax import pictures
from warmup_jax.pictures import Look
from warmup_jax.report import groups, labels, limits
from warmup_jax.report.groups import Band, Line
from warmup_jax.report.limits import Limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW, FEWER = 20, 8  # points of a curve that are all marked, and of one of many curves
MARKED = 6  # points of a longer curve that are marked, so that it can be told apart without its color
MOST_MARKED = 60  # points of a curve from which on its marks would look like data
DENSE = 20_000  # points of a panel from which on a .svg holds them as pixels
MOST_CLIPPED = 5  # marks of a curve that leaves the axis again and again
BEYOND = "▲ ▼ values beyond the axis"
DIVERGED = "✕ first update that was not finite"


def limits_of(lines: Sequence[Line], metrics: Sequence[str]) -> Limits:
    """Returns the limits of the axis of one or several metrics that are alike.

    Runs that diverged do not decide about them if others did not, except for the learning rate, which they do not
    change. Its axis is linear, so that a linear warmup is a straight line.
    """
    scale = labels.scaled(metrics[0])
    healthy, others = [], []
    for line in lines:
        for member, diverged in zip(line.members, line.diverged, strict=True):
            for metric in metrics:
                if metric in member:
                    values = member[metric][1] * scale
                    (healthy if diverged is None else others).append(values)
    log: bool | None = None if labels.label(metrics[0]).log else False
    if metrics[0] == "opt/learning_rate":
        others, healthy, log = [], healthy + others, False
    return limits.robust_limits(healthy, others, log)


def draw(
    axis: "Axes",
    lines: Sequence[tuple[Line, Look]],
    metric: str,
    limit: Limits,
    end: float,
    reference: tuple[float, str] | None = None,
    numbers: tuple[bool, bool] = (True, True),
) -> list[str]:
    """Draws a metric of some lines into a panel.

    Args:
      axis: the panel.
      lines: each with its look; the first lies lowest.
      metric: its name in the log.
      limit: of the vertical axis.
      end: the last update of any line, which all panels share.
      reference: (value, name) of a horizontal line; its name is among the sentences.
      numbers: whether the horizontal and the vertical axis have numbers; without, the panel shares those of another.

    Returns:
      The sentences that explain what the panel uses, for a footnote.
    """
    scale, notes, points = labels.scaled(metric), [], 0
    axis.set_yscale("log" if limit.log else "linear")
    axis.set(xlim=(-0.02 * end, 1.02 * end), ylim=(limit.low, limit.high))
    updates = [tick for tick in limits.ticks(0, end, log=False) if tick == round(tick)]
    for name, ticks, numbered in zip(
        "xy", (updates, limits.ticks(limit.low, limit.high, limit.log)), numbers, strict=True
    ):
        (pictures.set_ticks if numbered else pictures.set_grid)(axis, name, ticks)
    for index, (line, look) in enumerate(lines):
        if metric == "train/loss" or metric.startswith("diag/"):
            notes += _diverged(axis, line, metric, limit, look)
        for band in (groups.band(each, metric) for each in groups.curves(line)):
            if not len(band.steps):
                continue
            band = Band(band.steps, *(values * scale for values in band[1:]))
            points += len(band.steps)
            if len(line.members) >= groups.BAND:
                axis.fill_between(band.steps, band.low, band.high, color=look.color, alpha=0.18, linewidth=0, zorder=2)
            marker = look.marker or ("o" if len(band.steps) < FEWER else "")
            axis.plot(
                band.steps,
                band.middle,
                color=look.color,
                linestyle=look.dashes,
                linewidth=look.width,
                marker=marker if len(band.steps) <= MOST_MARKED else "",
                markersize=2.2 + look.width if look.marker else 2.4,
                markeredgewidth=0,
                markevery=_marked(len(band.steps), index, len(lines)),
                zorder=3,
            )
            notes += _beyond(axis, band, limit, look)
    if points > DENSE:
        axis.set_rasterization_zorder(4)
    if reference is not None and limit.low < reference[0] < limit.high:
        axis.axhline(reference[0], color=pictures.GREY, linewidth=1.2, linestyle=":", zorder=5)
        notes.append(f"dotted grey line: {reference[1]}")  # a name on the line would lie on curves
    return notes


def _marked(points: int, index: int, lines: int) -> tuple[int, int]:
    """Returns (first, every) of the points of a curve that have a marker, at other places for each curve."""
    if points < FEW:
        return 0, 1
    every = points // MARKED
    return every * (2 * index + 1) // (2 * max(lines, 1)), every


def _beyond(axis: "Axes", band: Band, limit: Limits, look: Look) -> list[str]:
    """Marks where a curve leaves the axis, by a triangle at the edge."""
    notes = []
    for outside, marker, edge in (
        (band.middle > limit.high, "^", limit.high),
        (band.middle < limit.low, "v", limit.low),
    ):
        starts = np.flatnonzero(outside & ~np.append(False, outside[:-1]))[:MOST_CLIPPED]
        if starts.size:
            _mark(axis, band.steps[starts], np.full(starts.size, edge), marker, look)
            notes.append(BEYOND)
    return notes


def _diverged(axis: "Axes", line: Line, metric: str, limit: Limits, look: Look) -> list[str]:
    """Marks the divergence of each run at the upper edge, as what a broken model still measures means nothing."""
    marks = []
    for member, diverged in zip(line.members, line.diverged, strict=True):
        if diverged is None:
            continue
        steps, values = member.get(metric, (np.empty(0), np.empty(0)))
        if metric == "train/loss" or (np.isfinite(values) & (steps <= diverged)).any():
            marks.append((diverged, limit.high))
    if marks:
        _mark(axis, *zip(*marks, strict=True), "x", look)
    return [DIVERGED] if marks else []


def _mark(
    axis: "Axes", steps: Sequence[float] | np.ndarray, values: Sequence[float] | np.ndarray, marker: str, look: Look
) -> None:
    axis.plot(
        steps,
        values,
        linestyle="none",
        marker=marker,
        markersize=6.5 if look.marker else 4.5,
        markeredgewidth=(2.0 if look.marker else 1.4) if marker == "x" else 0.6,
        markeredgecolor=look.color if marker == "x" else "white",
        color=look.color,
        clip_on=False,
        zorder=6,
    )
