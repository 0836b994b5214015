"""Trials of the reliability benchmark: signals in each phase of a training."""

import random
import signal
import time

import reliability_programs as programs

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
# phase: (run, module, function during whose call of this number the signal comes)
PHASES = {
    "import": ("language model", None, None, 0),
    "set-up": ("language model", "warmup_jax.training.experiment", "set_up", 1),
    "compile": ("language model", "warmup_jax.training.loop", "compile_update", 1),
    "train": ("streamed", "warmup_jax.training.loop", "train", 8),
    "evaluate": ("streamed", "warmup_jax.training.evaluation", "scores", 1),
    "decode": ("translation", "warmup_jax.training.evaluation", "decode_texts", 2),
    "save": ("streamed", "warmup_jax.training.loop", "save", 2),
    "report": ("language model", "warmup_jax.report", "curves", 1),
}
SAVED = ("train", "evaluate", "decode", "save")  # phases with something to save
AGAIN = "save, a second signal"
COUNT, BATCH = (len(PHASES) + 1) * len(SIGNALS), 1
IMPORTS = 2.0  # seconds of the imports of train.py after its first lines, which handle signals
HOLD = 0.05  # seconds by which a phase is longer, so that half of the signals come at its beginning
GIVE_UP = 120  # seconds after which a training counts as one that does not end
LIMIT = 10  # seconds within which a training has to end

ABOUT = (
    "SIGINT, SIGTERM and SIGHUP at a random time in each phase. Ended: with status 0 (a second signal: 128 + its "
    f"number) within {LIMIT} s and without a traceback. Saved: the newest checkpoint has the last step of the log. "
    "Equal: resumed to the files of an uninterrupted training."
)
ROW, SORTED = "phase", False
COLUMNS = {
    "signals": lambda record: 1,
    "ended": lambda record: (record.get("ended", False), 1),
    "longest": lambda record: record.get("end_seconds"),
    "saved": lambda record: (record["saved"], 1) if "saved" in record else None,
    "equal": lambda record: (record.get("equal", False), 1),
    "no process left": lambda record: (record.get("gone", False), 1),
}


def impossible():
    return None


def prepare(scratch, cases):
    programs.train_references(
        {PHASES["save" if case["phase"] == AGAIN else case["phase"]][0] for case in cases}, scratch
    )


def cases(count, seed):
    chosen = [(phase, name) for phase in (*PHASES, AGAIN) for name in SIGNALS]
    found = []
    for number in range(count):
        # With fewer trials than combinations these are spread over all phases.
        phase, name = chosen[number * max(1, len(chosen) // count) % len(chosen)]
        delay = random.Random(f"{seed} signals {number}").random()
        found.append({"number": number, "phase": phase, "signal": name, "delay": delay})
    return found


def row(record):
    return record["case"]["phase"]


def trial(case, folder, scratch):
    again = case["phase"] == AGAIN
    name, module, function, call = PHASES["save" if again else case["phase"]]
    number, workdir, mark = getattr(signal, case["signal"]), folder / "run", folder / "reached"
    held = {"train": (PHASES["train"], HOLD), "save": (PHASES["save"], LIMIT)}
    phases = held if again else {case["phase"]: (PHASES[case["phase"]], HOLD)}
    folder.mkdir(parents=True)
    program = programs.Program(
        programs.arguments(name, workdir, scratch),
        folder / "output",
        before=lambda: announce(phases, mark),
        anew=module is None,
    )
    if module is None:
        program.until(program.handles_signals)
        pause(program, case["delay"] * IMPORTS)
    else:
        program.until(lambda: mark.exists())
        pause(program, case["delay"] * 2 * HOLD)
    record, wrong = {}, []
    sent, begin = program.send(number), time.monotonic()
    if again:
        pause(program, 0.3)
        program.until(lambda: mark.exists() and "save" in mark.read_text())
        sent, begin = program.send(number), time.monotonic()
    if not sent:
        wrong.append(f"it ended before the signal: status {program.status}: {program.err[-300:]}")
    program.until(lambda: False, GIVE_UP)
    record["end_seconds"] = time.monotonic() - begin
    record["ended"] = program.status == (128 + number if again else 0) and "Traceback" not in program.err
    record["ended"] &= record["end_seconds"] < LIMIT
    if not record["ended"]:
        wrong.append(f"status {program.status} after {record['end_seconds']:.1f} s: {program.err[-500:]}")
    record["gone"] = program.status is not None and program.none_left() is not None
    if not record["gone"]:
        wrong.append("processes are left")
        program.clean()
    if case["phase"] in SAVED:
        record["saved"] = saved(workdir)
        wrong += [] if record["saved"] else ["the newest checkpoint is not of the last logged step"]
    rest = programs.complete(name, workdir, scratch, folder / "rest")
    found = [f"status {rest.status}: {rest.err[-300:]}"] if rest.status else []
    found += programs.differences(workdir, programs.reference(name, scratch))
    record["equal"] = not found
    return record | {"wrong": wrong + found}


def announce(phases, mark):
    """Makes functions append the name of their phase to a file, and then take longer; not cached if compiled."""
    import importlib

    import jax

    for phase, ((_, module, name, call), seconds) in phases.items():
        if module is None:
            continue
        holder = importlib.import_module(module)
        original, calls = getattr(holder, name), []

        def announced(*args, phase=phase, call=call, seconds=seconds, original=original, calls=calls, **kwargs):
            calls.append(1)
            if len(calls) == call:
                with open(mark, "a") as file:
                    file.write(f"{phase}\n")
                time.sleep(seconds)
            return original(*args, **kwargs)

        setattr(holder, name, announced)
        if phase == "compile":
            jax.config.update("jax_enable_compilation_cache", False)


def pause(program, seconds):
    end = time.monotonic() + seconds
    program.until(lambda: time.monotonic() > end)


def saved(workdir):
    """Returns whether the newest checkpoint is of the last step of the log."""
    from warmup_jax.workdir import json_files

    steps = [int(path.name) for path in workdir.glob("checkpoints/runs_*/*") if path.name.isdigit()]
    log = workdir / "metrics.jsonl"
    logged = [line["step"] for line in json_files.read_lines(log)] if log.exists() else []
    return bool(steps) and bool(logged) and max(steps) == max(logged)
