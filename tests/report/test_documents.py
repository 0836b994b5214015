"""Documents are filled with results, and checked against them."""

import json
import re
import shutil
from pathlib import Path

import pytest
from commands import ROOT
from test_results import CONFIG, ENVIRONMENT, TOY

from warmup_jax.report import __main__ as program
from warmup_jax.report import documented, documents, results

# Experiments whose results are still to be measured: the documents hold the numbers of earlier versions until then.
WAITING = {"phase_diagram_resnet"}
# What looks like a measured figure, and the places where it is none or has another source.
FIGURE = re.compile(
    r"±|\+-|\d ?%|-fold\b|\btimes (?:as|our) |"
    r"\b(?:\d[\d.,]*|one|two|three|four|five|few) (?:to (?:\w+|[\d.]+) )?"
    r"(?:(?:micro|milli)?seconds?|minutes?|hours?|ms|s|MB|GiB)\b"
)
NO_RESULTS = {
    "README.md": ("Mean ± sample standard deviation", "falls below 80 %"),
    "docs/data.md": ("Sets up to 1 GiB",),
    "docs/development.md": ("mean ± standard deviation", "drift by 10 % within hours"),
    "docs/experiments.md": (
        "a single file of 2 to 6 MB",
        "mean ± standard deviation over the seeds",
    ),
    "docs/schedules.md": ("less than 5 microseconds",),
}
PAIR = re.compile(r"(<!-- results: .*? -->)(.*?)(<!-- /results -->)", re.DOTALL)
CONFIG_FILE = '''"""A toy.

python train.py --config=configs/toy.py
  Two lengths.
  Measured: nothing yet.

python train.py --config=configs/toy.py:other
  Measured: of another.
"""
from ml_collections import ConfigDict


def get_config(arg=None):
    return ConfigDict(dict(seed=7, sweep=dict(warmup_steps=(0, 50))))
'''
README = """# Toy
Of <!-- results: toy runs -->?<!-- /results --> runs the accuracy is
about <!-- results: toy value eval/accuracy warmup_steps=0 -->12 %<!-- /results -->,
in <!-- results: toy time -->a while<!-- /results -->.

<!-- results: toy table eval/accuracy -->
<!-- /results -->
"""
FILLED = """# Toy
Of <!-- results: toy runs -->6<!-- /results --> runs the accuracy is
about <!-- results: toy value eval/accuracy warmup_steps=0 -->90.0 ± 0.0 %<!-- /results -->,
in <!-- results: toy time -->a while<!-- /results -->.

<!-- results: toy table eval/accuracy -->

| test accuracy | without warmup | 50 updates of warmup |
|---|---|---|
|  | 90.0 ± 0.0 % | 90.0 ± 0.0 % |

<!-- /results -->
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a README, docs/ and configs/ of one documented experiment."""
    experiment = TOY._replace(
        pictures={"toy.png": "curves.png"},
        sentence="accuracy over {seeds} seeds {value eval/accuracy warmup_steps=0} without and "
        "{value eval/accuracy warmup_steps=50} with warmup.",
    )
    monkeypatch.setattr(documented, "EXPERIMENTS", {"toy": experiment})
    monkeypatch.setitem(documents.PICTURES, "curves.png", lambda path: (path / "curves.png").write_bytes(b"curves"))
    root = tmp_path / "project"
    for folder in ("docs", "configs"):
        (root / folder).mkdir(parents=True)
    (root / "README.md").write_text(README)
    (root / "docs" / "more.md").write_text("No quote.\n")
    (root / "configs" / "toy.py").write_text(CONFIG_FILE)
    return root


@pytest.fixture
def workdir(write):
    runs = [({"warmup_steps": length, "seed": seed}, "trained") for length in (0, 50) for seed in (7, 8, 9)]
    path = write(runs, config=CONFIG)
    (path / "environment.json").write_text(json.dumps(ENVIRONMENT))
    return path


