"""Names of metrics and runs for readers."""

import ast

import pytest
from commands import ROOT

from configs import lm_warmup, phase_diagram, resnet_warmup, transformer_warmup
from warmup_jax.report import labels


def logged():
    """Names of the metrics in the code: whole literals, f-strings up to their variable part, names of families."""
    found = set()
    for package in ("training", "diagnostics"):
        for path in sorted((ROOT / "warmup_jax" / package).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "metrics":
                    first = node.args[0]
                    found |= {f"diag/{first.value}"} if isinstance(first, ast.Constant) else set()
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    if node.value.startswith(("train/", "eval/", "opt/", "diag/")) and " " not in node.value:
                        found.add(node.value)
    return {name for name in found if not name.endswith(("/", "_"))}


def test_every_metric_of_the_code_has_a_label():
    names = logged()
    assert {"train/loss", "diag/sharpness", "diag/grad_norm", "diag/rho"} <= names and len(names) > 30
    names = (names - {"diag/adaptive_rate"}) | {f"diag/adaptive_rate_{part}" for part in ("min", "q95", "variance")}
    assert [name for name in sorted(names) if not labels.is_known(name)] == []


@pytest.mark.parametrize("table", [labels.LABELS, labels.FAMILIES])
def test_labels_are_fit_for_a_panel(table):
    for name, label in table.items():
        assert len(label.title) <= 50 and 0 < len(label.axis) <= 40, name
        assert label.sentence.endswith(".") and 20 < len(label.sentence) <= 120, name
    titles = [label.title for label in table.values()]
    assert len(set(titles)) == len(titles)


def test_a_metric_of_a_layer_is_titled_by_it():
    assert labels.label("diag/cka_init/layer1").title == "Similarity to the initial representation: layer1"
    assert labels.label("diag/eigenvalue_12").axis == "eigenvalue 12 of the Hessian"
    assert labels.label("diag/grad_norm/a/b").title == "Gradient norm: a/b"


@pytest.mark.parametrize("name", ["diag/eigenvalue_x", "mine/odd_one", "odd", "", "/", "diag/", "a/b/c"])
def test_an_unknown_metric_has_a_readable_label(name):
    found = labels.label(name)
    assert found.sentence == "" and not labels.is_known(name)
    assert name == "" or found.title


def test_shares_are_shown_in_percent():
    assert labels.scaled("eval/accuracy") == labels.scaled("diag/dead_units/layer1") == 100
    assert labels.scaled("train/loss") == labels.scaled("unknown") == 1


def test_headlines_of_the_configs():
    fcn, lm = phase_diagram.get_config().to_dict(), lm_warmup.get_config().to_dict()
    text = "fully connected network, 4 layers of 128 on digits, SGD, batch size 1,437, 256 updates, 3 seeds"
    assert labels.headline(fcn) == text
    assert labels.headline(resnet_warmup.get_config("cifar10").to_dict()).endswith("batch size 128, 164 epochs, seed 0")
    text = "Post-LN decoder, 6 layers of width 32 on pydoc, Adam, batch size 16, 400 updates, seed 0"
    assert labels.headline(lm) == text
    assert labels.headline(transformer_warmup.get_config().to_dict()).startswith(
        "Post-LN / Pre-LN Transformer, 6+6 layers of width 32 on number_words, Adam, batch size 16"
    )


def test_a_headline_of_several_configs_lists_what_differs():
    one = {"model": {"name": "resnet", "depth": 8, "width": 2.0}, "optimizer": "sgd", "seed": 3}
    other = one | {"optimizer": "mine", "seed": 4, "dataset": {"name": None}}
    assert labels.headline(one, other) == "ResNet-8 x2, SGD / mine, 2 seeds"
    many = [{"batch_size": size} for size in range(9)]
    assert labels.headline(*many) == "9 batch sizes"
    swept = one | {"sweep": {"depth": [8, 14], "optimizer": ("sgd", "adam"), "seeds": 1}}
    assert labels.headline(swept) == "ResNet-8 / ResNet-14 x2, SGD / Adam, seed 3"
    assert labels.headline(*({"model": {"name": "resnet", "depth": 8, "width": w}} for w in (1, 2))) == (
        "ResNet-8 / ResNet-8 x2"
    )


@pytest.mark.parametrize("config", [{}, {"model": None, "sweep": None, "seed": "x"}, {"dataset": []}, {"model": {}}])
def test_a_headline_of_a_damaged_config_is_empty(config):
    assert labels.headline(config) == ""


def test_labels_of_runs_name_what_differs():
    config = {"peak_lr": 0.1, "seed": 0, "optimizer": "sgd", "optimizer_args": {"momentum": 0.9}, "log_every": 1}
    other = config | {"optimizer": "adam", "optimizer_args": {"beta1": 0.9}, "log_every": 5}
    runs = [(config, {"warmup_steps": 0}), (config, {"warmup_steps": 50}), (other, {"warmup_steps": 50})]
    assert labels.run_labels(runs) == [
        "optimizer sgd, no warmup",
        "optimizer sgd, warmup 50",
        "optimizer adam, warmup 50",
    ]
    momentum = [(config, {"momentum": value}) for value in (0.5, 0.9)]
    assert labels.run_labels(momentum) == ["momentum 0.5", "momentum 0.9"]
    assert labels.run_labels([]) == [] and labels.run_labels(runs[:1]) == ["run"]


def test_values_of_a_knob_as_text():
    assert labels.shown_together([0.25, 0.125, 1, 2.0]) == ["0.25", "0.125", "1", "2"]  # an integer is no rate
    assert labels.shown_together([]) == [] and labels.shown_together([None, (1, 0.5), "a"]) == [
        "unset",
        "(1, 0.5)",
        "a",
    ]
    assert labels.short_values([0.1, 1.23456e-3]) == ["0.1", "0.0012"] and labels.short_values([1e-6, "a"]) == [
        "10⁻⁶",
        "a",
    ]


def test_settings_of_one_name_are_told_apart_by_their_place():
    one = {"model": {"name": "resnet", "width": 1}, "dataset": {"name": "digits", "width": 1}}
    other = {"model": {"name": "resnet", "width": 2}, "dataset": {"name": "digits", "width": 2}}
    assert labels.run_labels([(one, {}), (other, {})])[0] == "model.width 1, dataset.width 1"
    third = {"model": {"name": "fcn", "depth": 2}, "dataset": {"name": "digits", "width": 1}}
    assert labels.run_labels([(one, {}), (third, {})]) == ["model resnet", "model fcn"]
