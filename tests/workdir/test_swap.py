"""A swap is whole at whatever point the process ends: all is as before, or all is new."""

import functools
from pathlib import Path

import pytest

from warmup_jax.workdir import swap


class Killed(BaseException):
    pass


@pytest.fixture
def workdir(tmp_path):
    for name in ("checkpoints/old/a", "config.json", "metrics.jsonl", "summary.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"old {name}")
    return tmp_path


def prepare(workdir):
    new = swap.begin(workdir)
    (new / "checkpoints" / "starts").mkdir(parents=True)
    (new / "checkpoints" / "starts" / "b").write_text("new b")
    (new / "config.json").write_text("new config.json")


def content(workdir):
    return {str(path.relative_to(workdir)): path.read_text() for path in workdir.rglob("*") if path.is_file()}


def kill_at(patch, number):
    """Ends the process before its move or removal of that number."""
    left = [number]

    def moved(original, path, *args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return original(path, *args, **kwargs)

    for name in ("rename", "replace", "unlink"):
        patch.setattr(Path, name, functools.partialmethod(functools.partial(moved, getattr(Path, name))))


@pytest.mark.parametrize("kept", ["shorter_4", None])
def test_ended_at_every_point_it_is_whole(workdir, kept):
    before = content(workdir)
    after = {"checkpoints/starts/b": "new b", "config.json": "new config.json", "metrics.jsonl": "old metrics.jsonl"}
    if kept:
        copied = ("checkpoints/old/a", "config.json", "metrics.jsonl", "summary.json")
        after |= {f"{kept}/{name}": f"old {name}" for name in copied}
    outcomes = []
    for number in range(20):
        (folder := workdir / f"try_{number}").mkdir()
        for name, text in before.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        prepare(folder)
        try:
            with pytest.MonkeyPatch.context() as patch:
                kill_at(patch, number)
                swap.commit(
                    folder, kept, ("config.json", "metrics.jsonl", "summary.json", "absent"), ("summary.json", "absent")
                )
        except Killed:
            swap.finish(folder)
        outcomes.append(content(folder))
        assert outcomes[-1] in (before, after), number
    assert outcomes[0] == before and outcomes[-1] == after, (
        "it was killed before it was decided, and it ended by itself"
    )
    assert outcomes.index(after) < 5


def test_one_that_was_only_begun_is_forgotten(workdir):
    before = content(workdir)
    prepare(workdir)
    swap.finish(workdir)
    assert content(workdir) == before
    swap.finish(workdir)  # there is none
    assert content(workdir) == before
