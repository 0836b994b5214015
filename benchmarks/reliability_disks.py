"""Trials of the reliability benchmark: a disk that is full or has no inodes left."""

import ctypes
import os
import random
import subprocess
import time

import reliability_programs as programs

COUNT, BATCH = 20, 1
NAME = "language model"
KINDS = ("space", "inodes")
GIVE_UP = 120  # seconds after which a training counts as one that does not end
LIMIT = 10  # seconds from the error to the end
NEW_MOUNTS = 0x20000  # CLONE_NEWNS

ABOUT = (
    "The workdir is on a disk (tmpfs) that holds a random part of what the training writes, or as many inodes. Ended: "
    f"with status 1 or 2 and one line, within {LIMIT} s of it. Equal: after the disk has grown the same command ends "
    "with the files of an uninterrupted training."
)
ROW, SORTED = "without", False
COLUMNS = {
    "disks": lambda record: 1,
    "ended": lambda record: (record.get("ended", False), 1),
    "longest": lambda record: record.get("end_seconds"),
    "equal": lambda record: (record.get("equal", False), 1),
}


def impossible():
    """Returns why this machine cannot run these trials, None if it can."""
    if os.geteuid():
        return "only root can mount a small disk"
    mounts = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return "this container may not mount" if mounts.returncode else None


def prepare(scratch, cases):
    programs.train_references({NAME}, scratch)


def cases(count, seed):
    found = []
    for number in range(count):
        # One from each of as many equal parts of the range as there are trials of a kind.
        parts = max(1, count // len(KINDS))
        part = number // len(KINDS) % parts
        fraction = 0.95 * (part + random.Random(f"{seed} disks {number}").random()) / parts
        found.append({"number": number, "kind": KINDS[number % len(KINDS)], "fraction": fraction})
    return found


def row(record):
    return record["case"]["kind"]


def trial(case, folder, scratch):
    reference = programs.reference(NAME, scratch)
    disk = folder / "disk"
    disk.mkdir(parents=True)
    mount(disk, limit(case, reference))
    arguments = programs.arguments(NAME, disk / "run", scratch)
    program = programs.Program(arguments, folder / "output", anew=True)
    program.until(lambda: "error: " in program.err)
    begin = time.monotonic()
    program.until(lambda: False, GIVE_UP)
    record, wrong = {"end_seconds": time.monotonic() - begin, "said": program.err[-500:]}, []
    record["ended"] = program.status in (1, 2) and programs.one_line(program.err) and record["end_seconds"] < LIMIT
    if not record["ended"]:
        wrong.append(f"status {program.status} after {record['end_seconds']:.1f} s: {program.err[-500:]}")
    program.clean()
    subprocess.run(["mount", "-o", "remount,size=1g,nr_inodes=100000", str(disk)], check=True)
    rest = programs.complete(NAME, disk / "run", scratch, folder / "rest")
    found = [f"status {rest.status}: {rest.err[-300:]}"] if rest.status else []
    found += programs.differences(disk / "run", reference)
    record["equal"] = not found
    subprocess.run(["umount", "-l", str(disk)], check=True)
    return record | {"wrong": wrong + found}


def limit(case, reference):
    """Returns the option of `mount` for a disk that holds a part of a workdir."""
    paths = list(reference.rglob("*"))
    if case["kind"] == "inodes":
        return f"nr_inodes={max(3, round(case['fraction'] * len(paths)))}"
    pages = sum(-(-path.stat().st_size // 4096) for path in paths if path.is_file())
    return f"size={max(1, round(case['fraction'] * pages)) * 4096}"


def mount(disk, option):
    """Mounts a small disk that only this process and its programs see."""
    if ctypes.CDLL(None).unshare(NEW_MOUNTS):
        raise OSError("no mounts of its own")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", option, "none", str(disk)], check=True)
