"""Output of train_step.py: the table, as text or Markdown, and the lines on the work of each side."""

import math
import statistics

from train_step_rows import is_text

LOSS_TOLERANCE = 0.05
NOISY = {"tiny": 0.1}  # tolerance for models whose first loss differs by 5 % between seeds
# The largest relative differences from this code. Flax's examples have other layers and another initialisation.
PLAIN = dict(parameters=0.0, flops=0.01, first_loss=LOSS_TOLERANCE)
TOLERANCES = {
    "ours": PLAIN,
    "eager": PLAIN,
    "compiled": PLAIN,
    "flax": dict(parameters=0.02, flops=0.02, first_loss=0.2),
}
COLUMNS = {
    "side": 11,
    "time / ours": 19,
    "by CPU time": 19,
    "ms a step": 24,
    "CPU ms": 9,
    "MFU %": 6,
    "first step s": 12,
    "cached s": 8,
    "peak MB": 8,
    "training MB": 12,
}
BY_CPU_TIME = "by CPU time"


def heading(columns, markdown):
    if markdown:
        return "\n".join(f"| {' | '.join(each)} |" for each in (["model", *columns], ["---"] * (1 + len(columns))))
    return aligned(columns, columns)


def lines(model, row, rounds, columns, markdown):
    """Returns the lines of one model, one for each side."""
    table = [[cells(name, rounds)[column] for column in columns] for name in rounds[0] if name != "rate"]
    if markdown:
        return "\n".join(f"| {model} | {' | '.join(each)} |" for each in table)
    return "\n".join([f"{model}: {row['title']}"] + [aligned(each, columns) for each in table])


def aligned(each, columns):
    """Returns a line of text, with the side to the left and numbers to the right."""
    width = COLUMNS[columns[0]]
    return " ".join(
        [f"{'  ' + each[0]:{width}}"] + [f"{cell:>{COLUMNS[column]}}" for cell, column in zip(each[1:], columns[1:])]
    )


def cells(name, rounds):
    """Returns the cells of a side by column."""
    of = {key: [each[name][key] for each in rounds] for key in ("wall", "cpu", "first", "peak", "training")}
    ratio = {clock: [each[name][clock] / each["ours"][clock] for each in rounds] for clock in ("wall", "cpu")}
    operations = 3 * rounds[0][name]["flops"]
    mfu = [100 * operations / (each[name]["wall"] / 1e3) / each["rate"]["rate"] for each in rounds]
    alone = lambda values: f"{values[0]:.2f}" if name == "ours" else spread(values, ".2f")
    return {
        "side": name,
        "time / ours": alone(ratio["wall"]),
        BY_CPU_TIME: alone(ratio["cpu"]),
        "ms a step": spread(of["wall"], ".1f"),
        "CPU ms": f"{statistics.median(of['cpu']):.1f}",
        "MFU %": f"{statistics.median(mfu):.1f}",
        "first step s": f"{of['first'][0]:.1f}",
        "cached s": f"{statistics.median(of['first'][1:]):.1f}" if len(rounds) > 1 else "-",
        "peak MB": f"{statistics.median(of['peak']):.0f}",
        "training MB": "-" if None in of["training"] else f"{statistics.median(of['training']):.0f}",
    }


def rate(rounds):
    return spread([each["rate"]["rate"] / 1e9 for each in rounds], ".1f")


def agreement(model, row, sides, smoke):
    """Returns lines on the work of each side; ends the program if a side did different work from this code."""
    ours = sides["ours"]
    for name, side in sides.items():
        allowed = TOLERANCES[name] | (dict(first_loss=math.inf) if smoke else {})
        if not smoke and name != "flax" and model in NOISY:
            allowed |= dict(first_loss=NOISY[model])
        if smoke and name == "flax":  # the biases that it lacks are a large part of a tiny model
            allowed |= dict(parameters=math.inf)
        for quantity, tolerance in allowed.items():
            if not abs(difference(side, ours, quantity)) <= tolerance:
                raise SystemExit(
                    f"{model}: ours and {name} differ in {quantity} by {difference(side, ours, quantity):+.2%}, "
                    f"{ours[quantity]:,} and {side[quantity]:,}; allowed: {tolerance:.0%}"
                )
    shape = (" + " if is_text(row) else "x").join(map(str, row["input_shape"]))
    found = [
        f"- {model}: {ours['parameters']:,} parameters, {3 * ours['flops'] / 1e9:.4g} GFLOP a step, batch "
        f"{row['batch_size']} of {shape}, {row['num_classes']} classes, label smoothing {row['label_smoothing']}, "
        f"dropout {row['model'].get('dropout', 0.0)}, {row['model']['dtype']}"
    ]
    for name, side in sides.items():
        other = "".join(
            f"{quantity} {difference(side, ours, quantity):+.2%}, "
            for quantity in ("parameters", "flops")
            if side[quantity] != ours[quantity]
        )
        found.append(
            f"  - {name}: {side['about']}; {other}loss {side['first_loss']:.3f} after the first dispatch, "
            f"{side['last_loss']:.3f} after the last"
        )
    return "\n".join(found)


def difference(side, ours, quantity):
    return side[quantity] / ours[quantity] - 1


def spread(values, form):
    """Formats values as "median (lowest to highest)", or a single value alone."""
    if len(values) == 1:
        return format(values[0], form)
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
