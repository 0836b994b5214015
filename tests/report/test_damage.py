"""Reports of workdirs with random damage: a page and one line for each damage, never a traceback."""

import json
import random

import pytest
from test_pages import Page, assert_harmless

from warmup_jax.report.__main__ import main

FILES = ("summary.json", "config.json", "environment.json", "runs.json", "metrics.jsonl", "texts.jsonl")
ODD = (None, True, "", "x", "nan", -1, 0, 2**63, 10**400, 1e308, 1e-320, float("nan"), float("inf"), -(10**18), 1.5)
ODD += ([], {}, [None], {"a": 1}, [[[]]], "\ud800", "</script>", [1, 2, 3], "x" * 100_000)
CONFIG = {
    "model": {"name": "resnet", "depth": 20, "width": 1},
    "dataset": {"name": "digits"},
    "optimizer": "sgd",
    "optimizer_args": {"momentum": 0.9},
    "batch_size": 128,
    "num_steps": 20,
    "sweep": {"peak_lr": [0.1, 0.2], "warmup_steps": [0, 8], "seeds": 2},
}


def deep(levels):
    return json.loads("[" * levels + "]" * levels)


def replace_somewhere(content, value):
    """Replaces a value of JSON, at any depth, or takes it out (value: a function)."""
    places = []

    def collect(inside):
        for key in inside if isinstance(inside, dict) else range(len(inside)):
            places.append((inside, key))
            if isinstance(inside[key], (dict, list)):
                collect(inside[key])

    collect(content)
    inside, key = random.choice(places)
    if callable(value):
        del inside[key]
    else:
        inside[key] = value


def damage(path):
    """Damages a file in one of many ways."""
    raw = path.read_bytes()
    kind = random.choice(
        ["value"] * 6 + ["without", "deep", "cut", "empty", "missing", "noise", "flip", "folder", "brackets"]
    )
    value = {"value": random.choice(ODD), "without": len, "deep": deep(random.choice([15, 30, 400]))}.get(kind)
    if kind in ("value", "without", "deep"):
        lines = raw.splitlines() if path.suffix == ".jsonl" else [raw]
        number = random.randrange(len(lines))
        content = json.loads(lines[number])
        replace_somewhere(content, value)
        lines[number] = json.dumps(content).encode()
        path.write_bytes(b"\n".join(lines) + b"\n")
    elif kind in ("missing", "folder"):
        path.unlink()
        if kind == "folder":
            path.mkdir()
    elif kind == "flip":
        place = random.randrange(len(raw))
        path.write_bytes(raw[:place] + random.randbytes(1) + raw[place + 1 :])
    else:
        noise = random.randbytes(random.choice([1, 50, 3000]))
        cut = raw[: random.randrange(len(raw))]
        path.write_bytes({"cut": cut, "empty": b"", "noise": noise, "brackets": b"[" * 100_000}[kind])
    return kind


@pytest.mark.parametrize(
    "first, last", [(0, 12), *(pytest.param(n, n + 50, marks=pytest.mark.slow) for n in range(12, 212, 50))]
)
def test_a_damaged_workdir_is_a_page_or_one_line(write_sweep, tmp_path, capsys, first, last):
    for seed in range(first, last):
        random.seed(seed)
        workdir = write_sweep((0.1, 0.2), {(w, s): "td" for w in (0, 8) for s in (0, 1)}, f"{seed}", config=CONFIG)
        (workdir / "texts.jsonl").write_text('{"step": 20, "run": 0, "written": "said"}\n')
        runs = json.loads((workdir / "summary.json").read_text())["runs"]
        described = [{key: run[key] for key in ("run", "label", "changes")} for run in runs]
        (workdir / "runs.json").write_text(json.dumps({"runs": described}))
        done = {name: damage(workdir / name) for name in random.sample(FILES, random.choice([1, 1, 2, 3]))}
        out = tmp_path / f"{seed}.html"
        status = main([str(workdir), f"--out={out}"])
        err = capsys.readouterr().err
        assert status == (2 if err else 0), done
        assert all(line.startswith("error: ") and str(workdir) in line for line in err.splitlines()), (done, err)
        if "config.json" not in done or (workdir / "config.json").is_file():
            page = Page(out.read_text())
            assert_harmless(page)
            assert len(page.numbers) == 1 and page.text.count("Damaged, and left out") == len(err.splitlines()), done
        else:
            assert "holds no run" in err and not out.exists()
