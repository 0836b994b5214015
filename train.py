"""Trains what a config describes: python train.py --config=configs/NAME.py[:ARG] [--workdir=DIR]."""

import time

STARTED = time.perf_counter()  # before the imports, which count for the time to the first step

from absl import flags

from warmup_jax import cli
from warmup_jax.runtime import process

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run; by default a new one under runs/")


def main() -> None:
    """Runs the config; exit status 0 when done or stopped by a signal, 2 for a user's mistake, 1 otherwise."""
    process.restart_with_huge_pages()
    from warmup_jax.training import experiment  # after the flags are known to be right: it imports much

    workdir = WORKDIR.value or f"runs/{cli.config_name()}-{time.strftime('%Y%m%d-%H%M%S')}"
    print(f"workdir: {workdir}", flush=True)
    try:
        experiment.run(cli.CONFIG.value, workdir, STARTED)
    except experiment.UserError as error:
        cli.fail(error)
    except experiment.Interrupted as interruption:
        print(interruption)
    except OSError as error:
        cli.fail(error, status=1)


if __name__ == "__main__":
    cli.run(main)
