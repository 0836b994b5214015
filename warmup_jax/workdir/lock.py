"""The lock on a workdir: created, compared with the config that it holds, and used by one process at a time."""

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from warmup_jax.workdir.environment import environment
from warmup_jax.workdir.json_files import read_json, write_json


@contextlib.contextmanager
def open_workdir(workdir: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Creates the folder of a run or opens it again, and locks it while the block runs.

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
        known, content = workdir / "config.json", as_json(config)
        if known.exists():
            found = differences(content, read_json(known))
            if found:
                raise ValueError(
                    f"the workdir {workdir} holds a run of another config: {', '.join(found)}; choose another --workdir"
                )
        else:
            write_json(known, content)
        write_json(workdir / "environment.json", environment())
        yield


def as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config as `config.json` holds it: tuples as lists."""
    return {
        key: as_json(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
        for key, value in config.items()
    }


def differences(here: Mapping[str, Any], there: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns the differences between two configs in words: "peak_lr is 1.0 there and 0.1 here".

    None means "not set", so a key that is None is like one that is absent, as in a config of an older version.
    """
    found: list[str] = []
    for key in sorted(here.keys() | there.keys()):
        mine, other = here.get(key, "absent"), there.get(key, "absent")
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            found += differences(mine, other, f"{prefix}{key}.")
        elif mine != other and not (mine in ("absent", None) and other in ("absent", None)):
            found.append(f"{prefix}{key} is {other} there and {mine} here")
    return found
