from __future__ import annotations

import logging

import pytest

from explr.core.errors import DeviceError
from explr.frameworks import device as device_module
from explr.frameworks.device import choose_device


def never() -> int:
    raise AssertionError("the framework was asked")


@pytest.fixture
def driver_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose driver has two GPUs."""
    monkeypatch.setattr(device_module, "nvidia_gpu_count", lambda: 2)


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "nvidia_gpu_count", lambda: 0)


@pytest.mark.usefixtures("driver_gpus")
def test_cpu_asks_nobody() -> None:
    assert choose_device("cpu", "torch", never) == "cpu"


@pytest.mark.usefixtures("no_driver")
def test_auto_without_a_driver_does_not_ask_the_framework() -> None:
    assert choose_device("auto", "torch", never) == "cpu"


@pytest.mark.usefixtures("driver_gpus")
def test_auto_takes_a_gpu_that_the_framework_can_use() -> None:
    assert choose_device("auto", "torch", lambda: 2) == "cuda"


@pytest.mark.usefixtures("driver_gpus")
def test_auto_says_when_the_framework_cannot_use_the_gpu(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose_device("auto", "torch", lambda: 0) == "cpu"
    assert caplog.messages == [
        "training on the CPU: an NVIDIA GPU is there, but the installed torch cannot use it"
    ]


@pytest.mark.usefixtures("driver_gpus")
@pytest.mark.parametrize(
    ("requested", "chosen"), [("cuda", "cuda"), ("cuda:0", "cuda:0"), ("cuda:01", "cuda:1")]
)
def test_a_gpu_that_is_there_is_chosen(requested: str, chosen: str) -> None:
    assert choose_device(requested, "torch", lambda: 2) == chosen


@pytest.mark.usefixtures("driver_gpus")
def test_a_gpu_that_is_not_there_is_an_error_that_says_which_are() -> None:
    with pytest.raises(DeviceError) as raised:
        choose_device("cuda:3", "torch", lambda: 1)
    assert str(raised.value) == "gpu.device=cuda:3 is not on this machine: it has cpu, cuda:0"


@pytest.mark.usefixtures("no_driver")
def test_no_gpu_at_all() -> None:
    with pytest.raises(DeviceError) as raised:
        choose_device("cuda", "torch", lambda: 0)
    assert str(raised.value) == "gpu.device=cuda is not on this machine: it has cpu"


@pytest.mark.usefixtures("driver_gpus")
def test_a_gpu_that_the_framework_cannot_use_is_told_from_none() -> None:
    with pytest.raises(DeviceError, match="an NVIDIA GPU is there, but the installed torch cannot"):
        choose_device("cuda", "torch", lambda: 0)
