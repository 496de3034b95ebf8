"""PyTorch: its settings, its checkpoints, and a helper for training loops."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from explr.core.checkpoint import Serializer
from explr.core.errors import CheckpointError, DeviceError
from explr.core.framework import Seeder
from explr.core.on_import import apply_on_import
from explr.core.protocols import TrainingContext, TrainingResult
from explr.frameworks.device import choose_device, cuda_index
from explr.frameworks.parallel.distributed import (
    Distributed,
    average,
    distributed,
    load_sharded,
    save_sharded,
)
from explr.frameworks.progress import Progress
from explr.frameworks.torch_wrappers import accept_plain_names, unwrapped
from explr.utils.memory import CONFIG_KEY, set_configured_limit, within_card
from explr.utils.nvml import GIB
from explr.utils.seed import seed_everything

if TYPE_CHECKING:
    import torch

__all__ = [
    "Distributed",
    "PyTorch",
    "TorchReporter",
    "TorchSerializer",
    "average",
    "distributed",
    "limit_torch",
    "load_sharded",
    "save_sharded",
]

OUT_OF_MEMORY = (
    "CUDA out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What errors say whose class is that of every error."""

apply_on_import("names of weights", {"torch": accept_plain_names})

_in_force = ExitStack()
"""Takes back what the last training set."""


def _seed(seed: int, torch: ModuleType) -> None:
    torch.manual_seed(seed)


class TorchSerializer:
    """Writes tensors, plain values, and containers of them with `torch.save`.

    `torch.load(path, weights_only=True)` reads the files too. There, NumPy's arrays are tensors,
    and paths, dates, deques and the like are texts and lists; `load` gives them their types back.
    """

    suffix = ".pt"

    def save(self, state: Any, path: Path) -> None:
        """Write `state` to `path`.

        Raises:
            CheckpointError: `state` holds an object that `load` could not read.
            OSError: the file cannot be written.
        """
        import torch

        from explr.frameworks.torch_state import to_plain

        plain = to_plain(state)
        try:
            with path.open("wb") as file:  # torch's own writer reports a full disk as RuntimeError
                torch.save(plain, file)
            # What the walk cannot see, such as the class of a tensor.
            unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except (pickle.PickleError, AttributeError, TypeError) as error:
            unsafe = [str(error)]
        if unsafe:
            raise CheckpointError(
                f"the checkpoint could not be read back, because a tensor in it is or holds more "
                f"than a tensor ({', '.join(unsafe)}): save plain ones, as in tensor.detach()"
            )

    def load(self, path: Path) -> Any:
        """Read what `save` wrote, with tensors on the CPU; never runs code from the file."""
        import torch

        from explr.frameworks.torch_state import from_plain

        return from_plain(torch.load(path, map_location="cpu", weights_only=True))


class PyTorch:
    """PyTorch behind the protocol `Framework`."""

    name = "pytorch"
    packages: tuple[str, ...] = ("torch",)
    libraries: tuple[str, ...] = ("lightning", "pytorch_lightning", "transformers")
    distributions: tuple[str, ...] = ("torch",)
    extra: str | None = "torch"
    probe: str | None = "explr.utils.verify.torch"
    serializer: Serializer = TorchSerializer()
    seeders: Mapping[str, Seeder] = {"torch": _seed}
    has_ranks = True

    def resolve_device(self, requested: str) -> str:
        """See `Framework.resolve_device`."""
        return choose_device(requested, self.packages[0], _usable_gpus)

    def configure(
        self,
        *,
        seed: int | None,
        deterministic: bool,
        threads: int | None,
        device: str,
        memory_limit_gb: float,
    ) -> None:
        """See `Framework.configure`.

        `deterministic` also sets `CUBLAS_WORKSPACE_CONFIG`, unless it is set already; the
        variable stays, because cuBLAS reads it only once. The memory limit holds for PyTorch's
        allocator; the CUDA context, about half a GiB, comes on top of it.
        """
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        set_configured_limit(memory_limit_gb)
        settings = partial(_apply, deterministic, threads, device, memory_limit_gb)
        apply_on_import("framework", {self.packages[0]: settings})
        seed_everything(seed)

    def limit_memory(self, module: ModuleType, limit_gb: float, setting: str) -> None:
        """See `Framework.limit_memory`; starts CUDA."""
        count = module.cuda.device_count() if module.cuda.is_available() else 0
        cards = [module.cuda.get_device_properties(i).total_memory / GIB for i in range(count)]
        fits = any(limit_gb <= total_gb for total_gb in cards)
        for index, total_gb in enumerate(cards):
            least_gb = within_card(limit_gb, total_gb) if fits else limit_gb
            limit_torch(module, index, least_gb, setting)

    def peak_memory_gb(self) -> float | None:
        """See `Framework.peak_memory_gb`."""
        return _imported().cuda.max_memory_reserved() / GIB if self.has_used_gpu() else None

    def has_used_gpu(self) -> bool:
        """See `Framework.has_used_gpu`."""
        torch = _imported()
        return torch is not None and bool(torch.cuda.is_initialized())

    def is_out_of_memory(self, error: BaseException) -> bool:
        """See `Framework.is_out_of_memory`."""
        if type(error).__name__ == "OutOfMemoryError":
            return True
        return isinstance(error, RuntimeError) and any(said in str(error) for said in OUT_OF_MEMORY)


