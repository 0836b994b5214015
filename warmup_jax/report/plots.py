"""Pictures of metrics over updates: curves and diagnostics of the runs of one or several workdirs."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from warmup_jax import pictures
from warmup_jax.pictures import Grid
from warmup_jax.report import groups, labels, panels, run_record
from warmup_jax.report.groups import Arrangement, Line, joint_lines, run_lines
from warmup_jax.report.run_record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "PANELS",
    "TOTALS",
    "curves",
    "diagnostic_panels",
    "diagnostics",
    "draw",
    "joint_lines",
    "references",
    "run_lines",
]

PANELS = ("opt/learning_rate", "train/loss", "eval/accuracy", "eval/bleu")
COLUMNS = 4  # panels side by side
TOTALS = "diagnostics"  # name of the picture of the metrics that are not of a layer
EDGE = (1.0, "edge of stability")
# On the quality and cost of a measurement, not on training: in the log, but not in the pictures.
HIDDEN = {"diag/sharpness_error", "diag/preconditioned_sharpness_error", "diag/critical_rate_passes"}
# Metric -> a value to compare it with, and its name.
REFERENCES = {
    "diag/stability_ratio": EDGE,
    "diag/edge_ratio": EDGE,
    "diag/preconditioned_edge_ratio": EDGE,
    "diag/decrease_ratio": (1.0, "as much as on its own batch"),
}
MOST_NAMES = 16  # labels of a color bar


def curves(workdir: Path | Record) -> Path:
    """Draws rate, train loss and test accuracy (and BLEU) of the runs of a finished workdir; returns the path.

    Args:
      workdir: folder of the run, or its record that was read before.
    """
    record = run_record.read(workdir)
    common = labels.common_rate([record.config])
    figure = draw(run_lines(record), PANELS, labels.headline(record.config), references(record), common=common)
    return pictures.save(figure, record.workdir / "curves.png")


def diagnostics(workdir: Path | Record) -> list[Path]:
    """Draws the diagnostics of a workdir, `diagnostics.png` and by layer `diagnostics_NAME.png`; returns the paths.

    Args:
      workdir: folder of the run, or its record that was read before.
    """
    record, paths = run_record.read(workdir), []
    for name, metrics in diagnostic_panels(record).items():
        sentences = labels.sentences(optimizers(record))
        common = labels.common_rate([record.config])
        figure = draw(run_lines(record), metrics, labels.headline(record.config), references(record), sentences, common)
        path = record.workdir / ("diagnostics.png" if name == TOTALS else f"diagnostics_{name}.png")
        paths.append(pictures.save(figure, path))
    return paths


def diagnostic_panels(record: Record) -> dict[str, list[str]]:
    """Groups the diagnostics by picture: one of all "diag/NAME", and one for each NAME with "diag/NAME/PART".

    Returns:
      {name of the picture: metrics}.
    """
    found: dict[str, list[str]] = {}
    keys = {key for metrics in record.series.values() for key in metrics if key.startswith("diag/")}
    keys -= HIDDEN | repeated(record)
    order = [*labels.LABELS, *(f"diag/{name}" for name in labels.FAMILIES)]
    rank = {name: number for number, name in enumerate(order)}
    for key in sorted(keys, key=lambda key: (key.count("/") > 1, rank.get(key, len(rank)), key)):
        name, _, part = key.removeprefix("diag/").partition("/")
        found.setdefault(name if part else TOTALS, []).append(key)
    return found


def repeated(record: Record) -> set[str]:
    """Returns the metrics that say the same as another of the workdir."""
    args = record.config.get("optimizer_args")
    momentum = args.get("momentum") if isinstance(args, Mapping) else None
    plain = all(run["changes"].get("momentum", momentum) == 0 for run in record.runs)
    return {"diag/edge_ratio"} if plain else set()  # without momentum it is the stability ratio


def optimizers(record: Record) -> list[Any]:
    """Returns the optimizer of each run of a workdir."""
    return [run["changes"].get("optimizer", record.config.get("optimizer")) for run in record.runs]


def references(record: Record) -> dict[str, tuple[float, str]]:
    """Returns the values with which the pictures of a workdir compare its metrics: metric -> (value, name)."""
    uninformed = None if record.summary is None else record.summary["uninformed_loss"]
    no_limits = labels.sentences(optimizers(record))
    return {metric: of for metric, of in REFERENCES.items() if metric not in no_limits} | (
        {} if uninformed is None else {"train/loss": (uninformed, "loss of the best prediction that ignores the input")}
    )


def draw(
    lines: Sequence[Line],
    metrics: Sequence[str],
    headline: str = "",
    references: Mapping[str, tuple[float, str]] = REFERENCES,
    sentences: Mapping[str, str] | None = None,
    common: str = "",
) -> "Figure":
    """Draws one panel for each metric that some line has; returns the matplotlib figure.

    Up to `groups.MOST_LABELS` lines have a legend. More are colored by a knob, with a column of panels for each
    combination of the other knobs if these are few.

    Args:
      lines: what to draw, from `run_lines` or `joint_lines`.
      metrics: names in the log.
      headline: what was trained, below the title.
      references: metric -> (value, name) of a horizontal line.
      sentences: metric -> what is said of it instead of its label's sentence.
      common: what the lines that are compared share, for the title.
    """
    from matplotlib.figure import Figure  # no pyplot: a notebook keeps its own backend

    metrics = [metric for metric in metrics if any(metric in member for line in lines for member in line.members)]
    steps = [member[metric][0] for line in lines for member in line.members for metric in metrics if metric in member]
    end = max((float(each.max()) for each in steps if each.size), default=1.0) or 1.0
    arrangement, family = groups.arrange(lines), _family(metrics)
    faceted = len(arrangement.names) > 1
    said = {metric: labels.label(metric).sentence for metric in metrics} | dict(sentences or {})
    grid = _faceted_grid(metrics, arrangement) if faceted else _grid(metrics, arrangement, family, said)
    heading = _heading(lines, arrangement, headline, family, common, grid)
    # The room above the first row of panels needs no space for the numbers below a row before.
    grid = grid._replace(top=heading.height - (0.0 if faceted else 0.4))
    notes: list[str] = []
    placed: list[tuple[Axes, int, int]] = []
    with pictures.style():
        figure = Figure(figsize=grid.size())
        for number, metric in enumerate(metrics):
            limit = panels.limits_of(lines, metrics if family else [metric])
            for facet, name in enumerate(arrangement.names):
                row, column = (number, facet) if faceted else divmod(number, grid.columns)
                axis = figure.add_axes(grid.panel(row, column))
                placed.append((axis, row, column))
                beside, below = column > 0, number + (1 if faceted else grid.columns) < len(metrics)
                numbers = (not (faceted and below), not (beside and (faceted or family)))
                chosen = zip(lines, arrangement.looks, arrangement.facets, strict=True)
                inside = [(line, look) for line, look, place in chosen if place == facet]
                notes += panels.draw(axis, inside, metric, limit, end, references.get(metric), numbers)
                if not below:
                    axis.set_xlabel("updates")
                if faceted:
                    _name_facet(axis, metric, name, row, column)
                else:
                    of_row = metrics[number - column : number - column + grid.columns]
                    rows_of_text = max(len(_wrapped(said[each], grid)) for each in of_row)
                    text = [] if family else [*_wrapped(said[metric], grid), *[""] * rows_of_text][:rows_of_text]
                    _name_panel(axis, metric, family, grid, text)
                    if numbers[1]:
                        axis.set_ylabel(labels.label(metric).axis)
        footnotes = _footnotes(lines, said if faceted else {}, notes, int((grid.size()[0] - 0.4) / pictures.SMALL_CHAR))
        grid = grid._replace(bottom=0.55 + (0.12 + pictures.SMALL_LINE * len(footnotes) if footnotes else 0.0))
        figure.set_size_inches(grid.size())
        for axis, row, column in placed:
            axis.set_position(grid.panel(row, column))
        _surround(figure, grid, arrangement, heading, footnotes)
    return figure


class _Heading(NamedTuple):
    """What stands above the panels: lines of text, and a legend."""

    title: list[str]
    subtitle: list[str]
    names: list[str]  # of the legend
    legend_columns: int
    height: float


def _family(metrics: Sequence[str]) -> str:
    """Returns "diag/NAME" if all metrics are "diag/NAME/LAYER" of one name, else ""."""
    names = {metric.rpartition("/")[0] for metric in metrics}
    return names.pop() if len(names) == 1 and all(metric.count("/") > 1 for metric in metrics) else ""


def _grid(metrics: Sequence[str], arrangement: Arrangement, family: str, said: Mapping[str, str]) -> Grid:
    """Returns the places of panels side by side, in as many rows as they need."""
    number = max(len(metrics), 1)
    columns = min(COLUMNS, number if number not in (5, 6) else 3)
    width = {1: 6.0, 2: 3.9, 3: 3.3}.get(columns, 3.0)
    grid = Grid(
        rows=math.ceil(number / columns),
        columns=columns,
        width=width,
        height=2.3,
        across=width + (0.25 if family else 0.95),
        above=0.68,
        left=0.9,
        right=1.25 if arrangement.knob else 0.25,
        top=0.0,
        bottom=0.0,
    )
    rows_of_text = [] if family else [len(_wrapped(said[metric], grid)) for metric in metrics]
    return grid._replace(above=grid.above + pictures.SMALL_LINE * max(rows_of_text, default=0))


def _faceted_grid(metrics: Sequence[str], arrangement: Arrangement) -> Grid:
    """Returns the places of panels with a row for each metric and a column for each combination of other knobs."""
    columns = len(arrangement.names)
    width = max(1.55, min(3.0, 11.0 / columns))
    return Grid(
        rows=max(len(metrics), 1),
        columns=columns,
        width=width,
        height=1.6,
        across=width + 0.14,
        above=0.3,
        left=0.95,
        right=1.25,
        top=0.0,
        bottom=0.0,
    )


def _wrapped(sentence: str, grid: Grid) -> list[str]:
    """Returns the lines of the sentence on a metric, as wide as a panel."""
    return textwrap.wrap(sentence, int((grid.width + 0.2) / pictures.SMALL_CHAR))


def _heading(
    lines: Sequence[Line], arrangement: Arrangement, headline: str, family: str, common: str, grid: Grid
) -> _Heading:
    """Returns title, subtitle and the legend's form for a picture of some width."""
    width = grid.size()[0] - 0.4
    compared = groups.comparison(lines)
    compared = ", ".join(filter(None, [compared, common])) if compared else ""
    parts = [part for part in (compared, headline) if part] or ["Runs"]
    if not any(line.members for line in lines):
        parts.append("no run has a value to show")
    if family:
        name = labels.label(family)
        parts = [f"{name.title} by layer", f"{name.sentence} {compared}.".replace(" .", "")] + parts[-1:]
    title = textwrap.wrap(pictures.printable(parts[0], 300), int(width / pictures.TITLE_CHAR)) if parts else []
    subtitle = [
        line
        for part in parts[1:]
        for line in textwrap.wrap(pictures.printable(part, 400), int(width / pictures.SMALL_CHAR))
    ]
    named = len(lines) > 1 and not arrangement.knob
    names = [pictures.printable(line.label) + _ends(line) for line in lines] if named else []
    columns = max(1, min(len(names), int(width / (0.75 + pictures.CHAR * max(map(len, names), default=0)))))
    rows = math.ceil(len(names) / columns)
    return _Heading(
        title, subtitle, names, columns, 0.16 + 0.24 * len(title) + pictures.LINE * (len(subtitle) + rows) + 0.06
    )


