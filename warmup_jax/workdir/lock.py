"""The lock on a workdir: created, compared with the config that it holds, and used by one process at a time."""

import contextlib
import fcntl
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from warmup_jax.workdir import swap
from warmup_jax.workdir.environment import environment
from warmup_jax.workdir.json_files import read_json, write_json

FILE = "config.json"


@contextlib.contextmanager
def open_workdir(
    workdir: Path, config: Mapping[str, Any], free: Collection[str] = ()
) -> Iterator[Mapping[str, Any] | None]:
    """Creates the folder of a run or opens it again, and locks it while the block runs.

    Args:
      workdir: the folder.
      config: of the run.
      free: dotted keys that may differ from the config that the folder holds.

    Yields:
      The config that the folder holds, None if it holds none yet. `record` writes the new one.

    Raises:
      ValueError: if it holds a run of another config, or another process writes to it.
      OSError: if it cannot be written.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is writing to the workdir {workdir}") from None
        swap.finish(workdir)
        stored = read_json(workdir / FILE) if (workdir / FILE).exists() else None
        if stored is not None:
            check_same(workdir, config, stored, free)
        yield stored


def check_same(workdir: Path, config: Mapping[str, Any], stored: Mapping[str, Any], free: Collection[str]) -> None:
    """Raises a ValueError that lists the keys, other than `free`, by which a config differs from the stored one."""
    if found := differences(as_json(config), stored, free):
        raise ValueError(
            f"the workdir {workdir} holds a run of another config: {', '.join(found)}; choose another --workdir"
        )


def record(workdir: Path, config: Mapping[str, Any]) -> None:
    """Writes the config of a run to its folder, and in what environment it goes on."""
    write_json(workdir / FILE, as_json(config))
    write_json(workdir / "environment.json", environment())


def as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config as `config.json` holds it: tuples as lists."""
    return {
        key: as_json(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
        for key, value in config.items()
    }


def differences(
    here: Mapping[str, Any], there: Mapping[str, Any], free: Collection[str] = (), prefix: str = ""
) -> list[str]:
    """Returns the differences between two configs, except in `free` keys: "peak_lr is 1.0 there and 0.1 here".

    None means "not set", so a key that is None is like one that is absent, as in a config of an older version.
    """
    found: list[str] = []
    for key in sorted(here.keys() | there.keys()):
        mine, other = here.get(key, "absent"), there.get(key, "absent")
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            found += differences(mine, other, free, f"{prefix}{key}.")
        elif f"{prefix}{key}" in free:
            continue
        elif mine != other and not (mine in ("absent", None) and other in ("absent", None)):
            found.append(f"{prefix}{key} is {other} there and {mine} here")
    return found
