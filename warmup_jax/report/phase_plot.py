"""Phase diagrams: maps over peak rate x warmup length, one row of maps for each facet."""

import math
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from warmup_jax.report import phase_analysis
from warmup_jax.report.phase_analysis import Outcome, Sweep
from warmup_jax.report.plots import DPI, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

__all__ = ["DPI", "MOST_FACETS", "draw", "seeds_text"]

MOST_FACETS = 12
ACROSS = 3  # maps side by side for one facet; with more facets each has a row of its own
HATCHES = {"stuck": "//", "diverged": "xxx"}
MEANINGS = {"stuck": "stuck: finite, not trained", "diverged": "diverged: loss or gradient not finite"}
INK, EMPTY, BOUNDARY = "0.35", "0.85", "tab:red"


class Map(NamedTuple):
    """A quantity of the runs to draw.

    title: of the map.
    value: outcome of a run -> the quantity.
    colors: name of a colormap.
    limits: of the colors; None: the range of the values, on a logarithmic scale where it is wide.
    trained_only: True to take that range from cells that trained, because failed runs can have any value.
    """

    title: str
    value: Callable[[Outcome], float]
    colors: str
    limits: tuple[float, float] | None
    trained_only: bool = False


MAPS = (
    Map("final train loss", lambda o: math.inf if o.state == "diverged" else o.train_loss, "viridis", None),
    Map("final test error", lambda o: math.inf if o.state == "diverged" else 1 - o.test_accuracy, "viridis", None),
    Map("share of seeds that trained", lambda o: float(o.state == "trained"), "Greens", (0, 1)),
    Map("initial sharpness", lambda o: o.sharpness[0], "magma", None),
    Map("sharpness at the end of the warmup", lambda o: o.sharpness[1], "magma", None, trained_only=True),
)