def _ends(line: Line) -> str:
    """Returns in brackets how the runs of a line diverged; nothing if none did."""
    ends = [end for end in line.diverged if end is not None]
    if not ends:
        return ""
    return f" ({len(ends)} of {len(line.members)} diverged)" if len(line.members) > 1 else f" (diverged at {ends[0]})"


def _name_panel(axis: "Axes", metric: str, family: str, grid: Grid, text: Sequence[str]) -> None:
    """Names a panel, with the sentence that explains its metric; titles of a row stand at one height."""
    name = labels.label(metric)
    title = metric.removeprefix(f"{family}/") if family else name.title
    offset = 5 + 72 * pictures.SMALL_LINE * len(text)
    style: dict[str, Any] = dict(
        xycoords="axes fraction", textcoords="offset points", va="bottom", annotation_clip=False
    )
    axis.annotate(
        pictures.printable(title, int((grid.width + 0.3) / 0.092)),
        (0, 1),
        (0, offset),
        fontweight="bold",
        fontsize=10.5,
        **style,
    )
    if text:
        axis.annotate(
            "\n".join(text), (0, 1), (0, 4), fontsize=pictures.SMALL, color=pictures.GREY, linespacing=1.25, **style
        )


def _name_facet(axis: "Axes", metric: str, name: str, row: int, column: int) -> None:
    """Names the first row of panels by their columns, and the first column by their rows."""
    if row == 0:
        axis.set_title(pictures.printable(name, int(axis.bbox.width / axis.figure.dpi / 0.082)), fontsize=9.5)
    if column == 0:
        label = labels.label(metric)
        unit = label.axis.partition("[")
        axis.set_ylabel("\n".join(textwrap.wrap(f"{label.title} {''.join(unit[1:])}".strip(), 22)))


