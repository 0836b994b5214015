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
    """Returns a row of titles and a row for each run, as text."""
    columns = [column for column in COLUMNS if any(column[0] in run["final"] for run in runs)]
    diverged = any(run["diverged_at"] is not None for run in runs)  # a terminal of 80 columns has no room for more
    found = [("run", "", "peak rate", *(title for _, title, _ in columns), "best", *["diverged"] * diverged)]
    for run in runs:
        best, at = run["best"], run["diverged_at"]
        found.append(
            (
                str(run["run"]),
                run["label"],
                _text(run["highest_rate"], ".4g"),
                *(_text(run["final"].get(key), spec) for key, _, spec in columns),
                f"{_text(best['eval/accuracy'], '.1%')} at {best['step']}" if best else "",
                *["no" if at is None else f"at {at}"] * diverged,
            )
        )
    return found


def costs(summary: Mapping[str, Any]) -> list[str]:
    """Returns lines on the time and memory that the runs took, and the signature of BLEU."""
    seconds = summary["seconds"]
    tokens = f"{summary['tokens_per_second']:.0f} tokens/s, " if "tokens_per_second" in summary else ""
    lines = [
        f"{seconds['total']:.0f} s in all, {seconds['to_first_step']:.1f} s to the first step, "
        f"{summary['examples_per_second']:.0f} examples/s, {tokens}"
        f"{summary['peak_memory_bytes'] / 2**30:.2f} GiB at most"
    ]
    return lines + ([f"BLEU: {summary['bleu_signature']}"] if summary["bleu_signature"] else [])


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Formats rows of equal length as lines with aligned columns."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _text(value: float | str | None, spec: str) -> str:
    return "" if value is None else format(float(value), spec)
