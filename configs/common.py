"""The base of all configs: every key with its default, the optimizers' arguments, and the parsing of `:ARG`."""

from ml_collections import ConfigDict, config_dict

ADAM = dict(beta1=0.9, beta2=0.999, eps=1e-8)
OPTIMIZER_ARGS = {
    "none": dict(),
    "sgd": dict(momentum=0.9, nesterov=False),
    "lars": dict(momentum=0.9, nesterov=False, trust_coefficient=0.001, eps=0.0),
    "adam": ADAM,
    "adamw": ADAM,
    "radam": ADAM,
    "gi_adam": ADAM,
    "ademamix": ADAM | dict(beta3=0.9999, alpha=5.0),
    "lamb": ADAM | dict(eps=1e-6),
    "adabelief": ADAM | dict(eps=1e-16),
    "lion": dict(beta1=0.9, beta2=0.99),
    "novograd": dict(beta1=0.9, beta2=0.25, eps=1e-8),
    "muon": ADAM | dict(momentum=0.95),
}

ADAM_OF_VASWANI = dict(beta2=0.98, eps=1e-9)  # Vaswani et al. 2017
NORMS = ("post", "pre", "peri", "deepnorm", "rezero", "admin", "none")
# A small Transformer in the form of Vaswani et al. 2017; a config adds name, depth and norm.
TRANSFORMER = dict(
    width=32,
    heads=4,
    ffn_width=128,
    norm_kind="layer",
    activation="relu",
    positions="sinusoidal",
    max_positions=1024,
    bias=True,
    tied=True,
    scale_embedding=True,
    init="xavier",
    dropout=0.0,
    qk_norm=False,
    attention="own",
    scan_layers=True,
    remat=False,
    dtype="float32",
)

RESNET = dict(
    name="resnet", form="cifar", depth=20, width=1.0, shortcut="A", stem="3x3", zero_gamma=False, dtype="float32"
)

LAYERS = dict(layers=True)
# name: the arguments that `diagnose=` gives to a diagnostic; `diagnostics` adds when a probe is taken, and on what.
DIAGNOSTICS = {
    "norms": LAYERS,
    "relative_update": LAYERS,
    "sharpness": dict(iterations=3, count=1),
    "preconditioned_sharpness": dict(iterations=3),
    "gradient_noise": dict(micro_batches=8),
    "adaptive_rate": LAYERS,
    "early_overfitting": dict(),
    "weight_distance": LAYERS,
    "representation": dict(),
    "dead_units": dict(),
    "token_variance": dict(),
    "critical_rate": dict(guess=0.1, max_passes=15, tolerance=0.1),
}
EVERY_STEP = ("norms", "relative_update")


def diagnostics(names):
    """Returns diagnostics with their usual arguments: probes every 50 updates, on 128 examples."""
    found = {}
    for name in names:
        timing = dict(every=50, until=config_dict.placeholder(int), batch="fixed", examples=128)
        if name == "early_overfitting":
            timing = dict(every=1, until=20, batch="training", examples=config_dict.placeholder(int))
        found[name] = DIAGNOSTICS[name] | ({} if name in EVERY_STEP else timing)
    return found


def digits():
    """Returns the data set of scikit-learn's 8x8 digits."""
    return dict(
        task="images",
        name="digits",
        data_dir=config_dict.placeholder(str),
        residency="auto",
        augment="none",
        image_size=config_dict.placeholder(int),
        workers=0,
        test_split=config_dict.placeholder(str),
    )


def pydoc():
    """Returns the data set of the Python documentation, by characters."""
    return dict(
        task="text",
        name="pydoc",
        data_dir=config_dict.placeholder(str),
        tokenizer="char",
        vocab_size=config_dict.placeholder(int),
        length=32,
        prompt_length=8,
        residency="auto",
        workers=0,
        test_split=config_dict.placeholder(str),
    )


