"""3x3 convolutions with 16 in the place of 36 multiplications for every 2x2 outputs.

Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2015: F(2x2, 3x3).

With a 4x4 tile d of the padded image, a kernel g and the 2x2 outputs y of the tile:
    y = A' [(G g G') * (B' d B)] A        (' transposes, * is elementwise, and sums over incoming channels)
Each of the 16 elements is a matrix product over all tiles, [T, C] [C, D]; the rest is additions. The gradients are the
adjoints of the same three maps, so they save as much. In float32 the results differ from those of the plain sums by
about 1e-6 of the largest.

A grid is a nested list, grid[i][j] the array of row i and column j of a tile; T = B ceil(H / 2) ceil(W / 2).
"""

import jax.numpy as jnp
from jax import lax


def convolve(x_BxHxWxC, kernel_3x3xCxD):
    """The convolution of stride 1, the image padded by a pixel of zeros on each side: [B, H, W, D]."""
    products = _zip(jnp.matmul, _image_to_tiles(x_BxHxWxC), _kernel_to_tiles(kernel_3x3xCxD))
    return _join(_both(_a_adjoint, _a_adjoint, products), x_BxHxWxC.shape)


def gradients(x_BxHxWxC, kernel_3x3xCxD, dy_BxHxWxD):
    """The gradients of image and kernel from that of `convolve`."""
    d_products = _both(_a, _a, _split(dy_BxHxWxD))
    d_image = _zip(lambda d, kernel: d @ kernel.T, d_products, _kernel_to_tiles(kernel_3x3xCxD))
    d_kernel = _zip(lambda image, d: image.T @ d, _image_to_tiles(x_BxHxWxC), d_products)
    batch, height, width, channels = x_BxHxWxC.shape
    d_image = [[d.reshape(batch, -(-height // 2), -(-width // 2), channels) for d in row] for row in d_image]
    dx_BxHxWxC = _join(_both(_overlap(1), _overlap(2), d_image), x_BxHxWxC.shape)
    return dx_BxHxWxC, jnp.stack([jnp.stack(row) for row in _both(_g_adjoint, _g_adjoint, d_kernel)])


def _image_to_tiles(x_BxHxWxC):
    """B' d B of every tile: a 4x4 grid of [T, C]."""
    _, height, width, channels = x_BxHxWxC.shape
    padded = jnp.pad(x_BxHxWxC, ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0)))
    tiles = [[padded[:, i:i + height:2, j:j + width:2] for j in range(4)] for i in range(4)]
    return [[u.reshape(-1, channels) for u in row] for row in _both(_b_adjoint, _b_adjoint, tiles)]


def _kernel_to_tiles(kernel_3x3xCxD):
    """G g G': a 4x4 grid of [C, D]."""
    return _both(_g, _g, kernel_3x3xCxD)


def _both(along_columns, along_rows, grid):
    """A grid after a map of each column's elements, then one of each row's."""
    columns = [along_columns(column) for column in zip(*grid)]
    return [along_rows(row) for row in zip(*columns)]


def _zip(function, grid, other):
    return [[function(a, b) for a, b in zip(row, others)] for row, others in zip(grid, other)]


def _a(y):
    return y[0], y[0] + y[1], y[0] - y[1], -y[1]


def _a_adjoint(m):
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]


def _b_adjoint(d):
    return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]


def _b(u):
    return u[0], u[1] - u[2] + u[3], u[1] + u[2] - u[0], -u[3]


def _g(g):
    mean, half = (g[0] + g[2]) / 2, g[1] / 2
    return g[0], mean + half, mean - half, g[2]


def _g_adjoint(v):
    mean = (v[1] + v[2]) / 2
    return v[0] + mean, (v[1] - v[2]) / 2, v[3] + mean


def _overlap(axis):
    """The adjoint of cutting tiles along an axis: neighbours share two pixels, whose gradients add up.

    Of the two pixels at the place of tile t, the first is the second of tile t and the last of the one before, the
    other is the third of tile t and the first of the one after.
    """
    def add(u):
        first, second, third, last = _b(u)
        return second + _moved(last, axis, -1), third + _moved(first, axis, 1)
    return add


def _moved(x, axis, step):
    """x at the place `step` further along an axis, 0 beyond its end."""
    length = x.shape[axis]
    beyond = jnp.zeros_like(lax.slice_in_dim(x, 0, 1, axis=axis))
    if step > 0:
        return jnp.concatenate([lax.slice_in_dim(x, 1, length, axis=axis), beyond], axis)
    return jnp.concatenate([beyond, lax.slice_in_dim(x, 0, length - 1, axis=axis)], axis)


def _split(y_BxHxWxD):
    """A 2x2 grid of [T, D]: the pixels by the parity of their row and column, 0 beyond an odd edge.

    There is a row of zeros more than that takes: XLA stores what is padded, and would compute y again for each of the
    sixteen products if all that became of it were these slices.
    """
    _, height, width, channels = y_BxHxWxD.shape
    even = height + height % 2
    padded = jnp.pad(y_BxHxWxD, ((0, 0), (0, even + 1 - height), (0, width % 2), (0, 0)))
    return [[padded[:, i:even:2, j::2].reshape(-1, channels) for j in range(2)] for i in range(2)]


def _join(grid, shape):
    """The image [B, H, W, D] from a 2x2 grid of [T, D]; `shape` has its B, H and W."""
    batch, height, width, _ = shape
    rows, columns = -(-height // 2), -(-width // 2)
    pairs = [jnp.stack([y.reshape(batch, rows, columns, -1) for y in row], 3) for row in grid]
    lines = jnp.stack([pair.reshape(batch, rows, 2 * columns, -1) for pair in pairs], 2)
    return lines.reshape(batch, 2 * rows, 2 * columns, -1)[:, :height, :width]
