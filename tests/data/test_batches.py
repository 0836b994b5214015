import itertools
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import ROOT

from warmup_jax import data


def both(**options):
    return [data.load(name="digits", residency=r, **options) for r in ("device", "stream")]


def examples(dataset, split, batches):
    arrays = jax.device_put(split.arrays) if split.arrays else {}
    return [data.take(arrays, batch) for batch in batches]


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs) and ours
    for a, b in zip(ours, theirs):
        assert a.keys() == b.keys()
        for key in a:
            assert a[key].dtype == b[key].dtype
            np.testing.assert_array_equal(a[key], b[key])


def test_residencies_give_the_same_training_batches():
    # 1437 examples: the first epoch ends within step 14, the second within step 28.
    resident, stream = both()
    options = dict(seed=3, batch_size=100, start=12, stop=31)
    first, second = (list(data.train_batches(d, **options)) for d in (resident, stream))
    assert first[0].keys() == {"index"} and second[0].keys() == {"image", "label"}
    assert_equal(examples(resident, resident.train, first), examples(stream, stream.train, second))


@pytest.mark.parametrize("batch_size", [1, 7, 90, 360, 361, 1000])
def test_evaluation_covers_the_test_split_once(batch_size):
    for dataset in both():
        batches = list(data.eval_batches(dataset, batch_size=batch_size))
        assert all(len(batch["weights"]) == batch_size for batch in batches)
        got = examples(dataset, dataset.test, batches)
        weight = np.concatenate([batch["weights"] for batch in got])
        assert weight.dtype == np.float32 and weight.sum() == dataset.test.size == 360
        expected = dataset.test.read(np.arange(360))
        for key in ("image", "label"):
            joined = np.concatenate([batch[key] for batch in got])
            np.testing.assert_array_equal(joined[weight == 1], expected[key])


def test_evaluation_is_the_same_in_both_residencies():
    resident, stream = both()
    ours, theirs = (examples(d, d.test, data.eval_batches(d, batch_size=100)) for d in (resident, stream))
    assert_equal(ours, theirs)


def test_resuming_continues_the_sequence():
    for dataset in both():
        whole = list(data.train_batches(dataset, seed=0, batch_size=64, start=0, stop=30))
        for start in (0, 1, 22, 29):
            rest = data.train_batches(dataset, seed=0, batch_size=64, start=start, stop=30)
            assert_equal(list(rest), whole[start:])
        assert list(data.train_batches(dataset, seed=0, batch_size=64, start=30, stop=30)) == []


@pytest.mark.slow
def test_workers_do_not_change_batches():
    alone, shared = (data.load(name="digits", residency="stream", workers=workers) for workers in (0, 2))
    options = dict(seed=1, batch_size=200, start=3, stop=12)
    assert_equal(*(list(data.train_batches(d, **options)) for d in (alone, shared)))


def test_a_stream_can_be_left_early():
    _, stream = both()
    batches = data.train_batches(stream, seed=0, batch_size=8, start=0, stop=10**6)
    assert len(list(itertools.islice(batches, 3))) == 3
    batches.close()


def test_batches_of_other_keys_than_image():
    # Text sets have other arrays; batches.py must not read "image".
    tokens = {"tokens": np.arange(40).reshape(10, 4)}
    for arrays, residency in ((tokens, "device"), (None, "stream")):
        split = data.Split(10, arrays, lambda index: {"tokens": tokens["tokens"][index]})
        dataset = data.Dataset("text", split, split, 0, (4,), residency, 0, None)
        got = examples(dataset, split, data.train_batches(dataset, seed=0, batch_size=5, start=0, stop=2))
        seen = np.concatenate([batch["tokens"] for batch in got])
        np.testing.assert_array_equal(np.sort(seen[:, 0]), tokens["tokens"][:, 0])


def test_take_keeps_other_keys_and_traces():
    arrays = {"image": np.arange(12).reshape(6, 2), "label": np.arange(6)}
    batch = {"index": np.array([4, 0], np.int32), "weights": np.array([1.0, 0.0], np.float32)}
    for function in (data.take, jax.jit(data.take)):
        got = function(arrays, batch)
        assert got.keys() == {"image", "label", "weights"}
        np.testing.assert_array_equal(got["image"], [[8, 9], [0, 1]])
        np.testing.assert_array_equal(got["weights"], [1, 0])
    streamed = {"image": arrays["image"]}
    assert data.take({}, streamed) is streamed


def test_bad_arguments_fail_at_the_call():
    dataset = data.load(name="digits")
    with pytest.raises(ValueError, match="batch_size=1438; allowed: 1 to 1437"):
        data.train_batches(dataset, seed=0, batch_size=1438, start=0, stop=1)
    with pytest.raises(ValueError, match="start=5, stop=4"):
        data.train_batches(dataset, seed=0, batch_size=1, start=5, stop=4)
    with pytest.raises(ValueError, match="batch_size=0"):
        data.eval_batches(dataset, batch_size=0)


def test_one_training_batch_equals_that_of_the_sequence():
    for dataset in both():
        (expected,) = data.train_batches(dataset, seed=3, batch_size=100, start=20, stop=21)
        assert_equal([data.train_batch(dataset, seed=3, batch_size=100, step=20)], [expected])


def test_examples_by_their_indices():
    resident, stream = both()
    index = np.array([5, 0, 359], np.int32)
    assert_equal(
        examples(resident, resident.test, [data.examples(resident.test, index)]), [data.examples(stream.test, index)]
    )


def test_labels_are_counted_without_padding(monkeypatch):
    monkeypatch.setattr(data.batches, "COUNTED_ROWS", 500)  # three parts, the last one smaller
    digits, _ = both()
    np.testing.assert_array_equal(data.label_counts(digits), np.bincount(digits.train.arrays["label"]))
    words = data.load(task="translation", name="number_words", source_length=48, target_length=32)
    counts, targets = data.label_counts(words), words.train.arrays["target"]
    assert counts[data.PAD] == 0 and counts.sum() == (targets != data.PAD).sum()
    np.testing.assert_array_equal(counts[1:], np.bincount(targets.ravel(), minlength=len(counts))[1:])


WATCHED = """
import os, signal, sys, threading, time
from pathlib import Path

mortal = []


def watch():
    while True:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                lines = (folder / "status").read_text().splitlines()
                program = (folder / "cmdline").read_text()
            except OSError:
                continue
            found = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
            if int(found["PPid"]) == os.getpid() and "spawn_main" in program:
                safe = int(found["SigBlk"], 16) | int(found["SigIgn"], 16)
                mortal.append(not all(safe >> (number - 1) & 1 for number in (1, 2, 15)))
        time.sleep(0.01)


if __name__ == "__main__":
    from warmup_jax import data

    dataset = data.load(name="digits", residency="stream", workers=2)
    threading.Thread(target=watch, daemon=True).start()
    assert len(list(data.train_batches(dataset, seed=0, batch_size=8, start=0, stop=5))) == 5
    print(len(mortal) > 10, any(mortal))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the signals of processes in /proc")
def test_no_signal_ends_a_worker_that_starts(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(WATCHED)
    found = subprocess.run(
        [sys.executable, program], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert found.stdout == "True False\n", found.stderr
