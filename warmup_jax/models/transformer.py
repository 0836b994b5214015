"""Transformers: an encoder-decoder for translation and a decoder for language models.

References:
  Vaswani et al., "Attention Is All You Need", 2017.
  Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (GPT-2).
  block.py has those of the placements of normalisation, initialisation.py and positions.py their own.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from warmup_jax.models.attention import Cache
from warmup_jax.models.block import Context, Memory
from warmup_jax.models.initialisation import stack_scales
from warmup_jax.models.intermediates import Capture
from warmup_jax.models.positions import positions_in_segments
from warmup_jax.models.transformer_base import Forward, TransformerBase
from warmup_jax.models.transformer_config import DecoderConfig, EncoderDecoderConfig

PROFILE_ROWS = 8  # random rows from which Admin's initialisation takes its variances
PROFILE_LENGTH = 64  # at most

Keys = tuple[jax.Array | None, jax.Array | None]  # for the dropout of a stack: of its embeddings, of its blocks


class Transformer(TransformerBase):
    """An encoder-decoder: tokens of two rows -> logits float32 [B, T, V].

    Inputs are {"source", "source_segments": int32 [B, S], "target", "target_segments": int32 [B, T]}: the segments
    number the sentences packed in a row from 1, with 0 for padding. A token attends to its own segment only: to all of
    it in the source and across, to the past in the target. Positions restart with each segment.

    Args:
      config: see `EncoderDecoderConfig`.
      num_classes: V, the size of the vocabulary of source and target.
      input_shape: (S, T), the lengths of the rows; at most max_positions.
      rngs: of the initial parameters.
    """

    config_class = EncoderDecoderConfig

    def __init__(self, config: EncoderDecoderConfig, *, num_classes: int, input_shape: tuple[int, ...], rngs: nnx.Rngs):
        config.check_row_lengths(input_shape, ("source length", "target length"))
        depths = {"encoder": config.encoder_depth, "decoder": config.decoder_depth}
        scales, factor = stack_scales(config, config.encoder_depth, config.decoder_depth)
        super().__init__(config, num_classes, depths, scales, factor, rngs)
        if config.norm == "admin":
            source, target = [random_rows(rngs.params(), length, num_classes) for length in input_shape]
            segments = {"source_segments": jnp.ones_like(source), "target_segments": jnp.ones_like(target)}
            inputs = {"source": source, "target": target, **segments}
            self._forward(inputs, self.dropout_keys(False, None), self.admin_init)

    def __call__(
        self,
        inputs: Mapping[str, jax.Array],
        *,
        train: bool,
        key: jax.Array | None,
        capture: Capture | None = None,
    ) -> jax.Array:
        forward = self.forward
        if capture is not None:
            masks = {"encoder": inputs["source_segments"] != 0, "decoder": inputs["target_segments"] != 0}
            forward = self.forward_with_intermediates(capture, masks)
        return self.logits(self._forward(inputs, self.dropout_keys(train, key), forward))

    def begin(
        self, inputs: Mapping[str, jax.Array], *, batch_size: int, length: int
    ) -> tuple[dict[str, Any], dict[str, Cache]]:
        """Returns (what decoding keeps of the encoder, an empty cache); see `models.Model`."""
        memory_BxSxD = self._encode(inputs, (None, None), self.forward)
        memory = {"mask": inputs["source_segments"] == 1}  # the first sentence of a row is decoded
        for i, block in enumerate(self.blocks("decoder")):
            memory[f"decoder_{i}"] = block.cross_attention.kv_cache(memory_BxSxD)
        return memory, self.empty_cache(batch_size, length)

    def step(
        self, memory: Mapping[str, Any], cache: Mapping[str, Cache], token_B: jax.Array, position: jax.Array
    ) -> tuple[jax.Array, dict[str, Cache]]:
        """Returns (logits [B, V] after the token at `position`, the cache with it); see `models.Model`."""
        memories = [Memory(memory[f"decoder_{i}"], memory["mask"][:, None]) for i in range(len(cache))]
        return self.step_decoder(memories, cache, token_B, position)

    def _forward(self, inputs: Mapping[str, jax.Array], keys: Mapping[str, Keys], forward: Forward) -> jax.Array:
        memory_BxSxD = self._encode(inputs, keys["encoder"], forward)
        source_BxS, target_BxT = inputs["source_segments"], inputs["target_segments"]
        self.config.check_length("target length", target_BxT.shape[1])
        positions_BxT = positions_in_segments(target_BxT)
        mask_BxTxT = same_segment(target_BxT, target_BxT) & jnp.tri(target_BxT.shape[1], dtype=bool)
        x_BxTxD = self.embed("decoder", inputs["target"], positions_BxT, keys["decoder"][0])
        rotation, mask_BxTxS = self.rotation(positions_BxT), same_segment(target_BxT, source_BxS)
        return forward("decoder", x_BxTxD, keys["decoder"][1], Context(mask_BxTxT, rotation, memory_BxSxD, mask_BxTxS))

    def _encode(self, inputs: Mapping[str, jax.Array], keys: Keys, forward: Forward) -> jax.Array:
        segments_BxS = inputs["source_segments"]
        self.config.check_length("source length", segments_BxS.shape[1])
        positions_BxS = positions_in_segments(segments_BxS)
        x_BxSxD = self.embed("encoder", inputs["source"], positions_BxS, keys[0])
        context = Context(same_segment(segments_BxS, segments_BxS), self.rotation(positions_BxS))
        return forward("encoder", x_BxSxD, keys[1], context)


class Decoder(TransformerBase):
    """A decoder alone, the GPT form: tokens int32 [B, T] -> logits float32 [B, T, V]; a token attends to the past only.

    Args:
      config: see `DecoderConfig`.
      num_classes: V, the size of the vocabulary.
      input_shape: (T,), the length of a row; at most max_positions.
      rngs: of the initial parameters.
    """

    config_class = DecoderConfig

    def __init__(self, config: DecoderConfig, *, num_classes: int, input_shape: tuple[int, ...], rngs: nnx.Rngs):
        config.check_row_lengths(input_shape, ("length",))
        scales, factor = stack_scales(config, None, config.depth)
        super().__init__(config, num_classes, {"decoder": config.depth}, scales, factor, rngs)
        if config.norm == "admin":
            rows = random_rows(rngs.params(), input_shape[0], num_classes)
            self._forward(rows, self.dropout_keys(False, None)["decoder"], self.admin_init)

    def __call__(
        self, token_BxT: jax.Array, *, train: bool, key: jax.Array | None, capture: Capture | None = None
    ) -> jax.Array:
        forward = self.forward if capture is None else self.forward_with_intermediates(capture, {})
        return self.logits(self._forward(token_BxT, self.dropout_keys(train, key)["decoder"], forward))

    def begin(self, inputs: None, *, batch_size: int, length: int) -> tuple[dict[str, Any], dict[str, Cache]]:
        """Returns ({}, an empty cache); see `models.Model`."""
        if inputs is not None:
            raise ValueError("inputs given; allowed for a decoder alone: None (a prompt is fed by `step`)")
        return {}, self.empty_cache(batch_size, length)

    def step(
        self, memory: Mapping[str, Any], cache: Mapping[str, Cache], token_B: jax.Array, position: jax.Array
    ) -> tuple[jax.Array, dict[str, Cache]]:
        """Returns (logits [B, V] after the token at `position`, the cache with it); see `models.Model`."""
        return self.step_decoder([None] * len(cache), cache, token_B, position)

    def _forward(self, token_BxT: jax.Array, keys: Keys, forward: Forward) -> jax.Array:
        self.config.check_length("length", token_BxT.shape[1])
        positions_T = np.arange(token_BxT.shape[1])
        x_BxTxD = self.embed("decoder", token_BxT, positions_T, keys[0])
        return forward("decoder", x_BxTxD, keys[1], Context(None, self.rotation(positions_T)))


def same_segment(query_BxT: jax.Array, key_BxS: jax.Array) -> jax.Array:
    """Returns bool [B, T, S], True where both are of one segment and not padding."""
    return (query_BxT[:, :, None] == key_BxS[:, None, :]) & (key_BxS != 0)[:, None, :]


def random_rows(key: jax.Array, length: int, num_classes: int) -> jax.Array:
    """Returns random tokens for Admin's initialisation."""
    return jax.random.randint(key, (PROFILE_ROWS, min(length, PROFILE_LENGTH)), 0, num_classes, jnp.int32)