def _footnotes(lines: Sequence[Line], said: Mapping[str, str], notes: Sequence[str], width: int) -> list[str]:
    """Returns the lines of text below the panels; `said` is metric -> sentence of those explained there."""
    most = max((len(line.members) for line in lines), default=0)
    found = [f"curve: median of {most} seeds, band: lowest to highest"] if most >= groups.BAND else []
    if found and any(end is not None for line in lines for end in line.diverged):
        found[0] += ", of those that did not diverge"
    found += dict.fromkeys(notes)
    found += [
        f"{labels.label(metric).title}: {sentence[:1].lower()}{sentence[1:-1]}"
        for metric, sentence in said.items()
        if sentence
    ]
    return [line for each in _packed(found, width) for line in textwrap.wrap(each, width)]


def _packed(sentences: Sequence[str], width: int) -> list[str]:
    """Joins sentences to lines of at most a width, where they fit."""
    lines: list[str] = []
    for sentence in sentences:
        joined = f"{lines[-1]}   ·   {sentence}" if lines else sentence
        lines[max(len(lines) - 1, 0) :] = [joined] if len(joined) <= width else [*lines[-1:], sentence]
    return lines


def _surround(
    figure: "Figure", grid: Grid, arrangement: Arrangement, heading: _Heading, footnotes: Sequence[str]
) -> None:
    """Adds title, legend or color bar, and footnotes."""
    from matplotlib.lines import Line2D

    width, height = grid.size()
    top = (1 - grid.corner()[1]) * height
    for texts, size, step, style in (
        (heading.title, pictures.TITLE, 0.24, dict(fontweight="bold")),
        (heading.subtitle, pictures.SMALL + 0.7, pictures.LINE, dict(color=pictures.GREY)),
    ):
        for text in texts:
            figure.text(pictures.MARGIN / width, 1 - top / height, text, fontsize=size, va="top", **style)
            top += step
    if heading.names:
        handles = [
            Line2D(
                [],
                [],
                color=look.color,
                linestyle=look.dashes,
                linewidth=look.width,
                marker=look.marker,
                markersize=4.5,
            )
            for look in arrangement.looks
        ]
        figure.legend(
            handles,
            heading.names,
            loc="upper left",
            bbox_to_anchor=(pictures.MARGIN / width, 1 - top / height),
            ncols=heading.legend_columns,
            borderpad=0,
            borderaxespad=0,
            handlelength=3.2,
            columnspacing=1.6,
            labelspacing=0.25,
        )
    if arrangement.knob:
        _color_bar(figure, grid, arrangement)
    for number, text in enumerate(reversed(footnotes)):
        figure.text(
            pictures.MARGIN / width,
            (0.1 + pictures.SMALL_LINE * number) / height,
            text,
            fontsize=pictures.SMALL,
            color=pictures.GREY,
            va="bottom",
        )


