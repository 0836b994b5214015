from functools import partial

import jax
import pytest

from warmup_jax import models

SMALL = dict(
    form="cifar", depth=8, width=0.5, shortcut="A", stem="3x3", zero_gamma=False, dtype="float32",
    num_classes=4, input_shape=(8, 8, 3),
)  # fmt: skip


@pytest.fixture
def small_resnet():
    """Builds a toy ResNet; keyword arguments change its description."""
    return lambda **changes: models.build("resnet", **{**SMALL, **changes})


@pytest.fixture(scope="session")
def quick_jit():
    """jax.jit without optimisation: random numbers of many shapes compile five times faster."""
    return partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
