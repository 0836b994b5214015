"""Trials of the reliability benchmark: one flipped bit in any file of a workdir."""

import random
import re
import shutil

import reliability_programs as programs

COUNT, BATCH = 200, 1
NAMES = ("language model", "sweep")
STATES = ("finished", "unfinished")
REPORT = "import sys; from warmup_jax.report.__main__ import main; sys.exit(main(sys.argv[1:]))"

ABOUT = (
    "One bit of a finished or unfinished workdir is flipped, all kinds of files equally often. Equal: resumed, with "
    "the files of an undamaged training. Refused: status 2 and one line; with the bit put back it resumes so."
)
ROW, SORTED = "file", True
COLUMNS = {
    "flips": lambda record: 1,
    "equal": lambda record: int(record.get("outcome") == "equal"),
    "refused": lambda record: int(record.get("outcome") == "refused"),
    "equal or refused": lambda record: (record.get("outcome") in ("equal", "refused"), 1),
    "a report or one line": lambda record: (record.get("reported", False), 1),
}


def impossible():
    return None


def prepare(scratch, cases):
    names = {case["name"] for case in cases}
    programs.train_references(names, scratch)
    for name in sorted(names):
        if not unfinished(name, scratch).exists():
            stop_half_way(name, scratch)


def stop_half_way(name, scratch):
    """Trains a run up to an evaluation in its middle; a signal during that evaluation asks it to stop."""
    workdir = unfinished(name, scratch)
    half = programs.complete(name, workdir, scratch, scratch / "output", before=ask_at_second_evaluation)
    if half.status or (workdir / "summary.json").exists():
        raise RuntimeError(f"the run {name} does not stop: {half.out} {half.err}")


def ask_at_second_evaluation():
    from warmup_jax.training import loop

    evaluate, calls = loop.evaluate, []

    def asked(host, *args):
        calls.append(1)
        if len(calls) == 2:
            host.shutdown.requested = "SIGTERM"
        evaluate(host, *args)

    loop.evaluate = asked


def unfinished(name, scratch):
    return scratch / "unfinished" / name


def cases(count, seed):
    found = []
    for number in range(count):
        draw = random.Random(f"{seed} flips {number}")
        found.append(
            {"number": number, "name": draw.choice(NAMES), "state": draw.choice(STATES)}
            | {name: draw.random() for name in ("kind", "file", "byte")}
            | {"bit": draw.randrange(8), "by_size": draw.random() < 0.5}
        )
    return found


def row(record):
    return record.get("kind", "?")


def trial(case, folder, scratch):
    name, workdir = case["name"], folder / "run"
    reference = programs.reference(name, scratch)
    shutil.copytree(reference if case["state"] == "finished" else unfinished(name, scratch), workdir)
    path = choose(workdir, case)
    content = path.read_bytes()
    flip(path, case)
    kept = {each: each.read_bytes() for each in workdir.rglob("*") if each.is_file()}
    record = {"kind": kind(path, workdir), "file": str(path.relative_to(workdir)), "wrong": []}
    report = programs.Program(["-c", REPORT, str(workdir), f"--out={folder / 'report.html'}"], folder / "output")
    report.wait()
    record["reported"] = report.status == 0 and not report.err or report.status == 2 and programs.one_line(report.err)
    if not record["reported"]:
        record["wrong"].append(f"report: status {report.status}: {report.err[-500:]}")
    program = programs.complete(name, workdir, scratch, folder / "output")
    record["said"] = (program.err or program.out)[-500:]
    if program.status == 0:
        record["outcome"] = "equal"
        wrong = programs.differences(workdir, reference)
    elif program.status == 2 and programs.one_line(program.err):
        record["outcome"] = "refused"
        for each in kept.keys() - {path, workdir / "environment.json"}:
            if not each.exists() or each.read_bytes() != kept[each]:
                record["wrong"].append(f"refused, but {each.relative_to(workdir)} is not what it was")
        path.write_bytes(content)
        program = programs.complete(name, workdir, scratch, folder / "output")
        wrong = programs.differences(workdir, reference) if program.status == 0 else [program.err[-500:]]
    else:
        wrong = [f"status {program.status}: {program.err[-500:]}"]
    if wrong:
        record["outcome"] = "wrong"
        record["wrong"] += wrong
    return record


def choose(workdir, case):
    """Returns the file of a trial.

    First its kind is drawn, so that the many small files of arrays are not all. Then mostly one of the newest
    checkpoint, since the one before is read only if that is damaged, and in half of the trials the larger the likelier.
    """
    kinds = {}
    for path in sorted(workdir.rglob("*")):
        if path.is_file() and path.stat().st_size:
            kinds.setdefault(kind(path, workdir), []).append(path)
    files = kinds[sorted(kinds)[int(case["kind"] * len(kinds))]]
    newest = max(map(step, files))
    weights = [(4 if step(path) == newest else 1) * (path.stat().st_size if case["by_size"] else 1) for path in files]
    return random.Random(case["file"]).choices(files, weights)[0]


def step(path):
    """Returns the step of the checkpoint that a file belongs to, 0 if it belongs to none."""
    return max((int(part) for part in path.parts if part.isdecimal()), default=0)


def kind(path, workdir):
    """Returns the place of a file with what differs between files of one kind replaced by *."""
    parts = path.relative_to(workdir).parts
    if parts[0] == "tensorboard":
        return "tensorboard/"
    parts = [re.sub(r"[0-9a-f]{8,}|\d+", "*", part) for part in parts]
    return "/".join(part for part in parts if part.strip("*") and not part.startswith("runs_"))


def flip(path, case):
    content = bytearray(path.read_bytes())
    content[int(case["byte"] * len(content))] ^= 1 << case["bit"]
    path.write_bytes(content)
