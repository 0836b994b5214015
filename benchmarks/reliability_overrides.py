"""Trials of the reliability benchmark: random and extreme values of the keys of a config.

They run in one process, which imports the training code and loads each data set once: `python train.py` up to the
point where it would begin to train.
"""

import ast
import contextlib
import io
import random
import re
import resource
import signal
import sys

import reliability_programs as programs

from warmup_jax import config_files

COUNT, BATCH = 1300, 65
EXTREME_OF = 13, 3  # three of thirteen trials are of extreme values, the others of random ones
TRAIN_EVERY = 40
LIMIT = 60  # seconds for a trial
TRAIN_SECONDS = 20  # then a training gets SIGTERM
MEMORY = 8 << 30  # bytes of a process; what needs more is refused or an error
CONFIGS = (
    "resnet_warmup.py:smoke",
    "transformer_warmup.py:smoke",
    "lm_warmup.py:smoke",
    "lm_warmup.py:smoke,diagnose=norms+sharpness+critical_rate",
    "phase_diagram.py:smoke",
    "phase_diagram.py:transformer,smoke",
)
# Keys that act on the host, on the data or when a text is decoded, and not in the program of an update.
HOST = ("log_every", "eval_every", "checkpoint_every", "eval_batch_size", "stop_when_diverged", "dataset", "decoding")
HOST += ("runs_at_once", "chunk_steps")
ALLOWED = (
    r"allowed|must (be|hold|divide)|did you mean|known: |it takes none|its arguments|must be set|has no |needs |larger|"
    r"not among|without"
)
# An unknown name or argument stands with those that are known, and an argument that is missing has no value.
NAMED_ALONE = r"unknown [a-z ]+|needs the argument|none is"


EXTREME = {
    int: "0 -1 1 2147483647 2147483648 -2147483649 4294967296 9223372036854775808 1e3 1.0 0x10 1_000 nan",
    float: "0 -0.0 -1 1e-46 1e-38 1e38 3.5e38 1e39 1e308 5e-324 nan inf -inf 1e400 1e-9 1+1 None",
    bool: "2 yes None -1 0.0",
    str: "None 0 x ../../etc/passwd /proc/self/mem \u00e9\u4e16 ' \" {} () a=b --help %s",
    tuple: "() (,) (1,) (nan,) (inf,1.0) (-1,0) (1,1) ('post','post') ((1,2),) [1] {1} {} x 1 (True,False) (None,)",
    dict: "{} {'x':1} 1 x () None",
    object: "1 1.0 nan x None () {} True",
}

ABOUT = (
    "One to three values on the command line, of all keys of all configs' smoke runs. Refused: status 2 and one line "
    "that names a key, its value and what is allowed. Accepted: it stands in `config.json`, and alone it changes the "
    "program or the numbers of the training; one trial in "
    f"{TRAIN_EVERY} is trained to its end, or stopped by SIGTERM after {TRAIN_SECONDS} s."
)
ROW, SORTED = "values", True
COLUMNS = {
    "trials": lambda record: 1,
    "refused in one line": lambda record: (not record["wrong"], 1) if record.get("status") == 2 else None,
    "accepted and read": lambda record: (not record["wrong"], 1) if record.get("status") == 0 else None,
    "trained": lambda record: (record["trained"], 1) if "trained" in record else None,
    "neither": lambda record: int(record.get("status") not in (0, 2)),
}


def impossible():
    return None


def prepare(scratch, cases):
    pass


def cases(count, seed):
    """Returns the trials; each has a config and texts for some of its keys."""
    every = {path: config_files.load(f"configs/{path}") for path in CONFIGS}
    names = sorted({text for config in every.values() for text in texts(config.to_dict())} | set(listed()))
    found = []
    for number in range(count):
        draw = random.Random(f"{seed} overrides {number}")
        extreme = number % EXTREME_OF[0] < EXTREME_OF[1]
        path = draw.choice(CONFIGS)
        places = keys(every[path])
        chosen = draw.sample(sorted(places), draw.choice((1, 1, 1, 2, 3)))
        given = {key: value(draw, *places[key], names, extreme) for key in chosen}
        train = number % TRAIN_EVERY == TRAIN_EVERY - 1
        found.append({"number": number, "config": path, "given": given, "extreme": extreme, "train": train})
    return found


def texts(tree):
    """Yields the texts of a config."""
    for each in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(each, (dict, tuple)):
            yield from texts(each)
        elif isinstance(each, str):
            yield each


def listed():
    """Returns the names that configs may choose from."""
    from warmup_jax import data, diagnostics, models, optimizers, schedules, transforms
    from warmup_jax.losses import LOSSES
    from warmup_jax.training import evaluation

    tables = (models.MODELS, optimizers.OPTIMIZERS, schedules.WARMUPS, schedules.DECAYS, schedules.RECIPES)
    tables += (transforms.TRANSFORMS, LOSSES, evaluation.DECODINGS, data.TASKS, diagnostics.DIAGNOSTICS)
    return [name for table in tables for name in table]


