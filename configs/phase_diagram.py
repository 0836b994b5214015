"""Phase diagrams: where training works, over peak rate x warmup length x seed, and how sharp the loss is there.

python train.py --config=configs/phase_diagram.py
  A fully connected network of 4 layers on digits, full-batch gradient descent
  on the squared error: 8 rates x 6 lengths x 3 seeds, 144 runs of 256 updates.
  Measured: warmups of 0, 4, 16, 32, 64 and 128 updates train up to rates of
  1/32, 1/16, 1/4, 1/2, 1 and 1.

python train.py --config=configs/phase_diagram.py:resnet
  ResNet-8 on digits, SGD with momentum, batches of 128: 144 runs of 100
  updates.
  Measured: trains up to a rate of 4 with any warmup or none.

python train.py --config=configs/phase_diagram.py:transformer
  Post-LN and Pre-LN language models on the characters of the Python
  documentation, one above the other: 80 runs of 400 updates.
  Measured: warmups of 0, 50, 100 and 200 updates train Post-LN up to rates of
  0.001, 0.003, 0.003 and 0.01, Pre-LN up to at least 0.03, at least 0.03, at
  least 0.03 and at least 0.03.

Each writes phase_diagram.png, sweep.csv and the table of largest rates. Axes
change on the command line: --config.sweep.peak_lr="(0.1,0.2)" --config.sweep.seeds=5.
Add `optimizer=NAME` for another optimizer with its usual arguments (and give its
rates), `smoke` for the same in a few steps, `diagnose=gradient_noise+norms` to
measure more (configs/common.py has the names).
"""

from configs import common

FCN = dict(name="fcn", depth=4, width=128, activation="relu", parametrisation="standard", bias=True, dtype="float32")


def get_config(arg=None):
    """`arg`: one of `fcn` (default), `resnet`, `transformer`; options as above."""
    chosen = common.parse(arg, ("fcn", "resnet", "transformer"), optimizer=(None, tuple(common.OPTIMIZER_ARGS)))
    variant = chosen["variant"]
    optimizer = chosen["optimizer"] or ("adam" if variant == "transformer" else "sgd")
    config = common.base(optimizer, chosen["diagnose"])
    config.log_every = 4
    if variant == "fcn":
        config.model = FCN
        config.dataset = common.digits()
        if optimizer == "sgd":
            config.optimizer_args.momentum = 0.0
        config.loss = "mse"
        config.batch_size = 1437  # all of them
        config.num_steps = 256
        config.eval_every, config.checkpoint_every = 64, 256
        config.sweep = dict(peak_lr=tuple(2.0**k for k in range(-6, 2)), warmup_steps=(0, 4, 16, 32, 64, 128), seeds=3)
        # Before the first update, at the end of the warmup and at the end of the run.
        config.diagnostics.sharpness = dict(every=256, until=None, batch="fixed", examples=1437, iterations=10, count=1)
    if variant == "resnet":
        config.model = common.RESNET | dict(depth=8)
        config.dataset = common.digits()
        config.batch_size = 128
        config.num_steps = 100
        config.eval_every, config.checkpoint_every = 50, 100
        config.sweep = dict(peak_lr=tuple(2.0**k for k in range(-3, 5)), warmup_steps=(0, 5, 10, 20, 40, 80), seeds=3)
    if variant == "transformer":
        config.model = common.TRANSFORMER | dict(name="decoder", depth=6, norm="post")
        config.dataset = common.pydoc()
        if optimizer == "adam":
            config.optimizer_args.update(common.ADAM_OF_VASWANI)
        config.batch_size, config.eval_batch_size = 16, 256
        config.num_steps = 400
        config.eval_every, config.checkpoint_every = 200, 400
        config.sweep = dict(
            norm=("post", "pre"), peak_lr=(1e-3, 3e-3, 6e-3, 1e-2, 3e-2), warmup_steps=(0, 50, 100, 200), seeds=2
        )
    if chosen["smoke"]:
        config.num_steps = 4
        config.batch_size = 4
        config.log_every, config.eval_every, config.checkpoint_every = 1, 2, 2
        config.sweep.update(peak_lr=config.sweep.peak_lr[::4], warmup_steps=(0, 2), seeds=2)
        if variant == "fcn":
            config.model.update(width=8, depth=3)
        if variant == "transformer":
            config.model.update(width=32, heads=2, ffn_width=64, depth=1)
    return config
