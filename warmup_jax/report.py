"""Plots and tables of a run, made from its log files alone."""

from pathlib import Path

from warmup_jax import logs

PANELS = (("opt/learning_rate", "learning rate"), ("train/loss", "train loss"),
          ("eval/accuracy", "test accuracy"))
LEGEND_RUNS = 12  # with more runs than this a legend hides the curves


def curves(workdir: Path) -> Path:
    """Draws learning rate, train loss and test accuracy of every run; returns the path of the picture."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = logs.read_lines(workdir / "metrics.jsonl")
    runs = logs.read_json(workdir / "summary.json")["runs"]
    colors = pyplot.get_cmap("viridis")
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(13, 3.8), layout="constrained")
    for axis, (key, title) in zip(axes, PANELS):
        for index, run in enumerate(runs):
            points = [(line["step"], line[key]) for line in lines if line["run"] == run["run"] and key in line]
            marker = "o" if len(points) < 20 else None
            axis.plot(*zip(*points), color=colors(0.85 * index / max(len(runs) - 1, 1)),
                      label=run["label"], marker=marker, markersize=3.5, linewidth=1.4)
        axis.set(title=title, xlabel="updates")
        axis.grid(alpha=0.25)
    axes[1].set_yscale("symlog", linthresh=1.0)
    if len(runs) <= LEGEND_RUNS:
        axes[0].legend(frameon=False)
    path = workdir / "curves.png"
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def table(summary: dict) -> str:
    """The runs of a summary, one a line."""
    head = ("run", "", "peak rate applied", "train loss", "test loss", "test accuracy", "best", "diverged")
    rows = [head]
    for run in summary["runs"]:
        final, diverged = run["final"], run["diverged_at"]
        rows.append((str(run["run"]), run["label"], f"{run['highest_rate']:.4g}",
                     _number(final["train/loss"]), _number(final["eval/loss"]),
                     f"{final['eval/accuracy']:.1%}",
                     f"{run['best']['eval/accuracy']:.1%} at {run['best']['step']}",
                     "no" if diverged is None else f"at {diverged}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    seconds = summary["seconds"]
    lines.append(f"{seconds['total']:.0f} s in all, {seconds['to_first_step']:.1f} s to the first step, "
                 f"{summary['examples_per_second']:.0f} examples/s, "
                 f"{summary['peak_memory_bytes'] / 2**30:.2f} GiB at most")
    return "\n".join(lines)


def _number(value: float | str) -> str:
    return f"{float(value):.4g}"
