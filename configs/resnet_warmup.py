"""A ResNet at a high learning rate, with and without warmup.

python train.py --config=configs/resnet_warmup.py
  ResNet-20 on scikit-learn's digits (8x8, 1,437 to train on, 360 to test), SGD
  with momentum, peak rate 2, 200 updates, cosine decay: one run without
  warmup and one with 50 updates of it.
  Measured: test accuracy over 5 seeds 42.2 +- 26.2 % without and 96.3 +- 2.7 %
  with warmup.

python train.py --config=configs/resnet_warmup.py:cifar10
  ResNet-20 on CIFAR-10 by the recipe of He et al. 2015: batch 128, rate 0.1
  divided by 10 after 32,000 and 48,000 updates, 164 epochs. For the warmup of
  their ResNet-110: --config.model.depth=110 --config.warmup_steps=400.

python train.py --config=configs/resnet_warmup.py:imagenet,batch_size=1024
  ResNet-50 on ImageNet by the recipe of Goyal et al. 2017: rate 0.1 for every
  256 images of a batch, 5 epochs of gradual warmup from 0.1, divided by 10
  after 30, 60 and 80 of 90 epochs. For accelerators.

Add `smoke` (configs/resnet_warmup.py:cifar10,smoke) for the same in a few steps,
`optimizer=adam` for another optimizer; choose --config.peak_lr for it;
`diagnose=sharpness+norms` to measure why (configs/common.py has their names).
"""

from ml_collections import ConfigDict

from configs import common

IMAGENET_SIZE = 1_281_167  # training images


def get_config(arg=None):
    """`arg`: one of `digits` (default), `cifar10`, `imagenet`; options as above."""
    chosen = common.parse(
        arg, ("digits", "cifar10", "imagenet"), batch_size=(None, int), optimizer=("sgd", tuple(common.OPTIMIZER_ARGS))
    )
    variant = chosen["variant"]
    config = common.base(chosen["optimizer"], chosen["diagnose"])
    config.batch_size = chosen["batch_size"] or {"digits": 128, "cifar10": 128, "imagenet": 1024}[variant]
    config.model = common.RESNET
    config.dataset = common.digits()
    config.optimizer_args.weight_decay = 1e-4
    config.peak_lr = 2.0
    config.schedule = "cosine"
    config.schedule_args = dict(exponent=1.0)

    if variant == "digits":
        config.num_steps = 200
        config.sweep.warmup_steps = (0, 50)
    if variant == "cifar10":
        config.dataset.update(name="cifar10", augment="crop_flip")
        config.num_epochs = 164.0
        config.peak_lr = 0.1
        config.warmup_steps = 0
        config.schedule = "multistep"
        config.schedule_args = ConfigDict(dict(boundaries=(32_000, 48_000), factor=0.1))
        config.log_every, config.eval_every, config.checkpoint_every = 50, 400, 400
    if variant == "imagenet":
        config.model = dict(
            name="resnet",
            form="imagenet",
            depth=50,
            width=1.0,
            shortcut="B",
            stem="7x7",
            zero_gamma=True,
            dtype="bfloat16",
        )
        config.dataset.update(name="imagenet2012", augment="flip", image_size=224, workers=12)
        config.num_epochs = 90.0
        config.peak_lr = 0.1 * config.batch_size / 256  # the linear scaling rule
        config.init_lr = 0.1
        config.warmup_epochs = 5.0
        config.schedule = "multistep"
        boundaries = tuple(round(epochs * IMAGENET_SIZE / config.batch_size) for epochs in (30, 60, 80))
        config.schedule_args = ConfigDict(dict(boundaries=boundaries, factor=0.1))
        config.log_every, config.eval_every, config.checkpoint_every = 100, 5000, 5000
    if chosen["smoke"]:
        config.num_steps, config.num_epochs = 4, None
        config.batch_size, config.eval_batch_size = 8, 128
        config.model.depth = {"digits": 8, "cifar10": 8, "imagenet": 18}[variant]
        config.log_every, config.eval_every, config.checkpoint_every = 1, 2, 2
    return config