class TorchReporter:
    """Logs, reports and prunes at the end of each epoch, and keeps the best model.

    Args:
        ctx: the training's context.
        model: its `state_dict` is saved as `best_model.pt` in `ctx.output_dir` when it is the
            best so far, under the names of the model itself if it is compiled or parallel.
        epochs: number of epochs in all, for the log.
        start_epoch: first epoch of this attempt; with more than 0, the best epoch of the
            attempt before it still counts.
    """

    def __init__(
        self,
        ctx: TrainingContext,
        model: torch.nn.Module,
        epochs: int | None = None,
        start_epoch: int = 0,
    ) -> None:
        self._model = model
        self._progress = Progress(ctx, "best_model.pt", epochs, start_epoch)

    def epoch_end(self, epoch: int, /, **metrics: Any) -> None:
        """Take in the metrics of an epoch.

        Args:
            epoch: counted from 0.
            metrics: by name, numbers or tensors of one element.

        Raises:
            TrialPruned: the tuner prunes the trial.
        """
        self._progress.epoch_end(epoch, metrics, self._save)

    def result(self) -> TrainingResult:
        """The best epoch, as `train_model` returns it.

        Raises:
            ResultError: no epoch had the metric of the objective.
        """
        return self._progress.result()

    def _save(self, path: Path) -> None:
        import torch

        with path.open("wb") as file:
            torch.save(unwrapped(self._model.state_dict()), file)


def _imported() -> Any:
    """PyTorch, if it is imported; never imports it."""
    return sys.modules.get("torch")


def _usable_gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _apply(
    deterministic: bool,
    threads: int | None,
    device: str,
    memory_limit_gb: float,
    torch: ModuleType,
) -> None:
    _in_force.close()
    if threads is not None:
        _in_force.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
    if deterministic:
        _make_deterministic(torch)
    if device.startswith("cuda"):
        _set_up_gpu(torch, cuda_index(device), memory_limit_gb)


def _make_deterministic(torch: ModuleType) -> None:
    cudnn = torch.backends.cudnn
    _in_force.callback(
        torch.use_deterministic_algorithms,
        torch.are_deterministic_algorithms_enabled(),
        warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    _in_force.callback(setattr, cudnn, "deterministic", cudnn.deterministic)
    _in_force.callback(setattr, cudnn, "benchmark", cudnn.benchmark)
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic = True
    cudnn.benchmark = False


def _set_up_gpu(torch: ModuleType, index: int | None, memory_limit_gb: float) -> None:
    """Make the GPU the current one, so that `.cuda()` finds it, and limit its memory."""
    current = torch.cuda.current_device()
    if index is None:
        index = current
    elif index != current:
        _in_force.callback(torch.cuda.set_device, current)
        torch.cuda.set_device(index)
    if memory_limit_gb:
        limit_torch(torch, index, memory_limit_gb, CONFIG_KEY)
        _in_force.callback(limit_torch, torch, index, 0, CONFIG_KEY)


def limit_torch(torch: ModuleType, index: int, limit_gb: float, setting: str) -> None:
    """Limit PyTorch's allocator on one GPU; starts CUDA.

    Args:
        torch: the package.
        index: number of the GPU, as PyTorch counts.
        limit_gb: GiB; 0 for no limit.
        setting: what the person calls the limit.

    Raises:
        DeviceError: it is above the card's memory, or below what is taken already.
    """
    if limit_gb == 0:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
        return
    total_gb = torch.cuda.get_device_properties(index).total_memory / GIB
    if limit_gb > total_gb:
        raise DeviceError(
            f"{setting}={limit_gb:g} is more than the {total_gb:.1f} GiB of "
            f"cuda:{index}: lower it, or set no limit with {setting}=0"
        )
    if torch.cuda.memory_reserved(index) > limit_gb * GIB:
        torch.cuda.empty_cache()  # release what is only cached
    taken_gb = torch.cuda.memory_reserved(index) / GIB
    if taken_gb > limit_gb:
        raise DeviceError(
            f"{setting}={limit_gb:g} comes too late, because PyTorch has taken {taken_gb:.1f} GiB "
            f"of cuda:{index} in this process (pid {os.getpid()}) already: set it before the "
            "first tensor is put there"
        )
    torch.cuda.set_per_process_memory_fraction(limit_gb / total_gb, index)
