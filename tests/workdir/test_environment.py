"""The devices in words."""

from types import SimpleNamespace

import jax
import pytest

from warmup_jax.workdir import environment


@pytest.mark.parametrize(
    "found, said",
    [
        ([("cpu", "cpu")] * 2, "2 x cpu"),
        ([("gpu", "NVIDIA H100")], "1 x gpu (NVIDIA H100)"),
        ([("tpu", "TPU v4")] * 4, "4 x tpu (TPU v4)"),
        ([("gpu", "A"), ("gpu", "B"), ("gpu", "A")], "2 x gpu (A), 1 x gpu (B)"),
    ],
)
def test_devices_are_counted_by_kind(monkeypatch, found, said):
    devices = [SimpleNamespace(platform=platform, device_kind=kind) for platform, kind in found]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    assert environment.devices() == said
