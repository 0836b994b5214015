"""The package as a user meets it: its names, its help, its types."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import warmup_jax
from warmup_jax import schedules, transforms
from warmup_jax.schedules import ports

ROOT = Path(__file__).parent.parent

USER = """
import jax
import jax.numpy as jnp
import optax

import warmup_jax
from warmup_jax import schedules, transforms
from warmup_jax.schedules import ports

rate: schedules.Schedule = schedules.warmup_cosine(1e-3, 5, 100)
own = schedules.combine(schedules.linear_warmup(5), schedules.cosine_decay(5, 100), peak_lr=1e-3, num_steps=100)
ported = ports.transformers.get_cosine_schedule_with_warmup(1e-3, 5, 100)


def constant(t: jax.Array) -> float:
    return 0.1


tx = optax.chain(
    optax.scale_by_adam(),
    transforms.scale_by_recorded_learning_rate(rate),
    transforms.scale_by_warmup(schedules.untuned_linear_warmup(beta2=0.999)),
    transforms.warmup_until("error", 0.8, low=0.1, high=1.0),
    transforms.clip_by_global_norm_warmup(lambda t: 1.0 + t),
)
state = transforms.fast_forward(tx.init({"w": jnp.ones(2)}), 50)
recorded: jax.Array = transforms.current_learning_rate(state)
scheduled: jax.Array = transforms.current_learning_rate(state, schedule=constant)
sentences: list[str] = schedules.lint(constant, 100) + schedules.lint(optax.constant_schedule(0.1), 100)
lanes = jax.vmap(lambda steps: warmup_jax.schedules.linear_warmup(steps)(0))(jnp.array([0, 1]))
print(warmup_jax.__version__, float(rate(3)), jax.jit(own)(3), ported(jnp.arange(3)), lanes, recorded, scheduled)
"""


def test_the_public_names_are_listed():
    assert dir(warmup_jax) == ["__version__", "schedules", "transforms"]
    assert warmup_jax.schedules is schedules and warmup_jax.transforms is transforms
    with pytest.raises(AttributeError, match="no attribute 'schedule'"):
        warmup_jax.schedule  # noqa: B018


@pytest.mark.parametrize("module", [schedules, transforms])
def test_every_public_name_is_there_once(module):
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
    assert set(transforms.TRANSFORMS) <= set(transforms.__all__)


@pytest.mark.parametrize("package", [schedules, transforms, ports])
def test_help_names_the_types_in_short(package):
    """Annotations are kept as written: evaluated, one ArrayLike is a union of 120 characters."""
    for owner in (vars(package), *(vars(m) for m in vars(package).values() if inspect.ismodule(m))):
        for name, item in owner.items():
            if inspect.isfunction(item) and item.__module__.startswith("warmup_jax.") and not name.startswith("_"):
                assert "Union[" not in str(inspect.signature(item)), f"{item.__module__}.{name}"


@pytest.mark.slow
def test_a_users_file_passes_strict_mypy(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "user.py").write_text(USER)
    options = ["--strict", "--follow-imports=silent", "--ignore-missing-imports", f"--cache-dir={tmp_path / 'cache'}"]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "user.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr
