"""Numbers of phase diagrams, as the script of a page draws them."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from warmup_jax.report import labels, phase_analysis, phase_plot
from warmup_jax.report.phase_analysis import Outcome, Sweep

LARGEST = 1e300  # of a value, far inside of what a script's number holds
SHARE = "Share of seeds that trained"
WIDE = 30  # positive values that span more than this factor have logarithmic colors


def maps(sweep: Sweep, places: Mapping[int, int]) -> dict[str, Any]:
    """Returns the maps of a sweep, by facet, length and rate.

    Args:
      sweep: of a workdir.
      places: {number of a run: its index on the page}.
    """
    cells, readings = phase_analysis.cells(sweep), phase_analysis.boundary(sweep)
    readings = readings if any(outcome.state == "trained" for outcome in sweep.outcomes) else {}

    def grid(content: Any) -> list[list[list[Any]]]:
        return [
            [[content(cells.get((facet, length, rate), [])) for rate in sweep.rates] for length in sweep.lengths]
            for facet in sweep.facets
        ]

    found = []
    quantities = {drawing.title: drawing.value for drawing in phase_plot.MAPS} | {SHARE: _has_trained}
    for title, value in quantities.items():
        reduce = statistics.fmean if title == SHARE else statistics.median
        values = grid(lambda cell, value=value, reduce=reduce: number(_reduced(cell, value, reduce)))
        finite = [value for facet in values for row in facet for value in row if value is not None]
        if finite:
            found.append({"title": title, "values": values, **_color_range(finite, title == SHARE)})
    return {
        "rates": labels.knob_texts("peak_lr", sweep.rates),
        "lengths": [word(length) for length in sweep.lengths],
        "facets": [labels.facet(facet) if facet else "" for facet in sweep.facets],
        "cells": grid(lambda cell: [places[outcome.run] for outcome in cell]),
        "states": grid(phase_analysis.cell_state),
        "maps": found,
        "boundary": [
            [
                phase_analysis.median_index(readings[facet, length]) if (facet, length) in readings else None
                for length in sweep.lengths
            ]
            for facet in sweep.facets
        ],
    }


def number(value: float) -> float | None:
    """Returns a number with 4 digits for JSON, None if it is not finite."""
    return float(f"{min(max(value, -LARGEST), LARGEST):.4g}") if math.isfinite(value) else None


def word(value: Any, name: str = "") -> str:
    """Returns the text for a value of a knob."""
    if isinstance(value, float):
        return labels.rate(value) if name in labels.RATES else f"{value:g}"
    return str(value)


def _has_trained(outcome: Outcome) -> float:
    return float(outcome.state == "trained")


def _reduced(
    cell: Sequence[Outcome], value: Callable[[Outcome], float], reduce: Callable[[Sequence[float]], float]
) -> float:
    """Returns the value of a cell, reduced over its seeds; nan without any."""
    values = [found for outcome in cell if not math.isnan(found := value(outcome))]
    return reduce(values) if values else math.nan


def _color_range(finite: Sequence[float], is_share: bool) -> dict[str, Any]:
    """Returns the range of the colors of a map."""
    low, high = (0.0, 1.0) if is_share else (min(finite), max(finite))
    return {"low": low, "high": high, "log": low > 0 and high > WIDE * low}
