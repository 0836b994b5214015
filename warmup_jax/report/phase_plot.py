"""Phase diagrams: maps over peak rate x warmup length, one row of maps for each facet."""

import itertools
import math
import statistics
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from warmup_jax import pictures
from warmup_jax.pictures import Grid
from warmup_jax.report import labels, limits, phase_analysis
from warmup_jax.report.phase_analysis import STATES, Outcome, Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

__all__ = ["MOST_FACETS", "draw", "seeds_text"]

MOST_FACETS = 12
ACROSS = 2  # maps side by side for one facet; with more facets each has a row of its own
MOST_MARKS = 9  # seeds of a cell that have a mark each; of more, the share that trained is written
ALIKE = 0.02  # a map is left out where all its cells are within this of one another: it would be of one color
MOST_TICKS = 10
# State of a run -> color of a cell, marker of a seed, meaning.
LOOKS = {
    "trained": ("#56B4E9", "o", "trained"),
    "stuck": ("#F0E442", "s", "stuck: finite, not trained"),
    "diverged": ("#D55E00", "x", "diverged: loss or gradient not finite"),
}
LIGHT = 0.55  # share of white in the color of a cell, so that marks stand out
EMPTY, BOUNDARY = "0.88", "black"
FONT = 8.5


class Map(NamedTuple):
    """A quantity of the runs to draw.

    title: of the map.
    value: outcome of a run -> the quantity.
    colors: name of a colormap.
    trained_only: True to take the range of colors from cells that trained, because failed runs can have any value.
    """

    title: str
    value: Callable[[Outcome], float]
    colors: str
    trained_only: bool = False


MAPS = (
    Map("Final train loss", lambda o: math.inf if o.state == "diverged" else o.train_loss, "viridis"),
    Map(
        "Final test error [%]", lambda o: math.inf if o.state == "diverged" else 100 * (1 - o.test_accuracy), "viridis"
    ),
    Map("Initial sharpness", lambda o: o.sharpness[0], "magma"),
    Map("Sharpness at the end of the warmup", lambda o: o.sharpness[1], "magma", trained_only=True),
)


def draw(sweep: Sweep, headline: str = "") -> "Figure | None":
    """Draws which runs of a sweep trained, were stuck or diverged, and maps of what they reached.

    The first map has a mark for each seed in a cell and the color of most of them. The others show the median over
    seeds, with inf for a diverged run, and the mark of a cell of which at most half of the seeds trained. Maps without
    finite values, or with one value everywhere, are left out. The line runs above the median of the largest rates that
    train.

    Args:
      sweep: what to draw.
      headline: what was trained, below the title.

    Returns:
      A matplotlib figure; None if there are more than `MOST_FACETS` facets.
    """
    from matplotlib.figure import Figure

    if len(sweep.facets) > MOST_FACETS:
        return None
    readings = phase_analysis.boundary(sweep)
    ended = [outcome for outcome in sweep.outcomes if outcome.state in STATES]
    cells = phase_analysis.cells(sweep._replace(outcomes=ended))
    drawn = [(drawing, grids) for drawing in MAPS if _informative(grids := _grids(sweep, cells, drawing))]
    facets = len(sweep.facets)
    columns = len(drawn) + 1 if facets > 1 else min(ACROSS, len(drawn) + 1)
    rows = facets if facets > 1 else math.ceil((len(drawn) + 1) / columns)
    grid = _grid(sweep, rows, columns)
    trained = _trained(sweep, cells)
    with pictures.style():
        figure = Figure(figsize=grid.size())
        for (number, each), (facet_number, facet) in itertools.product(
            enumerate([None, *drawn]), enumerate(sweep.facets)
        ):
            row, column = (facet_number, number) if facets > 1 else divmod(number, columns)
            axis = figure.add_axes(grid.panel(row, column))
            _set_axes(axis, sweep)
            if each is None:
                _draw_outcomes(axis, sweep, facet, cells)
                title = f"Outcome of {'each seed' if len(sweep.seeds) > 1 else 'each run'}"
            else:
                drawing, grids = each
                image = _draw_values(axis, sweep, grids[facet_number], drawing, _norm(drawing, grids, trained))
                _mark_failures(axis, sweep, facet, cells)
                _add_bar(figure, image, grid, row, column, drawing)
                title = drawing.title
            _draw_boundary(axis, sweep, facet, readings)
            if row == 0 or facets == 1:
                axis.set_title(title)
            if column == 0:
                axis.set_ylabel("warmup [updates]")
            if row == rows - 1 or facets == 1 and number + columns > len(drawn):
                axis.set_xlabel("peak learning rate")
            if column == 0 and facet:
                _name_facet(axis, facet)
        _surround(figure, grid, sweep, headline)
    return figure


