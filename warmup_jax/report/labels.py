"""Names for readers: of metrics with their units and meaning, of what is compared, and of runs by what differs."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from warmup_jax import pictures
from warmup_jax.report.metrics import FAMILIES, LABELS, OTHER_SENTENCES, PRECONDITIONED, Label

PERCENT = "[%]"  # an axis that ends so shows 100 times the logged value

OPTIMIZERS = {
    "none": "gradient descent",
    "sgd": "SGD",
    "lars": "LARS",
    "adam": "Adam",
    "adamw": "AdamW",
    "radam": "RAdam",
    "lamb": "LAMB",
    "adabelief": "AdaBelief",
    "lion": "Lion",
    "muon": "Muon",
}
GRADIENT_DESCENT = {"none", "sgd"}  # with a stable limit of the plain sharpness
ADAM = {"adam", "adamw", "radam"}  # with one of the preconditioned sharpness
NORMS = {"post": "Post-LN", "pre": "Pre-LN", "peri": "Peri-LN", "deepnorm": "DeepNorm", "rezero": "ReZero"}
NORMS |= {"admin": "Admin", "none": "norm-free"}
# Names of what sweeps change most.
KNOBS = {
    "peak_lr": "peak rate",
    "init_lr": "initial rate",
    "end_lr": "final rate",
    "warmup_steps": "warmup",
    "warmup_epochs": "warmup epochs",
    "warmup_fraction": "warmup fraction",
    "warmup_examples": "warmup examples",
}
WARMUPS = {"warmup_steps", "warmup_epochs", "warmup_fraction", "warmup_examples"}  # 0: no warmup
UNITS = {"warmup_steps": "updates"}
RATES = {"peak_lr", "init_lr", "end_lr"}  # knobs whose values are learning rates
# Keys that do not change what is trained.
SILENT = {"sweep", "diagnostics", "decoding", "log_every", "eval_every", "eval_batch_size", "checkpoint_every"}
SILENT |= {"runs_at_once", "chunk_steps", "stop_when_diverged"}
SILENT_LEAVES = {"workers", "residency", "data_dir", "scan_layers", "remat", "attention"}
# A dict of arguments -> the key that names their function; where that differs, the arguments are not listed.
NAMED_BY = {
    "model": "model.name",
    "dataset": "dataset.name",
    "optimizer_args": "optimizer",
    "warmup_args": "warmup",
    "schedule_args": "schedule",
    "recipe_args": "recipe",
    "transforms_args": "transforms",
}
# (dict, key) of what a headline shows and a sweep may change; None: the config itself.
SHOWN = ((None, "optimizer"), (None, "batch_size"), ("optimizer_args", "momentum"))
SHOWN += tuple(("model", key) for key in ("norm", "depth", "width", "encoder_depth", "decoder_depth"))
LONG = 8  # characters of a tick of a map or a color bar
MOST_NAMES = 4  # alternatives that a headline lists; more are counted


def label(metric: str) -> Label:
    """Returns the name of a metric for readers.

    Args:
      metric: its name in the log, as "train/loss" or "diag/grad_norm/head".

    Returns:
      Its `Label`; a name that is not known is made readable and has an empty sentence.

    Examples:
      >>> label("diag/grad_norm/decoder_0").title
      'Gradient norm: decoder_0'
      >>> label("diag/my_new_one")
      Label(title='My new one', axis='my new one', sentence='', log=True)
    """
    if metric in LABELS:
        return LABELS[metric]
    group, _, name = metric.partition("/")
    name, _, layer = name.partition("/")
    found = LABELS.get(f"{group}/{name}")
    if group == "diag":
        found = found or FAMILIES.get(name) or _eigenvalue(name)
    if found is None:
        words = (name or metric).replace("_", " ").strip() or metric
        found = Label(words[:1].upper() + words[1:], words, "", log=True)
    return found._replace(title=f"{found.title}: {layer}") if layer else found


def is_known(metric: str) -> bool:
    """Returns True for a metric with a `Label` of its own."""
    return bool(label(metric).sentence)


def sentences(optimizers: Iterable[Any]) -> dict[str, str]:
    """Returns the sentences that take the place of those of some metrics' labels for runs of some optimizers.

    Examples:
      >>> sentences(["adamw"])["diag/stability_ratio"], sentences(["sgd", "adam"])
      ('1 is no limit for AdamW: measure preconditioned_sharpness.', {})
    """
    names = list(dict.fromkeys(map(str, optimizers)))
    if not names or not GRADIENT_DESCENT.isdisjoint(names) or not OPTIMIZERS.keys() >= set(names):
        return {}
    end = PRECONDITIONED if ADAM.issuperset(names) else "."
    optimizer = " or ".join(OPTIMIZERS[name] for name in names)
    return {metric: sentence.format(optimizer=optimizer) + end for metric, sentence in OTHER_SENTENCES.items()}


def scaled(metric: str) -> float:
    """Returns the factor from a logged value to what the axis of its label shows: 100 for shares in percent, else 1."""
    return 100.0 if label(metric).axis.endswith(PERCENT) else 1.0


def _eigenvalue(name: str) -> Label | None:
    if (found := re.fullmatch(r"eigenvalue_(\d+)", name)) is None:
        return None
    return Label(
        f"Eigenvalue {found[1]}",
        f"eigenvalue {found[1]} of the Hessian",
        f"Number {found[1]} of the Hessian's eigenvalues, the largest first; number 1 is the sharpness.",
        log=True,
    )


def short_values(values: Sequence[Any], name: str = "") -> list[str]:
    """Returns the values of a knob as texts for ticks: numbers that are long get two digits."""
    texts = knob_texts(name, values)
    numbers = [text for value, text in zip(values, texts, strict=True) if isinstance(value, float)]
    if all(len(text) <= LONG and "e" not in text for text in numbers):
        return texts
    pairs = zip(values, texts, strict=True)
    return [pictures.number_text(value, 2) if isinstance(value, float) else text for value, text in pairs]


def headline(*configs: Mapping[str, Any]) -> str:
    """Says in a sentence fragment what some configs train: model, data, optimizer, batch size, updates, seeds.

    Where configs or values of a sweep differ, the alternatives stand side by side. A key that is missing, as in the
    config of a damaged run, is left out.

    Examples:
      >>> headline({"model": {"name": "resnet", "depth": 20}, "dataset": {"name": "digits"}, "optimizer": "sgd",
      ...           "optimizer_args": {"momentum": 0.9}, "batch_size": 128, "num_steps": 200, "seed": 0,
      ...           "sweep": {"seeds": 3}})
      'ResNet-20 on digits, SGD with momentum 0.9, batch size 128, 200 updates, 3 seeds'
    """
    every = [each for config in configs for each in _alternatives(config)]
    seeds = {seed for config in configs for seed in _seeds(config)}
    model, dataset = _either(map(_model, every), "models"), _either(map(_dataset, every), "data sets")
    parts = [
        " on ".join(filter(None, [model, dataset])),
        _either(map(_optimizer, every), "optimizers"),
        _either((_with("batch size", each.get("batch_size")) for each in every), "batch sizes"),
        _either(map(_length, every), "lengths"),
        f"{len(seeds)} seeds" if len(seeds) > 1 else _with("seed", *seeds) if seeds else "",
    ]
    return ", ".join(filter(None, parts))


def common_rate(configs: Iterable[Mapping[str, Any]]) -> str:
    """Returns the peak rate that all runs of some configs have, as "peak rate 2"; "" if it is swept or differs.

    Examples:
      >>> common_rate([{"peak_lr": 2.0, "sweep": {"peak_lr": None}}]), common_rate([{"peak_lr": 2.0}, {"peak_lr": 1.0}])
      ('peak rate 2', '')
    """
    rates = {repr(each.get("peak_lr")): each.get("peak_lr") for each in configs}
    swept = any(_dict(each.get("sweep")).get("peak_lr") is not None for each in configs)
    rate = rates.popitem()[1] if len(rates) == 1 and not swept else None
    return "" if rate is None else _change("peak_lr", rate)


def run_label(changes: Mapping[str, Any]) -> str:
    """Names a run by the values that it changes.

    Examples:
      >>> run_label({"norm": "post", "peak_lr": 0.006, "warmup_steps": 200, "seed": 1})
      'norm post, peak rate 0.006, warmup 200, seed 1'
      >>> run_label({"warmup_steps": 0})
      'no warmup'
      >>> run_label({})
      'run'
    """
    return ", ".join(_change(name, value) for name, value in changes.items()) or "run"


def run_labels(runs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[str]:
    """Names runs of one or several configs by what differs between them; equal ones are numbered.

    Args:
      runs: (config, changes of the run) of each.

    Returns:
      A name for each run.

    Examples:
      >>> post, pre = ({"peak_lr": 0.1, "model": {"norm": norm}} for norm in ("post", "pre"))
      >>> run_labels([(post, {"peak_lr": 0.2}), (pre, {"peak_lr": 0.2})])
      ['norm post', 'norm pre']
      >>> run_labels([(post, {}), (post, {})])
      ['run (1)', 'run (2)']
    """
    names = [run_label(settings) for settings in differences(runs)]
    count = {name: names.count(name) for name in names}
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        names[index] = f"{name} ({seen[name]})" if count[name] > 1 else name
    return names


def differences(runs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Returns, for (config, changes) of each run, the settings that are not the same in all of them, None left out.

    A setting is called by the last part of its key where that is clear: "norm", not "model.norm".
    """
    settings = [_settings(config, changes) for config, changes in runs]
    keys = list(dict.fromkeys(key for of_run in settings for key in of_run))
    differing = [key for key in keys if len({repr(of_run.get(key)) for of_run in settings}) > 1]
    named_by = [NAMED_BY.get(key.partition(".")[0], key) for key in differing]
    kept = [key for key, by in zip(differing, named_by, strict=True) if by == key or by not in differing]
    leaves = [key.rpartition(".")[2] for key in kept]
    short = {
        key: key if leaves.count(leaf) > 1 or leaf == "name" else leaf for key, leaf in zip(kept, leaves, strict=True)
    }
    short |= {key: key.removesuffix(".name") for key in kept if key in ("model.name", "dataset.name")}
    return [{short[key]: of_run[key] for key in kept if of_run.get(key) is not None} for of_run in settings]


