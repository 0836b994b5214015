import zlib
from functools import partial

import jax
import numpy as np
import pytest
from toymodels import BLOCKS

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
def small_decoder():
    """Builds a toy decoder for rows of 6 of 11 tokens; keyword arguments change its description."""
    small = dict(BLOCKS, depth=2, num_classes=11, input_shape=(6,))
    return lambda **changes: models.build("decoder", **{**small, **changes})


@pytest.fixture(scope="session")
def small_transformer():
    """Builds a toy encoder-decoder for rows of 7 and 6 of 11 tokens; keyword arguments change its description."""
    small = dict(BLOCKS, encoder_depth=1, decoder_depth=1, num_classes=11, input_shape=(7, 6))
    return lambda **changes: models.build("transformer", **{**small, **changes})


@pytest.fixture(scope="session")
def random_params():
    """model -> parameters with no gate closed, no bias 0 and no scale 1; `init` would take long to compile."""

    def draw(path, leaf):
        centre = 1.0 if path[-1].key == "scale" else 0.0
        rng = np.random.default_rng(zlib.crc32(jax.tree_util.keystr(path).encode()))
        return (centre + 0.3 * rng.normal(size=leaf.shape)).astype(np.float32)

    return lambda model: jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, jax.random.key(0))[0])


@pytest.fixture(scope="session")
def quick_jit():
    """jax.jit without optimisation: random numbers of many shapes compile five times faster."""
    return partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
