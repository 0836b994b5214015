"""Tables of the runs of one or several workdirs, as text."""

from collections.abc import Mapping, Sequence
from typing import Any

# (metric, title of its column, format of a value); a metric that no run has is left out
COLUMNS = (
    ("train/loss", "train loss", ".4g"),
    ("eval/loss", "test loss", ".4g"),
    ("eval/perplexity", "perplexity", ".4g"),
    ("eval/accuracy", "test acc.", ".1%"),
    ("eval/bleu", "BLEU", ".2f"),
    ("eval/exact_match", "exact", ".1%"),
)


def table(summary: Mapping[str, Any]) -> str:
    """Returns a table of the runs in a summary, and lines on their cost."""
    lines = aligned(rows(summary["runs"]))
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join([*lines, *costs(summary)])


def rows(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Returns a row of titles and a row for each run, as text; what says nothing about any run has no column."""
    swept = dict.fromkeys(key for run in runs for key in run["changes"])
    columns = {"run": [str(run["run"]) for run in runs]}
    columns |= {key: [_word(run["changes"].get(key)) for run in runs] for key in swept}
    columns["highest rate"] = [_highest(run) for run in runs]
    for key, title, spec in COLUMNS:
        columns[title] = [_text(run["final"].get(key), spec) for run in runs]
    columns["best"] = [_best(run) for run in runs]
    if any(run["diverged_at"] is not None for run in runs):
        columns["diverged"] = ["no" if run["diverged_at"] is None else f"at {run['diverged_at']}" for run in runs]
    kept = {title: cells for title, cells in columns.items() if any(cells)}
    return [tuple(kept), *zip(*kept.values(), strict=True)]


def costs(summary: Mapping[str, Any]) -> list[str]:
    """Returns lines on the time and memory that the runs took, and the signature of BLEU."""
    seconds = summary["seconds"]
    tokens = f"{summary['tokens_per_second']:.0f} tokens/s, " if "tokens_per_second" in summary else ""
    lines = [
        f"total {seconds['total']:.0f} s, first update after {seconds['to_first_step']:.1f} s, "
        f"{summary['examples_per_second']:.0f} examples/s, {tokens}"
        f"peak memory {summary['peak_memory_bytes'] / 2**30:.2f} GiB"
    ]
    return lines + ([f"BLEU: {summary['bleu_signature']}"] if summary["bleu_signature"] else [])


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Formats rows of equal length as lines with aligned columns."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _highest(run: Mapping[str, Any]) -> str:
    """Returns the highest rate that was applied, "" if it is the peak rate that the sweep gives the run."""
    highest = _text(run["highest_rate"], ".4g")
    return "" if _text(_number(run["changes"].get("peak_lr")), ".4g") == highest else highest


def _best(run: Mapping[str, Any]) -> str:
    """Returns the best accuracy and its update, "" if the last one is as good."""
    best = run["best"]
    if not best or run["final"].get("eval/accuracy") == best["eval/accuracy"]:
        return ""
    return f"{_text(best['eval/accuracy'], '.1%')} at {best['step']}"


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def _word(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _text(value: float | str | None, spec: str) -> str:
    return "" if value is None else format(float(value), spec)
