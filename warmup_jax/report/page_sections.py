"""Sections of a page about one experiment: words and tables; the script of the page adds curves and maps."""

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from warmup_jax.report import experiments, labels, page_data, phase_analysis, phase_report, tables
from warmup_jax.report.experiments import Experiment, Group, Score
from warmup_jax.report.markup import element, folded, table, text
from warmup_jax.report.phase_analysis import Judgement, Sweep
from warmup_jax.report.run_record import Record

BEST = 6  # groups in the first table
FEW = 4  # groups whose results the first sentence lists
IN_WARMUP = "still in the warmup at the end"
MOST_TEXTS = 100
MOST_JSON = 200_000  # characters of a config that are shown
FILES = {
    "config.json": "the whole config",
    "environment.json": "versions, devices, command, git commit",
    "runs.json": "which values each run has",
    "metrics.jsonl": "all that these curves show, a line for each logged step and run",
    "summary.json": "final and best values, seconds by phase",
    "sweep.csv": "a row for each run",
    "texts.jsonl": "what a text model wrote at each evaluation",
    "timing.jsonl": "throughput and time by phase",
    "checkpoints": "weights and optimizer states",
    "tensorboard": "the same curves for TensorBoard",
}


def sections(
    number: int, experiment: Experiment, sweeps: Sequence[Sweep | None], alone: bool
) -> list[tuple[str, str, str]]:
    """Returns the sections of an experiment: [(id, title in the contents, HTML)].

    Args:
      number: of the experiment on the page.
      experiment: with one or several workdirs.
      sweeps: over rate and warmup length, for each workdir; None for one that is none.
      alone: True if the page has no other experiment.
    """
    families = page_data.families(experiment)
    found = [
        ("results", "", _results(experiment, sweeps)),
        ("curves", "Curves", _plots(number, "curves") if "curves" in families else ""),
        ("phase", "Phase diagram", _phases(number, experiment, sweeps)),
        ("diagnostics", "Diagnostics", _diagnostics(number, families)),
        ("texts", "Texts", "".join(_texts(record) for record in experiment.records)),
        ("runs", "All runs", _all_runs(experiment)),
        ("config", "Config", _configs(experiment)),
        ("files", "Files and how to repeat", "".join(_files(record) for record in experiment.records)),
    ]
    heading = "h2" if alone else "h3"
    return [
        (f"e{number}-{name}", title, _headed(heading if title else "", f"e{number}-{name}", title) + content)
        for name, title, content in found
        if content
    ]


def overview(many: Sequence[Experiment]) -> str:
    """Returns a table of several experiments: what came of the runs of each, and the best of them."""
    rows = [["experiment", "runs", "outcomes", "best", ""]]
    for experiment in many:
        counts = ", ".join(f"{count} {state}" for state, count in experiments.states(experiment.runs).items())
        best, score = "", Score(math.nan, math.nan, 0)
        if experiment.runs:
            group = experiments.best_first(experiment)[0]
            best, score = group.label, _score(experiment, group)
        shown = f"{_name(experiment.score[0])} {_with_deviation(score)}{_percent(experiment.score[0])}"
        rows.append(
            [experiment.title, str(len(experiment.runs)), counts, best, "" if math.isnan(score.mean) else shown]
        )
    return table(rows)


def _headed(heading: str, target: str, title: str) -> str:
    """Returns the heading of a section; the first one goes without, below the title of the experiment."""
    return element(heading, title, id=target) if heading else ""