def contents(root):
    return {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob("*")
        if path.suffix != ".pyc" and path.is_file()
    }


def test_the_command_fills_all_places_and_copies_the_picture(project, workdir, capsys):
    assert program.main(["--docs", f"--root={project}", str(workdir)]) == 0, capsys.readouterr().err
    assert (project / "README.md").read_text() == FILLED
    assert (project / "docs" / "toy.png").read_bytes() == (workdir / "curves.png").read_bytes()
    config = (project / "configs" / "toy.py").read_text()
    sentence = "Measured: accuracy over 3 seeds 90.0 +- 0.0 % without and 90.0 +- 0.0 % with\n  warmup."
    assert config == CONFIG_FILE.replace("Measured: nothing yet.", sentence)
    before = contents(project)
    capsys.readouterr()
    assert program.main(["--docs", f"--root={project}", str(workdir)]) == 0
    assert program.main(["--docs", f"--root={project}"]) == 0
    assert program.main(["--docs", "--check", f"--root={project}"]) == 0
    assert contents(project) == before and capsys.readouterr() == ("", "")


def test_a_time_is_quoted_of_a_run_that_was_alone(project, workdir):
    assert program.main(["--docs", f"--root={project}", str(workdir), "--alone"]) == 0
    assert "-->61 s on 2 cores of an AMD EPYC (jax 0.10.2)<!--" in (project / "README.md").read_text()
    assert "6 runs in 61 s on 2 cores" in " ".join((project / "configs" / "toy.py").read_text().split())
    before = contents(project)
    assert program.main(["--docs", f"--root={project}", str(workdir)]) == 0
    assert contents(project) == before  # the same run stays alone
    summary = json.loads((workdir / "summary.json").read_text())
    summary["seconds"]["total"] = 62.0
    (workdir / "summary.json").write_text(json.dumps(summary))
    assert program.main(["--docs", f"--root={project}", str(workdir)]) == 0
    assert not results.read(project / "docs" / results.NAME)["toy"]["alone"]


def test_without_results_the_places_stay_and_the_check_says_what_to_run(project, capsys):
    before = contents(project)
    assert program.main(["--docs", f"--root={project}"]) == 1
    assert contents(project) == before | {Path("docs/results.json"): b"{}\n"}
    assert (
        capsys.readouterr().err == f"results.json lacks toy; run: {documented.command(documented.EXPERIMENTS['toy'])}\n"
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("a <!-- results: toy runs -->6", "README.md, line 1: <!-- results: toy runs --> lacks <!-- /results -->"),
        ("\nx <!-- /results -->", "README.md, line 2: <!-- /results --> ends no quote"),
        (
            "a <!-- results: toy runs -->6\nb <!-- results: toy seeds -->3<!-- /results -->",
            "README.md, line 2: <!-- results: toy seeds --> stands before <!-- /results -->",
        ),
        (
            "<!-- results: toy runs -->6<!-- /results --> runs",
            "README.md, line 1: <!-- results: toy runs --> begins a line",
        ),
        ("a <!-- results: tyo runs -->6<!-- /results -->", "unknown experiment 'tyo'; did you mean 'toy'?"),
        ("a <!-- results: toy rnus -->6<!-- /results -->", "unknown view 'rnus'; did you mean 'runs'?"),
        ("a <!-- results: toy value eval/accuracy -->6<!-- /results -->", "2 of a group of runs named; allowed: 1"),
    ],
)
def test_a_wrong_marker_is_an_error_in_one_line_and_nothing_is_written(project, workdir, capsys, text, message):
    (project / "README.md").write_text(text)
    before = contents(project)
    assert program.main(["--docs", f"--root={project}", str(workdir)]) == 2
    out, err = capsys.readouterr()
    assert message in err and err.startswith("error: ") and err.count("\n") == 1 and not out
    assert contents(project) == before


