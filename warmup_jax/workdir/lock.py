"""The folder of a run: made, recognised, and held by one process at a time."""

import contextlib
import fcntl
from collections.abc import Mapping
from pathlib import Path

from warmup_jax.workdir import logs


@contextlib.contextmanager
def open_workdir(workdir: Path, config: dict):
    """Makes the folder of a run or re-opens it, for this process alone.

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
        known, config = workdir / "config.json", as_json(config)
        if known.exists():
            found = differences(config, logs.read_json(known))
            if found:
                raise ValueError(
                    f"the workdir {workdir} holds a run of another config: {', '.join(found)}; choose another --workdir"
                )
        else:
            logs.write_json(known, config)
        logs.write_json(workdir / "environment.json", logs.environment())
        yield


def as_json(config: Mapping) -> dict:
    """A config as `config.json` holds it: tuples as lists."""
    return {
        key: as_json(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
        for key, value in config.items()
    }


def differences(here: Mapping, there: Mapping, prefix: str = "") -> list[str]:
    """What differs between two configs, in words: "peak_lr is 1.0 there and 0.1 here"."""
    found = []
    for key in sorted(here.keys() | there.keys()):
        mine, other = here.get(key, "absent"), there.get(key, "absent")
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            found += differences(mine, other, f"{prefix}{key}.")
        elif mine != other:
            found.append(f"{prefix}{key} is {other} there and {mine} here")
    return found
