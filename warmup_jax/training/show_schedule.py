"""Shows the learning rates of a config before anything is trained.

python -m warmup_jax.training.show_schedule --config=configs/NAME.py[:ARG] [--config.KEY=VALUE ...] [--out=FILE.png]
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from warmup_jax import cli, data, pictures, places, schedules
from warmup_jax.report import groups, labels, plots
from warmup_jax.training import build, schema, sweep


def describe(config: Mapping[str, Any], path: str) -> str:
    """Draws the learning rate of each run of a config; returns a paragraph for each run.

    Args:
      config: a nested dict with all keys of a config.
      path: file of the picture.

    Returns:
      For each run its highest rate, its effective warmup, and what `schedules.lint` found.

    Raises:
      ValueError, OSError: for a config or data set that cannot be used.
    """
    schema.validate(config)
    runs = [(changes, sweep.assign(config, changes)) for changes in sweep.expand(config)]
    train_size, lines, drawn = _train_size(config, [run for _, run in runs]), [], []
    for changes, run in runs:
        num_steps = build.num_steps(run, train_size)
        updates = np.arange(1, num_steps + 1)  # as the log counts them
        knobs = build.knobs(run, num_steps=num_steps, train_size=train_size)
        rate, label = build.learning_rate(run, knobs), sweep.label(changes)
        rates = schedules.values(rate, num_steps)
        drawn.append((changes, {"opt/learning_rate": (updates, rates)}, None))
        highest, peak_at = float(rates.max()), max(int(rates.argmax()), 1)
        factor = lambda t, rate=rate, highest=highest: rate(t) / highest  # bound, as both change with the next run
        cost = schedules.effective_warmup(factor, peak_at) if highest > 0 else 0.0
        lines.append(f"{label}: {num_steps} updates, highest rate {highest:.6g}, effective warmup {cost:.1f} updates")
        found = schedules.lint(rate, num_steps, peak_lr=float(knobs.peak_lr), warmup_steps=int(knobs.warmup_steps))
        lines += [f"  {sentence}" for sentence in found] or ["  nothing suspicious"]
    figure = plots.draw(groups.lines(drawn), ["opt/learning_rate"], labels.headline(config))
    pictures.save(figure, Path(path))
    return "\n".join([*lines, f"picture: {path}"])


def _train_size(config: Mapping[str, Any], runs: Iterable[Mapping[str, Any]]) -> int:
    """Returns the number of training examples; opens the data set only if a run has a length in epochs."""
    if all(run["num_epochs"] is None and run["warmup_epochs"] is None for run in runs):
        return 1
    return data.load(**config["dataset"]).train.size


def main(arguments: cli.Arguments) -> None:
    """Runs the command; exit status 2 for a user's mistake."""
    try:
        out = places.local("--out", "schedule.png" if arguments.options["out"] is None else arguments.options["out"])
        print(describe(arguments.config.to_dict(), str(out)))
    except (ValueError, OSError) as error:
        cli.fail(error)


if __name__ == "__main__":
    cli.run(main, __doc__, out=("FILE.png", "the picture; by default schedule.png"))
