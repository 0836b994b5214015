"""Trains what a config describes: python train.py --config=configs/NAME.py[:ARG] [--workdir=DIR]."""

import time

STARTED = time.perf_counter()  # before the imports, which count for the time to the first step

import contextlib
import shlex
from pathlib import Path

from warmup_jax.runtime import process
from warmup_jax.workdir import shutdown

if __name__ == "__main__" and process.may_restart():
    shutdown.exit_on_signal()  # also before the imports, which take seconds

from warmup_jax import cli, places

FEW_RUNS = 12  # after more, several seeds of all of them are no next step
WORKDIR = ("DIR", "folder of the run, which it resumes; by default a new one")


def main(arguments: cli.Arguments) -> None:
    """Runs the config; exit status 0 when done or stopped by a signal, 2 for a user's mistake, 1 otherwise."""
    process.restart_with_huge_pages()
    given = arguments.options["workdir"]
    try:
        name = f"{arguments.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        workdir = places.new_folder(Path("runs", name)) if given is None else places.local("--workdir", given)
    except ValueError as error:
        cli.fail(error)
    except OSError as error:
        cli.fail(f"{error}; choose another place with --workdir=DIR")
    from warmup_jax.training import experiment  # after the flags are known to be right: it imports much

    print(f"workdir: {workdir}", flush=True)
    try:
        summary = experiment.run(arguments.config, workdir, STARTED, arguments.given)
        say_what_next(arguments, workdir, len(summary["runs"]))
    except experiment.UserError as error:
        if given is None:
            with contextlib.suppress(OSError):
                workdir.rmdir()  # it is empty if nothing came of the run
        cli.fail(error)
    except experiment.Interrupted as interruption:
        print(f"{interruption}\nresume: {cli.command(arguments, workdir=workdir)}")
    except OSError as error:
        with contextlib.suppress(SystemExit):
            cli.fail(error, status=1)
        shutdown.end(status=1)
    except Exception:
        shutdown.end_soon()
        raise


def say_what_next(arguments: cli.Arguments, workdir: Path, runs: int) -> None:
    """Prints a command for a page about the runs, and one for the same runs over several seeds if there are few."""
    print(f"next: {shlex.join([cli.python(), '-m', 'warmup_jax.report', str(workdir)])}")
    if runs <= FEW_RUNS and not arguments.config.sweep.get("seeds"):
        print(f"next: {cli.command(arguments, '--config.sweep.seeds=5')}")


if __name__ == "__main__":
    cli.run(main, __doc__, workdir=WORKDIR)
