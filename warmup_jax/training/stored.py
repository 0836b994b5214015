"""What a workdir holds of its runs: the folders of checkpoints, and the state of one run from them.

`checkpoints/runs_A-B` belongs to the group of the runs A to B, one in each lane, and holds the newest states.
`checkpoints/before_decay/runs_A-B` holds the state at the end of a stable phase, from which a run can be extended.
`checkpoints/starts/runs_A-B` holds where the runs of a new group start from, when runs were grouped anew or extended;
`checkpoints/starts/runs_A-B.logs` holds the lines of the log up to there.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from warmup_jax.training.program import Plan
from warmup_jax.workdir.checkpoint import Checkpoints, take_lanes

LIVE, BEFORE_DECAY, STARTS = "checkpoints", "checkpoints/before_decay", "checkpoints/starts"
ANY = (LIVE, BEFORE_DECAY, STARTS)
WEIGHTS = "start_weights"  # folder of the weights that the runs of a workdir started from, if those were given


class StoredGroup(NamedTuple):
    """A folder with checkpoints of some runs."""

    folder: Path
    runs: range

    def checkpoints(self) -> Checkpoints:
        """Returns the checkpoints, to read them alone."""
        return Checkpoints(self.folder, read_only=True)

    def lane(self, run: int) -> int:
        """Returns the lane of a run."""
        return run - self.runs[0]


class StoredRun(NamedTuple):
    """The state of one run at a checkpoint.

    Attributes:
      step: updates applied.
      arrays: by dotted path, without the axis of the lanes.
      vocabulary: fingerprint of the data's vocabulary, None for images.
    """

    step: int
    arrays: dict[str, np.ndarray]
    vocabulary: str | None


def groups(workdir: Path, where: str = LIVE) -> list[StoredGroup]:
    """Returns the folders of checkpoints in a place of a workdir, in the order of their runs."""
    found = []
    for folder in (workdir / where).glob("runs_*-*"):
        first, _, last = folder.name.removeprefix("runs_").partition("-")
        if folder.is_dir() and first.isdecimal() and last.isdecimal():
            found.append(StoredGroup(folder, range(int(first), int(last) + 1)))
    return sorted(found, key=lambda group: group.runs[0])


def check_vocabulary(folder: Path, there: str | None, here: str | None) -> None:
    """Raises a ValueError unless the vocabulary of a checkpoint is that of the data."""
    if there != here:
        raise ValueError(
            f"the checkpoint in {folder} was trained with the vocabulary {there}, and the data now give {here}"
        )


def check_orders(folder: Path, meta: Mapping[str, Any], plan: Plan) -> None:
    """Raises a ValueError if the seeds of a checkpoint saw the data in one order, and those of the plan do not."""
    if plan.batch_axis is not None and not meta.get("own_orders"):
        raise ValueError(
            f"the checkpoint in {folder} is of an older version, whose seeds share the order of the data; "
            "begin in another workdir, with sweep.share_order=True for the same numbers"
        )


def logs_of_start(folder: Path) -> Path:
    """Returns the folder of the lines that belong to a start."""
    return folder.with_name(f"{folder.name}.logs")


def read_run(workdir: Path, run: int, step: int | None = None, say: Callable[[str], object] = print) -> StoredRun:
    """Returns the state of a run after `step` updates; None: the newest that is intact.

    Raises:
      ValueError: if there is none, or it is damaged.
    """
    held = [group for where in ANY for group in groups(workdir, where)]
    steps: dict[int, StoredGroup] = {}
    for group in held:
        if run in group.runs:
            steps = {each: group for each in group.checkpoints().steps()} | steps
    if not steps:
        runs = sorted({str(each) for group in held for each in group.runs}, key=int)
        there = f"those of the runs {', '.join(runs)}" if runs else "none"
        raise ValueError(f"run={run} has no checkpoint in {workdir}; there are {there}")
    if step is not None and step not in steps:
        there = ", ".join(map(str, sorted(steps)))
        raise ValueError(f"step={step} of run {run} has no checkpoint in {workdir}; there are those of {there}")
    for each in [step] if step is not None else sorted(steps, reverse=True):
        try:
            arrays, meta = steps[each].checkpoints().read(each)
        except ValueError as error:
            if step is not None:
                raise
            say(f"{error}; passed over")
            continue
        lane = steps[each].lane(run)
        state = {name: array[0] for name, array in take_lanes(arrays, [lane]).items()}
        return StoredRun(each, state, meta["vocabulary"])
    raise ValueError(f"every checkpoint of run {run} in {workdir} is damaged (steps {', '.join(map(str, steps))})")
