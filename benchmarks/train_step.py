"""A training step of this code against PyTorch and Flax's own examples on the same machine.

python benchmarks/train_step.py [--models=transformer,decoder,tiny,resnet20,resnet18,resnet50,base,gpt2]
                                [--peers=eager,compiled,flax] [--flax_examples=DIR] [--threads=1,all]
                                [--device=cpu|gpu] [--rounds=5] [--steps=N] [--dropout=P] [--markdown] [--smoke]

Every measurement is a process of its own; those of the sides take turns, round after round. On CPU they are pinned to
as many cores as each table says, and compute in float32. On GPU activations and products are bfloat16, parameters
float32; torch by autocast. A step is forward, backward and the update; this code's also gathers its batch from the
resident data and computes accuracy and gradient norm, as in every training. Ours is the program that training
compiles, dispatched in chunks as there, and its process alone has the huge pages that train.py asks for; only `base`
and `gpt2` on CPU take 2 steps a dispatch, or a round would last minutes. Its peers:

  eager     the same network written plainly in PyTorch, with `torch.optim.Adam(fused=True)`
  compiled  the same by `torch.compile`, on GPU with mode="max-autotune"
  flax      the model of Flax's own example in a step of the examples' form: imagenet, wmt and lm1b.
            DIR is the folder `examples` of a checkout of https://github.com/google/flax

The table shows medians over the rounds, with lowest and highest: a side's time over ours within a round (wall clock;
on one core also CPU time of the process), the time and CPU time of a step, MFU, the time from the start of the process
to the end of the first step (in the first round, with empty compilation caches, then in later ones), peak memory, and
how much of it came after the libraries were imported. On GPU memory is the GPU's. MFU is the model's operations over
time over the rate of a large matrix product, float32 on CPU and bfloat16 on GPU, which a process of its own measures
in each round on the same cores. The operations of a step are three times those of the matrix products and convolutions
of the forward pass, two a multiply-add: of causal attention in full, of convolutions in their plain form. So a side
that saves some by another algorithm may come above 100 %.

The command fails if a side does other work than ours: torch's must have as many parameters, operations within 1 % and
the loss of the first step within 5 % (`tiny` 10 %), those of Flax 2 %, 2 % and 20 %. Peers that are not there are left
out.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import processes
from train_step_rows import ROWS, chosen, flax_example
from train_step_table import BY_CPU_TIME, COLUMNS, agreement, heading, lines, rate

from warmup_jax.runtime import process

SIDES = {
    "ours": "train_step_ours",
    "eager": "train_step_torch",
    "compiled": "train_step_torch",
    "flax": "train_step_flax",
}
PEERS = tuple(SIDES)[1:]
EXAMPLES = ("imagenet", "wmt", "lm1b")
MATRIX = {"cpu": (2048, "float32"), "gpu": (8192, "bfloat16")}  # whose product is the rate of the machine
WARM, WARM_SECONDS = 3, 5.0  # dispatches before the clock starts: no more of them after these seconds


def main():
    options = parse()
    sides, missing = available(options)
    rows = {
        name: chosen(name, options.device, options.smoke, options.steps, options.dropout) for name in options.models
    }
    lacking = [name for name, row in rows.items() if not flax_example(row)]
    if "flax" in sides and lacking:
        missing.append(f"flax for {', '.join(lacking)}: its examples have no such model")
    print(f"{about_command(options)}\n\n{about_machine(options, sides)}")
    print("".join(f"\nleft out: {reason}" for reason in missing), end="\n" * bool(missing))
    notes = {}
    for threads in options.threads:
        show(threads, rows, sides, options, notes)
    print("\nthe same work on all sides:\n" if len(sides) > 1 else "\nthe work:\n")
    print("\n".join(notes.values()))


def show(threads, rows, sides, options, notes):
    """The table for a number of cores; `notes` gets the lines on each model's work."""
    cores = sorted(os.sched_getaffinity(0))[-threads:] if threads else None
    columns = [column for column in COLUMNS if threads == 1 or column != BY_CPU_TIME]
    where = f"{threads} thread{'s' * (threads > 1)}, pinned" if threads else options.gpu
    print(f"\n{'### ' * options.markdown}{where}\n\n{heading(columns, options.markdown)}", flush=True)
    rates = []
    with tempfile.TemporaryDirectory() as caches:
        for model, row in rows.items():
            names = [name for name in sides if name != "flax" or flax_example(row)]
            rounds = [
                {name: measure(name, row, cores, index == 0, caches, options) for name in ["rate", *names]}
                for index in range(options.rounds)
            ]
            notes[model] = agreement(model, row, {name: rounds[0][name] for name in names}, options.smoke)
            print(lines(model, row, rounds, columns, options.markdown), flush=True)
            rates.append(f"{model} {rate(rounds)}")
    size, dtype = matrix(options)
    print(f"\nmatmul rate, GFLOP/s, {dtype} {size}x{size}: {', '.join(rates)}", flush=True)


