"""What all configs share: every key there is, the optimizers' arguments, and the parsing of `:ARG`."""

from ml_collections import ConfigDict, config_dict

ADAM = dict(beta1=0.9, beta2=0.999, eps=1e-8)
OPTIMIZER_ARGS = {
    "none": dict(),
    "sgd": dict(momentum=0.9, nesterov=False),
    "lars": dict(momentum=0.9, nesterov=False, trust_coefficient=0.001, eps=0.0),
    "adam": ADAM, "adamw": ADAM, "radam": ADAM, "lamb": ADAM | dict(eps=1e-6),
    "adabelief": ADAM | dict(eps=1e-16),
    "lion": dict(beta1=0.9, beta2=0.99),
    "muon": ADAM | dict(momentum=0.95),
}

ADAM_OF_VASWANI = dict(beta2=0.98, eps=1e-9)  # Vaswani et al. 2017
NORMS = ("post", "pre", "peri", "deepnorm", "rezero", "admin", "none")
# What a small Transformer is made of, in the form of Vaswani et al. 2017; a config adds name, depth and norm.
TRANSFORMER = dict(
    width=32, heads=4, ffn_width=128, norm_kind="layer", activation="relu", positions="sinusoidal",
    max_positions=1024, bias=True, tied=True, scale_embedding=True, init="xavier", dropout=0.0, qk_norm=False,
    attention="own", scan_layers=True, remat=False, dtype="float32")


def base(optimizer):
    """A config with every key; a family sets what is its own. None stands for "not set"."""
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 128
    config.eval_batch_size = 512
    config.num_steps = config_dict.placeholder(int)     # set this or num_epochs
    config.num_epochs = config_dict.placeholder(float)

    config.model = ConfigDict()
    config.dataset = ConfigDict()
    config.decoding = ConfigDict()                      # what a text model writes at each evaluation; {}: nothing

    config.optimizer = optimizer
    config.optimizer_args = OPTIMIZER_ARGS[optimizer] | dict(
        weight_decay=0.0, clip_norm=config_dict.placeholder(float))
    config.peak_lr = 0.1
    config.init_lr = 0.0
    config.end_lr = 0.0
    config.label_smoothing = 0.0

    config.warmup = "linear"
    config.warmup_args = ConfigDict()
    config.warmup_steps = config_dict.placeholder(int)  # set exactly one of these, or sweep.warmup_steps
    config.warmup_epochs = config_dict.placeholder(float)
    config.warmup_examples = config_dict.placeholder(int)
    config.warmup_fraction = config_dict.placeholder(float)
    config.schedule = "constant"
    config.schedule_args = ConfigDict()
    config.combination = "join"
    config.recipe = config_dict.placeholder(str)        # a recipe stands for warmup and schedule both
    config.recipe_args = ConfigDict()
    config.transforms = ()
    config.transforms_args = ConfigDict()

    config.sweep = ConfigDict()                         # every combination of the values given here is a run
    config.runs_at_once = config_dict.placeholder(int)  # None: what was measured best on this platform
    config.chunk_steps = config_dict.placeholder(int)

    config.log_every = 1
    config.eval_every = 20
    config.checkpoint_every = 100
    config.stop_when_diverged = True
    return config


def parse(arg, variants, **options):
    """The words of an argument string: a variant, `smoke`, and options `KEY=VALUE`.

    Args:
      arg: as "cifar10,smoke,batch_size=64", or None.
      variants: the known ones, the default first; at most one may be given.
      **options: name -> (default, allowed values), or (default, int) for a positive number.

    Returns:
      A dict of the options, with `variant` and `smoke`.
    """
    chosen = {name: default for name, (default, _) in options.items()} | dict(variant=None, smoke=False)
    for word in filter(None, (arg or "").split(",")):
        key, _, value = word.partition("=")
        allowed = options.get(key, (None, ()))[1]
        if word in variants and chosen["variant"] is None:
            chosen["variant"] = word
        elif word == "smoke":
            chosen["smoke"] = True
        elif allowed is int and value.isdigit() and int(value) > 0:
            chosen[key] = int(value)
        elif allowed is not int and value in allowed:
            chosen[key] = value
        else:
            known = [f"{name}={'N' if kind is int else 'one of ' + ', '.join(kind)}"
                     for name, (_, kind) in options.items()]
            raise ValueError(f"unknown or repeated argument {word!r} of the config (known: one of "
                             f"{', '.join(variants)}; {'; '.join(known)}; smoke)")
    return chosen | dict(variant=chosen["variant"] or variants[0])
