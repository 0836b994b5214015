"""Quotes: a number or table of the results file as the documents show it.

A quote is a name of an experiment, a view and its arguments: metrics by their names, knobs as KEY=VALUE.

- `resnet_rates value eval/accuracy peak_lr=2.0 warmup_steps=0`: 44.6 ± 13.9 %, mean and standard deviation over seeds;
  with diverged runs the median, which counts them as the worst, and how many they are
- `resnet_rates table eval/accuracy`: all values, with a column for each length of the warmup
- `phase_diagram largest warmup_steps=16`: the largest rate that trains; `rates`, `lengths`: all of them in words;
  `boundary`: as a table
- `phase_diagram sharpness`, `edge`: two numbers in words, the ends of a range
- `resnet_rates runs`, `seeds`, `uninformed`: numbers
- `resnet_rates source`: the hardware, versions and date
- `resnet_rates time`: minutes and hardware, if nothing else ran on the machine; else whatever stands there
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from warmup_jax import registry
from warmup_jax.report.results import Entry

# metric -> (how a table calls it, format of a value); "%" multiplies by 100
METRICS = {
    "eval/accuracy": ("test accuracy", ".1%"),
    "eval/exact_match": ("exact translations of unseen numbers", ".1%"),
    "eval/loss": ("test loss", ".2f"),
    "diag/relative_update": ("relative update", ".0%"),
    "diag/dead_units": ("dead units", ".0%"),
    "diag/noise_squared_norm": ("squared norm of the gradient", ".2g"),
}
NORMS = {"post": "Post-LN", "pre": "Pre-LN"}
VOWELS = "AEIOU"


def quote(words: str, entry: Entry) -> str | None:
    """Returns the text of a quote; None to leave what stands there: a time that is no measurement.

    Args:
      words: experiment, view and arguments.
      entry: of that experiment.

    Raises:
      ValueError: if there is no such view, or not one thing that its arguments name.
    """
    _, _, rest = words.partition(" ")
    view, *arguments = rest.split() or [""]
    function = registry.lookup("view", VIEWS, view)
    metrics = [argument for argument in arguments if "=" not in argument]
    knobs = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    return function(entry, metrics, knobs)


def _value(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str:
    found = _only([group for group in entry["groups"] if _fits(group["knobs"], knobs)], "group of runs")
    return _statistics(found, _only(metrics, "metric"))


def _table(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str:
    metric = _only(metrics, "metric")
    groups = [group for group in entry["groups"] if _fits(group["knobs"], knobs)]
    if not all("warmup_steps" in group["knobs"] for group in groups):
        raise ValueError("the runs do not differ in warmup_steps, the columns of a table")
    lengths = sorted({group["knobs"]["warmup_steps"] for group in groups})
    rows: dict[str, dict[int, str]] = {}
    for group in groups:
        rows.setdefault(_row_title(group["knobs"]), {})[group["knobs"]["warmup_steps"]] = _statistics(group, metric)
    return markdown(
        [_metric(metric)[0], *(f"{length} updates of warmup" if length else "without warmup" for length in lengths)],
        [[title, *(row.get(length, "") for length in lengths)] for title, row in rows.items()],
    )


def _largest(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str:
    places = _places(entry, knobs)
    return _rate(entry, _only(places, "warmup length")["median"])


def _rates(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str:
    return _and([_rate(entry, place["median"]) for place in _places(entry, knobs)])


def _lengths(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str:
    return _and([str(length) for length in dict.fromkeys(place["warmup_steps"] for place in _places(entry, knobs))])


def _boundary(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str:
    places = _places(entry, knobs)
    return markdown(
        ["warmup", *(str(place["warmup_steps"]) for place in places)],
        [["largest peak rate that trains", *(_rate(entry, place["median"]) for place in places)]],
    )


def _sharpness(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str:
    return " to ".join(f"{number:.3g}" for number in _phase(entry)["initial_sharpness"] or _missing("sharpness"))


def _edge(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str:
    return " and ".join(f"{number:.1f}" for number in _phase(entry)["edge"] or _missing("sharpness"))


def _runs(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str:
    return str(entry["runs"])


def _seeds(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str:
    return str(len(entry["seeds"]))


def _uninformed(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str:
    return f"{entry['uninformed_loss'] or _missing('uninformed loss'):.2f}"


def _source(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str:
    return f"{_hardware(entry)}, jax {entry['versions']['jax']}, {entry['date']}"


def _time(entry: Entry, metrics: Sequence[str], knobs: dict[str, str]) -> str | None:
    if not entry["alone"]:
        return None
    minutes = entry["seconds"] / 60
    length = f"{entry['seconds']:.0f} s" if minutes < 1.5 else f"{minutes:.0f} minutes"
    return f"{length} on {_hardware(entry)} (jax {entry['versions']['jax']})"


VIEWS: dict[str, Callable[[Entry, Sequence[str], dict[str, str]], str | None]] = {
    "value": _value,
    "table": _table,
    "largest": _largest,
    "rates": _rates,
    "lengths": _lengths,
    "boundary": _boundary,
    "sharpness": _sharpness,
    "edge": _edge,
    "runs": _runs,
    "seeds": _seeds,
    "uninformed": _uninformed,
    "source": _source,
    "time": _time,
}


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [titles, *rows]).replace(
        "\n", f"\n|{'---|' * len(titles)}\n", 1
    )


def _statistics(group: dict[str, Any], metric: str) -> str:
    """Formats mean and deviation, "44.6 ± 13.9 %"; the median where runs diverged."""
    spec = _metric(metric)[1]
    found = registry.lookup("metric", group["metrics"], metric)
    total = len(found["values"])
    if found["mean"] is not None:
        spread = "" if found["sd"] is None else f" ± {_format(found['sd'], spec)}"
        return f"{_format(found['mean'], spec)}{spread}{' %' if '%' in spec else ''}"
    failed = len(group["diverged"]) or sum(not math.isfinite(float(value)) for value in found["values"])
    if total == 1 or failed == total:
        return "diverged"
    median = float(found["median"])
    shown = f"{_format(median, spec)}{' %' if '%' in spec else ''}" if math.isfinite(median) else "diverged"
    return f"median {shown}, {failed} of {total} seeds diverged"


def _format(number: float, spec: str) -> str:
    return f"{float(number):{spec}}".removesuffix("%")


def _metric(metric: str) -> tuple[str, str]:
    return registry.lookup("metric", METRICS, metric.partition("@")[0])


def _row_title(knobs: dict[str, Any]) -> str:
    """Names a row of a table by its knobs besides the length of the warmup."""
    others = {key: value for key, value in knobs.items() if key != "warmup_steps"}
    words = {"peak_lr": "peak rate {}", "norm": "{}"}
    return ", ".join(words.get(key, f"{key} {{}}").format(NORMS.get(value, value)) for key, value in others.items())


def _places(entry: Entry, knobs: dict[str, str]) -> list[dict[str, Any]]:
    places = [
        place
        for place in _phase(entry)["largest"]
        if _fits(place["knobs"] | {"warmup_steps": place["warmup_steps"]}, knobs)
    ]
    facets = {str(place["knobs"]) for place in places}
    if len(facets) != 1:
        raise ValueError(f"{len(facets)} maps fit; allowed: one, named by {', '.join(facets) or 'other knobs'}")
    return places


def _phase(entry: Entry) -> dict[str, Any]:
    return entry["phase"] or _missing("phase diagram")


def _missing(what: str) -> Any:
    raise ValueError(f"there is no {what} in the results")


def _rate(entry: Entry, rate: float | None) -> str:
    """Formats a largest rate: powers of two below 1 as fractions; "≥" at the top of the grid, "<" below its bottom."""
    rates = entry["phase"]["rates"]
    sign = "< " if rate is None else "≥ " if rate == rates[-1] else ""
    shown = rates[0] if rate is None else rate
    power = shown < 1 and math.frexp(shown)[0] == 0.5
    return f"{sign}{f'1/{1 / shown:.0f}' if power else f'{shown:g}'}"


def _fits(knobs: dict[str, Any], wanted: dict[str, str]) -> bool:
    """Returns True if the knobs have the wanted values, numbers compared as numbers."""

    def same(value: Any, text: str) -> bool:
        try:
            return float(value) == float(text)
        except (TypeError, ValueError):
            return str(value) == text

    return all(key in knobs and same(knobs[key], text) for key, text in wanted.items())


def _only(found: Sequence[Any], what: str) -> Any:
    if len(found) != 1:
        raise ValueError(f"{len(found)} of a {what} named; allowed: 1")
    return found[0]


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _hardware(entry: Entry) -> str:
    """Names the processors: "2 cores of an AMD EPYC", "1 NVIDIA H200"."""
    kinds = [device.partition(" ")[2] for device in entry["devices"]]
    if not entry["devices"][0].startswith("cpu:"):
        return f"{len(kinds)} {kinds[0]}"
    cores = f"{entry['cores']} core{'s' * (entry['cores'] > 1)}"
    return f"{cores} of a{'n' * (entry['cpu'][0] in VOWELS)} {entry['cpu']}"
