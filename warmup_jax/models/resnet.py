"""Residual networks for images.

Source: He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", 2015: the CIFAR form
(section 4.2) and the ImageNet form (table 1). Initialisation, zero-gamma and the place of the
stride in bottlenecks (their 3x3 convolution) follow Goyal et al., "Accurate, Large Minibatch SGD:
Training ImageNet in 1 Hour", 2017.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from warmup_jax.models.intermediates import ignore
from warmup_jax.models.ops.cpu import split_batch
from warmup_jax.models.ops.cpu.batch_norm import BatchNorm
from warmup_jax.models.ops.cpu.convolution import Conv
from warmup_jax.registry import one_of

CIFAR_CHANNELS = (16, 32, 64)
IMAGENET_CHANNELS = (64, 128, 256, 512)
IMAGENET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BOTTLENECK_DEPTHS = (50, 101, 152)
BOTTLENECK_EXPANSION = 4
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class ResNet(nnx.Module):
    """A residual network: images [B, H, W, C] -> logits [B, K].

    Args:
        num_classes: K.
        input_shape: (H, W, C) of one image.
        form: "cifar" (three stages of 16, 32, 64 channels, basic blocks) or "imagenet" (four stages of
            64 to 512 channels; basic blocks at depths 18 and 34, bottlenecks at 50, 101 and 152).
        depth: 6n + 2 with n >= 1 for "cifar"; 18, 34, 50, 101 or 152 for "imagenet".
        width: multiplies the channels of every stage; the products are rounded.
        shortcut: where a block changes the shape, "A" takes every other pixel and appends channels of
            zeros (basic blocks only), "B" is a 1x1 convolution with BatchNorm.
        stem: "3x3" (stride 1, no pooling) or "7x7" (stride 2, then a 3x3 max-pool of stride 2).
        zero_gamma: start the last BatchNorm scale of each block at 0, so that at the start every
            residual branch is zero.
        dtype: "float32" or "bfloat16", of convolutions and activations. Parameters, statistics, the
            head and the logits are always float32.
    """

    relu = True

    def __init__(self, *, num_classes, input_shape, form, depth, width, shortcut, stem, zero_gamma, dtype, rngs):
        channels, blocks, bottleneck = _stages(form, depth, width)
        one_of("shortcut", shortcut, ["B"] if bottleneck else ["A", "B"], f" for form={form!r}, depth={depth}")
        one_of("stem", stem, ["3x3", "7x7"])
        one_of("zero_gamma", zero_gamma, [False, True])
        one_of("dtype", dtype, list(DTYPES))
        if len(input_shape) != 3:
            raise ValueError(f"input_shape={input_shape}; allowed: (height, width, channels)")
        self.dtype = DTYPES[dtype]
        self.downsample = stem == "7x7"
        size, stride = (7, 2) if self.downsample else (3, 1)
        self.stem = Conv(input_shape[-1], channels[0], size, stride, self.dtype, rngs)
        self.stem_norm = BatchNorm(channels[0], zero_scale=False)
        places = [(stage, block) for stage, count in enumerate(blocks) for block in range(count)]
        self.block_names = tuple(f"stage{stage + 1}_block{block}" for stage, block in places)
        incoming = channels[0]
        for name, (stage, block) in zip(self.block_names, places):
            layers = _layers(channels[stage], 2 if stage > 0 and block == 0 else 1, bottleneck)
            setattr(self, name, Block(incoming, layers, shortcut, zero_gamma, self.dtype, rngs))
            incoming = layers[-1][1]
        self.head = nnx.Linear(incoming, num_classes, kernel_init=jax.nn.initializers.normal(0.01), rngs=rngs)

    def __call__(self, image_BxHxWxC, *, train, key, note=ignore):
        note_all = split_batch.joining(note)
        image_BxHxWxC = image_BxHxWxC.astype(self.dtype)
        # An evaluation has other batches to keep the cores busy with (`devices.side_by_side`).
        xs_BxHxWxC = self.stem(split_batch.split(image_BxHxWxC) if train else [image_BxHxWxC])
        xs_BxHxWxC = self.stem_norm(xs_BxHxWxC, train=train, relu=True)
        note_all("stem", "output", xs_BxHxWxC)
        note_all("stem", "relu", xs_BxHxWxC)
        if self.downsample:
            xs_BxHxWxC = [nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1))) for x in xs_BxHxWxC]
        for name in self.block_names:
            xs_BxHxWxC = getattr(self, name)(xs_BxHxWxC, train=train, name=name, note=note_all)
        feature_BxC = split_batch.join([jnp.mean(x.astype(jnp.float32), axis=(1, 2)) for x in xs_BxHxWxC])
        logits_BxK = self.head(feature_BxC)
        note("head", "output", logits_BxK)
        return logits_BxK


class Block(nnx.Module):
    """relu(branch(x) + shortcut(x)): a basic block or a bottleneck, as its layers say.

    `layers` holds (kernel size, outgoing channels, stride) of each convolution of the branch.
    """

    def __init__(self, incoming, layers, shortcut, zero_gamma, dtype, rngs):
        self.outgoing = layers[-1][1]
        self.stride = max(stride for _, _, stride in layers)
        self.project = shortcut == "B" and (self.stride != 1 or incoming != self.outgoing)
        self.num_layers = len(layers)
        if self.project:
            self.shortcut = Conv(incoming, self.outgoing, 1, self.stride, dtype, rngs)
            self.shortcut_norm = BatchNorm(self.outgoing, zero_scale=False)
        for i, (size, outgoing, stride) in enumerate(layers, 1):
            setattr(self, f"conv{i}", Conv(incoming, outgoing, size, stride, dtype, rngs))
            setattr(self, f"norm{i}", BatchNorm(outgoing, zero_scale=zero_gamma and i == len(layers)))
            incoming = outgoing

    def __call__(self, xs_BxHxWxC, *, train, name, note):
        if self.project:
            shortcuts = self.shortcut_norm(self.shortcut(xs_BxHxWxC), train=train, relu=False)
        else:
            shortcuts = [subsample(x, self.stride, self.outgoing) for x in xs_BxHxWxC]
        for i in range(1, self.num_layers + 1):
            residuals = shortcuts if i == self.num_layers else None
            xs_BxHxWxC = getattr(self, f"conv{i}")(xs_BxHxWxC)
            xs_BxHxWxC = getattr(self, f"norm{i}")(xs_BxHxWxC, train=train, relu=True, residuals=residuals)
            note(name if i == self.num_layers else f"{name}.norm{i}", "relu", xs_BxHxWxC)
        note(name, "output", xs_BxHxWxC)
        return xs_BxHxWxC


def subsample(x_BxHxWxC, stride, channels):
    """The parameter-free shortcut, option A: every `stride`-th pixel, with zeros appended up to `channels`."""
    missing = channels - x_BxHxWxC.shape[-1]
    return jnp.pad(x_BxHxWxC[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, missing)))


def _layers(channels, stride, bottleneck):
    """(kernel size, outgoing channels, stride) of the convolutions of one block."""
    if bottleneck:
        return ((1, channels, 1), (3, channels, stride), (1, BOTTLENECK_EXPANSION * channels, 1))
    return ((3, channels, stride), (3, channels, 1))


def _stages(form, depth, width):
    """(channels of each stage, blocks of each stage, whether the blocks are bottlenecks)."""
    one_of("form", form, ["cifar", "imagenet"])
    if form == "cifar":
        if not isinstance(depth, int) or depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth={depth!r}; allowed for form='cifar': 6n + 2 with n >= 1, as 8, 20, 56, 110")
        channels, blocks = CIFAR_CHANNELS, (depth // 6,) * 3
    else:
        one_of("depth", depth, list(IMAGENET_BLOCKS), " for form='imagenet'")
        channels, blocks = IMAGENET_CHANNELS, IMAGENET_BLOCKS[depth]
    if not (isinstance(width, (int, float)) and 0 < width < float("inf") and round(channels[0] * width)):
        raise ValueError(f"width={width!r}; allowed: a positive number that leaves one of {channels[0]} channels")
    return tuple(round(c * width) for c in channels), blocks, form == "imagenet" and depth in BOTTLENECK_DEPTHS
