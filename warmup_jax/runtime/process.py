"""The process: its memory and its CPU cores, set before JAX begins."""

import contextlib
import ctypes
import functools
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from warmup_jax import places

# Since glibc 2.35. One heap for all threads saves 30 to 100 MB while programs are compiled (benchmarks/NOTES.md).
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"}
SYSTEM_ALLOWS = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# glibc's mallopt: no mmap for large blocks, no trimming, one arena.
KEEP_MEMORY = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_ARENA_MAX": (-8, 1)}
NOT_ALONE = ("ipykernel", "pydevd", "debugpy")  # programs that hold others
COMPILED = "/jax/core/compile/backend_compile_duration"  # the event at the end of a compilation


def with_huge_pages() -> dict[str, str]:
    """Returns the environment variables that make the C library use huge pages and one heap.

    An update of a ResNet on CPU takes and returns hundreds of MB. With pages of 4 KB, page faults cost a third of its
    time. Returns {} if the C library or the system has no huge pages, or if the user has tuned malloc.
    """
    allowed = SYSTEM_ALLOWS.read_text() if SYSTEM_ALLOWS.exists() else "[never]"
    return HUGE_PAGES if glibc() >= (2, 35) and "[never]" not in allowed and not tuned() else {}


def restart_with_huge_pages() -> None:
    """Starts this program again `with_huge_pages`, which the C library reads only when a process begins.

    Call it at the very start. It does nothing if the environment is already right, or if the process is not the
    program's own.
    """
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if (wanted := with_huge_pages()) and may_restart():
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # one that comes now arrives once the program handles it
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def may_restart() -> bool:
    """Returns True if the process runs this program alone and can be started again or ended by it.

    It is not in a notebook or an interactive session, under a debugger, in a thread or a worker process, read from
    standard input, or when another script runs the program.
    """
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    started = "-c" in sys.orig_argv or getattr(main, "__spec__", None) is not None  # as a module
    if script is not None and not started:
        started = os.path.realpath(script) in map(os.path.realpath, sys.orig_argv[1:])
    parallel = sys.modules.get("multiprocessing.process")
    monitoring = getattr(sys, "monitoring", None)  # since Python 3.12
    return (
        started
        and threading.current_thread() is threading.main_thread()
        and (parallel is None or parallel.parent_process() is None)
        and sys.gettrace() is None
        and not (monitoring and any(monitoring.get_tool(tool) for tool in range(6)))
        and not any(name in sys.modules for name in NOT_ALONE)
        and not hasattr(sys, "ps1")
        and not sys.flags.interactive
    )


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next update, unless the user has tuned malloc.

    It serves a process that did not start `with_huge_pages`, such as a notebook, and takes more memory. Call it
    before JAX begins: it does not change the heaps of threads that already run.
    """
    if glibc() and not tuned():
        for parameter, value in KEEP_MEMORY.values():
            ctypes.CDLL(None).mallopt(parameter, value)


@functools.cache
def return_memory_of_compilations() -> None:
    """Makes the C library return free memory to the system after each compilation: a hundred MB in small blocks."""
    import jax

    def trim(event: str, *args: Any, **kwargs: Any) -> None:
        if event == COMPILED:
            ctypes.CDLL(None).malloc_trim(0)

    if glibc():
        jax.monitoring.register_event_duration_secs_listener(trim)


def one_device_for_each_core() -> None:
    """Exposes each CPU core as a JAX device, unless JAX is initialised or the user has set the number of devices.

    One run leaves cores idle; runs side by side do not, and each of them gives the same numbers as it would alone.
    """
    import jax

    config: Any = jax.config  # Any: its attributes are made at run time
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "") or config.jax_num_cpu_devices > 0:
        return
    with contextlib.suppress(RuntimeError):  # JAX is initialised, for example in a notebook
        config.update("jax_num_cpu_devices", cores())


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, if there is one and the user has not chosen another."""
    import jax

    config: Any = jax.config  # Any: its attributes are made at run time
    if config.jax_compilation_cache_dir is None and (cache := places.cache()):
        config.update("jax_compilation_cache_dir", str(cache / "compiled"))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def cores() -> int:
    """Returns the number of CPU cores that the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def glibc() -> tuple[int, ...]:
    """Returns the version of glibc, () with another C library."""
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        return tuple(int(part) for part in version.split(".")[:2])
    except (AttributeError, ValueError):  # no os.confstr, no such name, no such library
        return ()


def tuned() -> bool:
    """Returns True if the environment already tunes glibc's malloc."""
    return any(name.startswith(("GLIBC_TUNABLES", "MALLOC_")) for name in os.environ)


def memory() -> int:
    """Returns the bytes of memory that this process may use: the machine's, or what a container allows of them."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((Path("/sys/fs/cgroup") / file).read_text()))
    return min(limits)