def test_a_sentence_without_a_place_is_an_error(project, workdir, capsys):
    text = CONFIG_FILE.replace("  Measured: nothing yet.\n", "")
    (project / "configs" / "toy.py").write_text(text)  # that of the other command is not its place
    assert program.main(["--docs", f"--root={project}", str(workdir)]) == 2
    assert "configs/toy.py: no line begins with 'Measured:' below 'python train.py --config=configs/toy.py'" in (
        capsys.readouterr().err
    )


def test_two_workdirs_of_one_experiment_are_an_error(project, workdir, capsys):
    assert program.main(["--docs", f"--root={project}", str(workdir), str(workdir)]) == 2
    assert "and another workdir both hold toy" in capsys.readouterr().err


def test_a_workdir_is_for_no_check(project, workdir, capsys):
    assert program.main(["--docs", f"--root={project}", str(workdir), "--check"]) == 2
    assert capsys.readouterr().err == "error: --check reads no WORKDIR\n"


@pytest.mark.parametrize(
    "path, old, new, message",
    [
        ("README.md", ">6<", ">7<", "README.md, line 2: "),
        ("README.md", "| 90.0 ± 0.0 %", "| 90.1 ± 0.0 %", "README.md, line 10: "),
        ("README.md", "\n\n<!-- /results -->\n", "\n<!-- /results -->\n", "README.md, line 11: "),
        ("configs/toy.py", "90.0 +- 0.0", "90.0 +- 0.1", "configs/toy.py, line 5: "),
        ("configs/toy.py", "seed=7", "seed=8", "results.json: toy has another config than today; run: python train.py"),
        ("docs/results.json", '"runs": 6', '"runs": 7', "toy does not fit its digest"),
        ("docs/toy.png", None, b"another", "results.json: toy has another pictures than today"),
    ],
)
def test_the_check_notices_a_change(project, workdir, capsys, path, old, new, message):
    assert program.main(["--docs", f"--root={project}", str(workdir)]) == 0
    capsys.readouterr()
    file = project / path
    if old is None:
        file.write_bytes(new)
    else:
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, 1))
    assert program.main(["--docs", f"--root={project}", "--check"]) in (1, 2)
    assert message in capsys.readouterr().err


def test_an_experiment_that_is_documented_no_more_is_noticed_and_dropped(project, workdir, monkeypatch, capsys):
    assert program.main(["--docs", f"--root={project}", str(workdir)]) == 0
    (project / "README.md").write_text("Nothing.\n")
    monkeypatch.setattr(documented, "EXPERIMENTS", {})
    assert program.main(["--docs", f"--root={project}", "--check"]) == 1
    assert "results.json: toy is not documented" in capsys.readouterr().err
    assert program.main(["--docs", f"--root={project}"]) == 0
    assert results.read(project / "docs" / results.NAME) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", documents.PICTURES)
def test_a_picture_is_drawn_where_it_is_looked_for(name, write_sweep):
    workdir = write_sweep(
        (0.5, 1.0), {(0, 0): "td", (20, 0): "tt"}, more=lambda run, changes: {10: {"diag/sharpness": 8.0}}
    )
    documents.PICTURES[name](workdir)
    assert (workdir / name).read_bytes().startswith(b"\x89PNG")