def types_of_unset():
    """Returns the types of the keys that may be None, by name: {"num_steps": int, "data_dir": str, ...}."""
    whole = base("sgd", DIAGNOSTICS)
    found = dict(bleu_tokenizer=str)
    for holder in (whole, whole.optimizer_args, *whole.diagnostics.values(), ConfigDict(digits()), ConfigDict(pydoc())):
        found |= {name: holder.get_type(name) for name, value in holder.items() if value is None}
    return found


def base(optimizer, diagnose=()):
    """Returns a config with every key; each family of configs changes some. None means "not set"."""
    config = ConfigDict()
    config.seed = 0
    config.batch_size = 128
    config.eval_batch_size = 512
    config.num_steps = config_dict.placeholder(int)  # set this or num_epochs
    config.num_epochs = config_dict.placeholder(float)

    config.init_from = config_dict.placeholder(str)  # WORKDIR[:RUN[@STEP]]: weights to start from; None: random ones
    config.model = ConfigDict()
    config.dataset = ConfigDict()
    config.decoding = ConfigDict()  # texts that a model writes at each evaluation; {}: none

    config.optimizer = optimizer
    config.optimizer_args = OPTIMIZER_ARGS[optimizer] | dict(weight_decay=0.0, clip_norm=config_dict.placeholder(float))
    config.peak_lr = 0.1
    config.init_lr = 0.0
    config.end_lr = 0.0
    config.loss = "cross_entropy"  # or "mse"
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
    config.recipe = config_dict.placeholder(str)  # stands for both warmup and schedule
    config.recipe_args = ConfigDict()
    config.transforms = ()
    config.transforms_args = ConfigDict()

    config.diagnostics = diagnostics(diagnose)  # name -> arguments; {}: none, at no cost
    config.sweep = ConfigDict()  # every combination of the values given here is a run
    config.runs_at_once = config_dict.placeholder(int)  # None: the default of this platform (runtime/defaults.py)
    config.chunk_steps = config_dict.placeholder(int)

    config.log_every = 1
    config.eval_every = 20
    config.checkpoint_every = 100
    config.stop_when_diverged = True
    return config


def parse(arg, variants, **options):
    """Parses an argument string: a variant, `smoke`, `diagnose=NAME+NAME` and options `KEY=VALUE`, each at most once.

    Args:
      arg: such as "cifar10,smoke,batch_size=64", or None.
      variants: the known variants, the default first; at most one may be given.
      **options: name -> (default, allowed values), or (default, int) for a positive number.

    Returns:
      A dict of the options, with `variant`, `smoke` and `diagnose`, a list of names.
    """
    chosen = {name: default for name, (default, _) in options.items()} | dict(variant=None, smoke=False, diagnose=[])
    seen = set()
    for word in filter(None, (arg or "").split(",")):
        key, _, value = word.partition("=")
        allowed = options.get(key, (None, ()))[1]
        kind, names = "variant" if word in variants else key, value.split("+")
        repeated = kind in seen or (key == "diagnose" and len(set(names)) < len(names))
        seen.add(kind)
        if word in variants and not repeated:
            chosen["variant"] = word
        elif word == "smoke" and not repeated:
            chosen["smoke"] = True
        elif key == "diagnose" and not repeated and all(name in DIAGNOSTICS for name in names):
            chosen["diagnose"] = names
        elif allowed is int and not repeated and value.isdecimal() and 0 < int(value) < 2**31:
            chosen[key] = int(value)
        elif allowed is not int and not repeated and value in allowed:
            chosen[key] = value
        else:
            known = [
                f"{name}={'N' if kind is int else 'one of ' + ', '.join(kind)}" for name, (_, kind) in options.items()
            ]
            raise ValueError(
                f"unknown or repeated argument {word!r} of the config (known: one of "
                f"{', '.join(variants)}; {'; '.join([*known, ''])}smoke; "
                f"diagnose=some of {'+'.join(DIAGNOSTICS)})"
            )
    return chosen | dict(variant=chosen["variant"] or variants[0])
