"""Curves of metrics over updates."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from warmup_jax.report import run_record
from warmup_jax.report.run_record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = (
    ("opt/learning_rate", "learning rate"),
    ("train/loss", "train loss"),
    ("eval/accuracy", "test accuracy"),
    ("eval/bleu", "BLEU"),
)
LEGEND_LINES = 12  # with more lines than this a legend hides the curves
LABEL = 40  # longest label, in characters
COLUMNS = 4  # panels side by side
TICKS = 8  # on a logarithmic axis, approximately, also for a loss of 1e30
TOTALS = "diagnostics"  # name of the picture of the metrics that are not of a layer
DPI = 120


class Line(NamedTuple):
    """One run, drawn in every panel; a label of None leaves it out of the legend."""

    label: str | None
    color: Any
    metrics: dict[str, tuple[np.ndarray, np.ndarray]]


def curves(workdir: Path) -> Path:
    """Draws rate, train loss and test accuracy (and BLEU) of every run of a finished workdir; returns the path."""
    path = Path(workdir) / "curves.png"
    draw(run_lines(run_record.read(workdir)), PANELS).savefig(path, dpi=DPI)
    return path


def diagnostics(workdir: Path) -> list[Path]:
    """Draws the diagnostics of a workdir, `diagnostics.png` and by layer `diagnostics_NAME.png`; returns the paths."""
    record, paths = run_record.read(workdir), []
    for name, panels in diagnostic_panels(record).items():
        paths.append(Path(workdir) / ("diagnostics.png" if name == TOTALS else f"diagnostics_{name}.png"))
        draw(run_lines(record), panels).savefig(paths[-1], dpi=DPI)
    return paths


def run_lines(record: Record) -> list[Line]:
    """Returns a line for each run, in colors by their order."""
    from matplotlib import colormaps

    last = max(len(record.runs) - 1, 1)
    return [
        Line(
            run["label"] or f"run {run['run']}",
            colormaps["viridis"](0.85 * index / last),
            record.series.get(run["run"], {}),
        )
        for index, run in enumerate(record.runs)
    ]


def joint_lines(many: Sequence[Record]) -> list[Line]:
    """Returns a line for each run of several workdirs, in one color for each workdir."""
    return [
        Line(str(record.workdir) if index == 0 else None, f"C{number % 10}", record.series.get(run["run"], {}))
        for number, record in enumerate(many)
        for index, run in enumerate(record.runs)
    ]


def diagnostic_panels(record: Record) -> dict[str, list[tuple[str, str]]]:
    """Groups the diagnostics by picture: one of all "diag/NAME", and one for each NAME with "diag/NAME/PART".

    Returns:
      {name of the picture: [(metric, title of its panel)]}.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    keys = {key for metrics in record.series.values() for key in metrics if key.startswith("diag/")}
    for key in sorted(keys, key=lambda key: (key.count("/") > 1, key)):
        name, _, part = key.removeprefix("diag/").partition("/")
        found.setdefault(name if part else TOTALS, []).append((key, f"{name}: {part}" if part else name))
    return found


def draw(lines: Sequence[Line], panels: Sequence[tuple[str, str]]) -> "Figure":
    """Draws one panel for each (metric, title) that some line has; returns the matplotlib figure."""
    from matplotlib.figure import Figure  # no pyplot: a notebook keeps its own backend
    from matplotlib.ticker import MaxNLocator

    panels = [panel for panel in panels if any(panel[0] in line.metrics for line in lines)]
    columns = min(COLUMNS, max(len(panels), 1))
    height = math.ceil(len(panels) / columns) or 1
    figure = Figure(figsize=(4.3 * columns, 3.8 * height), layout="constrained")
    axes = figure.subplots(height, columns, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.axis("off")
    for axis, (key, title) in zip(axes, panels):
        for line in lines:
            steps, values = line.metrics.get(key, (np.array([]), np.array([])))
            axis.plot(
                steps,
                np.where(np.isfinite(values), values, np.nan),
                color=line.color,
                label=None if line.label is None else printable(line.label),
                marker="o" if len(steps) < 20 else None,
                markersize=3.5,
                linewidth=1.4,
            )
        axis.set(title=printable(title), xlabel="updates")
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axis.grid(alpha=0.25)
        _scale(axis, key, [line.metrics[key][1] for line in lines if key in line.metrics])
    if panels and 0 < sum(line.label is not None for line in lines) <= LEGEND_LINES:
        axes[0].legend(frameon=False)
    return figure


def printable(text: str) -> str:
    """Returns text for matplotlib: shortened, `$` escaped, a character that cannot be shown as a question mark."""
    if len(text) > LABEL:
        text = f"{text[: LABEL // 2 - 1]}…{text[-LABEL // 2 :]}"
    return "".join(char if char.isprintable() else "?" for char in text).replace("$", r"\$")


def _scale(axis: "Axes", key: str, values: list[np.ndarray]) -> None:
    """Sets the scale of a panel: loss linear up to 1 and logarithmic above, a diagnostic logarithmic over 2 decades."""
    if key == "train/loss":
        axis.set_yscale("symlog", linthresh=1.0)
        locator: Any = axis.yaxis.get_major_locator()
        locator.set_params(numticks=TICKS)
    elif key.startswith("diag/"):
        finite = np.concatenate(values)
        finite = finite[np.isfinite(finite)]
        if finite.size and finite.min() > 0 and finite.max() > 100 * finite.min():
            axis.set_yscale("log")
