"""Convolutions of images, in the formulation that is fastest where they run.

On accelerators that is XLA's own convolution and what differentiation makes of it. On CPU, XLA has fast kernels for
float32 if the images or the kernels have more than 16 channels, and for no gradient of a strided convolution; so there
the same sums are written otherwise, where that was measured to pay (benchmarks/NOTES.md):
    pairs of pixels: with few channels, two neighbouring outputs are computed as one with twice the channels
    parities: the gradient of the input at stride 2 is one convolution whose channels are the four parities of a pixel
    patches: the gradient of a kernel of stride 2 is one matrix product
    parts: any other gradient of a kernel is a sum over parts of the batch, which fit a core's cache
    Winograd: with many channels, 3x3 convolutions and their gradients save more than half of the multiplications
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from warmup_jax.models.ops.cpu import matmul, recompute, winograd

LAYOUT = ("NHWC", "HWIO", "NHWC")
FEW, MANY = 16, 64  # channels
PART = 16, 2**16  # examples, and numbers in the gradient of their outputs, of a part of a batch at the least
WORK = 2**24  # multiplications a tap: for fewer it is not worth its compilation


class Conv(nnx.Module):
    """A square convolution without bias, padded alike on both sides; computes in `dtype`, its kernel is float32."""

    def __init__(self, incoming, outgoing, size, stride, dtype, rngs):
        self.stride, self.dtype = stride, dtype
        init = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        self.kernel = nnx.Param(init(rngs.params(), (size, size, incoming, outgoing), jnp.float32))

    def __call__(self, xs_BxHxWxC):
        """Of a batch as a list, see `halves`."""
        kernel_KxKxCxD = self.kernel[...].astype(self.dtype)
        return [convolve(x.astype(self.dtype), kernel_KxKxCxD, self.stride) for x in xs_BxHxWxC]


def convolve(x_BxHxWxC, kernel_KxKxCxD, stride):
    """[B, ceil(H / stride), ceil(W / stride), D], with K // 2 pixels of zeros on each side of the image; K is odd."""
    if matmul.in_float32_on_cpu(x_BxHxWxC):
        return on_cpu(x_BxHxWxC, kernel_KxKxCxD, stride)
    return direct(x_BxHxWxC, kernel_KxKxCxD, stride)