def _settings(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a run by dotted key: its config without what does not change the training."""
    flat = {key: value for key, value in _flat(config) if key.rpartition(".")[2] not in SILENT_LEAVES}
    for name, value in changes.items():
        homes = [key for key in flat if key == name] or [key for key in flat if key.endswith(f".{name}")]
        flat |= dict.fromkeys(homes or [name], value)
    return flat


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in config.items():
        if prefix or key not in SILENT:
            if isinstance(value, Mapping):
                yield from _flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value


def _change(name: str, value: Any) -> str:
    if name in WARMUPS and value == 0:
        return "no warmup"
    return f"{knob(name)} {knob_texts(name, [value])[0]}"


def knob(name: str) -> str:
    """Returns the name of a knob for readers: "peak rate" for `peak_lr`."""
    return KNOBS.get(name, name.replace("_", " "))


def shown(value: Any) -> str:
    """Returns the value of a knob as text."""
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(shown, value))})"
    if isinstance(value, float):
        return f"{value:g}"
    return "unset" if value is None else str(value)


def rate(value: float) -> str:
    """Returns a learning rate as text, a power of 2 below 1 as a fraction, in one form wherever it stands.

    Examples:
      >>> rate(1 / 32), rate(0.5), rate(0.3), rate(2.0)
      ('1/32', '1/2', '0.3', '2')
    """
    is_power = isinstance(value, float) and 2**-12 <= value < 1 and math.frexp(value)[0] == 0.5
    return f"1/{1 / value:g}" if is_power else shown(value)


def knob_texts(name: str, values: Sequence[Any]) -> list[str]:
    """Returns the values of a knob as texts; rates that are not all powers of 2 as decimals.

    Examples:
      >>> knob_texts("peak_lr", [0.25, 0.5, 2.0]), knob_texts("peak_lr", [0.3, 0.5])
      (['1/4', '1/2', '2'], ['0.3', '0.5'])
    """
    powers = all(isinstance(value, float) and math.frexp(value)[0] == 0.5 for value in values)
    return list(map(rate, values)) if name in RATES and powers else shown_together(values)


def facet(name: str) -> str:
    """Returns the name of a facet of a sweep for readers.

    Examples:
      >>> facet("norm=post, width=3")
      'Post-LN, width 3'
    """
    pairs = [part.partition("=") for part in name.split(", ")]
    return ", ".join(
        NORMS.get(value, f"{key} {value}") if key == "norm" else f"{key} {value}" for key, _, value in pairs
    )


def shown_together(values: Sequence[Any]) -> list[str]:
    """Returns the values of a knob as texts; powers of 2 down to 1/8 or less, as for rates, as fractions.

    Examples:
      >>> shown_together([1 / 64, 0.5, 2.0]), shown_together([0.5, 0.9])
      (['1/64', '1/2', '2'], ['0.5', '0.9'])
    """
    numbers = [value for value in values if isinstance(value, float) and 2**-12 <= value < 2**12]
    powers = len(numbers) == len(values) and all(math.frexp(value)[0] == 0.5 for value in numbers)
    if not powers or min(numbers, default=1.0) > 1 / 8:
        return [shown(value) for value in values]
    return [f"1/{1 / value:g}" if value < 1 else f"{value:g}" for value in values]


def _alternatives(config: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Yields a config with every combination of the values of its sweep that a headline shows."""
    found, sweep = [config], _dict(config.get("sweep"))
    for home, key in SHOWN:
        inside, values = config if home is None else _dict(config.get(home)), sweep.get(key)
        if key in inside and isinstance(values, (list, tuple)):
            found = [
                {**each, **({key: value} if home is None else {home: {**each[home], key: value}})}
                for each in found
                for value in values
            ]
    return found


def _either(names: Iterable[str], what: str) -> str:
    """Joins the different ones of some names; counts them if they are many."""
    different = [name for name in dict.fromkeys(names) if name]
    if len(different) > MOST_NAMES:
        return f"{len(different)} {what}"
    words = [name.split() for name in different]
    first = last = 0  # words that all begin, and end, with
    if len(different) > 1:
        shortest = min(map(len, words)) - 1  # at least one word of each is left between them
        same = [len(set(column)) == 1 for column in zip(*words)]
        first = min([*same, False].index(False), shortest)
        same = [len(set(column)) == 1 for column in zip(*map(reversed, words))]
        last = min([*same, False].index(False), shortest - first)
    middle = " / ".join(" ".join(each[first : len(each) - last]) for each in words)
    return _joined(*words[0][:first], middle, *words[0][len(words[0]) - last :]) if words else ""


def _model(config: Mapping[str, Any]) -> str:
    model = _dict(config.get("model"))
    name, depth, width = (model.get(key) for key in ("name", "depth", "width"))
    norm = NORMS.get(str(model.get("norm")), "")
    if name == "resnet":
        return _joined(
            f"ResNet-{depth}" if depth is not None else "ResNet", "" if width in (1, None) else f"x{width:g}"
        )
    if name == "fcn":
        return _joined("fully connected network,", _layers(depth), _with("of", width))
    if name == "decoder":
        return _joined(norm, "decoder,", _layers(depth), _with("of width", width))
    if name == "transformer":
        depths = [model.get(key) for key in ("encoder_depth", "decoder_depth")]
        return _joined(norm, "Transformer,", "+".join(str(each) for each in depths), _with("layers of width", width))
    return "" if name is None else str(name)


def _layers(depth: Any) -> str:
    return _with("", depth, "layer" if depth == 1 else "layers")


def _dataset(config: Mapping[str, Any]) -> str:
    name = _dict(config.get("dataset")).get("name")
    return "" if name is None else str(name)


def _optimizer(config: Mapping[str, Any]) -> str:
    name = config.get("optimizer")
    if name is None:
        return ""
    momentum = _dict(config.get("optimizer_args")).get("momentum")
    given = momentum if name in ("sgd", "lars") and momentum else None
    return _joined(OPTIMIZERS.get(name, str(name)), _with("with momentum", given))


def _length(config: Mapping[str, Any]) -> str:
    return _with("", config.get("num_steps"), "updates") or _with("", config.get("num_epochs"), "epochs")


def _seeds(config: Mapping[str, Any]) -> list[int]:
    seed, count = config.get("seed"), _dict(config.get("sweep")).get("seeds")
    if not isinstance(seed, int):
        return []
    return list(range(seed, seed + (count if isinstance(count, int) else 1)))


def _with(before: str, value: Any, after: str = "") -> str:
    """Returns "before value after", nothing where the value is None."""
    return "" if value is None else _joined(before, f"{value:,}" if type(value) is int else shown(value), after)


def _joined(*words: str) -> str:
    return " ".join(filter(None, words))


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
