"""Measures how reliable training is: kills, flipped bits, signals, full disks and wrong values.

python benchmarks/reliability.py [--parts=kills,flips,signals,disks,overrides] [--count=N] [--seed=N] [--jobs=N]
    [--only=PART:NUMBER,...] [--trials=FILE] [--markdown] [--out=FILE]

Every trial has a number and depends on the seed and that number alone; --only repeats some. The record of each trial is
a line of --trials. The trainings are tiny and start in forks of this process, which has imported what they need; those
of full disks and some of the signals start as a user starts them. The command fails if a trial went wrong. All parts
take about 25 minutes on two cores.

- kills: chains of trainings that SIGKILL ends, at a random time, line of the log, save or moment of the final report.
  They are resumed until done. Then metrics.jsonl and all other files that depend on the config and the seed alone have
  the bytes of an uninterrupted training, and no process is left.
- flips: one bit of one file of a workdir is flipped; all kinds of files are equally likely. The training is resumed to
  equal files, or refused in one line and, with the bit put back, resumed to equal files. `python -m warmup_jax.report`
  on the damaged workdir is a page or one line.
- signals: SIGINT, SIGTERM and SIGHUP in each phase of a training. It ends in time with status 0, has saved the last
  logged step, resumes to equal files, and leaves no process; a second signal while it saves ends it with 128 + number.
- disks: a disk without space or inodes. The process ends with one line; with more space it resumes to equal files.
- overrides: random and extreme values of all config keys. A value is refused with status 2 and one line that names
  the key, the value and what is allowed, or it stands in config.json and changes the numbers or the program of the
  training; one value in forty is also trained.
"""

import argparse
import collections
import importlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import textwrap
import time
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import reliability_programs as programs
from train_step import processor, versions

PARTS = ("kills", "flips", "signals", "disks", "overrides")
TRIAL_LIMIT = 3600  # seconds after which a trial is given up
SAY_EVERY = 10  # seconds between two lines of progress


def main(scratch):
    options = parse()
    options.scratch = scratch
    os.chdir(programs.ROOT)
    os.environ["GLIBC_TUNABLES"] = ""  # train.py would start itself again
    os.environ.setdefault("XDG_CACHE_HOME", f"{options.scratch}/cache")
    # Nothing here depends on how far LLVM optimises, which would take most of the time.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *args: sys.exit("stopped"))
    programs.preload()
    warnings.filterwarnings("ignore", message=r"os\.fork\(\)", category=RuntimeWarning)  # JAX computes in forks alone
    begin = time.monotonic()
    options.trials.parent.mkdir(parents=True, exist_ok=True)
    options.trials.write_text("")
    sections, failed = [], 0
    for name in options.parts:
        part = importlib.import_module(f"reliability_{name}")
        if reason := part.impossible():
            sections.append(f"## {name.capitalize()}\n\nNot measured: {reason}.")
            print(f"{name}: not measured: {reason}", flush=True)
            continue
        cases = part.cases(options.count or part.COUNT, options.seed)
        if options.only is not None:
            cases = [case for case in cases if case["number"] in options.only]
        print(f"{name}: preparing", flush=True)
        part.prepare(options.scratch, cases)
        records = run(name, part, cases, options)
        failed += sum(bool(record["wrong"]) for record in records)
        sections.append(section(name, part, records))
    minutes = (time.monotonic() - begin) / 60
    text = document(sections, options, minutes) if options.markdown else "\n\n".join(sections)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text + "\n")
    return int(failed > 0)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="some of " + ",".join(PARTS))
    parser.add_argument("--count", type=int, help="trials of each part (kills: kills)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="trials at a time")
    parser.add_argument("--only", help="PART:NUMBER,..., the trials to repeat")
    parser.add_argument("--trials", type=Path, default=Path("runs/reliability.jsonl"), help="the record of each trial")
    parser.add_argument("--markdown", action="store_true", help="write the document instead of plain tables")
    parser.add_argument("--out", type=Path, help="file for the tables; the screen by default")
    options = parser.parse_args()
    if options.only is not None:
        options.parts, _, numbers = options.only.partition(":")
        if not numbers.replace(",", "").isdecimal():
            parser.error(f"--only={options.only}; allowed: PART:NUMBER,..., as in kills:17")
        options.only = [int(number) for number in numbers.split(",") if number]
    options.parts = options.parts.split(",")
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"--parts={','.join(unknown)}; allowed: some of {','.join(PARTS)}")
    for name in ("count", "jobs"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name}={getattr(options, name)}; allowed: integers from 1")
    for name in ("trials", "out"):
        if getattr(options, name) is not None:
            setattr(options, name, getattr(options, name).absolute())
    return options