def direct(x_BxHxWxC, kernel_KxKxCxD, stride):
    """`convolve` as XLA has it. Its "SAME" pads unevenly at stride 2, which would shift the image against the weights
    of other libraries."""
    pad = kernel_KxKxCxD.shape[0] // 2
    return lax.conv_general_dilated(
        x_BxHxWxC, kernel_KxKxCxD, (stride, stride), [(pad, pad)] * 2, dimension_numbers=LAYOUT
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def on_cpu(x_BxHxWxC, kernel_KxKxCxD, stride):
    """`convolve` on CPU. Its gradient can be differentiated further, forwards or backwards, but `jvp` of the function
    itself is not there, as with `batch_norm.normalize`."""
    if _by_winograd(x_BxHxWxC.shape, kernel_KxKxCxD.shape, stride):
        return winograd.convolve(x_BxHxWxC, kernel_KxKxCxD)
    return _plain(x_BxHxWxC, kernel_KxKxCxD, stride)


def _forward(x_BxHxWxC, kernel_KxKxCxD, stride):
    return on_cpu.fun(x_BxHxWxC, kernel_KxKxCxD, stride), (x_BxHxWxC, kernel_KxKxCxD)


def _backward(stride, saved, dy_BxHxWxD):
    x_BxHxWxC, kernel_KxKxCxD = saved
    x_BxHxWxC = recompute.after(dy_BxHxWxD, x_BxHxWxC)  # or the tiles and the paddings of x were kept beside it
    if _by_winograd(x_BxHxWxC.shape, kernel_KxKxCxD.shape, stride):
        return winograd.gradients(x_BxHxWxC, kernel_KxKxCxD, dy_BxHxWxD)
    dx_BxHxWxC = _input_gradient(dy_BxHxWxD, kernel_KxKxCxD, x_BxHxWxC.shape, stride)
    return dx_BxHxWxC, _kernel_gradient(x_BxHxWxC, dy_BxHxWxD, kernel_KxKxCxD, stride)


on_cpu.defvjp(_forward, _backward)


def _by_winograd(image, kernel, stride):
    """Whether it pays for these shapes."""
    return kernel[0] == 3 and stride == 1 and min(kernel[2:]) >= MANY and math.prod(image) * kernel[3] >= WORK


def _plain(x_BxHxWxC, kernel_KxKxCxD, stride):
    size, _, incoming, outgoing = kernel_KxKxCxD.shape
    if size == 3 and stride == 1 and max(incoming, outgoing) <= FEW and x_BxHxWxC.shape[2] % 2 == 0:
        return pairs(x_BxHxWxC, kernel_KxKxCxD)
    return direct(x_BxHxWxC, kernel_KxKxCxD, stride)


def pairs(x_BxHxWxC, kernel_3x3xCxD):
    """A 3x3 convolution of stride 1 as a 3x4 one whose outputs are pairs of neighbouring pixels; W is even."""
    first, second = [jnp.pad(kernel_3x3xCxD, ((0, 0), around, (0, 0), (0, 0))) for around in ((0, 1), (1, 0))]
    y_BxHxPx2D = lax.conv_general_dilated(
        x_BxHxWxC, jnp.concatenate([first, second], -1), (1, 2), [(1, 1)] * 2, dimension_numbers=LAYOUT
    )
    return y_BxHxPx2D.reshape(*x_BxHxWxC.shape[:-1], -1)


def _input_gradient(dy_BxHxWxD, kernel_KxKxCxD, shape, stride):
    size = kernel_KxKxCxD.shape[0]
    if stride == 1:
        return _plain(dy_BxHxWxD, kernel_KxKxCxD[::-1, ::-1].swapaxes(2, 3), 1)
    if stride == 2 and size == 3 and shape[1] % 2 == 0 and shape[2] % 2 == 0:
        return parities(dy_BxHxWxD, kernel_KxKxCxD)
    x = jax.ShapeDtypeStruct(shape, dy_BxHxWxD.dtype)
    return jax.linear_transpose(lambda x: direct(x, kernel_KxKxCxD, stride), x)(dy_BxHxWxD)[0]


def parities(dy_BxHxWxD, kernel_3x3xCxD):
    """The gradient [B, 2H, 2W, C] of the input of a 3x3 convolution of stride 2.

    Pixel (2h, 2w) has met the centre of the kernel alone, and pixels in odd rows or columns have met two of its rows or
    columns, at outputs h and h + 1. So the four are the channels of a 2x2 convolution of the outputs' gradient.
    """
    batch, rows, columns, outgoing = dy_BxHxWxD.shape
    incoming = kernel_3x3xCxD.shape[2]
    met = jnp.pad(kernel_3x3xCxD, ((0, 1), (0, 1), (0, 0), (0, 0))).swapaxes(2, 3)  # row and column 3 are 0
    taps = ((1, 2), (3, 0))  # rows of the kernel that an even, an odd pixel met: at output h, at h + 1
    kernel = jnp.stack(
        [
            jnp.stack([jnp.concatenate([met[i, j] for i in taps[a] for j in taps[b]], -1) for b in range(2)])
            for a in range(2)
        ]
    )
    dx = lax.conv_general_dilated(dy_BxHxWxD, kernel, (1, 1), [(0, 1)] * 2, dimension_numbers=LAYOUT)
    dx = dx.reshape(batch, rows, columns, 2, 2, incoming).swapaxes(2, 3)
    return dx.reshape(batch, 2 * rows, 2 * columns, incoming)


def _kernel_gradient(x_BxHxWxC, dy_BxHxWxD, kernel_KxKxCxD, stride):
    size, _, incoming, outgoing = kernel_KxKxCxD.shape
    if size == 1 or (size == 3 and stride == 2 and incoming >= MANY):
        return patches(x_BxHxWxC, dy_BxHxWxD, size, stride).reshape(size, size, incoming, outgoing)
    return in_parts(x_BxHxWxC, dy_BxHxWxD, kernel_KxKxCxD, stride)


def in_parts(x_BxHxWxC, dy_BxHxWxD, kernel_KxKxCxD, stride):
    """The gradient of a kernel as a sum over parts of the batch, each small enough for a core's cache.

    XLA has it as a convolution whose kernel is `dy`: it goes through all of that for every block of the result.
    """
    batch, _, _, outgoing = dy_BxHxWxD.shape
    examples, numbers = PART
    parts = max(
        n
        for n in range(1, batch + 1)
        if n == 1 or (batch % n == 0 and batch // n >= examples and dy_BxHxWxD.size // n >= numbers)
    )

    def gradient(x, dy):
        return jax.linear_transpose(lambda kernel: direct(x, kernel, stride), kernel_KxKxCxD)(dy)[0]

    x, dy = [of.reshape(parts, batch // parts, *of.shape[1:]) for of in (x_BxHxWxC, dy_BxHxWxD)]
    return sum(gradient(x[i], dy[i]) for i in range(parts))


def patches(x_BxHxWxC, dy_BxHxWxD, size, stride):
    """The gradient [K K C, D] of a kernel as one matrix product over all outputs, of the pixels that each has met."""
    pad, (_, rows, columns, outgoing) = size // 2, dy_BxHxWxD.shape
    padded = jnp.pad(x_BxHxWxC, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    met = [
        padded[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
        for i in range(size)
        for j in range(size)
    ]
    met = jnp.concatenate(met, -1).reshape(-1, size * size * x_BxHxWxC.shape[-1])
    return matmul.outer(met, dy_BxHxWxD.reshape(-1, outgoing))
