"""Places: the home folder, the cache, what a user points to, new folders."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from warmup_jax import places
from warmup_jax.data import cache
from warmup_jax.data.tfds import paths
from warmup_jax.runtime import process

ROOT = Path(__file__).parent.parent


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A new folder for temporary files; returns it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(folder))
    _forget()
    yield folder
    _forget()


@pytest.fixture
def no_home(monkeypatch, temporary):
    """A container: neither $HOME nor an entry in passwd."""

    def unknown(uid):
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    return temporary


def _forget():
    places.temporary.cache_clear()
    places._cache.cache_clear()


def test_without_a_home_the_cache_is_the_users_own_temporary_folder(no_home, capfd):
    own = no_home / f"warmup_jax-{os.getuid()}"
    assert places.home() is None
    assert places.cache() == own == places.cache() and own.stat().st_mode & 0o777 == 0o700
    assert cache.root() == own / "arrays"
    assert paths.root() == own / "tensorflow_datasets" and paths.prepared_sets() == {}
    out, err = capfd.readouterr()
    assert out == "" and err == f"cache: ~/.cache cannot be written; {own} is used\n"


def test_an_empty_home_is_none(no_home, monkeypatch):
    monkeypatch.setenv("HOME", "")
    assert places.home() is None and places.cache() == no_home / f"warmup_jax-{os.getuid()}"


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_a_home_that_cannot_be_written_is_no_place_for_a_cache(temporary, monkeypatch, tmp_path, capfd, variable):
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    assert places.cache() == temporary / f"warmup_jax-{os.getuid()}"
    assert capfd.readouterr().err.count("\n") == 1


def test_the_cache_is_in_the_home_folder_or_where_the_user_wants_it(temporary, monkeypatch, tmp_path, capfd):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.cache() == tmp_path / ".cache" / "warmup_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/elsewhere")
    assert places.cache() == tmp_path / "elsewhere" / "warmup_jax"
    assert capfd.readouterr() == ("", "") and not list(temporary.iterdir())


@pytest.mark.parametrize("taken", ["file", "link", "writable by all"])
def test_a_temporary_folder_that_somebody_else_could_fill_is_not_used(no_home, tmp_path, capfd, taken):
    """Compiled programs in a cache are executed."""
    own = no_home / f"warmup_jax-{os.getuid()}"
    if taken == "file":
        own.write_text("")
    elif taken == "link":
        (tmp_path / "theirs").mkdir()
        own.symlink_to(tmp_path / "theirs")
    else:
        own.mkdir()
        own.chmod(0o777)
    assert places.cache() is None and cache.root() is None
    assert capfd.readouterr().err == "cache: ~/.cache cannot be written; nothing is kept\n"
    assert cache.load_or_make("entry", lambda: {"a": 1}) == {"a": 1}
    with pytest.raises(ValueError, match=r"set data_dir or \$TFDS_DATA_DIR"):
        paths.root()


def test_nothing_is_compiled_into_no_cache(no_home, monkeypatch):
    import jax

    (no_home / f"warmup_jax-{os.getuid()}").write_text("")
    monkeypatch.setattr(jax.config, "update", lambda *_: pytest.fail("there is no cache"))
    process.enable_compilation_cache()


def test_a_message_about_the_cache_never_ends_a_run(no_home, monkeypatch):
    monkeypatch.setattr(sys, "stderr", open(os.devnull))
    assert places.cache() is not None


@pytest.mark.parametrize("address", ["gs://bucket/run", "s3://bucket", "file:///tmp", "gs:/bucket", "hdfs://a:9000/b"])
def test_an_address_is_no_path(address):
    for given in (address, Path(address)):
        with pytest.raises(ValueError, match="^workdir=.*; allowed: a path of this machine"):
            places.local("workdir", given)
    with pytest.raises(ValueError, match="^data_dir="):
        paths.root(address)


@pytest.mark.parametrize("path", ["a:b", "runs/a", "/a/b:/c", "a b"])
def test_other_paths_stay(path):
    assert places.local("workdir", path) == Path(path)


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.local("workdir", "~/x") == tmp_path / "x" == places.local("workdir", Path("~/x"))


def test_a_tilde_without_a_home_folder_is_an_error(no_home):
    with pytest.raises(ValueError, match="workdir=~/x; allowed here: a path without ~"):
        places.local("workdir", "~/x")


def test_new_folders_never_collide(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: places.new_folder(tmp_path / "runs" / "job-1"), range(20)))
    names = {folder.name for folder in made}
    assert names == {"job-1", *(f"job-1-{number}" for number in range(2, 21))}


def as_nobody(*args, cwd):
    """Runs a program as a user without passwd entry and home folder."""
    from shutil import which

    if os.getuid() != 0 or which("setpriv") is None:
        pytest.skip("needs the superuser and setpriv")
    command = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", sys.executable, *map(str, args)]
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(cwd), "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True, timeout=300)
    if "Permission denied" in done.stderr and str(sys.prefix) in done.stderr:
        pytest.skip("another user cannot read this Python")
    return done


@pytest.fixture
def open_folder():
    """A folder that every user may write to and reach."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


def test_data_sets_are_listed_without_a_home_folder(open_folder):
    answer = as_nobody("-m", "warmup_jax.data", "list", cwd=open_folder)
    assert answer.returncode == 0, answer.stderr
    assert f"looked for in {open_folder}/warmup_jax-54321/tensorflow_datasets" in answer.stdout


@pytest.mark.slow
def test_a_run_without_a_home_folder(open_folder):
    config = f"--config={ROOT}/configs/resnet_warmup.py:smoke"
    answer = as_nobody(ROOT / "train.py", config, "--config.num_steps=2", "--workdir=r", cwd=open_folder)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == f"cache: ~/.cache cannot be written; {open_folder}/warmup_jax-54321 is used\n"
    assert (open_folder / "r" / "summary.json").exists()
    assert list((open_folder / "warmup_jax-54321" / "compiled").iterdir())


def test_every_program_takes_a_tilde_after_an_equals_sign(monkeypatch, tmp_path, capsys):
    """There the shell leaves it as it is."""
    from warmup_jax.data import __main__ as data_program
    from warmup_jax.report import __main__ as report_program

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(report_program.pages, "page", lambda workdirs, *_: f"page of {workdirs[0].name}")
    assert report_program.main(["runs/a", "--out=~/r.html"]) == 0
    assert (tmp_path / "r.html").read_text() == "page of a"
    assert report_program.main(["gs://b/a"]) == 2
    assert data_program.main(["list", "--data_dir=~/sets"]) == 0
    assert f"looked for in {tmp_path}/sets" in capsys.readouterr().out
    assert data_program.main(["list", "--data_dir=gs://b"]) == 2
    monkeypatch.setattr(data_program, "prepare", lambda name, data_dir, given: (given[0], True))
    assert data_program.main(["prepare", "cifar10", "--archive=~/a.tar.gz"]) == 0
    assert f"prepared in {tmp_path}/a.tar.gz" in capsys.readouterr().out
