import gzip
import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import threading
import time

import numpy as np
import pytest

from warmup_jax import data
from warmup_jax.data import __main__ as command
from warmup_jax.data.catalog import Archive
from warmup_jax.data.tfds import archives, paths
from warmup_jax.data.tfds.prepare import prepare


class _Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its str, the type in the CIFAR archives."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def python2_pickle(value):
    file = io.BytesIO()
    _Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def write_tar(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return published(path)


def published(path, url="https://example.invalid/"):
    return Archive(url + path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def pixels(size, *shape):
    return np.random.default_rng(size).integers(0, 256, (size, *shape), dtype=np.uint8)


def cifar10_archive(path, size=12):
    """Writes a small archive in the real format; returns its Archive, pixels and labels."""
    image, label = pixels(6 * size, 3072), np.arange(6 * size) % 10
    members = {"cifar-10-batches-py/batches.meta": {b"label_names": [b"class%d" % i for i in range(10)]}}
    for part in range(6):
        rows = slice(part * size, (part + 1) * size)
        name = f"data_batch_{part + 1}" if part < 5 else "test_batch"
        members[f"cifar-10-batches-py/{name}"] = {
            b"batch_label": b"batch",
            b"data": image[rows],
            b"labels": label[rows].tolist(),
        }
    members = {name: python2_pickle(content) for name, content in members.items()}
    return write_tar(path, members), image.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), label


def test_cifar10_reads_back_through_load_and_tfds(tmp_path, capsys, assert_same_set):
    tfds = pytest.importorskip("tensorflow_datasets")
    archive, image, label = cifar10_archive(tmp_path / "cifar-10-python.tar.gz")
    given = [tmp_path / "cifar-10-python.tar.gz"]
    folder, written = prepare("cifar10", data_dir=tmp_path, given=given, published=(archive,))
    assert written and folder == tmp_path / "cifar10" / "3.0.2"

    dataset = data.load(name="cifar10", data_dir=tmp_path)
    assert (dataset.num_classes, dataset.input_shape) == (10, (32, 32, 3))
    assert_same_set(dataset.train, image[:60], label[:60])
    assert_same_set(dataset.test, image[60:], label[60:])

    source = tfds.data_source("cifar10", data_dir=tmp_path)
    for split, first in (("train", 0), ("test", 60)):
        for example in source[split]:
            number = first + int(example["id"].decode().removeprefix(f"{split}_"))
            np.testing.assert_array_equal(example["image"], image[number])
            assert example["label"] == label[number]
    info = tfds.builder_from_directory(folder).info
    assert info.features["label"].names[3] == "class3"

    # A second preparation finds the first one and changes nothing, even without an archive.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert command.main(["prepare", "cifar10", f"--data_dir={tmp_path}"]) == 0
    assert "already prepared" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_cifar100_has_fine_and_coarse_labels(tmp_path, assert_same_set):
    tfds = pytest.importorskip("tensorflow_datasets")
    image, fine = pixels(30, 3072), np.arange(30) * 3
    contents = {
        "meta": {
            b"fine_label_names": [b"fine%d" % i for i in range(100)],
            b"coarse_label_names": [b"coarse%d" % i for i in range(20)],
        }
    }
    for split, rows in (("train", slice(0, 20)), ("test", slice(20, 30))):
        contents[split] = {
            b"data": image[rows],
            b"fine_labels": fine[rows].tolist(),
            b"coarse_labels": (fine[rows] // 5).tolist(),
        }
    path = tmp_path / "cifar-100-python.tar.gz"
    members = {f"cifar-100-python/{k}": python2_pickle(v) for k, v in contents.items()}
    archive = write_tar(path, members)
    folder, _ = prepare("cifar100", data_dir=tmp_path, given=[path], published=(archive,))
    dataset = data.load(name="cifar100", data_dir=tmp_path)
    assert dataset.num_classes == 100
    image = image.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert_same_set(dataset.train, image[:20], fine[:20])
    example = tfds.builder_from_directory(folder).as_data_source("test")[0]
    assert example["coarse_label"] == example["label"] // 5


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_fashion_mnist_from_a_folder_of_four_files(tmp_path, assert_same_set):
    image, label = pixels(30, 28, 28), (np.arange(30) % 10).astype(np.uint8)
    files = {
        "train-images-idx3-ubyte.gz": image[:20],
        "train-labels-idx1-ubyte.gz": label[:20],
        "t10k-images-idx3-ubyte.gz": image[20:],
        "t10k-labels-idx1-ubyte.gz": label[20:],
    }
    given = tmp_path / "given"
    given.mkdir()
    for name, array in files.items():
        (given / name).write_bytes(gzip.compress(idx(array)))
    expected = tuple(published(given / name) for name in files)
    prepare("fashion_mnist", data_dir=tmp_path, given=[given], published=expected)
    dataset = data.load(name="fashion_mnist", data_dir=tmp_path)
    assert dataset.input_shape == (28, 28, 1)
    assert_same_set(dataset.train, image[:20, ..., None], label[:20])
    assert_same_set(dataset.test, image[20:, ..., None], label[20:])


def test_wrong_checksum_is_reported_and_leaves_nothing(tmp_path, capsys):
    path = tmp_path / "cifar-10-python.tar.gz"
    cifar10_archive(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    status = command.main(["prepare", "cifar10", "--archive", str(path), f"--data_dir={tmp_path}"])
    message = capsys.readouterr().err
    assert status == 2 and message.startswith("error: ") and message.count("\n") == 1
    assert found in message and data.DATASETS["cifar10"].archives[0].sha256 in message
    assert list(tmp_path.iterdir()) == [path]


class _Hostile:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("protocol", range(6))
def test_hostile_pickle_is_refused(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    for hostile in (_Hostile(), {"data": [_Hostile()]}):
        with pytest.raises(pickle.UnpicklingError, match="mkdir"):
            archives.unpickle(pickle.dumps(hostile, protocol))
    assert not list(tmp_path.iterdir())


def test_numpy_functions_are_refused():
    # Only the three numpy functions that rebuild arrays may run.
    for name in (b"numpy\nload", b"numpy.core.multiarray\nfromfile", b"builtins\neval"):
        with pytest.raises(pickle.UnpicklingError, match="refusing"):
            archives.unpickle(b"\x80\x02c" + name + b"\n.")


def test_hostile_archive_is_refused_on_the_command_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "cifar-10-python.tar.gz"
    content = pickle.dumps(_Hostile(), 2)
    archive = write_tar(path, {"cifar-10-batches-py/data_batch_1": content})
    info = data.DATASETS["cifar10"]._replace(archives=(archive,))
    monkeypatch.setitem(data.DATASETS, "cifar10", info)
    monkeypatch.chdir(tmp_path)
    status = command.main(["prepare", "cifar10", "--archive", str(path), "--data_dir=."])
    assert status == 2 and "refusing to unpickle" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_archive_without_a_member(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    archive = write_tar(path, {"cifar-10-batches-py/../../escape": b""})
    with pytest.raises(ValueError, match="lacks data_batch_1"):
        prepare("cifar10", data_dir=tmp_path, given=[path], published=(archive,))
    assert list(tmp_path.iterdir()) == [path]


def test_error_without_network_suggests_archive(tmp_path, monkeypatch):
    # A refused connection fails as being offline does, without waiting for a name server.
    url = "http://127.0.0.1:9/cifar-10-python.tar.gz"
    started = time.monotonic()
    with pytest.raises(ConnectionError, match="--archive FILE"):
        prepare("cifar10", data_dir=tmp_path, published=(Archive(url, "0" * 64),))
    assert time.monotonic() - started < 8
    assert not list(tmp_path.iterdir())


def test_download_is_checked_and_used(tmp_path):
    import http.server

    path = tmp_path / "cifar-10-python.tar.gz"
    archive, image, label = cifar10_archive(path)
    content = path.read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz"
        [found] = archives.obtain((Archive(url, archive.sha256),), (), tmp_path)
        assert found.read_bytes() == content
        with pytest.raises(ValueError, match="expected SHA-256 000"):
            archives.obtain((Archive(url, "0" * 64),), (), tmp_path)
        server.shutdown()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["prepare", "digits"], "nothing to prepare"),
        (["prepare", "cifar10:1.0.0"], "3.0.2, got 1.0.0"),
        (["prepare", "../cifar10"], "name='../cifar10'; allowed: NAME"),
        (["prepare", "cifar10", "--archive", "absent.tar.gz"], "absent.tar.gz"),
        (["prepare", "cifar11"], "the nearest names are"),
        (["prepare", "svhn_cropped", "--archive", "x"], "--archive is for"),
    ],
)
def test_mistakes_are_one_line_and_status_2(tmp_path, capsys, arguments, message):
    assert command.main([*arguments, f"--data_dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_killed_preparation_leaves_no_set(tmp_path, assert_same_set):
    path = tmp_path / "cifar-10-python.tar.gz"
    archive, image, label = cifar10_archive(path)
    program = f"""
import os, signal
from warmup_jax.data.catalog import Archive
from warmup_jax.data.tfds import builders
from warmup_jax.data.tfds.prepare import prepare
encode, calls = builders._png, []
def killed(pixels):
    calls.append(1)
    if len(calls) == 65:  # in the second split
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(pixels)
builders._png = killed
published = (Archive(*{tuple(archive)!r}),)
prepare("cifar10", data_dir={str(tmp_path)!r}, given=[{str(path)!r}], published=published)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert paths.find_version("cifar10", tmp_path) is None and not paths.prepared_sets(tmp_path)
    prepare("cifar10", data_dir=tmp_path, given=[path], published=(archive,))
    assert_same_set(data.load(name="cifar10", data_dir=tmp_path).train, image[:60], label[:60])


def test_list(tmp_path, capsys):
    assert command.main(["list", f"--data_dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in data.DATASETS) and str(tmp_path) in out
