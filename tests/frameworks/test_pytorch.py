from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from explr.core.errors import DeviceError, TrialPruned
from explr.frameworks.pytorch import PyTorch, TorchReporter, _apply

pytestmark = pytest.mark.slow

PLAIN = {"seed": None, "device": "cpu", "memory_limit_gb": 0}


@pytest.fixture
def framework(monkeypatch: pytest.MonkeyPatch) -> Iterator[PyTorch]:
    """PyTorch, as it was again afterwards."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    framework = PyTorch()
    framework.configure(**PLAIN, deterministic=False, threads=None)  # whoever set it before
    yield framework
    framework.configure(**PLAIN, deterministic=False, threads=None)


def determinism() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark


def test_deterministic_mode_is_switched_on_and_off(framework: PyTorch) -> None:
    before = determinism()
    framework.configure(**PLAIN, deterministic=True, threads=None)
    assert determinism() == (True, True, False)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    framework.configure(**PLAIN, deterministic=True, threads=None)
    framework.configure(**PLAIN, deterministic=False, threads=None)
    assert determinism() == before


def test_what_a_user_chose_stays(framework: PyTorch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    framework.configure(**PLAIN, deterministic=False, threads=None)
    assert torch.backends.cudnn.benchmark
    framework.configure(**PLAIN, deterministic=True, threads=None)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    framework.configure(**PLAIN, deterministic=False, threads=None)
    assert torch.backends.cudnn.benchmark


def test_threads_are_set_and_given_back(framework: PyTorch) -> None:
    default = torch.get_num_threads()
    framework.configure(**PLAIN, deterministic=False, threads=default + 1)
    assert torch.get_num_threads() == default + 1
    framework.configure(**PLAIN, deterministic=False, threads=1)
    assert torch.get_num_threads() == 1
    framework.configure(**PLAIN, deterministic=False, threads=None)
    assert torch.get_num_threads() == default


def test_a_full_disk_is_an_os_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match="No space left"):
        PyTorch.serializer.save({"weight": torch.zeros(10_000)}, Path("/dev/full"))


def test_the_reporter_keeps_the_best_weights(make_context: Any, tmp_path: Path) -> None:
    ctx = make_context()
    model = torch.nn.Linear(1, 1)
    reporter = TorchReporter(ctx, model, epochs=3)
    for epoch, loss in enumerate([2.0, 1.0, 3.0]):
        torch.nn.init.constant_(model.weight, epoch)
        reporter.epoch_end(epoch, val_loss=torch.tensor(loss), epoch=epoch)
    result = reporter.result()
    assert (result.primary_metric, result.epochs_completed) == (1.0, 3)
    assert result.best_model_path == str(tmp_path / "best_model.pt")
    best = torch.load(result.best_model_path, weights_only=True)
    assert best["weight"].item() == 1.0
    assert ctx.tracker.rows[0] == (0, {"val_loss": 2.0, "epoch": 0.0})


def test_the_reporter_prunes(make_context: Any) -> None:
    ctx = make_context("val_loss", reporter=make_context.PruneAt(0))
    reporter = TorchReporter(ctx, torch.nn.Linear(1, 1))
    with pytest.raises(TrialPruned):
        reporter.epoch_end(0, val_loss=1.0)


class CudaOfTwoCards:
    """Two cards of 32 GiB, as far as setting them up goes; `torch.cuda` and `torch` in one."""

    def __init__(self) -> None:
        self.cuda = self
        self.current = 0
        self.fractions: dict[int, float] = {}

    def current_device(self) -> int:
        return self.current

    def set_device(self, index: int) -> None:
        self.current = index

    def get_device_properties(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(total_memory=32 * 2**30)

    def memory_reserved(self, index: int) -> int:
        return 0

    def set_per_process_memory_fraction(self, fraction: float, index: int) -> None:
        self.fractions[index] = fraction


def test_a_gpu_is_made_current_and_limited_and_both_are_taken_back(framework: PyTorch) -> None:
    torch_with_gpus: Any = CudaOfTwoCards()
    _apply(False, None, "cuda:1", 24, torch_with_gpus)
    assert (torch_with_gpus.current, torch_with_gpus.fractions) == (1, {1: 0.75})
    _apply(False, None, "cuda", 32, torch_with_gpus)
    assert (torch_with_gpus.current, torch_with_gpus.fractions) == (0, {0: 1.0, 1: 1.0})
    _apply(False, None, "cuda", 8, torch_with_gpus)
    _apply(False, None, "cuda", 0, torch_with_gpus)
    assert torch_with_gpus.fractions[0] == 1.0


def test_a_limit_beyond_the_card_names_both(framework: PyTorch) -> None:
    torch_with_gpus: Any = CudaOfTwoCards()
    with pytest.raises(DeviceError, match=r"memory_limit_gb=40 .* 32\.0 GiB of cuda:0"):
        _apply(False, None, "cuda", 40, torch_with_gpus)
    assert torch_with_gpus.fractions == {}
