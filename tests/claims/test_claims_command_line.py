"""The commands: what they print, what they write, and their exit status."""

import json

import pytest

from warmup_jax.claims import ledger, trial
from warmup_jax.claims.__main__ import main
from warmup_jax.claims.catalog import CLAIMS
from warmup_jax.training import experiment


@pytest.fixture
def command(tmp_path, git):
    return lambda *arguments: main([f"--root={tmp_path}", *arguments])


def test_list_json_has_an_object_a_line(command, capsys):
    command("run", "I-13")
    capsys.readouterr()
    assert command("list", "--json") == 0
    found = {line["id"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert list(found) == list(CLAIMS)
    assert {"id", "family", "predicted", "verdict", "scale", "seeds", "fingerprint"} <= found["T-1"].keys()
    assert found["T-1"]["seeds"] == [10, 11, 12, 13, 14] and found["T-1"]["verdict"] == "none"
    assert found["I-13"]["verdict"] == "holds" and not found["T-5"]["ready"] and found["T-5"]["needs"]
    assert command("list") == 0
    assert "I-13  holds    holds      DeepNorm" in capsys.readouterr().out


def test_show_says_how_it_is_judged_and_what_came_of_it(command, capsys):
    command("freeze", "I-13", "--why=to see it")
    command("run", "I-13")
    capsys.readouterr()
    assert command("show", "I-13") == 0
    said = capsys.readouterr().out
    assert "alpha for 6, 12, 100 layers (rule E; expected=" in said and ": to see it\n" in said
    assert "run on" in said and ": holds\n" in said
    assert command("show", "K-1") == 0
    assert "cpu, study fcn: python train.py --config=configs/phase_diagram.py --config.diag" in capsys.readouterr().out


def test_freezing_twice_is_freezing_once(command, tmp_path, capsys):
    for _ in range(2):
        assert command("freeze", "I-13", "I-12", "--why=x") == 0
    lines = ledger.read(tmp_path / ledger.REGISTRY)
    assert [line["claim"] for line in lines] == ["I-13", "I-12"] and "is frozen already" in capsys.readouterr().out
    assert {"why", "date", "criteria", "predicted", "statement", "seeds", "rules"} <= lines[0].keys()


def test_a_pattern_freezes_what_can_be_tried(command, tmp_path):
    assert command("freeze", "T-*", "--why=x") == 0
    assert [line["claim"] for line in ledger.read(tmp_path / ledger.REGISTRY)] == [
        "T-1",
        "T-2",
        "T-3",
        "T-6",
        "T-7",
        "T-8",
    ]


@pytest.mark.parametrize(
    "arguments, error",
    [
        (["run", "T-5"], "T-5 cannot be tried yet; it needs"),
        (["run", "X-1"], "unknown claim 'X-1'"),
        (["run", "K-1", "--scale=gpu"], "K-1: no study at gpu scale"),
        (["show", "I-99"], "unknown claim 'I-99'"),
        (["run", "U-7", "--workdir=gs://bucket"], "--workdir=gs:/bucket; allowed: a path of this machine"),
    ],
)
def test_a_mistake_is_one_line(command, capsys, arguments, error):
    assert command(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and error in line


def test_an_interrupted_training_is_unfinished_and_writes_nothing(command, tmp_path, monkeypatch, capsys):
    def interrupted(*args):
        raise experiment.Interrupted("stopped by SIGTERM")

    monkeypatch.setattr(experiment, "run", interrupted)
    assert command("run", "I-13", "U-7", f"--workdir={tmp_path / 'runs'}") == 1
    assert "U-7 is unfinished: stopped by SIGTERM; the same command resumes it" in capsys.readouterr().out
    assert not (tmp_path / ledger.LEDGER).exists()


def test_a_mistake_in_a_training_is_one_line(command, tmp_path, monkeypatch, capsys):
    def refused(*args):
        raise experiment.UserError("no such data")

    monkeypatch.setattr(experiment, "run", refused)
    assert command("run", "U-7", f"--workdir={tmp_path / 'runs'}") == 2
    assert capsys.readouterr().err == "error: U-7: no such data\n"


def test_smoke_writes_no_entry(command, tmp_path, monkeypatch, write_study, capsys):
    """A refuted claim is no error."""
    (study,) = CLAIMS["U-7"].studies["cpu"].values()

    def train(config, folder):
        write_study(folder, study._replace(seeds=2), lambda changes: {1: {"train/loss": 3.0}, 2: {"train/loss": 1.0}})
        stored = json.loads((folder / "config.json").read_text())
        assert config["sweep"]["seeds"] == 2 == stored["sweep"]["seeds"] and config["model"]["width"] == 8

    monkeypatch.setattr(experiment, "run", train)
    assert command("run", "U-7", "--smoke", f"--workdir={tmp_path / 'runs'}") == 0
    assert "U-7: undecided (predicted: open; smoke, not in the ledger;" in capsys.readouterr().out
    assert not (tmp_path / ledger.LEDGER).exists()


def test_judge_notices_a_verdict_that_the_numbers_do_not_give(command, tmp_path, capsys):
    command("run", "I-13")
    assert command("judge") == 0
    path = tmp_path / ledger.LEDGER
    (entry,) = ledger.read(path)
    for changes in ({"verdict": "refuted"}, {"numbers": entry["numbers"] | {"alphas": [1.0, 2.0, 3.0]}}):
        path.unlink()
        ledger.append(path, {key: value for key, value in (entry | changes).items() if key != "digest"})
        assert command("judge") == 1
        assert "ledger.jsonl, line 1: I-13 is " in capsys.readouterr().err


def test_report_writes_the_page_and_check_compares_it(command, tmp_path, capsys):
    assert command("report", "--check") == 1
    assert command("report") == 0 and command("report", "--check") == 0
    command("run", "I-13")
    assert command("report", "--check") == 1
    assert "is not what the ledger gives; run: python -m warmup_jax.claims report" in capsys.readouterr().err


@pytest.mark.slow
def test_a_claim_is_trained_and_judged(tmp_path, command, capsys):
    assert command("run", "K-14", "--smoke", f"--workdir={tmp_path / 'runs'}") == 0
    assert "K-14: " in capsys.readouterr().out
    assert (tmp_path / "runs" / trial.name(*smoke_of("K-14")) / "summary.json").exists()


def smoke_of(id):
    (study,) = CLAIMS[id].studies["cpu"].values()
    return trial.config(study, smoke=True), study
