"""The rigs: small trainings that show an effect of warmup within minutes, as studies that claims choose from."""

from collections.abc import Mapping
from typing import Any

from warmup_jax.claims.claim import Study

# What a trial run with --smoke changes: two seeds and a tiny model, so that all steps and arms are still there.
SMOKE = {
    "configs/lm_warmup.py": {
        "model.width": "8",
        "model.heads": "2",
        "model.ffn_width": "16",
        "model.depth": "2",
        "batch_size": "4",
    },
    "configs/transformer_warmup.py": {"model.width": "8", "model.heads": "2", "model.ffn_width": "16"},
    "configs/phase_diagram.py": {"model.width": "8"},
    "configs/resnet_warmup.py": {"model.width": "0.25", "batch_size": "16"},
}


def language_model(arg: str = "", num_steps: int = 400, seeds: int = 5, **overrides: Any) -> Study:
    """Returns a study of the small character model, rig C1, with one evaluation at its end.

    Args:
      arg: of `configs/lm_warmup.py`, such as "norm=pre".
      num_steps: updates of each run.
      seeds: how many.
      **overrides: keys of the config, with "__" for each dot, and their values.
    """
    length = {"num_steps": num_steps, "eval_every": num_steps, "checkpoint_every": num_steps}
    return _study("configs/lm_warmup.py", arg, seeds, {"decoding": {}} | length | overrides)


def translation(arg: str, num_steps: int, seeds: int = 5, **overrides: Any) -> Study:
    """Returns a study of an encoder-decoder of 6 + 6 layers on Multi30k, rig G1; arguments as above."""
    sizes = {"model__encoder_depth": 6, "model__decoder_depth": 6, "model__width": 256, "model__ffn_width": 1024}
    plain: dict[str, Any] = {"decoding": {}, "schedule": "constant", "warmup_steps": None, "schedule_args": {}}
    length = {"num_steps": num_steps, "eval_every": num_steps, "checkpoint_every": num_steps}
    overrides = plain | sizes | length | overrides
    return _study("configs/transformer_warmup.py", f"multi30k,{arg}", seeds, overrides)


def full_batch(arg: str = "", seeds: int = 5, **overrides: Any) -> Study:
    """Returns a study of full-batch gradient descent on digits, rig C2; arguments as above."""
    return _study("configs/phase_diagram.py", arg, seeds, overrides)


def resnet(arg: str = "", seeds: int = 5, **overrides: Any) -> Study:
    """Returns a study of ResNet-8 on digits, rig C5; arguments as above."""
    return _study("configs/resnet_warmup.py", arg, seeds, {"model__depth": 8} | overrides)


def _study(file: str, arg: str, seeds: int, overrides: Mapping[str, Any]) -> Study:
    texts = {key.replace("__", "."): _text(value) for key, value in overrides.items()}
    return Study(f"{file}:{arg}" if arg else file, texts, seeds)


def _text(value: Any) -> str:
    """Returns a value as the command line takes it, tuples and dicts without blanks."""
    if isinstance(value, tuple):
        return f"({','.join(map(repr, value))}{',' * (len(value) == 1)})"
    return str(value)
