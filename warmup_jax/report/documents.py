"""Fills the documents with the results of the documented experiments, and checks that they agree.

In Markdown a quote (`quotes.py`) stands between two comments: a table between lines of their own, a number within a
line. In the docstring of a config it is the sentence that begins with "Measured:" below the command.

    <!-- results: resnet_rates table eval/accuracy -->
    The peak rate of <!-- results: phase_diagram largest warmup_steps=16 -->1/4<!-- /results --> ...
"""

import argparse
import itertools
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from warmup_jax import places, registry
from warmup_jax.report import documented, phase_report, plots, quotes, results
from warmup_jax.report.results import Entry

MARKER = re.compile(r"<!--\s*(/?)results\b:?\s*(.*?)\s*-->")
END = "<!-- /results -->"
MEASURED = "Measured:"
RUNS = "runs/documented"  # where the printed commands put their workdirs
WIDTH = 80  # of the docstrings of configs
# name of a picture in a workdir -> function that draws it there, from the workdir's files
PICTURES: dict[str, Callable[[Path], object]] = {
    "curves.png": plots.curves,
    "diagnostics.png": plots.diagnostics,
    "phase_diagram.png": phase_report.phase_diagram,
}


def fill(text: str, entries: dict[str, Entry], where: str) -> str:
    """Fills the places between markers in a Markdown document; those of experiments without results stay as they are.

    Args:
      text: of the document.
      entries: of the results file.
      where: name of the document, for errors.

    Raises:
      ValueError: with the line of a marker that has no partner, or of a quote that means nothing.
    """
    parts, after = [], 0
    opened: re.Match[str] | None = None
    for marker in MARKER.finditer(text):
        if bool(marker[1]) == (opened is None):
            raise ValueError(
                f"{_place(text, marker, where)} {'ends no quote' if marker[1] else f'stands before {END}'}"
            )
        if opened is None:
            opened = marker
            continue
        try:
            found = _quote(opened[2], entries)
        except ValueError as error:
            raise ValueError(f"{_place(text, opened, where)}: {error}") from None
        begins = text.rfind("\n", 0, opened.start()) + 1 == opened.start()
        alone = begins and text.startswith("\n", opened.end())
        if begins and not alone:  # for Markdown such a line is HTML
            raise ValueError(f"{_place(text, opened, where)} begins a line; put a word before it, or nothing after it")
        parts.append(text[after : opened.end()])
        if found is None:
            parts.append(text[opened.end() : marker.start()])
        else:
            parts.append(f"\n\n{found}\n\n" if alone else found)
        after, opened = marker.start(), None
    if opened is not None:
        raise ValueError(f"{_place(text, opened, where)} lacks {END}")
    return "".join([*parts, text[after:]])


def fill_docstring(text: str, entries: dict[str, Entry], where: str) -> str:
    """Fills the sentences about measurements in the docstring of a config file, as `fill` does.

    Args:
      text: of the file.
      entries: of the results file.
      where: its name, "configs/NAME.py".

    Raises:
      ValueError: if a sentence has no place below its command, or quotes what means nothing.
    """
    for name, experiment in documented.EXPERIMENTS.items():
        if experiment.config.partition(":")[0] != where or experiment.sentence is None:
            continue
        line = f"python train.py --config={experiment.config}"
        found = re.search(rf"^{re.escape(line)}\n(?:  .*\n)*?(?=  {MEASURED})", text, re.MULTILINE)
        if found is None:
            raise ValueError(f"{where}: no line begins with {MEASURED!r} below {line!r}")
        if name in entries:
            text = text[: found.end()] + _sentence(name, entries) + text[text.index("\n\n", found.end()) :]
    return text


def _quote(words: str, entries: dict[str, Entry]) -> str | None:
    """Returns the text of a quote; None to leave what stands there, because there are no results yet."""
    name = words.partition(" ")[0]
    registry.lookup("experiment", documented.EXPERIMENTS, name)
    return quotes.quote(words, entries[name]) if name in entries else None


def _place(text: str, marker: re.Match[str], where: str) -> str:
    """Names a marker, for errors."""
    return f"{where}, line {text.count(chr(10), 0, marker.start()) + 1}: {marker[0]}"


def _sentence(name: str, entries: dict[str, Entry]) -> str:
    """Returns the sentence of an experiment, wrapped and indented, in ASCII."""
    sentence = documented.EXPERIMENTS[name].sentence
    assert sentence is not None
    said = re.sub(r"\{(.*?)\}", lambda place: quotes.quote(f"{name} {place[1]}", entries[name]) or "", sentence)
    took = quotes.quote(f"{name} time", entries[name])
    said += f" {entries[name]['runs']} runs in {took}." if took else ""
    said = said.replace("±", "+-").replace("≥", "at least").replace("< ", "below ")
    return textwrap.fill(
        f"{MEASURED} {said}", WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
    )


def documents(root: Path) -> list[Path]:
    """Returns the documents that may quote results: README.md, docs/*.md and the config files."""
    configs = {root / experiment.config.partition(":")[0] for experiment in documented.EXPERIMENTS.values()}
    return [root / "README.md", *sorted((root / "docs").glob("*.md")), *sorted(configs)]


def filled(root: Path, path: Path, entries: dict[str, Entry]) -> str:
    """Returns a document below `root` with its quotes filled in.

    Raises:
      ValueError: as `fill` and `fill_docstring` do.
      OSError: if it cannot be read.
    """
    text, where = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
    return (fill if path.suffix == ".md" else fill_docstring)(text, entries, where)


