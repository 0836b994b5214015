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

# Which pixels of tiles the two pixels at the place of a tile are, along one axis: (pixel, how many places further).
# Tiles have four pixels, share two with the next, and begin in the padding.
MET_BY = ((1, 0), (3, -1)), ((2, 0), (0, 1))


def convolve(x_BxHxWxC, kernel_3x3xCxD):
    """The convolution of stride 1, the image padded by a pixel of zeros on each side: [B, H, W, D]."""
    products = _by_rows(jnp.matmul, _image_to_tiles(x_BxHxWxC), _kernel_to_tiles(kernel_3x3xCxD))
    return _join(_both(_a_adjoint, _a_adjoint, products), x_BxHxWxC.shape)


def gradients(x_BxHxWxC, kernel_3x3xCxD, dy_BxHxWxD):
    """The gradients of image and kernel from that of `convolve`."""
    d_products = _both(_a, _a, _split(dy_BxHxWxD))
    d_image = _by_rows(lambda d, kernel: d @ kernel.mT, d_products, _kernel_to_tiles(kernel_3x3xCxD))
    d_kernel = _by_rows(lambda image, d: image.mT @ d, _image_to_tiles(x_BxHxWxC), d_products)
    return (
        _tiles_to_image(_both(_b, _b, d_image), x_BxHxWxC.shape),
        jnp.stack([jnp.stack(row) for row in _both(_g_adjoint, _g_adjoint, d_kernel)]),
    )


def _image_to_tiles(x_BxHxWxC):
    """B' d B of every tile: a 4x4 grid of [T, C]."""
    _, height, width, channels = x_BxHxWxC.shape
    padded = jnp.pad(x_BxHxWxC, ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0)))
    tiles = [[padded[:, i : i + height : 2, j : j + width : 2] for j in range(4)] for i in range(4)]
    return [[u.reshape(-1, channels) for u in row] for row in _both(_b_adjoint, _b_adjoint, tiles)]


def _kernel_to_tiles(kernel_3x3xCxD):
    """G g G': a 4x4 grid of [C, D]."""
    return _both(_g, _g, kernel_3x3xCxD)


def _both(along_columns, along_rows, grid):
    """A grid after a map of each column's elements, then one of each row's."""
    columns = [along_columns(column) for column in zip(*grid)]
    return [along_rows(row) for row in zip(*columns)]


def _by_rows(product, grid, other):
    """The grid of the products of two grids' elements. Those of a row are one for XLA, or most of what it compiles for
    a network would be sixteenths of products."""
    return [list(product(jnp.stack(row), jnp.stack(others))) for row, others in zip(grid, other)]


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


def _tiles_to_image(grid, shape):
    """The adjoint of cutting an image [B, H, W, C] into tiles, a 4x4 grid of [T, C]: where they overlap they add up."""
    batch, height, width, channels = shape
    tiles = [[u.reshape(batch, -(-height // 2), -(-width // 2), channels) for u in row] for row in grid]
    return _join(
        [
            [sum(_moved(tiles[i][j], down, right) for i, down in rows for j, right in columns) for columns in MET_BY]
            for rows in MET_BY
        ],
        shape,
    )


def _moved(x_BxPxQxC, down, right):
    """What is that many places further, 0 beyond the edges."""
    return lax.pad(
        x_BxPxQxC, jnp.zeros([], x_BxPxQxC.dtype), [(0, 0, 0), (-down, down, 0), (-right, right, 0), (0, 0, 0)]
    )


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
