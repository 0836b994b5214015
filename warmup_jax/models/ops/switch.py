"""Decides between the plain definitions of `ops` and the kernels for CPU; the only code that asks for the backend."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp

MEASURED, PLAIN, EVERYWHERE = "measured", "plain", "everywhere"
_mode: ContextVar[str] = ContextVar("warmup_jax_kernels", default=MEASURED)


@contextmanager
def plain() -> Iterator[None]:
    """Turns every kernel off inside a `with` block, so that each operation is its definition in plain JAX.

    Models then have no `custom_vjp`: `jax.jvp` and other forward-mode transforms work on them. Read while a function is
    traced, in the thread that traces it: a function that `jax.jit` has traced before keeps what it was traced with.

    Examples:
      >>> from warmup_jax.models import ops
      >>> import jax, jax.numpy as jnp
      >>> x, kernel = jnp.ones((4, 3)), jnp.ones((3, 2))
      >>> with ops.plain():
      ...     _, tangent = jax.jvp(lambda k: ops.linear(x, k), (kernel,), (kernel,))
      >>> tangent.shape
      (4, 2)
    """
    with _mode_set(PLAIN):
        yield


@contextmanager
def use_everywhere() -> Iterator[None]:
    """Uses the kernels for CPU at any size inside a `with` block, also where they do not pay; for tests.

    The block has to hold the tracing of the gradient too, which chooses its formulations by itself.
    """
    with _mode_set(EVERYWHERE):
        yield


@contextmanager
def _mode_set(mode: str) -> Iterator[None]:
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)


def use_kernels() -> bool:
    """Returns False inside `plain()`."""
    return _mode.get() != PLAIN


def use_cpu_kernels(x: jax.Array | None = None) -> bool:
    """Returns True if kernels for CPU are to be used; with an `x`, only if it is float32, as most of them need."""
    return use_kernels() and backend() == "cpu" and (x is None or x.dtype == jnp.float32)


def everywhere() -> bool:
    """Returns True inside `use_everywhere()`."""
    return _mode.get() == EVERYWHERE


def backend() -> str:
    """Returns the platform that JAX computes on: "cpu", "gpu" or "tpu"."""
    return jax.default_backend()
