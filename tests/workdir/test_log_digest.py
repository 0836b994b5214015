"""The log is as safe as the checkpoint: what a checkpoint counts on is checked before anything is trained."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from warmup_jax.report import pages, run_record
from warmup_jax.training import experiment
from warmup_jax.workdir import boards, json_files, lock, logs
from warmup_jax.workdir.checkpoint import Checkpoints

pytestmark = pytest.mark.usefixtures("no_pictures")
LINES = 5


@pytest.fixture
def written(tmp_path):
    """A workdir with five lines in its log, and the checkpoint of each in the form (lengths, digests)."""
    log, saved = logs.MetricsLog(tmp_path, {}, 0), []
    for step in range(LINES):
        log.write(step, 0, {"train/loss": np.float32(step)})
        log.write(step, 0, {"perf/examples_per_second": 1.5}, "timing.jsonl")
        log.write_text(step, 0, {"written": f"a {step}"})
        saved.append((log.sync(), log.digests()))
    log.close()
    return tmp_path, saved


def test_an_untouched_log_fits_every_checkpoint(written):
    workdir, saved = written
    assert [logs.misfit(workdir, *each) for each in saved] == [None] * LINES
    assert logs.misfit(workdir, {}, {}) is None


def test_the_digest_goes_on_from_a_kept_prefix(written):
    workdir, saved = written
    log = logs.MetricsLog(workdir, saved[2][0], 2)
    assert (log.sync(), log.digests()) == saved[2]
    log.write(3, 0, {"train/loss": np.float32(3)})
    assert log.digests()["metrics.jsonl"] == saved[3][1]["metrics.jsonl"]
    log.close()


@pytest.mark.parametrize("name", logs.FILES)
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "flipped", "folder"])
def test_damage_is_found_and_named(written, name, damage):
    workdir, saved = written
    path = workdir / name
    content = bytearray(path.read_bytes())
    if damage in ("gone", "folder"):
        path.unlink()
    if damage == "folder":
        path.mkdir()
    if damage == "empty":
        path.write_bytes(b"")
    if damage == "cut":
        path.write_bytes(content[: saved[2][0][name] - 1])
    if damage == "flipped":
        content[saved[1][0][name] + 3] ^= 1
        path.write_bytes(content)
    found = [logs.misfit(workdir, *each) for each in saved]
    fits = {"cut": 2, "flipped": 2}.get(damage, 0)
    assert found[:fits] == [None] * fits and all(str(path) in reason for reason in found[fits:])


@pytest.mark.parametrize("damage, fits", [(b"\0", False), (b"}", False), (b"7", True)])
def test_without_a_digest_lines_must_at_least_be_lines(written, damage, fits):
    """Resumes from a checkpoint of an earlier version."""
    workdir, saved = written
    content = (workdir / "metrics.jsonl").read_bytes()
    (workdir / "metrics.jsonl").write_bytes(content.replace(b"2.0", b"2." + damage))
    assert (logs.misfit(workdir, saved[-1][0], {}) is None) == fits
    assert logs.misfit(workdir, saved[0][0], {}) is None
    in_a_line = {"metrics.jsonl": saved[-1][0]["metrics.jsonl"] - 3}
    assert "metrics.jsonl" in logs.misfit(workdir, in_a_line, {})


def test_a_log_is_never_padded(written):
    workdir, saved = written
    (workdir / "metrics.jsonl").write_bytes(b"")
    with pytest.raises(ValueError, match="metrics.jsonl has 0 bytes where"):
        logs.MetricsLog(workdir, saved[-1][0], 5)


class Disk:
    """A file that takes a few bytes at a time, and none once it is full."""

    def __init__(self, file, free):
        self.file, self.free = file, free

    def write(self, data):
        if not self.free:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = min(7, self.free, len(data))
        self.free -= taken
        return self.file.write(data[:taken])

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_line_that_the_system_takes_in_parts_is_whole(tmp_path):
    file = logs.LogFile(tmp_path / "log", 0)
    file._file = Disk(file._file, 1000)
    file.append(b"a line of text\n" * 3)
    file.sync()
    assert (tmp_path / "log").read_bytes() == b"a line of text\n" * 3 and file.length == 45


def test_a_line_that_does_not_fit_raises_and_nothing_is_glued_to_it(tmp_path):
    file = logs.LogFile(tmp_path / "log", 0)
    file.append(b"first\n")
    file._file = Disk(file._file, 10)
    with pytest.raises(OSError, match="cannot write .*log: No space left"):
        file.append(b"a line of text\n")
    file._file = file._file.file  # there is room again
    with pytest.raises(OSError, match="16 bytes instead of 6"):
        file.sync()
    file.close()


def test_a_system_that_takes_nothing_is_not_asked_for_ever(tmp_path):
    file = logs.LogFile(tmp_path / "log", 0)
    file._file = type("Nothing", (), {"write": lambda self, data: 0})()
    with pytest.raises(OSError, match="wrote 0 bytes"):
        file.append(b"a line\n")


@pytest.mark.parametrize("change", ["deleted", "renamed", "replaced", "cut"])
@pytest.mark.parametrize("by", ["sync", "line"])
def test_a_workdir_that_changes_while_it_is_used_is_noticed(tmp_path, change, by, monkeypatch):
    monkeypatch.setattr(logs, "LOOK_EVERY", 0)
    workdir = tmp_path / "run"
    workdir.mkdir()
    log = logs.MetricsLog(workdir, {}, 0)
    log.write(1, 0, {"train/loss": 1.0})
    if change == "deleted":
        shutil.rmtree(workdir)
    elif change == "renamed":
        workdir.rename(tmp_path / "elsewhere")
    elif change == "replaced":
        shutil.copy(workdir / "metrics.jsonl", workdir / "copy")
        (workdir / "copy").rename(workdir / "metrics.jsonl")
    else:
        (workdir / "metrics.jsonl").write_bytes(b"")
    with pytest.raises(OSError, match="metrics.jsonl was (deleted or moved|replaced|changed)"):
        log.sync() if by == "sync" else log.write(2, 0, {"train/loss": 2.0})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_an_event_file_that_cannot_be_written_ends_and_the_run_goes_on(tmp_path, capsys):
    """With `SummaryWriter` the tenth value after the error would wait for ever."""
    board = boards.Board(tmp_path / "run_0", 1)
    board._writer._py_recordio_writer._writer = open("/dev/full", "wb", buffering=0)
    for step in range(100):
        board.add(step, {"train/loss": 1.0})
    board.flush()
    board.close()
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "file").write_text("")
    boards.Board(tmp_path / "file" / "run_1", 1).add(1, {"train/loss": 1.0})  # no folder can be there


def save(folder, step, meta):
    checkpoints = Checkpoints(folder)
    checkpoints.save(step, {"a": np.full(3, step)}, meta)
    checkpoints.close()


def test_a_checkpoint_that_does_not_fit_is_passed_over_and_its_step_is_free(tmp_path):
    for step in (1, 2):
        save(tmp_path / "saved", step, {"step": step})
    checkpoints, said = Checkpoints(tmp_path / "saved"), []
    misfit = lambda meta: "the log is short" if meta["step"] == 2 else None
    state, meta = checkpoints.restore({"a": np.zeros(3, int)}, said.append, misfit)
    assert meta["step"] == 1 and state["a"].tolist() == [1, 1, 1]
    assert len(said) == 1 and "saved/2 does not fit and is passed over (the log is short)" in said[0]
    checkpoints.save(2, {"a": np.full(3, 7)}, {"step": 2})
    checkpoints.close()
    assert Checkpoints(tmp_path / "saved").restore({"a": np.zeros(3, int)})[0]["a"].tolist() == [7, 7, 7]


def test_no_checkpoint_that_fits_is_one_line_and_nothing_is_deleted(tmp_path):
    for step in (1, 2):
        save(tmp_path / "saved", step, {"step": step})
    with pytest.raises(
        ValueError, match="W is short, and no checkpoint in .*saved fits it; put the file back, or move"
    ):
        Checkpoints(tmp_path / "saved").restore({"a": np.zeros(3, int)}, lambda line: None, lambda meta: "W is short")
    assert {"1", "2"} <= {path.name for path in (tmp_path / "saved").iterdir()}


def test_a_checkpoint_of_another_program_deletes_no_newer_one(tmp_path):
    for step in (1, 2):
        save(tmp_path / "saved", step, {"step": step})
    with pytest.raises(ValueError, match="of another program"):
        Checkpoints(tmp_path / "saved").restore(
            {"a": np.zeros(4, int)}, lambda line: None, lambda meta: "short" if meta["step"] == 2 else None
        )
    assert (tmp_path / "saved" / "2").is_dir()


def test_a_file_in_the_place_of_checkpoints_is_one_line(tmp_path):
    (tmp_path / "saved").write_text("a file")
    with pytest.raises(ValueError, match="cannot read the checkpoints in .*saved"):
        Checkpoints(tmp_path / "saved").restore({"a": np.zeros(3)})


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udce4", "[" * 100_000, '{"a": %s}' % ("9" * 5000)])
def test_a_damaged_config_is_one_line_that_names_the_file(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match="config.json is damaged: ") as caught:
        with lock.open_workdir(tmp_path, {"a": 1}):
            pass
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_damaged_line_of_a_log_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "run": 0}\n{"step": 1\n')
    with pytest.raises(ValueError, match="metrics.jsonl, line 2 is damaged"):
        json_files.read_lines(path)


# Reports of damaged workdirs: one type of error, one line, with the file.

CONTENT = {
    "config.json": {"seed": 1},
    "summary.json": {
        "runs": [
            {
                "run": 0,
                "label": "a",
                "changes": {"peak_lr": 0.1, "warmup_steps": 2},
                "steps": 2,
                "final": {"eval/loss": "nan"},
                "highest_rate": 0.1,
                "best": {"step": 2, "eval/accuracy": 0.5},
                "diverged_at": None,
            }
        ],
        "data": {},
        "uninformed_loss": 2.0,
        "seconds": {"total": 1.0, "to_first_step": 0.5},
        "examples_per_second": 1.0,
        "peak_memory_bytes": 1,
        "bleu_signature": None,
    },
    "metrics.jsonl": {"step": 2, "run": 0, "train/loss": 1.0, "opt/learning_rate": 0.1},
}


def workdir_with(folder, file=None, path=(), value=None):
    """A workdir of one run, with another value at a path in one of its files."""
    content = json.loads(json.dumps(CONTENT))
    if file:
        *parents, last = path
        holder = content[file]
        for name in parents:
            holder = holder[name]
        holder[last] = value
    for name, each in content.items():
        (folder / name).write_text(json.dumps(each) + "\n")
    return folder


@pytest.mark.parametrize(
    "file, path, values",
    [
        ("config.json", ["seed"], ["x", 10**400]),
        ("config.json", ["model"], [json.loads("[" * 300 + "]" * 300)]),
        ("summary.json", ["runs"], [None, {}, [3], [None], [[]]]),
        ("summary.json", ["seconds"], [None, 3, {}, {"total": "x", "to_first_step": 1}]),
        ("summary.json", ["examples_per_second"], ["x", None, 10**400, []]),
        ("summary.json", ["tokens_per_second"], ["x", None]),
        ("summary.json", ["peak_memory_bytes"], ["nan", 10**400]),
        ("summary.json", ["uninformed_loss"], ["x", {}]),
        ("summary.json", ["bleu_signature"], [3]),
        ("summary.json", ["runs", 0, "final"], [None, [], {"eval/loss": []}, {"eval/loss": 10**400}]),
        ("summary.json", ["runs", 0, "best"], [None, 3, {}, {"step": "x", "eval/accuracy": 1}]),
        ("summary.json", ["runs", 0, "highest_rate"], ["high", True, {}]),
        ("summary.json", ["runs", 0, "changes"], [None, {"peak_lr": "x"}, {"warmup_steps": None}, {"seed": 1.5}]),
        ("summary.json", ["runs", 0, "label"], [None, 3]),
        ("summary.json", ["runs", 0, "run"], [[], 10**30]),
        ("summary.json", ["runs", 0, "steps"], ["x"]),
        ("summary.json", ["runs", 0, "diverged_at"], ["x", 1.5]),
        ("metrics.jsonl", ["train/loss"], [10**400, [], "x", None, {}]),
        ("metrics.jsonl", ["step"], [10**400, 1.5, None]),
        ("metrics.jsonl", ["run"], ["0", True]),
    ],
)
def test_a_report_on_a_damaged_workdir_is_one_line_that_names_the_file(tmp_path, file, path, values):
    for value in values:
        with pytest.raises(ValueError, match=f"{file}.* is damaged: ") as caught:
            run_record.read(workdir_with(tmp_path, file, path, value))
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_report_on_a_sound_workdir(tmp_path):
    assert "<h1" in pages.page([workdir_with(tmp_path)])


# Whole runs.


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The config and the workdir of a finished run with checkpoints after updates 4 and 6."""
    from configs import lm_warmup

    config = lm_warmup.get_config("smoke").to_dict()
    config |= {"num_steps": 6, "sweep": {"warmup_steps": None}, "warmup_steps": 2}
    config["sweep"] = {}
    workdir = tmp_path_factory.mktemp("finished") / "run"
    experiment.run(config, workdir)
    return config, workdir