def seeds_text(sweep: Sweep) -> str:
    """Returns the number of seeds in words, as "3 seeds"."""
    return f"{len(sweep.seeds)} seed{'s' * (len(sweep.seeds) > 1)}"


def _grid(sweep: Sweep, rows: int, columns: int) -> Grid:
    """Returns the places of the maps: cells grow with the figure's room, but hold their marks."""
    width = min(max(3.2, 0.5 * len(sweep.rates)), 8.0)
    height = min(max(1.9, 0.38 * len(sweep.lengths)), 6.0)
    return Grid(
        rows=rows,
        columns=columns,
        width=width,
        height=height,
        across=width + 1.35,
        above=0.62,
        left=1.0 + 0.25 * any(sweep.facets),
        right=0.95,
        top=0.32,
        bottom=1.2,
    )


def _grids(sweep: Sweep, cells: dict, drawing: Map) -> np.ndarray:
    """Returns the median over seeds of every cell, [facets, lengths, rates]; nan where there is none."""

    def value(*place: Any) -> float:
        values = [value for outcome in cells.get(place, ()) if not math.isnan(value := drawing.value(outcome))]
        return statistics.median(values) if values else math.nan

    return np.array(
        [[[value(facet, length, rate) for rate in sweep.rates] for length in sweep.lengths] for facet in sweep.facets]
    )


def _informative(grids: np.ndarray) -> bool:
    """Returns True if a map has values that differ, or a single cell with a value."""
    values = grids[np.isfinite(grids)]
    if not values.size:
        return False
    return grids.size == 1 or float(np.ptp(values)) > ALIKE * float(np.abs(values).max())


def _some_trained(sweep: Sweep) -> bool:
    return any(outcome.state == "trained" for outcome in sweep.outcomes)


def _trained(sweep: Sweep, cells: dict) -> np.ndarray:
    """Returns True for a cell of which most seeds trained, [facets, lengths, rates]."""
    return np.array(
        [
            [
                [phase_analysis.cell_state(cells.get((facet, length, rate), ())) == "trained" for rate in sweep.rates]
                for length in sweep.lengths
            ]
            for facet in sweep.facets
        ]
    )


def _norm(drawing: Map, grids: np.ndarray, trained: np.ndarray) -> "Normalize":
    """Returns one color scale for all facets: logarithmic for positive values that span more than a factor of 30."""
    from matplotlib.colors import LogNorm, Normalize

    values = grids[np.isfinite(grids)]
    if drawing.trained_only and np.isfinite(grids[trained]).any():
        values = grids[trained & np.isfinite(grids)]
    if values.min() > 0 and values.max() > 30 * values.min():
        return LogNorm(values.min(), values.max())
    return Normalize(values.min(), values.max())


def _set_axes(axis: "Axes", sweep: Sweep) -> None:
    """Sets the range of a map, and the values of its rows and columns as ticks."""
    edges = _positions(sweep.rates)[1]
    places = (edges[1:] + edges[:-1]) / 2  # of the labels: the middle of a cell, where its mark is
    axis.set_facecolor(EMPTY)
    axis.grid(False)
    for side in axis.spines.values():
        side.set_visible(False)
    axis.tick_params(length=0)
    axis.set(xlim=(edges[0], edges[-1]), ylim=(-0.5, len(sweep.lengths) - 0.5))
    room = (edges[-1] - edges[0]) / MOST_TICKS  # a label needs it, or it would touch the one before
    shown, last = [], -math.inf
    for place, name in zip(places, labels.short_values(sweep.rates, "peak_lr"), strict=True):
        if place - last >= 0.8 * room:
            shown.append((place, pictures.printable(name, 8)))
            last = place
    pictures.set_ticks(axis, "x", [place for place, _ in shown], dict(shown))
    step = math.ceil(len(sweep.lengths) / 24)
    rows = range(0, len(sweep.lengths), step)
    pictures.set_ticks(axis, "y", list(rows), {row: pictures.number_text(sweep.lengths[row]) for row in rows})


