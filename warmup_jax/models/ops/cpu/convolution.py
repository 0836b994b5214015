"""Convolutions of images in float32, and their gradients, in formulations that XLA:CPU computes fast.

XLA:CPU has fast kernels for convolutions only if the images or the kernels have more than 16 channels, and for no
gradient of a strided convolution. Elsewhere the same sums are formulated otherwise (README.md has the measurements):
  pixel pairs: with few channels, two neighbouring outputs are computed as one with twice the channels.
  parities: the gradient of the input at stride 2 is one convolution whose channels are the four parities of a pixel.
  patches: the gradient of a kernel at stride 2 is one matrix product.
  batch parts: any other gradient of a kernel is a sum over parts of the batch that fit a core's cache.
  Winograd: with many channels, 3x3 convolutions and their gradients need less than half of the multiplications.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from warmup_jax.models.ops import definitions
from warmup_jax.models.ops.cpu import winograd
from warmup_jax.models.ops.cpu.matmul import matmul_tn
from warmup_jax.models.ops.cpu.recompute import recompute_after
from warmup_jax.models.ops.switch import everywhere

FEW, MANY = 16, 64  # channels
PART = 16, 2**16  # smallest part of a batch: examples, and elements of their outputs' gradient
WORK = 2**24  # multiplications per tap; for fewer, Winograd is not worth its compilation

Shape = tuple[int, ...]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv2d(x_BxHxWxC: jax.Array, kernel_KxKxCxD: jax.Array, stride: int) -> jax.Array:
    """`definitions.conv2d` and its gradients, by the formulation that is fastest for the shapes."""
    if use_winograd(x_BxHxWxC.shape, kernel_KxKxCxD.shape, stride):
        return winograd.conv2d(x_BxHxWxC, kernel_KxKxCxD)
    return _direct_or_by_pairs(x_BxHxWxC, kernel_KxKxCxD, stride)


def _forward(
    x_BxHxWxC: jax.Array, kernel_KxKxCxD: jax.Array, stride: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv2d.fun(x_BxHxWxC, kernel_KxKxCxD, stride), (x_BxHxWxC, kernel_KxKxCxD)


def _backward(stride: int, saved: tuple[jax.Array, jax.Array], dy_BxHxWxD: jax.Array) -> tuple[jax.Array, jax.Array]:
    x_BxHxWxC, kernel_KxKxCxD = saved
    x_BxHxWxC = recompute_after(dy_BxHxWxD, x_BxHxWxC)  # or the tiles and the padding of x are kept beside it
    if use_winograd(x_BxHxWxC.shape, kernel_KxKxCxD.shape, stride):
        return winograd.gradients(x_BxHxWxC, kernel_KxKxCxD, dy_BxHxWxD)
    dx_BxHxWxC = _input_gradient(dy_BxHxWxD, kernel_KxKxCxD, x_BxHxWxC.shape, stride)
    return dx_BxHxWxC, _kernel_gradient(x_BxHxWxC, dy_BxHxWxD, kernel_KxKxCxD, stride)


conv2d.defvjp(_forward, _backward)


def use_winograd(image: Shape, kernel: Shape, stride: int) -> bool:
    """Returns True if Winograd's algorithm is faster for an image [B, H, W, C] and a kernel [K, K, C, D]."""
    many = kernel[0] == 3 and stride == 1 and min(kernel[2:]) >= MANY
    return many and (everywhere() or math.prod(image) * kernel[3] >= WORK)


def use_pairs(image: Shape, kernel: Shape, stride: int) -> bool:
    """Returns True if the outputs are computed in pairs of pixels."""
    return kernel[0] == 3 and stride == 1 and max(kernel[2:]) <= FEW and image[2] % 2 == 0


def use_parities(image: Shape, kernel: Shape, stride: int) -> bool:
    """Returns True if the gradient of the image is computed by parities."""
    return stride == 2 and kernel[0] == 3 and image[1] % 2 == 0 and image[2] % 2 == 0


def use_patches(kernel: Shape, stride: int) -> bool:
    """Returns True if the gradient of the kernel is computed from patches."""
    return kernel[0] == 1 or (kernel[0] == 3 and stride == 2 and kernel[2] >= MANY)


def _direct_or_by_pairs(x_BxHxWxC: jax.Array, kernel_KxKxCxD: jax.Array, stride: int) -> jax.Array:
    if use_pairs(x_BxHxWxC.shape, kernel_KxKxCxD.shape, stride):
        return by_pairs(x_BxHxWxC, kernel_KxKxCxD)
    return definitions.conv2d(x_BxHxWxC, kernel_KxKxCxD, stride)


def by_pairs(x_BxHxWxC: jax.Array, kernel_3x3xCxD: jax.Array) -> jax.Array:
    """Computes a 3x3 convolution of stride 1 as a 3x4 one whose outputs are pairs of neighbouring pixels; W is even."""
    first, second = [jnp.pad(kernel_3x3xCxD, ((0, 0), around, (0, 0), (0, 0))) for around in ((0, 1), (1, 0))]
    y_BxHxPx2D = lax.conv_general_dilated(
        x_BxHxWxC,
        jnp.concatenate([first, second], -1),
        (1, 2),
        [(1, 1)] * 2,
        dimension_numbers=definitions.LAYOUT,
    )
    return y_BxHxPx2D.reshape(*x_BxHxWxC.shape[:-1], -1)


