"""Runs grouped for a picture: repetitions of one setting with other seeds, and what differs between the settings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from warmup_jax import pictures
from warmup_jax.report import labels
from warmup_jax.report.run_record import Record

MOST_LABELS = 10  # groups that are told apart by a legend; more are colored by the value of a knob
MOST_FACETS = 8  # columns of panels, each for one combination of the other knobs
MOST_VALUES = 4  # of a knob that a title lists; more are counted

BAND = 3  # seeds of a line from which on it is a median with a band; fewer are drawn one by one

Series = Mapping[str, tuple[np.ndarray, np.ndarray]]  # metric -> (steps [N], values [N])


class Line(NamedTuple):
    """Runs of one setting with different seeds, drawn as one curve.

    label: what is special about it.
    setting: the values of the knobs that differ between the lines of a picture.
    members: the metrics of each run.
    diverged: the first update of each run that was not finite, None where all were.
    """

    label: str
    setting: Mapping[str, Any]
    members: list[Series]
    diverged: list[int | None]


class Band(NamedTuple):
    """A metric over the seeds of a line: arrays [N] over the steps at which at least half of its runs have it."""

    steps: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Arrangement(NamedTuple):
    """How the lines of a picture are told apart.

    looks: of each line.
    facets: the column of panels of each line.
    names: of the columns; [""] for one.
    knob: name of what the colors show if there is no legend, else "".
    values: of that knob, in the order of the colors.
    """

    looks: list[pictures.Look]
    facets: list[int]
    names: list[str]
    knob: str
    values: list[Any]


def run_lines(record: Record) -> list[Line]:
    """Returns a line for each combination of what the runs of a workdir change, its seeds together."""
    return lines([(run["changes"], record.series.get(run["run"], {}), run["diverged_at"]) for run in record.runs])


def joint_lines(many: Sequence[Record]) -> list[Line]:
    """Returns a line for each setting among the runs of several workdirs, its seeds together."""
    runs = [(record, run) for record in many for run in record.runs]
    settings = labels.differences([(record.config, run["changes"]) for record, run in runs])
    return lines(
        [
            (setting, record.series.get(run["run"], {}), run["diverged_at"])
            for (record, run), setting in zip(runs, settings, strict=True)
        ]
    )


def lines(runs: Sequence[tuple[Mapping[str, Any], Series, int | None]]) -> list[Line]:
    """Returns a line for each setting among some runs, its seeds together.

    Args:
      runs: (values of its knobs, metrics, first update that was not finite) of each.
    """
    names = list(dict.fromkeys(name for setting, _, _ in runs for name in setting if name != "seed"))
    names = [name for name in names if len({repr(setting.get(name)) for setting, _, _ in runs}) > 1]
    found: dict[str, Line] = {}
    for setting, metrics, diverged in runs:
        own = {name: setting[name] for name in names if name in setting}
        line = found.setdefault(repr(list(own.items())), Line(labels.run_label(own), own, [], []))
        line.members.append(metrics)
        line.diverged.append(diverged)
    return list(found.values())


def curves(line: Line) -> list[Line]:
    """Returns what is drawn as a curve each: the line if it has a band, else its runs one by one."""
    if len(line.members) >= BAND:
        return [line]
    runs = zip(line.members, line.diverged, strict=True)
    return [line._replace(members=[member], diverged=[end]) for member, end in runs]


def band(line: Line, metric: str) -> Band:
    """Returns the median and the extent of a metric over the seeds of a line; a value that is not finite is missing.

    Runs that diverged do not count if others did not.
    """
    members = [member for member, end in zip(line.members, line.diverged, strict=True) if end is None]
    curves = [member[metric] for member in members or line.members if metric in member]
    if not curves:
        return Band(*np.empty((4, 0)))
    if len(curves) == 1:
        steps, values = curves[0]
        values = np.where(np.isfinite(values), values, np.nan)
        return Band(steps, values, values, values)
    steps = np.unique(np.concatenate([steps for steps, _ in curves]))
    table = np.full((len(curves), len(steps)), np.nan)
    for row, (at, values) in zip(table, curves, strict=True):
        row[np.searchsorted(steps, at)] = np.where(np.isfinite(values), values, np.nan)
    kept = np.isfinite(table).sum(0) * 2 >= len(curves)
    table = table[:, kept]
    return Band(steps[kept], np.nanmedian(table, 0), np.nanmin(table, 0), np.nanmax(table, 0))


def arrange(lines: Sequence[Line]) -> Arrangement:
    """Chooses the looks of lines: told apart by a legend, or by a knob's color in a column for each other setting."""
    knobs = {name: _values(lines, name) for name in dict.fromkeys(name for line in lines for name in line.setting)}
    if len(lines) <= MOST_LABELS:
        numeric = [name for name, values in knobs.items() if _is_ordered(values)]
        ordered = len(knobs) == 1 and bool(numeric) and len(lines) > 2
        looks = pictures.looks(len(lines), ordered)
        if ordered:
            ranks = [knobs[numeric[0]].index(line.setting.get(numeric[0])) for line in lines]
            colors = pictures.ordered_colors(len(lines))
            looks = [look._replace(color=colors[rank]) for look, rank in zip(looks, ranks, strict=True)]
        return Arrangement(looks, [0] * len(lines), [""], "", [])
    knob = max(knobs, key=lambda name: (_is_ordered(knobs[name]), len(knobs[name]), name == "peak_lr"), default="")
    others = [labels.run_label({k: v for k, v in line.setting.items() if k != knob}) for line in lines]
    names = list(dict.fromkeys(others))
    if len(names) > MOST_FACETS:
        others, names = [""] * len(lines), [""]
    values = knobs.get(knob, [None])
    colors = pictures.ordered_colors(len(values))
    looks = [
        pictures.Look(colors[values.index(line.setting.get(knob))], "-", "", 1.3 if len(names) > 1 else 1.0)
        for line in lines
    ]
    return Arrangement(
        looks, [names.index(each) for each in others], names if len(names) > 1 else [""], knob, values if knob else []
    )


def comparison(lines: Sequence[Line]) -> str:
    """Says what differs between lines: "No warmup against 50 updates"; "" for one line."""
    knobs = {name: _values(lines, name) for name in dict.fromkeys(name for line in lines for name in line.setting)}
    text = "; ".join(_compared(name, values) for name, values in knobs.items() if len(values) > 1)
    return text[:1].upper() + text[1:]


def _compared(name: str, values: Sequence[Any]) -> str:
    """Says which values of a knob are compared."""
    unit = labels.UNITS.get(name, "")
    if len(values) > 2:
        return f"{labels.knob(name)}: {_listed(name, values)} {unit}".strip()
    one, other = labels.knob_texts(name, values)
    first = "no warmup" if name in labels.WARMUPS and values[0] == 0 else f"{labels.knob(name)} {one}"
    return f"{first} against {other} {unit}".strip()


def _values(lines: Sequence[Line], name: str) -> list[Any]:
    """Returns the different values of a knob, ascending if they are numbers."""
    values = list({repr(value): value for line in lines for value in [line.setting.get(name)]}.values())
    return sorted(values) if _is_ordered(values) else values


def _is_ordered(values: Sequence[Any]) -> bool:
    return all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) for value in values
    )


def _listed(name: str, values: Sequence[Any]) -> str:
    shown = labels.knob_texts(name, values)
    if len(shown) <= MOST_VALUES:
        return ", ".join(shown)
    return f"{len(shown)} values" + (f" from {shown[0]} to {shown[-1]}" if _is_ordered(values) else "")