def _draw_outcomes(axis: "Axes", sweep: Sweep, facet: str, cells: dict) -> None:
    """Draws the state of each cell as a color, and that of each of its seeds as a mark."""
    from matplotlib.colors import ListedColormap

    states = [
        [phase_analysis.cell_state(cells.get((facet, length, rate), ())) for rate in sweep.rates]
        for length in sweep.lengths
    ]
    pale = [_pale(state) for state in STATES]
    numbers = np.array([[STATES.index(state) if state else math.nan for state in row] for row in states])
    places, edges = _positions(sweep.rates)
    axis.pcolormesh(
        edges,
        np.arange(len(sweep.lengths) + 1) - 0.5,
        np.ma.masked_invalid(numbers),
        cmap=ListedColormap(pale),
        vmin=-0.5,
        vmax=len(STATES) - 0.5,
        edgecolor="white",
        linewidth=0.8,
    )
    widths = np.diff(edges)
    marks: dict[str, list[tuple[float, float]]] = {state: [] for state in STATES}
    for (row, length), (column, rate) in itertools.product(enumerate(sweep.lengths), enumerate(sweep.rates)):
        outcomes = sorted(cells.get((facet, length, rate), ()), key=lambda outcome: outcome.seed)
        if len(outcomes) > MOST_MARKS:
            share = sum(outcome.state == "trained" for outcome in outcomes) / len(outcomes)
            middle = edges[column] + widths[column] / 2
            axis.text(middle, row, f"{100 * share:.0f}%", ha="center", va="center", fontsize=7)
            continue
        across = math.ceil(math.sqrt(len(outcomes))) if len(outcomes) > 3 else max(len(outcomes), 1)
        down = math.ceil(len(outcomes) / across)
        for number, outcome in enumerate(outcomes):
            x = edges[column] + widths[column] * (number % across + 0.75) / (across + 0.5)
            y = row - 0.5 + (number // across + 0.75) / (down + 0.5)
            marks[outcome.state].append((x, y))
    for state, points in marks.items():
        if points:
            axis.plot(*zip(*points, strict=True), **_mark(state, 4.2))


def _pale(state: str) -> tuple[float, ...]:
    """Returns the color of a cell of which most seeds are in a state."""
    from matplotlib.colors import to_rgb

    return tuple(LIGHT + (1 - LIGHT) * part for part in to_rgb(LOOKS[state][0]))


def _mark(state: str, size: float) -> dict[str, Any]:
    """Returns the marker of a state: a cross is drawn by its edge, the others are filled."""
    color, marker, _ = LOOKS[state]
    dark = {"trained": "#0072B2", "stuck": "#8A7A00"}.get(state, color)
    line = {"markeredgewidth": 1.8, "markeredgecolor": dark} if marker == "x" else {"markeredgewidth": 0}
    return {"linestyle": "none", "marker": marker, "markersize": size, "color": dark, **line}


def _draw_values(axis: "Axes", sweep: Sweep, grid: np.ndarray, drawing: Map, norm: "Normalize") -> "QuadMesh":
    """Draws the colors of one map; returns the image."""
    from matplotlib import colormaps

    return axis.pcolormesh(
        _positions(sweep.rates)[1],
        np.arange(len(sweep.lengths) + 1) - 0.5,
        np.ma.masked_invalid(grid),
        cmap=colormaps[drawing.colors],
        norm=norm,
        edgecolor="white",
        linewidth=0.8,
    )


def _mark_failures(axis: "Axes", sweep: Sweep, facet: str, cells: dict) -> None:
    """Marks the cells of which at most half of the seeds trained, by the more frequent failure of the others."""
    _, edges = _positions(sweep.rates)
    for state in ("stuck", "diverged"):
        points = [
            ((edges[column] + edges[column + 1]) / 2, row)
            for row, length in enumerate(sweep.lengths)
            for column, rate in enumerate(sweep.rates)
            if phase_analysis.cell_state(cells.get((facet, length, rate), ())) == state
        ]
        if points:
            halo = _mark(state, 5.5) | {"color": "white", "markeredgecolor": "white", "markersize": 7.5}
            axis.plot(*zip(*points, strict=True), **halo | ({"markeredgewidth": 3.6} if state == "diverged" else {}))
            axis.plot(*zip(*points, strict=True), **_mark(state, 5.5))


def _draw_boundary(axis: "Axes", sweep: Sweep, facet: str, readings: dict) -> None:
    """Draws a line above the median of the largest rates that train, at the edge of the grid if all or none train.

    It has a gap where the rate is not known yet, and is left out if no run trains at all.
    """
    from matplotlib.patheffects import Normal, Stroke

    _, edges = _positions(sweep.rates)
    indices = [
        phase_analysis.median_index(readings[facet, length]) if (facet, length) in readings else None
        for length in sweep.lengths
    ]
    if all(index is None for index in indices) or not _some_trained(sweep):
        return
    corners = [
        (math.nan if index is None else edges[index + 1], row + half)
        for row, index in enumerate(indices)
        for half in (-0.5, 0.5)
    ]
    halo = [Stroke(linewidth=4.5, foreground="white"), Normal()]
    axis.plot(*zip(*corners, strict=True), color=BOUNDARY, linewidth=2.2, clip_on=False, zorder=5, path_effects=halo)


def _positions(rates: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions of the rates and of the borders between them on a log2 axis; 0 counts as half the lowest."""
    logs = [math.log2(rate) for rate in rates if rate > 0]
    places = np.array([(logs[0] if logs else 1.0) - 1] * (len(rates) - len(logs)) + logs)
    gaps = np.diff(places) if places.size > 1 else np.ones(1)
    padded = np.concatenate([places[:1] - gaps[0], places, places[-1:] + gaps[-1]])
    return places, (padded[1:] + padded[:-1]) / 2


def _add_bar(figure: "Figure", image: "QuadMesh", grid: Grid, row: int, column: int, drawing: Map) -> None:
    """Adds a color bar to the right of a map."""
    left, bottom, width, height = grid.panel(row, column)
    axis = figure.add_axes((left + width + 0.1 / grid.size()[0], bottom, 0.12 / grid.size()[0], height))
    figure.colorbar(image, cax=axis, extend="both" if drawing.trained_only else "neither", extendfrac=0.04)
    norm = image.norm
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 0.0)
    places = limits.ticks(low, high, type(norm).__name__ == "LogNorm", 5) if high > low else [low]
    pictures.set_ticks(axis, "y", places)
    axis.tick_params(labelsize=FONT, length=2)
    axis.grid(False)


def _name_facet(axis: "Axes", facet: str) -> None:
    """Names a row of maps to its left."""
    axis.annotate(
        pictures.printable(labels.facet(facet)),
        (0, 0.5),
        xytext=(-62, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        rotation=90,
        ha="center",
        va="center",
        fontweight="bold",
        fontsize=10.5,
    )


def _surround(figure: "Figure", grid: Grid, sweep: Sweep, headline: str) -> None:
    """Adds title, legend and the definition of what has trained."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    width, height = grid.size()
    figure.text(
        pictures.MARGIN / width,
        1 - 0.14 / height,
        "Where training works: peak rate x warmup length",
        fontsize=12.5,
        fontweight="bold",
        va="top",
    )
    figure.text(
        pictures.MARGIN / width,
        1 - 0.4 / height,
        pictures.printable(headline, int((width - 0.4) / 0.0665)),
        fontsize=9,
        color=pictures.GREY,
        va="top",
    )
    present = {outcome.state for outcome in sweep.outcomes} & set(STATES)
    named: dict[str, Any] = {
        LOOKS[state][2]: (Patch(facecolor=_pale(state)), Line2D([], [], **_mark(state, 6)))
        for state in STATES
        if state in present
    }
    if len(present) < len({outcome.state for outcome in sweep.outcomes}) or sweep.missing:
        named["not run"] = Patch(facecolor=EMPTY)
    if _some_trained(sweep):
        named["largest rate that trains"] = Line2D([], [], color=BOUNDARY, linewidth=2.2)
    figure.legend(
        named.values(),
        named.keys(),
        loc="lower left",
        bbox_to_anchor=(pictures.MARGIN / width, 0.36 / height),
        ncols=max(1, min(len(named), int(width / 2.5))),
        borderpad=0,
        borderaxespad=0,
        columnspacing=1.6,
        labelspacing=0.25,
    )
    median = f"median of {seeds_text(sweep)} · " if len(sweep.seeds) > 1 else ""
    note = f"{median}trained: final train loss below {sweep.threshold:.4g}, {sweep.reason}"
    for number, text in enumerate(textwrap.wrap(note, int((width - 0.4) / 0.0665))[:2]):
        figure.text(
            pictures.MARGIN / width, (0.3 - 0.15 * number) / height, text, fontsize=8.3, color=pictures.GREY, va="top"
        )
