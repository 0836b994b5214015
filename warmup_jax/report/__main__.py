"""Command line: one self-contained HTML page about the runs in some workdirs.

With --docs as its first argument it fills the documents of this repository instead.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from warmup_jax import places, streams
from warmup_jax.report import documents, pages


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    It is 2, with one line of error for each damage, for a workdir that cannot be read or is damaged. The page shows
    what is left of them; only if there is nothing left, no page is written.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--docs"]:
        return documents.main(given[1:])
    options = _parser().parse_args(given)
    damages: list[str] = []
    written = False
    try:
        workdirs = [places.local("WORKDIR", workdir) for workdir in options.workdirs]
        home = workdirs[0] if len(workdirs) == 1 else Path()
        out = home / "report.html" if options.out is None else places.local("--out", options.out)
        out.write_text(pages.page(workdirs, options.threshold, damages), encoding="utf-8")
        written = True
    except (ValueError, OSError) as error:
        damages.append(" ".join(str(error).split()))
    for line in damages:
        print(f"error: {line}", file=sys.stderr)
    if written:
        print(f"report: {out}")
    return 2 if damages else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m warmup_jax.report", description=__doc__)
    parser.add_argument("workdirs", nargs="+", type=Path, metavar="WORKDIR", help="folder of a run, finished or not")
    parser.add_argument(
        "--out",
        type=Path,
        help="the page (default: report.html in the workdir; of several workdirs, in the current folder)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help="train loss below which a run of a phase diagram has trained (default: from the run)",
    )
    return parser


if __name__ == "__main__":
    streams.begin_program()
    sys.exit(main())