def run(name, part, cases, options):
    """Runs the trials of a part, some at a time, each batch in a fork; returns their records."""
    waiting = collections.deque(cases[i : i + part.BATCH] for i in range(0, len(cases), part.BATCH))
    running, records, begin = {}, [], time.monotonic()
    say_at = begin
    try:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                batch = waiting.popleft()
                folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=options.scratch))
                running[fork(part, batch, folder, options.scratch)] = batch, folder
            pid, status = os.waitpid(-1, 0)
            if pid not in running:
                continue
            batch, folder = running.pop(pid)
            done = [json.loads(line) for line in (folder / "records").read_bytes().splitlines()]
            if len(done) < len(batch):  # the trial that ended its process, and those after it
                ended = f"the trial's process ended with status {os.waitstatus_to_exitcode(status)}"
                done.append({"wrong": [ended], "seconds": 0.0})
                waiting.append(batch[len(done) :]) if batch[len(done) :] else None
            shutil.rmtree(folder, ignore_errors=True)
            for case, record in zip(batch, done):
                records.append({"part": name, "number": case["number"], "case": case} | record)
                with open(options.trials, "a") as file:
                    file.write(json.dumps(records[-1]) + "\n")
                if record["wrong"]:
                    print(f"{name}:{case['number']} wrong: {'; '.join(record['wrong'])}"[:1000], flush=True)
            if time.monotonic() > say_at or not (waiting or running):
                say_at = time.monotonic() + SAY_EVERY
                wrong = sum(bool(record["wrong"]) for record in records)
                print(
                    f"{name}: {len(records)}/{len(cases)}, {wrong} wrong, {say_at - begin - SAY_EVERY:.0f} s",
                    flush=True,
                )
    finally:
        for pid in running:  # none, unless this process is to end
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
    return sorted(records, key=lambda record: record["number"])


def fork(part, batch, folder, scratch):
    """Starts the trials of a batch in a fork, which writes a line to FOLDER/records for each; returns its process."""
    (folder / "records").write_bytes(b"")
    if pid := os.fork():
        return pid
    status = 1
    try:
        programs.adopt()
        programs.end_with_parent(signal.SIGTERM)
        signal.signal(signal.SIGALRM, give_up)
        for index, case in enumerate(batch):
            begin = time.monotonic()
            signal.alarm(TRIAL_LIMIT)
            try:
                record = part.trial(case, folder / str(index), scratch)
            except Exception as error:
                traceback.print_exc()
                record = {"wrong": [f"{type(error).__name__}: {error}"]}
            signal.alarm(0)
            record["seconds"] = round(time.monotonic() - begin, 3)
            with open(folder / "records", "a") as file:
                file.write(json.dumps(record) + "\n")
            shutil.rmtree(folder / str(index), ignore_errors=True)
        status = 0
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    programs.end_all()
    os._exit(status)


def give_up(number, frame):
    raise TimeoutError(f"no end within {TRIAL_LIMIT} s")


def section(name, part, records):
    """Returns the heading of a part, what is right, and its table: one row for each kind of trial, and all together."""
    rows = collections.defaultdict(list)
    for record in records:
        rows[part.row(record)].append(record)
    order = sorted(rows) if part.SORTED else rows
    table = [[part.ROW, *part.COLUMNS]] + [[row, *cells(part, rows[row])] for row in order]
    if len(rows) > 1:
        table.append(["all", *cells(part, records)])
    table.insert(1, ["---"] * len(table[0]))
    lines = [f"| {' | '.join(row)} |" for row in table]
    return f"## {name.capitalize()}\n\n{textwrap.fill(part.ABOUT, 120)}\n\n" + "\n".join(lines)


def cells(part, records):
    """Returns the cells of a row: each column is a function of a record -> (right, of) or seconds, None if neither."""
    found = []
    for function in part.COLUMNS.values():
        values = [value for value in map(function, records) if value is not None]
        if not values:
            found.append("")
        elif isinstance(values[0], tuple):
            found.append(f"{sum(right for right, _ in values)} of {sum(of for _, of in values)}")
        elif isinstance(values[0], float):
            found.append(f"{max(values):.1f} s")
        else:
            found.append(str(sum(values)))
    return found


def document(sections, options, minutes):
    """Returns the Markdown document."""
    given = "".join(f" --{name}={getattr(options, name)}" for name in ("count", "seed") if getattr(options, name))
    parts = "" if options.parts == list(PARTS) else f" --parts={','.join(options.parts)}"
    out = f" --out={os.path.relpath(options.out)}" if options.out else ""
    made = (
        f"With the seed {options.seed}, in {minutes:.0f} minutes on {processor()}, {options.jobs} trials at a time; "
        f"Python {platform.python_version()}, {versions(())}. The docstring of [benchmarks/reliability.py]"
        "(../benchmarks/reliability.py) says what each part does."
    )
    head = [
        "# Reliability",
        "This page counts what happens when a training is killed, stopped, damaged, out of disk or given bad values.",
        "Every table has a row for each kind of trial. *ended*: the program ended as the text above the table says;\n"
        "*longest*: the longest time from the event to that end; *equal*: the files are those of a training without\n"
        "the event; *no process left*: no process of the training is alive; *neither*: neither refused nor accepted.",
        "The command:",
        f"```bash\npython benchmarks/reliability.py --markdown{out}{parts}{given}\n```",
        textwrap.fill(made, 120),
    ]
    return "\n\n".join([*head, *sections])


if __name__ == "__main__":
    scratch = Path(tempfile.mkdtemp(prefix="reliability-"))  # no TemporaryDirectory: the end of a fork would delete it
    try:
        sys.exit(main(scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
