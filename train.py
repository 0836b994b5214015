"""Trains what a config describes: python train.py --config=configs/NAME.py[:ARG] [--workdir=DIR]."""

import time

STARTED = time.perf_counter()  # before the imports, which count for the time to the first step

import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

OVERRIDES = [arg for arg in sys.argv if arg.startswith("--config.")]
UNSET = [arg for arg in OVERRIDES if arg.endswith("=None")]  # which the flags by themselves cannot do
CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="configs/NAME.py[:ARG]; --config.KEY=VALUE changes a value, None unsets it",
    sys_argv=[arg for arg in sys.argv if arg not in UNSET])
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run; by default a new one under runs/")
logging.set_verbosity(logging.FATAL)  # what goes wrong in a library reaches the user as an error, once


def main(argv):
    """Runs the config; exit status 0 when done or stopped by a signal, 2 for a user's mistake, 1 otherwise."""
    del argv
    from warmup_jax import experiment
    config_file = Path(flags.FLAGS["config"].config_filename.partition(":")[0])
    workdir = WORKDIR.value or f"runs/{config_file.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    print(f"workdir: {workdir}", flush=True)
    try:
        experiment.run(CONFIG.value, workdir, STARTED)
    except experiment.UserError as error:
        fail(error)
    except experiment.Interrupted as interruption:
        print(interruption)
    except OSError as error:
        fail(error, status=1)


def parse(argv):
    """Parses the command line; a mistake in it, or in the config file, ends the program with one line."""
    try:
        rest = flags.FLAGS([arg for arg in argv if arg not in UNSET])
        if CONFIG.value is None:
            raise flags.Error("--config is missing; for example --config=configs/resnet_warmup.py")
        list(CONFIG.value)  # a config file that could not be read shows only now
        for arg in UNSET:
            CONFIG.value.update_from_flattened_dict({key_of(arg): None})
        if len(rest) > 1:
            raise flags.Error(f"unknown argument {rest[1]!r}")
        return rest
    except (AttributeError, KeyError, TypeError) as error:  # an override of a key that is not there
        fail(unknown_key(argv) or error)
    except Exception as error:  # whatever else the flags or a config file raise
        fail(str(error).rpartition("Error: ")[2])


def key_of(arg):
    """The dotted key of a `--config.KEY=VALUE` argument."""
    return arg.removeprefix("--config.").partition("=")[0]


def unknown_key(argv):
    """What to say of the first override whose key the config does not have, None if it has them all."""
    from warmup_jax import registry
    paths = [arg.partition("=")[2] for arg in argv if arg.startswith("--config=")]
    for arg in OVERRIDES if paths else ():
        holder, parents = config_flags.config_flags.ConfigFileFlagParser("config").parse(paths[-1]), ""
        for name in key_of(arg).split("."):
            known = list(holder) if hasattr(holder, "keys") else []
            if name not in known:
                return registry.unknown(f"config key{parents}", name, known)
            holder, parents = holder[name], f"{parents or ' in'} {name}"
    return None


def ignore_closed_loops(unraisable):
    """Keeps quiet what Orbax's background writers say after an error that has been reported."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def fail(message, status=2):
    """Ends the program with one line."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    sys.unraisablehook = ignore_closed_loops
    app.run(main, flags_parser=parse)
