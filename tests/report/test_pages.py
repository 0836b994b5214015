"""The HTML report: what is in it, that nothing gets out of its place, and what is refused."""

import base64
import gzip
import hashlib
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from warmup_jax.report import page_data
from warmup_jax.report.__main__ import main

ROOT = Path(__file__).parent.parent.parent
RUNS = [({"warmup_steps": 0}, "diverged"), ({"warmup_steps": 50}, "trained")]
WARMUPS = (("sgd", "no warmup"), ("sgd", "warmup 50"), ("adam", "warmup 50"))
DATA = ("plotly", "numbers")
BEGUN = ((0.1, 0), (0.2, 0), (0.1, 8))
SUMMARY = {
    "data": {},
    "uninformed_loss": None,
    "seconds": {"total": 61.0, "to_first_step": 2.25},
    "examples_per_second": 1234.4,
    "peak_memory_bytes": 2**29,
    "bleu_signature": None,
}
TAGS = set("html head meta title style body nav main h1 h2 h3 h4 p ul li a div table thead tbody tr th td pre".split())
TAGS |= set("details summary noscript script".split())
ATTRIBUTES = set("lang charset http-equiv content name class id href type hidden open".split())
ATTRIBUTES |= {"data-experiment", "data-family", "data-record"}
HOSTILE = "</pre></td><script>alert(1)</script><img src=x onerror=alert(2)>\"' &amp; $title \ud800"