def keys(config):
    """Returns the keys of a config, and those that a sweep and the components' arguments may have: (type, value)."""
    from warmup_jax.training import sweep

    found = {}
    for key, kind in config_files._kinds(config):
        holder = config
        for name in key.split("."):
            holder = holder[name]
        found[key] = (kind if kind in EXTREME else dict if kind.__name__ == "ConfigDict" else object), holder
    for name in (*sweep.FLAT, *sweep.STATIC, *config.model):
        found.setdefault(f"sweep.{name}", (tuple, (config.get(name, config.model.get(name)),)))
    found["sweep.seeds"] = int, 2
    for name, current in (("exponent", 1.0), ("factor", 0.5), ("boundaries", (1, 2)), ("beta2", 0.9), ("x", 1)):
        for holder in ("warmup_args", "schedule_args", "optimizer_args"):
            found.setdefault(f"{holder}.{name}", (object, current))
    return found


def value(draw, kind, current, names, extreme):
    """Returns a text for a key of some type whose value in the config is `current`."""
    if extreme:
        return draw.choice(EXTREME[kind].split())
    if draw.random() < 0.05:
        return "None"
    kind = type(current) if kind is object and current is not None else kind
    if kind is bool:
        return draw.choice(("true", "false"))
    if kind is int:
        return str(draw.choice((0, 1, 2, 3, 4, 6, 8, 12, 16, 64, 1000, (current or 1) + 1, 2 * (current or 1))))
    if kind is float:
        return f"{draw.choice((0.0, 1.0, 0.5, 2.0, (current or 1.0) * 10 ** draw.uniform(-2, 2), draw.random())):.4g}"
    if kind is str:
        return draw.choice(names)
    if kind is tuple:
        first = current[0] if current else draw.choice(names)
        several = [value(draw, type(first), first, names, False) for _ in range(draw.choice((1, 2, 2, 3)))]
        return f"({','.join(repr(each) if isinstance(first, str) else each for each in several)},)"
    if kind is dict:
        return draw.choice(("None", "{}", "{'x':1}"))
    return draw.choice(("1", "0.5", "None", draw.choice(names)))


def row(record):
    return "extreme" if record["case"]["extreme"] else "random"


class Reached(BaseException):
    """The training would begin now; holds the job."""


def trial(case, folder, scratch):
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    arguments = [f"--config=configs/{case['config']}"]
    arguments += [f"--config.{key}={text}" for key, text in case["given"].items()]
    status, out, err, job = start([*arguments, f"--workdir={folder / 'run'}"])
    record = {"status": status, "said": err[-500:], "wrong": []}
    if job is not None:
        record["status"] = 0
        record["wrong"] += unheard(case, job, folder / "run")
        if case["train"]:
            record["wrong"] += (wrong := train(arguments, folder))
            record["trained"] = not wrong
    elif status != 2 or not programs.one_line(err):
        record["wrong"].append(f"status {status}: {err[-800:]}")
        record["status"] = None
    elif unclear := unnamed(case, err):
        record["wrong"].append(f"{unclear}: {err.strip()}")
    return record


