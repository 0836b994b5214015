"""A training step of this code against PyTorch on the same machine.

python benchmarks/train_step.py [--models=transformer,decoder,tiny,resnet20,resnet18] [--threads=1]
                                [--rounds=5] [--steps=N] [--peer=eager|compile] [--dropout=P] [--smoke]

On CPU, in float32. Every measurement is a process of its own, pinned to `threads` cores; those of the two
sides take turns, round after round. A step is forward, backward and the update; this code's
also gathers its batch from the resident data and computes accuracy and gradient norm, as in every training. Ours is
the program that training compiles, dispatched in chunks as there. Its peer is the same network
written plainly, with `torch.optim.Adam(fused=True)`, in eager mode or compiled by `torch.compile`.

The table shows medians over the rounds, with lowest and highest: torch's time over ours within a
round (wall clock, then CPU time of the process), the time and CPU time of a step, the time
from the start of the process to the end of the first step (in the first round, with empty compilation caches, and
in later ones), and peak memory. The command fails if the two sides differ in their number of parameters or, by
more than 5 %, in the loss of the first step. Without torch it shows this code alone.
"""

import argparse
import importlib.util
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

TRANSFORMER = dict(width=256, heads=4, ffn_width=1024, norm="post", norm_kind="layer", activation="relu",
                   positions="sinusoidal", max_positions=256, bias=True, tied=True, scale_embedding=True, init="xavier",
                   dropout=0.0, qk_norm=False, attention="own", scan_layers=False, remat=False, dtype="float32")
GPT = TRANSFORMER | dict(activation="gelu", positions="learned", norm="pre", scale_embedding=False, init="gpt2")
RESNET = dict(name="resnet", form="cifar", depth=20, width=1.0, shortcut="A", stem="3x3", zero_gamma=False,
              dtype="float32")
# What both sides build from. `steps` are those measured in a round, about five seconds.
ROWS = {
    "transformer": dict(
        title="encoder-decoder, d256, 3 + 3 layers, Post-LN", batch_size=32, num_classes=8000, input_shape=(32, 32),
        label_smoothing=0.1, steps=10, model=TRANSFORMER | dict(name="transformer", encoder_depth=3, decoder_depth=3)),
    "decoder": dict(
        title="decoder, d256, 6 layers, Pre-LN", batch_size=8, num_classes=8000, input_shape=(256,),
        label_smoothing=0.0, steps=10, model=GPT | dict(name="decoder", depth=6)),
    "tiny": dict(
        title="decoder, d32, 6 layers, Post-LN", batch_size=16, num_classes=65, input_shape=(32,), label_smoothing=0.0,
        steps=300, model=GPT | dict(name="decoder", depth=6, width=32, ffn_width=128, norm="post", init="xavier")),
    "resnet20": dict(title="ResNet-20, 32x32", batch_size=128, num_classes=10, input_shape=(32, 32, 3),
                     label_smoothing=0.0, steps=10, model=RESNET),
    "resnet18": dict(title="ResNet-18, 3x3 stem, 32x32", batch_size=64, num_classes=10, input_shape=(32, 32, 3),
                     label_smoothing=0.0, steps=4, model=RESNET | dict(form="imagenet", depth=18, shortcut="B")),
}
DEFAULT = "transformer,decoder,tiny"
LOSS_TOLERANCE = 0.05
EXAMPLES = 256  # in the resident data set
RATE = 1e-5     # so low that the losses of both sides stay comparable
WARM = 3        # dispatches before the clock starts


def main():
    options = parse()
    names = ("ours", "torch") if importlib.util.find_spec("torch") else ("ours",)
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("this system cannot pin a process to cores; Linux can")
    cores = sorted(os.sched_getaffinity(0))[-options.threads:]
    if len(cores) < options.threads:
        sys.exit(f"--threads={options.threads}; allowed on this machine: at most {len(cores)}")
    print(f"{processor()}, {options.threads} thread{'s' * (options.threads > 1)}, Python {platform.python_version()}, "
          f"{versions(names)}; {options.rounds} rounds")
    if len(names) == 1:
        print("torch is not installed: this code alone")
    print(f"\n{'model':52} {'torch / ours':>19} {'by CPU time':>19}  {'':5} {'ms a step':>22} {'CPU ms':>8} "
          f"{'first step s':>13} {'MB':>6}")
    notes = []
    with tempfile.TemporaryDirectory() as caches:
        for model in options.models.split(","):
            row = chosen(model, options)
            rounds = [{name: measure(name, row, options, cores, caches) for name in names}
                      for _ in range(options.rounds)]
            notes.append(agreement(model, row, rounds, math.inf if options.smoke else LOSS_TOLERANCE))
            show(row, rounds)
    print("\nthe same work on both sides:" if len(names) > 1 else "\nthe work:")
    print("\n".join(notes))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", default=DEFAULT, help=f"some of {','.join(ROWS)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="measured in a round, at least one dispatch")
    parser.add_argument("--peer", choices=("eager", "compile"), default="eager")
    parser.add_argument("--dropout", type=float, default=0.0, help="of the Transformers")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one round: only to see that it runs")
    options = parser.parse_args()
    for name in options.models.split(","):
        if name not in ROWS:
            parser.error(f"--models={options.models}: unknown {name!r}; allowed: {', '.join(ROWS)}")
    if options.smoke:
        options.rounds, options.steps = 1, 2
    for name in ("threads", "rounds", "steps"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name}={getattr(options, name)}; allowed: integers from 1")
    return options


