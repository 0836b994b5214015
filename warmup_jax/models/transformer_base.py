"""The common part of the Transformer models: stacks of blocks between embeddings and logits."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from warmup_jax.models.attention import Cache, empty_cache
from warmup_jax.models.block import BEFORE, Block, Context, Memory
from warmup_jax.models.initialisation import StackScales, embedding_init
from warmup_jax.models.intermediates import Capture, record, within
from warmup_jax.models.layers import Norm, dropout
from warmup_jax.models.positions import Rotation, rotation, sinusoids
from warmup_jax.models.transformer_config import TransformerConfig
from warmup_jax.registry import positive_integer

# (stack, stream, keys of its dropout, context) -> the stream after the stack; `TransformerBase.forward` is one.
Forward = Callable[[str, jax.Array, jax.Array | None, Context], jax.Array]


class Embedding(nnx.Module):
    """A vector for each of `count` indices."""

    def __init__(self, count: int, width: int, init: jax.nn.initializers.Initializer, rngs: nnx.Rngs):
        self.embedding = nnx.Param(init(rngs.params(), (count, width), jnp.float32))

    def __call__(self, index: jax.Array) -> jax.Array:
        return self.embedding[...][index]


class Head(nnx.Module):
    """The output matrix [D, V] of a model whose embeddings are not tied to it."""

    def __init__(self, width: int, num_classes: int, init: jax.nn.initializers.Initializer, rngs: nnx.Rngs):
        self.kernel = nnx.Param(init(rngs.params(), (width, num_classes), jnp.float32))


class TransformerBase(nnx.Module):
    """Embeddings, stacks of blocks with their final norms, and logits.

    The stacks are "encoder" and "decoder", or "decoder" alone. Parameters are named by their stack: decoder_tokens (one
    `tokens` if the model has a single table), decoder_positions, decoder_0, ..., decoder_norm.
    """

    def __init__(
        self,
        config: TransformerConfig,
        num_classes: int,
        depths: Mapping[str, int],
        scales: Mapping[str, StackScales],
        embedding_factor: float,
        rngs: nnx.Rngs,
    ):
        positive_integer("num_classes", num_classes)
        self.config, self.depths = config, tuple(depths.items())
        width, init = config.width, embedding_init(config)
        tables = ["tokens"] if config.tied or len(depths) == 1 else [f"{name}_tokens" for name in depths]
        for name in tables:
            setattr(self, name, Embedding(num_classes, width, embedding_init(config, embedding_factor), rngs))
        if not config.tied:
            self.head = Head(width, num_classes, init, rngs)
        for name, depth in depths.items():
            if config.positions == "learned":
                setattr(self, f"{name}_positions", Embedding(config.max_positions, width, init, rngs))
            cross = name == "decoder" and len(depths) == 2
            self._add_stack(name, depth, partial(_make_block, config, scales[name], cross), rngs)
            if config.norm in ("post", *BEFORE):
                setattr(self, f"{name}_norm", Norm(width, config.norm_kind, config.bias))

    def _add_stack(self, name: str, depth: int, make: Callable[[jax.Array], Block], rngs: nnx.Rngs) -> None:
        """Adds blocks as children name_0, name_1, ...; with scan_layers as one child with a leading axis of layers."""
        graphs = []

        def params_of(key: jax.Array) -> Any:
            graph, params = nnx.split(make(key))
            graphs.append(graph)
            return nnx.to_pure_dict(params)

        # Mapped even if the blocks are taken apart again, so that the random numbers compile once for all of them.
        stacked = jax.vmap(params_of)(jax.random.split(rngs.params(), depth))
        if self.config.scan_layers:
            setattr(self, name, nnx.merge(graphs[0], stacked))
            return
        for i in range(depth):
            setattr(self, f"{name}_{i}", nnx.merge(graphs[0], _layer(stacked, i)))

    @property
    def relu(self) -> bool:
        """True if the blocks have ReLU units."""
        return self.config.activation == "relu"

    def blocks(self, name: str) -> list[Block]:
        """Returns each block of a stack as a module of its own."""
        if not self.config.scan_layers:
            return [getattr(self, f"{name}_{i}") for i in range(dict(self.depths)[name])]
        graph, params = self.stacked(name)
        return [nnx.merge(graph, _layer(params, i)) for i in range(dict(self.depths)[name])]

    def stacked(self, name: str) -> tuple[Any, Any]:
        """Returns (the graph of one block, the parameters of all of them with a leading axis of layers)."""
        if self.config.scan_layers:
            graph, params = nnx.split(getattr(self, name))
            return graph, nnx.to_pure_dict(params)
        split = [nnx.split(block) for block in self.blocks(name)]
        params = [nnx.to_pure_dict(params) for _, params in split]
        return split[0][0], jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)

    def forward(self, name: str, x_BxTxD: jax.Array, keys: jax.Array | None, context: Context) -> jax.Array:
        """Returns the stream after a stack and its final norm.

        Args:
          name: of the stack.
          x_BxTxD: the stream before it.
          keys: [N, 3], for the dropout of each block's sublayers, or None.
          context: what each block takes in addition.
        """

        def layer(x_BxTxD: jax.Array, graph: Any, params: Any, keys: jax.Array | None) -> jax.Array:
            return nnx.merge(graph, params)(x_BxTxD, keys, context)

        if self.config.remat:
            layer = jax.checkpoint(layer, prevent_cse=not self.config.scan_layers, static_argnums=1)
        if self.config.scan_layers:
            graph, params = self.stacked(name)
            x_BxTxD, _ = jax.lax.scan(lambda x, each: (layer(x, graph, *each), None), x_BxTxD, (params, keys))
        else:
            for i, block in enumerate(self.blocks(name)):
                graph, params = nnx.split(block)
                x_BxTxD = layer(x_BxTxD, graph, nnx.to_pure_dict(params), None if keys is None else keys[i])
        return self.final_norm(name, x_BxTxD)

    def forward_with_intermediates(self, capture: Capture | None, masks: Mapping[str, jax.Array]) -> Forward:
        """Returns a `forward` that calls `capture` with the activations of each block, one block after the other.

        Args:
          capture: see intermediates.py.
          masks: {stack: bool [B, T], True for tokens that are no padding}, without stacks that have no padding.
        """

        # Neither scanned nor rematerialised: activations captured inside a loop cannot leave it.
        def forward(name: str, x_BxTxD: jax.Array, keys: jax.Array | None, context: Context) -> jax.Array:
            for i, block in enumerate(self.blocks(name)):
                capture_block = within(capture, f"{name}_{i}")
                x_BxTxD = block(x_BxTxD, None if keys is None else keys[i], context, capture_block)
                record(capture_block, "output", x_BxTxD)
                if name in masks:
                    record(capture_block, "mask", masks[name])
            return self.final_norm(name, x_BxTxD)

        return forward

    def admin_init(self, name: str, x_BxTxD: jax.Array, keys: jax.Array | None, context: Context) -> jax.Array:
        """Returns what `forward` returns, and sets Admin's omegas from the variances of the branches.

        The first shortcut stays 1. A later one multiplies a normalised x, and gives it the variance that the residual
        sum so far would have without norms: omega^2 = var(input) + var(f_1) + ... of the branches before.
        """

        def layer(x_BxTxD: jax.Array, params: Any) -> tuple[jax.Array, jax.Array]:
            variances = []

            def capture(path: str, value: jax.Array) -> None:
                if path == "branch":
                    variances.append(jnp.var(value.astype(jnp.float32)))

            return nnx.merge(graph, params)(x_BxTxD, keys, context, capture), jnp.stack(variances)

        graph, params = self.stacked(name)
        x_out_BxTxD, branches_NxU = jax.lax.scan(layer, x_BxTxD, params)
        before_M = jnp.var(x_BxTxD.astype(jnp.float32)) + jnp.cumsum(branches_NxU) - branches_NxU.ravel()
        omega_NxUx1 = jnp.sqrt(before_M).at[0].set(1.0).reshape(*branches_NxU.shape, 1)
        omega_NxUxD = jnp.broadcast_to(omega_NxUx1, (*branches_NxU.shape, self.config.width))
        scanned = self.config.scan_layers
        blocks = [(getattr(self, name), omega_NxUxD)] if scanned else zip(self.blocks(name), omega_NxUxD)
        for block, omega in blocks:
            for i, sublayer in enumerate(block.sublayers):
                getattr(block, f"{sublayer}_shortcut").scale[...] = omega[..., i, :]
        return self.final_norm(name, x_out_BxTxD)

    def final_norm(self, name: str, x_BxTxD: jax.Array) -> jax.Array:
        """Applies the norm at the end of a stack, if it has one."""
        return getattr(self, f"{name}_norm")(x_BxTxD) if hasattr(self, f"{name}_norm") else x_BxTxD

    def embed(
        self, name: str, tokens_BxL: jax.Array, positions: jax.Array | np.ndarray, key: jax.Array | None
    ) -> jax.Array:
        """Returns embeddings [B, L, D] in the dtype of computation; `positions` has shape [L] or [B, L]."""
        config = self.config
        tokens = getattr(self, "tokens" if hasattr(self, "tokens") else f"{name}_tokens")
        x_BxLxD = config.embedding_scale * tokens(tokens_BxL)
        if config.positions == "sinusoidal":
            x_BxLxD = x_BxLxD + jnp.asarray(sinusoids(config.max_positions, config.width))[positions]
        if config.positions == "learned":
            x_BxLxD = x_BxLxD + getattr(self, f"{name}_positions")(positions)
        return dropout(x_BxLxD.astype(config.compute_dtype), config.dropout, key)

    def rotation(self, positions: jax.Array | np.ndarray) -> Rotation | None:
        """Returns the rotation of positions [L] or [B, L], or None unless positions are rotary."""
        return rotation(positions, self.config.head_width) if self.config.positions == "rotary" else None

    def logits(self, x_BxTxD: jax.Array) -> jax.Array:
        """Returns float32 [B, T, V]."""
        if self.config.tied:
            pattern, matrix = "BTD,VD->BTV", self.tokens.embedding[...]
        else:
            pattern, matrix = "BTD,DV->BTV", self.head.kernel[...]
        return jnp.einsum(pattern, x_BxTxD, matrix.astype(x_BxTxD.dtype), preferred_element_type=jnp.float32)

    def dropout_keys(self, train: bool, key: jax.Array | None) -> dict[str, tuple[jax.Array | None, jax.Array | None]]:
        """Returns for each stack (key of the embeddings, keys [N, 3]); (None, None) without dropout."""
        if not train or self.config.dropout == 0:
            return {name: (None, None) for name, _ in self.depths}
        if key is None:
            raise ValueError(f"key=None; allowed in training with dropout={self.config.dropout}: a jax.random key")
        keys = jax.random.split(key, 2 * len(self.depths))
        return {
            name: (keys[2 * i], jax.random.split(keys[2 * i + 1], (depth, 3)))
            for i, (name, depth) in enumerate(self.depths)
        }

    def empty_cache(self, batch_size: int, length: int) -> dict[str, Cache]:
        """Returns the key-value cache of `length` positions for each block of the decoder, all 0."""
        self.config.check_length("length", length)
        empty = empty_cache(self.config, batch_size, length)
        return {f"decoder_{i}": empty for i in range(dict(self.depths)["decoder"])}

    def step_decoder(
        self,
        memories: Sequence[Memory | None],
        cache: Mapping[str, Cache],
        token_B: jax.Array,
        position: jax.Array,
    ) -> tuple[jax.Array, dict[str, Cache]]:
        """Returns (logits [B, V] of one position, the cache with that position).

        Args:
          memories: of each block, or None without an encoder.
          cache: {block: its key-value cache}.
          token_B: the token at the position.
          position: int32 scalar.
        """
        here, cache = jnp.reshape(position, 1), dict(cache)
        x_Bx1xD = self.embed("decoder", token_B[:, None], here, None)
        for i, (block, memory) in enumerate(zip(self.blocks("decoder"), memories)):
            name = f"decoder_{i}"
            x_Bx1xD, cache[name] = block.decode_step(x_Bx1xD, cache[name], position, self.rotation(here), memory)
        return self.logits(self.final_norm("decoder", x_Bx1xD))[:, 0], cache


def _make_block(config: TransformerConfig, scales: StackScales, cross: bool, key: jax.Array) -> Block:
    return Block(config, scales, cross, nnx.Rngs(params=key))


def _layer(stacked: Any, i: int) -> Any:
    """Returns the parameters of one layer from those of all."""
    return jax.tree.map(lambda leaf: leaf[i], stacked)
