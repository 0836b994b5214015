"""Curves of metrics over updates."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from warmup_jax.report import records
from warmup_jax.report.records import Record

PANELS = (
    ("opt/learning_rate", "learning rate"),
    ("train/loss", "train loss"),
    ("eval/accuracy", "test accuracy"),
    ("eval/bleu", "BLEU"),
)
LEGEND_LINES = 12  # with more lines than this a legend hides the curves
LABEL = 40  # characters of a label
COLUMNS = 4  # panels side by side
TICKS = 8  # about as many on a logarithmic axis, of a loss of 1e30 too
TOTALS = "diagnostics"  # the picture of those that are not of a layer
DPI = 120


class Line(NamedTuple):
    """One run in every panel; label None leaves it out of the legend."""

    label: str | None
    color: object
    metrics: dict[str, tuple[np.ndarray, np.ndarray]]


def curves(workdir: Path) -> Path:
    """Draws rate, train loss and test accuracy (and BLEU) of every run of a finished workdir; returns the path."""
    path = Path(workdir) / "curves.png"
    draw(lines_of(records.read(workdir)), PANELS).savefig(path, dpi=DPI)
    return path


def diagnostics(workdir: Path) -> list[Path]:
    """Draws what the diagnostics of a workdir found, `diagnostics.png` and by layer `diagnostics_NAME.png`."""
    record, paths = records.read(workdir), []
    for name, panels in diagnostic_panels(record).items():
        paths.append(Path(workdir) / ("diagnostics.png" if name == TOTALS else f"diagnostics_{name}.png"))
        draw(lines_of(record), panels).savefig(paths[-1], dpi=DPI)
    return paths


def lines_of(record: Record) -> list[Line]:
    """A line for each run, in colors by their order."""
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
    """A line for each run of several workdirs, in one color a workdir."""
    return [
        Line(str(record.workdir) if index == 0 else None, f"C{number % 10}", record.series.get(run["run"], {}))
        for number, record in enumerate(many)
        for index, run in enumerate(record.runs)
    ]


def diagnostic_panels(record: Record) -> dict[str, list[tuple[str, str]]]:
    """Panels (metric, title) by picture: one of all "diag/NAME", and one for each NAME of the "diag/NAME/PART"."""
    found = {}
    keys = {key for metrics in record.series.values() for key in metrics if key.startswith("diag/")}
    for key in sorted(keys, key=lambda key: (key.count("/") > 1, key)):
        name, _, part = key.removeprefix("diag/").partition("/")
        found.setdefault(name if part else TOTALS, []).append((key, f"{name}: {part}" if part else name))
    return found


def draw(lines: Sequence[Line], panels: Sequence[tuple[str, str]]):
    """A matplotlib figure with one panel for each (metric, title) that some line has."""
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
    """Text as matplotlib shows it: cut to a length, `$` begins no formula, what cannot be shown is a question mark."""
    if len(text) > LABEL:
        text = f"{text[: LABEL // 2 - 1]}…{text[-LABEL // 2 :]}"
    return "".join(char if char.isprintable() else "?" for char in text).replace("$", r"\$")


def _scale(axis, key: str, values: list[np.ndarray]) -> None:
    """Loss: linear up to 1, logarithmic above. A diagnostic over more than two decades: logarithmic."""
    if key == "train/loss":
        axis.set_yscale("symlog", linthresh=1.0)
        axis.yaxis.get_major_locator().set_params(numticks=TICKS)
    elif key.startswith("diag/"):
        finite = np.concatenate(values)
        finite = finite[np.isfinite(finite)]
        if finite.size and finite.min() > 0 and finite.max() > 100 * finite.min():
            axis.set_yscale("log")
