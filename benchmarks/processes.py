"""The processes in which the benchmarks measure: their environment, output and peak memory."""

import os
import resource
import subprocess
import sys

from warmup_jax.runtime import process


def environment(ours, cores, caches):
    """Returns the environment variables of a process that measures one side.

    Args:
      ours: whether the side is this code's; only then it gets the huge pages that train.py asks for.
      cores: number of CPU cores; 0 if the process may use a GPU.
      caches: folder for the compilation caches.
    """
    found = os.environ | {"XDG_CACHE_HOME": caches, "TORCHINDUCTOR_CACHE_DIR": f"{caches}/inductor"}
    if cores:
        found |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(cores))
        found |= {"OMP_WAIT_POLICY": "PASSIVE", "JAX_PLATFORMS": "cpu"}
    return found | (process.with_huge_pages() if ours else {})


def output(name, arguments, **options):
    """Returns the last line that Python prints with these arguments, as bytes; ends the program if it fails."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, **options)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr.decode()[-4000:]}")
    return done.stdout.splitlines()[-1]


def peak_memory():
    """Returns the peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**20
