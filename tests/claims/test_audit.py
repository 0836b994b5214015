"""The audit finds what was not frozen before it was run, and what was changed in silence."""

import json

import pytest

from warmup_jax.claims import ledger, trial
from warmup_jax.claims.__main__ import main
from warmup_jax.claims.audit import audit
from warmup_jax.claims.catalog import CLAIMS

TOY = CLAIMS["I-13"]


@pytest.fixture
def command(tmp_path):
    return lambda *arguments: main([f"--root={tmp_path}", *arguments])


@pytest.fixture
def commit(git):
    def of(message="Claims"):
        git("add", ".")
        git("commit", "-qm", message)

    return of


@pytest.fixture
def run(tmp_path, command, commit):
    """A claim that was frozen, committed, run and committed."""
    assert command("freeze", "I-13", "--why=a test") == 0
    commit()
    assert command("run", "I-13") == 0
    commit()
    return ledger.read(tmp_path / ledger.LEDGER)[0]


def rewritten(path, change):
    """Changes the last line of a file, its digest included."""
    *lines, last = path.read_text().splitlines()
    content = json.loads(last)
    del content["digest"]
    change(content)
    path.write_text("".join(line + "\n" for line in lines))
    ledger.append(path, content)


def test_what_was_frozen_and_committed_first_is_confirmatory(run, tmp_path, command, capsys):
    assert not run["exploratory"] and run["verdict"] == "holds" and run["commit"]
    assert audit(tmp_path, CLAIMS) == []
    assert command("audit") == 0
    assert "1 of 1 entries are confirmatory" in capsys.readouterr().out


def test_an_entry_that_was_not_frozen_is_exploratory_and_cannot_say_otherwise(tmp_path, command, commit, capsys):
    assert command("run", "I-13") == 0
    assert ledger.read(tmp_path / ledger.LEDGER)[0]["exploratory"] and audit(tmp_path, CLAIMS) == []
    rewritten(tmp_path / ledger.LEDGER, lambda entry: entry.update(exploratory=False))
    (found,) = audit(tmp_path, CLAIMS)
    assert "ledger.jsonl, line 1: I-13 has the fingerprint" in found and "not frozen at" in found
    assert command("audit") == 1 and found in capsys.readouterr().err


def test_frozen_but_not_committed_is_exploratory(tmp_path, command):
    command("freeze", "I-13", "--why=a test")
    command("run", "I-13")
    assert ledger.read(tmp_path / ledger.LEDGER)[0]["exploratory"]


def test_a_run_with_changed_code_is_exploratory(tmp_path, command, commit):
    command("freeze", "I-13", "--why=a test")
    commit()
    (tmp_path / "code.py").write_text("changed\n")
    command("run", "I-13")
    assert ledger.read(tmp_path / ledger.LEDGER)[0]["exploratory"]


def test_a_training_of_before_the_freeze_is_exploratory(run, tmp_path, git, write_study):
    """The claim is run after the freeze, on a workdir of a commit before it."""
    first, last = git("rev-list", "HEAD").split()[-1], git("rev-parse", "HEAD")
    (study,) = CLAIMS["R-1"].studies["cpu"].values()
    of = TOY._replace(studies={"cpu": {"lm": study}}, criteria=CLAIMS["R-1"].criteria, measure=CLAIMS["R-1"].measure)
    frozen = {"claim": "I-13", "fingerprint": trial.claims.fingerprint(of), "seeds": {"cpu": [10, 11, 12, 13, 14]}}
    ledger.append(tmp_path / ledger.REGISTRY, frozen)
    git("commit", "-qam", "Frozen")
    for name, commit, exploratory in (("a", first, True), ("b", last, True), ("c", git("rev-parse", "HEAD"), False)):
        folder = tmp_path / "runs" / name / trial.name(trial.config(study), study)
        write_study(folder, study, lambda changes: {1: {"train/loss": 3.0}, 2: {"train/loss": 1.0}}, commit)
        (tmp_path / ".git" / "info" / "exclude").write_text("runs/\n")
        entry = trial.run(of, "cpu", tmp_path / "runs" / name, tmp_path)
        assert entry["exploratory"] == exploratory, name


def test_a_criterion_that_was_changed_after_the_run_is_found(run, tmp_path):
    changed = TOY._replace(criteria=(TOY.criteria[0]._replace(parameters={"expected": [1, 2, 3]}), *TOY.criteria[1:]))
    (found,) = audit(tmp_path, CLAIMS | {"I-13": changed})
    assert found.startswith("I-13 has changed since it was run at cpu scale: fingerprint")


def test_other_seeds_than_the_frozen_ones_are_found(run, tmp_path):
    rewritten(tmp_path / ledger.LEDGER, lambda entry: entry.update(seeds=[0, 1]))
    found = audit(tmp_path, CLAIMS)
    assert any("has seeds [0, 1], frozen were []" in line for line in found)


def test_a_commit_that_is_no_ancestor_is_found(run, tmp_path, git):
    git("checkout", "-q", "--detach", "HEAD~2")
    git("commit", "-q", "--allow-empty", "-m", "Elsewhere")
    elsewhere = git("rev-parse", "HEAD")
    git("checkout", "-q", "-")
    for commit in (elsewhere, None):
        rewritten(tmp_path / ledger.LEDGER, lambda entry: entry.update(commit=commit))
        assert any("is no ancestor of this commit" in line for line in audit(tmp_path, CLAIMS))


@pytest.mark.parametrize("name", [ledger.REGISTRY, ledger.LEDGER])
def test_a_file_cannot_be_edited_in_silence(run, tmp_path, name, command, commit, capsys):
    path = tmp_path / name
    before = path.read_text()
    path.write_text(before.replace("2", "3", 1))
    assert command("audit") == 2 and "line 1 does not fit its digest" in capsys.readouterr().err
    path.write_text(before)
    rewritten(path, lambda line: line.update(date="2000-01-01"))
    expected = f"{name}: 1 lines of"
    assert any(line.startswith(expected) for line in audit(tmp_path, CLAIMS)), "its digest is right"
    commit("Edited")
    assert any(line.startswith(expected) for line in audit(tmp_path, CLAIMS)), "and it is committed"
    path.write_text("")
    assert any(line.startswith(expected) for line in audit(tmp_path, CLAIMS)), "a removed line too"


def test_lines_may_be_appended_by_two_branches(run, tmp_path, command, commit, git):
    first = git("rev-parse", "HEAD")
    command("freeze", "I-11", "--why=one branch")
    commit()
    mine = git("rev-parse", "HEAD")
    git("checkout", "-q", first)
    command("freeze", "I-12", "--why=another")
    commit()
    (tmp_path / ".gitattributes").write_text("*.jsonl merge=union\n")
    git("merge", "-q", mine)
    assert len(ledger.read(tmp_path / ledger.REGISTRY)) == 3 and audit(tmp_path, CLAIMS) == []


def test_without_git_there_is_no_audit(tmp_path):
    assert audit(tmp_path, CLAIMS) == [f"{tmp_path} has no git history, which an audit needs"]