def test_the_commands_are_printed_one_a_line(capsys):
    assert program.main(["--docs", "--commands"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(documented.EXPERIMENTS)
    assert lines[1] == (
        'python train.py --config=configs/resnet_warmup.py --config.sweep.peak_lr="(0.1,0.5,2.0)" '
        "--config.sweep.seeds=5 --workdir=runs/documented/resnet_rates"
    )


def test_the_documents_agree_with_the_results():
    lacking = [f"results.json lacks {name}; run: " for name in documented.EXPERIMENTS if name in WAITING]
    found = documents.check(ROOT)
    assert len(found) == len(lacking) and all(map(str.startswith, found, lacking)), (
        "run: python -m warmup_jax.report --docs [WORKDIR...] (docs/development.md)",
        found,
    )


@pytest.mark.parametrize("name", documented.EXPERIMENTS)
def test_the_command_of_an_experiment_stands_in_a_document(name):
    said = " ".join(" ".join(path.read_text() for path in documents.documents(ROOT)).replace("\\\n", " ").split())
    assert documented.command(documented.EXPERIMENTS[name]) in said


def test_every_picture_has_a_command():
    pictures = [name for experiment in documented.EXPERIMENTS.values() for name in experiment.pictures]
    by_other_commands = [
        "report.png",
        "shapes.png",
    ]  # a report of a phase diagram; python -m warmup_jax.schedules shapes
    assert sorted(pictures + by_other_commands) == sorted(path.name for path in (ROOT / "docs").glob("*.png"))


@pytest.mark.parametrize("path", documents.documents(ROOT), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_measured_figure_is_typed_by_hand(path):
    where, text = path.relative_to(ROOT).as_posix(), path.read_text()
    if where in ("docs/performance.md", "docs/reliability.md"):
        return  # tests/test_performance.py; written by benchmarks/reliability.py
    if path.suffix == ".py":
        text = re.sub(r"  Measured: .*?\n(?=\n|\"\"\")", "", text.split('"""')[1] + '"""', flags=re.DOTALL)
    else:
        text = PAIR.sub(" ", text)
    for known in NO_RESULTS.get(where, ()):
        assert known in text
        text = text.replace(known, "")
    assert [line for line in text.splitlines() if FIGURE.search(line)] == []


@pytest.mark.parametrize("path", documents.documents(ROOT), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_quote_is_compared(path):
    """Changes the last digit of each quote and of each sentence of a docstring, one at a time."""
    text, entries = path.read_text(), results.read(ROOT / "docs" / results.NAME)
    where = path.relative_to(ROOT).as_posix()
    found = {name: list(quotes_of(name, experiment, text)) for name, experiment in documented.EXPERIMENTS.items()}
    assert any(found.values()) or "<!-- results: " not in text
    for start, end in (place for name, of_name in found.items() if name not in WAITING for place in of_name):
        digit = max(place for place in range(start, end) if text[place].isdecimal())
        changed = f"{text[:digit]}{(int(text[digit]) + 1) % 10}{text[digit + 1 :]}"
        fill = documents.fill if path.suffix == ".md" else documents.fill_docstring
        assert fill(changed, entries, where) == text, text[start:end]


def quotes_of(name, experiment, text):
    """The places of a text where results of an experiment stand, without times that are no measurements."""
    for match in PAIR.finditer(text):
        if match[1].startswith(f"<!-- results: {name} ") and not match[1].endswith(" time -->"):
            yield match.span(2)
    command = re.escape(f"python train.py --config={experiment.config}")
    if experiment.sentence is not None:
        for match in re.finditer(rf"{command}\n(?:  .*\n)*?(  Measured: (?:.|\n)*?)\n\n", text):
            yield match.span(1)


@pytest.mark.parametrize(
    "path, pattern",
    [
        ("README.md", r"results: phase_diagram largest .*?-->1/(\d)"),
        ("docs/experiments.md", r"results: phase_diagram boundary .*?1/(\d)"),
        ("docs/diagnostics.md", r"results: diagnostics source -->.*?20(\d)"),
        ("docs/results.json", r'"mean": 0\.(\d)'),
        ("configs/phase_diagram.py", r"Measured: .*?(\d)"),
    ],
)
def test_a_changed_digit_fails_the_check(path, pattern, tmp_path, capsys):
    for name in ("README.md", "docs", "configs"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    file = tmp_path / path
    text = file.read_text()
    found = re.search(pattern, text, re.DOTALL)
    file.write_text(f"{text[: found.start(1)]}{(int(found[1]) + 1) % 10}{text[found.end(1) :]}")
    assert program.main(["--docs", "--check", f"--root={tmp_path}"]) in (1, 2)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"{path}, line ") or re.match(rf"error: {file}: \w+ does not fit its digest", last)
