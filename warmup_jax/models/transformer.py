"""Transformers: an encoder-decoder for translation and a decoder for language models.

Sources: Vaswani et al., "Attention Is All You Need", 2017; Radford et al., "Language Models are Unsupervised
Multitask Learners", 2019 (GPT-2). The placements of normalisation have theirs in block.py, the initialisations in
initialisation.py, positions in positions.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax.models.initialisation import stack_scales
from warmup_jax.models.intermediates import ignore
from warmup_jax.models.positions import positions_in_segments
from warmup_jax.models.transformer_base import Stacks
from warmup_jax.models.transformer_config import Settings
from warmup_jax.registry import positive_integer

PROFILE_ROWS = 8  # random rows from which Admin's profiling pass takes its variances
PROFILE_LENGTH = 64  # at most


class Transformer(Stacks):
    """An encoder-decoder: tokens of two rows -> logits float32 [B, T, V].

    Inputs are {"source", "source_segments": int32 [B, S], "target", "target_segments": int32 [B, T]}: the segments
    number the sentences packed in a row from 1, with 0 for padding. A token looks at its own segment only, in
    the source, in the target (where it looks back) and across. Positions restart with each segment.

    Args:
        num_classes: V, the size of the vocabulary of source and target.
        input_shape: (S, T), the lengths of the rows; at most max_positions.
        width: D, of the residual stream.
        heads: H, attention heads; a divisor of the width.
        ffn_width: F, of the hidden layer of the feed-forward networks.
        encoder_depth, decoder_depth: blocks.
        norm: the placement of normalisation: "post", "pre", "peri", "deepnorm", "rezero", "admin" or "none", as
            `Block` has it. "post", "pre" and "peri" also normalise at the end of each stack, so that "post" and
            "pre" share one parameter tree. "deepnorm" and "none" (T-Fixup) scale the initialisation by depth.
        norm_kind: "layer" (LayerNorm) or "rms" (RMSNorm).
        activation: "relu", "gelu" (tanh form) or "swiglu" (gate and up kernels of ffn_width each).
        positions: "sinusoidal" or "learned" (added to the embeddings) or "rotary" (in self-attention).
        max_positions: the longest row.
        bias: whether linear layers and LayerNorms have one.
        tied: whether the embeddings of source and target and the output matrix are one.
        scale_embedding: multiply embeddings by sqrt(D) on the way in.
        init: "xavier" (kernels N(0, 2 / (fan in + fan out)), embeddings and output N(0, 1 / D)) or "gpt2" (all
            N(0, 0.02^2), divided by the root of the number of sublayers in the stack where a branch ends).
        dropout: rate in [0, 1), on the embeddings and on the end of each residual branch.
        qk_norm: normalise queries and keys, head by head.
        attention: "own", or jax.nn.dot_product_attention as "xla" or "cudnn" (fused; a GPU and bfloat16).
        scan_layers: stack the parameters of the blocks and scan over them: a shorter compilation.
        remat: compute the inside of each block again in the backward pass, to save memory.
        dtype: "float32" or "bfloat16", of activations and matrix products. Parameters, softmax, norms and logits
            are always float32.
    """

    def __init__(
        self,
        *,
        num_classes,
        input_shape,
        width,
        heads,
        ffn_width,
        encoder_depth,
        decoder_depth,
        norm,
        norm_kind,
        activation,
        positions,
        max_positions,
        bias,
        tied,
        scale_embedding,
        init,
        dropout,
        qk_norm,
        attention,
        scan_layers,
        remat,
        dtype,
        rngs,
    ):
        settings = Settings(
            width,
            heads,
            ffn_width,
            norm,
            norm_kind,
            activation,
            positions,
            max_positions,
            bias,
            tied,
            scale_embedding,
            init,
            dropout,
            qk_norm,
            attention,
            scan_layers,
            remat,
            dtype,
        )
        sizes = _row_lengths(settings, input_shape, ("source length", "target length"))
        positive_integer("encoder_depth", encoder_depth)
        positive_integer("decoder_depth", decoder_depth)
        scales, factor = stack_scales(settings, encoder_depth, decoder_depth)
        depths = {"encoder": encoder_depth, "decoder": decoder_depth}
        super().__init__(settings, num_classes, depths, scales, factor, rngs)
        if norm == "admin":
            source, target = [random_rows(rngs.params(), size, num_classes) for size in sizes]
            ones = {"source_segments": jnp.ones_like(source), "target_segments": jnp.ones_like(target)}
            self._forward({"source": source, "target": target, **ones}, self.dropout_keys(False, None), self.profile)

    def __call__(self, inputs, *, train, key, note=ignore):
        run = self.run
        if note is not ignore:
            masks = {"encoder": inputs["source_segments"] != 0, "decoder": inputs["target_segments"] != 0}
            run = partial(self.show, note, masks)
        return self.logits(self._forward(inputs, self.dropout_keys(train, key), run))

    def begin(self, inputs, *, batch_size, length):
        memory_BxSxD = self._encode(inputs, (None, None), self.run)
        # What is decoded is the first sentence of a row.
        memory = {"mask": inputs["source_segments"] == 1}
        for i, block in enumerate(self.blocks("decoder")):
            memory[f"decoder_{i}"] = block.cross_attention.kept(memory_BxSxD)
        return memory, self.empty_cache(batch_size, length)

    def step(self, memory, cache, token_B, position):
        memories = [(memory[f"decoder_{i}"], memory["mask"][:, None]) for i in range(len(cache))]
        return self.step_decoder(memories, cache, token_B, position)

    def _forward(self, inputs, keys, run):
        memory_BxSxD = self._encode(inputs, keys["encoder"], run)
        source_BxS, target_BxT = inputs["source_segments"], inputs["target_segments"]
        self.settings.check_length("target length", target_BxT.shape[1])
        positions_BxT = positions_in_segments(target_BxT)
        mask_BxTxT = same_segment(target_BxT, target_BxT) & jnp.tri(target_BxT.shape[1], dtype=bool)
        x_BxTxD = self.embed("decoder", inputs["target"], positions_BxT, keys["decoder"][0])
        context = mask_BxTxT, self.rotation(positions_BxT), memory_BxSxD, same_segment(target_BxT, source_BxS)
        return run("decoder", x_BxTxD, keys["decoder"][1], context)

    def _encode(self, inputs, keys, run):
        segments_BxS = inputs["source_segments"]
        self.settings.check_length("source length", segments_BxS.shape[1])
        positions_BxS = positions_in_segments(segments_BxS)
        x_BxSxD = self.embed("encoder", inputs["source"], positions_BxS, keys[0])
        context = same_segment(segments_BxS, segments_BxS), self.rotation(positions_BxS), None, None
        return run("encoder", x_BxSxD, keys[1], context)


class Decoder(Stacks):
    """A decoder alone, the GPT form: tokens int32 [B, T] -> logits float32 [B, T, V]; a token looks back only.

    Args:
        num_classes: V, the size of the vocabulary.
        input_shape: (T,), the length of a row; at most max_positions.
        depth: blocks.

    The other arguments are those of `Transformer`; `tied` is about the one embedding and the output matrix.
    """

    def __init__(
        self,
        *,
        num_classes,
        input_shape,
        width,
        heads,
        ffn_width,
        depth,
        norm,
        norm_kind,
        activation,
        positions,
        max_positions,
        bias,
        tied,
        scale_embedding,
        init,
        dropout,
        qk_norm,
        attention,
        scan_layers,
        remat,
        dtype,
        rngs,
    ):
        settings = Settings(
            width,
            heads,
            ffn_width,
            norm,
            norm_kind,
            activation,
            positions,
            max_positions,
            bias,
            tied,
            scale_embedding,
            init,
            dropout,
            qk_norm,
            attention,
            scan_layers,
            remat,
            dtype,
        )
        (size,) = _row_lengths(settings, input_shape, ("length",))
        positive_integer("depth", depth)
        scales, factor = stack_scales(settings, None, depth)
        super().__init__(settings, num_classes, {"decoder": depth}, scales, factor, rngs)
        if norm == "admin":
            rows = random_rows(rngs.params(), size, num_classes)
            self._forward(rows, self.dropout_keys(False, None)["decoder"], self.profile)

    def __call__(self, token_BxT, *, train, key, note=ignore):
        run = self.run if note is ignore else partial(self.show, note, {})
        return self.logits(self._forward(token_BxT, self.dropout_keys(train, key)["decoder"], run))

    def begin(self, inputs, *, batch_size, length):
        if inputs is not None:
            raise ValueError("inputs given; allowed for a decoder alone: None (a prompt is fed by `step`)")
        return {}, self.empty_cache(batch_size, length)

    def step(self, memory, cache, token_B, position):
        return self.step_decoder([None] * len(cache), cache, token_B, position)

    def _forward(self, token_BxT, keys, run):
        self.settings.check_length("length", token_BxT.shape[1])
        positions_T = np.arange(token_BxT.shape[1])
        x_BxTxD = self.embed("decoder", token_BxT, positions_T, keys[0])
        return run("decoder", x_BxTxD, keys[1], (None, self.rotation(positions_T), None, None))


def same_segment(query_BxT, key_BxS):
    """bool [B, T, S]: whether both are of one segment, and not padding."""
    return (query_BxT[:, :, None] == key_BxS[:, None, :]) & (key_BxS != 0)[:, None, :]


def random_rows(key, size, num_classes):
    """Tokens for Admin's profiling pass."""
    return jax.random.randint(key, (PROFILE_ROWS, min(size, PROFILE_LENGTH)), 0, num_classes, jnp.int32)


def _row_lengths(settings, input_shape, arguments):
    if len(input_shape) != len(arguments):
        raise ValueError(f"input_shape={input_shape}; allowed: ({', '.join(arguments)})")
    for argument, size in zip(arguments, input_shape):
        settings.check_length(f"{argument} of input_shape", size)
    return input_shape
