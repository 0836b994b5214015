"""Records are read by several threads of a worker process at once."""

import threading
import time

import pytest

from warmup_jax.data.tfds import records


def test_threads_open_a_split_one_after_another(monkeypatch):
    """TFDS imports its parts lazily, and two threads that do so at once may wait for each other for ever."""
    pytest.importorskip("tensorflow_datasets")
    inside, most = [], []

    class Source:
        def __getitems__(self, numbers):
            return []

    def slow(folder, split):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return Source()

    monkeypatch.setattr(records, "_records", slow)
    threads = [threading.Thread(target=records.read_columns, args=("folder", "train", [0], [])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4