def parse():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", default=",".join(ROWS), help="all by default")
    parser.add_argument("--peers", default=",".join(PEERS), help="all by default, '' for none")
    parser.add_argument("--flax_examples", metavar="DIR", help="the folder `examples` of a checkout of Flax")
    parser.add_argument("--threads", help="on CPU, a table for each of these numbers of cores; 1,all by default")
    parser.add_argument("--device", choices=tuple(MATRIX), default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="measured in a round, at least one dispatch")
    parser.add_argument("--dropout", type=float, default=0.0, help="of the Transformers")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one round: only to see that it runs")
    options = parser.parse_args()
    options.models = some_of(parser, "models", options.models, ROWS)
    options.peers = some_of(parser, "peers", options.peers, PEERS) if options.peers else []
    if options.smoke:
        options.rounds, options.steps = 1, 2
    for name in ("rounds", "steps"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name}={getattr(options, name)}; allowed: integers from 1")
    if not 0 <= options.dropout < 1:
        parser.error(f"--dropout={options.dropout}; allowed: numbers from 0 to below 1")
    for example in EXAMPLES if options.flax_examples is not None else ():
        if not Path(options.flax_examples, example, "models.py").is_file():
            parser.error(
                f"--flax_examples={options.flax_examples}: no {example}/models.py there; allowed: the folder "
                "`examples` of a checkout of Flax"
            )
    if options.device == "gpu":
        if options.threads is not None:
            parser.error(f"--threads={options.threads}; allowed with --device=cpu only")
        options.threads, options.gpu = [None], gpu_name()
        if not options.gpu:
            parser.error("--device=gpu; jax finds no GPU here")
    elif not cores:
        sys.exit("this system cannot pin a process to cores; Linux can")
    else:
        options.threads = core_counts(parser, "1,all" if options.threads is None else options.threads, cores)
    return options


def some_of(parser, option, text, allowed):
    """The names in a comma-separated text, each once."""
    names = text.split(",")
    for name in names:
        if name not in allowed:
            parser.error(f"--{option}={text}: unknown {name!r}; allowed: {', '.join(allowed)}")
    return list(dict.fromkeys(names))


def core_counts(parser, text, cores):
    """The numbers of cores in a comma-separated text, each once."""
    counts = [cores if each == "all" else int(each) if each.isdecimal() else 0 for each in text.split(",")]
    if not all(1 <= count <= cores for count in counts):
        parser.error(f"--threads={text}; allowed: all, or integers from 1 to {cores}, comma-separated")
    return list(dict.fromkeys(counts))


