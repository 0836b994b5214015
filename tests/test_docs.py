"""The documents agree with the code: commands, examples, tables, links, reading list."""

import importlib
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import warmup_jax
from warmup_jax import diagnostics, optimizers, schedules, transforms
from warmup_jax.models import MODELS
from warmup_jax.schedules import __main__ as program
from warmup_jax.schedules import ports

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
DOCUMENTS = [*ROOT.glob("*.md"), *DOCS.glob("**/*.md"), *(ROOT / "benchmarks").glob("*.md")]


def table(document, header):
    """The rows below a header of a Markdown table, as lists of cells."""
    lines = (DOCS / document).read_text().partition(f"\n{header}\n")[2].splitlines()[1:]
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), lines))
    assert rows, f"{document} has no table {header}"
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_the_two_commands_set_up_an_environment_of_their_own():
    setup = "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt && .venv/bin/python "
    lines = README.splitlines()
    assert f"{setup}train.py --config=configs/resnet_warmup.py" in lines
    assert next(line for line in lines if "pytest" in line) == f"{setup}-m pytest -q"


def test_the_example_of_the_readme_runs():
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    names = {}
    exec(code, names)
    assert float(names["rate"](499)) == pytest.approx(1e-3)
    params = {"w": np.ones(3, np.float32)}
    state = names["optimizer"].init(params)
    for error, expected in ((0.9, 0.01), (0.7, 0.1 * 1.9)):  # a tenth of the rate; then momentum, 1 + 0.9
        updates, state = names["optimizer"].update(params, state, params, error=error)
        assert -float(updates["w"][0]) == pytest.approx(expected)


def test_one_version():
    assert f"\nversion: {warmup_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert newest == warmup_jax.__version__


def test_tables_of_schedules_are_what_the_command_prints():
    text = (DOCS / "schedules.md").read_text()
    between = text.partition(program.BEGIN)[2].partition(program.END)[0]
    assert between.strip() == program.markdown().strip(), (
        "run: python -m warmup_jax.schedules list --markdown --out=docs/schedules.md"
    )


def test_every_transformation_has_a_row():
    rows = table("schedules.md", "| name | effect | source |")
    assert sorted(row[0] for row in rows) == sorted(f"`{name}`" for name in transforms.TRANSFORMS)


def test_every_count_of_the_progress_has_a_row():
    rows = table("schedules.md", "| `count` | x | counted so by |")
    assert {re.match(r'`"(\w+)"`', row[0])[1] for row in rows} == set(schedules.COUNTS)


COMING_FROM = {row[0]: re.match(r"`(.*?)`", row[1])[1] for row in table("porting.md", "| you know | write |")}


@pytest.mark.parametrize("library", COMING_FROM)
def test_a_row_of_porting_works(library):
    rate = eval(COMING_FROM[library], {name: getattr(ports, name) for name in dir(ports)})
    values = [float(rate(t)) for t in (0, 1, 600)]
    assert np.isfinite(values).all() and max(values) > 0


def test_every_ported_library_has_a_row_of_its_own():
    first = {re.match(r"\w+", expression)[0] for expression in COMING_FROM.values()}
    assert first == {name.partition(".")[0] for name in ports.PORTS}


def test_every_diagnostic_has_a_row():
    rows = table("diagnostics.md", "| `diagnose=` | measures (`diag/...`) | when, at what cost | source |")
    assert [row[0].strip("`") for row in rows] == list(diagnostics.DIAGNOSTICS)


def test_every_model_and_optimizer_is_listed():
    rows = table("models.md", "| `config.model.name` | model |")
    assert {row[0].strip("`") for row in rows} == set(MODELS)
    row = next(row for row in table("experiments.md", "| config | what it trains |") if "optimizer=" in row[0])
    assert set(row[1].partition(": ")[2].partition("; ")[0].split(", ")) == set(optimizers.OPTIMIZERS) - {"none"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    text = path.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        there = (path.parent / file) if file else path
        assert there.exists(), f"{path}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [ROOT / "README.md", *DOCS.glob("*.md")], ids=lambda path: path.name)
def test_files_that_a_document_names_exist(path):
    named = re.findall(
        r"(?<![/\w])(?:warmup_jax|configs|tests|benchmarks|docs|examples)/[\w/]*(?:\.\w+)?", path.read_text()
    )
    for name in set(named) - {"configs/NAME.py"}:
        assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_every_package_has_its_place_in_the_map():
    rows = {row[1].strip("`/") for row in table("development.md", "| level | package | content |")}
    packages = {
        path.name for path in (ROOT / "warmup_jax").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert packages - {"__init__.py"} <= rows


NAMED_CONFIGS = {
    named
    for path in (ROOT / "README.md", *DOCS.glob("*.md"))
    for named in re.findall(r"configs/(\w+)\.py(?::([\w,=+]+))?", path.read_text())
    if named[0] not in ("NAME", "common")
}


@pytest.mark.parametrize("name, arg", sorted(NAMED_CONFIGS))
def test_a_named_config_exists(name, arg):
    config = importlib.import_module(f"configs.{name}").get_config(arg or None)
    assert config.model.name in MODELS


def reading_list():
    section = (DOCS / "development.md").read_text().partition("## One training of a ResNet")[2].partition("\n## ")[0]
    return [ROOT / path for path in re.findall(r"^\d+\. \[([^\]]+)\]", section, re.MULTILINE)]


def test_the_reading_list_takes_an_evening():
    files = reading_list()
    assert 8 <= len(files) <= 12
    assert sum(len(path.read_text().splitlines()) for path in files) <= 2500
