import os
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from warmup_jax import data
from warmup_jax.data import __main__ as command
from warmup_jax.data.own import layout
from warmup_jax.data.own.prepare import prepare
from warmup_jax.data.tfds import paths


def write_text(folder):
    path = folder / "my.txt"
    path.write_text("".join(f"{number} plus {number} is {2 * number}.\n" for number in range(80)))
    return [path]


def write_pairs(folder):
    path = folder / "parallel"
    path.mkdir()
    (path / "train.en").write_text("".join(f"number {number}\n" for number in range(60)))
    (path / "train.fr").write_text("".join(f"nombre {number}\n" for number in range(60)))
    return [path]


def write_pictures(folder):
    generator = np.random.default_rng(0)
    for label in ("ant", "bee"):
        (folder / "pictures" / label).mkdir(parents=True)
        for number in range(12):
            pixels = generator.integers(0, 256, (9, 8 + number % 2, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / label / f"{number}.jpg")
    return [folder / "pictures"]


WRITERS = {"text": write_text, "translation": write_pairs, "images": write_pictures}


def run(tmp_path, name, *files):
    return command.main(["prepare", name, "--from", *map(str, files), f"--data_dir={tmp_path / 'tfds'}"])


@pytest.mark.parametrize(
    "task", ["text", *(pytest.param(t, marks=pytest.mark.slow) for t in ("translation", "images"))]
)
def test_the_printed_command_trains(tmp_path, capsys, train, task):
    assert run(tmp_path, "mine", *WRITERS[task](tmp_path)) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "train.py" in line]
    python, program, config, *others = shlex.split(line)
    assert (python, program) == ("python", "train.py")
    done = train(f"{config}:smoke", *others, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "summary.json").exists()
    assert command.main(["list", f"--data_dir={tmp_path / 'tfds'}"]) == 0
    [row] = [line for line in capsys.readouterr().out.splitlines() if " mine " in line]
    assert row.split()[:3] == ["mine", task, "prepared"]


