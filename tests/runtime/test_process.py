"""Memory and cores of the process."""

import json
import os
import subprocess
import sys

import pytest
from commands import ROOT

from warmup_jax.runtime import process

HUGE_PAGES = process.HUGE_PAGES["GLIBC_TUNABLES"]


def python(code, *flags, **environment):
    """What a program prints, as JSON, in an environment that does not tune glibc's memory but as given."""
    untuned = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, *flags, "-c", code, "an argument"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env=untuned | {"JAX_PLATFORMS": "cpu"} | environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system that allows huge pages, with a new glibc."""
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(process, "SYSTEM_ALLOWS", tmp_path / "enabled")
    monkeypatch.setattr(process, "glibc", lambda: (2, 35))
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    return tmp_path


def test_huge_pages_where_the_system_allows_them(system):
    assert process.with_huge_pages() == {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"}


@pytest.mark.parametrize("version", [(), (2, 34)])
def test_no_huge_pages_of_another_c_library(system, monkeypatch, version):
    monkeypatch.setattr(process, "glibc", lambda: version)
    assert process.with_huge_pages() == {}


def test_no_huge_pages_that_the_system_forbids(system):
    (system / "enabled").write_text("always madvise [never]\n")
    assert process.with_huge_pages() == {}


def test_no_huge_pages_on_a_system_that_does_not_say(system):
    (system / "enabled").unlink()
    assert process.with_huge_pages() == {}


@pytest.mark.parametrize("variable", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_no_huge_pages_where_the_user_has_tuned_memory(system, monkeypatch, variable):
    monkeypatch.setenv(variable, "")
    assert process.with_huge_pages() == {}


def test_a_program_that_cannot_be_started_again_goes_on(system, monkeypatch):
    started = []

    def execve(path, arguments, environment):
        started.append((path, environment["GLIBC_TUNABLES"]))
        raise PermissionError(path)

    monkeypatch.setattr(os, "execve", execve)
    process.restart_with_huge_pages()
    assert started == [(sys.executable, HUGE_PAGES)] and "GLIBC_TUNABLES" not in os.environ


RESTARTED = """
import json, os, sys
from warmup_jax.runtime import process
process.restart_with_huge_pages()
print(json.dumps([os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], sys.flags.optimize]))
"""


@pytest.mark.skipif(not process.with_huge_pages(), reason="this system has none")
def test_a_program_starts_again_with_its_arguments():
    assert python(RESTARTED, "-O") == [HUGE_PAGES, ["an argument"], 1]


def test_a_program_whose_memory_the_user_has_tuned_does_not_start_again():
    assert python(RESTARTED, GLIBC_TUNABLES="") == ["", ["an argument"], 0]


@pytest.mark.skipif(not process.glibc(), reason="it is a setting of glibc")
@pytest.mark.parametrize("variable, kept", [("WHATEVER", True), ("GLIBC_TUNABLES", False)])
def test_freed_memory_is_kept_unless_the_user_has_tuned_it(variable, kept):
    """A block of 64 MiB has 16,384 pages, each of which the system hands out anew, or none."""
    code = (
        "import resource; from warmup_jax.runtime import process; process.keep_freed_memory(); b'x' * int(2**26)\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "before = faults(); b'x' * int(2**26); print(faults() - before)"
    )
    assert (python(code, **{variable: ""}) < 1000) == kept
