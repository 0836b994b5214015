"""Runs the programs of this repository as a user does."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
CAN_FORK = sys.platform == "linux"


def python(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Runs `python ARGUMENTS` in the root of the repository; returns the finished process."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=300,
        env=os.environ | environment,
    )


class Forks:
    """Runs programs like `python`, but in forks of one process that has imported the training code (see forks.py)."""

    def __init__(self):
        self._server = None

    def __call__(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
        if not CAN_FORK:
            return python(*arguments, **environment)
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "forks.py")],
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        arguments = list(map(str, arguments))
        with tempfile.TemporaryDirectory() as folder:
            request = {"arguments": arguments, "environment": environment, "folder": folder}
            print(json.dumps(request), file=self._server.stdin, flush=True)
            status = int(self._server.stdout.readline())
            out, err = ((Path(folder) / name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(arguments, status, out, err)

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *error: object) -> None:
        if self._server is not None:
            self._server.stdin.close()
            self._server.wait(timeout=60)
