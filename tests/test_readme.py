"""What the README shows works as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

from warmup_jax import schedules, transforms
from warmup_jax.schedules import ports

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMING_FROM = re.findall(r"^\| ([^|]+) \| `(\w+\..*?)`", README.partition("### Coming from")[2], re.MULTILINE)


def test_the_two_commands_set_up_an_environment_of_their_own():
    setup = "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt && .venv/bin/python "
    assert f"{setup}train.py --config=configs/resnet_warmup.py\n" in README
    assert f"{setup}-m pytest -q\n" in README
    # .ci/run takes the first line that names pytest
    assert next(line for line in README.splitlines() if "pytest" in line) == f"{setup}-m pytest -q"


def test_the_example_runs():
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    names = {}
    exec(code, names)
    assert float(names["rate"](499)) == pytest.approx(1e-3)
    params = {"w": np.ones(3, np.float32)}
    state = names["optimizer"].init(params)
    for error, expected in ((0.9, 0.01), (0.7, 0.1)):
        updates, state = names["optimizer"].update(params, state, params, error=error)
        assert -float(updates["w"][0]) == pytest.approx(expected * (1 if error == 0.9 else 1.9))


@pytest.mark.parametrize("library, expression", COMING_FROM, ids=[library for library, _ in COMING_FROM])
def test_coming_from(library, expression):
    rate = eval(expression, {name: getattr(ports, name) for name in dir(ports)})
    assert np.isfinite([float(rate(t)) for t in (0, 1, 600)]).all()


def test_every_library_of_the_table_is_tried():
    assert len(COMING_FROM) >= 18


@pytest.mark.parametrize("name", [*schedules.WARMUPS, *schedules.DECAYS, *schedules.RECIPES, *transforms.TRANSFORMS])
def test_every_entry_has_its_place(name):
    assert f"`{name}`" in README


@pytest.mark.parametrize("path", re.findall(r"\]\((docs/[^)]+)\)", README))
def test_pictures_are_there(path):
    assert (ROOT / path).exists()
