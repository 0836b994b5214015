"""Report of a sweep over peak rate and warmup length: `sweep.csv`, `phase_diagram.png` and a table."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from warmup_jax import pictures
from warmup_jax.report import labels, phase_analysis, phase_plot, run_record, tables
from warmup_jax.report.phase_analysis import Reading, Sweep
from warmup_jax.report.run_record import Record

# Field of a `Reading` -> remark in the table.
REMARKS = {"trains_again": "trains again above a failure", "slow_start": "stuck at first"}


def phase_diagram(workdir: Path | Record, threshold: float | None = None) -> str | None:
    """Writes `sweep.csv` and `phase_diagram.png` of a finished sweep over `peak_lr` and `warmup_steps`.

    Args:
      workdir: folder of a finished run, or its record that was read before. Axes of its sweep other than rate,
        length and seed become rows of maps.
      threshold: train loss below which a run has trained; None: as `phase_analysis.judge` derives it.

    Returns:
      A table of the largest rate that trains for each warmup length; None if the config is no such sweep.

    Raises:
      ValueError: if the workdir holds no run or a file in it is damaged.
      OSError: if a file cannot be read or written.
    """
    record = run_record.read(workdir)
    sweep = phase_analysis.find_sweep(record, threshold)
    if sweep is None:
        return None
    write_csv(sweep, record.workdir / "sweep.csv")
    figure = phase_plot.draw(sweep, labels.headline(record.config))
    if figure is not None:
        pictures.save(figure, record.workdir / "phase_diagram.png")
    return boundary_table(sweep)


def boundary_table(sweep: Sweep) -> str:
    """Returns a table of the largest rate that trains for each facet and warmup length, and its spread over seeds."""
    cells: list[tuple[str, ...]] = [("", "warmup steps", "largest rate", "lowest seed", "highest seed", "")]
    found = phase_analysis.boundary(sweep)
    places = {(o.facet, o.length) for o in sweep.outcomes} | {place[:2] for place in sweep.missing}
    for facet, length in sorted(places, key=lambda place: (sweep.facets.index(place[0]), place[1])):
        if (facet, length) not in found:
            cells.append((facet, str(length), "not known", "", "", "runs are missing"))
            continue
        readings = found[facet, length]
        indices = [reading.rate_index for reading in readings.values()]
        read = (phase_analysis.median_index(readings), min(indices), max(indices))
        cells.append((facet, str(length), *(rate_text(sweep.rates, index) for index in read), _remarks(readings)))
    if sweep.facets == [""]:
        cells = [row[1:] for row in cells]
    states = [outcome.state for outcome in sweep.outcomes]
    counts = ", ".join(f"{states.count(state)} {state}" for state in phase_analysis.STATES)
    waiting = states.count(phase_analysis.UNFINISHED)
    counts += f", {waiting} unfinished" * bool(waiting) + f"; {len(sweep.missing)} not run" * bool(sweep.missing)
    lines = [
        f"largest peak rate up to which every rate trains (median of {phase_plot.seeds_text(sweep)})",
        *tables.aligned(cells),
        f"{len(states)} runs: {counts}",
        f"trained: final train loss below {sweep.threshold:.4g}, {sweep.reason}",
    ]
    if len(sweep.facets) > phase_plot.MOST_FACETS:
        lines.append(
            f"phase_diagram.png: not drawn, {len(sweep.facets)} rows of maps are more than {phase_plot.MOST_FACETS}"
        )
    return "\n".join(lines)


def write_csv(sweep: Sweep, path: Path) -> None:
    """Writes one row for each run, its changes and its outcome; a missing value is an empty field."""
    names = sorted(
        sweep.outcomes[0].changes,
        key=lambda name: phase_analysis.AXES.index(name) if name in phase_analysis.AXES else -1,
    )
    sharp = any(not math.isnan(value) for outcome in sweep.outcomes for value in outcome.sharpness)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            [
                "run",
                *names,
                "steps",
                "train_loss",
                "test_loss",
                "test_accuracy",
                "test_error",
                "best_accuracy",
                "best_step",
                "diverged_at",
                "trained",
                "stuck",
                *(["sharpness_initial", "sharpness_after_warmup"] if sharp else []),
            ]
        )
        for o in sweep.outcomes:
            scores = (o.train_loss, o.test_loss, o.test_accuracy, 1 - o.test_accuracy, o.best[0])
            writer.writerow(
                [
                    o.run,
                    *(o.changes[name] for name in names),
                    o.steps,
                    *map(_number, scores),
                    o.best[1],
                    o.diverged_at,
                    o.state == "trained",
                    o.state == "stuck",
                    *(map(_number, o.sharpness) if sharp else []),
                ]
            )


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.8g}"


def rate_text(rates: Sequence[float], index: int) -> str:
    """Formats a largest rate: a lower bound at the top of the grid, "none" if not even the lowest trains."""
    if index < 0:
        return "none"
    return f"{'>=' if index == len(rates) - 1 else ''}{labels.knob_texts('peak_lr', rates)[index]}"


def _remarks(readings: dict[int, Reading]) -> str:
    """Lists the seeds whose runs do not simply train up to some rate and fail above it, with the whole row."""
    found = {
        seed: [words for name, words in REMARKS.items() if getattr(reading, name)] for seed, reading in readings.items()
    }
    return "; ".join(
        f"seed {seed} {' and '.join(words)}: {readings[seed].row}" for seed, words in found.items() if words
    )
