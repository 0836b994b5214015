"""Runs Python programs in forks of one process that has imported JAX and the training code.

To import them takes two seconds, more than most programs of the tests compute. Started by `commands.Forks`, this file
reads a program from each line of its input, as JSON, and answers with its exit status.
"""

import json
import os
import runpy
import signal
import sys
import traceback
import warnings
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIMIT = 300  # seconds after which a program is ended


def execute(arguments: list[str]) -> int:
    """Runs `python ARGUMENTS`, a file or -c CODE with its own arguments; returns the exit status."""
    try:
        if arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            exec(arguments[1], {"__name__": "__main__"})
        else:
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
        return 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


def run(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Executes a program in this process, a fork, with its output in two files; never returns."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), number)
    os.environ.update(environment)
    signal.alarm(LIMIT)
    status = execute(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    """Serves the programs on the standard input until it is closed."""
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    os.environ["GLIBC_TUNABLES"] = ""  # train.py would start itself again, with huge pages
    import warmup_jax.training.experiment  # noqa: F401

    warnings.filterwarnings("ignore", message=r"os\.fork\(\)", category=RuntimeWarning)  # JAX computes in forks alone
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
