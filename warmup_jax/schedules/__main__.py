"""Shows schedules before anything is trained.

python -m warmup_jax.schedules list [--markdown] [--out=FILE.md]
  prints every warmup, decay and recipe with its formula and source; with --out
  it replaces the tables in FILE.md, which stand between two marker lines

python -m warmup_jax.schedules shapes [--out=FILE.png]
  draws every warmup factor

python -m warmup_jax.schedules --config=configs/NAME.py[:ARG] [--config.KEY=VALUE ...] [--out=FILE.png]
  draws the learning rate of each run of a config, and reports dead updates,
  jumps, a peak that is not reached and how many updates the warmup costs
"""

import argparse
import inspect
import re
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from warmup_jax import places, schedules, streams

TABLES: dict[str, Mapping[str, Any]] = {
    "Warmups": schedules.WARMUPS,
    "Decays": schedules.DECAYS,
    "Recipes": schedules.RECIPES,
}
BEGIN = "<!-- begin: python -m warmup_jax.schedules list --markdown -->"
END = "<!-- end -->"
# What the pictures of shapes show: warmups of 40 updates within the first 100, and one value for each other argument.
WARMUP_STEPS, NUM_STEPS = 40, 100
ARGUMENTS = {"value": 0.1, "exponent": 2.0, "tau": 10.0, "start": 0.01, "beta2": 0.95}


def summary(function: Callable, markdown: bool = False) -> str:
    """Returns the first line of a docstring, its formulas as plain text or as Markdown code."""
    first = (inspect.getdoc(function) or "").split("\n")[0].replace("``", "`")
    first = re.sub(r":math:`(.*?)`", lambda formula: f"`{plain_formula(formula[1])}`", first)
    return first if markdown else first.replace("`", "")


def plain_formula(latex: str) -> str:
    r"""Returns a LaTeX formula as it would be typed in an email: ``\sqrt{x}^{-2}`` as ``sqrt(x)^(-2)``."""
    text = latex.replace(r"\,", " ").replace(r"\cdot", "*")
    text = re.sub(r"\\cos \\pi (\w+)", r"cos(pi \1)", text)
    text = re.sub(r"_\{(\w+)\}", r"_\1", text)
    text = re.sub(r"\\sqrt\{([^{}]*)\}", r"sqrt(\1)", text)
    text = re.sub(r"\^\{([^{}]*)\}", r"^(\1)", text)
    return text.replace("\\", "")


def sources(function: Callable, markdown: bool = False) -> list[str]:
    """Returns the entries of a docstring's References, links as Markdown or left out."""
    found = re.search(r"References:\n(.*)", inspect.getdoc(function) or "", re.DOTALL)
    entries = " ".join(found[1].split()).split("; ") if found else []
    link = r"[\1](\2)" if markdown else r"\1"
    return [re.sub(r"`([^`<]*?) ?<([^>]*)>`_", link, entry).replace("`", "") for entry in entries]


def listing() -> str:
    """Returns every entry of the tables as text: name, summary, first source."""
    lines = []
    for title, table in TABLES.items():
        lines.append(f"{title.lower()}:")
        for name, function in table.items():
            lines.append(f"  {name:20} {summary(function)}")
            lines += [f"  {'':20} {source}" for source in sources(function)[:1]]
    return "\n".join(lines)


def markdown() -> str:
    """Returns the tables as Markdown: name in a config, function with its arguments, formula, sources."""
    lines = []
    for title, table in TABLES.items():
        lines += [f"### {title}", "", "| name | function | description | sources |", "|---|---|---|---|"]
        for name, function in table.items():
            cells = (f"`{name}`", f"`{call(function)}`", summary(function, True), "; ".join(sources(function, True)))
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def call(function: Callable) -> str:
    """Returns how a function is called, without annotations: "linear_warmup(warmup_steps, count='one')"."""
    parameters = inspect.signature(function).parameters.values()
    bare = [str(parameter.replace(annotation=parameter.empty)) for parameter in parameters]
    return f"{function.__name__}({', '.join(bare)})"


def replace_tables(path: str) -> None:
    """Replaces what stands between the two marker lines of a file by the tables."""
    before, begin, rest = Path(path).read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} lacks the line {BEGIN if not begin else END}")
    Path(path).write_text(f"{before}{BEGIN}\n\n{markdown()}\n{END}{after}")


def shapes(path: str) -> None:
    """Draws every warmup factor into one picture."""
    drawn = {}
    for name, function in TABLES["Warmups"].items():
        given = ARGUMENTS | {"warmup_steps": WARMUP_STEPS}
        wanted = inspect.signature(function).parameters
        drawn[name] = function(**{argument: value for argument, value in given.items() if argument in wanted})
    title = f"Warmup factors, {WARMUP_STEPS} updates where they have a length"
    schedules.plot(drawn, NUM_STEPS, path, title)


def main(arguments: list[str]) -> None:
    """Runs the command; exit status 2 for a user's mistake."""
    if any(argument.startswith(("--config", "-config")) for argument in arguments):
        # By name, because this package lies below `training` and must not import it.
        runpy.run_module("warmup_jax.training.show_schedule", run_name="__main__")
        return
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "list" and options.out and not options.markdown:
        parser.error("argument --out: it needs --markdown")
    try:
        out = places.local("--out", options.out) if options.out is not None else None
        if options.command == "shapes":
            shapes(str(out or "shapes.png"))
        elif out:
            replace_tables(str(out))
        else:
            print(markdown() if options.markdown else listing())
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m warmup_jax.schedules",
        usage="python -m warmup_jax.schedules list|shapes|--config=FILE ... [--out=FILE]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    list_parser = commands.add_parser("list", help="every warmup, decay and recipe", allow_abbrev=False)
    list_parser.add_argument("--markdown", action="store_true", help="as Markdown tables")
    list_parser.add_argument("--out", metavar="FILE.md", help="replace the tables in this file")
    shapes_parser = commands.add_parser("shapes", help="a picture of every warmup factor", allow_abbrev=False)
    shapes_parser.add_argument("--out", metavar="FILE.png", help="the picture (default: shapes.png)")
    return parser


if __name__ == "__main__":
    streams.begin_program()
    main(sys.argv[1:])