def chosen(name, options):
    """The row as the options change it."""
    row = ROWS[name] | dict(title=name) if options.smoke else dict(ROWS[name])
    row["steps"] = options.steps or row["steps"]
    transformer = "norm" in row["model"]
    if transformer:
        row["model"] = row["model"] | dict(dropout=options.dropout)
    if options.smoke and transformer:
        depths = {key: 1 for key in row["model"] if key.endswith("depth")}
        row.update(batch_size=2, num_classes=16, input_shape=(8,) * len(row["input_shape"]),
                   model=row["model"] | dict(width=8, heads=2, ffn_width=16, max_positions=8) | depths)
    elif options.smoke:
        row.update(batch_size=2, input_shape=(8, 8, 3), model=RESNET | dict(depth=8, width=0.5))
    return row


def measure(name, row, options, cores, caches):
    """Runs one side in a process of its own; a dict of what it measured."""
    threads = str(options.threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE", "JAX_PLATFORMS": "cpu",
        "XDG_CACHE_HOME": caches, "TORCHINDUCTOR_CACHE_DIR": f"{caches}/inductor"}
    task = dict(side=name, row=row, cores=cores, peer=options.peer, started=time.time())
    done = subprocess.run([sys.executable, __file__, "--child", json.dumps(task)], env=environment,
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} failed on {row['title']}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def child(task):
    """Measures one side in this process and prints the result as JSON."""
    os.sched_setaffinity(0, task["cores"])  # before any library counts the cores
    side = importlib.import_module({"ours": "train_step_ours", "torch": "train_step_torch"}[task["side"]])
    parameters, about, dispatch, run = side.set_up(task["row"], len(task["cores"]), task["peer"])
    first_loss = run(1)
    first = time.time() - task["started"]
    run(WARM)
    dispatches = -(-task["row"]["steps"] // dispatch)
    wall, cpu = time.perf_counter(), time.process_time()
    last_loss = run(dispatches)
    steps = dispatches * dispatch
    wall, cpu = (time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps(dict(
        parameters=parameters, about=about, wall=1e3 * wall, cpu=1e3 * cpu, first=first - (dispatch - 1) * wall,
        memory=memory / 2**20, first_loss=first_loss, last_loss=last_loss, steps=steps)))


def agreement(model, row, rounds, tolerance):
    """A line on what both sides did; ends the program if it was not the same."""
    sides = rounds[0]
    counts = {name: side["parameters"] for name, side in sides.items()}
    losses = {name: side["first_loss"] for name, side in sides.items()}
    if len(set(counts.values())) > 1:
        sys.exit(f"{model}: the sides differ in their parameters: {counts}")
    if max(losses.values()) > (1 + tolerance) * min(losses.values()):
        sys.exit(f"{model}: the sides differ in the loss of the first step: {losses}")
    shape = " + ".join(map(str, row["input_shape"])) if "norm" in row["model"] else "x".join(
        map(str, row["input_shape"]))
    return "\n".join(
        [f"  {model}: {counts['ours']:,} parameters, batch {row['batch_size']} of {shape}, {row['num_classes']} "
         f"classes, label smoothing {row['label_smoothing']}, dropout {row['model'].get('dropout', 0.0)}, float32"] +
        [f"    {name:5} {side['about']}; loss {side['first_loss']:.3f} after the first dispatch, {side['last_loss']:.3f} "
         f"after the last" for name, side in sides.items()])


def show(row, rounds):
    """The lines of the table for one model."""
    ratios = ["", ""]
    if "torch" in rounds[0]:
        ratios = [spread([each["torch"][clock] / each["ours"][clock] for each in rounds], ".2f")
                  for clock in ("wall", "cpu")]
    for name in rounds[0]:
        column = {key: [each[name][key] for each in rounds] for key in ("wall", "cpu", "first", "memory")}
        later = f"{statistics.median(column['first'][1:]):.1f}" if len(rounds) > 1 else "-"
        print(f"{row['title'] if name == 'ours' else '':52} {ratios[0]:>19} {ratios[1]:>19}  {name:5} "
              f"{spread(column['wall'], '.1f'):>22} {statistics.median(column['cpu']):8.1f} "
              f"{column['first'][0]:6.1f}, {later:>5} {statistics.median(column['memory']):6.0f}", flush=True)
        ratios = ["", ""]


def spread(values, form):
    """Median (lowest to highest)."""
    if len(values) == 1:
        return format(values[0], form)
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


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
