"""Self-contained HTML page about runs: works without a network, and all text from files stays text."""

import base64
import functools
import gzip
import hashlib
import importlib.resources
import importlib.util
import string
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from warmup_jax.report import experiments, page_data, phase_analysis, run_record
from warmup_jax.report.markup import element, text
from warmup_jax.report.page_sections import overview, sections
from warmup_jax.report.run_record import Record

SCRIPTS = ("plots.js", "curves.js", "controls.js", "phase.js", "page.js")  # the last one starts the others


def page(workdirs: Sequence[Path], threshold: float | None = None, damages: list[str] | None = None) -> str:
    """Renders the HTML of a report: a section for each experiment, which is all runs of one model, data and loss.

    Args:
      workdirs: folders of runs, finished or not.
      threshold: train loss below which a run has trained, as in `phase_analysis.judge`.
      damages: None: a damaged file is an error. A list: gets a line for each damage, and the rest is reported.

    Returns:
      The page as text.

    Raises:
      ValueError: with one line, if no workdir holds a run, or a file is damaged and `damages` is None.
      OSError: likewise, if a file cannot be read.
    """
    own: list[str] = []
    found = experiments.sort_into_experiments(_read(workdirs, damages, own), threshold)
    sweeps = [[phase_analysis.find_sweep(record, threshold) for record in each.records] for each in found]
    numbers, thinned = page_data.pack(found, sweeps)
    parts, contents = [], []
    for number, (experiment, of_experiment) in enumerate(zip(found, sweeps, strict=True)):
        below = sections(number, experiment, of_experiment, alone=len(found) == 1)
        title = element("h2" if len(found) > 1 else "h1", experiment.title, id=f"e{number}")
        parts += [title, *(content for _, _, content in below)]
        links = "".join(f"<li>{_link(target, name)}</li>" for target, name, _ in below if name)
        contents.append(f"<li>{_link(f'e{number}', experiment.title)}<ul>{links}</ul></li>")
    if len(found) > 1:
        parts = [element("h1", f"{len(found)} experiments"), overview(found), *parts]
    notes = [element("p", f"Damaged, and left out: {line}", **{"class": "note"}) for line in own]
    notes += [element("p", thinned, **{"class": "soft"})] if thinned else []
    library, script = _library(), "\n".join(_file(name) for name in SCRIPTS)
    return string.Template(_file("page.html")).substitute(
        title=text(found[0].title if len(found) == 1 else f"{len(found)} experiments"),
        hashes=" ".join(map(_hash, (library.text, script))),
        style=_file("page.css"),
        contents=f"<ul>{''.join(contents)}</ul>",
        main="\n".join([parts[0], *notes, *parts[1:]]),
        plotly=library.packed,
        numbers=numbers,
        script=script,
    )


def _read(workdirs: Sequence[Path], damages: list[str] | None, own: list[str]) -> list[Record]:
    """Reads the workdirs that hold a run; notes damages in both lists."""
    records = []
    for workdir in workdirs:
        try:
            records.append(run_record.read(workdir, None if damages is None else own))
        except (ValueError, OSError) as error:
            if damages is None or len(workdirs) == 1:
                raise
            own.append(" ".join(str(error).split()))
    if damages is not None:
        damages += own
    if not records:
        raise ValueError("no workdir holds a run")
    return records


def _link(target: str, name: str) -> str:
    return element("a", name, href=f"#{target}")


def _file(name: str) -> str:
    return importlib.resources.files("warmup_jax.report").joinpath("page", name).read_text(encoding="utf-8")


class _Library(NamedTuple):
    """Script of the plots, as text and packed as base64 of gzip, in less than half of its size."""

    text: str
    packed: str


@functools.cache
def _library() -> _Library:
    spec = importlib.util.find_spec("plotly")  # its import would take longer than the page
    if spec is None or spec.origin is None:
        raise ValueError("the report needs plotly: pip install plotly")
    content = (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_bytes()
    return _Library(content.decode(), base64.b64encode(gzip.compress(content, mtime=0)).decode())


def _hash(script: str) -> str:
    """Returns the name of a script in the page's policy, by which a browser runs this one and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
