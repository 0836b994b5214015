"""Self-contained HTML page about runs: no script, no external resource, all text from files escaped."""

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from warmup_jax.report import phase_analysis, phase_plot, phase_report, plots, run_record, tables
from warmup_jax.report.run_record import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 90
MOST_TEXTS = 100
# The policy keeps a browser from running or fetching anything, even if the escaping missed something.
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Report</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1400px; margin: 2em auto; padding: 0 1em; color: #222; }
h2 { margin-top: 2.5em; border-bottom: 1px solid #ccc; overflow-wrap: anywhere; }
img { max-width: 100%; }
.box { overflow: auto; max-height: 36em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.15em 1em 0.15em 0; border-bottom: 1px solid #eee; vertical-align: top; }
th { position: sticky; top: 0; background: #fff; }
pre { background: #f6f6f6; padding: 0.7em; overflow: auto; max-height: 36em; }
.note { background: #fff3cd; padding: 0.4em 0.7em; }
</style>
</head>
<body>
"""


def page(workdirs: Sequence[Path], threshold: float | None = None) -> str:
    """Renders the HTML of a report: with several workdirs first a comparison, then a section for each.

    Args:
      workdirs: folders of runs, finished or not.
      threshold: train loss below which a run of a phase diagram has trained, as in `phase_analysis.find_sweep`.

    Returns:
      The page as text.

    Raises:
      ValueError: with one line, if a workdir holds no run or a file in it is damaged.
      OSError: if a file cannot be read.
    """
    many = [run_record.read(workdir) for workdir in workdirs]
    parts = _comparison(many) if len(many) > 1 else []
    for record in many:
        parts += _section(record, threshold)
    return HEAD + "\n".join(["<h1>Report</h1>", *parts]) + "\n</body>\n</html>\n"


def _comparison(many: Sequence[Record]) -> list[str]:
    """Returns one table and one set of curves of all workdirs."""
    names = [str(record.workdir) for record in many for _ in record.runs]
    head, *body = tables.rows([run for record in many for run in record.runs])
    return [
        "<h2>All runs</h2>",
        _table([("workdir", *head), *((name, *row) for name, row in zip(names, body, strict=True))]),
        *_pictures([("curves of all runs", plots.draw(plots.joint_lines(many), plots.PANELS))]),
    ]


def _section(record: Record, threshold: float | None) -> list[str]:
    """Returns the section of one workdir."""
    lines = plots.run_lines(record)
    parts = [f"<h2>{_text(record.workdir)}</h2>"]
    if record.summary is None:
        parts.append(
            '<p class="note">This run is unfinished: there is no summary.json yet. '
            "What follows is what its log holds so far.</p>"
        )
    if record.runs:
        parts.append(_table(tables.rows(record.runs)))
    if record.summary is not None:
        parts += [f"<p>{_text(line)}</p>" for line in tables.costs(record.summary)]
    parts += _pictures([("curves", plots.draw(lines, plots.PANELS))] if record.runs else [])
    sweep = phase_analysis.find_sweep(record, threshold)
    if sweep is not None:
        parts += [
            "<h3>Phase diagram</h3>",
            *_pictures([("phase diagram", phase_plot.draw(sweep))]),
            f"<pre>{_text(phase_report.boundary_table(sweep))}</pre>",
        ]
    diagnostics = plots.diagnostic_panels(record)
    if diagnostics:
        parts.append("<h3>Diagnostics</h3>")
        parts += _pictures((name, plots.draw(lines, panels)) for name, panels in diagnostics.items())
    parts += _samples(record)
    for title, content in (("Config", record.config), ("Environment", record.environment)):
        shown = json.dumps(content, indent=1, ensure_ascii=False)
        parts.append(f"<details><summary>{title}</summary><pre>{_text(shown)}</pre></details>")
    return parts


def _samples(record: Record) -> list[str]:
    """Returns a table of the texts that each run decoded at its last evaluation."""
    last = {line["run"]: line["step"] for line in record.texts}
    chosen = [line for line in record.texts if line["step"] == last[line["run"]]]
    if not chosen:
        return []
    titles = [key for key in dict.fromkeys(key for line in chosen for key in line) if key != "signature"]
    rows = [[str(line.get(key, "")) for key in titles] for line in chosen[:MOST_TEXTS]]
    more = len(chosen) - len(rows)
    return ["<h3>Texts</h3>", _table([titles, *rows]), *([f"<p>{more} more in texts.jsonl</p>"] if more else [])]


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Renders a table; the first row holds the titles."""
    head, *body = [
        "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in row)
        for tag, row in zip(["th"] + ["td"] * (len(rows) - 1), rows, strict=True)
    ]
    lines = "".join(f"<tr>{row}</tr>\n" for row in body)
    return f'<div class="box"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}</tbody></table></div>'


def _pictures(figures: Iterable[tuple[str, "Figure | None"]]) -> list[str]:
    """Renders named figures as images inside the page; leaves out a figure that is None."""
    parts = []
    for name, figure in figures:
        if figure is not None:
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=DPI)
            data = base64.b64encode(file.getvalue()).decode()
            parts.append(f'<p><img alt="{_text(name)}" src="data:image/png;base64,{data}"></p>')
    return parts


def _text(value: object) -> str:
    """Escapes text for an element or a quoted attribute; a character that UTF-8 cannot hold becomes a question mark."""
    return html.escape(str(value)).encode("utf-8", "replace").decode()