def check(root: Path) -> list[str]:
    """Returns all differences between documents, pictures, configs and the results file, one line each.

    Raises:
      ValueError: if the results file or a marker is damaged.
      OSError: if a file cannot be read.
    """
    path = root / "docs" / results.NAME
    entries, found = results.read(path), []
    for name in [*documented.EXPERIMENTS, *(name for name in entries if name not in documented.EXPERIMENTS)]:
        if name not in documented.EXPERIMENTS:
            found.append(f"{path.name}: {name} is not documented")
        elif name not in entries:
            found.append(f"{path.name} lacks {name}; run: {documented.command(documented.EXPERIMENTS[name])}")
        else:
            found += _check_entry(root, name, entries[name])
    for document in documents(root):
        here = document.read_text(encoding="utf-8").splitlines()
        there = filled(root, document, entries).splitlines()
        for number, (mine, theirs) in enumerate(itertools.zip_longest(here, there, fillvalue=""), 1):
            if mine != theirs:
                where = document.relative_to(root).as_posix()
                found.append(f"{where}, line {number}: {mine.strip()!r}; by {path.name}: {theirs.strip()!r}")
                break
    return found


def _check_entry(root: Path, name: str, entry: Entry) -> list[str]:
    """Returns the differences between an entry, its experiment and its pictures."""
    experiment = documented.EXPERIMENTS[name]
    expected = {
        "command": documented.command(experiment),
        "config": results.config_digest(documented.config(experiment, root)),
        "pictures": {
            picture: results.sha256((root / "docs" / picture).read_bytes()) for picture in experiment.pictures
        },
    }
    differing = [key for key, value in expected.items() if entry[key] != value]
    return [f"{results.NAME}: {name} has another {key} than today; run: {expected['command']}" for key in differing]


def update(root: Path, workdirs: Sequence[Path], alone: bool) -> list[str]:
    """Writes the results of finished workdirs, their pictures and all documents; returns what `check` still finds.

    Args:
      root: folder of README.md, docs/ and configs/.
      workdirs: of documented experiments, each at most once; those of the others keep their results.
      alone: True if the workdirs were trained with nothing else on the machine, so that their times may be quoted.

    Raises:
      ValueError: if a workdir is unknown or unfinished, or a marker is damaged; nothing is written then.
      OSError: if a file cannot be read or written.
    """
    path = root / "docs" / results.NAME
    before = results.read(path)
    configs = {name: documented.config(experiment, root) for name, experiment in documented.EXPERIMENTS.items()}
    entries, contents = dict(before), {}
    for workdir in workdirs:
        name, record = results.recognise(workdir, configs)
        if name in contents:
            raise ValueError(f"{workdir} and another workdir both hold {name}")
        contents[name] = _pictures(workdir, name)
        entry = results.entry(documented.EXPERIMENTS[name], record, contents[name], alone)
        if not alone and before.get(name, {}).get("alone") and results.same_run(entry, before[name]):
            entry = results.entry(documented.EXPERIMENTS[name], record, contents[name], alone=True)
        entries[name] = entry
    said = {document: filled(root, document, entries) for document in documents(root)}
    _write(path, results.text(entries).encode())
    for of_workdir in contents.values():
        for picture, content in of_workdir.items():
            _write(root / "docs" / picture, content)
    for document, of_document in said.items():
        _write(document, of_document.encode())
    return check(root)


def _pictures(workdir: Path, name: str) -> dict[str, bytes]:
    """Draws the pictures of an experiment anew; returns name in docs/ -> content."""
    found = {}
    for picture, source in documented.EXPERIMENTS[name].pictures.items():
        PICTURES[source](workdir)
        found[picture] = (workdir / source).read_bytes()
    return found


def _write(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all, and not if it is so already."""
    if path.exists() and path.read_bytes() == content:
        return
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
    print(f"wrote {path}")


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit status: 1 if something differs or is missing, 2 for a user's mistake."""
    options = _parser().parse_args(arguments)
    if options.commands:
        for name, experiment in documented.EXPERIMENTS.items():
            print(f"{documented.command(experiment)} --workdir={RUNS}/{name}")
        return 0
    try:
        root = places.local("--root", options.root).resolve()
        workdirs = [places.local("WORKDIR", workdir) for workdir in options.workdirs]
        if options.check and workdirs:
            raise ValueError("--check reads no WORKDIR")
        found = check(root) if options.check else update(root, workdirs, options.alone)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    for line in found:
        print(line, file=sys.stderr)
    return int(bool(found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m warmup_jax.report --docs",
        description="Fills README.md, docs/ and the docstrings of configs/ with the results of finished runs.",
        allow_abbrev=False,
    )
    parser.add_argument("workdirs", nargs="*", type=Path, metavar="WORKDIR", help="folder of a documented experiment")
    parser.add_argument(
        "--root", type=Path, default=Path("."), help="folder of README.md, docs/ and configs/ (default: this folder)"
    )
    parser.add_argument("--check", action="store_true", help="only compare; exit status 1 if something differs")
    parser.add_argument("--commands", action="store_true", help="print the commands of the documented experiments")
    parser.add_argument(
        "--alone", action="store_true", help="nothing else ran on the machine: the times of these runs may be quoted"
    )
    return parser
