"""3x3 convolutions with 16 multiplications instead of 36 for every 2x2 outputs.

With a 4x4 tile d of the padded image, a kernel g and the 2x2 outputs y of the tile:
    y = A' [(G g G') * (B' d B)] A        (' transposes; * multiplies elementwise and sums over input channels)
Each of the 16 elements is a matrix product over all tiles, [T, C] [C, D]; the rest is additions. The gradients are the
adjoints of the same three maps, and save as much. In float32 the results differ from those of the direct sums by about
1e-6 of the largest.

A grid is a nested list: grid[i][j] is the array of row i and column j of a tile, and T = B ceil(H / 2) ceil(W / 2).

References:
  Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2015: F(2x2, 3x3).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Grid = Sequence[Sequence[jax.Array]]
Line = Sequence[jax.Array]

# Along one axis, the pixels of tiles that coincide with the two pixels at a tile's place: (pixel, tiles further).
# A tile has four pixels, shares two of them with the next tile, and the first tile begins in the padding.
COVERED_BY = ((1, 0), (3, -1)), ((2, 0), (0, 1))


def conv2d(x_BxHxWxC: jax.Array, kernel_3x3xCxD: jax.Array) -> jax.Array:
    """Convolves at stride 1, with a pixel of zeros on each side of the image: [B, H, W, D]."""
    products = _multiply_rows(jnp.matmul, _image_to_tiles(x_BxHxWxC), _kernel_to_tiles(kernel_3x3xCxD))
    return _join_pixels(_along_both(_a_adjoint, _a_adjoint, products), x_BxHxWxC.shape)


def gradients(x_BxHxWxC: jax.Array, kernel_3x3xCxD: jax.Array, dy_BxHxWxD: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients of image and kernel from that of the output of `conv2d`."""
    d_products = _along_both(_a, _a, _split_pixels(dy_BxHxWxD))
    d_image = _multiply_rows(lambda d, kernel: d @ kernel.mT, d_products, _kernel_to_tiles(kernel_3x3xCxD))
    d_kernel = _multiply_rows(lambda image, d: image.mT @ d, _image_to_tiles(x_BxHxWxC), d_products)
    return (
        _tiles_to_image(_along_both(_b, _b, d_image), x_BxHxWxC.shape),
        jnp.stack([jnp.stack(row) for row in _along_both(_g_adjoint, _g_adjoint, d_kernel)]),
    )


def _image_to_tiles(x_BxHxWxC: jax.Array) -> Grid:
    """Returns B' d B of every tile: a 4x4 grid of [T, C]."""
    _, height, width, channels = x_BxHxWxC.shape
    padded = jnp.pad(x_BxHxWxC, ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0)))
    tiles = [[padded[:, i : i + height : 2, j : j + width : 2] for j in range(4)] for i in range(4)]
    return [[u.reshape(-1, channels) for u in row] for row in _along_both(_b_adjoint, _b_adjoint, tiles)]


def _kernel_to_tiles(kernel_3x3xCxD: jax.Array) -> Grid:
    """Returns G g G': a 4x4 grid of [C, D]."""
    return _along_both(_g, _g, kernel_3x3xCxD)


def _along_both(along_columns: Callable[[Line], Line], along_rows: Callable[[Line], Line], grid: Any) -> Grid:
    """Maps the elements of each column of a grid, then those of each row."""
    columns = [along_columns(column) for column in zip(*grid)]
    return [along_rows(row) for row in zip(*columns)]


def _multiply_rows(product: Callable[[jax.Array, jax.Array], jax.Array], grid: Grid, other: Grid) -> Grid:
    """Multiplies two grids elementwise by matrix products.

    The products of a row are one batched product: sixteen small ones were most of what XLA compiled for a network.
    """
    return [list(product(jnp.stack(row), jnp.stack(others))) for row, others in zip(grid, other)]


def _a(y: Line) -> Line:
    return y[0], y[0] + y[1], y[0] - y[1], -y[1]


def _a_adjoint(m: Line) -> Line:
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]


def _b_adjoint(d: Line) -> Line:
    return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]


def _b(u: Line) -> Line:
    return u[0], u[1] - u[2] + u[3], u[1] + u[2] - u[0], -u[3]


def _g(g: Line) -> Line:
    mean, half = (g[0] + g[2]) / 2, g[1] / 2
    return g[0], mean + half, mean - half, g[2]


def _g_adjoint(v: Line) -> Line:
    mean = (v[1] + v[2]) / 2
    return v[0] + mean, (v[1] - v[2]) / 2, v[3] + mean


def _tiles_to_image(grid: Grid, shape: tuple[int, ...]) -> jax.Array:
    """Adds the tiles of an image [B, H, W, C], a 4x4 grid of [T, C], up where they overlap: the adjoint of cutting."""
    batch, height, width, channels = shape
    tiles = [[u.reshape(batch, -(-height // 2), -(-width // 2), channels) for u in row] for row in grid]
    pixels = [
        [sum(_shift(tiles[i][j], down, right) for i, down in rows for j, right in columns) for columns in COVERED_BY]
        for rows in COVERED_BY
    ]
    return _join_pixels(pixels, shape)


def _shift(x_BxPxQxC: jax.Array, down: int, right: int) -> jax.Array:
    """Returns the elements that many places further, 0 beyond the edges."""
    return lax.pad(
        x_BxPxQxC, jnp.zeros([], x_BxPxQxC.dtype), [(0, 0, 0), (-down, down, 0), (-right, right, 0), (0, 0, 0)]
    )


def _split_pixels(y_BxHxWxD: jax.Array) -> Grid:
    """Returns a 2x2 grid of [T, D]: the pixels by the parity of row and column, 0 beyond an odd edge.

    The padding has a row of zeros more than that takes. XLA stores a padded array; from slices alone it would compute y
    again in each of the sixteen products.
    """
    _, height, width, channels = y_BxHxWxD.shape
    even = height + height % 2
    padded = jnp.pad(y_BxHxWxD, ((0, 0), (0, even + 1 - height), (0, width % 2), (0, 0)))
    return [[padded[:, i:even:2, j::2].reshape(-1, channels) for j in range(2)] for i in range(2)]


def _join_pixels(grid: Grid, shape: tuple[int, ...]) -> jax.Array:
    """Returns the image [B, H, W, D] from a 2x2 grid of [T, D]; `shape` has its B, H and W."""
    batch, height, width, _ = shape
    rows, columns = -(-height // 2), -(-width // 2)
    pairs = [jnp.stack([y.reshape(batch, rows, columns, -1) for y in row], 3) for row in grid]
    lines = jnp.stack([pair.reshape(batch, rows, 2 * columns, -1) for pair in pairs], 2)
    return lines.reshape(batch, 2 * rows, 2 * columns, -1)[:, :height, :width]
