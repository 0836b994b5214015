"""Residual networks for images.

References:
  He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", 2015: the CIFAR form (section 4.2) and the
    ImageNet form (table 1).
  Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017: initialisation, zero-gamma, and the
    stride of a bottleneck in its 3x3 convolution.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from warmup_jax.models import ops
from warmup_jax.models.intermediates import Capture, record, within
from warmup_jax.models.layers import BatchNorm, Conv, max_pool, mean_pool, subsample
from warmup_jax.models.resnet_config import ResNetConfig


class ResidualBlock(nnx.Module):
    """The common part of the blocks: the shortcut, which is x or, where a block changes the shape, x in another shape.

    The norms of a block add the shortcut and apply the ReLU themselves, in the same pass over the activations.

    Args:
      conv: makes a convolution: (in_channels, out_channels, kernel_size, stride) -> `Conv`.
      in_channels: of x.
      channels: of the first convolution of the block.
      stride: of the block.
      shortcut: "A" or "B", see `ResNetConfig`.
    """

    expansion: int  # output channels of a block for each of `channels`

    def __init__(self, conv: Callable, in_channels: int, channels: int, stride: int, shortcut: str):
        self.stride, self.out_channels = stride, self.expansion * channels
        self.project = shortcut == "B" and (stride != 1 or in_channels != self.out_channels)
        if self.project:
            self.shortcut = conv(in_channels, self.out_channels, 1, stride)
            self.shortcut_norm = BatchNorm(self.out_channels)

    def residual(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns shortcut(x)."""
        if self.project:
            return self.shortcut_norm(self.shortcut(x), train=train)
        return subsample(x, self.stride, self.out_channels)


class BasicBlock(ResidualBlock):
    """relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut(x)), two 3x3 convolutions."""

    expansion = 1

    def __init__(self, conv: Callable, in_channels: int, channels: int, stride: int, shortcut: str, zero_gamma: bool):
        super().__init__(conv, in_channels, channels, stride, shortcut)
        self.conv1 = conv(in_channels, channels, 3, stride)
        self.norm1 = BatchNorm(channels)
        self.conv2 = conv(channels, channels, 3, 1)
        self.norm2 = BatchNorm(channels, zero_scale=zero_gamma)

    def __call__(self, x: jax.Array, *, train: bool, capture: Capture | None) -> jax.Array:
        residual = self.residual(x, train)
        y = self.norm1(self.conv1(x), train=train, relu=True)
        record(capture, "norm1/relu", y)
        return self.norm2(self.conv2(y), train=train, residual=residual, relu=True)


class Bottleneck(ResidualBlock):
    """A `BasicBlock` with convolutions of 1x1, 3x3 and 1x1, the last to four times the channels."""

    expansion = 4

    def __init__(self, conv: Callable, in_channels: int, channels: int, stride: int, shortcut: str, zero_gamma: bool):
        super().__init__(conv, in_channels, channels, stride, shortcut)
        self.conv1 = conv(in_channels, channels, 1, 1)
        self.norm1 = BatchNorm(channels)
        self.conv2 = conv(channels, channels, 3, stride)
        self.norm2 = BatchNorm(channels)
        self.conv3 = conv(channels, self.out_channels, 1, 1)
        self.norm3 = BatchNorm(self.out_channels, zero_scale=zero_gamma)

    def __call__(self, x: jax.Array, *, train: bool, capture: Capture | None) -> jax.Array:
        residual = self.residual(x, train)
        y = self.norm1(self.conv1(x), train=train, relu=True)
        record(capture, "norm1/relu", y)
        y = self.norm2(self.conv2(y), train=train, relu=True)
        record(capture, "norm2/relu", y)
        return self.norm3(self.conv3(y), train=train, residual=residual, relu=True)


class ResNet(nnx.Module):
    """A residual network: images [B, H, W, C] -> logits float32 [B, K].

    Args:
      config: see `ResNetConfig`.
      num_classes: K.
      input_shape: (H, W, C) of one image.
      rngs: of the initial parameters.
    """

    config_class = ResNetConfig
    relu = True

    def __init__(self, config: ResNetConfig, *, num_classes: int, input_shape: tuple[int, ...], rngs: nnx.Rngs):
        if len(input_shape) != 3:
            raise ValueError(f"input_shape={input_shape}; allowed: (height, width, channels)")
        self.dtype, self.pool = jnp.dtype(config.dtype), config.stem == "7x7"
        conv = partial(Conv, dtype=self.dtype, rngs=rngs)
        block_class = Bottleneck if config.bottleneck else BasicBlock
        channels = config.channels[0]
        self.stem = conv(input_shape[-1], channels, *((7, 2) if self.pool else (3, 1)))
        self.stem_norm = BatchNorm(channels)
        block_names = []
        for stage, (inner_channels, count) in enumerate(zip(config.channels, config.blocks), 1):
            for i in range(count):
                stride = 2 if stage > 1 and i == 0 else 1
                block = block_class(conv, channels, inner_channels, stride, config.shortcut, config.zero_gamma)
                setattr(self, f"stage{stage}_block{i}", block)
                block_names.append(f"stage{stage}_block{i}")
                channels = block.out_channels
        self.block_names = tuple(block_names)
        self.head = nnx.Linear(channels, num_classes, kernel_init=jax.nn.initializers.normal(0.01), rngs=rngs)

    def __call__(
        self, x: jax.Array, *, train: bool, key: jax.Array | None, capture: Capture | None = None
    ) -> jax.Array:
        x = x.astype(self.dtype)
        x = ops.split_batch(x) if train else x  # evaluation runs several batches concurrently, so it needs no split
        x = self.stem_norm(self.stem(x), train=train, relu=True)
        record(capture, "stem/output", x)
        record(capture, "stem/relu", x)
        x = max_pool(x) if self.pool else x
        for name in self.block_names:
            x = getattr(self, name)(x, train=train, capture=within(capture, name))
            record(capture, f"{name}/relu", x)
            record(capture, f"{name}/output", x)
        logits_BxK = self.head(ops.merge_batch(mean_pool(x)))
        record(capture, "head/output", logits_BxK)
        return logits_BxK