def _results(experiment: Experiment, sweeps: Sequence[Sweep | None]) -> str:
    """Returns what was compared and what came out, and a table of the best runs."""
    how = _capital(experiment.headline).removeprefix(experiment.title).removeprefix(", ")
    rate = labels.common_rate([record.config for record in experiment.records if record.config])
    how = ", ".join(filter(None, [how, rate]))
    parts = [element("p", f"{_capital(how)}.", **{"class": "lead"})] if how else []
    unfinished = [record for record in experiment.records if record.summary is None]
    parts += [element("p", _progress(record), **{"class": "note"}) for record in unfinished]
    if not experiment.runs:
        return "".join([*parts, element("p", "No run has logged anything yet.")])
    parts.append(element("p", " ".join(_outcome(experiment, sweeps)), **{"class": "lead"}))
    finished = any(run.state != phase_analysis.UNFINISHED for run in experiment.runs)
    for judgement in {judgement.threshold: judgement for judgement in experiment.judgements if finished}.values():
        meaning = (
            f"Trained, or learned something: finite, with a final train loss (median of the last twentieth) "
            f"{_meaning(judgement)}. Stuck: finite, above it. Diverged: a loss or gradient was not finite."
        )
        parts.append(element("p", meaning, **{"class": "soft"}))
    return "".join([*parts, _best_table(experiment)])


def _meaning(judgement: Judgement) -> str:
    """Returns which final train loss is that of a run that has trained, in words."""
    if judgement.reason != phase_analysis.BELOW_UNINFORMED:
        return f"below {judgement.threshold:.4g}, {judgement.reason}"
    less = 100 * (1 - phase_analysis.LEARNED)
    return f"at least {less:.0f} % below that of a model that ignores its input, here below {judgement.threshold:.4g}"


def _progress(record: Record) -> str:
    last = max((run["steps"] for run in record.runs), default=0)
    steps, begun, planned = record.config.get("num_steps"), len(record.runs), len(record.planned)
    of = f" of {steps:,}" if type(steps) is int else ""
    runs = f"{begun} run{'s' * (begun != 1)}" if begun == planned else f"{begun} of {planned} runs have begun"
    return (
        f"{record.workdir} is unfinished, or its summary.json cannot be read. Shown is what its log holds so far: "
        f"{runs}, up to update {last:,}{of}."
    )


def _outcome(experiment: Experiment, sweeps: Sequence[Sweep | None]) -> Iterator[str]:
    """Yields sentences on what came out."""
    yield _counts(experiment)
    metric, many = experiment.score[0], experiments.best_first(experiment)
    scores = [(group, score) for group in many if not math.isnan((score := _score(experiment, group)).mean)]
    shown = scores if len(many) <= FEW else scores[:1]
    if shown:
        title = f"{'' if len(many) <= FEW else 'best '}{_name(metric)}"
        values = ", ".join(
            f"{_with_deviation(score)}{_percent(metric)}{f' with {group.label}' if len(many) > 1 else ''}"
            for group, score in shown
        )
        yield f"{_capital(title)}: {values}{_over(shown)}."
    for sweep in sweeps:
        if sweep is not None and len(sweep.facets) == 1 and len(sweep.lengths) > 1:
            yield from _largest_rates(sweep)


def _counts(experiment: Experiment) -> str:
    """Returns "2 of 3 runs learned something, 1 diverged." """
    words = [_word(run) for run in experiment.runs]
    order = ("stuck", IN_WARMUP, "diverged", phase_analysis.UNFINISHED)
    others = [f"{words.count(word)} {word}" for word in order if word in words]
    number = f"{words.count('trained')} of {len(words)} run{'s' * (len(words) > 1)} learned something"
    return f"{', '.join([number, *others])}."


def _word(run: experiments.Run) -> str:
    """Returns the state of a run in words; one that is no longer than its warmup has not had time to be stuck."""
    updates = run.run["changes"].get("warmup_steps", run.record.config.get("warmup_steps"))
    within = type(updates) is int and run.run["steps"] <= updates
    return IN_WARMUP if run.state == "stuck" and within else run.state


def _over(scores: Sequence[tuple[Group, Score]]) -> str:
    """Says over how many seeds some scores are; nothing for single runs."""
    counts = {score.seeds for _, score in scores}
    if max(counts) == 1:
        return ""
    if any(score.seeds < len(group.runs) for group, score in scores):
        return " (mean ± standard deviation of the seeds that did not diverge)"
    number = f"{counts.pop()} seeds{' each' * (len(scores) > 1)}" if len(counts) == 1 else "the seeds"
    return f" (mean ± standard deviation of {number})"