def _input_gradient(dy_BxHxWxD: jax.Array, kernel_KxKxCxD: jax.Array, shape: Shape, stride: int) -> jax.Array:
    if stride == 1:
        return _direct_or_by_pairs(dy_BxHxWxD, kernel_KxKxCxD[::-1, ::-1].swapaxes(2, 3), 1)
    if use_parities(shape, kernel_KxKxCxD.shape, stride):
        return by_parities(dy_BxHxWxD, kernel_KxKxCxD)
    x = jax.ShapeDtypeStruct(shape, dy_BxHxWxD.dtype)
    return jax.linear_transpose(lambda x: definitions.conv2d(x, kernel_KxKxCxD, stride), x)(dy_BxHxWxD)[0]


def by_parities(dy_BxHxWxD: jax.Array, kernel_3x3xCxD: jax.Array) -> jax.Array:
    """Computes the gradient [B, 2H, 2W, C] of the input of a 3x3 convolution of stride 2.

    Pixel (2h, 2w) was multiplied by the centre of the kernel alone; pixels in odd rows or columns by two of its rows or
    columns, for the outputs h and h + 1. So the four parities are the channels of a 2x2 convolution of the outputs'
    gradient.
    """
    batch, rows, columns, _ = dy_BxHxWxD.shape
    in_channels = kernel_3x3xCxD.shape[2]
    padded = jnp.pad(kernel_3x3xCxD, ((0, 1), (0, 1), (0, 0), (0, 0))).swapaxes(2, 3)  # row and column 3 are 0
    taps = ((1, 2), (3, 0))  # rows of the kernel that multiply an even and an odd pixel: for output h, for h + 1
    kernel = jnp.stack(
        [
            jnp.stack([jnp.concatenate([padded[i, j] for i in taps[a] for j in taps[b]], -1) for b in range(2)])
            for a in range(2)
        ]
    )
    dx = lax.conv_general_dilated(dy_BxHxWxD, kernel, (1, 1), [(0, 1)] * 2, dimension_numbers=definitions.LAYOUT)
    dx = dx.reshape(batch, rows, columns, 2, 2, in_channels).swapaxes(2, 3)
    return dx.reshape(batch, 2 * rows, 2 * columns, in_channels)


def _kernel_gradient(x_BxHxWxC: jax.Array, dy_BxHxWxD: jax.Array, kernel_KxKxCxD: jax.Array, stride: int) -> jax.Array:
    if use_patches(kernel_KxKxCxD.shape, stride):
        size = kernel_KxKxCxD.shape[0]
        return from_patches(x_BxHxWxC, dy_BxHxWxD, size, stride).reshape(kernel_KxKxCxD.shape)
    return over_parts(x_BxHxWxC, dy_BxHxWxD, kernel_KxKxCxD, stride)


def count_parts(output: Shape) -> int:
    """Returns the largest number of equal parts of a batch, with outputs [B, H, W, D], that are not too small."""
    batch, elements = output[0], math.prod(output)
    least_examples, least_elements = (2, 0) if everywhere() else PART
    divisors = [n for n in range(1, batch + 1) if batch % n == 0]
    return max(n for n in divisors if n == 1 or (batch // n >= least_examples and elements // n >= least_elements))


def over_parts(x_BxHxWxC: jax.Array, dy_BxHxWxD: jax.Array, kernel_KxKxCxD: jax.Array, stride: int) -> jax.Array:
    """Computes the gradient of a kernel as a sum over parts of the batch, each small enough for a core's cache.

    XLA computes that gradient as a convolution whose kernel is `dy`, and reads all of `dy` for every block of the
    result.
    """
    batch, parts = dy_BxHxWxD.shape[0], count_parts(dy_BxHxWxD.shape)

    def gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
        return jax.linear_transpose(lambda kernel: definitions.conv2d(x, kernel, stride), kernel_KxKxCxD)(dy)[0]

    x, dy = [array.reshape(parts, batch // parts, *array.shape[1:]) for array in (x_BxHxWxC, dy_BxHxWxD)]
    return sum(gradient(x[i], dy[i]) for i in range(parts))


def from_patches(x_BxHxWxC: jax.Array, dy_BxHxWxD: jax.Array, size: int, stride: int) -> jax.Array:
    """Computes the gradient [K K C, D] of a kernel as one matrix product of all K x K patches of the image with dy."""
    pad, (_, rows, columns, out_channels) = size // 2, dy_BxHxWxD.shape
    padded = jnp.pad(x_BxHxWxC, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    patches = [
        padded[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
        for i in range(size)
        for j in range(size)
    ]
    patches = jnp.concatenate(patches, -1).reshape(-1, size * size * x_BxHxWxC.shape[-1])
    return matmul_tn(patches, dy_BxHxWxD.reshape(-1, out_channels))
