"""The processes in which the benchmarks measure: what they are told, and what they take."""

import os
import resource
import subprocess
import sys

from warmup_jax.runtime import process


def environment(ours, cores, caches):
    """Of a process on so many CPU cores; with 0 it may use a GPU. Ours alone has the huge pages that train.py asks for.

    Compilations are kept in the folder `caches`.
    """
    found = os.environ | {"XDG_CACHE_HOME": caches, "TORCHINDUCTOR_CACHE_DIR": f"{caches}/inductor"}
    if cores:
        found |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(cores))
        found |= {"OMP_WAIT_POLICY": "PASSIVE", "JAX_PLATFORMS": "cpu"}
    return found | (process.with_huge_pages() if ours else {})


def output(name, arguments, **options):
    """The last line that Python prints with these arguments, as bytes; if it fails, `name` failed and so do we."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, **options)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr.decode()[-4000:]}")
    return done.stdout.splitlines()[-1]


def peak_memory():
    """Of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**20