def available(options):
    """(the sides to measure, why others are left out)."""
    reasons = {}
    if not importlib.util.find_spec("torch"):
        reasons = dict.fromkeys(("eager", "compiled"), "because torch is not installed")
    elif options.device == "gpu" and asked("import torch; print(torch.cuda.is_available())") != "True":
        reasons = dict.fromkeys(("eager", "compiled"), "because torch finds no GPU here")
    elif not (shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")):
        reasons["compiled"] = "because torch.compile needs a C++ compiler"
    if not options.flax_examples:
        reasons["flax"] = "which needs --flax_examples=DIR"
    elif options.dropout:
        reasons["flax"] = "which is measured without dropout only"
    return (
        ["ours"] + [name for name in options.peers if name not in reasons],
        [f"{name}, {reasons[name]}" for name in options.peers if name in reasons],
    )


def measure(name, row, cores, count, caches, options):
    """Runs one side, or the matrix product "rate", in a process of its own; a dict of what it measured."""
    task = dict(
        side=name,
        row=row,
        cores=cores,
        device=options.device,
        matrix=matrix(options),
        count=count,
        flax_examples=options.flax_examples,
        started=time.time(),
    )
    return json.loads(
        processes.output(
            f"{name} on {row['title']}",
            [__file__, "--child", json.dumps(task)],
            env=processes.environment(name == "ours", len(cores or ()), caches),
        )
    )


def child(task):
    """Does a task in this process and prints what it measured as JSON."""
    if task["cores"]:
        os.sched_setaffinity(0, task["cores"])  # before any library counts the cores
    print(json.dumps(train(task) if task["side"] in SIDES else matmul(*task["matrix"])))


def matmul(size, dtype):
    from flops import matmul_rate

    return dict(rate=matmul_rate(size, dtype))


def train(task):
    """What one side of a row takes; its operations are counted if the task says so, after everything else."""
    module = importlib.import_module(SIDES[task["side"]])
    imported = None if task["device"] == "gpu" else resident_memory()
    side = module.set_up(task)
    first_loss = side.run(1)
    first = time.time() - task["started"]
    warm_until = time.perf_counter() + WARM_SECONDS
    for index in range(WARM):
        if index == 0 or time.perf_counter() < warm_until:
            side.run(1)
    dispatches = -(-task["row"]["steps"] // side.dispatch)
    wall, cpu = time.perf_counter(), time.process_time()
    last_loss = side.run(dispatches)
    steps = dispatches * side.dispatch
    wall, cpu = (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps
    peak = processes.peak_memory() if task["device"] == "cpu" else side.peak_on_gpu() / 2**20
    return dict(
        parameters=side.parameters,
        about=side.about,
        wall=1e3 * wall,
        cpu=1e3 * cpu,
        first=first - (side.dispatch - 1) * wall,
        peak=peak,
        training=None if imported is None else peak - imported,
        first_loss=first_loss,
        last_loss=last_loss,
        flops=side.flops() if task["count"] else None,
    )


def resident_memory():
    """MB of this process now; the system must be Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def matrix(options):
    """(size, dtype) of the matrix product."""
    size, dtype = MATRIX[options.device]
    return 128 if options.smoke else size, dtype


def gpu_name():
    """The GPU that jax finds, or nothing."""
    return asked("import jax; print(jax.devices('gpu')[0].device_kind)")


def asked(code):
    """The last line that Python code prints in a process of its own, '' if it fails; this one imports no library."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return "" if done.returncode else done.stdout.splitlines()[-1]


def about_command(options):
    """The command line, without the name of a folder of the user's."""
    arguments = [each.replace(options.flax_examples or "\0", "DIR") for each in sys.argv[1:]]
    command = shlex.join(["python", "benchmarks/train_step.py", *arguments])
    return f"`{command}`" if options.markdown else command


def about_machine(options, sides):
    count = process.cores()
    parts = [f"{datetime.date.today():%Y-%m-%d}", processor(), f"{count} core{'s' * (count > 1)}"]
    parts += [options.gpu] if options.device == "gpu" else []
    return (
        ", ".join(
            [
                *parts,
                f"Python {platform.python_version()}",
                versions(["torch"] if {"eager", "compiled"} & set(sides) else []),
            ]
        )
        + f"; {options.rounds} round{'s' * (options.rounds > 1)}"
    )


def processor():
    """What the machine computes with."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions(names):
    from importlib.metadata import version

    libraries = ["jax", "flax", "optax"] + ["torch"] * ("torch" in names)
    return ", ".join(f"{library} {version(library)}" for library in libraries)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(json.loads(sys.argv[2]))
    else:
        main()
