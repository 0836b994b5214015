"""Pictures, tables and an HTML page about runs, from their log files alone.

`python -m warmup_jax.report WORKDIR... [--out=report.html]` writes the page.
"""

from warmup_jax.report.pages import page
from warmup_jax.report.phase_report import phase_diagram
from warmup_jax.report.plots import curves, diagnostics
from warmup_jax.report.run_record import read
from warmup_jax.report.tables import table

__all__ = ["curves", "diagnostics", "page", "phase_diagram", "read", "table"]