def _largest_rates(sweep: Sweep) -> Iterator[str]:
    """Yields a sentence on the largest rates that train without and with warmup, once both are known."""
    readings = phase_analysis.boundary(sweep)
    places = [(sweep.facets[0], length) for length in (sweep.lengths[0], sweep.lengths[-1])]
    if not all(place in readings for place in places):
        return
    ends = [(place[1], readings[place]) for place in places]
    (short, low), (long, high) = (
        (length, phase_report.rate_text(sweep.rates, phase_analysis.median_index(of))) for length, of in ends
    )
    without = "without warmup" if short == 0 else f"with a warmup of {short}"
    yield f"Largest peak rate that trains: {low} {without}, {high} with {long} updates of warmup."


def _best_table(experiment: Experiment) -> str:
    """Returns a table of the best groups: mean and deviation over the seeds of what they end with."""
    logged = {key for run in experiment.runs for key in run.run["final"]}
    metrics = [metric for metric, _ in experiments.SCORES if metric in logged]
    groups = experiments.best_first(experiment)
    shown = groups if len(groups) <= BEST + 2 else groups[:BEST]
    seeds = any(len(group.runs) > 1 for group in groups)
    titles = ["", "trained", *(f"{labels.label(metric).title}{_unit(metric)}" for metric in metrics)]
    rows = [
        [
            group.label,
            _fate(experiment, group),
            *(_with_deviation(experiments.score(experiment, group, metric)) for metric in metrics),
        ]
        for group in shown
    ]
    more = f"The best {len(shown)} of {len(groups)} settings. " if len(shown) < len(groups) else ""
    spread = (
        "Mean ± standard deviation over the seeds that did not diverge, at the end of training; settings of which a "
        "larger share trained stand first."
    )
    note = element("p", more + spread * seeds, **{"class": "soft"}) if more or seeds else ""
    return table([titles, *rows]) + note


def _fate(experiment: Experiment, group: Group) -> str:
    """Returns "2 of 3", or the state of a single run."""
    states = [experiment.runs[index].state for index in group.runs]
    if len(states) == 1 or phase_analysis.UNFINISHED in states:
        return ", ".join(dict.fromkeys(states))
    return f"{states.count('trained')} of {len(states)}"


def _score(experiment: Experiment, group: Group) -> Score:
    return experiments.score(experiment, group, experiment.score[0])


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _name(metric: str) -> str:
    title = labels.label(metric).title
    return title[:1].lower() + title[1:]


def _percent(metric: str) -> str:
    return " %" if labels.scaled(metric) != 1 else ""


def _unit(metric: str) -> str:
    return " [%]" if labels.scaled(metric) != 1 else ""


def _with_deviation(score: Score) -> str:
    if math.isnan(score.mean):
        return ""
    if not 1e-8 < score.deviation < 1e8 or abs(score.mean) > 1e8:
        return f"{score.mean:.4g}" + ("" if math.isnan(score.deviation) else f" ± {score.deviation:.2g}")
    decimals = max(1 - math.floor(math.log10(score.deviation)), 0)
    return f"{score.mean:.{decimals}f} ± {score.deviation:.{decimals}f}"


def _plots(number: int, family: str) -> str:
    return f'<div class="curves" data-experiment="{number}" data-family="{text(family)}"></div>'


def _phases(number: int, experiment: Experiment, sweeps: Sequence[Sweep | None]) -> str:
    parts = []
    for index, (record, sweep) in enumerate(zip(experiment.records, sweeps, strict=True)):
        if sweep is not None:
            parts += [element("h4", record.workdir)] if len(sweeps) > 1 else []
            parts += [
                element(
                    "p",
                    "Every cell is a peak rate and a warmup length, with the median of its seeds. The red line "
                    "separates rates that train (left) from rates that fail. ×: most seeds diverged; "
                    "/: most were stuck. "
                    + "A grey cell has not run yet. " * bool(sweep.missing)
                    + "A click on a cell shows its runs.",
                ),
                f'<div class="phase" data-experiment="{number}" data-record="{index}"></div>',
                folded("Largest rates that train", element("pre", phase_report.boundary_table(sweep))),
            ]
    return "".join(parts)


