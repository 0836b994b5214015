"""What training wants of the process itself: its memory and its CPU cores. All of it before JAX begins."""

import contextlib
import ctypes
import functools
import os
import sys
from pathlib import Path

# Since glibc 2.35. One heap for all threads takes 30 to 100 MB less while programs are compiled (benchmarks/NOTES.md).
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"}
SYSTEM_ALLOWS = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# glibc's mallopt: no memory of its own for a large block, none given back, one heap for all threads.
KEEP_MEMORY = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_ARENA_MAX": (-8, 1)}
COMPILED = "/jax/core/compile/backend_compile_duration"  # the event at the end of a compilation


def with_huge_pages() -> dict[str, str]:
    """The environment in which the C library asks for huge pages; {} where it or the system cannot, or is tuned.

    An update of a ResNet on CPU takes and returns hundreds of MB. By pages of 4 KB that costs a third of its time.
    All threads share one heap.
    """
    allowed = SYSTEM_ALLOWS.read_text() if SYSTEM_ALLOWS.exists() else "[never]"
    return HUGE_PAGES if glibc() >= (2, 35) and "[never]" not in allowed and not tuned() else {}


def restart_with_huge_pages() -> None:
    """Starts this program again `with_huge_pages`, as they must be asked for before the process begins.

    To be called at the very start; nothing happens where the environment is that already, or under a debugger.
    """
    if (wanted := with_huge_pages()) and sys.gettrace() is None:
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted)


def keep_freed_memory() -> None:
    """Makes the C library keep what is freed for the next update, where it is glibc and nothing has tuned it.

    For what `with_huge_pages` is for, at more memory: a program that was not started with them, a notebook. To be
    called before JAX begins: it does not change the heaps of threads that run already.
    """
    if glibc() and not tuned():
        for parameter, value in KEEP_MEMORY.values():
            ctypes.CDLL(None).mallopt(parameter, value)


@functools.cache
def return_memory_of_compilations() -> None:
    """Makes the C library return what it holds free after each compilation: a hundred MB, in small blocks."""
    import jax

    if glibc():
        jax.monitoring.register_event_duration_secs_listener(
            lambda event, *args, **kwargs: event == COMPILED and ctypes.CDLL(None).malloc_trim(0)
        )


def one_device_for_each_core() -> None:
    """Makes a device of every CPU core, unless JAX has begun or the user has said how many there are.

    One run leaves cores idle; runs side by side do not, and each gives the same numbers.
    """
    import jax

    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "") or jax.config.jax_num_cpu_devices > 0:
        return
    with contextlib.suppress(RuntimeError):  # JAX has begun: in a notebook, say
        jax.config.update("jax_num_cpu_devices", cores())


def cores() -> int:
    """How many CPU cores the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def glibc() -> tuple[int, ...]:
    """The version of the C library; () if it is another one."""
    try:
        name, version = os.confstr("CS_GNU_LIBC_VERSION").split()
        return tuple(int(part) for part in version.split(".")[:2])
    except (AttributeError, ValueError):  # no os.confstr, no such name, no such library
        return ()


def tuned() -> bool:
    """Whether the environment sets something of glibc's memory already."""
    return any(name.startswith(("GLIBC_TUNABLES", "MALLOC_")) for name in os.environ)
