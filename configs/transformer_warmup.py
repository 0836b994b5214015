"""An encoder-decoder Transformer, Post-LN and Pre-LN, with and without warmup.

python train.py --config=configs/transformer_warmup.py
  English number words to German ones, four runs at one high rate.
  Measured: exact translations of unseen numbers over 5 seeds: Post-LN 0.0 +-
  0.1 % without and 87.5 +- 5.1 % with warmup, Pre-LN 97.4 +- 1.4 % and 95.2 +-
  5.7 %.

python train.py --config=configs/transformer_warmup.py:multi30k
  Multi30k German to English: the small Pre-LN Transformer of Wu et al. 2021
  (4 + 4 layers of width 128, 2.1 M parameters), 6,000 subwords, linear
  warmup and cosine decay.

python train.py --config=configs/transformer_warmup.py:iwslt
  The sizes of the IWSLT14 experiments (Xiong et al. 2020: width 512, FFN 1024,
  4 heads, 6 + 6 layers, Post-LN), on Multi30k unless --config.dataset.name says otherwise.

python train.py --config=configs/transformer_warmup.py:wmt
  Transformer-base on WMT14 German to English, 25,000 tokens a batch
  (Vaswani et al. 2017) and its inverse square-root schedule. For accelerators.

Add `smoke` for the same in a few steps; `norm=` post, pre, peri, deepnorm,
rezero, admin or none; `optimizer=NAME`; `batch_tokens=N`;
`diagnose=token_variance+norms` to measure why (configs/common.py has their names).
"""

from ml_collections import ConfigDict, config_dict

from configs import common


def get_config(arg=None):
    """`arg`: one of `numbers` (default), `multi30k`, `iwslt`, `wmt`; options as above."""
    chosen = common.parse(
        arg,
        ("numbers", "multi30k", "iwslt", "wmt"),
        norm=(None, common.NORMS),
        optimizer=("adam", tuple(common.OPTIMIZER_ARGS)),
        batch_tokens=(None, int),
    )
    variant = chosen["variant"]
    config = common.base(chosen["optimizer"], chosen["diagnose"])
    config.model = common.TRANSFORMER | dict(
        name="transformer", encoder_depth=6, decoder_depth=6, norm=chosen["norm"] or "post"
    )
    config.dataset = dict(
        task="translation",
        name="number_words",
        data_dir=config_dict.placeholder(str),
        source="en",
        target="de",
        tokenizer="bpe",
        vocab_size=256,
        source_length=48,
        target_length=32,
        packing="pack",
        residency="auto",
        workers=0,
        test_split=config_dict.placeholder(str),
        bleu_tokenizer=config_dict.placeholder(str),
    )
    config.decoding = dict(name="beam", beams=1, length_penalty=0.6, samples=2, examples=config_dict.placeholder(int))
    if chosen["optimizer"] == "adam":
        config.optimizer_args.update(common.ADAM_OF_VASWANI)
    config.batch_size = 16
    config.eval_batch_size = 64

    if variant == "numbers":
        config.num_steps = 500
        config.peak_lr = 4e-3
        config.sweep.warmup_steps = (0, 200)
        if chosen["norm"] is None:
            config.sweep.norm = ("post", "pre")
        config.eval_every, config.checkpoint_every = 100, 250
    else:
        config.model.update(
            norm=chosen["norm"] or "pre", width=128, ffn_width=256, encoder_depth=4, decoder_depth=4, dropout=0.2
        )
        config.dataset.update(
            name="multi30k_translate/de-en",
            source="de",
            target="en",
            vocab_size=6000,
            source_length=128,
            target_length=128,
        )
        config.label_smoothing = 0.1
        config.num_steps = 4000
        config.peak_lr = 3e-3
        config.warmup_steps = 800
        config.schedule = "cosine"
        config.schedule_args = ConfigDict(dict(exponent=1.0))
        config.decoding.beams = 4
        config.log_every, config.eval_every, config.checkpoint_every = 20, 1000, 500
    if variant == "iwslt":
        config.model.update(
            norm=chosen["norm"] or "post", width=512, ffn_width=1024, encoder_depth=6, decoder_depth=6, dropout=0.3
        )
        config.num_steps = 50_000
        config.batch_size = 32
        config.peak_lr = 5e-4
        config.warmup_steps = 4000
        config.schedule = "inverse_sqrt"
        config.schedule_args = ConfigDict(dict(timescale=4000.0))
    if variant == "wmt":
        config.model.update(
            norm=chosen["norm"] or "post",
            width=512,
            heads=8,
            ffn_width=2048,
            encoder_depth=6,
            decoder_depth=6,
            dropout=0.1,
            dtype="bfloat16",
        )
        config.dataset.update(
            name="wmt14_translate/de-en", vocab_size=37_000, source_length=256, target_length=256, workers=8
        )
        config.num_steps = 100_000
        config.peak_lr = 7e-4
        config.warmup_steps = 4000
        config.schedule = "inverse_sqrt"
        config.schedule_args = ConfigDict(dict(timescale=4000.0))
        config.batch_size = 100
        config.log_every, config.eval_every, config.checkpoint_every = 100, 5000, 5000
    if chosen["batch_tokens"]:
        config.batch_size = max(1, chosen["batch_tokens"] // config.dataset.target_length)
    if chosen["smoke"]:
        config.num_steps = 4
        config.batch_size, config.eval_batch_size = 4, 8
        config.model.update(width=32, heads=2, ffn_width=64, encoder_depth=1, decoder_depth=1)
        config.decoding.examples = 8
        config.log_every, config.eval_every, config.checkpoint_every = 1, 2, 2
    return config
