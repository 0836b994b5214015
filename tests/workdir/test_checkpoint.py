"""Checkpoints: round trip, damage, foreign programs, a full disk."""

import random
import shutil
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax.workdir import checkpoint
from warmup_jax.workdir.checkpoint import KEEP, Checkpoints


class State(NamedTuple):
    step: Any
    params: Any
    empty: Any = ()


def state(step, size=50):
    values = np.random.default_rng(step).normal(size=size).astype(np.float32)
    return State(jnp.int32(step), {"layer": {"kernel": jnp.asarray(values), "bias": jnp.ones(3, jnp.bfloat16)}})


@pytest.fixture
def folder(tmp_path):
    checkpoints = Checkpoints(tmp_path / "saved")
    for step in (10, 20, 30):
        checkpoints.save(step, state(step), {"step": step, "log": {"metrics.jsonl": 7 * step}})
    checkpoints.close()
    return tmp_path / "saved"


def restore(folder, template=None, say=print):
    checkpoints = Checkpoints(folder)
    try:
        return checkpoints.restore(template or state(0), say)
    finally:
        checkpoints.close()


def assert_same(got, want):
    assert type(got) is type(want)
    for a, b in (
        (got.step, want.step),
        (got.params["layer"]["kernel"], want.params["layer"]["kernel"]),
        (got.params["layer"]["bias"], want.params["layer"]["bias"]),
    ):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def data_files(folder, step):
    return sorted(path for path in (folder / str(step) / "state").rglob("*") if path.is_file())


def test_round_trip_of_the_newest(folder):
    restored, meta = restore(folder)
    assert_same(restored, state(30))
    assert meta == {"step": 30, "log": {"metrics.jsonl": 210}}
    assert len([path for path in folder.iterdir() if path.name.isdigit()]) == KEEP


def test_nothing_saved_is_none(tmp_path):
    assert restore(tmp_path / "absent") is None
    assert not (tmp_path / "absent").exists()


def test_the_saved_state_may_change_right_after(tmp_path):
    checkpoints, array = Checkpoints(tmp_path / "saved"), np.ones(1000, np.float32)
    checkpoints.save(1, {"a": array}, {})
    array[:] = 2
    checkpoints.close()
    np.testing.assert_array_equal(restore(tmp_path / "saved", {"a": array})[0]["a"], 1)


@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_bit_is_noticed_and_the_one_before_restored(folder, seed):
    draw = random.Random(seed)
    files = [path for path in data_files(folder, 30) if "/d/" in str(path)]
    path = max(files, key=lambda path: path.stat().st_size) if seed == 0 else draw.choice(files)
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    said = []
    restored, meta = restore(folder, say=said.append)
    # A flip in a copy that the merged database no longer refers to harms nothing.
    assert meta["step"] in (20, 30)
    assert_same(restored, state(meta["step"]))
    assert len(said) == (meta["step"] == 20)


def test_arrays_that_are_whole_but_not_those_that_were_saved_are_noticed(folder):
    """Orbax reads them without complaint: only the digests tell."""
    shutil.rmtree(folder / "30" / "state")
    shutil.copytree(folder / "20" / "state", folder / "30" / "state")
    said = []
    restored, meta = restore(folder, say=said.append)
    assert meta["step"] == 20 and len(said) == 1 and "checksum mismatch" in said[0]
    assert_same(restored, state(20))


@pytest.mark.parametrize("damage", ["truncate", "delete", "meta"])
def test_damage_falls_back_and_its_step_can_be_saved_again(folder, damage):
    if damage == "meta":
        path = next(path for path in (folder / "30" / "meta").rglob("*") if path.is_file())
        path.write_text(path.read_text().replace('"step": 30', '"step": 31').replace('"step":30', '"step":31'))
    else:
        for path in data_files(folder, 30):
            path.write_bytes(b"") if damage == "truncate" else path.unlink()
    said = []
    checkpoints = Checkpoints(folder)
    restored, meta = checkpoints.restore(state(0), said.append)
    assert_same(restored, state(20))
    assert meta["step"] == 20 and str(folder / "30") in said[0]
    checkpoints.save(30, state(30), {"step": 30})
    checkpoints.close()
    assert_same(restore(folder)[0], state(30))


def test_nothing_whole_is_an_error_that_names_the_folder(folder):
    for step in (20, 30):
        for path in data_files(folder, step):
            path.write_bytes(b"")
    with pytest.raises(ValueError, match="every checkpoint in .*saved is damaged"):
        restore(folder, say=lambda line: None)
    assert {path.name for path in folder.iterdir()} >= {"20", "30"}


@pytest.mark.parametrize(
    "foreign, named",
    [
        (state(0, size=51), r"kernel is float32\[50\] in it and float32\[51\] here"),
        ({"other": jnp.zeros(2)}, "of another program"),
    ],
)
def test_another_program_is_an_error_and_keeps_the_checkpoint(folder, foreign, named):
    with pytest.raises(ValueError, match=named):
        restore(folder, foreign)
    assert_same(restore(folder)[0], state(30))


def test_a_full_disk_is_one_error_and_keeps_the_older_checkpoint(forked, tmp_path):
    """A limit on the size of files, in a process of its own, stands for the full disk."""
    code = f"""
import resource, signal
import numpy as np
from pathlib import Path
from warmup_jax.workdir.checkpoint import Checkpoints
checkpoints = Checkpoints(Path({str(tmp_path / "saved")!r}))
checkpoints.save(1, {{"a": np.ones(10)}}, {{}})
checkpoints.wait()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.save(2, {{"a": np.random.default_rng(0).normal(size=100_000)}}, {{}})
    checkpoints.wait()
except OSError as error:
    print("OSError:", error)
"""
    answer = forked("-c", code)
    assert "OSError: cannot save" in answer.stdout and str(tmp_path) in answer.stdout, answer.stderr
    restored, _ = restore(tmp_path / "saved", {"a": np.ones(10)}, say=lambda line: None)
    np.testing.assert_array_equal(restored["a"], 1)


def test_the_reason_of_an_error_keeps_its_cause():
    notes = f"[os_error_code='28'] [tensorstore_spec='{'y' * 300}']"
    text = f"RESOURCE_EXHAUSTED: cannot write {'x' * 300}: No space left on device {notes}\nmore"
    assert checkpoint._reason(OSError("short")) == "short"
    reason = checkpoint._reason(OSError(text))
    assert reason.startswith("RESOURCE_EXHAUSTED: cannot") and reason.endswith("xx: No space left on device")
    assert len(reason) <= 200
