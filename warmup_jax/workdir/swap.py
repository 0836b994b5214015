"""A swap: several files of a workdir replaced at once, or not at all.

The new content is written to a folder of its own. Renaming that folder decides; what follows, moving its content into
place, can be repeated, and is finished by whoever opens the workdir next.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from warmup_jax.workdir.json_files import read_json, write_json

DECIDED, BEGUN, PLAN = ".swap", ".swap.begun", "plan.json"


def begin(workdir: Path) -> Path:
    """Returns an empty folder for new content: files, and a new `checkpoints`."""
    begun = workdir / BEGUN
    shutil.rmtree(begun, ignore_errors=True)
    (begun / "new").mkdir(parents=True)
    return begun / "new"


def commit(workdir: Path, kept: str | None = None, copied: Iterable[str] = (), removed: Iterable[str] = ()) -> None:
    """Puts the content of the folder that `begin` returned into the place of the old one.

    Args:
      workdir: folder of the run.
      kept: a new folder in `workdir` that the old checkpoints move to; None deletes them.
      copied: files and folders that are copied to `kept` before.
      removed: files that are removed. What does not exist is passed over.
    """
    begun = workdir / BEGUN
    (begun / "old").mkdir()
    for name in copied:
        if (workdir / name).is_dir():
            shutil.copytree(workdir / name, begun / "old" / name)
        elif (workdir / name).exists():
            shutil.copy2(workdir / name, begun / "old" / name)
    write_json(begun / PLAN, {"kept": kept, "removed": list(removed)})
    _sync(begun)  # all of it is on the disk before it counts
    begun.rename(workdir / DECIDED)
    finish(workdir)


def finish(workdir: Path) -> None:
    """Finishes a swap that was decided; forgets one that was only begun."""
    decided = workdir / DECIDED
    if decided.is_dir():
        plan = read_json(decided / PLAN)
        old = decided / "old"
        if plan["kept"] is not None:
            kept = workdir / plan["kept"]
            if old.exists():
                old.rename(kept)
            old = kept
        new = decided / "new" / "checkpoints"
        if new.exists():
            if (workdir / "checkpoints").exists():
                (workdir / "checkpoints").rename(old / "checkpoints")
            new.rename(workdir / "checkpoints")
        for path in (decided / "new").iterdir():
            path.replace(workdir / path.name)
        for name in plan["removed"]:
            (workdir / name).unlink(missing_ok=True)
        decided.rename(workdir / BEGUN)
    shutil.rmtree(workdir / BEGUN, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Writes all files and folders below a folder to disk."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
