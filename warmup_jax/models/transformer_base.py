"""What the Transformer models have in common: stacks of blocks between embeddings and logits."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from warmup_jax.models.attention import nothing_kept
from warmup_jax.models.block import BEFORE, Block
from warmup_jax.models.initialisation import embedding_init
from warmup_jax.models.layers import Norm, drop
from warmup_jax.models.positions import rotation, sinusoids
from warmup_jax.registry import positive_integer


class Embedding(nnx.Module):
    """A vector for each of `count` indices."""

    def __init__(self, count, width, init, rngs):
        self.embedding = nnx.Param(init(rngs.params(), (count, width), jnp.float32))

    def __call__(self, index):
        return self.embedding[...][index]


class Head(nnx.Module):
    """The output matrix [D, V] of a model whose embeddings are not tied to it."""

    def __init__(self, width, num_classes, init, rngs):
        self.kernel = nnx.Param(init(rngs.params(), (width, num_classes), jnp.float32))


class Stacks(nnx.Module):
    """Embeddings, stacks of blocks with their final norms, and logits.

    The stacks are "encoder" and "decoder", or "decoder" alone, and have their embeddings under their names:
    decoder_tokens (one `tokens` where the model has one table), decoder_positions, decoder_0, ..., decoder_norm.
    """

    def __init__(self, settings, num_classes, depths, scales, embedding_factor, rngs):
        positive_integer("num_classes", num_classes)
        self.settings, self.depths = settings, tuple(depths.items())
        width, init = settings.width, embedding_init(settings)
        tables = ["tokens"] if settings.tied or len(depths) == 1 else [f"{name}_tokens" for name in depths]
        for name in tables:
            setattr(self, name, Embedding(num_classes, width, embedding_init(settings, embedding_factor), rngs))
        if not settings.tied:
            self.head = Head(width, num_classes, init, rngs)
        for name, depth in depths.items():
            if settings.positions == "learned":
                setattr(self, f"{name}_positions", Embedding(settings.max_positions, width, init, rngs))
            cross = name == "decoder" and len(depths) == 2
            self._add_stack(name, depth, lambda key: Block(settings, scales[name], cross, nnx.Rngs(params=key)), rngs)
            if settings.norm in ("post", *BEFORE):
                setattr(self, f"{name}_norm", Norm(width, settings.norm_kind, settings.bias))

    def _add_stack(self, name, depth, make, rngs):
        """Blocks as children name_0, name_1, ...; with scan_layers one child with a leading axis of layers."""
        graphs = []

        def params_of(key):
            graph, params = nnx.split(make(key))
            graphs.append(graph)
            return nnx.to_pure_dict(params)

        # Mapped, also if the blocks come apart again: the random numbers compile once for all of them.
        stacked = jax.vmap(params_of)(jax.random.split(rngs.params(), depth))
        if self.settings.scan_layers:
            setattr(self, name, nnx.merge(graphs[0], stacked))
            return
        for i in range(depth):
            setattr(self, f"{name}_{i}", nnx.merge(graphs[0], jax.tree.map(lambda leaf: leaf[i], stacked)))

    @property
    def relu(self):
        return self.settings.activation == "relu"

    def blocks(self, name):
        """Each block of a stack as a module of its own."""
        if not self.settings.scan_layers:
            return [getattr(self, f"{name}_{i}") for i in range(dict(self.depths)[name])]
        graph, params = self.stacked(name)
        return [nnx.merge(graph, jax.tree.map(lambda leaf: leaf[i], params)) for i in range(dict(self.depths)[name])]

    def stacked(self, name):
        """(the graph of one block, the parameters of all of them with a leading axis of layers)."""
        if self.settings.scan_layers:
            graph, params = nnx.split(getattr(self, name))
            return graph, nnx.to_pure_dict(params)
        graphs, params = zip(*[nnx.split(block) for block in self.blocks(name)])
        return graphs[0], jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(nnx.to_pure_dict, params))

    def run(self, name, x_BxTxD, keys, context):
        """The stream after a stack and its final norm.

        Args:
            name: of the stack.
            x_BxTxD: the stream before it.
            keys: [N, 3], for the dropout of each block's sublayers, or None.
            context: what each block takes beside the stream and its keys.
        """

        def layer(x_BxTxD, graph, params, keys):
            return nnx.merge(graph, params)(x_BxTxD, keys, *context)

        if self.settings.remat:
            layer = jax.checkpoint(layer, prevent_cse=not self.settings.scan_layers, static_argnums=1)
        if self.settings.scan_layers:
            graph, params = self.stacked(name)
            x_BxTxD, _ = jax.lax.scan(lambda x, each: (layer(x, graph, *each), None), x_BxTxD, (params, keys))
        else:
            for i, block in enumerate(self.blocks(name)):
                graph, params = nnx.split(block)
                x_BxTxD = layer(x_BxTxD, graph, nnx.to_pure_dict(params), None if keys is None else keys[i])
        return self.end(name, x_BxTxD)

    def show(self, note, masks, name, x_BxTxD, keys, context):
        """What `run` gives, one block after the other, which tell `note` what they make.

        Args:
            note: as seen.py has it.
            masks: {stack: bool [B, T], which tokens are no padding}; a stack that is not in it has none.
            name, x_BxTxD, keys, context: as `run` has them.
        """
        # Neither scanned nor rematerialised: what is noted inside would not outlive the loop.
        for i, block in enumerate(self.blocks(name)):
            note_block = partial(note, f"{name}_{i}")
            x_BxTxD = block(x_BxTxD, None if keys is None else keys[i], *context, note_block)
            note_block("output", x_BxTxD)
            if name in masks:
                note_block("mask", masks[name])
        return self.end(name, x_BxTxD)

    def profile(self, name, x_BxTxD, keys, context):
        """What `run` gives, and sets Admin's omegas from the variances that it meets on the way.

        The first shortcut stays 1. A later one carries a normalised x, and makes its variance that of the sum so
        far without norms: omega^2 = var(input) + var(f_1) + ... of the branches before.
        """

        def layer(x_BxTxD, params):
            variances = []

            def note(kind, value):
                if kind == "branch":
                    variances.append(jnp.var(value.astype(jnp.float32)))

            return nnx.merge(graph, params)(x_BxTxD, keys, *context, note), jnp.stack(variances)

        graph, params = self.stacked(name)
        x_out_BxTxD, branches_NxU = jax.lax.scan(layer, x_BxTxD, params)
        before_M = jnp.var(x_BxTxD.astype(jnp.float32)) + jnp.cumsum(branches_NxU) - branches_NxU.ravel()
        omega_NxUxD = jnp.broadcast_to(jnp.sqrt(before_M).at[0].set(1.0).reshape(*branches_NxU.shape, 1),
                                       (*branches_NxU.shape, self.settings.width))  # fmt: skip
        scanned = self.settings.scan_layers
        blocks = [(getattr(self, name), omega_NxUxD)] if scanned else zip(self.blocks(name), omega_NxUxD)
        for block, omega in blocks:
            for i, sublayer in enumerate(block.sublayers):
                getattr(block, f"{sublayer}_shortcut").scale[...] = omega[..., i, :]
        return self.end(name, x_out_BxTxD)

    def end(self, name, x_BxTxD):
        return getattr(self, f"{name}_norm")(x_BxTxD) if hasattr(self, f"{name}_norm") else x_BxTxD

    def embed(self, name, tokens_BxL, positions, key):
        """Embeddings [B, L, D] in the dtype of computation; `positions` has shape [L] or [B, L]."""
        settings = self.settings
        tokens = getattr(self, "tokens" if hasattr(self, "tokens") else f"{name}_tokens")
        x_BxLxD = settings.embedding_scale * tokens(tokens_BxL)
        if settings.positions == "sinusoidal":
            x_BxLxD = x_BxLxD + jnp.asarray(sinusoids(settings.max_positions, settings.width))[positions]
        if settings.positions == "learned":
            x_BxLxD = x_BxLxD + getattr(self, f"{name}_positions")(positions)
        return drop(x_BxLxD.astype(settings.compute_dtype), settings.dropout, key)

    def rotation(self, positions):
        return rotation(positions, self.settings.head_width) if self.settings.positions == "rotary" else None

    def logits(self, x_BxTxD):
        """float32 [B, T, V]."""
        if self.settings.tied:
            pattern, matrix = "BTD,VD->BTV", self.tokens.embedding[...]
        else:
            pattern, matrix = "BTD,DV->BTV", self.head.kernel[...]
        return jnp.einsum(pattern, x_BxTxD, matrix.astype(x_BxTxD.dtype), preferred_element_type=jnp.float32)

    def dropout_keys(self, train, key):
        """For each stack (key of the embeddings, keys [N, 3]); (None, None) without dropout."""
        if not train or self.settings.dropout == 0:
            return {name: (None, None) for name, _ in self.depths}
        if key is None:
            raise ValueError(f"key=None; allowed in training with dropout={self.settings.dropout}: a jax.random key")
        keys = jax.random.split(key, 2 * len(self.depths))
        return {name: (keys[2 * i], jax.random.split(keys[2 * i + 1], (depth, 3)))
                for i, (name, depth) in enumerate(self.depths)}  # fmt: skip

    def empty_cache(self, batch_size, length):
        """What `Attention.kept` keeps of `length` positions for each block of the decoder, all 0."""
        self.settings.check_length("length", length)
        nothing = nothing_kept(self.settings, batch_size, length)
        return {f"decoder_{i}": nothing for i in range(dict(self.depths)["decoder"])}

    def step_decoder(self, memories, cache, token_B, position):
        """(logits [B, V] of one position, the longer cache); memories: for each block what its `step` takes."""
        here, cache = jnp.reshape(position, 1), dict(cache)
        x_Bx1xD = self.embed("decoder", token_B[:, None], here, None)
        for i, (block, memory) in enumerate(zip(self.blocks("decoder"), memories)):
            name = f"decoder_{i}"
            x_Bx1xD, cache[name] = block.step(x_Bx1xD, cache[name], position, self.rotation(here), memory)
        return self.logits(self.end("decoder", x_Bx1xD))[:, 0], cache
