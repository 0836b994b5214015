"""Trials of the reliability benchmark: SIGKILL at random times, over chains of trainings."""

import random
import shutil
import signal
import time

import reliability_programs as programs

COUNT, BATCH = 100, 1
CHAIN = 5  # kills of one training
NAMES = ("sweep", "ResNet", "translation", "streamed", "diagnosed")
# What a kill waits for: a time, a line of the log, a checkpoint that is being written, the final report.
MOMENTS = ("time", "time", "line", "save", "report")

ABOUT = (
    "SIGKILL at a random time, at a line of the log, while a checkpoint is written or during the final report; resumed "
    "to the end each time. Equal: `metrics.jsonl`, `texts.jsonl`, tables, pictures, config and summary are those of an "
    "uninterrupted training, byte for byte."
)
ROW, SORTED = "training", False
COLUMNS = {
    "kills": lambda record: record.get("kills", 0),
    "equal": lambda record: (not any("left" not in reason for reason in record["wrong"]), 1),
    "no process left": lambda record: (record.get("gone", 0), record.get("kills", 0)),
}


def impossible():
    return None


def prepare(scratch, cases):
    programs.train_references({case["name"] for case in cases}, scratch)


def cases(count, seed):
    """Returns the chains, whose kills add up to `count`; the times are fractions of an uninterrupted training."""
    found = []
    for number, first in enumerate(range(0, count, CHAIN)):
        draw = random.Random(f"{seed} kills {number}")
        kills = [(draw.choice(MOMENTS), draw.random(), draw.random()) for _ in range(min(CHAIN, count - first))]
        found.append({"number": number, "name": NAMES[number % len(NAMES)], "kills": kills})
    return found


def row(record):
    return record["case"]["name"]


def trial(case, folder, scratch):
    name, wrong, kills, gone = case["name"], [], 0, 0
    workdir, reference = folder / "run", programs.reference(name, scratch)
    for moment, fraction, delay in case["kills"]:
        killed = False
        for attempt in range(5):  # a training that ends before the kill is checked and begun anew
            program = programs.Program(programs.arguments(name, workdir, scratch), folder / "output")
            wait(program, workdir, reference, moment, fraction * 0.7**attempt, delay, programs.pace(name, scratch))
            killed = program.send(signal.SIGKILL) and program.wait() == -signal.SIGKILL
            none_left = program.none_left() is not None
            if killed:
                break
            if program.status:
                wrong.append(f"status {program.status}: {program.err[-300:]}")
                break
            wrong += programs.differences(workdir, reference)
            shutil.rmtree(workdir)
        kills += killed
        gone += killed and none_left
        if killed and not none_left:
            wrong.append("processes are left")
    program = programs.complete(name, workdir, scratch, folder / "output")
    if program.status:
        wrong.append(f"status {program.status}: {program.err[-300:]}")
    else:
        wrong += programs.differences(workdir, reference)
        wrong += [f"{path.name} is left" for path in workdir.rglob("*") if path.suffix == ".partial"]
    return {"wrong": wrong, "kills": kills, "gone": gone}


def wait(program, workdir, reference, moment, fraction, delay, seconds):
    """Waits for the moment of a kill, or the end of the program."""
    if moment == "line":
        count = max(1, round(fraction * programs.lines(reference)))
        program.until(lambda: programs.lines(workdir) >= count)
    elif moment == "save":
        program.until(lambda: any(workdir.glob("checkpoints/*/*tmp*")))
    elif moment == "report":
        program.until((workdir / "summary.json").exists)
    if moment == "time":
        end = time.monotonic() + fraction * seconds
    else:
        end = time.monotonic() + delay * (0.05 if moment == "save" else 0.3)
    program.until(lambda: time.monotonic() > end)
