"""The runs of one or several workdirs as a table."""

from collections.abc import Sequence

# (metric, column of the table, how a value looks); those that no run has are left out
COLUMNS = (
    ("train/loss", "train loss", ".4g"),
    ("eval/loss", "test loss", ".4g"),
    ("eval/perplexity", "perplexity", ".4g"),
    ("eval/accuracy", "test accuracy", ".1%"),
    ("eval/bleu", "BLEU", ".2f"),
    ("eval/exact_match", "exact", ".1%"),
)


def table(summary: dict) -> str:
    """The runs of a summary, one a line, and what they cost."""
    lines = aligned(rows(summary["runs"]))
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join([*lines, *costs(summary)])


def rows(runs: Sequence[dict]) -> list[tuple[str, ...]]:
    """A row of titles and one for each run, all of text."""
    columns = [column for column in COLUMNS if any(column[0] in run["final"] for run in runs)]
    found = [("run", "", "peak rate applied", *(title for _, title, _ in columns), "best", "diverged")]
    for run in runs:
        best, diverged = run["best"], run["diverged_at"]
        found.append(
            (
                str(run["run"]),
                run["label"],
                _text(run["highest_rate"], ".4g"),
                *(_text(run["final"].get(key), spec) for key, _, spec in columns),
                f"{_text(best['eval/accuracy'], '.1%')} at {best['step']}" if best else "",
                "no" if diverged is None else f"at {diverged}",
            )
        )
    return found


def costs(summary: dict) -> list[str]:
    """Lines on the time and memory that the runs took, and on how BLEU was computed."""
    seconds = summary["seconds"]
    tokens = f"{summary['tokens_per_second']:.0f} tokens/s, " if "tokens_per_second" in summary else ""
    lines = [
        f"{seconds['total']:.0f} s in all, {seconds['to_first_step']:.1f} s to the first step, "
        f"{summary['examples_per_second']:.0f} examples/s, {tokens}"
        f"{summary['peak_memory_bytes'] / 2**30:.2f} GiB at most"
    ]
    return lines + ([f"BLEU: {summary['bleu_signature']}"] if summary["bleu_signature"] else [])


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Rows of equal length as lines with aligned columns."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]


def _text(value, spec: str) -> str:
    return "" if value is None else format(float(value), spec)
