"""The HTML report: what is in it, that nothing gets out of its place, and what is refused."""

import base64
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from warmup_jax.report.__main__ import main

ROOT = Path(__file__).parent.parent.parent
RUNS = [({"warmup_steps": 0}, "diverged"), ({"warmup_steps": 50}, "trained")]
SUMMARY = {
    "data": {},
    "uninformed_loss": None,
    "seconds": {"total": 61.0, "to_first_step": 2.25},
    "examples_per_second": 1234.4,
    "peak_memory_bytes": 2**29,
    "bleu_signature": None,
}
TAGS = set("html head meta title style body h1 h2 h3 p div table thead tbody tr th td pre img details summary".split())
HOSTILE = "</pre></td><script>alert(1)</script><img src=x onerror=alert(2)>\"' &amp; \ud800"


class Page(HTMLParser):
    """Tags that are open, and the text, pictures and tables of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.pictures, self.tables = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "img":
            self.pictures.append(dict(attributes))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    @property
    def text(self):
        return "".join(self.texts)


@pytest.fixture
def make(tmp_path):
    """Runs the command on workdirs; returns the page it wrote."""

    def make_page(*arguments):
        out = tmp_path / "page.html"
        assert main([*map(str, arguments), f"--out={out}"]) == 0
        return Page(out.read_text(encoding="utf-8"))

    return make_page


def assert_harmless(page):
    assert {tag for tag, _ in page.tags} <= TAGS
    for _, attributes in page.tags:
        assert set(attributes) <= {"lang", "charset", "http-equiv", "content", "name", "class", "src", "alt"}
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
    for picture in page.pictures:
        assert base64.b64decode(picture["src"].partition(",")[2]).startswith(b"\x89PNG")


def write_texts(workdir, *lines):
    (workdir / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_everything_about_one_run(write, make):
    workdir = write(RUNS, more=lambda run, _: {1: {"diag/ratio": 1.0, "diag/norm/head": 2.0}})
    write_texts(
        workdir,
        *(
            {"step": step, "run": run, "written": f"said {step} {run}", "signature": "s"}
            for step in (10, 20)
            for run in (0, 1)
        ),
    )
    page = make(workdir)
    assert_harmless(page)
    table, texts = page.tables
    assert [row[1] for row in table] == ["", "warmup_steps=0", "warmup_steps=50"] and table[1][-1] == "at 11"
    assert texts == [["step", "run", "written"], ["20", "0", "said 20 0"], ["20", "1", "said 20 1"]]
    assert [picture["alt"] for picture in page.pictures] == ["curves", "diagnostics", "norm"]
    assert "61 s in all" in page.text and '"seed": 7' in page.text and '"python": "3.11"' in page.text
    assert "unfinished" not in page.text and "All runs" not in page.text


def test_a_phase_diagram_with_its_table(write_sweep, make):
    workdir = write_sweep((0.1, 0.2), {(0, 0): "ts", (8, 0): "tt"})
    before = sorted(workdir.iterdir())
    page = make(workdir)
    assert [picture["alt"] for picture in page.pictures] == ["curves", "phase diagram"]
    assert "4 runs: 3 trained, 1 stuck, 0 diverged" in page.text and "8             >=0.2" in page.text
    assert "4 runs: 4 trained" in make(workdir, "--threshold=2.45").text
    assert sorted(workdir.iterdir()) == before, "a report writes nothing into a workdir"


def test_several_workdirs_come_together_first(write, make):
    one, two = write(RUNS, "one"), write(RUNS[1:], "two")
    page = make(one, two)
    assert_harmless(page)
    joint, *alone = page.tables
    assert [(row[0], row[2]) for row in joint] == [
        ("workdir", ""),
        (str(one), "warmup_steps=0"),
        (str(one), "warmup_steps=50"),
        (str(two), "warmup_steps=50"),
    ]
    assert [len(table) for table in alone] == [3, 2]
    assert [picture["alt"] for picture in page.pictures] == ["curves of all runs", "curves", "curves"]
    assert [text for text in page.texts if text in ("All runs", str(one), str(two))] == [
        "All runs",
        *[str(one)] * 2,
        str(two),
        str(one),
        str(two),
    ]


def test_hostile_text_stays_text(write, make):
    workdir = write(
        [({"name": HOSTILE}, "trained")],
        "<b>run",
        config={HOSTILE: HOSTILE},
        bleu_signature=HOSTILE,
        more=lambda *_: {1: {f'diag/x" onerror="alert(3)/{HOSTILE}': 1.0}},
    )
    write_texts(workdir, {"step": 20, "run": 0, HOSTILE: HOSTILE})
    (workdir / "environment.json").write_text(json.dumps({"command": [HOSTILE]}))
    page = make(workdir)
    assert_harmless(page)
    shown = HOSTILE.replace("\ud800", "?")
    assert page.tables[0][1][1] == f"name={shown}" and page.tables[1] == [["step", "run", shown], ["20", "0", shown]]
    assert f"BLEU: {shown}" in page.text and page.pictures[1]["alt"] == 'x" onerror="alert(3)'
    assert page.text.count("alert(1)") >= 6


def test_an_unfinished_run_is_reported_as_such(write, make):
    workdir = write(RUNS, summary=None)
    with open(workdir / "metrics.jsonl", "a") as file:
        file.write('{"step": 21, "run": 0, "tra')  # still being written, or killed in the act
    (workdir / "environment.json").unlink()
    page = make(workdir)
    assert "This run is unfinished" in page.text and [row[0] for row in page.tables[0]] == ["run", "0", "1"]
    (workdir / "metrics.jsonl").unlink()
    page = make(workdir)
    assert "This run is unfinished" in page.text and not page.tables and not page.pictures


def test_only_some_of_many_texts_are_shown(write, make):
    workdir = write(RUNS)
    write_texts(workdir, *({"step": 20, "run": 0, "written": str(number)} for number in range(103)))
    page = make(workdir)
    assert len(page.tables[1]) == 101 and "3 more in texts.jsonl" in page.text


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("config.json", None, "holds no run: there is no config.json"),
        ("config.json", "{", "config.json is damaged: Expecting"),
        ("config.json", "[]", "config.json is damaged: it holds no JSON object"),
        ("environment.json", "\x00", "environment.json is damaged"),
        ("metrics.jsonl", '{"step": 1, "run": 0}\n{"step": 2, "ru\n', "metrics.jsonl, line 2 is damaged"),
        ("metrics.jsonl", '{"step": 1, "run": 0}\n{"step": 2, "ru', "metrics.jsonl, line 2 is damaged"),
        ("metrics.jsonl", '{"step": 1}\n', "line 1 is damaged: no object with the integers 'step' and 'run'"),
        ("metrics.jsonl", "3\n", "line 1 is damaged: no object"),
        ("metrics.jsonl", '{"step": 1, "run": 0, "train/loss": "high"}\n', "train/loss='high' is no number"),
        ("metrics.jsonl", '{"step": 1, "run": 0, "train/loss": null}\n', "train/loss=None is no number"),
        ("metrics.jsonl", '{"step": 1, "run": 0, "train/loss": true}\n', "train/loss=True is no number"),
        ("texts.jsonl", "\n", "texts.jsonl, line 1 is damaged"),
        ("summary.json", "{}", "summary.json is damaged: it lacks 'runs'"),
        ("summary.json", json.dumps(SUMMARY | {"runs": [{"run": 0}]}), "summary.json is damaged: a run lacks 'label'"),
    ],
)
def test_what_cannot_be_reported_is_one_line_and_status_2(write, tmp_path, capsys, file, content, message):
    workdir = write(RUNS)
    (workdir / file).unlink(missing_ok=True)
    if content is not None:
        (workdir / file).write_text(content)
    assert main([str(workdir), f"--out={tmp_path}/page.html"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and str(workdir) in err and err.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


def test_the_command_runs_and_a_page_that_cannot_be_written_is_one_line(write):
    answer = subprocess.run(
        [sys.executable, "-m", "warmup_jax.report", str(write(RUNS)), "--out=/no/such/page.html"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 2 and answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1