def draw(sweep: Sweep) -> "Figure | None":
    """Draws the maps of a sweep that have finite values.

    A value is the median over seeds, with inf for a diverged run, except that the share is a mean. The hatching of a
    cell shows the state of most of its seeds. The line runs above the median of the largest rates that train.

    Returns:
      A matplotlib figure; None if there are more than `MOST_FACETS` facets.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    if len(sweep.facets) > MOST_FACETS:
        return None
    cells, readings = phase_analysis.cells(sweep), phase_analysis.boundary(sweep)
    drawn = [(drawing, grids) for drawing in MAPS if np.isfinite(grids := _grids(sweep, cells, drawing)).any()]
    facets = len(sweep.facets)
    columns = len(drawn) if facets > 1 else min(ACROSS, len(drawn))
    rows = facets if facets > 1 else math.ceil(len(drawn) / columns)
    width = max(3.6, 1.6 + 0.42 * len(sweep.rates))
    height = max(2.2, 1.0 + 0.34 * len(sweep.lengths))
    figure = Figure(figsize=(width * columns, height * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    places = axes.T if facets > 1 else axes.reshape(-1, 1)  # [maps, facets]
    for axis in places[len(drawn) :].flat:
        axis.axis("off")
    for number, ((drawing, grids), row) in enumerate(zip(drawn, places)):
        norm = _norm(drawing, grids, _trained(sweep, cells))
        for axis, grid, facet in zip(row, grids, sweep.facets):
            image = _draw_map(axis, sweep, grid, drawing, norm)
            _mark(axis, sweep, facet, cells)
            _draw_boundary(axis, sweep, facet, readings)
            if number % columns == 0:
                axis.set_ylabel("\n".join(filter(None, [printable(facet), "warmup [updates]"])))
        row[0].set_title(
            drawing.title if drawing.limits else f"{drawing.title}\n(median of {seeds_text(sweep)})", fontsize="medium"
        )
        row[-1].set_xlabel("peak learning rate (log)")
        bar = figure.colorbar(image, ax=list(row), shrink=0.9, extend="both" if drawing.trained_only else "neither")
        bar.ax.tick_params(labelsize="small")
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
    _legend(figure)
    return figure


def seeds_text(sweep: Sweep) -> str:
    """Returns the number of seeds in words, as "3 seeds"."""
    return f"{len(sweep.seeds)} seed{'s' * (len(sweep.seeds) > 1)}"


def _grids(sweep: Sweep, cells: dict, drawing: Map) -> np.ndarray:
    """Returns the value of every cell, [facets, lengths, rates]; nan where there is none."""
    reduce = statistics.fmean if drawing.limits else statistics.median

    def value(*place: Any) -> float:
        values = [value for outcome in cells.get(place, ()) if not math.isnan(value := drawing.value(outcome))]
        return reduce(values) if values else math.nan

    return np.array(
        [[[value(facet, length, rate) for rate in sweep.rates] for length in sweep.lengths] for facet in sweep.facets]
    )


def _trained(sweep: Sweep, cells: dict) -> np.ndarray:
    """Returns True for a cell of which most seeds trained, [facets, lengths, rates]."""

    def most(*place: Any) -> bool:
        states = [outcome.state for outcome in cells.get(place, ())]
        return 2 * states.count("trained") > len(states)

    return np.array(
        [[[most(facet, length, rate) for rate in sweep.rates] for length in sweep.lengths] for facet in sweep.facets]
    )


def _norm(drawing: Map, grids: np.ndarray, trained: np.ndarray) -> "Normalize":
    """Returns one color scale for all facets: logarithmic for positive values that span more than a factor of 30."""
    from matplotlib.colors import LogNorm, Normalize

    values = grids[np.isfinite(grids)]
    if drawing.trained_only and np.isfinite(grids[trained]).any():
        values = grids[trained & np.isfinite(grids)]
    if drawing.limits is None and values.min() > 0 and values.max() > 30 * values.min():
        return LogNorm(values.min(), values.max())
    return Normalize(*(drawing.limits or (values.min(), values.max())))


def _draw_map(axis: "Axes", sweep: Sweep, grid: np.ndarray, drawing: Map, norm: "Normalize") -> "QuadMesh":
    """Draws the colors of one map; returns the image."""
    from matplotlib import colormaps

    places, edges = _positions(sweep.rates)
    axis.set_facecolor(EMPTY)
    axis.set_xticks(places, [f"{rate:g}" for rate in sweep.rates], rotation=45, ha="right", fontsize="small")
    axis.set_yticks(range(len(sweep.lengths)), [str(length) for length in sweep.lengths], fontsize="small")
    return axis.pcolormesh(
        edges,
        np.arange(len(sweep.lengths) + 1) - 0.5,
        np.ma.masked_invalid(grid),
        cmap=colormaps[drawing.colors],
        norm=norm,
    )


def _draw_boundary(axis: "Axes", sweep: Sweep, facet: str, readings: dict) -> None:
    """Draws a line above the median of the largest rates that train, at the edge of the grid if none or all train."""
    _, edges = _positions(sweep.rates)
    corners = [
        (edges[phase_analysis.median_index(readings[facet, length]) + 1], row + half)
        for row, length in enumerate(sweep.lengths)
        if (facet, length) in readings
        for half in (-0.5, 0.5)
    ]
    axis.plot(*zip(*corners), color=BOUNDARY, linewidth=2.5, clip_on=False)


def _mark(axis: "Axes", sweep: Sweep, facet: str, cells: dict) -> None:
    """Hatches the cells of which at most half of the seeds trained, by the more frequent failure of the others."""
    from matplotlib.patches import Rectangle

    _, edges = _positions(sweep.rates)
    for row, length in enumerate(sweep.lengths):
        for column, rate in enumerate(sweep.rates):
            states = [outcome.state for outcome in cells.get((facet, length, rate), ())]
            if states and 2 * states.count("trained") <= len(states):
                state = "diverged" if states.count("diverged") >= states.count("stuck") else "stuck"
                axis.add_patch(
                    Rectangle(
                        (edges[column], row - 0.5),
                        edges[column + 1] - edges[column],
                        1,
                        fill=False,
                        linewidth=0,
                        edgecolor=INK,
                        hatch=HATCHES[state],
                    )
                )


def _positions(rates: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions of the rates and of the borders between them on a log2 axis; 0 counts as half the lowest."""
    logs = [math.log2(rate) for rate in rates if rate > 0]
    places = np.array([(logs[0] if logs else 1.0) - 1] * (len(rates) - len(logs)) + logs)
    gaps = np.diff(places) if places.size > 1 else np.ones(1)
    padded = np.concatenate([places[:1] - gaps[0], places, places[-1:] + gaps[-1]])
    return places, (padded[1:] + padded[:-1]) / 2


def _legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=BOUNDARY, linewidth=2.5, label="largest rate that trains (median of seeds)")
    ]
    handles += [
        Patch(facecolor="white", edgecolor=INK, hatch=HATCHES[state], label=MEANINGS[state]) for state in HATCHES
    ]
    handles.append(Patch(facecolor=EMPTY, label="no finite value"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