def start(arguments):
    """Runs train.py in this process up to its first update; returns (status, stdout, stderr, job or None)."""
    import train
    from warmup_jax import cli
    from warmup_jax.training import experiment

    def reached(job, *args):
        raise Reached(job)

    def late(number, frame):
        raise TimeoutError(f"not set up within {LIMIT} s")

    original, argv = experiment.train_all, sys.argv
    out, err, status, job = io.StringIO(), io.StringIO(), 0, None
    experiment.train_all, sys.argv = reached, ["train.py", *arguments]
    signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.run(train.main, train.__doc__, workdir=train.WORKDIR)
    except SystemExit as ended:
        status = ended.code or 0
    except Reached as found:
        job = found.args[0]
    except Exception as error:
        status = 1
        err.write(f"Traceback: {type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
        experiment.train_all, sys.argv = original, argv
    return status, out.getvalue(), err.getvalue(), job


def unnamed(case, err):
    """Returns what a refusal does not name, "" if it names all."""
    said = err.lower()
    named = {
        key: text
        for key, text in case["given"].items()
        if re.search(rf"\b{re.escape(key.rpartition('.')[2].lower())}\b", said)
    }
    alone = re.search(NAMED_ALONE, err)
    if not named and not alone:
        return "names no key"
    if not alone and not any(form in said for text in named.values() for form in forms(text)):
        return "names no value"
    return "" if re.search(ALLOWED, err) else "does not say what is allowed"


def forms(text):
    """Returns the forms in which a message may show a value or an item of it: as written, or as Python shows it."""
    found = {text, repr(text)}
    for each in {text, *re.split(r"[][(){},:' ]+", text)} - {""}:
        found |= {each, repr(each)}
        for convert in (int, float, ast.literal_eval):
            with contextlib.suppress(Exception):
                found.add(str(convert(each)))
                found.add(f"{convert(each):g}")
    if text == "None":
        found.add("{}")  # it empties a dict
    if text.lower() in config_files.BOOLEANS:
        found |= {"true", "false"}
    return {form.lower() for form in found}


def unheard(case, job, workdir):
    """Returns the accepted values that do not stand in config.json, or change nothing."""
    from warmup_jax.workdir import json_files, lock

    written, base = json_files.read_json(workdir / "config.json"), config_files.load(f"configs/{case['config']}")
    kinds, found, changed = dict(config_files._kinds(base)), [], {}
    for key, text in case["given"].items():
        *parents, last = key.split(".")
        kind = kinds.get(key, (tuple if last != "seeds" else int) if parents == ["sweep"] else object)
        before, after, meant = at(base.to_dict(), key), at(job.config, key), config_files.parse(kind, text)
        meant = meant.to_dict() if hasattr(meant, "to_dict") else meant
        overlaid = any(key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in case["given"])
        if not overlaid and (after != meant and not (meant is None and after == {})):
            found.append(f"{key}={text} became {after!r}")
        if lock.as_json({"it": after}) != {"it": at(written, key)} and after is not None:
            found.append(f"{key}={text} stands in config.json as {at(written, key)!r}")
        if before != after:
            changed[key] = text
    if changed and len(case["given"]) == 1 and not found:
        if fingerprint(job) == base_fingerprint(case["config"], workdir):
            found.append(f"{changed} was accepted and changes nothing")
    return found


def at(tree, key):
    """Returns the value of a dotted key, None if there is none."""
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


BASE = {}


def base_fingerprint(config, workdir):
    """Returns the fingerprint of a config as it is, computed once."""
    if config not in BASE:
        job = start([f"--config=configs/{config}", f"--workdir={workdir}-base"])[3]
        BASE[config] = fingerprint(job)
    return BASE[config]


def fingerprint(job):
    """Returns what a training depends on: its programs, the numbers that these read, and what the host does.

    Of the programs of a long sweep the first two count.
    """
    import jax
    import numpy as np
    from jax.interpreters import partial_eval

    from warmup_jax.training import orders, program

    plans = list({id(group.plan): group.plan for group in job.groups}.values())
    found = [{key: job.config[key] for key in HOST}, len(job.changes), len(plans), job.vocabulary]
    for plan in plans[:2]:
        group = next(group for group in job.groups if group.plan is plan)
        knobs = group.knobs()
        batches = orders.batches(
            job.dataset,
            group.orders,
            plan.batch_axis,
            batch_size=plan.config["batch_size"],
            start=0,
            stop=plan.num_steps,
        )
        states = jax.eval_shape(plan.init, knobs, job.weights)
        carries = jax.eval_shape(plan.carry, states) if plan.probers else {}
        chunk = orders.stack_steps([next(batches)], plan.batch_axis)
        inputs = program.chunk_inputs(job, group, knobs, carries, chunk, step=0)
        jaxpr = plan.train.trace(states, inputs).jaxpr.jaxpr
        read = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1]
        read = [each for each, path in zip(read, paths(states, inputs)) if path.startswith("[1].knobs")]
        numbers = [
            [np.asarray(leaf).tolist() for leaf, is_read in zip(jax.tree.leaves(each), read) if is_read]
            for each in plan.knobs[:1000]
        ]
        found += [numbers, [int(each.seed) for each in plan.knobs[:1000]]]
        found += [without_addresses(jaxpr), without_addresses(plan.init.trace(knobs, job.weights).jaxpr)]
        found += [plan.num_steps, plan.chunk_steps, plan.num_lanes, plan.pauses, plan.eval_at_once]
        found += [{name: (prober.args, prober.timing) for name, prober in plan.probers.items()}]
    return repr(found)


def paths(*args):
    """Returns the paths of the leaves of arguments: "[1].knobs.peak_lr"."""
    import jax

    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(args)]


def without_addresses(jaxpr):
    return re.sub(r"0x[0-9a-f]+", "", str(jaxpr))


def train(arguments, folder):
    """Trains with some arguments for a while; returns what is wrong."""
    program = programs.Program(
        ["train.py", *arguments, f"--workdir={folder / 'trained'}"], folder / "output", anew=True
    )
    program.until(lambda: False, TRAIN_SECONDS)
    program.send(signal.SIGTERM)
    programs.finish(program)
    if program.status == 0 and "Traceback" not in program.err:
        return []
    return [f"trained: status {program.status}: {program.err[-500:]}"]