def state(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("task", WRITERS)
def test_the_same_content_is_prepared_once_and_another_is_a_new_version(tmp_path, capsys, task):
    files = WRITERS[task](tmp_path)
    assert run(tmp_path, "mine", *files) == 0
    before = state(tmp_path)
    assert run(tmp_path, "mine", *files) == 0 and "mine is already prepared in" in capsys.readouterr().out
    assert state(tmp_path) == before

    changed = files[0] if task == "text" else sorted(files[0].rglob("*.en" if task == "translation" else "*.jpg"))[-1]
    content = changed.read_bytes()
    if task == "images":
        changed.unlink()
    else:
        changed.write_bytes(content.replace(b"7", b"8"))  # as many bytes
    assert run(tmp_path, "mine", *files) == 2
    assert "1.0.0 was prepared from other content: prepare mine:1.0.1, or remove" in capsys.readouterr().err
    assert run(tmp_path, "mine:1.0.1", *files) == 0
    assert paths.find_version("mine", tmp_path / "tfds").name == "1.0.1"
    assert run(tmp_path, "mine", *files) == 0 and "1.0.1" in capsys.readouterr().out
    changed.write_bytes(content)
    assert run(tmp_path, "mine:1.0.0", *files) == 0


def test_two_commands_at_once(tmp_path, capsys, monkeypatch):
    files = write_text(tmp_path)
    monkeypatch.setattr(paths, "versions", lambda folder: [])  # neither sees what the other writes
    for word in ("now", "already"):
        assert run(tmp_path, "mine", *files) == 0 and f"mine is {word} prepared" in capsys.readouterr().out
    files[0].write_text(files[0].read_text().replace("7", "8"))
    assert run(tmp_path, "mine", *files) == 2 and "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, files, message",
    [
        ("cifar10", ["my.txt"], "name='cifar10' is that of a known set"),
        ("a/b", ["my.txt"], "name='a/b'; allowed for files of your own: letters, digits and _"),
        ("my-set", ["my.txt"], "name='my-set'; allowed: NAME"),
        ("mine", ["no.txt"], "no.txt does not exist"),
        ("mine", ["my.txt", "parallel"], "parallel is a folder; allowed: one folder, or files alone"),
        ("mine", ["packed.zip"], "packed.zip is compressed: unpack it first"),
        ("mine", ["my.txt", "your.txt"], "my.txt has no split in its name; allowed: a folder with"),
        ("mine", ["empty"], "empty holds 0 files, and no folder of a class; allowed"),
        ("mine", ["flat"], "flat holds 1 files, as 1.png, and no folder of a class; allowed"),
        ("mine", ["parallel/train.en", "test.txt"], "not all of its languages in test and train: ''"),
        ("mine", ["test.txt", "valid.txt"], "test, validation, but no train file"),
        ("mine", ["test.txt", "test.txt"], "test.txt are both test"),
        ("other", ["my.txt"], "tfds/other holds something else, as photo.png; allowed: another name or data_dir"),
        ("mine", ["."], "mine lies inside"),
    ],
)
def test_mistakes_are_one_line_and_status_2(tmp_path, capsys, monkeypatch, name, files, message):
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path)
    write_pairs(tmp_path)
    for file in ("your.txt", "test.txt", "valid.txt", "packed.zip", "flat/1.png", "tfds/other/photo.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / file).write_bytes(b"x" * 99)
    (tmp_path / "empty").mkdir()
    before = state(tmp_path)
    assert run(tmp_path, name, *files) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert state(tmp_path) == before


def test_archives_and_own_files_exclude_each_other(tmp_path, capsys):
    given = ["--from", "x", "--archive", "y"]
    assert command.main(["prepare", "mine", *given]) == 2 and "give one of them" in capsys.readouterr().err


def test_a_path_where_a_name_is_meant_gives_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "my pets"), "./my pets", "pets"):
        (tmp_path / name).mkdir(exist_ok=True)
        new = "my_my_pets" if "my" in name else "my_pets"
        hint = f"for files of your own run `python -m warmup_jax.data prepare {new} --from {shlex.quote(name)}`"
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            data.load(name=name, data_dir=str(tmp_path / "tfds"))
        assert hint in str(error.value)
        assert command.main(["prepare", name]) == 2 and hint in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, parsed",
    [
        ("train.en", ("train", "en")),
        ("val.pt-br", ("validation", "pt-br")),
        ("en.dev.txt", ("validation", "en")),
        ("train.de-en.de", ("train", "de")),
        ("Test.TXT", ("test", "")),
        ("train", ("train", "")),
        ("README.md", None),
        ("trained.en", None),
        ("train.1", None),
    ],
)
def test_names_of_files(name, parsed):
    assert layout.parse(name) == parsed


PREPARE = "from warmup_jax.data.own.prepare import prepare; prepare('mine', [{file!r}], data_dir={folder!r})"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, forked):
    (tmp_path / "my.txt").write_bytes(os.urandom(300_000).hex().encode())
    code = (
        "import resource, signal, sys; from warmup_jax.data.__main__ import main; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2); "
        f"sys.exit(main(['prepare', 'mine', '--from', '{tmp_path}/my.txt', '--data_dir={tmp_path}/tfds']))"
    )
    done = forked("-c", code)
    assert done.returncode == 2
    assert done.stderr == f"error: cannot write {tmp_path}/tfds/mine/1.0.0: File too large\n"
    assert not list((tmp_path / "tfds").iterdir())


@pytest.mark.slow
def test_a_killed_preparation_leaves_no_set(tmp_path):
    [file] = write_text(tmp_path)
    killed = (
        "import os, signal; from warmup_jax.data.own import store; shard = store._write_shard; calls = []\n"
        "def killed(*args):\n"
        "    calls.append(1)\n"
        "    return os.kill(os.getpid(), signal.SIGKILL) if len(calls) == 2 else shard(*args)\n"
        "store._write_shard = killed\n"
    )
    prepare_it = PREPARE.format(file=str(file), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", killed + prepare_it], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list((tmp_path / "mine").iterdir())) == 1 and not paths.prepared_sets(tmp_path)
    assert prepare("mine", [file], data_dir=tmp_path).written
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["1.0.0"]
