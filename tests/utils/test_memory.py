"""The memory budget: who decides it, what is refused, and how each framework is held to it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from simulated_driver import DISPLAY, LAPTOP, Card, build_driver, environment_with

from explr.core.errors import DeviceError, UsageError
from explr.frameworks.pytorch import limit_torch
from explr.utils import memory
from explr.utils.memory import limit_gpu_memory, memory_budget, set_configured_limit
from explr.utils.settings import read_settings, settings_path, write_setting

BUDGET = """
import sys
from explr.core.errors import UsageError
from explr.utils.memory import memory_budget
for text in sys.argv[1:]:
    try:
        print(memory_budget(None if text == "open" else float(text)))
    except UsageError as error:
        print(f"{type(error).__name__}: {error}")
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without settings, and a process that no training has set a limit in."""
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(memory, "_configured_gb", None)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def big_card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a driver with an RTX 5090."""
    return build_driver(tmp_path_factory.mktemp("driver"), [Card()])


def budgets(driver: Path, *configured: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", BUDGET, *configured],
        env={**environment_with(driver), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return done.stdout.splitlines()


def test_each_source_goes_before_the_next(big_card: Path, home: Path) -> None:
    variable = {"EXPLR_GPU_MEMORY_GB": "20"}
    assert budgets(big_card, "open") == ["24 GiB (explr's default)"]
    write_setting("gpu_memory_gb", 16)
    kept = f"16 GiB (gpu_memory_gb, your default in {home / 'settings.json'})"
    assert budgets(big_card, "open") == [kept]
    assert budgets(big_card, "open", "8", "0", **variable) == [
        "20 GiB (EXPLR_GPU_MEMORY_GB, the environment)",
        "8 GiB (gpu.memory_limit_gb, the configuration)",
        "no limit (gpu.memory_limit_gb, the configuration)",
    ]
    assert budgets(big_card, "open", EXPLR_GPU_MEMORY_GB="0") == [
        "no limit (EXPLR_GPU_MEMORY_GB, the environment)"
    ]


CARDS = [
    DISPLAY,  # first on the bus
    Card(),
    Card("NVIDIA A100", 40, cores=6912, mig_gb=(5, 10)),
    Card("NVIDIA RTX A4000", 16, cores=6144),
]
"""CUDA's order: the RTX 5090, the A100, the A4000, the GT 1030."""

BUDGETS_OF_CARDS = """
import json, os, sys
from explr.utils.memory import card_budgets, memory_budget
for variables, device in json.load(sys.stdin):
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        os.environ.pop(name, None)
    os.environ.update(variables)
    print(memory_budget(None, device).gb if device else [one.gb for one in card_budgets()])
print(*card_budgets(15), sep="; ")
"""

WHOLE, OF_A_PART, OF_A4000, OF_DISPLAY = 24.0, 4.5, 14.4, 1.8


def test_the_default_is_that_of_the_card_that_is_trained_on(tmp_path: Path) -> None:
    visible, order = "CUDA_VISIBLE_DEVICES", {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    expected: list[tuple[dict[str, str], str, Any]] = [
        ({}, "cuda", WHOLE),
        ({}, "cuda:1", OF_A_PART),
        ({}, "cuda:3", OF_DISPLAY),
        (order, "cuda", OF_DISPLAY),
        (order, "cuda:1", WHOLE),
        ({visible: "3"}, "cuda", OF_DISPLAY),
        ({visible: "3", **order}, "cuda", OF_A4000),
        ({visible: "GPU-3,GPU-1"}, "cuda:1", WHOLE),
        ({visible: "MIG-5"}, "cuda", 9.0),
        ({visible: "MIG-GPU-2/1/0"}, "cuda", OF_A_PART),
        ({visible: "GPU-77"}, "cuda", WHOLE),
        ({visible: ""}, "cuda", WHOLE),
        ({}, "cuda:9", WHOLE),
        ({}, "", [WHOLE, OF_A_PART, OF_A4000, OF_DISPLAY]),
        ({visible: "2,3"}, "", [OF_A4000, OF_DISPLAY]),
    ]
    done = subprocess.run(
        [sys.executable, "-c", BUDGETS_OF_CARDS],
        env=environment_with(build_driver(tmp_path, CARDS)),
        input=json.dumps([case[:2] for case in expected]),
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    *told, configured = done.stdout.splitlines()
    assert told == [str(case[2]) for case in expected]
    assert configured == (
        "15 GiB (gpu.memory_limit_gb, the configuration); "
        "1.8 GiB (gpu.memory_limit_gb, the configuration)"
    ), "each card gives what it has"


def test_a_card_that_does_not_tell_has_the_default(tmp_path: Path) -> None:
    driver = build_driver(tmp_path, [LAPTOP, Card(memory_gb=None)])
    assert budgets(driver, "open") == ["24 GiB (explr's default)"]
    driver = build_driver(tmp_path / "known", [LAPTOP])
    told = "3.6 GiB (90% of cuda:0, NVIDIA GeForce RTX 3050 Laptop GPU)"
    assert budgets(driver, "open") == [told]


def test_a_limit_above_every_card_is_refused_whoever_set_it(big_card: Path) -> None:
    above = "=33 is more than the 32.0 GiB of the largest GPU here: lower it, or set 0 for no limit"
    assert budgets(big_card, "33", "32") == [
        f"DeviceError: gpu.memory_limit_gb{above}",
        "32 GiB (gpu.memory_limit_gb, the configuration)",
    ]
    assert budgets(big_card, "open", EXPLR_GPU_MEMORY_GB="33") == [
        f"DeviceError: EXPLR_GPU_MEMORY_GB{above}"
    ]
    write_setting("gpu_memory_gb", 33)
    assert budgets(big_card, "open") == [f"DeviceError: gpu_memory_gb{above}"]


@pytest.mark.parametrize("text", ["-1", "abc", "nan", "inf"])
def test_what_is_no_limit_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EXPLR_GPU_MEMORY_GB", text)
    with pytest.raises(UsageError, match=rf"EXPLR_GPU_MEMORY_GB must be a number .* got '{text}'"):
        memory_budget()
    assert memory_budget(0).gb == 0
    with pytest.raises(UsageError, match="max_memory_gb must be a number of GiB, at least 0"):
        limit_gpu_memory(text)  # type: ignore[arg-type]


def test_settings_that_cannot_be_read_are_named(home: Path) -> None:
    home.mkdir()
    (home / "settings.json").write_text("[1")
    with pytest.raises(
        UsageError, match=rf"the settings cannot be read: {home}/settings\.json is not"
    ):
        memory_budget()
    with pytest.raises(UsageError, match="cannot be read"):
        write_setting("gpu_memory_gb", 3)
    (home / "settings.json").write_text("[1]")
    with pytest.raises(UsageError, match=r"settings\.json is no JSON object"):
        read_settings()


def test_a_setting_leaves_the_others_and_can_be_taken_back(home: Path) -> None:
    write_setting("other", "kept")
    write_setting("gpu_memory_gb", 3)
    write_setting("gpu_memory_gb", None)
    assert json.loads((home / "settings.json").read_text()) == {"other": "kept"}
    assert [path.name for path in home.iterdir()] == ["settings.json"]


def test_without_a_home_of_explr_settings_are_where_the_platform_keeps_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("EXPLR_HOME")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert settings_path() == tmp_path / "explr" / "settings.json"


class Cuda:
    """What PyTorch tells of a card with 32 GiB, and what it is told.

    Args:
        reserved_gb: what it holds.
        cached_gb: the part of it that no tensor is in.
    """

    def __init__(self, reserved_gb: float = 0, cached_gb: float = 0) -> None:
        self.reserved, self.cached = reserved_gb * 2**30, cached_gb * 2**30
        self.fractions: dict[int, float] = {}

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def get_device_properties(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(total_memory=32 * 2**30)

    def memory_reserved(self, index: int) -> float:
        return self.reserved

    def empty_cache(self) -> None:
        self.reserved -= self.cached

    def set_per_process_memory_fraction(self, fraction: float, index: int) -> None:
        self.fractions[index] = fraction


def torch_with(monkeypatch: pytest.MonkeyPatch, cuda: Cuda) -> Cuda:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    return cuda


def test_pytorch_is_limited_at_once_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch_with(monkeypatch, Cuda(reserved_gb=20, cached_gb=18))
    assert limit_gpu_memory(8) == 8
    assert cuda.fractions == {0: 0.25}
    assert limit_gpu_memory(0) == 0
    assert cuda.fractions == {0: 1.0}
    assert limit_gpu_memory() == 24
    assert cuda.fractions == {0: 0.75}


def test_a_limit_below_what_pytorch_holds_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch_with(monkeypatch, Cuda(reserved_gb=20, cached_gb=4))
    late = rf"max_memory_gb=8 comes too late, because PyTorch has taken 16.0 GiB .*{os.getpid()}"
    with pytest.raises(DeviceError, match=late):
        limit_gpu_memory(8)
    assert cuda.fractions == {}


def test_a_limit_above_pytorchs_card_names_both() -> None:
    torch: Any = SimpleNamespace(cuda=Cuda())
    with pytest.raises(DeviceError, match=r"gpu.memory_limit_gb=40 is more than the 32\.0 GiB"):
        limit_torch(torch, 0, 40, "gpu.memory_limit_gb")


def test_within_a_training_its_own_limit_is_the_most(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cuda = torch_with(monkeypatch, Cuda())
    set_configured_limit(8)
    assert limit_gpu_memory() == 8
    assert limit_gpu_memory(4) == 4
    assert cuda.fractions == {0: 0.125}
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert limit_gpu_memory(16) == 8
        assert limit_gpu_memory(0) == 8
    assert [record.message for record in caplog.records] == [
        "the GPU memory limit stays at 8 GiB, which the configuration sets for this training: "
        f"{wanted} was asked for"
        for wanted in ("16 GiB", "no limit")
    ]
    assert cuda.fractions == {0: 0.25}
    set_configured_limit(0)
    assert limit_gpu_memory(16) == 16


TENSORFLOW = """
import os
from explr.core.errors import DeviceError
from explr.utils.memory import limit_gpu_memory

import tensorflow as tf
from tensorflow.python.eager import context

# TensorFlow's own rules, on a machine with a GPU: only the list of devices is made up.
machine = context.context()
machine._initialize_physical_devices()
gpu = context.PhysicalDevice("/physical_device:GPU:0", "GPU")
machine._physical_devices.append(gpu)
machine._visible_device_list.append(gpu)
machine._memory_growth_map[gpu] = None

def limited(limit_gb):
    try:
        limit_gpu_memory(limit_gb)
    except DeviceError as error:
        return str(error)
    return [each.memory_limit for each in tf.config.get_logical_device_configuration(gpu)]

print(limited(3), limited(2))
machine._context_handle = object()  # the first operation
print(limited(2))
print(limited(3), flush=True)
os._exit(0)  # the made-up machine cannot be taken down in order
"""


@pytest.mark.slow
def test_tensorflow_is_limited_before_its_start_and_says_so_when_it_is_too_late() -> None:
    code = [sys.executable, "-c", TENSORFLOW]
    done = subprocess.run(code, capture_output=True, text=True, timeout=280, check=False)
    assert done.stdout, done.stderr
    before, same, late = done.stdout.splitlines()
    assert (before, same) == ("[3072] [2048]", "[2048]")
    assert late.startswith("max_memory_gb=3 cannot be set, because TensorFlow has already started")