def _color_bar(figure: "Figure", grid: Grid, arrangement: Arrangement) -> None:
    """Adds a bar with a field for each value of the knob that colors stand for."""
    from matplotlib.colors import ListedColormap

    number = len(arrangement.values)
    height = min(4.0, grid.size()[1] - grid.top - grid.above - grid.bottom)
    axis = figure.add_axes(grid.share(grid.size()[0] - grid.right + 0.2, grid.top + grid.above, 0.16, height))
    axis.pcolormesh(
        [0, 1],
        range(number + 1),
        [[index] for index in range(number)],
        cmap=ListedColormap(pictures.ordered_colors(number)),
    )
    step = math.ceil(number / MOST_NAMES)
    places = [index + 0.5 for index in range(0, number, step)]
    shown = labels.short_values(arrangement.values, arrangement.knob)
    names = {place: pictures.printable(shown[int(place)], 11) for place in places}
    axis.set_xticks([])
    axis.yaxis.tick_right()
    axis.tick_params(length=0)
    axis.grid(False)
    pictures.set_ticks(axis, "y", places, names)
    for side in axis.spines.values():
        side.set_visible(False)
    axis.set_title(pictures.printable(labels.knob(arrangement.knob), 18), fontsize=9.5, fontweight="normal", pad=8)
