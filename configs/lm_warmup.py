"""A decoder-only Transformer on text, with and without warmup.

python train.py --config=configs/lm_warmup.py
  Post-LN on the characters of the Python documentation, rate 6e-3: without
  warmup it stays at the unigram loss, with 200 updates of it it learns.
  Measured: test loss of one seed 3.20 without and 2.08 with warmup; 3.26 is
  that of a model that ignores its input.

python train.py --config=configs/lm_warmup.py:norm=pre
  Pre-LN learns either way.
  Measured: test loss of one seed 1.95 without and 1.93 with warmup.

python train.py --config=configs/lm_warmup.py:shakespeare
  A character model of Shakespeare, the sizes of nanoGPT's small one: 6 layers
  of width 384, context 256, Pre-LN, AdamW.

python train.py --config=configs/lm_warmup.py:gpt2
  GPT-2 small, 124 M parameters, context 1024, half a million tokens a batch, on
  the text set that --config.dataset.name gives. For accelerators.

Add `smoke` for the same in a few steps; `norm=` post, pre, peri, deepnorm,
rezero, admin or none; `optimizer=NAME`; `batch_tokens=N`;
`diagnose=token_variance+norms` to measure why (configs/common.py has their names).
"""

from configs import common


def get_config(arg=None):
    """`arg`: one of `pydoc` (default), `shakespeare`, `gpt2`; options as above."""
    chosen = common.parse(
        arg,
        ("pydoc", "shakespeare", "gpt2"),
        norm=(None, common.NORMS),
        optimizer=(None, tuple(common.OPTIMIZER_ARGS)),
        batch_tokens=(None, int),
    )
    variant = chosen["variant"]
    optimizer = chosen["optimizer"] or ("adam" if variant == "pydoc" else "adamw")
    config = common.base(optimizer, chosen["diagnose"])
    config.model = common.TRANSFORMER | dict(name="decoder", depth=6, norm=chosen["norm"] or "post")
    config.dataset = common.pydoc()
    config.decoding = dict(name="sample", length=24, temperature=0.8, samples=2, examples=2)
    if optimizer == "adam":
        config.optimizer_args.update(common.ADAM_OF_VASWANI)
    config.batch_size = 16
    config.eval_batch_size = 256

    if variant == "pydoc":
        config.num_steps = 400
        config.peak_lr = 6e-3
        config.sweep.warmup_steps = (0, 200)
        config.eval_every, config.checkpoint_every = 100, 200
    else:
        config.model.update(
            norm=chosen["norm"] or "pre", activation="gelu", positions="learned", scale_embedding=False, init="gpt2"
        )
        config.schedule = "cosine"
        config.schedule_args.exponent = 1.0
        if optimizer == "adamw":
            config.optimizer_args.update(weight_decay=0.1, clip_norm=1.0)
    if variant == "shakespeare":
        config.model.update(width=384, heads=6, ffn_width=1536, depth=6, dropout=0.2, bias=False)
        config.dataset.update(name="tiny_shakespeare", length=256, prompt_length=16)
        config.decoding.length = 200
        config.num_steps = 5000
        config.peak_lr, config.end_lr = 1e-3, 1e-4
        config.warmup_steps = 100
        config.batch_size, config.eval_batch_size = 64, 64
        config.log_every, config.eval_every, config.checkpoint_every = 20, 500, 500
    if variant == "gpt2":
        config.model.update(width=768, heads=12, ffn_width=3072, depth=12, dtype="bfloat16")
        config.dataset.update(
            name="wikipedia/20230601.en", tokenizer="bpe", vocab_size=50_257, length=1024, prompt_length=32, workers=8
        )
        config.decoding.length = 200
        config.num_steps = 100_000
        config.peak_lr, config.end_lr = 6e-4, 6e-5
        config.warmup_steps = 2000
        config.batch_size, config.eval_batch_size = 480, 32
        config.log_every, config.eval_every, config.checkpoint_every = 100, 2000, 2000
    if chosen["batch_tokens"]:
        config.batch_size = max(1, chosen["batch_tokens"] // config.dataset.length)
    if chosen["smoke"]:
        config.num_steps = 4
        config.batch_size, config.eval_batch_size = 4, 256
        config.model.update(width=32, heads=2, ffn_width=64, depth=1)
        config.dataset.length = 32
        config.decoding.length = 16
        config.log_every, config.eval_every, config.checkpoint_every = 1, 2, 2
    return config