@pytest.fixture
def copied(finished, tmp_path):
    config, workdir = finished
    return config, shutil.copytree(workdir, tmp_path / "run"), (workdir / "metrics.jsonl").read_bytes()


def test_a_flipped_bit_in_the_log_costs_steps_but_no_result(copied, capsys):
    config, workdir, metrics = copied
    damaged = bytearray(metrics)
    damaged[-20] ^= 1
    (workdir / "metrics.jsonl").write_bytes(damaged)
    experiment.run(config, workdir)
    assert "runs_0-0/6 does not fit and is passed over" in capsys.readouterr().out
    assert (workdir / "metrics.jsonl").read_bytes() == metrics


@pytest.mark.parametrize("name", logs.FILES)
def test_a_log_that_is_gone_is_refused_in_one_line_before_training(copied, name, monkeypatch):
    config, workdir, _ = copied
    (workdir / "summary.json").unlink()
    (workdir / name).unlink()
    shutil.rmtree(workdir / "checkpoints" / "runs_0-0" / "6")
    monkeypatch.setattr(experiment, "train_group", lambda *args: pytest.fail("it trains"))
    with pytest.raises(experiment.UserError, match=f"{name} is missing, and no checkpoint"):
        experiment.run(config, workdir)


def test_a_checkpoint_without_digests_is_resumed(copied, monkeypatch):
    config, workdir, metrics = copied
    read = Checkpoints._read

    def of_an_earlier_version(self, step):
        arrays, meta = read(self, step)
        del meta["log_digests"]
        return arrays, meta

    shutil.rmtree(workdir / "checkpoints" / "runs_0-0" / "6")
    monkeypatch.setattr(Checkpoints, "_read", of_an_earlier_version)
    experiment.run(config, workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == metrics
    monkeypatch.undo()
    found = Checkpoints(workdir / "checkpoints" / "runs_0-0")
    found.steps()
    meta = found._read(6)[1]
    assert logs.misfit(workdir, meta["log"], meta["log_digests"]) is None


def test_a_workdir_that_is_renamed_while_it_trains_ends_the_run(finished, tmp_path, monkeypatch):
    config, _ = finished
    workdir, lines = tmp_path / "run", []
    write = logs.MetricsLog.write

    def renames(self, *args):
        write(self, *args)
        lines.append(args)
        if len(lines) == 1:
            workdir.rename(tmp_path / "elsewhere")

    monkeypatch.setattr(logs.MetricsLog, "write", renames)
    with pytest.raises(OSError, match="metrics.jsonl was deleted or moved"):
        experiment.run(config, workdir)
    assert not (workdir / "checkpoints").exists()