class Page(HTMLParser):
    """Tags that are open, and the text, scripts and tables of a page."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.texts, self.scripts, self.tables, self.links = [], [], [], {}, [], []
        self.source = source
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)
        if tag == "script":
            self.scripts[dict(attributes).get("id", "")] = ""
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[list(self.scripts)[-1]] += data
            return
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    @property
    def text(self):
        return "".join(self.texts)

    @property
    def numbers(self):
        """Returns the numbers that the script of the page draws, a dict for each experiment."""
        return json.loads(unpacked(self.scripts["numbers"]))

    def table(self, *titles):
        """The rows below the first table with these titles."""
        return next(rows[1:] for rows in self.tables if rows[0][: len(titles)] == list(titles))


def unpacked(text):
    return gzip.decompress(base64.b64decode(text, validate=True)).decode()


@pytest.fixture
def make(tmp_path):
    """Runs the command on workdirs; returns the page it wrote."""

    def make_page(*arguments, status=0):
        out = tmp_path / "page.html"
        assert main([*map(str, arguments), f"--out={out}"]) == status
        return Page(out.read_text(encoding="utf-8"))

    return make_page


def assert_harmless(page):
    """Nothing but the two scripts of the page can run, and nothing can be fetched."""
    assert {tag for tag, _ in page.tags} <= TAGS
    for tag, attributes in page.tags:
        assert set(attributes) <= ATTRIBUTES
        assert attributes.get("href", "#").startswith("#")
        assert tag != "script" or attributes in ({}, *({"type": "text/plain", "id": name} for name in DATA))
    assert set(page.scripts) == {"", *DATA}
    policy = next(attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes)
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in (page.scripts[""], unpacked(page.scripts["plotly"]))
    }
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and set(rules["script-src"].split()) == hashes
    assert set(rules) == {"default-src", "img-src", "style-src", "script-src"} and rules["img-src"] == "data: blob:"


def write_texts(workdir, *lines):
    (workdir / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_everything_about_one_run(write, make):
    workdir = write(RUNS, more=lambda run, _: {1: {"diag/sharpness": 1.0, "diag/grad_norm/head": 2.0}})
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
    assert page.table("", "trained") == [
        ["warmup 50", "trained", "90", "0.5", "0.4"],
        ["no warmup", "diverged", "0", "", ""],
    ]
    runs = page.table("run", "warmup_steps", "highest rate")
    assert [row[1] for row in runs] == ["0", "50"] and runs[0][-2:] == ["at 11", "diverged"]
    assert page.table("run", "", "step", "written") == [
        ["0", "warmup_steps=0", "20", "said 20 0"],
        ["1", "warmup_steps=50", "20", "said 20 1"],
    ]
    (numbers,) = page.numbers
    assert {panel["key"]: panel["family"] for panel in numbers["panels"]} == {
        "train/loss": "curves",
        "opt/learning_rate": "curves",
        "eval/loss": "curves",
        "eval/accuracy": "curves",
        "diag/sharpness": "diagnostics",
        "diag/grad_norm/head": "grad_norm",
    }
    shown = [attributes["data-family"] for _, attributes in page.tags if attributes.get("class") == "curves"]
    assert shown == ["curves", "diagnostics", "grad_norm"]
    assert "total 61 s" in page.text and '"seed": 7' in page.text and '"python": "3.11"' in page.text
    assert (
        "1 of 2 runs learned something, 1 diverged. Test accuracy: 90 % with warmup 50, 0 % with no warmup."
        in page.text
    )
    assert "unfinished" not in page.text and "python -m warmup_jax.report" in page.text


def test_curves_hold_what_was_logged_until_a_run_diverged(write, make):
    page = make(write(RUNS, more=lambda run, _: {10: {"train/loss": [1e30, 1.5][run]}, 15: {"train/loss": 5.0}}))
    (numbers,) = page.numbers
    loss, rate, *_ = numbers["panels"]
    curves = [(numbers["steps"][steps], values) for steps, values in loss["runs"].values()]
    assert curves == [([1, 10], [2.5, 1e30]), ([1, 10, 15, 20], [2.5, 1.5, 5.0, 0.4])]
    assert numbers["runs"][0]["diverged"] == 11 and loss["high"] < 10, "the axis does not follow the diverging loss"
    assert rate["title"] == "Learning rate" and rate["runs"]["1"][1] == [0.025, 0.25, 0.5] and rate["log"] is False


def test_seeds_are_one_group_with_median_and_extent(write, make):
    runs = [({"warmup_steps": 4, "seed": seed}, "trained") for seed in range(3)]
    (numbers,) = make(write(runs, more=lambda run, _: {20: {"train/loss": [0.1, 0.5, 0.3][run]}})).numbers
    (group,) = numbers["groups"]
    assert group["runs"] == [0, 1, 2] and numbers["on"] == [0]
    steps, middle, low, high = numbers["panels"][0]["groups"]["0"]
    assert numbers["steps"][steps] == [1, 10, 20]
    assert (middle, low, high) == ([2.5, 1.0, 0.3], [2.5, 1.0, 0.1], [2.5, 1.0, 0.5])


def test_the_best_settings_come_first_with_mean_and_deviation(write, make):
    rates = {0.1: (0.7, 0.8, 0.9), 0.2: (0.9, 0.9, 0.9), 0.4: (0.95, 0.95, 0.95)}
    states = {0.1: ("trained",) * 3, 0.2: ("trained",) * 3, 0.4: ("trained", "trained", "diverged")}
    runs = [({"lr": rate, "seed": seed}, states[rate][seed]) for rate in rates for seed in range(3)]
    page = make(write(runs, more=lambda run, of: {20: {"eval/bleu": 100 * rates[of["lr"]][of["seed"]]}}))
    said = (
        "Test BLEU: 90 ± 0 with lr 0.2, 80 ± 10 with lr 0.1, 95 ± 0 with lr 0.4 (mean ± standard deviation of the seeds"
    )
    assert f"8 of 9 runs learned something, 1 diverged. {said} that did not diverge)." in page.text
    found = [row[:3] for row in page.table("", "trained", "Test BLEU")]
    assert found == [["lr 0.2", "3 of 3", "90 ± 0"], ["lr 0.1", "3 of 3", "80 ± 10"], ["lr 0.4", "2 of 3", "95 ± 0"]]


def test_a_phase_diagram_with_its_table(write_sweep, make):
    workdir = write_sweep((0.1, 0.2), {(0, 0): "ts", (8, 0): "tt"})
    before = sorted(workdir.iterdir())
    page = make(workdir)
    (phase,) = page.numbers[0]["phases"]
    assert phase["cells"] == [[[[0], [1]], [[2], [3]]]] and phase["boundary"] == [[0, 1]]
    assert phase["states"] == [[["trained", "stuck"], ["trained", "trained"]]]
    assert [panel["title"] for panel in phase["maps"]][:2] == ["Final train loss", "Final test error [%]"]
    assert phase["maps"][0]["values"] == [[[0.4, 2.4], [0.4, 0.4]]]
    assert "4 runs: 3 trained, 1 stuck, 0 diverged" in page.text and "8             >=0.2" in page.text
    assert "Largest peak rate that trains: 0.1 without warmup, >=0.2 with 8 updates of warmup." in page.text
    assert "4 runs: 4 trained" in make(workdir, "--threshold=2.45").text
    assert sorted(workdir.iterdir()) == before, "a report writes nothing into a workdir"


def test_the_page_of_one_workdir_is_written_into_it(write, tmp_path, capsys, monkeypatch):
    one, two = write(RUNS, "one"), write(RUNS, "two")
    monkeypatch.chdir(tmp_path)
    assert main([str(one)]) == main([str(one), str(two)]) == 0
    assert capsys.readouterr().out == f"report: {one / 'report.html'}\nreport: report.html\n"
    assert (one / "report.html").exists() and (tmp_path / "report.html").exists()


def test_metrics_that_tell_nothing_more_are_left_out(write, make):
    more = lambda *_: {
        step: {"train/tokens": 8.0, "opt/grad_norm": 1.0 * step, "diag/grad_norm": 1.0, "diag/edge_ratio": 1.0}
        for step in (1, 10)
    }
    config = {"optimizer_args": {"momentum": 0.0}, "num_steps": 50, "peak_lr": 0.03125}
    page = make(write(RUNS, more=more, config=config, uninformed_loss=2.3))
    panels = {panel["key"]: panel for panel in page.numbers[0]["panels"]}
    assert set(panels) == {"train/loss", "opt/learning_rate", "eval/loss", "eval/accuracy", "opt/grad_norm"}
    assert panels["train/loss"]["reference"] == [2.3, "loss of the best prediction that ignores the input"]
    assert [run["end"] for run in page.numbers[0]["runs"]] == [50, 50] and "peak rate 1/32." in page.text
    config["optimizer_args"]["momentum"] = 0.9
    page = make(write(RUNS, "momentum", more=more, config=config))
    assert "diag/edge_ratio" in {panel["key"] for panel in page.numbers[0]["panels"]}


def test_what_became_of_runs_is_said_with_its_definition(write, make):
    runs = [({"warmup_steps": 0}, "stuck"), ({"warmup_steps": 20}, "stuck"), ({"warmup_steps": 5}, "trained")]
    page = make(write(runs, uninformed_loss=2.5))
    assert "1 of 3 runs learned something, 1 stuck, 1 still in the warmup at the end." in page.text
    assert "at least 10 % below that of a model that ignores its input, here below 2.25." in page.text


def test_the_sharpness_is_no_limit_for_adam(write, make):
    more = lambda *_: {10: {"diag/sharpness": 4.0}}
    for optimizer, words in (("sgd", "unstable above 2 / rate."), ("adamw", "Not a limit for AdamW: measure ")):
        (numbers,) = make(write(RUNS, optimizer, more=more, config={"optimizer": optimizer})).numbers
        assert words in next(panel["sentence"] for panel in numbers["panels"] if panel["key"] == "diag/sharpness")


def test_workdirs_of_one_model_and_data_share_a_section(write, make):
    one, two = (
        write(runs, name, config={"optimizer": optimizer})
        for runs, name, optimizer in ((RUNS, "one", "sgd"), (RUNS[1:], "two", "adam"))
    )
    page = make(one, two)
    assert_harmless(page)
    (numbers,) = page.numbers
    labels = [group["label"] for group in numbers["groups"]]
    assert labels == [f"optimizer {name}, {warmup}" for name, warmup in WARMUPS] and len(numbers["runs"]) == 3
    assert [row[-1] for row in page.table("run", "warmup_steps")] == [str(one), str(one), str(two)]
    assert page.table("differs", str(one), str(two)) == [["optimizer", "sgd", "adam"]]


def test_equal_runs_of_two_workdirs_stay_apart(write, make):
    (numbers,) = make(write(RUNS[1:], "one"), write(RUNS[1:], "two")).numbers
    assert [group["runs"] for group in numbers["groups"]] == [[0], [1]]
    assert numbers["groups"][0]["label"] != numbers["groups"][1]["label"]


def test_other_models_data_or_losses_have_their_own_section(write, make):
    configs = ({"model": {"name": "fcn"}}, {"dataset": {"name": "digits"}}, {"loss": "mse"})
    page = make(*(write(RUNS, str(number), config=config) for number, config in enumerate(configs)))
    assert_harmless(page)
    assert [len(numbers["runs"]) for numbers in page.numbers] == [2, 2, 2]
    assert page.text.count("3 experiments") == 2, "the title of the window and of the page"
    assert [row[1:3] for row in page.table("experiment")] == [["2", "1 trained, 1 diverged"]] * 3


def test_hostile_text_stays_text(write, make):
    workdir = write(
        [({"word": HOSTILE}, "trained"), ({"word": "b"}, "trained")],
        "<b>run",
        config={HOSTILE: HOSTILE, "model": {"name": HOSTILE}, "sweep": {HOSTILE: [HOSTILE]}},
        bleu_signature=HOSTILE,
        more=lambda *_: {1: {f'diag/x" onerror="alert(3)/{HOSTILE}': 1.0}},
    )
    write_texts(workdir, {"step": 20, "run": 0, HOSTILE: HOSTILE})
    (workdir / "environment.json").write_text(json.dumps({"command": [HOSTILE]}))
    page = make(workdir)
    assert_harmless(page)
    shown = HOSTILE.replace("\ud800", "?")
    assert page.table("run", "word")[0][1] == shown and page.table("run", "", "step") == [
        ["0", f"word={shown}", "20", shown]
    ]
    assert f"BLEU: {shown}" in page.text and page.numbers[0]["panels"][-1]["family"] == 'x" onerror="alert(3)'
    assert page.text.count("alert(1)") >= 6
    assert page.numbers[0]["groups"][0]["label"] == f"word {HOSTILE}"


def test_an_unfinished_run_is_reported_as_such(write, make):
    workdir = write(RUNS, summary=None, config={"num_steps": 100})
    with open(workdir / "metrics.jsonl", "a") as file:
        file.write('{"step": 21, "run": 0, "tra')  # still being written, or killed in the act
    (workdir / "environment.json").unlink()
    page = make(workdir)
    assert "is unfinished, or its summary" in page.text and "2 runs, up to update 20 of 100." in page.text
    assert [row[0] for row in page.table("run")] == ["0", "1"] and len(page.numbers[0]["groups"]) == 2
    (workdir / "metrics.jsonl").unlink()
    page = make(workdir)
    assert "is unfinished, or its summary" in page.text and "No run has logged anything yet." in page.text
    assert page.numbers[0]["panels"] == []


def test_a_phase_diagram_of_an_unfinished_sweep(write_sweep, make):
    workdir = write_sweep((0.1, 0.2), {(0, 0): "ts", (8, 0): "tt"}, config={"num_steps": 10})
    (workdir / "runs.json").write_text(json.dumps({"runs": json.loads((workdir / "summary.json").read_text())["runs"]}))
    (workdir / "summary.json").unlink()
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    begun = [line for line in lines if line["run"] < 3 and "eval/loss" not in line]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in begun))
    page = make(workdir)
    (phase,) = page.numbers[0]["phases"]
    assert phase["cells"] == [[[[0], [1]], [[2], []]]] and phase["boundary"] == [[0, None]]
    assert phase["states"] == [[["trained", "stuck"], ["trained", ""]]], "the last update ends a run"
    assert "3 of 4 runs have begun, up to update 10 of 10." in page.text and "1 not run" in page.text
    assert "Largest peak rate" not in page.text and "8             not known" in page.text
    (workdir / "config.json").write_text(json.dumps({"seed": 7, "num_steps": 11}))
    (phase,) = make(workdir).numbers[0]["phases"]
    assert phase["states"] == [[["unfinished"] * 2, ["unfinished", ""]]] and phase["boundary"] == [[None, None]]
    runs = page.table("run", "peak_lr", "warmup_steps", "seed")
    assert [row[1:4] for row in runs] == [[str(r), str(w), "0"] for r, w in BEGUN]


def test_a_run_without_evaluations(write, make):
    workdir = write(RUNS)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in line.items() if not key.startswith("eval/")} for line in lines]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    (workdir / "summary.json").unlink()
    page = make(workdir)
    assert "Train loss: 0.4 with run 1" in page.text
    assert [panel["key"] for panel in page.numbers[0]["panels"]] == ["train/loss", "opt/learning_rate"]


def test_many_long_runs_have_as_many_points_as_there_is_room_for(write, make, monkeypatch):
    more = lambda run, _: {step: {"diag/a": math.sin(step * run), "diag/b/c": 1.0} for step in range(1, 2000)}
    workdir = write([({"lr": float(run)}, "trained") for run in range(8)], more=more)

    def curve_within(most):
        monkeypatch.setattr(page_data, "MOST_BYTES", most)
        page = make(workdir)
        (curve,) = [panel["runs"]["3"][1] for panel in page.numbers[0]["panels"] if panel["key"] == "diag/a"]
        said = int(re.search(r"at most (\d+) points", page.text)[1])
        assert max(curve) > 0.99 and min(curve) < -0.99 and said - 1 <= len(curve) <= said
        return page, len(curve)

    page, points = curve_within(10**7)
    assert points == page_data.MOST_POINTS and len(page.scripts["numbers"]) > 15_000
    page, fewer = curve_within(15_000)
    assert 30 < fewer < points and 10_000 < len(page.scripts["numbers"]) <= 15_000
    page, fewest = curve_within(1_000)
    assert fewest == page_data.FEWEST_POINTS and "Diagnostics by layer are left out" in page.text
    assert "diag/b/c" not in {panel["key"] for panel in page.numbers[0]["panels"]}


def test_only_some_of_many_texts_are_shown(write, make):
    workdir = write(RUNS)
    write_texts(workdir, *({"step": 20, "run": 0, "written": str(number)} for number in range(103)))
    page = make(workdir)
    assert len(page.table("run", "", "step", "written")) == 100 and "3 more in texts.jsonl" in page.text


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
def test_damage_is_one_line_and_status_2_and_the_rest_is_reported(write, tmp_path, capsys, file, content, message):
    workdir = write(RUNS)
    (workdir / file).unlink(missing_ok=True)
    if content is not None:
        (workdir / file).write_text(content)
    assert main([str(workdir), f"--out={tmp_path}/page.html"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and str(workdir) in err and err.count("\n") == 1
    if message.startswith("holds no run"):
        assert not (tmp_path / "page.html").exists()
        return
    page = Page((tmp_path / "page.html").read_text())
    assert_harmless(page)
    assert f"Damaged, and left out: {workdir}" in page.text and message in page.text
    known = {panel["key"] for numbers in page.numbers for panel in numbers["panels"]}
    assert "train/loss" in known or file == "metrics.jsonl"
    of_runs = [rows for rows in page.tables if "highest rate" in rows[0]]
    assert [len(rows) for rows in of_runs] == [1 + 2] or file == "metrics.jsonl"


def test_a_workdir_without_a_run_does_not_keep_another_from_its_report(write, make, tmp_path, capsys):
    page = make(write(RUNS), tmp_path / "none", status=2)
    assert "holds no run" in capsys.readouterr().err and "holds no run" in page.text and len(page.numbers) == 1


def test_damaged_lines_of_a_log_are_counted_and_the_others_shown(write, make, capsys):
    workdir = write(RUNS)
    log = workdir / "metrics.jsonl"
    log.write_bytes(b"\x80\x00{\n" + log.read_bytes() + b"NaN\n[[[\n")
    page = make(workdir, status=2)
    assert "line 1 is damaged" in (err := capsys.readouterr().err) and "(and 2 more lines)" in err
    assert page.numbers[0]["panels"][0]["runs"]["1"][1] == [2.5, 1.0, 0.4]


def test_the_command_runs_and_a_page_that_cannot_be_written_is_one_line(write):
    answer = subprocess.run(
        [sys.executable, "-m", "warmup_jax.report", str(write(RUNS)), "--out=/no/such/page.html"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 2 and answer.stderr.startswith("error: ") and answer.stderr.count("\n") == 1
