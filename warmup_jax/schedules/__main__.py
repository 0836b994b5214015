"""Looks at learning rates before anything is trained.

python -m warmup_jax.schedules list
  names, formulas and sources of every warmup, decay and recipe

python -m warmup_jax.schedules shapes [--out FILE.png]
  draws every warmup factor

python -m warmup_jax.schedules --config=configs/NAME.py[:ARG] [--config.KEY=VALUE ...] [--out FILE.png]
  draws the learning rate of each run of a config, prints what is suspicious about it
  and how many updates its warmup costs
"""

import re
import sys

from warmup_jax import schedules

LENGTH, TOTAL = 40, 100  # of the pictures of shapes
ARGUMENTS = {"value": 0.1, "exponent": 2.0, "tau": 10.0, "start": 0.01, "beta2": 0.95}


def listing() -> str:
    """Every entry of the tables: name, summary line, arguments' first source."""
    lines = []
    for title, table in (("warmups", schedules.WARMUPS), ("decays", schedules.DECAYS), ("recipes", schedules.RECIPES)):
        lines.append(f"{title}:")
        for name, function in table.items():
            summary = re.sub(r":math:`(.*?)`", r"\1", function.__doc__.split("\n")[0]).replace("\\", "")
            source = re.search(r"References:\n(.*?)(?:;\n|\Z)", function.__doc__, re.DOTALL)
            source = re.sub(r" ?<[^>]*>`_|`", "", " ".join(source[1].split())) if source else ""
            lines += [f"  {name:18} {summary}", *([f"  {'':18} {source}"] if source else [])]
    return "\n".join(lines)


def shapes(path: str) -> None:
    """Draws every warmup factor into one picture."""
    import inspect

    drawn = {}
    for name, function in schedules.WARMUPS.items():
        wanted = inspect.signature(function).parameters
        args = {arg: value for arg, value in ARGUMENTS.items() if arg in wanted}
        drawn[name] = function(**args, **({"warmup_steps": LENGTH} if "warmup_steps" in wanted else {}))
    schedules.plot(drawn, TOTAL, path, f"warmup factors, {LENGTH} updates where they have a length")


def describe(config: dict, path: str) -> str:
    """Draws the runs of a config; returns a paragraph for each."""
    from warmup_jax.training import build, schema, sweep

    schema.validate(config)
    train_size, lines, drawn = _train_size(config), [], {}
    num_steps = build.num_steps(config, train_size)
    for changes in sweep.expand(config):
        run = sweep.assign(config, changes)
        knobs = build.knobs(run, num_steps=num_steps, train_size=train_size)
        rate, label, peak = build.learning_rate(run, knobs), sweep.label(changes), float(knobs.peak_lr)
        drawn[label] = rate
        top = float(schedules.values(rate, num_steps).max())
        until = max(int(schedules.values(rate, num_steps).argmax()), 1)
        cost = schedules.effective_warmup(lambda t: rate(t) / top, until) if top > 0 else 0.0
        lines.append(f"{label}: {num_steps} updates, highest rate {top:.6g}, effective warmup {cost:.1f} updates")
        lint = schedules.lint(rate, num_steps, peak_lr=peak, warmup_steps=int(knobs.warmup_steps))
        lines += [f"  {sentence}" for sentence in lint] or ["  nothing suspicious"]
    schedules.plot(drawn, num_steps, path)
    return "\n".join([*lines, f"picture: {path}"])


def _train_size(config: dict) -> int:
    """Training examples; the data set is opened only if a length is given in epochs."""
    if config["num_epochs"] is None and config["warmup_epochs"] is None:
        return 1
    from warmup_jax import data

    return data.load(**config["dataset"]).train.size


def main(arguments: list[str]) -> None:
    """Runs the command."""
    if arguments[:1] == ["list"] and len(arguments) == 1:
        print(listing())
        return
    out = [arg.partition("=")[2] for arg in arguments if arg.startswith("--out=")]
    if arguments[:1] == ["shapes"]:
        shapes(out[-1] if out else "shapes.png")
        return
    if not any(arg.startswith("--config") for arg in arguments):
        sys.exit(__doc__)
    from absl import flags

    from warmup_jax import cli

    path = flags.DEFINE_string("out", "schedule.png", "the picture")

    def draw():
        try:
            print(describe(cli.CONFIG.value.to_dict(), path.value))
        except (ValueError, OSError) as error:
            cli.fail(error)

    cli.run(draw)


if __name__ == "__main__":
    main(sys.argv[1:])
