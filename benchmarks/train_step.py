"""Compares a training step of this code with PyTorch and with Flax's own examples on the same machine.

python benchmarks/train_step.py [--models=transformer,decoder,tiny,resnet20,resnet18,resnet50,base,gpt2]
                                [--peers=eager,compiled,flax] [--flax_examples=DIR] [--threads=1,all]
                                [--device=cpu|gpu] [--rounds=5] [--steps=N] [--dropout=P] [--markdown] [--smoke]

Every measurement runs in a process of its own, and the processes of the sides take turns, round after round. On CPU
they compute in float32, pinned to as many cores as the title of each table says. On GPU activations and products are
bfloat16 and parameters float32 (autocast in torch). A step is forward pass, backward pass and update. A step of this
code also gathers its batch from the resident data and computes accuracy and gradient norm, as in every training. It is
the program that training compiles, dispatched in the same chunks; `base` and `gpt2` on CPU take 2 steps per dispatch,
because a round would last minutes otherwise. Only this code's process has the huge pages that train.py asks for. The
peers:

  eager     the same network written plainly in PyTorch, with `torch.optim.Adam(fused=True)`
  compiled  the same network under `torch.compile`, on GPU with mode="max-autotune"
  flax      the model of Flax's own example in a step of the examples' form: imagenet, wmt and lm1b.
            DIR is the folder `examples` of a checkout of https://github.com/google/flax

The table shows medians over the rounds, with lowest and highest. Its columns: the time of a side over the time of this
code within a round (wall clock; on one core also CPU time of the process); time and CPU time of a step; MFU; the time
from the start of the process to the end of the first step, in the first round, where the compilation caches are empty,
and in later ones; peak memory; and the part of it that came after the libraries were imported. On GPU, memory is that
of the GPU. MFU is the operations of the model over the time, relative to the rate of a large matrix product, float32 on
CPU and bfloat16 on GPU, which a separate process measures in each round on the same cores. A step counts three times
the operations of the matrix products and convolutions of the forward pass, two for each multiply-add; causal attention
counts in full, and a convolution in its plain form. So a side that saves operations by another algorithm may exceed
100 %.

The command fails if a side does different work: torch must have the same number of parameters, operations within 1 %
and the loss of the first step within 5 % (`tiny` 10 %); for Flax the limits are 2 %, 2 % and 20 %. Peers that are not
installed are left out.
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
MATRIX = {"cpu": (2048, "float32"), "gpu": (8192, "bfloat16")}  # the product that gives the machine's rate
WARM, WARM_SECONDS = 3, 5.0  # the most dispatches before the clock starts; none begins after these seconds


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
    """Prints the table for a number of cores, and adds the lines on the work of each model to `notes`."""
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
    parser.add_argument("--models", default=",".join(ROWS), help="models, comma-separated; all by default")
    parser.add_argument("--peers", default=",".join(PEERS), help="peers, comma-separated; all by default, '' for none")
    parser.add_argument("--flax_examples", metavar="DIR", help="the folder `examples` of a checkout of Flax")
    parser.add_argument("--threads", help="numbers of cores, one table for each, on CPU only; 1,all by default")
    parser.add_argument("--device", choices=tuple(MATRIX), default="cpu", help="platform that all sides compute on")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    parser.add_argument("--steps", type=int, help="steps measured in each round, at least one dispatch")
    parser.add_argument("--dropout", type=float, default=0.0, help="dropout rate of the Transformers")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes and one round, only to check that it runs")
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
    """Returns the names in a comma-separated text, without duplicates."""
    names = text.split(",")
    for name in names:
        if name not in allowed:
            parser.error(f"--{option}={text}: unknown {name!r}; allowed: {', '.join(allowed)}")
    return list(dict.fromkeys(names))


def core_counts(parser, text, cores):
    """Returns the numbers of cores in a comma-separated text, without duplicates."""
    counts = [cores if each == "all" else int(each) if each.isdecimal() else 0 for each in text.split(",")]
    if not all(1 <= count <= cores for count in counts):
        parser.error(f"--threads={text}; allowed: all, or integers from 1 to {cores}, comma-separated")
    return list(dict.fromkeys(counts))


def available(options):
    """Returns the sides to measure, and a reason for each one that is left out."""
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
    """Runs one side, or the matrix product "rate", in a process of its own, and returns its measurements."""
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
    """Runs a task in this process and prints its measurements as JSON."""
    if task["cores"]:
        os.sched_setaffinity(0, task["cores"])  # before any library counts the cores
    print(json.dumps(train(task) if task["side"] in SIDES else matmul(*task["matrix"])))


def matmul(size, dtype):
    from flops import matmul_rate

    return dict(rate=matmul_rate(size, dtype))


def train(task):
    """Returns the measurements of one side of a row; counts its operations last, and only if the task asks for it."""
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
    """Returns the resident memory of this process in MB, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def matrix(options):
    """Returns (size, dtype) of the matrix product that measures the machine's rate."""
    size, dtype = MATRIX[options.device]
    return 128 if options.smoke else size, dtype


def gpu_name():
    """Returns the name of the GPU that jax finds, or an empty string."""
    return asked("import jax; print(jax.devices('gpu')[0].device_kind)")


def asked(code):
    """Returns the last line that Python code prints in a new process, '' if it fails; this one imports no library."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return "" if done.returncode else done.stdout.splitlines()[-1]


def about_command(options):
    """Returns the command line, with DIR in place of the user's folder."""
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
    """Returns the name of the CPU."""
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