def _diagnostics(number: int, families: Sequence[str]) -> str:
    parts = [_plots(number, "diagnostics")] if "diagnostics" in families else []
    parts += [
        folded(f"{labels.label(f'diag/{family}').title} by layer", _plots(number, family))
        for family in families
        if family not in ("curves", "diagnostics")
    ]
    return "".join(parts)


def _texts(record: Record) -> str:
    """Returns a table of the texts that each run decoded at its last evaluation."""
    last = {line["run"]: line["step"] for line in record.texts}
    chosen = [line for line in record.texts if line["step"] == last[line["run"]]]
    if not chosen:
        return ""
    keys = [key for key in dict.fromkeys(key for line in chosen for key in line) if key not in ("run", "signature")]
    names = {run["run"]: run["label"] for run in record.runs}
    rows = [
        [str(line["run"]), names.get(line["run"], ""), *(str(line.get(key, "")) for key in keys)]
        for line in chosen[:MOST_TEXTS]
    ]
    more = len(chosen) - len(rows)
    return table([["run", "", *keys], *rows]) + (f"<p>{more} more in texts.jsonl</p>" if more else "")


def _all_runs(experiment: Experiment) -> str:
    """Returns one table of all runs, which can be sorted."""
    if not experiment.runs:
        return ""
    head, *body = tables.rows([run.run for run in experiment.runs])
    rows = [
        (*row, run.state, *([str(run.record.workdir)] if len(experiment.records) > 1 else []))
        for row, run in zip(body, experiment.runs, strict=True)
    ]
    titles = (*head, "outcome", *(["workdir"] if len(experiment.records) > 1 else []))
    count = len(rows)
    return folded(f"{count} run{'s' * (count > 1)} (click a column title to sort)", table([titles, *rows], True))


def _configs(experiment: Experiment) -> str:
    """Returns what differs between the configs or is swept, and the whole of each, folded."""
    records = experiment.records
    parts = []
    if len(records) > 1:
        different = labels.differences([(record.config, {}) for record in records])
        keys = list(dict.fromkeys(key for of in different for key in of))
        rows = [[key, *(str(of.get(key, "")) for of in different)] for key in keys]
        if rows:
            parts.append(table([["differs", *(str(record.workdir) for record in records)], *rows]))
    swept = [
        [key, ", ".join(page_data.word(each, key) for each in (values if isinstance(values, list) else [values]))]
        for record in records[:1]
        if isinstance(record.config.get("sweep"), Mapping)
        for key, values in record.config["sweep"].items()
        if values is not None
    ]
    if swept:
        parts.append(table([["swept", "values"], *swept]))
    for record in records:
        name = f" of {record.workdir}" if len(records) > 1 else ""
        parts.append(folded(f"Whole config{name}", _json(record.config)))
    return "".join(parts)


def _json(content: Mapping[str, Any]) -> str:
    return f"<pre>{text(json.dumps(content, indent=1, ensure_ascii=False), MOST_JSON)}</pre>"


def _files(record: Record) -> str:
    """Returns the files of a workdir and the commands that make it and this page."""
    command = record.environment.get("command")
    again = f"python {shlex.join(map(str, command))}" if isinstance(command, list) and command else ""
    commit = record.environment.get("git_commit")
    changed = "  # and changes that were not committed" if record.environment.get("git_dirty") is True else ""
    lines = [f"git checkout {commit}{changed}"] if isinstance(commit, str) else []
    lines += [again] if again else []
    lines.append(f"python -m warmup_jax.report {shlex.quote(str(record.workdir))}")
    costs = tables.costs(record.summary) if record.summary is not None else []
    rows = [[name, meaning] for name, meaning in FILES.items() if (record.workdir / name).exists()]
    return "".join(
        [
            element("p", str(record.workdir)),
            element("pre", "\n".join(lines)),
            *(element("p", line) for line in costs),
            table([["file", "content"], *rows]),
            folded("Environment", _json(record.environment)),
        ]
    )
