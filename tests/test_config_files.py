"""The config.json of a run as a config: the values and types of the file that it came from."""

import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from warmup_jax import config_files
from warmup_jax.workdir import lock

PATHS = [
    "resnet_warmup.py:imagenet,diagnose=sharpness+norms",
    "transformer_warmup.py",
    "lm_warmup.py",
    "phase_diagram.py",
]


@pytest.fixture(params=PATHS)
def pair(request, tmp_path):
    """A config, and the same from its JSON."""
    config = config_files.load(f"{config_files.ROOT}/configs/{request.param}")
    (tmp_path / "config.json").write_text(json.dumps(lock.as_json(config.to_dict())))
    return config, config_files.load(str(tmp_path / "config.json"))


def kinds(config, prefix=""):
    for name, value in config.items():
        yield f"{prefix}{name}", config.get_type(name)
        if isinstance(value, ConfigDict):
            yield from kinds(value, f"{prefix}{name}.")


def test_values_and_types_are_those_of_the_config(pair):
    config, read = pair
    assert read.to_dict() == config.to_dict() and read.is_locked
    typed = {key: kind for key, kind in kinds(config) if kind is not type(None)}  # a file need not say the type of None
    assert {key: kind for key, kind in kinds(read) if key in typed} == typed


def test_overrides_mean_the_same(pair):
    overrides = [
        ("config.num_steps", "None"),
        ("config.num_epochs", "30"),
        ("config.dataset.data_dir", "2024"),
        ("config.optimizer_args.clip_norm", "1"),
        ("config.peak_lr", "1"),
        ("config.recipe", "None"),
        ("config.sweep", "None"),
        ("config.sweep.warmup_steps", "3"),
        ("config.init_from", "runs/a:1@20"),
    ]
    for config in pair:
        config_files.override(config, overrides)
    assert pair[0].to_dict() == pair[1].to_dict()
    assert pair[1].num_epochs == 30.0 and type(pair[1].num_epochs) is float and pair[1].dataset.data_dir == "2024"
    for config in pair:
        with pytest.raises(ValueError, match="--config.num_steps=2.5; allowed: an integer or None"):
            config_files.override(config, [("config.num_steps", "2.5")])


def test_keys_newer_than_the_file_are_not_set(tmp_path):
    config = config_files.load(f"{config_files.ROOT}/configs/lm_warmup.py")
    content = lock.as_json(config.to_dict())
    del content["init_from"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert config_files.load(str(tmp_path / "config.json")).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("config.json", "{", "config.json is damaged: "),
        ("config.json", "[]", "config.json is damaged: it holds no JSON object"),
        ("config.json:smoke", "{}", "config.json, which takes no argument"),
        ("absent.json", "", "unknown config file"),
    ],
)
def test_mistakes_are_one_line(tmp_path, name, content, said):
    if content:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=said) as caught:
        config_files.load(str(tmp_path / Path(name)))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_schedule_is_shown_and_a_run_trained_from_it(forked, train, tmp_path):
    first = train("--config=configs/phase_diagram.py:smoke", f"--workdir={tmp_path / 'first'}")
    assert first.returncode == 0, first.stderr
    config = f"--config={tmp_path / 'first' / 'config.json'}"
    assert train(config, f"--workdir={tmp_path / 'second'}").returncode == 0
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("first", "second")]
    assert logs[0] == logs[1]
    shown = forked("warmup_jax/training/show_schedule.py", config, f"--out={tmp_path / 'a.png'}")
    assert shown.returncode == 0 and "4 updates" in shown.stdout, shown.stderr
